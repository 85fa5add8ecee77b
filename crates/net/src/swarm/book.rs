//! The address book: where a peer may be, from signed offers, the LAN, and connections that worked.
//!
//! It is a behaviour so that each dial of libp2p, whoever asks for it, goes by this book and no other.

use crate::address::{self, Reach};
use crate::event::Transport;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};

/// Peers in the book. Past it, those that were used longest ago make room.
const MAX_PEERS: usize = 2_048;

/// Addresses of one peer, the latest first: both transports, both versions of IP, two relays.
const MAX_ADDRESSES: usize = 12;

/// The book, and the addresses of our own that never enter it.
pub(crate) struct Behaviour {
    me: PeerId,
    ours: Vec<Multiaddr>,
    peers: HashMap<PeerId, Entry>,
    clock: u64,
}

#[derive(Default)]
struct Entry {
    addresses: Vec<Multiaddr>,
    used: u64,
    /// Whether the last dial failed: then nothing is left untried.
    failed: bool,
}

impl Behaviour {
    /// An empty book.
    pub(crate) fn new(me: PeerId) -> Behaviour {
        Behaviour { me, ours: Vec::new(), peers: HashMap::new(), clock: 0 }
    }

    /// Says which addresses are our own.
    pub(crate) fn set_ours(&mut self, ours: Vec<Multiaddr>) {
        self.ours = ours;
    }

    /// Keeps what of `addresses` can be an address of `peer` seen from here.
    pub(crate) fn add_told(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>) {
        let fitting: Vec<_> = addresses
            .into_iter()
            .take(MAX_ADDRESSES)
            .filter(|address| address::fits(address, peer, self.me, &self.ours))
            .collect();
        for address in fitting.into_iter().rev() {
            self.add_proven(peer, address);
        }
    }

    /// Keeps an address that led to `peer`, or of which its owner is sure.
    pub(crate) fn add_proven(&mut self, peer: PeerId, address: Multiaddr) {
        if peer == self.me {
            return;
        }
        let address = address::with_peer(&address, peer);
        let entry = self.entry(peer);
        entry.addresses.retain(|known| *known != address);
        entry.addresses.insert(0, address);
        entry.addresses.truncate(MAX_ADDRESSES);
    }

    fn entry(&mut self, peer: PeerId) -> &mut Entry {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let oldest = self.peers.iter().min_by_key(|(_, entry)| entry.used).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.peers.remove(&oldest));
        }
        self.clock += 1;
        let entry = self.peers.entry(peer).or_default();
        entry.used = self.clock;
        entry
    }

    /// Where to try `peer`. On a LAN that is TCP alone, which costs half the processor time of QUIC there; after a
    /// failure it is everything.
    fn dialled(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        if !self.peers.contains_key(&peer) {
            return Vec::new();
        }
        let entry = self.entry(peer);
        let near = |address: &&Multiaddr| {
            !address::is_relayed(address) && address::reach(address) != Some(Reach::Global)
        };
        let near_tcp =
            |address: &Multiaddr| near(&address) && address::transport(address) == Some(Transport::Tcp);
        let skip_quic = !entry.failed && entry.addresses.iter().any(near_tcp);
        entry
            .addresses
            .iter()
            .filter(|address| !skip_quic || !near(address) || near_tcp(address))
            .cloned()
            .collect()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.map(|peer| self.dialled(peer)).unwrap_or_default())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum: two of its many cases matter here")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                if made.endpoint.is_dialer() {
                    self.add_proven(made.peer_id, made.endpoint.get_remote_address().clone());
                }
                if let Some(entry) = self.peers.get_mut(&made.peer_id) {
                    entry.failed = false;
                }
            }
            FromSwarm::DialFailure(failure) => {
                if let Some(entry) = failure.peer_id.and_then(|peer| self.peers.get_mut(&peer)) {
                    entry.failed = true;
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        crate::identity::keypair([n; 32]).public().to_peer_id()
    }

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_neighbour_is_tried_over_tcp_first_and_after_a_failure_everywhere() {
        let mut book = Behaviour::new(id(1));
        book.set_ours(vec![at("/ip4/10.0.0.1/tcp/1")]);
        let near = [at("/ip4/10.0.0.2/udp/7/quic-v1"), at("/ip4/10.0.0.2/tcp/7")];
        let far = at("/ip4/1.2.3.4/udp/7/quic-v1");
        book.add_told(id(2), near.iter().chain([&far]).cloned());
        let full = |address: &Multiaddr| address::with_peer(address, id(2));
        assert_eq!(book.dialled(id(2)), [full(&near[1]), full(&far)]);
        book.peers.get_mut(&id(2)).unwrap().failed = true;
        assert_eq!(book.dialled(id(2)).len(), 3);
    }

    #[test]
    fn the_book_keeps_its_size_and_forgets_whom_it_used_least() {
        let mut book = Behaviour::new(id(0));
        book.add_told(id(1), (1..200).map(|port| at(&format!("/ip4/1.2.3.4/tcp/{port}"))));
        assert_eq!(book.dialled(id(1)).len(), MAX_ADDRESSES);
        for _ in 0..MAX_PEERS {
            book.add_proven(PeerId::random(), at("/ip4/1.2.3.4/tcp/1"));
        }
        assert_eq!(book.peers.len(), MAX_PEERS);
        assert!(book.dialled(id(1)).is_empty());
    }
}
