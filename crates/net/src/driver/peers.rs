//! The peers that are connected now, and by which paths.

use crate::address;
use crate::event::{Path, PeerSeen, Transport};
use crate::identity;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use model::{Span, plain};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An agent's name is as long as a stranger likes; this much of it is kept.
const MAX_AGENT: usize = 64;

/// Who is connected.
#[derive(Default)]
pub(super) struct Peers(HashMap<PeerId, Peer>);

#[derive(Default)]
struct Peer {
    /// The oldest first.
    connections: Vec<Connection>,
    /// Its program, once it has said that it speaks Sublet.
    agent: Option<String>,
}

struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    since: Instant,
    round_trip: Option<Duration>,
}

impl Peers {
    /// A connection was made.
    pub(super) fn connected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        let address = path(endpoint);
        self.0.entry(peer).or_default().connections.push(Connection {
            id,
            address,
            since: now,
            round_trip: None,
        });
    }

    /// A connection ended. Says whether it was the last one to a peer that we had met.
    pub(super) fn disconnected(&mut self, peer: &PeerId, id: ConnectionId) -> bool {
        let Some(known) = self.0.get_mut(peer) else { return false };
        known.connections.retain(|connection| connection.id != id);
        if !known.connections.is_empty() {
            return false;
        }
        self.0.remove(peer).is_some_and(|known| known.agent.is_some())
    }

    /// The peer said that it speaks Sublet. Says whether this is news.
    pub(super) fn met(&mut self, peer: &PeerId, agent: &str) -> bool {
        let Some(known) = self.0.get_mut(peer) else { return false };
        known.agent.replace(plain(agent, MAX_AGENT)).is_none()
    }

    /// How long a ping took.
    pub(super) fn measured(&mut self, peer: &PeerId, id: ConnectionId, round_trip: Duration) {
        let connection =
            self.0.get_mut(peer).and_then(|known| known.connections.iter_mut().find(|one| one.id == id));
        if let Some(connection) = connection {
            connection.round_trip = Some(round_trip);
        }
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    /// Whether it is connected and speaks Sublet.
    pub(super) fn is_met(&self, peer: &PeerId) -> bool {
        self.0.get(peer).is_some_and(|known| known.agent.is_some())
    }

    /// The far ends of the connections to `peer`.
    pub(super) fn addresses(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.0
            .get(peer)
            .into_iter()
            .flat_map(|known| &known.connections)
            .map(|connection| &connection.address)
    }

    /// Those who speak Sublet.
    pub(super) fn all_met(&self) -> Vec<PeerId> {
        self.0.iter().filter(|(_, known)| known.agent.is_some()).map(|(peer, _)| *peer).collect()
    }

    /// How many are connected.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// For people and for ranking by distance.
    pub(super) fn seen(&self, now: Instant) -> Vec<PeerSeen> {
        self.0.iter().filter_map(|(peer, known)| seen(peer, known, now)).collect()
    }
}

fn path(endpoint: &ConnectedPoint) -> Multiaddr {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => address.clone(),
        // Of a relayed caller only the relay is seen; our own end says that it came through one.
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr.clone(),
    }
}

fn seen(peer: &PeerId, known: &Peer, now: Instant) -> Option<PeerSeen> {
    let mut connections: Vec<_> = known.connections.iter().collect();
    connections.sort_by_key(|connection| address::is_relayed(&connection.address));
    let round_trip = connections.iter().filter_map(|connection| connection.round_trip).min();
    Some(PeerSeen {
        peer: identity::key_of(peer)?,
        paths: connections.into_iter().map(|connection| connection.path(now)).collect(),
        agent: known.agent.clone().unwrap_or_default(),
        round_trip: round_trip.map(span),
    })
}

impl Connection {
    fn path(&self, now: Instant) -> Path {
        Path {
            address: self.address.to_string(),
            relayed: address::is_relayed(&self.address),
            transport: address::transport(&self.address).unwrap_or(Transport::Tcp),
            open_for: span(now.saturating_duration_since(self.since)),
        }
    }
}

fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
