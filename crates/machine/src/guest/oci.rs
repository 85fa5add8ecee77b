//! The OCI configuration of a guest: all that is taken away from it, in one place.

use serde_json::{Value, json};

use super::exec::ExecSpec;
use super::ids::Ids;
use super::image_users::User;
use super::runtime::USUAL_PATH;
use super::seccomp;
use super::settings::Settings;
use super::spec::GuestSpec;

/// The runtime's `config.json` for a root file system at `root`. `open_files` is the limit that this machine allows.
///
/// There is no network namespace in it: the guest inherits the supervisor's, which has nothing but a loopback device,
/// and over which it has no power. There is no /sys: it tells much of the machine and guests do not need it.
pub fn config(spec: &GuestSpec, ids: &Ids, user: &User, root: &str, open_files: u64) -> Value {
    // The runtime has the outer namespace's 0; the guest's 0 is its 1.
    let map = json!([{ "containerID": 0, "hostID": 1, "size": ids.count() }]);
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup", "user"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": { "path": root, "readonly": false },
        "process": process(spec, user, open_files),
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size(spec), "nr_inodes=1024"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "uidMappings": map,
            "gidMappings": map,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp::profile(),
        },
    })
}

/// The guest's own program, and what every program in the guest has in common with it.
fn process(spec: &GuestSpec, user: &User, open_files: u64) -> Value {
    let none: [&str; 0] = [];
    json!({
        "terminal": spec.run.terminal,
        "consoleSize": { "height": 24, "width": 80 },
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups, "umask": 0o022 },
        "args": spec.args,
        "env": environment(spec, user),
        "cwd": spec.cwd,
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
        },
        // When the machine runs out of memory, a guest goes before any program of the owner, and before the
        // runtime that holds it.
        "oomScoreAdj": 900,
        "rlimits": [
            { "type": "RLIMIT_NOFILE", "hard": open_files, "soft": open_files },
            { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
        ],
    })
}

/// Another program in the guest: as its own, but for what was asked for.
pub fn another_process(spec: &GuestSpec, another: &ExecSpec, user: &User, open_files: u64) -> Value {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let given: Vec<String> = another.env.iter().map(|entry| name(entry)).collect();
    let inherited = spec.env.iter().filter(|entry| !given.contains(&name(entry)));
    let merged = GuestSpec {
        args: another.args.clone(),
        env: inherited.chain(&another.env).cloned().collect(),
        cwd: another.cwd.clone().unwrap_or_else(|| spec.cwd.clone()),
        run: Settings { terminal: another.terminal.is_some(), ..spec.run.clone() },
        ..spec.clone()
    };
    let mut process = process(&merged, user, open_files);
    if let Some(size) = another.terminal {
        process["consoleSize"] = json!({ "height": size.rows, "width": size.columns });
    }
    process
}

/// What tells of the machine's hardware, kernel and boot, or of other people's work.
const MASKED: [&str; 17] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// What could change the machine.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What programs expect to find, unless the tenant or the image says otherwise.
pub fn environment(spec: &GuestSpec, user: &User) -> Vec<String> {
    let has = |name: &str| spec.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let defaults = [("PATH", USUAL_PATH), ("HOME", &user.home), ("HOSTNAME", &spec.hostname)];
    let network = crate::network::environment(&spec.network);
    let defaults = defaults.map(|(name, value)| (name, value.to_owned())).into_iter().chain(network);
    let terminal = spec.run.terminal.then(|| ("TERM", "xterm".to_owned()));
    let missing = defaults.chain(terminal).filter(|(name, _)| !has(name));
    spec.env.iter().cloned().chain(missing.map(|(name, value)| format!("{name}={value}"))).collect()
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": kind, "options": options })
}

/// Shared memory counts as the guest's memory anyway; a quarter of it is what databases expect at most.
fn shm_size(spec: &GuestSpec) -> String {
    format!("size={}", spec.limits.memory / 4)
}
