//! Volumes: asked for, on other computers, and of others on this one.

use super::{Moment, Seconds};
use node::model;
use node::{Hosted, Rented, VolumeState};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// A disk that outlives its guest. The host knows it by whose it is and by its name: the next lease that names it there finds
/// it as the last one left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Small letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Where the guest sees it.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it is encrypted on the host's disk, with a key that stays with this node.
    #[serde(default)]
    pub encrypted: bool,
    /// How many snapshots there may be of it, each of its size.
    #[serde(default)]
    pub snapshots: u8,
    /// How long it stays when the lease is over.
    #[serde(default)]
    pub keep: Seconds,
}

impl From<&Volume> for model::Volume {
    fn from(volume: &Volume) -> model::Volume {
        model::Volume {
            name: volume.name.clone(),
            path: volume.path.clone(),
            size: volume.size_bytes,
            read_only: volume.read_only,
            encrypted: volume.encrypted,
            snapshots: volume.snapshots,
            keep: volume.keep.0,
        }
    }
}

impl From<&model::Volume> for Volume {
    fn from(volume: &model::Volume) -> Volume {
        Volume {
            name: volume.name.clone(),
            path: volume.path.clone(),
            size_bytes: volume.size,
            read_only: volume.read_only,
            encrypted: volume.encrypted,
            snapshots: volume.snapshots,
            keep: Seconds(volume.keep),
        }
    }
}

/// All volumes that this node has to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volumes {
    /// Ours, on other computers.
    pub rented: Vec<RentedVolume>,
    /// Of others, on this one.
    pub hosted: Vec<HostedVolume>,
}

/// A volume of ours on another computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RentedVolume {
    /// The newest lease with it: by which it is asked for.
    pub lease: String,
    /// As it was agreed.
    pub volume: Volume,
    /// Whose computer it is on.
    pub host: String,
    /// Until when it stays; none while the lease goes on.
    pub until: Option<Moment>,
}

impl From<Rented> for RentedVolume {
    fn from(rented: Rented) -> RentedVolume {
        RentedVolume {
            lease: rented.lease.to_string(),
            volume: (&rented.volume).into(),
            host: rented.host.to_string(),
            until: rented.until.map(Moment),
        }
    }
}

/// A volume of somebody else on this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostedVolume {
    /// Whose it is.
    pub person: String,
    /// What there is to know.
    #[serde(flatten)]
    pub state: VolumeSeen,
    /// Until when it stays; none while its lease goes on.
    pub until: Option<Moment>,
}

impl From<Hosted> for HostedVolume {
    fn from(hosted: Hosted) -> HostedVolume {
        HostedVolume {
            person: hosted.person.to_string(),
            state: hosted.state.into(),
            until: hosted.until.map(Moment),
        }
    }
}

/// A volume as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSeen {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its snapshots.
    pub snapshots: Vec<String>,
    /// Whether a guest, or a copy, is at work with it.
    pub in_use: bool,
}

impl From<VolumeState> for VolumeSeen {
    fn from(state: VolumeState) -> VolumeSeen {
        VolumeSeen {
            name: state.name,
            size_bytes: state.size,
            encrypted: state.encrypted,
            snapshots: state.snapshots,
            in_use: state.in_use,
        }
    }
}

/// A snapshot to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotWish {
    /// Small letters, digits, `.`, `_`, `-`.
    pub name: String,
}

/// Where files of a volume go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeExport {
    /// A file of this computer, as an absolute path: it becomes a tar archive.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Of this snapshot; none: as it is now.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// Where files of a volume come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeImport {
    /// A tar archive (plain, gzip or zstd) of this computer, as an absolute path.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// How much has been copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeCopied {
    /// Bytes of the archive.
    pub bytes: u64,
}
