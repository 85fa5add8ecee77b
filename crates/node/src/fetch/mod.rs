//! As host: has the image of a lease here, each part held to its digest.
//!
//! Where the lease binds a list of pieces, they come from several sources at once ([`swarm`]): the tenant, and, where the
//! tenant allows it, neighbours that have the image. Whom this computer connects to is not for strangers to say: a registry
//! that the tenant names is one more source only where the owner allows that.

mod swarm;
mod whole;
mod wire;

use crate::execute::Hands;
use crate::run::Command;
use machine::image::{Digest, ImageError, Images};
use model::{Id, ImageDigest, Lease, PeerKey, Workload};
use net::NetError;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

pub use wire::give;

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// An answer breaks off; what came is kept.
    #[error("part {part} broke off: {source}")]
    Broken {
        /// Which.
        part: Digest,
        /// How.
        source: std::io::Error,
    },
    /// All sources are used up; what came is kept.
    #[error("nobody in reach has the rest of the image: {last}")]
    NoSource {
        /// What the last of them said.
        last: String,
    },
    /// A peer cannot be reached, or does not have it.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It is not what the digest says, or cannot be kept.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The node stops.
    #[error("the node stops")]
    Stopped,
}

impl FetchError {
    /// What the tenant is told.
    pub fn for_tenant(&self) -> String {
        match self {
            FetchError::Image(error) => for_tenant(error),
            FetchError::Broken { .. }
            | FetchError::NoSource { .. }
            | FetchError::Net(_)
            | FetchError::Stopped => self.to_string(),
        }
    }

    /// Whether it is for want of room here. What is in use stays, and nobody makes room: another host has it now.
    pub fn is_want_of_room(&self) -> bool {
        matches!(self, FetchError::Image(ImageError::Full { .. } | ImageError::OverLimit { .. }))
    }

    /// Whether trying again, or another host, would not help.
    pub fn is_workload(&self) -> bool {
        match self {
            FetchError::Broken { .. }
            | FetchError::NoSource { .. }
            | FetchError::Net(_)
            | FetchError::Stopped => false,
            FetchError::Image(error) => is_bad_image(error),
        }
    }
}

/// What a tenant is told: paths of the owner's computer are none of their business.
pub fn for_tenant(error: &ImageError) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these name paths of this computer")]
    match error {
        ImageError::Full { needed, free, .. } => {
            format!("the host's disk is full: {needed} bytes needed, {free} free")
        }
        ImageError::OverLimit { needed, .. } => {
            format!("the host keeps no more images: {needed} bytes needed beside those in use")
        }
        ImageError::Io { doing, source, .. } => format!("the host cannot {doing} what it keeps: {source}"),
        other => other.to_string(),
    }
}

/// Whether it is the image that is at fault, and not this machine.
pub fn is_bad_image(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::DigestMismatch { .. }
            | ImageError::Hostile { .. }
            | ImageError::Malformed { .. }
            | ImageError::NoPlatform { .. }
            | ImageError::TooLarge { .. }
            | ImageError::Unsupported { .. }
            | ImageError::SizeMismatch { .. }
    )
}

/// Fetches what is missing of an image, and takes it into the list. `progress` is told bytes done, and in all.
///
/// # Errors
/// Why it is not here. What came is kept, and the next try goes on from there.
pub async fn fetch(
    hands: &Hands,
    lease: Id<Lease>,
    workload: &Workload,
    tenant: PeerKey,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<(), FetchError> {
    let images = &hands.images;
    let manifest = digest(&workload.image);
    if images.resolve(&manifest.to_string())?.is_some() {
        return Ok(());
    }
    let open = match workload.pieces {
        Some(pieces) => {
            let in_use = in_use(hands).await?;
            let room = |needed: u64| make_room(images, needed, &in_use);
            swarm::fetch(hands, lease, workload, &pieces, tenant, room, progress).await?;
            pieces.open
        }
        None => {
            whole::fetch(images, &hands.net, lease, workload, tenant, progress).await?;
            false
        }
    };
    images.take_in(&manifest, &workload.reference, open).await?;
    Ok(())
}

/// The machine's name for a digest.
pub fn digest(image: &ImageDigest) -> Digest {
    Digest::from_bytes(image.0)
}

/// Images that leases need which are not over: never removed to make room.
pub async fn in_use(hands: &Hands) -> Result<BTreeSet<Digest>, FetchError> {
    let (reply, answer) = oneshot::channel();
    let look = Command::Look(Box::new(move |core| {
        // Who asked may be gone.
        let _ = reply.send(core.images_in_use());
    }));
    hands.commands.send(look).await.map_err(|_| FetchError::Stopped)?;
    answer.await.map_err(|_| FetchError::Stopped)
}

/// By the owner's limit, and, where the disk itself is full, by what is not needed.
fn make_room(images: &Images, needed: u64, in_use: &BTreeSet<Digest>) -> Result<(), ImageError> {
    let used = |digest: &Digest| in_use.contains(digest);
    images.make_room(needed, used)?;
    match images.has_room(needed) {
        Err(ImageError::Full { .. }) => {
            let now = images.room()?.used;
            images.collect(now.saturating_sub(needed), used)?;
            images.has_room(needed)
        }
        room => room,
    }
}
