//! Whom the users inside a guest are on this machine: nobody who exists here.
//!
//! Two nested user namespaces. In the outer one the runtime is root, and has one id of its own; in the inner one the
//! guest's users 0.. have the ids after it. So a guest's root is neither the owner nor the runtime that holds it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::process::Command;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::error::{IdsError, StartError};
use super::runtime::find_in_path;
use super::spec::GuestId;

/// The ids of one guest's user namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ids {
    /// As root: a range that no other guest has.
    Own {
        /// The runtime's id, user and group; the guest's follow it.
        base: u32,
    },
    /// Not root: the runtime is ourselves, the guest gets our subordinate ids, which all our guests share. The files of
    /// its image are ours and thereby nobody's to it: it can read them, and write only where everybody can.
    Subordinate {
        /// Our own.
        uid: u32,
        /// Our own.
        gid: u32,
        /// The first of our subordinate user ids.
        first_uid: u32,
        /// The first of our subordinate group ids.
        first_gid: u32,
        /// How many there are of both.
        count: u32,
    },
    /// By a container engine, which knows them.
    OfEngine,
}

/// Ids of one range: the runtime's, then the guest's 0 to 65534 (65535 means "no id" to old calls).
const RANGE: u32 = 65_536;

/// Ranges begin here: above what useradd hands out, below the half that container engines claim.
const FIRST: u32 = 0x6000_0000;

/// How many ranges there are.
const RANGES: u32 = 4096;

impl Ids {
    /// Ids for a guest of this process's user. `taken` are those of its other guests.
    pub fn for_guest(id: &GuestId, taken: &HashSet<Ids>) -> Result<Ids, IdsError> {
        if rustix::process::geteuid().is_root() { own(id, taken, &claimed()) } else { subordinate() }
    }

    /// Whether a guest could have ids here at all, and of which kind.
    pub fn available() -> Result<Ids, IdsError> {
        Ids::for_guest(&GuestId::new([0; 32]), &HashSet::new())
    }

    /// How many ids the guest has, from 0.
    pub fn count(&self) -> u32 {
        match self {
            Ids::Own { .. } | Ids::OfEngine => RANGE - 1,
            Ids::Subordinate { count, .. } => *count,
        }
    }

    /// Who a user of this machine is in the guest; [`u32::MAX`] who is nobody there.
    pub fn inside(&self, user: u32) -> u32 {
        let first = match *self {
            Ids::Own { base } => base + 1,
            Ids::Subordinate { first_uid, .. } => first_uid,
            Ids::OfEngine => return u32::MAX,
        };
        user.checked_sub(first).filter(|id| *id < self.count()).unwrap_or(u32::MAX)
    }

    /// Who the runtime, and the guest's root, are on this machine.
    pub fn runtime_and_root(&self) -> (u32, u32) {
        match self {
            Ids::Own { base } => (*base, base + 1),
            Ids::Subordinate { uid, first_uid, .. } => (*uid, *first_uid),
            Ids::OfEngine => (u32::MAX, u32::MAX),
        }
    }

    /// The map of a namespace in which a layer's ids are the guest's; only root can show layers that way.
    pub fn layer_map(&self) -> Option<String> {
        match self {
            Ids::Own { base } => Some(format!("0 {} {}\n", base + 1, RANGE - 1)),
            Ids::Subordinate { .. } | Ids::OfEngine => None,
        }
    }

    /// Gives the process `pid`, which has just entered a user namespace of its own, the outer map.
    pub fn map(&self, pid: Pid) -> Result<(), StartError> {
        match *self {
            Ids::Own { base } => {
                let map = format!("0 {base} {RANGE}\n");
                write_maps(pid, &map).map_err(StartError::sandbox("give the guest user ids of its own"))
            }
            Ids::Subordinate { uid, gid, first_uid, first_gid, count } => {
                run_mapper("newuidmap", pid, uid, first_uid, count)?;
                run_mapper("newgidmap", pid, gid, first_gid, count)
            }
            Ids::OfEngine => Ok(()),
        }
    }
}

/// Writes the same map for users and groups.
pub fn write_maps(pid: Pid, map: &str) -> io::Result<()> {
    let process = format!("/proc/{}", pid.as_raw_pid());
    fs::write(format!("{process}/uid_map"), map)?;
    fs::write(format!("{process}/gid_map"), map)
}

/// The search begins where the guest's id says, so that two nodes on one machine seldom meet.
fn own(id: &GuestId, taken: &HashSet<Ids>, claimed: &[Range<u64>]) -> Result<Ids, IdsError> {
    let [a, b, ..] = *id.as_bytes();
    let start = u32::from_be_bytes([0, 0, a, b]);
    (0..RANGES)
        .map(|step| FIRST + (start.wrapping_add(step) % RANGES) * RANGE)
        .find(|base| {
            let range = u64::from(*base)..u64::from(base + RANGE);
            let free = |other: &Range<u64>| other.end <= range.start || range.end <= other.start;
            claimed.iter().all(free) && !taken.contains(&Ids::Own { base: *base })
        })
        .map(|base| Ids::Own { base })
        .ok_or(IdsError::Exhausted)
}

/// What this machine's administrator has given to others.
fn claimed() -> Vec<Range<u64>> {
    let subordinate = ["/etc/subuid", "/etc/subgid"].into_iter().flat_map(entries);
    subordinate.map(|(_, first, count)| first..first.saturating_add(count)).collect()
}

fn subordinate() -> Result<Ids, IdsError> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let ours = |file: &'static str| {
        let names = [user_name(uid).unwrap_or_default(), uid.to_string()];
        entries(file)
            .into_iter()
            .find(|(who, ..)| names.contains(who))
            .and_then(|(_, first, count)| Some((u32::try_from(first).ok()?, u32::try_from(count).ok()?)))
            .ok_or(IdsError::NoSubordinate { uid, file })
    };
    let (first_uid, uids) = ours("/etc/subuid")?;
    let (first_gid, gids) = ours("/etc/subgid")?;
    Ok(Ids::Subordinate { uid, gid, first_uid, first_gid, count: uids.min(gids).min(RANGE - 1) })
}

/// `name:first:count` lines.
fn entries(file: &str) -> Vec<(String, u64, u64)> {
    let parse = |line: &str| {
        let mut parts = line.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.trim().parse().ok()?))
    };
    fs::read_to_string(file).unwrap_or_default().lines().filter_map(parse).collect()
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|parts| parts.get(2) == Some(&uid.to_string().as_str())).map(|parts| parts[0].to_owned())
}

/// Runs a setuid helper of the distribution: 0 is ourselves, 1 and on are our subordinate ids.
fn run_mapper(name: &str, pid: Pid, own: u32, first: u32, count: u32) -> Result<(), StartError> {
    let missing = StartError::Sandbox {
        doing: format!("find {name} (package `uidmap`)"),
        os: super::error::Os(libc::ENOENT),
    };
    let program = find_in_path(name).ok_or(missing)?;
    let map = [0, own, 1, 1, first, count].map(|number| number.to_string());
    let status = Command::new(program).arg(pid.as_raw_pid().to_string()).args(map).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(StartError::sandbox(format!("map ids with {name}"))(super::error::Os(libc::EPERM))),
        Err(error) => Err(StartError::sandbox(format!("run {name}"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_never_share_ids_and_keep_clear_of_what_others_were_given() {
        let id = GuestId::new([0; 32]);
        let first = own(&id, &HashSet::new(), &[]).unwrap();
        assert_eq!(first, Ids::Own { base: FIRST });
        let second = own(&id, &HashSet::from([first]), &[]).unwrap();
        assert_eq!(second, Ids::Own { base: FIRST + RANGE });
        let second_taken = u64::from(FIRST + RANGE)..u64::from(FIRST + 2 * RANGE);
        let third = own(&id, &HashSet::from([first]), std::slice::from_ref(&second_taken)).unwrap();
        assert_eq!(third, Ids::Own { base: FIRST + 2 * RANGE });
    }

    #[test]
    fn when_all_ranges_are_taken_the_guest_is_refused() {
        let all = 0..u64::from(u32::MAX) + 1;
        assert_eq!(
            own(&GuestId::new([9; 32]), &HashSet::new(), std::slice::from_ref(&all)),
            Err(IdsError::Exhausted)
        );
    }

    #[test]
    fn the_runtime_is_not_among_the_guests_ids() {
        let ids = Ids::Own { base: 1000 };
        assert_eq!(ids.layer_map().unwrap(), "0 1001 65535\n");
    }
}
