//! What images take of this computer, and what its owner has decided about them.

use super::Image;
use node::machine::image::{self as machine, Policy, Serve};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What images take of this computer's disk, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageStore {
    /// Bytes in all: as they travelled, unpacked, and on their way.
    pub used_bytes: u64,
    /// Bytes of transfers that have not ended.
    pub unfinished_bytes: u64,
    /// The owner's rules.
    #[serde(flatten)]
    pub rules: ImageRules,
    /// The images, the one used last first.
    pub images: Vec<ImageRoom>,
}

/// What one image takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRoom {
    /// Its digest.
    pub digest: String,
    /// What people here call it; only what has no name is removed to make room.
    pub names: Vec<String>,
    /// What a tenant calls it under whose lease it came; empty for the owner's own.
    pub came_as: String,
    /// What would be free without it.
    pub own_bytes: u64,
    /// Whether a lease that is not over needs it.
    pub in_use: bool,
    /// Whether neighbours that know its digest may have it from here.
    pub open: bool,
}

/// What the owner has decided about images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRules {
    /// Bytes that images may take in all; none: as much as the disk has.
    pub limit_bytes: Option<u64>,
    /// Who may have open images from here, if they know the digest: `everyone` or `nobody`.
    pub serve: String,
    /// Bytes a second to neighbours in all; nought: without limit.
    pub serve_rate_bytes: u64,
    /// Neighbours that are served at a time.
    pub serve_streams: u32,
    /// Whether images of leases may be fetched from the public registry that the tenant names.
    pub registries: bool,
}

/// What to change of it; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageRulesWish {
    /// Bytes that images may take in all; nought: as much as the disk has.
    pub limit_bytes: Option<u64>,
    /// `everyone` or `nobody`.
    pub serve: Option<String>,
    /// Bytes a second to neighbours in all; nought: without limit.
    pub serve_rate_bytes: Option<u64>,
    /// Neighbours that are served at a time.
    pub serve_streams: Option<u32>,
    /// Whether images of leases may be fetched from the public registry that the tenant names.
    pub registries: Option<bool>,
}

/// How far to clear up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectWish {
    /// Until images take at most so much; none: the owner's limit, or all that has no name and no use where there is none.
    pub most_bytes: Option<u64>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Collected {
    /// Images that are gone.
    pub images: Vec<Image>,
    /// Bytes that are free now.
    pub freed_bytes: u64,
    /// Bytes that images take still.
    pub used_bytes: u64,
}

/// Whether neighbours may have an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Openness {
    /// A name, a digest, or the first digits of that.
    pub image: String,
    /// Whether they may.
    pub open: bool,
}

impl From<Policy> for ImageRules {
    fn from(policy: Policy) -> ImageRules {
        let serve = match policy.serve {
            Serve::Nobody => "nobody",
            Serve::Everyone => "everyone",
        };
        ImageRules {
            limit_bytes: policy.limit,
            serve: serve.to_owned(),
            serve_rate_bytes: policy.rate,
            serve_streams: policy.streams,
            registries: policy.registries,
        }
    }
}

impl From<machine::Collected> for Collected {
    fn from(collected: machine::Collected) -> Collected {
        Collected {
            images: collected.images.iter().map(Image::from).collect(),
            freed_bytes: collected.freed,
            used_bytes: collected.left,
        }
    }
}
