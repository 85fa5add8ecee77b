//! What a tenant does in a guest that runs on another's machine: programs beside its own, speaking to it, options.

use crate::house::{House, Node, eventually, shell};
use api::shapes::{ExecWish, LeaseState, RentWish, Restart, RunOptions, SessionOrder, TerminalSize, Tmpfs};
use api::{ClientError, ProgramOutput, ProgramSaid};
use bytes::Bytes;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

fn another(script: &str) -> ExecWish {
    ExecWish { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecWish::default() }
}

/// What comes next, within a minute: a test that waits for ever tells nobody why.
async fn next(output: &mut ProgramOutput) -> ProgramSaid {
    tokio::time::timeout(Duration::from_secs(60), output.next()).await.expect("something is said").unwrap()
}

async fn all(output: &mut ProgramOutput) -> (String, i32) {
    let mut text = Vec::new();
    loop {
        match next(output).await {
            ProgramSaid::Out(bytes) | ProgramSaid::Err(bytes) => text.extend(bytes),
            ProgramSaid::Ended(code) => return (String::from_utf8_lossy(&text).into_owned(), code),
        }
    }
}

async fn until(output: &mut ProgramOutput, words: &str) {
    let mut text = String::new();
    while !text.contains(words) {
        match next(output).await {
            ProgramSaid::Out(bytes) | ProgramSaid::Err(bytes) => {
                text.push_str(&String::from_utf8_lossy(&bytes))
            }
            ProgramSaid::Ended(code) => panic!("it ended with {code}: {text:?}"),
        }
    }
}

fn code(error: ClientError) -> String {
    let ClientError::Problem(problem) = error else { panic!("{error}") };
    problem.code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_runs_other_programs_in_its_guest_and_nobody_else_does() {
    let mut house = House::open().await;
    let lease = house.rent("sleep 300").await;
    house.tenant.reaches(&lease, LeaseState::Running).await;
    let client = house.tenant.client.clone();

    let (mut input, mut output) =
        client.exec(&lease.id, &another("cat; echo err >&2; exit 7")).await.unwrap();
    let much = vec![b'x'; 300_000];
    let (given, (text, ended)) = tokio::join!(
        async {
            input.give(Bytes::from(much.clone())).await.unwrap();
            input.order(SessionOrder::InputEnds).await
        },
        all(&mut output)
    );
    given.unwrap();
    assert_eq!((text.len(), text.contains("err\n"), ended), (300_004, true, 7));

    let size = TerminalSize { columns: 99, rows: 33 };
    // Runtimes begin the program and size its terminal in an order of their own.
    let script = "until [ \"$(busybox stty size)\" = '33 99' ]; do busybox sleep 0.05; done; echo sized; \
                  read a; busybox stty size; exit 3";
    let wish = ExecWish { terminal: Some(size), ..another(script) };
    let (mut input, mut output) = client.exec(&lease.id, &wish).await.unwrap();
    until(&mut output, "sized").await;
    input.order(SessionOrder::Resize(TerminalSize { columns: 44, rows: 22 })).await.unwrap();
    input.give(Bytes::from_static(b"on\r")).await.unwrap();
    let (text, ended) = all(&mut output).await;
    assert!(text.contains("22 44") && ended == 3, "{text}");

    // The words of the command line, its exit codes, and its output as it is.
    let id = &lease.id[..8];
    let said =
        house.tenant.sublet(&["exec", "-e", "A=b", "-w", "/bin", id, "sh", "-c", "echo $A; pwd; exit 9"]);
    assert_eq!((said.code, said.out.as_str()), (Some(9), "b\n/bin\n"), "{}", said.err);
    house.tenant.sublet(&["exec", id, "nothing-like-it"]).is_refusal(127, &["nothing-like-it"]);
    house.tenant.sublet(&["exec", "-u", "nobody-like-it", id, "true"]).is_refusal(1, &["nobody-like-it"]);
    let mut command = house.tenant.command(&["exec", "-i", id, "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through");

    // The owner of the machine has no way in by the door, and neither has a stranger's stream.
    house.host.sublet(&["exec", id, "true"]).is_refusal(1, &["its tenant's"]);
    assert_eq!(code(house.host.client.attach(&lease.id, None).await.err().unwrap()), "not_your_guest");

    // A tenant that is gone leaves nothing running behind.
    let sleepers = async |house: &House| {
        let (_, mut output) = house.tenant.client.exec(&lease.id, &another("busybox ps")).await.unwrap();
        all(&mut output).await.0.matches("sleep 77").count()
    };
    let (_input, mut output) = client.exec(&lease.id, &another("echo up; sleep 77")).await.unwrap();
    until(&mut output, "up").await;
    assert_eq!(sleepers(&house).await, 1);
    house.tenant.kill();
    drop(output);
    house.tenant.start().await;
    house.meet().await;
    eventually("what it had begun to end", async || sleepers(&house).await == 0).await;

    // A host killed in the middle breaks the stream, and the guest goes on.
    let client = house.tenant.client.clone();
    let (_input, mut output) = client.exec(&lease.id, &another("echo up; sleep 77")).await.unwrap();
    until(&mut output, "up").await;
    house.host.kill();
    assert_eq!(code(output.next().await.unwrap_err()), "stream_broke");
    house.host.start().await;
    house.meet().await;
    eventually("what was begun before to end", async || sleepers(&house).await == 0).await;
    client.stop(&lease.id).await.unwrap();
    house.ended_alike(&lease).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_run_as_its_tenant_asked() {
    let house = House::open().await;
    let script = "pwd; busybox hostname; busybox id -u; touch /x 2>/dev/null || echo sealed; \
                  busybox df -k /scratch | busybox tail -1; read line; echo got $line; exit 5";
    let options = RunOptions {
        entrypoint: Some(vec!["busybox".to_owned()]),
        user: Some("1234:1234".to_owned()),
        cwd: Some("/work".to_owned()),
        hostname: Some("inn".to_owned()),
        shm_bytes: Some(1 << 20),
        tmpfs: vec![Tmpfs { path: "/scratch".to_owned(), size_bytes: 2 << 20 }],
        read_only: true,
        stdin: true,
        restart: Restart::OnFailure { most: Some(1) },
        ..RunOptions::default()
    };
    let lease =
        house.tenant.client.rent(&RentWish { options: options.clone(), ..shell(script) }).await.unwrap();
    assert_eq!(lease.workload.options, options);
    house.tenant.reaches(&lease, LeaseState::Running).await;
    let (mut input, mut output) = house.tenant.client.attach(&lease.id, Some(0)).await.unwrap();
    until(&mut output, "/scratch").await;
    input.give(Bytes::from_static(b"one\n")).await.unwrap();
    until(&mut output, "got one").await;
    // It failed once, and is begun again; the same input reaches it.
    until(&mut output, "/scratch").await;
    input.give(Bytes::from_static(b"two\n")).await.unwrap();
    until(&mut output, "got two").await;
    assert_eq!(all(&mut output).await.1, 5);
    let lease = house.ended_alike(&lease).await;
    assert_eq!(lease.standing.exit_code, Some(5));
    let printed = house.tenant.sublet(&["logs", &lease.id[..8]]).out;
    for fact in ["/work\n", "inn\n", "1234\n", "sealed\n", " 2048 "] {
        assert!(printed.contains(fact), "{fact:?}: {printed}");
    }

    // From the command line, with what is typed, and the exit code.
    let mut command = house.tenant.command(&[
        "run",
        "-i",
        "--user",
        "7",
        "busybox",
        "sh",
        "-c",
        "busybox id -u; cat; exit 4",
    ]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stdout).as_ref()), (Some(4), "7\ntyped"));
    for (wish, words) in [("--hostname=a.b", "hostname"), ("--workdir=tmp", "cwd")] {
        let said = house.tenant.sublet(&["run", wish, "busybox", "true"]);
        assert!(said.code == Some(2) && said.err.contains(words), "{:?} {}", said.code, said.err);
    }
    let _: &Node = &house.host;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_copies_files_into_its_guest_and_out_of_it() {
    let mut house = House::open().await;
    let lease = house.rent("sleep 300").await;
    house.tenant.reaches(&lease, LeaseState::Running).await;
    let id = &lease.id[..8];
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(at("src/sub")).unwrap();
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(at("src/sub/much"), &much).unwrap();
    let copied = |arguments: &[&str]| {
        let said = house.tenant.sublet(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
        said.out
    };

    // There and back, as a directory, as what is in it, and as a file under another name.
    copied(&["cp", &at("src"), &format!("{id}:/")]);
    copied(&["cp", &format!("{id}:/src"), &at("back")]);
    assert_eq!(std::fs::read(at("back/sub/much")).unwrap(), much);
    std::fs::create_dir(at("there")).unwrap();
    copied(&["cp", &format!("{id}:/src/."), &at("there")]);
    copied(&["cp", &format!("{id}:/src/sub/much"), &at("there/renamed")]);
    assert_eq!(std::fs::read(at("there/renamed")).unwrap(), much);
    assert_eq!(std::fs::read(at("there/sub/much")).unwrap(), much);
    let json = copied(&["--json", "cp", &format!("{id}:/src/sub"), &at("there")]);
    assert!(json.contains("3000000"), "{json}");

    // An archive through pipes.
    let out = house.tenant.command(&["cp", &format!("{id}:/src/sub"), "-"]).output().unwrap();
    assert!(out.status.success() && out.stdout.len() > much.len());
    let mut child =
        house.tenant.command(&["cp", "-", &format!("{id}:/src")]).stdin(Stdio::piped()).spawn().unwrap();
    let renamed = String::from_utf8_lossy(&out.stdout[..100]).starts_with("sub");
    assert!(renamed, "the archive begins with the last name of the path");
    child.stdin.take().unwrap().write_all(&out.stdout).unwrap();
    assert!(child.wait().unwrap().success());

    // What cannot be says so, and leaves nothing behind.
    house.tenant.sublet(&["cp", &format!("{id}:/nothing"), &at("x")]).is_refusal(1, &["/nothing"]);
    house.tenant.sublet(&["cp", &format!("{id}:/src"), &at("back/sub/much")]).is_refusal(1, &["directory"]);
    house.tenant.sublet(&["cp", &at("src"), &format!("{id}:/nowhere/x")]).is_refusal(1, &["nowhere"]);
    house.tenant.sublet(&["cp", &at("nothing"), &format!("{id}:/")]).is_refusal(1, &["nothing"]);
    house
        .tenant
        .sublet(&["cp", "--max-size", "1K", &format!("{id}:/src"), &at("x")])
        .is_refusal(1, &["1024"]);
    house.tenant.sublet(&["cp", &at("src"), &at("x")]).is_refusal(2, &["in a guest"]);
    house.host.sublet(&["cp", &format!("{id}:/src"), &at("x")]).is_refusal(1, &["its tenant's"]);
    assert!(!dir.path().join("x/sub/much").exists(), "no half file");
    let missing = house.tenant.client.files(&lease.id, "/nothing", false, 1 << 20).await.err().unwrap();
    assert_eq!(code(missing), "no_such_file");

    // A host that dies in the middle leaves no half file under the name.
    let holes = another("busybox dd if=/dev/zero of=/large bs=1M seek=2000 count=0");
    let (_input, mut output) = house.tenant.client.exec(&lease.id, &holes).await.unwrap();
    assert_eq!(all(&mut output).await.1, 0);
    // Ctrl-C leaves nothing, under any name.
    std::fs::create_dir(at("interrupted")).unwrap();
    let mut child =
        house.tenant.command(&["cp", &format!("{id}:/large"), &at("interrupted")]).spawn().unwrap();
    let inside = || std::fs::read_dir(at("interrupted")).unwrap().count();
    eventually("the copy to begin", async || inside() > 0).await;
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(inside(), 0);
    let mut pieces = house.tenant.client.files(&lease.id, "/large", false, 1 << 40).await.unwrap();
    pieces.next().await.unwrap().unwrap();
    house.host.kill();
    let broken = async {
        loop {
            match pieces.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("half an archive came to a good end"),
                Err(_) => return,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), broken).await.expect("it breaks off");
    house.host.start().await;
    house.meet().await;
    house.tenant.client.stop(&lease.id).await.unwrap();
    house.ended_alike(&lease).await;
}
