//! How an image may be had from others than the tenant: piece by piece, from whoever has it.
//!
//! The lease binds a list of the hashes of all pieces, so that each piece can be held to its hash on its own, whoever sent
//! it. Whom one may ask is the tenant's to say, and how one asks gives nothing away: see [`want`].

use super::ImageDigest;
use crate::id::{ObjectId, PeerKey};
use serde::{Deserialize, Serialize};

/// The pieces of a workload's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pieces {
    /// The BLAKE3 hash of the list of pieces.
    pub list: ObjectId,
    /// Whether the host may ask its neighbours for them, and give them on to who knows the image's digest. For an image
    /// that everybody can have from a registry anyway; one that is not for everybody comes from the tenant only.
    pub open: bool,
}

/// What one peer sends to another to ask for an image. Who does not have the image learns nothing from it, not even its
/// digest; and nobody can ask for an image, or find out whether it is there, without knowing its digest. It is no use to
/// others: both peers are part of it.
pub fn want(image: &ImageDigest, asker: PeerKey, holder: PeerKey) -> ObjectId {
    let mut hasher = blake3::Hasher::new_derive_key("sublet 2026 want an image");
    hasher.update(&image.0).update(&asker.0).update(&holder.0);
    ObjectId(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_is_between_two_and_about_one_image() {
        let (image, a, b) = (ImageDigest([1; 32]), PeerKey([2; 32]), PeerKey([3; 32]));
        let wants = [
            want(&image, a, b),
            want(&image, b, a),
            want(&image, a, PeerKey([4; 32])),
            want(&ImageDigest([9; 32]), a, b),
        ];
        assert_eq!(wants.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(want(&image, a, b), wants[0]);
    }
}
