//! The isolation test itself: the sandbox holds against each of its probes, whoever runs the node and whatever runs the
//! guests; and each probe gets through where there is no sandbox, so that none of them is empty.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use sublet_machine::guest::Runtime;
use sublet_machine::selftest::{Report, Setup, isolation};

use crate::house::House;

crate::truths![
    the_sandbox_holds_as_root,
    the_sandbox_holds_without_root,
    the_sandbox_holds_by_runc,
    the_sandbox_holds_by_runsc,
    the_sandbox_holds_by_podman,
    the_sandbox_holds_by_docker,
    every_probe_gets_through_where_there_is_no_sandbox,
];

/// `hostile DIR RUNTIME WITHOUT`: runs the isolation test in this process and prints its report.
pub fn run(words: &[String]) -> ExitCode {
    let [dir, runtime, without] = words else { return ExitCode::from(2) };
    let mut supervisor: Vec<std::ffi::OsString> = vec!["/proc/self/exe".into()];
    match without.as_str() {
        "" => supervisor.push("supervise".into()),
        without => supervisor.extend(["supervise-without".into(), without.into()]),
    }
    let runtime = match runtime {
        engine if engine.starts_with("unix://") => Some(Runtime::chosen(engine).expect("an engine")),
        path => Some(PathBuf::from(path)).filter(|path| path.is_absolute()).map(Runtime::at),
    };
    let setup = Setup { dir: dir.into(), supervisor, runtime, only: String::new() };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match tokio.block_on(isolation(setup, |tried| eprintln!("{tried:?}"))) {
        Ok(report) => {
            serde_json::to_writer(std::io::stdout(), &report).expect("JSON");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// Runs [`run`] in a process of its own, by a command that ends with this program and its words.
fn report(mut command: Command) -> Report {
    let done = command.stdin(Stdio::null()).output().expect("the test's program runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn assert_whole(report: &Report) {
    let failed: Vec<_> = report.failed().collect();
    assert!(
        failed.is_empty(),
        "{} of {} by {}: {failed:#?}",
        failed.len(),
        report.probes.len(),
        report.runtime
    );
    assert!(report.passed() >= 100, "{}", report.passed());
}

async fn the_sandbox_holds_as_root(house: House) {
    let mut command = Command::new(program());
    command.arg("hostile").arg(house.place("hostile")).args(["", ""]);
    assert_whole(&report(command));
}

async fn the_sandbox_holds_by_runc(house: House) {
    assert_whole(&report_by("runc", &house));
}

async fn the_sandbox_holds_by_runsc(house: House) {
    let report = report_by("runsc", &house);
    assert_whole(&report);
    let of_own = report.probes.iter().filter(|tried| tried.found.starts_with("of the guest's own kernel"));
    assert!(of_own.count() >= 5, "what is power over a kernel of one's own is said to be that: {report:#?}");
}

async fn the_sandbox_holds_by_podman(house: House) {
    by_engine("podman", house);
}

async fn the_sandbox_holds_by_docker(house: House) {
    by_engine("docker", house);
}

fn by_engine(name: &str, house: House) {
    let house = house.by_engine(name);
    let engine = house.guests.runtime().and_then(Runtime::engine).expect("an engine");
    let mut command = Command::new(program());
    command.arg("hostile").arg(house.place("hostile"));
    command.arg(format!("unix://{}", engine.socket().display())).arg("");
    let report = report(command);
    assert_whole(&report);
    assert!(report.runtime.starts_with(name), "{}", report.runtime);
}

fn report_by(runtime: &str, house: &House) -> Report {
    let runtime = Runtime::named(runtime)
        .unwrap_or_else(|| panic!("these tests need {runtime}: apt-get install {runtime}"));
    let mut command = Command::new(program());
    command.arg("hostile").arg(house.place("hostile")).arg(runtime.program()).arg("");
    report(command)
}

/// A user who exists in the files that only this test's processes see, with a range of subordinate ids, and control
/// groups that root has handed over.
async fn the_sandbox_holds_without_root(house: House) {
    const USER: u32 = 64123;
    let Some(groups) = Handed::over(USER) else {
        return eprintln!("SKIPPED: control groups of version 2 are handed over by systemd alone");
    };
    let etc = house.place("etc");
    fs::create_dir_all(&etc).expect("a directory");
    let files = [
        ("passwd", format!("root:x:0:0:root:/root:/bin/sh\nhost:x:{USER}:{USER}::/:/bin/sh\n")),
        ("group", format!("root:x:0:\nhost:x:{USER}:\n")),
        ("subuid", "host:1700000000:65536\n".to_owned()),
        ("subgid", "host:1700000000:65536\n".to_owned()),
    ];
    for (name, text) in &files {
        fs::write(etc.join(name), text).expect("a file");
    }
    let dir = house.place("of-user/hostile");
    fs::create_dir_all(&dir).expect("a directory");
    for path in [house.place(""), etc.clone(), house.place("of-user"), dir.clone()] {
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).expect("it is given away");
    }
    let script = format!(
        "{}for f in passwd group subuid subgid; do mount --bind \"$0/$f\" /etc/$f || exit 1; done; \
         exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"",
        groups.script()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command.arg(&etc).arg(program()).arg("hostile").arg(&dir).args(["", ""]);
    let report = report(command);
    drop(groups);
    assert!(!report.root);
    assert_whole(&report);
}

/// Version 1: control groups that belong to a user, and that the user's processes see where guests' groups are made. Those of
/// root stay root's: whose guests end meanwhile could not remove theirs.
struct Handed {
    /// Each with where it is seen.
    groups: Vec<(PathBuf, PathBuf)>,
}

impl Handed {
    fn over(user: u32) -> Option<Handed> {
        let mut parents: Vec<PathBuf> = ["cpu", "cpuacct", "memory", "pids", "unified"]
            .map(|name| Path::new("/sys/fs/cgroup").join(name))
            .into_iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        parents.dedup();
        if parents.len() < 4 {
            return None;
        }
        let make = |parent: PathBuf| {
            let (own, seen) = (parent.join(format!("user-{}", std::process::id())), parent.join("sublet"));
            for dir in [&own, &seen] {
                fs::create_dir_all(dir).expect("a group");
            }
            for given in [own.join("cgroup.procs"), own.clone()] {
                std::os::unix::fs::chown(given, Some(user), Some(user)).expect("it is given away");
            }
            (own, seen)
        };
        Some(Handed { groups: parents.into_iter().map(make).collect() })
    }

    /// What shows them, in a mount namespace of the user's processes, the first of which goes there.
    fn script(&self) -> String {
        let unified = self.groups.last().map(|(own, _)| own.display().to_string()).unwrap_or_default();
        let shown = self
            .groups
            .iter()
            .map(|(own, seen)| format!("mount --bind {} {} || exit 1; ", own.display(), seen.display()));
        format!("echo $$ > {unified}/cgroup.procs || exit 1; {}", shown.collect::<String>())
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        for (own, _) in &self.groups {
            let groups = fs::read_dir(own).into_iter().flatten().flatten().map(|entry| entry.path());
            groups.chain([own.clone()]).for_each(|group| drop(fs::remove_dir(group)));
        }
    }
}

/// In a network of the test's own, in which everything that the probes look for is there: a device, routes, the
/// addresses of a network and of a cloud's metadata.
async fn every_probe_gets_through_where_there_is_no_sandbox(house: House) {
    let town = Network::make();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", town.0)).arg(program()).arg("hostile");
    command.arg(house.place("hostile")).arg("");
    command.arg("calls,powers,paths,users,namespaces,network,devices,limits");
    let report = report(command);
    let absent = absent();
    let held: Vec<_> =
        report.probes.iter().filter(|one| one.held && !absent.contains(&one.probe.as_str())).collect();
    assert!(held.is_empty(), "{} of {} tried nothing: {held:#?}", held.len(), report.probes.len());
}

/// What cannot get through: because there is no such thing on this machine, or because others judge it.
fn absent() -> Vec<&'static str> {
    let without = |there: bool, names: &[&'static str]| if there { vec![] } else { names.to_vec() };
    let exists = |path: &str| Path::new(path).exists();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let powers =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapPrm:")?.trim(), 16).ok());
    let has_resource = powers.is_some_and(|powers| powers >> 24 & 1 == 1);
    let family = |number, kind| {
        let socket = socket(AddressFamily::from_raw(number), SocketType::from_raw(kind), None);
        socket.err() != Some(Errno::AFNOSUPPORT)
    };
    [
        // The machine sees how full log and memory are, and what is left when the guest is gone.
        without(false, &["bomb.log", "bomb.dirty_pages", "seen.remains"]),
        without(exists("/proc/modules"), &["call.init_module", "call.finit_module"]),
        without(exists("/sys/kernel/kexec_loaded"), &["call.kexec_load", "call.kexec_file_load"]),
        without(exists("/proc/sysrq-trigger"), &["proc.sysrq"]),
        without(exists("/dev/mem"), &["device.memory"]),
        without(has_resource, &["power.oom", "power.open_files"]),
        // Where real time is shared out among groups, ours were given none.
        without(!exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"), &["power.real_time"]),
        without(family(38, 5), &["socket.kernel_crypto"]),
        // The kernel has it in the first network alone, and the probes are in another.
        without(false, &["socket.bluetooth"]),
        without(family(29, 3), &["socket.can"]),
        without(family(30, 1), &["socket.tipc"]),
        without(family(40, 1), &["socket.vsock"]),
        without(family(44, 3), &["socket.xdp"]),
    ]
    .concat()
}

struct Network(String);

impl Network {
    fn make() -> Network {
        let network = Network(format!("sublet-test-{}", std::process::id()));
        let name = network.0.as_str();
        ip(&["netns", "add", name]);
        for line in [
            "link set lo up",
            "addr add 169.254.169.254/32 dev lo",
            "link add v0 type veth peer name v1",
            "addr add 10.66.0.1/24 dev v0",
            "addr add 2001:db8:66::1/64 dev v0 nodad",
            "link set v0 up",
            "link set v1 up",
            "route add default via 10.66.0.2",
            "route add default via 2001:db8:66::2",
        ] {
            ip(&[&["-n", name][..], &line.split(' ').collect::<Vec<_>>()].concat());
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

fn ip(words: &[&str]) {
    let status = Command::new("ip").args(words).status().expect("ip runs: apt-get install iproute2");
    assert!(status.success(), "ip {}", words.join(" "));
}
