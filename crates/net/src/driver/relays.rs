//! Places at relays: how a node that cannot be reached from outside lets itself be called.

use crate::address::{self, Reach};
use crate::event::Transport;
use libp2p::core::transport::ListenerId;
use libp2p::identify;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;

/// What a relay says that it speaks.
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// Places held at once: one may fail, and each costs its relay something.
const MAX_PLACES: usize = 2;

/// The relays at which we hold a place or have asked for one.
pub(super) struct Relays {
    places: HashMap<PeerId, ListenerId>,
    /// Whether this node can be reached without.
    pub(super) public: bool,
}

impl Relays {
    /// No places yet.
    pub(super) fn new(public: bool) -> Relays {
        Relays { places: HashMap::new(), public }
    }

    /// Whether to ask this peer for a place.
    pub(super) fn want(&self, relay: &PeerId, info: &identify::Info) -> bool {
        let offers = info.protocols.iter().any(|protocol| protocol.as_ref() == HOP);
        offers && !self.public && self.places.len() < MAX_PLACES && !self.places.contains_key(relay)
    }

    /// A place was asked for.
    pub(super) fn asked(&mut self, relay: PeerId, listener: ListenerId) {
        self.places.insert(relay, listener);
    }

    /// The place is lost. Says at which relay it was.
    pub(super) fn lost(&mut self, listener: ListenerId) -> Option<PeerId> {
        let relay = *self.places.iter().find(|(_, place)| **place == listener)?.0;
        self.places.remove(&relay);
        Some(relay)
    }
}

/// Where to listen for calls through a relay that is reached at `direct`.
pub(super) fn place(direct: &Multiaddr, relay: PeerId) -> Multiaddr {
    address::with_peer(direct, relay).with(Protocol::P2pCircuit)
}

/// How to reach the relay by the transport that is not in use yet.
///
/// Each connection shows the relay one address of ours, and a hole can only be punched between addresses of one
/// transport that both ends know: with QUIC from here and TCP from there, 2 of 5 tries failed.
pub(super) fn other_transport(relay: PeerId, used: &[Multiaddr], known: &[Multiaddr]) -> Option<DialOpts> {
    let transports: Vec<Transport> = used.iter().filter_map(address::transport).collect();
    let same_reach = |address: &&Multiaddr| {
        let kind = |one: &Multiaddr| address::reach(one).map(|reach| matches!(reach, Reach::Global));
        used.iter().any(|used| kind(used) == kind(address))
    };
    let fresh = |address: &&Multiaddr| {
        address::transport(address).is_some_and(|transport| !transports.contains(&transport))
    };
    let other =
        known.iter().filter(|address| !address::is_relayed(address)).filter(same_reach).find(fresh)?;
    Some(DialOpts::peer_id(relay).condition(PeerCondition::Always).addresses(vec![other.clone()]).build())
}
