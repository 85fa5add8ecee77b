//! Disks that outlive a guest: part of a workload, named by the tenant, sized, paid for as disk.

use super::{Invalid, is_plain, require};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// The most volumes of one guest.
const MOST: usize = 8;

/// A volume that a guest is to have. A host knows it by its tenant's person and its name: the next lease of that person
/// which names it finds it as the last one left it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Small letters, digits, `.`, `_`, `-`; at most 32.
    pub name: String,
    /// Where the guest sees it: an absolute path.
    pub path: String,
    /// Bytes, a part of the lease's disk. A volume grows, and never shrinks.
    pub size: u64,
    /// Whether the guest may only read it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether it is encrypted on the host's disk, with a key that the tenant gives when the guest starts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub encrypted: bool,
    /// How many snapshots there may be of it, each as large as itself and a part of the lease's disk.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub snapshots: u8,
    /// How long it stays when the lease is over; paid for with the last total.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub keep: Span,
}

fn is_false(is: &bool) -> bool {
    !is
}

fn is_nought(count: &u8) -> bool {
    *count == 0
}

fn is_no_time(span: &Span) -> bool {
    span.0 == 0
}

impl Volume {
    /// The smallest: what a file system needs for itself.
    pub const SMALLEST: u64 = 8 << 20;

    /// The longest that one stays.
    pub const LONGEST_KEEP: Span = Span::days(366);

    /// Bytes of disk that it takes with all its snapshots.
    pub fn room(&self) -> u64 {
        self.size.saturating_mul(1 + u64::from(self.snapshots))
    }

    fn check(&self) -> Result<(), Invalid> {
        require(
            is_volume_name(&self.name),
            "volume",
            "a name of 1 to 32 small letters, digits, `.`, `_`, `-`",
        )?;
        let path = self.path.strip_prefix('/').unwrap_or_default();
        let steps = || path.split('/');
        require(
            is_plain(&self.path, 255) && steps().all(|step| !matches!(step, "" | "." | "..")),
            "volume",
            "an absolute path inside the guest, without `..`",
        )?;
        // There the guest's own things are.
        require(
            !matches!(steps().next(), Some("proc" | "sys" | "dev")),
            "volume",
            "another path than one in /proc, /sys or /dev",
        )?;
        require(self.size >= Volume::SMALLEST && self.size <= 1 << 50, "volume", "a size of at least 8 MiB")?;
        require(self.keep <= Volume::LONGEST_KEEP, "keep", "at most 366 days")
    }
}

/// Names of volumes and of their snapshots: they are names of files, too.
pub fn is_volume_name(name: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-'])
}

/// What all volumes of a workload take.
pub fn volumes_room(volumes: &[Volume]) -> u64 {
    volumes.iter().fold(0, |sum, volume| sum.saturating_add(volume.room()))
}

pub(super) fn check_volumes(volumes: &[Volume]) -> Result<(), Invalid> {
    require(volumes.len() <= MOST, "volumes", "at most 8")?;
    volumes.iter().try_for_each(Volume::check)?;
    let twice = volumes.iter().enumerate().any(|(at, volume)| {
        volumes.iter().take(at).any(|other| other.name == volume.name || other.path == volume.path)
    });
    require(!twice, "volumes", "each with a name and a path of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(change: fn(&mut Volume)) -> Volume {
        let mut volume = Volume {
            name: "db-1".into(),
            path: "/var/lib/db".into(),
            size: 16 << 20,
            read_only: false,
            encrypted: false,
            snapshots: 0,
            keep: Span(0),
        };
        change(&mut volume);
        volume
    }

    #[test]
    fn a_volume_is_named_placed_and_sized() {
        assert!(check_volumes(&[volume(|_| {})]).is_ok());
        let bad: [fn(&mut Volume); 13] = [
            |v| v.name.clear(),
            |v| v.name = "../x".into(),
            |v| v.name = ".hidden".into(),
            |v| v.name = "A".into(),
            |v| v.name = "x".repeat(33),
            |v| v.path = "relative".into(),
            |v| v.path = "/".into(),
            |v| v.path = "/a/../b".into(),
            |v| v.path = "/a//b".into(),
            |v| v.path = "/proc/x".into(),
            |v| v.path = "/dev".into(),
            |v| v.size = 1,
            |v| v.keep = Span::days(367),
        ];
        for (at, change) in bad.into_iter().enumerate() {
            assert!(check_volumes(&[volume(change)]).is_err(), "{at}");
        }
        assert!(check_volumes(&[volume(|_| {}), volume(|v| v.path = "/other".into())]).is_err());
        assert!(check_volumes(&[volume(|_| {}), volume(|v| v.name = "other".into())]).is_err());
    }

    #[test]
    fn snapshots_take_room_too() {
        let volume = volume(|v| v.snapshots = 2);
        assert_eq!(volume.room(), 48 << 20);
        assert_eq!(volumes_room(&[volume.clone(), volume]), 96 << 20);
    }
}
