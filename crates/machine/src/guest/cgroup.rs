//! Control groups: what holds a guest to its limits, measures it, freezes it, and finds all of its processes.
//!
//! Version 2: one group per guest below one that is ours to divide. Version 1 (as root only): one group per guest and
//! controller, and one in the unified hierarchy beside them, which alone can freeze processes so that they can still
//! be killed.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::error::{LimitError, Os, Remedy};
use super::record::Usage;
use super::runtime::Keep;
use super::spec::{GuestId, LimitName, Limits};
use super::writable::Writable;
use crate::device::{Devices, Node};

/// The groups that we may divide among guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hierarchy {
    /// One hierarchy for each controller.
    V1 {
        /// Limits processor time.
        cpu: PathBuf,
        /// Measures it; often the same place.
        cpuacct: PathBuf,
        /// Limits and measures memory.
        memory: PathBuf,
        /// Limits processes.
        pids: PathBuf,
        /// Limits reading and writing on disks, if the kernel can.
        #[serde(default)]
        blkio: Option<PathBuf>,
        /// Says which devices can be opened, if the kernel can.
        #[serde(default)]
        devices: Option<PathBuf>,
        /// Freezes.
        unified: PathBuf,
    },
    /// One hierarchy for all.
    V2 {
        /// Has all controllers enabled for its children.
        parent: PathBuf,
        /// Whether that of reading and writing is among them.
        #[serde(default)]
        io: bool,
    },
}

/// The groups of one guest.
#[derive(Clone, Debug)]
pub struct Group {
    name: String,
    hierarchy: Hierarchy,
}

/// The way into a guest's groups, for its first process, and thereby for all that it will ever start.
pub struct Entrance {
    /// Version 2: it is born there.
    pub born_into: OwnedFd,
    /// Version 1: it goes there itself, first thing.
    joined: Vec<fs::File>,
}

impl Entrance {
    /// Puts this process, which has one thread, under the limits of version 1.
    pub fn join(mut self) -> io::Result<()> {
        self.joined.iter_mut().try_for_each(|tasks| tasks.write_all(b"0"))
    }
}

/// Microseconds over which processor time is shared out: short enough that a guest never stalls for long.
const PERIOD: u64 = 100_000;

/// What every guest may open: `null`, `zero`, `full`, `random`, `urandom`, `tty`, `ptmx` and terminals.
const USUAL_DEVICES: [&str; 8] = ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*"];

/// The least that the kernel shares out, in thousandths of a core.
const LEAST_CPU: u32 = 10;

impl Hierarchy {
    /// Looks for groups that we may divide, and prepares them.
    ///
    /// # Errors
    /// Names the first limit that could not be enforced.
    pub fn find() -> Result<Hierarchy, LimitError> {
        let mounts = Mounts::read();
        if mounts.v1.is_empty() { find_v2(&mounts) } else { find_v1(&mounts) }
    }

    /// Whether swap is limited; if not, guests are only kept off it.
    pub fn counts_swap(&self) -> bool {
        match self {
            Hierarchy::V1 { memory, .. } => memory.join("memory.memsw.limit_in_bytes").exists(),
            Hierarchy::V2 { parent, .. } => {
                let controllers = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
                controllers.split_whitespace().any(|name| name == "memory")
                    && Path::new("/proc/swaps").exists()
            }
        }
    }

    /// Whether reading and writing can be limited to a rate.
    pub fn limits_io(&self) -> bool {
        match self {
            Hierarchy::V1 { blkio, .. } => blkio.is_some(),
            Hierarchy::V2 { io, .. } => *io,
        }
    }

    /// Whether guests are kept from all devices but their own by the kernel too, and not only by having no node of them.
    pub fn guards_devices(&self) -> bool {
        match self {
            Hierarchy::V1 { devices, .. } => devices.is_some(),
            Hierarchy::V2 { .. } => false,
        }
    }

    /// The version, for people.
    pub fn version(&self) -> u8 {
        match self {
            Hierarchy::V1 { .. } => 1,
            Hierarchy::V2 { .. } => 2,
        }
    }

    /// The groups of `id`; they need not be there.
    pub fn group(&self, id: &GuestId) -> Group {
        Group { name: id.to_string(), hierarchy: self.clone() }
    }
}

impl Group {
    /// The groups that somebody else has made around this process, to be looked at.
    pub fn around(pid: Pid) -> Option<Group> {
        let mounts = Mounts::read();
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())).ok()?;
        around(&mounts, &groups)
    }

    /// Makes the groups and sets the limits in them. `keep` is what holds the guest, and lives in them beside it.
    pub fn create(&self, limits: &Limits, writable: Writable, keep: Keep) -> Result<(), LimitError> {
        for (limit, dir) in self.dirs() {
            make_dir(&dir).map_err(|os| LimitError::NoGroup { limit, dir, os })?;
        }
        let cpu = u64::from(limits.cpu_millis) * PERIOD / 1000;
        // A quarter of the usual share for each core: the owner's programs come first where both want the processor.
        let shares = (u64::from(limits.cpu_millis) * 256 / 1000).max(2);
        let pids = limits.pids.saturating_add(keep.pids);
        let ram = limits.ram(writable).saturating_add(keep.memory);
        let set = |limit, dir: &Path, file: &str, value: u64| write(limit, dir.join(file), value.to_string());
        match &self.hierarchy {
            Hierarchy::V1 { cpu: cpus, memory, pids: processes, .. } => {
                let (cpus, memory, processes) =
                    (cpus.join(&self.name), memory.join(&self.name), processes.join(&self.name));
                set(LimitName::Cpu, &cpus, "cpu.cfs_period_us", PERIOD)?;
                set(LimitName::Cpu, &cpus, "cpu.cfs_quota_us", cpu)?;
                set(LimitName::Cpu, &cpus, "cpu.shares", shares)?;
                set(LimitName::Memory, &memory, "memory.limit_in_bytes", ram)?;
                if memory.join("memory.memsw.limit_in_bytes").exists() {
                    set(LimitName::Memory, &memory, "memory.memsw.limit_in_bytes", ram)?;
                } else {
                    // A kernel that does not count swap: then the guest gets none.
                    set(LimitName::Memory, &memory, "memory.swappiness", 0)?;
                }
                set(LimitName::Pids, &processes, "pids.max", pids.into())
            }
            Hierarchy::V2 { parent, .. } => {
                let dir = parent.join(&self.name);
                write(LimitName::Cpu, dir.join("cpu.max"), format!("{cpu} {PERIOD}"))?;
                set(LimitName::Cpu, &dir, "cpu.weight", (shares * 100 / 1024).clamp(1, 10_000))?;
                set(LimitName::Memory, &dir, "memory.max", ram)?;
                if dir.join("memory.swap.max").exists() {
                    set(LimitName::Memory, &dir, "memory.swap.max", 0)?;
                }
                set(LimitName::Pids, &dir, "pids.max", pids.into())
            }
        }
    }

    /// Lets processes in the group open these devices and those that every guest has, and no others: not even by a node that
    /// somebody else has made where they find it.
    pub fn allow_devices(&self, own: &Devices) -> Result<(), LimitError> {
        let Hierarchy::V1 { devices: Some(parent), .. } = &self.hierarchy else { return Ok(()) };
        let dir = parent.join(&self.name);
        let own = own.nodes.iter().map(|Node { device: (major, minor), .. }| format!("{major}:{minor}"));
        write(LimitName::Devices, dir.join("devices.deny"), "a".to_owned())?;
        for device in USUAL_DEVICES.map(str::to_owned).into_iter().chain(own) {
            write(LimitName::Devices, dir.join("devices.allow"), format!("c {device} rw"))?;
        }
        Ok(())
    }

    /// Limits reading, and writing, on a disk to so many bytes in a second; nought: no limit. Where the kernel cannot, the
    /// owner is told so by [`Hierarchy::limits_io`].
    pub fn limit_io(&self, device: (u32, u32), rate: u64) -> Result<(), LimitError> {
        if rate == 0 {
            return Ok(());
        }
        let (major, minor) = device;
        match &self.hierarchy {
            Hierarchy::V1 { blkio: Some(blkio), .. } => {
                let dir = blkio.join(&self.name);
                ["read", "write"].into_iter().try_for_each(|way| {
                    let file = dir.join(format!("blkio.throttle.{way}_bps_device"));
                    write(LimitName::Io, file, format!("{major}:{minor} {rate}"))
                })
            }
            Hierarchy::V2 { parent, io: true } => {
                let file = parent.join(&self.name).join("io.max");
                write(LimitName::Io, file, format!("{major}:{minor} rbps={rate} wbps={rate}"))
            }
            Hierarchy::V1 { blkio: None, .. } | Hierarchy::V2 { io: false, .. } => Ok(()),
        }
    }

    /// Opens the way into the groups. Both ways in avoid moving a process from outside, for which the kernel stops all
    /// forks on the machine, some 15 ms long.
    pub fn entrance(&self) -> io::Result<Entrance> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let born_into = rustix::fs::open(self.unified(), flags, Mode::empty())?;
        let joined = match &self.hierarchy {
            Hierarchy::V1 { .. } => {
                self.dirs().into_iter().map(|(_, dir)| dir).filter(|dir| *dir != self.unified()).collect()
            }
            Hierarchy::V2 { .. } => Vec::new(),
        };
        let open = |dir: PathBuf| fs::File::options().write(true).open(dir.join("tasks"));
        Ok(Entrance { born_into, joined: joined.into_iter().map(open).collect::<io::Result<_>>()? })
    }

    /// Gives the group another share of the processor than it was made with.
    pub fn set_cpu(&self, millis: u32) -> io::Result<()> {
        let quota = u64::from(millis.max(LEAST_CPU)) * PERIOD / 1000;
        match &self.hierarchy {
            Hierarchy::V1 { cpu, .. } => {
                fs::write(cpu.join(&self.name).join("cpu.cfs_quota_us"), quota.to_string())
            }
            Hierarchy::V2 { parent, .. } => {
                fs::write(parent.join(&self.name).join("cpu.max"), format!("{quota} {PERIOD}"))
            }
        }
    }

    /// Freezes or thaws all processes, and waits until it is so, at most `within`.
    pub fn set_frozen(&self, frozen: bool, within: Duration) -> io::Result<()> {
        fs::write(self.unified().join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        self.wait_until("frozen", frozen.into(), within)
    }

    /// Waits for a value in the group's events.
    fn wait_until(&self, key: &str, value: u64, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        let events = fs::File::open(self.unified().join("cgroup.events"))?;
        loop {
            let mut text = [0; 256];
            let length = events.read_at(&mut text, 0)?;
            if keyed(&String::from_utf8_lossy(&text[..length]), key) == Some(value) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            // The kernel calls a changed file urgent.
            if poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Kills every process in the group.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.unified().join("cgroup.kill"), "1")
    }

    /// What the group has used; what cannot be read counts nought.
    pub fn usage(&self) -> Usage {
        let number = |path: PathBuf| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        let keyed_in = |path: PathBuf, key| fs::read_to_string(path).ok().and_then(|text| keyed(&text, key));
        let (cpu_ms, memory_bytes, memory_peak, oom_kills, cache_bytes, pids) = match &self.hierarchy {
            Hierarchy::V1 { cpuacct, memory, pids, .. } => {
                let (cpuacct, memory) = (cpuacct.join(&self.name), memory.join(&self.name));
                (
                    number(cpuacct.join("cpuacct.usage")).map(|ns: u64| ns / 1_000_000),
                    number(memory.join("memory.usage_in_bytes")),
                    number(memory.join("memory.max_usage_in_bytes")),
                    keyed_in(memory.join("memory.oom_control"), "oom_kill"),
                    keyed_in(memory.join("memory.stat"), "total_inactive_file"),
                    number(pids.join(&self.name).join("pids.current")),
                )
            }
            Hierarchy::V2 { parent, .. } => {
                let dir = parent.join(&self.name);
                (
                    keyed_in(dir.join("cpu.stat"), "usage_usec").map(|us| us / 1000),
                    number(dir.join("memory.current")),
                    number(dir.join("memory.peak")),
                    keyed_in(dir.join("memory.events"), "oom_kill"),
                    keyed_in(dir.join("memory.stat"), "inactive_file"),
                    number(dir.join("pids.current")),
                )
            }
        };
        Usage {
            cpu_ms: cpu_ms.unwrap_or(0),
            memory_bytes: memory_bytes.unwrap_or(0),
            memory_peak: memory_peak.unwrap_or(0),
            oom_kills: oom_kills.unwrap_or(0),
            cache_bytes: cache_bytes.unwrap_or(0),
            pids: pids.unwrap_or(0),
            ..Usage::default()
        }
    }

    /// The processes in the group, by their numbers here.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        let list = fs::read_to_string(self.unified().join("cgroup.procs"))?;
        // Nought is a process that cannot be seen from here.
        Ok(list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
    }

    /// Removes the groups. Fails with `EBUSY` while a process is left in one.
    pub fn remove(&self) -> io::Result<()> {
        let removed = self.dirs().into_iter().map(|(_, dir)| match fs::remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
        // All are tried: one that stays is no reason to leave the others.
        removed.collect::<Vec<io::Result<()>>>().into_iter().collect()
    }

    /// A group that still exists.
    pub fn left(&self) -> Option<PathBuf> {
        self.dirs().into_iter().map(|(_, dir)| dir).find(|dir| dir.exists())
    }

    /// Kills what is left in the groups, and waits until it is gone.
    pub fn clear(&self, within: Duration) -> io::Result<()> {
        if !self.unified().exists() {
            return Ok(());
        }
        self.kill()?;
        self.wait_until("populated", 0, within)
    }

    /// Each group, with what would be without a limit if it were missing.
    fn dirs(&self) -> Vec<(LimitName, PathBuf)> {
        let own = |limit, parent: &Path| (limit, parent.join(&self.name));
        match &self.hierarchy {
            Hierarchy::V1 { cpu, cpuacct, memory, pids, blkio, devices, unified } => [
                blkio.as_ref().map(|blkio| own(LimitName::Io, blkio)),
                devices.as_ref().map(|devices| own(LimitName::Devices, devices)),
                Some(own(LimitName::Cpu, cpu)),
                Some(own(LimitName::Cpu, cpuacct)),
                Some(own(LimitName::Memory, memory)),
                Some(own(LimitName::Pids, pids)),
                Some(own(LimitName::Freezing, unified)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            Hierarchy::V2 { parent, .. } => vec![own(LimitName::Memory, parent)],
        }
    }

    fn unified(&self) -> PathBuf {
        match &self.hierarchy {
            Hierarchy::V1 { unified: parent, .. } | Hierarchy::V2 { parent, .. } => parent.join(&self.name),
        }
    }
}

/// Processor time that all guests of this machine have used since they were started, in microseconds.
pub fn guests_cpu(hierarchy: &Hierarchy) -> u64 {
    let parent = match hierarchy {
        Hierarchy::V1 { cpuacct, .. } => cpuacct,
        Hierarchy::V2 { parent, .. } => parent,
    };
    let groups = fs::read_dir(parent).into_iter().flatten().filter_map(|entry| entry.ok());
    let guests =
        groups.filter(|group| group.file_name().to_str().is_some_and(|name| name.parse::<GuestId>().is_ok()));
    let used = |dir: PathBuf| match hierarchy {
        Hierarchy::V1 { .. } => {
            let nanos: u64 = fs::read_to_string(dir.join("cpuacct.usage")).ok()?.trim().parse().ok()?;
            Some(nanos / 1_000)
        }
        Hierarchy::V2 { .. } => keyed(&fs::read_to_string(dir.join("cpu.stat")).ok()?, "usage_usec"),
    };
    guests.filter_map(|group| used(group.path())).sum()
}

/// `groups` as cgroups(7) has them: `number:controllers:path`, without a controller in version 2.
fn around(mounts: &Mounts, groups: &str) -> Option<Group> {
    let dir = |controller: &str| {
        let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let is_it = |names: &str| names.split(',').any(|name| name == controller);
        let (_, path) = lines.find(|(names, path)| is_it(names) && *path != "/")?;
        let root = match controller {
            "" => mounts.v2.as_ref(),
            _ => mounts.v1.iter().find(|(name, _)| name == controller).map(|(_, root)| root),
        };
        Some(root?.join(path.trim_start_matches('/')))
    };
    let name = dir("memory").or_else(|| dir(""))?.file_name()?.to_str()?.to_owned();
    let parent = |controller| Some(dir(controller)?.parent()?.to_owned());
    let hierarchy = match parent("memory") {
        Some(memory) => Hierarchy::V1 {
            cpu: parent("cpu")?,
            cpuacct: parent("cpuacct")?,
            memory,
            pids: parent("pids")?,
            blkio: None,
            devices: None,
            unified: parent("").unwrap_or_default(),
        },
        None => Hierarchy::V2 { parent: parent("")?, io: false },
    };
    Some(Group { name, hierarchy })
}

/// Where control groups are mounted.
struct Mounts {
    /// Controllers and their hierarchy's root.
    v1: Vec<(String, PathBuf)>,
    v2: Option<PathBuf>,
}

/// What enforces which limit.
const CONTROLLERS: [(&str, LimitName); 3] =
    [("cpu", LimitName::Cpu), ("memory", LimitName::Memory), ("pids", LimitName::Pids)];

impl Mounts {
    fn read() -> Mounts {
        Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Lines as proc(5) has them: `.. root mountpoint options [fields] - type source super-options`.
    fn parse(mountinfo: &str) -> Mounts {
        let mut mounts = Mounts { v1: Vec::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let Some(at) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut filesystem = filesystem.split(' ');
            match (filesystem.next(), filesystem.nth(1)) {
                (Some("cgroup2"), _) => mounts.v2 = mounts.v2.or(Some(at)),
                (Some("cgroup"), Some(options)) => {
                    let names = options.split(',').filter(|option| !option.contains('='));
                    mounts.v1.extend(names.map(|name| (name.to_owned(), at.clone())));
                }
                _ => {}
            }
        }
        // Named hierarchies (`name=systemd`) limit nothing, and stand on pure version 2 machines too.
        let ours = ["cpu", "cpuacct", "memory", "pids", "blkio", "devices"];
        mounts.v1.retain(|(name, _)| ours.contains(&name.as_str()));
        mounts
    }
}

fn find_v1(mounts: &Mounts) -> Result<Hierarchy, LimitError> {
    let ours = |controller: &str, limit| {
        let missing = |remedy| LimitError::NoController { limit, controller: controller.to_owned(), remedy };
        let (_, root) =
            mounts.v1.iter().find(|(name, _)| name == controller).ok_or(missing(Remedy::Kernel))?;
        let parent = root.join("sublet");
        make_dir(&parent).map_err(|_| missing(Remedy::Root))?;
        Ok(parent)
    };
    let freezer = |remedy| LimitError::NoController {
        limit: LimitName::Freezing,
        controller: "cgroup2".to_owned(),
        remedy,
    };
    let unified = mounts.v2.as_ref().ok_or(freezer(Remedy::MountUnified))?.join("sublet");
    make_dir(&unified).map_err(|_| freezer(Remedy::Root))?;
    if !unified.join("cgroup.freeze").exists() || !unified.join("cgroup.kill").exists() {
        return Err(freezer(Remedy::Kernel));
    }
    Ok(Hierarchy::V1 {
        cpu: ours("cpu", LimitName::Cpu)?,
        cpuacct: ours("cpuacct", LimitName::Cpu)?,
        memory: ours("memory", LimitName::Memory)?,
        pids: ours("pids", LimitName::Pids)?,
        blkio: ours("blkio", LimitName::Io).ok().filter(|own| can_throttle(own)),
        devices: ours("devices", LimitName::Devices).ok().filter(|own| can_guard(own)),
        unified,
    })
}

/// Not every kernel can, and not everybody may, who has the groups that guests cannot do without.
fn can_throttle(blkio: &Path) -> bool {
    blkio.join("blkio.throttle.read_bps_device").exists()
        && rustix::fs::access(blkio, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Only root may.
fn can_guard(devices: &Path) -> bool {
    devices.join("devices.deny").exists() && rustix::process::geteuid().is_root()
}

fn find_v2(mounts: &Mounts) -> Result<Hierarchy, LimitError> {
    let missing = |(controller, limit): (&str, LimitName), remedy| LimitError::NoController {
        limit,
        controller: controller.to_owned(),
        remedy,
    };
    let root = mounts.v2.as_ref().ok_or(missing(CONTROLLERS[0], Remedy::Kernel))?;
    let own = own_v2_group(root);
    // A service's group is ours if systemd handed it over; root otherwise takes a group of its own at the top.
    let parent = match own.filter(|own| is_delegated(own)) {
        Some(own) => {
            leave_for_leaf(&own).map_err(|_| missing(CONTROLLERS[0], Remedy::Delegate))?;
            own
        }
        None if rustix::process::geteuid().is_root() => root.join("sublet"),
        None => return Err(missing(CONTROLLERS[0], Remedy::Delegate)),
    };
    make_dir(&parent).map_err(|_| missing(CONTROLLERS[0], Remedy::Delegate))?;
    for controller in CONTROLLERS {
        let enable = |dir: &Path| fs::write(dir.join("cgroup.subtree_control"), format!("+{}", controller.0));
        if parent.parent() == Some(root.as_path()) {
            enable(root).map_err(|_| missing(controller, Remedy::Kernel))?;
        }
        enable(&parent).map_err(|_| missing(controller, Remedy::Delegate))?;
    }
    let enable = |dir: &Path| fs::write(dir.join("cgroup.subtree_control"), "+io").is_ok();
    let from_root = parent.parent() != Some(root.as_path()) || enable(root);
    let io = from_root && enable(&parent);
    Ok(Hierarchy::V2 { parent, io })
}

fn own_v2_group(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A second start of ours finds itself in the leaf that the first one made.
    Some(root.join(path.strip_suffix(&format!("/{LEAF}")).unwrap_or(path)))
}

/// systemd marks what it hands over; without it, writing there would be taken back at its next reload.
fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 8];
    let marked = ["user.delegate", "trusted.delegate"].iter().any(|mark| {
        rustix::fs::getxattr(group, *mark, &mut value).is_ok_and(|n| value.starts_with(b"1") && n == 1)
    });
    let writable = rustix::fs::access(group.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
    marked && writable
}

/// Groups of version 2 have processes or children, not both: ours move one down.
fn leave_for_leaf(own: &Path) -> io::Result<()> {
    let leaf = own.join(LEAF);
    make_dir(&leaf).map_err(|Os(number)| io::Error::from_raw_os_error(number))?;
    for pid in fs::read_to_string(own.join("cgroup.procs"))?.lines() {
        fs::write(leaf.join("cgroup.procs"), pid)?;
    }
    Ok(())
}

const LEAF: &str = "node";

fn make_dir(dir: &Path) -> Result<(), Os> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(limit: LimitName, file: PathBuf, value: String) -> Result<(), LimitError> {
    fs::write(&file, &value).map_err(|error| LimitError::Refused { limit, file, value, os: error.into() })
}

/// A number from lines of `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_in_the_list_of_mounts() {
        let hybrid = "31 25 0:26 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n\
                      34 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 25 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let mounts = Mounts::parse(hybrid);
        let both = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(mounts.v1, [("cpu".to_owned(), both.clone()), ("cpuacct".to_owned(), both)]);
        assert_eq!(mounts.v2, Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn the_groups_around_a_process_are_found() {
        let root = |name: &str| (name.to_owned(), PathBuf::from("/cg").join(name));
        let v1 = ["cpu", "cpuacct", "memory", "pids"].map(root).to_vec();
        let hybrid = Mounts { v1, v2: Some("/cg/unified".into()) };
        let groups = "4:memory:/pod/x\n3:pids:/pod/x\n2:cpu,cpuacct:/pod/x\n1:name=systemd:/y\n0::/pod/x\n";
        let group = around(&hybrid, groups).unwrap();
        assert_eq!((group.name.as_str(), group.unified()), ("x", "/cg/unified/pod/x".into()));
        let plain = Mounts { v1: Vec::new(), v2: Some("/cg".into()) };
        let group = around(&plain, "0::/user.slice/pod.scope\n").unwrap();
        assert_eq!(group.unified(), PathBuf::from("/cg/user.slice/pod.scope"));
        assert!(around(&plain, "0::/\n").is_none(), "the root is no group of its own");
    }

    #[test]
    fn a_machine_without_the_unified_hierarchy_is_told_to_mount_it() {
        let mounts = Mounts { v1: vec![("cpu".into(), "/nowhere".into())], v2: None };
        let refused = find_v1(&mounts).unwrap_err();
        assert!(refused.to_string().contains("mount -t cgroup2"), "{refused}");
    }

    #[test]
    fn numbers_are_read_by_their_whole_key() {
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(keyed("oom 1\n", "oom_kill"), None);
    }
}
