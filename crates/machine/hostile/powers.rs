//! Powers that a process could have, or get.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::files::is_ours;
use crate::sys::number::{IOPRIO_SET, SCHED_SETSCHEDULER, SETPRIORITY};
use crate::sys::{self, call};
use crate::world::World;
use crate::{Probe, Verdict, failed, holds};

pub const PROBES: &[Probe] = &[
    Probe { name: "power.capabilities", attempt: capabilities },
    // Asked, not read: not every kernel writes it down.
    Probe {
        name: "power.no_new_privileges",
        attempt: |_| holds(sys::no_new_privileges(), "as the kernel says"),
    },
    Probe { name: "power.call_filter", attempt: |_| status("Seccomp:", "2") },
    Probe { name: "power.user", attempt: user },
    Probe { name: "power.setuid", attempt: setuid },
    Probe { name: "power.file_capability", attempt: file_capability },
    Probe {
        name: "power.oom",
        attempt: |_| {
            failed(
                fs::File::options()
                    .write(true)
                    .open("/proc/self/oom_score_adj")
                    .and_then(|mut file| file.write_all(b"-1000")),
            )
        },
    },
    Probe { name: "power.nice", attempt: |_| failed(call(SETPRIORITY, [0, 0, -20_isize as usize])) },
    Probe { name: "power.real_time", attempt: real_time },
    Probe { name: "power.io_priority", attempt: |_| failed(call(IOPRIO_SET, [1, 0, 1 << 13])) },
    Probe { name: "power.open_files", attempt: |_| failed(sys::limit_files(sys::most_files() + 1)) },
    Probe { name: "power.kill_others", attempt: kill_others },
];

/// What images that change their user themselves need, and what is harmless over files and processes of one's own:
/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
const HARMLESS: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10;

fn line(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

fn capabilities(_: &World) -> Verdict {
    let sets = ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "CapInh:"];
    let all =
        sets.iter().filter_map(|set| u64::from_str_radix(&line(set)?, 16).ok()).fold(0, |all, set| all | set);
    holds(all & !HARMLESS == 0, format!("{all:x}"))
}

fn status(name: &str, wanted: &str) -> Verdict {
    let found = line(name).unwrap_or_default();
    holds(found == wanted, found)
}

/// The guest's root is not the machine's.
fn user(_: &World) -> Verdict {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_machine = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
    holds(!is_machine && !map.is_empty(), map.trim())
}

/// A program of root's that whoever runs it becomes root.
fn setuid(_: &World) -> Verdict {
    const COPY: &str = "/tmp/whoami";
    let made = fs::copy("/proc/self/exe", COPY)
        .and_then(|_| fs::set_permissions(COPY, fs::Permissions::from_mode(0o4755)));
    if let Err(error) = made {
        return Verdict::Breached(format!("the probe's program was not made: {error}"));
    }
    if let Err(error) = sys::become_user(1000) {
        // Then there is no other user to become root from.
        return Verdict::Held(error.to_string());
    }
    match Command::new(COPY).arg("whoami").status() {
        Ok(status) => holds(!status.success(), "ran as who called it"),
        Err(error) => Verdict::Held(error.to_string()),
    }
}

fn file_capability(_: &World) -> Verdict {
    let Ok(()) = fs::write("/tmp/capable", b"") else { return Verdict::Breached("no file".into()) };
    // Version 2, effective: all of the first 32.
    let value = [1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    failed(sys::set_attribute(c"/tmp/capable", c"security.capability", &value))
}

fn real_time(_: &World) -> Verdict {
    let priority = 1_i32;
    failed(call(SCHED_SETSCHEDULER, [0, 1, &raw const priority as usize]))
}

/// Signal 0 only asks whether one could. The guest's own processes do not count.
fn kill_others(_: &World) -> Verdict {
    let foreign = (1..400).find(|pid| !is_ours(&pid.to_string()) && sys::signal(*pid, 0).is_ok());
    holds(foreign.is_none(), foreign.map_or("nobody else there".into(), |pid| format!("process {pid}")))
}
