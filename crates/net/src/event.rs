//! What the network tells the node, and what it knows of a peer.

use crate::stream::IncomingStream;
use model::message::{Request, StreamHead};
use model::{PeerKey, Span};

/// Something happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer is there and speaks Sublet.
    PeerUp {
        /// Who.
        peer: PeerKey,
    },
    /// The last connection to a peer is gone.
    PeerDown {
        /// Who.
        peer: PeerKey,
    },
    /// A peer asks something; [`respond`](crate::Net::respond) within [`ANSWER_TIME`](crate::ANSWER_TIME).
    Request {
        /// To be given back with the answer.
        id: RequestId,
        /// Who asks.
        from: PeerKey,
        /// What.
        request: Request,
    },
    /// A peer opened a stream, and waits for our answer.
    Stream {
        /// Who.
        from: PeerKey,
        /// What for.
        head: StreamHead,
        /// To be accepted or refused.
        stream: IncomingStream,
    },
    /// Objects that are not in the shared set: their ids are what they claim, and nothing else of them was checked.
    /// What is good is to be kept and [shared](crate::Net::share).
    Objects {
        /// Who sent them; not who signed them.
        from: PeerKey,
        /// Envelopes as they came.
        objects: Vec<Vec<u8>>,
    },
    /// The addresses at which others can reach this node are now these.
    Addresses(Vec<String>),
}

/// Names one request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// A peer to which there is a connection.
#[derive(Clone, Debug)]
pub struct PeerSeen {
    /// Who.
    pub peer: PeerKey,
    /// The ways to it, the best first.
    pub paths: Vec<Path>,
    /// Its program and version, as it says; empty until it has said so.
    pub agent: String,
    /// The shortest round trip measured over its paths lately.
    pub round_trip: Option<Span>,
}

/// One connection to a peer.
#[derive(Clone, Debug)]
pub struct Path {
    /// The peer's end of it.
    pub address: String,
    /// Whether it leads through a relay.
    pub relayed: bool,
    /// What carries it.
    pub transport: Transport,
    /// How long it has been there.
    pub open_for: Span,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC version 1 over UDP.
    Quic,
    /// TCP with TLS or noise, and yamux.
    Tcp,
}
