//! What stands between a guest and the machine, part by part, so that tests can take parts away: a probe of the isolation
//! test that is not seen to get through without its defence proves nothing with it.
//!
//! A node cannot weaken a guest: orders carry no defences, and [`supervise`](super::supervise) has all of them. Only a
//! program written for that, as our test is, calls [`supervise_without`](super::supervise_without).

use serde_json::{Value, json};

use super::oci;
use super::record::Orders;
use super::sandbox::GROUPS;
use super::spec::Limits;

/// All are on unless a test takes one away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defences {
    /// The list of system calls.
    pub calls: bool,
    /// No capabilities beyond the harmless ones, and no way to new ones.
    pub powers: bool,
    /// Masked and read-only paths of the kernel, and no /sys.
    pub paths: bool,
    /// User namespaces: the guest's root is nobody on the machine.
    pub users: bool,
    /// Namespaces for processes, messages, names and control groups.
    pub namespaces: bool,
    /// A network of its own.
    pub network: bool,
    /// No devices but the harmless ones.
    pub devices: bool,
    /// Limits.
    pub limits: bool,
}

impl Default for Defences {
    fn default() -> Defences {
        Defences {
            calls: true,
            powers: true,
            paths: true,
            users: true,
            namespaces: true,
            network: true,
            devices: true,
            limits: true,
        }
    }
}

impl Defences {
    /// All but those named.
    pub(super) fn without(names: &[&str]) -> Defences {
        let on = |name: &str| !names.contains(&name);
        Defences {
            calls: on("calls"),
            powers: on("powers"),
            paths: on("paths"),
            users: on("users"),
            namespaces: on("namespaces"),
            network: on("network"),
            devices: on("devices"),
            limits: on("limits"),
        }
    }

    pub(super) fn loosen(self, limits: Limits) -> Limits {
        if self.limits {
            return limits;
        }
        Limits {
            cpu_millis: 64_000,
            memory: 2 << 30,
            disk: 1 << 30,
            inodes: 100_000,
            pids: 10_000,
            open_files: 100_000,
            log_bytes: 1 << 30,
            io_rate: 0,
        }
    }
}

/// Less of everything, for a test that shows what the rest is good for.
pub(super) fn weakened(mut config: Value, orders: &Orders) -> Value {
    let defences = orders.defences;
    let linux = &mut config["linux"];
    if !defences.calls {
        remove(linux, "seccomp");
    }
    if !defences.devices {
        let device = |path: &str, major: u32, minor: u32| json!({ "path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666 });
        linux["devices"] = json!([
            device("/dev/mem", 1, 1),
            device("/dev/kmsg", 1, 11),
            device("/dev/fuse", 10, 229),
            device("/dev/loop-control", 10, 237),
            device("/dev/net/tun", 10, 200),
        ]);
    }
    let mut dropped = Vec::new();
    if !defences.users {
        dropped.push("user");
        remove(linux, "uidMappings");
        remove(linux, "gidMappings");
    }
    if !defences.namespaces {
        dropped.extend(["pid", "ipc", "uts", "cgroup"]);
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| !dropped.iter().any(|kind| namespace["type"] == *kind));
    }
    if !defences.paths {
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
    }
    if !defences.namespaces {
        remove(&mut config, "hostname");
    }
    if !defences.powers {
        config["process"]["noNewPrivileges"] = json!(false);
        let ours = own_powers();
        let all = ALL_POWERS.split_whitespace().enumerate().filter(|(number, _)| ours >> number & 1 == 1);
        let all: Vec<String> = all.map(|(_, name)| format!("CAP_{name}")).collect();
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(all);
        }
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        if !defences.limits {
            mounts[1] = oci::mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64m"]);
            mounts[3] = oci::mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]);
        }
        let mut bind = |from: &str, to: &str| {
            mounts.push(
                json!({ "destination": to, "type": "bind", "source": from, "options": ["rbind", "rw"] }),
            );
        };
        if !defences.paths {
            bind("/sys", "/sys");
            bind(GROUPS, "/sys/fs/cgroup");
            let place = orders.spec.layers[0].parent().unwrap_or(&orders.spec.layers[0]);
            bind(&place.to_string_lossy(), "/machine");
        }
    }
    config
}

pub(super) fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

/// Those of this process, by their numbers.
fn own_powers() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapPrm:")?.trim(), 16).ok());
    set.unwrap_or(0)
}

/// In the order of their numbers.
const ALL_POWERS: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
                          NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO \
                          SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME \
                          SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND \
                          AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";
