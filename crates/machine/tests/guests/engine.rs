//! Guests by a container engine, Podman's and Docker's, each started by the test on a socket of its own: what is true of all
//! guests is true of them, and what they go without is said.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use model::Feature;
use model::document::Readers;
use rustix::process::{Pid, Signal, kill_process};
use sublet_machine::device::{Devices, Node};
use sublet_machine::guest::{
    ExecSpec, GuestError, GuestEvent, GuestSpec, GuestState, Mount, Restart, Runtime, Settings, Size,
};

use crate::Truth;
use crate::beside::{
    another_program_reads_what_it_is_given, another_program_says_what_it_has_to_and_how_it_ended,
};
use crate::copying::{
    a_transfer_that_breaks_off_leaves_no_half_file, copy, into, out, packed, what_cannot_be_copied_says_why,
};
use crate::ending::{
    a_polite_guest_ends_when_it_is_asked, who_ignores_the_request_is_killed_at_the_deadline,
};
use crate::house::{House, all, find_program, script_in, until};
use crate::limits::{a_flood_of_output_is_bounded, a_fork_bomb_stays_in_its_guest};
use crate::network::{
    a_listed_name_is_reached_through_the_proxy_and_no_other, a_program_that_knows_no_proxy_is_caught,
    names_are_found_by_our_resolver_alone,
};
use crate::secrets::secret;
use crate::stats::a_frozen_guest_is_still_seen_and_one_that_is_over_is_not;
use crate::talking::{
    a_guest_can_open_its_output_again, a_port_of_the_guest_can_be_reached,
    environment_and_directory_are_as_asked,
};

/// Each is true by both engines.
macro_rules! by_both {
    ($($name:ident),* $(,)?) => {
        pub fn trials() -> Vec<Truth> {
            vec![$(
                Truth { name: concat!("by_podman_", stringify!($name)), check: || by("podman", $name) },
                Truth { name: concat!("by_docker_", stringify!($name)), check: || by("docker", $name) },
            )*]
        }
    };
}

by_both![
    a_guest_prints_ends_and_leaves_nothing,
    a_polite_guest_ends_when_it_is_asked,
    who_ignores_the_request_is_killed_at_the_deadline,
    a_guest_dies_with_its_supervisor_and_what_held_it,
    a_frozen_guest_uses_no_processor_and_goes_on_when_thawed,
    a_guest_lives_on_when_its_node_starts_again,
    more_memory_than_it_has_kills_it_and_it_is_told,
    a_guest_is_given_another_pace,
    another_program_says_what_it_has_to_and_how_it_ended,
    another_program_reads_what_it_is_given,
    another_program_has_a_terminal_and_ends_with_who_asked,
    a_program_that_fails_is_begun_again,
    users_of_the_image_are_themselves_and_nobody_on_this_machine,
    files_are_copied_in_and_out,
    a_transfer_that_breaks_off_leaves_no_half_file,
    what_cannot_be_copied_says_why,
    its_processes_are_seen_as_it_sees_them,
    a_frozen_guest_is_still_seen_and_one_that_is_over_is_not,
    a_fork_bomb_stays_in_its_guest,
    a_flood_of_output_is_bounded,
    a_guest_can_open_its_output_again,
    environment_and_directory_are_as_asked,
    a_port_of_the_guest_can_be_reached,
    a_listed_name_is_reached_through_the_proxy_and_no_other,
    a_program_that_knows_no_proxy_is_caught,
    names_are_found_by_our_resolver_alone,
    what_cannot_start_says_why,
    what_a_guest_cannot_have_is_refused,
];

fn by<F: Future<Output = ()>>(name: &'static str, test: fn(House) -> F) -> Result<(), Failed> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can start {name} with a range of user ids for its containers");
        return Ok(());
    }
    crate::run_within(Duration::from_secs(180), async move |house| test(house.by_engine(name)).await)
}

/// An engine that is the test's own: its files in a directory, its users in files that only it sees.
pub struct TestEngine {
    engine: Child,
    dir: PathBuf,
}

impl TestEngine {
    /// Starts it, its files in a directory beside the guests.
    pub fn start(name: &str, house: &Path) -> (TestEngine, Runtime) {
        let program = if name == "docker" { "dockerd" } else { name };
        let package = if name == "docker" { "docker.io" } else { name };
        assert!(find_program(program).is_some(), "these tests need {program}: apt-get install {package}");
        let dir = house.join("engine");
        fs::create_dir_all(dir.join("etc")).expect("a directory");
        let users = "root:x:0:0:root:/root:/bin/sh\ncontainers:x:64001:64001::/:/bin/sh\ndockremap:x:64002:64002::/:/bin/sh\n";
        let groups = "root:x:0:\ncontainers:x:64001:\ndockremap:x:64002:\n";
        let ranges = "containers:1700000000:1048576\ndockremap:1710000000:65536\n";
        for (file, text) in [("passwd", users), ("group", groups), ("subuid", ranges), ("subgid", ranges)] {
            fs::write(dir.join("etc").join(file), text).expect("a file");
        }
        fs::write(dir.join("none"), "{}").expect("a file");
        // Else all engines of this machine had their locks in common, and waited for those that a test has ended.
        fs::write(dir.join("containers.conf"), "[engine]\nlock_type = \"file\"\n").expect("a file");
        let script = "for f in passwd group subuid subgid; do mount --bind \"$0/etc/$f\" /etc/$f || exit 1; done; exec \"$@\"";
        let socket = dir.join("sock");
        let address = format!("unix://{}", socket.display());
        let place = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&dir).arg(program);
        match name {
            "docker" => command
                .args(["--host", &address, "--data-root", &place("root"), "--exec-root", &place("exec")])
                .args([
                    "--pidfile",
                    &place("pid"),
                    "--config-file",
                    &place("none"),
                    "--storage-driver",
                    "vfs",
                ])
                .args([
                    "--userns-remap",
                    "default",
                    "--bridge",
                    "none",
                    "--iptables=false",
                    "--ip6tables=false",
                ]),
            // crun refuses machines that have control groups of both versions.
            _ => command
                .args(["--root", &place("root"), "--runroot", &place("run"), "--storage-driver", "vfs"])
                .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--tmpdir", &place("tmp")])
                .args(["system", "service", "--time", "0", &address]),
        };
        let log = File::create(dir.join("log")).expect("a file");
        let said = log.try_clone().expect("a copy");
        // In a group of its own, to end it with all that it has started.
        command.env("CONTAINERS_CONF", dir.join("containers.conf"));
        // Where it stands, conmon leaves a file when memory has run out.
        command.stdin(Stdio::null()).stdout(log).stderr(said).process_group(0).current_dir(&dir);
        let engine = command.spawn().expect("unshare runs");
        let mut started = TestEngine { engine, dir };
        let begun = Instant::now();
        loop {
            match Runtime::chosen(&address) {
                Ok(runtime) => return (started, runtime),
                Err(error) if begun.elapsed() > Duration::from_secs(40) => {
                    panic!("{error}: {}", started.log())
                }
                Err(_) => assert!(started.engine.try_wait().expect("a child").is_none(), "{}", started.log()),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// Of all processes.
fn pids() -> impl Iterator<Item = i32> {
    let processes = fs::read_dir("/proc").expect("processes");
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        // Guests that still run end with their supervisors, and dockerd is to find none that it would wait for.
        let house = self.dir.parent().expect("a house").to_owned();
        let stands_in = |pid: &i32| {
            let at = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            at.starts_with(&house) && !at.starts_with(&self.dir)
        };
        for pid in pids().filter(stands_in).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let pid = Pid::from_child(&self.engine);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        while self.engine.try_wait().is_ok_and(|ended| ended.is_none())
            && begun.elapsed() < Duration::from_secs(15)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let _ = self.engine.wait();
        // What watched over containers is in groups of its own, and names the directory.
        let dir = self.dir.display().to_string();
        let names_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&dir)
        };
        for pid in pids().filter(names_it).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

async fn a_guest_prints_ends_and_leaves_nothing(mut house: House) {
    let id = house.start("echo hello; echo oops >&2; exit 7").await;
    assert_eq!(house.printed(id).await, "hello\noops\n");
    assert_eq!(house.exit_code(id).await, 7);
    let seen = house.see(id).await;
    assert!(matches!(seen.state, GuestState::Exited { code: 7, .. }), "{seen:?}");
    assert!(seen.usage.memory_peak > 0 && seen.usage.started_at > 0, "{seen:?}");
    assert!(!house.has_container(id), "the engine has nothing of it");
    house.guests.remove(id).await.expect("it is removed");
    assert!(!house.guest_dir(id).exists());
    let places = fs::read_dir("/run/sublet").map_or(0, |all| {
        all.flatten().filter(|one| id.to_string().starts_with(&*one.file_name().to_string_lossy())).count()
    });
    assert_eq!(places, 0);
}

/// However many of those who hold it are killed at once; and the node removes what the engine still has.
async fn a_guest_dies_with_its_supervisor_and_what_held_it(mut house: House) {
    let id = house.start("echo up; sleep 1000").await;
    house.printed_until(id, "up").await;
    let guest = house.container_process(id);
    let supervisor = house.supervisor(id);
    for pid in house.children_of(supervisor).into_iter().chain([supervisor]) {
        kill_process(pid, Signal::KILL).expect("it lives");
    }
    assert!(matches!(house.event().await, GuestEvent::Lost { .. }));
    let begun = Instant::now();
    while Path::new(&format!("/proc/{guest}")).exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the guest lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(house.see(id).await.state, GuestState::Lost { .. }));
    assert!(!house.has_container(id));
    house.guests.remove(id).await.expect("it is removed");
}

async fn a_frozen_guest_uses_no_processor_and_goes_on_when_thawed(mut house: House) {
    let id = house.start("echo up; while :; do :; done").await;
    house.printed_until(id, "up").await;
    house.guests.freeze(id).await.expect("it is frozen");
    let before = house.see(id).await;
    assert_eq!(before.state, GuestState::Frozen);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(house.see(id).await.usage.cpu_ms, before.usage.cpu_ms);
    house.guests.thaw(id).await.expect("it is thawed");
    let begun = Instant::now();
    while house.see(id).await.usage.cpu_ms <= before.usage.cpu_ms {
        assert!(begun.elapsed() < Duration::from_secs(10), "it stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One that is frozen is ended all the same.
    house.guests.freeze(id).await.expect("it is frozen");
    house.guests.stop(id, Duration::ZERO).await.expect("it is stopped");
    assert_eq!(house.exit_code(id).await, 137);
    assert!(!house.has_container(id));
}

async fn a_guest_lives_on_when_its_node_starts_again(mut house: House) {
    let id = house.start("echo up; while ! test -e /tmp/go; do sleep 0.1; done; echo gone").await;
    house.printed_until(id, "up").await;
    house.restart(async {}).await;
    assert_eq!(house.see(id).await.state, GuestState::Running);
    assert_eq!(house.exec_output(id, "touch /tmp/go").await.1, 0);
    assert_eq!(house.printed(id).await, "up\ngone\n");
    assert_eq!(house.exit_code(id).await, 0);
}

async fn more_memory_than_it_has_kills_it_and_it_is_told(mut house: House) {
    let mut spec = house.spec("cat /dev/zero | tail -c 200000000 > /dev/null; echo $?");
    spec.limits.memory = 32 << 20;
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert!(printed.lines().any(|line| line == "137"), "{printed}");
    assert_eq!(house.exit_code(spec.id).await, 0);
    let usage = house.see(spec.id).await.usage;
    assert!(usage.oom_kills >= 1, "{usage:?}");
    assert!(usage.memory_peak <= (48 << 20), "{usage:?}");
}

async fn a_guest_is_given_another_pace(house: House) {
    let id = house.start("echo up; while :; do :; done").await;
    house.printed_until(id, "up").await;
    house.guests.pace(id, 50).await.expect("it is paced");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, begun) = (house.see(id).await.usage.cpu_ms, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = house.see(id).await.usage.cpu_ms - before;
    let passed = begun.elapsed().as_millis() as u64;
    assert!(used <= passed * 100 / 1000 + 20, "{used} of {passed} ms");
}

async fn another_program_has_a_terminal_and_ends_with_who_asked(house: House) {
    let id = house.start("sleep 60").await;
    let mut another = script_in("stty size; read line; stty size; echo $$ > /tmp/pid; sleep 1000");
    another.terminal = Some(Size { columns: 101, rows: 41 });
    let mut exec = house.guests.exec(id, &another).await.expect("it begins");
    until(&mut exec.output, "41 101").await;
    exec.input.resize(Size { columns: 88, rows: 22 }).expect("a terminal");
    exec.input.write(b"\n").await.expect("it reads");
    until(&mut exec.output, "22 88").await;
    drop(exec);
    let gone =
        "for i in $(seq 100); do kill -0 $(cat /tmp/pid) 2>/dev/null || exit 0; sleep 0.1; done; exit 1";
    assert_eq!(house.exec_output(id, gone).await.1, 0);
}

async fn a_program_that_fails_is_begun_again(mut house: House) {
    let mut spec =
        house.spec("echo x >> /tmp/times; wc -l < /tmp/times; test $(wc -l < /tmp/times) = 3 || exit 9");
    spec.run.restart = Restart::OnFailure(None);
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.printed(spec.id).await, "1\n2\n3\n");
    assert_eq!(house.exit_code(spec.id).await, 0);
    assert_eq!(house.see(spec.id).await.usage.restarts, 2);
}

async fn users_of_the_image_are_themselves_and_nobody_on_this_machine(mut house: House) {
    let (said, _) =
        house.output("id -u; cat /proc/self/uid_map; touch /x 2>&1; touch /tmp/x && echo made").await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "0");
    let map: Vec<u64> = lines[1].split_whitespace().map(|word| word.parse().expect("a number")).collect();
    assert!(map[0] == 0 && map[1] >= 1_700_000_000 && map[2] >= 65_536, "{said}");
    assert!(lines[2].contains("Read-only") && lines[3] == "made", "{said}");
    let id = house.start("sleep 60").await;
    let web = ExecSpec { user: Some("web".into()), ..script_in("id -u; id -g; echo $HOME") };
    let mut exec = house.guests.exec(id, &web).await.expect("it begins");
    assert_eq!(all(&mut exec.output).await, ("33\n33\n/srv\n".to_owned(), 0));
}

async fn what_cannot_start_says_why(house: House) {
    let missing = GuestSpec { args: vec!["nothing".into()], ..house.spec("") };
    let error = house.guests.start(&missing).await.expect_err("there is no such program");
    assert!(error.to_string().contains("no program \"nothing\""), "{error}");
    let nobody = GuestSpec { user: "stranger".into(), ..house.spec("true") };
    let error = house.guests.start(&nobody).await.expect_err("there is no such user");
    assert!(error.to_string().contains("knows no user"), "{error}");
    assert!(!house.has_container(missing.id) && !house.guest_dir(missing.id).exists());
}

async fn what_a_guest_cannot_have_is_refused(house: House) {
    let refused = |outcome: Result<(), GuestError>| match outcome {
        Err(GuestError::Without { feature, .. }) => Some(feature),
        Err(error) => panic!("{error}"),
        Ok(()) => None,
    };
    let writing = GuestSpec { run: Settings::default(), ..house.spec("true") };
    assert_eq!(refused(house.guests.start(&writing).await), Some(Feature::Writing));
    let kept = Mount { source: house.place("kept"), target: "/kept".into(), read_only: true };
    let spec = GuestSpec { mounts: vec![kept], ..house.spec("true") };
    assert_eq!(refused(house.guests.start(&spec).await), Some(Feature::Volumes));
    let spec = GuestSpec { secrets: vec![secret("db", Readers::User, b"pearl\n")], ..house.spec("true") };
    assert_eq!(refused(house.guests.start(&spec).await), Some(Feature::Secrets));
    let node = Node { path: "/dev/null2".into(), host: "/dev/null".into(), device: (1, 3) };
    let devices = Devices { nodes: vec![node], ..Devices::default() };
    let spec = GuestSpec { devices, ..house.spec("true") };
    assert_eq!(refused(house.guests.start(&spec).await), Some(Feature::Devices));
}

async fn files_are_copied_in_and_out(house: House) {
    let id = house.start("sleep 60").await;
    house.write(&house.place("here/deep/file"), "hello");
    copy(&house, id, &into("/tmp"), &packed(&house.place("here"))).await.expect("it is copied in");
    let (text, _) = house.exec_output(id, "cat /tmp/here/deep/file; ls -ln /tmp/here/deep/file").await;
    assert!(
        text.starts_with("hello-rw") && text.contains(" 0        0 "),
        "it is the guest's root's: {text}"
    );
    // A link of the guest's ends in the guest, and never on this machine.
    house.exec_output(id, "ln -s ../../../../../../etc /tmp/etc; echo mine > /tmp/here/mine").await;
    for (path, start) in
        [("/tmp/here/mine", "mine\n"), ("/tmp/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:")]
    {
        let archive = copy(&house, id, &out(path), &[]).await.expect("it is copied out");
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut text = String::new();
        let first = archive.entries().expect("entries").next().expect("one");
        first.expect("a whole one").read_to_string(&mut text).expect("text");
        assert!(text.starts_with(start), "{path}: {text}");
    }
}

async fn its_processes_are_seen_as_it_sees_them(house: House) {
    let mut spec = house.spec("echo up; sleep 60 & sleep 61; true");
    spec.user = "web".into();
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    let seen = loop {
        let seen = house.guests.processes(spec.id).await.expect("processes").listed;
        if ["sleep 60", "sleep 61"].iter().all(|one| seen.iter().any(|process| process.command == *one)) {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(seen.len(), 3, "and no keeper: {seen:?}");
    let first = &seen[0];
    assert_eq!((first.parent, first.user), (0, 33), "{seen:?}");
    assert!(seen[1..].iter().all(|process| process.parent == first.pid && process.user == 33), "{seen:?}");
}
