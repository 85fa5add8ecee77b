//! The one place where our [`PeerKey`] and libp2p's `PeerId` become each other.
//!
//! A peer id of an ed25519 key *is* the key, behind a few bytes of multihash and protobuf; ids of other kinds of
//! key are nobody that we know.

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use model::PeerKey;

/// The key pair of a seed.
pub(crate) fn keypair(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed).expect("every 32 bytes are an ed25519 seed")
}

/// The key inside a peer id; none when it holds the hash of a key, or a key of another kind.
pub(crate) fn key_of(peer: &PeerId) -> Option<PeerKey> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PeerKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The peer id of a key; none when the bytes are no point of the curve, so that nobody can hold the key.
pub(crate) fn peer_of(key: PeerKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_and_its_key_are_one() {
        let peer = keypair([7; 32]).public().to_peer_id();
        let key = key_of(&peer).unwrap();
        assert_eq!(peer_of(key), Some(peer));
        assert!(peer.to_string().starts_with("12D3KooW"), "{peer}");
    }

    #[test]
    fn what_holds_no_key_has_none() {
        assert_eq!(key_of(&PeerId::random()), None);
        assert_eq!(peer_of(PeerKey([2; 32])), None);
    }
}
