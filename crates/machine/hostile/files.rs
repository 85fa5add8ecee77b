//! Files of the machine and of its kernel.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::sys::call;
use crate::sys::number::MKNODAT;
use crate::world::World;
use crate::{Probe, Verdict, all, failed, holds};

pub const PROBES: &[Probe] = &[
    Probe { name: "file.of_owner", attempt: of_owner },
    Probe { name: "file.of_image", attempt: of_image },
    Probe { name: "file.by_symlink", attempt: by_symlink },
    Probe { name: "file.of_mounts", attempt: of_mounts },
    Probe { name: "proc.other_processes", attempt: other_processes },
    Probe { name: "proc.foreign_root", attempt: foreign_root },
    Probe { name: "proc.core_pattern", attempt: |_| no_writing(&["/proc/sys/kernel/core_pattern"]) },
    Probe {
        name: "proc.modprobe",
        attempt: |_| no_writing(&["/proc/sys/kernel/modprobe", "/proc/sys/kernel/poweroff_cmd"]),
    },
    Probe {
        name: "proc.panic",
        attempt: |_| no_writing(&["/proc/sys/kernel/panic", "/proc/sys/vm/panic_on_oom"]),
    },
    Probe {
        name: "proc.drop_caches",
        attempt: |_| no_writing(&["/proc/sys/vm/drop_caches", "/proc/sys/vm/compact_memory"]),
    },
    Probe {
        name: "proc.overcommit",
        attempt: |_| no_writing(&["/proc/sys/vm/overcommit_memory", "/proc/sys/fs/file-max"]),
    },
    Probe {
        name: "proc.sysctl_network",
        attempt: |_| {
            no_writing(&["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])
        },
    },
    Probe { name: "proc.sysrq", attempt: |_| no_writing(&["/proc/sysrq-trigger"]) },
    Probe {
        name: "proc.irq",
        attempt: |_| no_writing(&["/proc/irq/default_smp_affinity", "/proc/irq/0/smp_affinity"]),
    },
    Probe { name: "proc.kcore", attempt: |_| no_reading(&["/proc/kcore", "/proc/kmsg"]) },
    Probe { name: "proc.symbols", attempt: |_| no_reading(&["/proc/kallsyms", "/proc/modules"]) },
    Probe { name: "proc.keys", attempt: |_| no_reading(&["/proc/keys", "/proc/key-users"]) },
    Probe {
        name: "proc.timers",
        attempt: |_| no_reading(&["/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats"]),
    },
    Probe { name: "proc.interrupts", attempt: |_| no_reading(&["/proc/interrupts"]) },
    Probe { name: "proc.boot", attempt: |_| no_reading(&["/proc/cmdline", "/proc/config.gz"]) },
    Probe { name: "proc.disks", attempt: |_| no_reading(&["/proc/partitions", "/proc/diskstats"]) },
    Probe { name: "sys.kernel", attempt: |_| nothing_in(&["/sys/kernel", "/sys/module", "/sys/fs/bpf"]) },
    Probe {
        name: "sys.hardware",
        attempt: |_| nothing_in(&["/sys/firmware", "/sys/class/dmi", "/sys/block", "/sys/bus"]),
    },
    Probe {
        name: "sys.power",
        attempt: |_| {
            no_writing(&[
                "/sys/power/state",
                "/sys/kernel/uevent_helper",
                "/sys/kernel/mm/transparent_hugepage/enabled",
            ])
        },
    },
    Probe { name: "groups.join", attempt: groups_join },
    Probe { name: "groups.make", attempt: groups_make },
    Probe { name: "device.list", attempt: device_list },
    Probe { name: "device.memory", attempt: |_| no_device(&["/dev/mem", "/dev/kmem", "/dev/port"]) },
    Probe { name: "device.messages", attempt: |_| no_device(&["/dev/kmsg"]) },
    Probe { name: "device.fuse", attempt: |_| no_device(&["/dev/fuse"]) },
    Probe { name: "device.loop", attempt: |_| no_device(&["/dev/loop-control", "/dev/loop0"]) },
    Probe { name: "device.make_disk", attempt: |_| no_making(0o060_600, "/tmp/made-disk", 254, 0) },
    Probe { name: "device.make_memory", attempt: |_| no_making(0o020_600, "/tmp/made-memory", 1, 1) },
];

/// By its path, from this process's root and from that of the first.
fn of_owner(world: &World) -> Verdict {
    let below = world.secret.strip_prefix("/").unwrap_or(&world.secret);
    let places = ["/", "/proc/1/root", "/proc/1/cwd", "/../../../..", "/proc/self/cwd/../../.."];
    all(places.map(|place| failed(File::open(Path::new(place).join(below)))))
}

/// The image lies beside the secret; what is written there, all guests of that image would have.
fn of_image(world: &World) -> Verdict {
    let Some(place) = world.secret.parent().and_then(|place| place.strip_prefix("/").ok()) else {
        return Verdict::Held("nothing to look for".into());
    };
    let roots = ["/", "/proc/1/root", "/../../../.."];
    all(roots.map(|root| failed(File::create(Path::new(root).join(place).join("layer/tmp/written")))))
}

fn by_symlink(world: &World) -> Verdict {
    let targets = [
        world.secret.clone(),
        PathBuf::from("/proc/1/root").join(world.secret.strip_prefix("/").unwrap_or(&world.secret)),
    ];
    let mut number = 0;
    all(targets.map(|target| {
        number += 1;
        let link = format!("/tmp/link-{number}");
        let _ = fs::remove_file(&link);
        failed(symlink(target, &link).and_then(|()| File::open(&link)))
    }))
}

/// The list of mounts must not say where on the machine they come from.
fn of_mounts(world: &World) -> Verdict {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = world.secret.parent().unwrap_or(Path::new("/nowhere")).to_string_lossy().into_owned();
    let told = mounts.lines().find(|line| line.contains(&place));
    holds(told.is_none(), told.unwrap_or("nothing of the machine"))
}

/// All that there are descend from the first, which is this program or its keeper.
fn other_processes(_: &World) -> Verdict {
    let names = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let processes: Vec<String> = names.filter(|name| name.parse::<u32>().is_ok()).collect();
    let foreign = processes.iter().find(|pid| !is_ours(pid) && Path::new(&format!("/proc/{pid}")).exists());
    holds(foreign.is_none(), format!("{} processes", processes.len()))
}

/// By its command line, which tells where on the machine to look for what: nobody else has it.
pub fn is_ours(pid: &str) -> bool {
    let line = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line(pid) == line("self")
        || [&b"/dev/"[..], b"/.sublet/"].iter().any(|keeper| line(pid).starts_with(keeper))
}

/// The first process stands in the same root directory as this one.
fn foreign_root(_: &World) -> Verdict {
    let place = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (place("/"), place("/proc/1/root/")) {
        (Ok(own), Ok(first)) => holds(own == first, format!("{own:?} and {first:?}")),
        (_, Err(error)) => Verdict::Held(error.to_string()),
        (Err(error), _) => Verdict::Breached(error.to_string()),
    }
}

/// Opened and left as it is.
fn no_writing(paths: &[&str]) -> Verdict {
    all(paths.iter().map(|path| failed(File::options().write(true).open(path))))
}

fn no_reading(paths: &[&str]) -> Verdict {
    all(paths.iter().map(|path| {
        let mut byte = [0];
        match File::open(path).and_then(|mut file| file.read(&mut byte)) {
            Ok(0) => Verdict::Held("empty".into()),
            Ok(_) => Verdict::Breached(format!("{path} tells")),
            Err(error) => Verdict::Held(error.to_string()),
        }
    }))
}

fn nothing_in(paths: &[&str]) -> Verdict {
    all(paths.iter().map(|path| {
        let first = fs::read_dir(path).ok().and_then(|mut entries| entries.next()?.ok());
        holds(
            first.is_none(),
            first.map_or("nothing there".into(), |entry| entry.path().display().to_string()),
        )
    }))
}

fn groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    below.chain([root.to_owned()]).filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// Out of one's own group, into the one above, where no limit is.
fn groups_join(_: &World) -> Verdict {
    all(groups().iter().map(|group| {
        failed(
            File::options()
                .write(true)
                .open(group.join("cgroup.procs"))
                .and_then(|mut file| file.write_all(b"0")),
        )
    }))
}

fn groups_make(_: &World) -> Verdict {
    all(groups().iter().map(|group| {
        let made = fs::create_dir(group.join("sublet-hostile"));
        let _ = fs::remove_dir(group.join("sublet-hostile"));
        failed(made)
    }))
}

fn device_list(_: &World) -> Verdict {
    const HARMLESS: [&str; 18] = [
        "console", "core", "fd", "full", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
        "stdin", "stdout", "tty", "urandom", "zero", "log",
    ];
    let names = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let other = names.filter(|name| !HARMLESS.contains(&name.as_str())).collect::<Vec<_>>();
    holds(other.is_empty(), other.join(" "))
}

fn no_device(paths: &[&str]) -> Verdict {
    all(paths.iter().map(|path| {
        failed(File::options().read(true).open(path).or_else(|_| File::options().write(true).open(path)))
    }))
}

fn no_making(mode: usize, path: &str, major: usize, minor: usize) -> Verdict {
    let Ok(name) = CString::new(path) else { return Verdict::Breached("a bad name".into()) };
    let _ = fs::remove_file(path);
    let here = -100_isize as usize;
    let made: io::Result<usize> = call(MKNODAT, [here, name.as_ptr() as usize, mode, (major << 8) | minor]);
    failed(made)
}
