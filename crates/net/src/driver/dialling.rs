//! Dials that somebody waits for: first for the connection, then for the peer to say that it speaks Sublet.

use crate::error::NetError;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use model::PeerKey;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Hears who answered, or why nobody did.
pub(crate) type DialReply = oneshot::Sender<Result<PeerKey, NetError>>;

/// Who waits for what.
#[derive(Default)]
pub(super) struct Dialling {
    dials: HashMap<ConnectionId, Dial>,
    meetings: HashMap<PeerId, Vec<DialReply>>,
}

struct Dial {
    address: Multiaddr,
    reply: DialReply,
}

impl Dialling {
    /// `reply` waits for a connection.
    pub(super) fn dialled(&mut self, connection: ConnectionId, address: Multiaddr, reply: DialReply) {
        self.dials.insert(connection, Dial { address, reply });
    }

    /// `reply` waits for a connected peer to say what it is.
    pub(super) fn meet(&mut self, peer: PeerId, reply: DialReply) {
        self.meetings.entry(peer).or_default().push(reply);
    }

    /// There is a connection: whoever waited for it.
    pub(super) fn connected(&mut self, connection: ConnectionId) -> Option<DialReply> {
        self.dials.remove(&connection).map(|dial| dial.reply)
    }

    /// There is none, and why.
    pub(super) fn failed(&mut self, connection: ConnectionId, why: &dyn std::error::Error) {
        if let Some(Dial { address, reply }) = self.dials.remove(&connection) {
            let _ = reply.send(Err(not_there(&address, why)));
        }
    }

    /// The peer said what it is, or went away without a word.
    pub(super) fn settled(&mut self, peer: &PeerId, outcome: impl Fn() -> Result<PeerKey, NetError>) {
        for reply in self.meetings.remove(peer).unwrap_or_default() {
            let _ = reply.send(outcome());
        }
    }

    /// Forgets those who wait no more.
    pub(super) fn prune(&mut self) {
        self.dials.retain(|_, dial| !dial.reply.is_closed());
        self.meetings.retain(|_, waiting| {
            waiting.retain(|reply| !reply.is_closed());
            !waiting.is_empty()
        });
    }
}

/// Nobody answers at an address.
pub(super) fn not_there(address: &Multiaddr, why: &dyn std::error::Error) -> NetError {
    NetError::NotThere { address: address.to_string(), why: why.to_string() }
}
