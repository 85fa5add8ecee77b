//! Secrets: read by the guest, also after everything around it has died, and written down nowhere.

use crate::house::{House, Node, eventually, image, some_of_it_came};
use api::shapes::{ExecWish, Lease, LeaseState, LogsWish, SecretName, SecretReaders};
use api::{ProgramOutput, ProgramSaid};
use std::fs;
use std::path::{Path, PathBuf};

/// What the guest is given, and what it says of it: the value itself is in no output that a node would keep.
const VALUE: &str = "pearl-Zq81-oyster";
const SUM: &str = "1d4353f4b2dc51af5c2291787d2927e6";

/// A variable, which stands in the lease.
const OPEN: &str = "shell-Zq81-oyster";

/// Files below a directory that hold these bytes, as they are at this moment: the database and what it has not yet taken in too.
fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if kind.is_file() {
            // It may be removed meanwhile.
            let held = fs::read(&path).unwrap_or_default();
            found.extend(held.windows(bytes.len()).any(|part| part == bytes).then_some(path));
        }
    }
    found
}

fn sealed(node: &Node) -> usize {
    fs::read_dir(node.data.join("secrets")).map_or(0, |bundles| bundles.filter_map(Result::ok).count())
}

/// Waits until the guest has said this so often.
async fn said(node: &Node, lease: &Lease, words: &str, times: usize) {
    eventually("the guest to say what it has read", async || {
        let Ok(mut pieces) = node.client.logs(&lease.id, &LogsWish::default()).await else { return false };
        let mut text = String::new();
        while let Ok(Some(piece)) = pieces.next().await {
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        text.matches(words).count() >= times
    })
    .await;
}

async fn lease(node: &Node, id: &str) -> Lease {
    node.client.lease(id.trim()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_outlives_every_kill_and_is_written_nowhere() {
    let mut house = House::open().await;
    // Not where the search goes: what the tenant has in a file is the tenant's own.
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("db");
    fs::write(&file, VALUE).unwrap();
    let script = "busybox md5sum < /run/secrets/db; busybox wc -c < /run/secrets/KEY; sleep 300; exit 5";
    let from_file = format!("id=db,src={}", file.display());
    let mut run = house.tenant.command(&[
        "run",
        "-d",
        "--cpus",
        "0.5",
        "--memory",
        "64M",
        "--disk",
        "8M",
        "--restart",
        "always",
        "-e",
        &format!("OPEN={OPEN}"),
        "--secret",
        &from_file,
        "--secret",
        "id=KEY,env=SECRET_OF_THE_TEST,mode=0444",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let begun = run.env("SECRET_OF_THE_TEST", "12345").output().unwrap();
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let lease = lease(&house.tenant, &String::from_utf8(begun.stdout).unwrap()).await;
    let named = |name: &str, readers| SecretName { name: name.to_owned(), readers };
    let names = [named("db", SecretReaders::User), named("KEY", SecretReaders::All)];
    assert_eq!(lease.workload.secrets, names);
    // The file may go: the node has what its guest needs.
    fs::remove_file(&file).unwrap();
    said(&house.tenant, &lease, &format!("{SUM}  -\n5\n"), 1).await;
    assert_eq!(house.host.reaches(&lease, LeaseState::Running).await.workload.secrets, names);
    assert_eq!((sealed(&house.tenant), sealed(&house.host)), (1, 0));

    // Its host dies, and its program; then its tenant.
    house.host.kill();
    house.host.start().await;
    house.meet().await;
    end_program(&house.tenant, &lease).await;
    said(&house.tenant, &lease, SUM, 2).await;
    house.tenant.kill();
    house.tenant.start().await;
    house.meet().await;
    end_program(&house.tenant, &lease).await;
    said(&house.tenant, &lease, SUM, 3).await;
    assert_eq!(sealed(&house.tenant), 1, "it is kept for as long as the lease goes on");

    let shown = house.tenant.sublet(&["inspect", &lease.id]).out + &house.host.sublet(&["--json", "ps"]).out;
    assert!(shown.contains("\"db\"") && !shown.contains(VALUE), "{shown}");
    assert_eq!(files_with(house.path(), VALUE.as_bytes()), [] as [PathBuf; 0], "while the guest runs");
    let open = files_with(house.path(), OPEN.as_bytes());
    let of = |node: &Node| open.iter().any(|file| file.starts_with(&node.data));
    assert!(of(&house.tenant) && of(&house.host), "what is no secret is found: {open:?}");
    house.tenant.client.stop(&lease.id).await.unwrap();
    house.ended_alike(&lease).await;
    eventually("the sealed copy to be gone", async || sealed(&house.tenant) == 0).await;
    house.host.kill();
    house.tenant.kill();
    assert_eq!(files_with(house.path(), VALUE.as_bytes()), [] as [PathBuf; 0], "after its end");
}

/// Has the guest's own program end, which is then begun again.
async fn end_program(tenant: &Node, lease: &Lease) {
    let command = ["busybox", "killall", "sleep"].map(str::to_owned).to_vec();
    let ending = async || {
        let Ok((_, mut output)) = tenant
            .client
            .exec(&lease.id, &ExecWish { command: command.clone(), ..ExecWish::default() })
            .await
        else {
            return false;
        };
        ended(&mut output).await
    };
    eventually("the program to be ended", ending).await;
}

async fn ended(output: &mut ProgramOutput) -> bool {
    loop {
        match output.next().await {
            Ok(ProgramSaid::Ended(code)) => return code == 0,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_killed_before_the_guest_starts_it_still_gets_its_secret() {
    let mut house = House::open().await;
    image(&house.tenant, house.path(), "large", 192 << 20).await;
    let mut run = house.tenant.command(&[
        "run",
        "-d",
        "--cpus",
        "0.5",
        "--memory",
        "64M",
        "--disk",
        "8M",
        "--secret",
        "id=db,env=SECRET_OF_THE_TEST",
        "large",
        "sh",
        "-c",
        "busybox md5sum < /run/secrets/db; exit 7",
    ]);
    let begun = run.env("SECRET_OF_THE_TEST", VALUE).output().unwrap();
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let lease = lease(&house.tenant, &String::from_utf8(begun.stdout).unwrap()).await;
    some_of_it_came(&house.host, &lease).await;
    house.host.kill();
    house.tenant.kill();
    assert_eq!(sealed(&house.tenant), 1);
    house.tenant.start().await;
    house.host.start().await;
    house.meet().await;
    let over = house.ended_alike(&lease).await;
    assert_eq!(over.standing.exit_code, Some(7), "{:?}", over.standing);
    said(&house.tenant, &lease, SUM, 1).await;
    eventually("the sealed copy to be gone", async || sealed(&house.tenant) == 0).await;
    assert_eq!(files_with(house.path(), VALUE.as_bytes()), [] as [PathBuf; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_is_told_and_not_repeated() {
    let house = House::open().await;
    let large = house.path().join("large-secret");
    fs::write(&large, vec![7; (64 << 10) + 1]).unwrap();
    let large = format!("id=db,src={}", large.display());
    for (secret, words) in [
        ("db=pearl", "there are id"),
        ("id=db,src=/no/such/pearl", "cannot read"),
        ("id=db,env=NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("id=db,src=/dev/null", "empty"),
        (&large, "64 KiB"),
        ("id=a/b,src=/dev/null", "1 to 64"),
    ] {
        house.tenant.sublet(&["run", "--secret", secret, "busybox"]).is_refusal(2, &[words]);
    }
    house
        .tenant
        .sublet(&["run", "-i", "--secret", "id=db,src=-", "busybox"])
        .is_refusal(2, &["standard input"]);
    let twice = ["--secret", "id=db,env=PATH", "--secret", "id=db,env=HOME"];
    let said = house.tenant.sublet(&[&["run", "--memory", "64M"], &twice[..], &["busybox"]].concat());
    assert!(said.code == Some(2) && said.err.contains("each name once"), "{:?} {}", said.code, said.err);
    assert_eq!(sealed(&house.tenant), 0, "what came to nothing leaves nothing");
    assert!(house.tenant.client.leases(true, None).await.unwrap().leases.is_empty());
}
