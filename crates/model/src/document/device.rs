//! Devices of a machine: named by its owner, lent with an offer, to one lease at a time.

use super::volume::is_volume_name;
use super::{is_plain, require};
use crate::envelope::Invalid;
use serde::{Deserialize, Serialize};

/// A device that the owner lends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LentDevice {
    /// What the owner calls it, and tenants ask for.
    pub name: String,
    /// Which it is: a device of the Container Device Interface, such as `nvidia.com/gpu=0`, or a file such as `/dev/video0`.
    pub source: String,
}

/// As many as a machine lends, and as a guest has.
pub const MOST_DEVICES: usize = 16;

/// Refuses what cannot be lent.
pub(super) fn check_lent(devices: &[LentDevice]) -> Result<(), Invalid> {
    check_names(devices.iter().map(|device| device.name.as_str()))?;
    let sources = devices
        .iter()
        .all(|device| (1..=128).contains(&device.source.len()) && is_plain(&device.source, 128));
    require(sources, "device", "which it is, in 1 to 128 bytes of plain text")?;
    let mut sources: Vec<&str> = devices.iter().map(|device| device.source.as_str()).collect();
    sources.sort_unstable();
    // Under two names it would be lent twice at once.
    require(sources.windows(2).all(|pair| pair[0] != pair[1]), "device", "each under one name")
}

/// Refuses names that no device has.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Invalid> {
    let mut names: Vec<&str> = names.collect();
    require(names.len() <= MOST_DEVICES, "device", "at most 16")?;
    require(
        names.iter().all(|name| is_volume_name(name)),
        "device",
        "a name of 1 to 32 small letters, digits, `.`, `_`, `-`",
    )?;
    names.sort_unstable();
    require(names.windows(2).all(|pair| pair[0] != pair[1]), "device", "each name once")
}
