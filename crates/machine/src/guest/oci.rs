//! The OCI configuration of a guest: all that is taken away from it, in one place.

use serde_json::{Value, json};

use super::defences::{self, Defences};
use super::exec::ExecSpec;
use super::image_users::User;
use super::nodes;
use super::own_kernel;
use super::record::Orders;
use super::runtime::USUAL_PATH;
use super::seccomp;
use super::secrets;
use super::settings::Tmpfs;
use super::spec::{GuestSpec, Limits};

/// The runtime's `config.json` for a root file system at `root`. `open_files` is the limit that this machine allows.
///
/// There is no network namespace in it: the guest inherits the supervisor's, which has nothing but a loopback device,
/// and over which it has no power. There is no /sys: it tells much of the machine and guests do not need it.
pub fn config(orders: &Orders, user: &User, root: &str, open_files: u64) -> Value {
    let Orders { spec, ids, .. } = orders;
    // The runtime has the outer namespace's 0; the guest's 0 is its 1.
    let map = json!([{ "containerID": 0, "hostID": 1, "size": ids.count() }]);
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup", "user"].map(|kind| json!({ "type": kind }));
    let mut config = json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": { "path": root, "readonly": spec.run.read_only },
        "process": process(spec, user, open_files),
        "mounts": mounts(orders),
        "linux": {
            "namespaces": namespaces,
            "uidMappings": map,
            "gidMappings": map,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp::profile(),
        },
    });
    if orders.runtime.has_own_kernel() {
        own_kernel::configure(&mut config, orders);
    }
    if orders.defences == Defences::default() { config } else { defences::weakened(config, orders) }
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
            "bounding": POWERS, "effective": POWERS, "permitted": POWERS, "inheritable": none, "ambient": none,
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
    let mut process = process(&another.within(spec), user, open_files);
    if let Some(size) = another.terminal {
        process["consoleSize"] = json!({ "height": size.rows, "width": size.columns });
    }
    process
}

/// What images need that give up root by themselves, after they have made their files ready: databases, web servers.
/// These powers reach no further than the guest's own user namespace: over files and processes of its own ids, which
/// are nobody's on the machine. None of them gives power over the kernel, the network, or other processes, and the
/// system calls that others begin with are refused all the same.
pub const POWERS: [&str; 7] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"];

/// What tells of the machine's hardware, kernel and boot, or of other people's work.
pub const MASKED: [&str; 18] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
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
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What programs expect to find, unless the tenant or the image says otherwise.
pub fn environment(spec: &GuestSpec, user: &User) -> Vec<String> {
    let has = |name: &str| spec.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let defaults = [("PATH", USUAL_PATH), ("HOME", &user.home), ("HOSTNAME", &spec.hostname)];
    let network = crate::network::environment(&spec.network);
    let defaults = defaults.map(|(name, value)| (name, value.to_owned())).into_iter().chain(network);
    let terminal = spec.run.terminal.then(|| ("TERM", "xterm".to_owned()));
    let device =
        |entry: &String| entry.split_once('=').is_some_and(|(name, _)| !has(name)).then(|| entry.clone());
    let devices = spec.devices.env.iter().filter_map(device);
    let missing = defaults.chain(terminal).filter(|(name, _)| !has(name));
    spec.env
        .iter()
        .cloned()
        .chain(devices)
        .chain(missing.map(|(name, value)| format!("{name}={value}")))
        .collect()
}

fn mounts(orders: &Orders) -> Vec<Value> {
    let spec = &orders.spec;
    let [shm, shared_files] = shm_options(spec);
    let usual = [
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm, &shared_files]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let in_memory = |tmpfs: &Tmpfs| {
        let [size, inodes] = tmpfs_options(tmpfs);
        mount(&tmpfs.path, "tmpfs", &["nosuid", "nodev", "mode=1777", &size, &inodes])
    };
    let devices = nodes::mounts(&spec.devices, &orders.ids);
    let in_memory = spec.run.tmpfs.iter().map(in_memory);
    usual.into_iter().chain(in_memory).chain(devices).chain(secrets::mounts(&spec.secrets)).collect()
}

pub(super) fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": kind, "options": options })
}

/// Options of /dev/shm.
pub fn shm_options(spec: &GuestSpec) -> [String; 2] {
    let size = spec.run.shm.unwrap_or(spec.limits.shared_memory());
    [format!("size={size}"), format!("nr_inodes={}", Limits::SHARED_FILES)]
}

/// Options of a directory in memory.
pub fn tmpfs_options(tmpfs: &Tmpfs) -> [String; 2] {
    [format!("size={}", tmpfs.size), format!("nr_inodes={}", Tmpfs::files(tmpfs.size))]
}
