//! Streams between peers: opened over the best connection, handed over as they come.
//!
//! libp2p's own behaviours take any connection of a peer, relayed ones too, and drop bursts. This one takes a direct
//! connection before a relayed one and the oldest of equals, because it outlives the others: when both ends dial at
//! once, or a hole is punched, the surplus closes first. A peer without a connection is dialled.
//!
//! All protocols of ours run on such streams, requests too.

use crate::identity;
use futures::future::{Ready, ready};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialError, FromSwarm,
    NetworkBehaviour, NotifyHandler, Stream, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;

/// Streams of one connection that arrived and were not yet handed over. Past it, the newest is reset.
const MAX_ARRIVED: usize = 64;

/// Openings that wait for a connection to one peer.
pub(crate) const MAX_WAITING: usize = 64;

/// What is spoken on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request, one response.
    Deal,
    /// A head, an answer, and then whatever it is about.
    Stream,
    /// Sets are made alike.
    Sync,
    /// New objects are offered.
    Push,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 4] = [Protocol::Deal, Protocol::Stream, Protocol::Sync, Protocol::Push];
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        match self {
            Protocol::Deal => "/sublet/deal/1",
            Protocol::Stream => "/sublet/stream/1",
            Protocol::Sync => "/sublet/sync/1",
            Protocol::Push => "/sublet/push/1",
        }
    }
}

/// Why there is no stream.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// No connection, and none could be made; in libp2p's words.
    Unreachable(String),
    /// The other end does not speak the protocol.
    Foreign,
    /// The other end did not agree in time.
    Timeout,
    /// The connection ended first.
    Gone,
    /// Too many wait for this peer.
    Busy,
}

/// A stream on its way to whoever asked for it.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) reply: oneshot::Sender<Result<Stream, NoStream>>,
}

/// A peer opened a stream.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) peer: PeerId,
    pub(crate) protocol: Protocol,
    pub(crate) stream: Stream,
}

/// Keeps the connections of each peer, and chooses among them.
#[derive(Default)]
pub(crate) struct Behaviour {
    connections: HashMap<PeerId, Vec<Connection>>,
    waiting: HashMap<PeerId, Vec<Opening>>,
    actions: VecDeque<ToSwarm<Arrived, Command>>,
    waker: Option<Waker>,
}

struct Connection {
    id: ConnectionId,
    relayed: bool,
}

impl Behaviour {
    /// Opens a stream to `peer` as soon as there is a connection.
    pub(crate) fn open(&mut self, peer: PeerId, opening: Opening) {
        if let Some(connection) = self.best(&peer) {
            return self.tell(peer, connection, Command::Open(opening));
        }
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|opening| !opening.reply.is_closed());
        if waiting.len() >= MAX_WAITING {
            let _ = opening.reply.send(Err(NoStream::Busy));
            return;
        }
        waiting.push(opening);
        self.act(ToSwarm::Dial { opts: DialOpts::peer_id(peer).build() });
    }

    /// Holds the connections to `peer` open when idle, or lets them go. A relayed one is held only while there is
    /// no direct one.
    pub(crate) fn hold(&mut self, peer: PeerId, held: bool) {
        let connections = self.connections.get(&peer).map(Vec::as_slice).unwrap_or_default();
        let direct = connections.iter().any(|connection| !connection.relayed);
        let orders: Vec<_> = connections
            .iter()
            .map(|connection| (connection.id, held && !(direct && connection.relayed)))
            .collect();
        for (connection, held) in orders {
            self.tell(peer, connection, Command::Hold(held));
        }
    }

    fn best(&self, peer: &PeerId) -> Option<ConnectionId> {
        let connections = self.connections.get(peer)?;
        let direct = connections.iter().find(|connection| !connection.relayed);
        direct.or(connections.first()).map(|connection| connection.id)
    }

    fn tell(&mut self, peer_id: PeerId, connection: ConnectionId, event: Command) {
        self.act(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    fn act(&mut self, action: ToSwarm<Arrived, Command>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        self.connections.entry(peer).or_default().push(Connection { id, relayed: endpoint.is_relayed() });
        for opening in self.waiting.remove(&peer).unwrap_or_default() {
            self.tell(peer, id, Command::Open(opening));
        }
    }

    fn disconnected(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(connections) = self.connections.get_mut(&peer) {
            connections.retain(|connection| connection.id != id);
            if connections.is_empty() {
                self.connections.remove(&peer);
            }
        }
    }

    fn dial_failed(&mut self, peer: PeerId, error: &DialError) {
        // Somebody else dials the same peer: that attempt decides.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        for opening in self.waiting.remove(&peer).unwrap_or_default() {
            let _ = opening.reply.send(Err(NoStream::Unreachable(error.to_string())));
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Arrived;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Handler::of(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Handler::of(&peer)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum: three of its many cases matter here")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                self.connected(made.peer_id, made.connection_id, made.endpoint)
            }
            FromSwarm::ConnectionClosed(closed) => self.disconnected(closed.peer_id, closed.connection_id),
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = failure.peer_id {
                    self.dial_failed(peer, failure.error);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _: ConnectionId,
        (protocol, stream): (Protocol, Stream),
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Arrived { peer, protocol, stream }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// What a connection is told.
#[derive(Debug)]
pub(crate) enum Command {
    Open(Opening),
    Hold(bool),
}

/// One connection: negotiates streams both ways.
pub(crate) struct Handler {
    held: bool,
    openings: VecDeque<Opening>,
    arrived: VecDeque<(Protocol, Stream)>,
    waker: Option<Waker>,
}

impl Handler {
    fn of(peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        if identity::key_of(peer).is_none() {
            return Err(ConnectionDenied::new(NotAKey));
        }
        Ok(Handler { held: true, openings: VecDeque::new(), arrived: VecDeque::new(), waker: None })
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The peer's identity is no ed25519 key.
#[derive(Debug, thiserror::Error)]
#[error("its identity is no ed25519 key")]
struct NotAKey;

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = (Protocol, Stream);
    type InboundProtocol = Spoken;
    type OutboundProtocol = Wanted;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Result<Stream, NoStream>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Spoken> {
        SubstreamProtocol::new(Spoken, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.held
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Open(opening) => self.openings.push_back(opening),
            Command::Hold(held) => self.held = held,
        }
        self.wake();
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum: its other cases change nothing here")]
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Spoken, Wanted, (), oneshot::Sender<Result<Stream, NoStream>>>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.arrived.len() < MAX_ARRIVED =>
            {
                self.arrived.push_back(protocol);
                self.wake();
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => NoStream::Timeout,
                    StreamUpgradeError::NegotiationFailed => NoStream::Foreign,
                    StreamUpgradeError::Io(_) => NoStream::Gone,
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Wanted, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        while let Some(Opening { protocol, reply }) = self.openings.pop_front() {
            if !reply.is_closed() {
                let protocol = SubstreamProtocol::new(Wanted(protocol), reply);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The protocols that we accept.
pub(crate) struct Spoken;

impl UpgradeInfo for Spoken {
    type Info = Protocol;
    type InfoIter = [Protocol; 4];
    fn protocol_info(&self) -> [Protocol; 4] {
        Protocol::ALL
    }
}

impl InboundUpgrade<Stream> for Spoken {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_inbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

/// The protocol that we ask for.
pub(crate) struct Wanted(Protocol);

impl UpgradeInfo for Wanted {
    type Info = Protocol;
    type InfoIter = [Protocol; 1];
    fn protocol_info(&self) -> [Protocol; 1] {
        [self.0]
    }
}

impl OutboundUpgrade<Stream> for Wanted {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;
    fn upgrade_outbound(self, stream: Stream, _: Protocol) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str) -> ConnectedPoint {
        let address: Multiaddr = address.parse().unwrap();
        ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::Reuse }
    }

    /// The connection that the next command goes to, and the command.
    fn next(streams: &mut Behaviour) -> Option<(ConnectionId, Command)> {
        let action = streams.actions.pop_front()?;
        let ToSwarm::NotifyHandler { handler: NotifyHandler::One(connection), event, .. } = action else {
            panic!("{action:?} is for no connection")
        };
        Some((connection, event))
    }

    #[test]
    fn a_direct_connection_goes_before_a_relayed_one_and_the_oldest_before_its_equals() {
        let (mut streams, peer) = (Behaviour::default(), PeerId::random());
        let [relayed, first, second] = [1, 2, 3].map(ConnectionId::new_unchecked);
        let relay = format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        streams.connected(peer, relayed, &endpoint(&relay));
        assert_eq!(streams.best(&peer), Some(relayed));
        streams.connected(peer, first, &endpoint("/ip4/5.6.7.8/udp/1/quic-v1"));
        streams.connected(peer, second, &endpoint("/ip4/5.6.7.8/tcp/1"));
        assert_eq!(streams.best(&peer), Some(first));

        streams.hold(peer, true);
        let orders: Vec<_> = std::iter::from_fn(|| next(&mut streams)).collect();
        assert!(matches!(
            orders[..],
            [(one, Command::Hold(false)), (two, Command::Hold(true)), (three, Command::Hold(true))]
                if (one, two, three) == (relayed, first, second)
        ));

        streams.disconnected(peer, first);
        assert_eq!(streams.best(&peer), Some(second));
        streams.disconnected(peer, second);
        streams.disconnected(peer, relayed);
        assert_eq!(streams.best(&peer), None);
        assert!(streams.connections.is_empty(), "nothing is left of who is gone");
    }

    #[test]
    fn openings_wait_for_one_dial_and_fail_with_it() {
        let (mut streams, peer) = (Behaviour::default(), PeerId::random());
        let mut replies = Vec::new();
        for _ in 0..MAX_WAITING + 1 {
            let (reply, answer) = oneshot::channel();
            streams.open(peer, Opening { protocol: Protocol::Deal, reply });
            replies.push(answer);
        }
        assert!(matches!(replies.pop().unwrap().try_recv(), Ok(Err(NoStream::Busy))));
        streams.dial_failed(peer, &DialError::DialPeerConditionFalse(Default::default()));
        assert!(replies[0].try_recv().is_err(), "another dial is under way, which decides");
        streams.dial_failed(peer, &DialError::NoAddresses);
        for mut reply in replies {
            assert!(matches!(reply.try_recv(), Ok(Err(NoStream::Unreachable(_)))));
        }
    }
}
