//! What can go wrong between peers, with the facts that a caller decides by or shows.

use model::PeerKey;
use model::message::StreamAnswer;
use std::io;
use std::time::Duration;

/// Why a peer could not be asked, or why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A text that is no address of a peer.
    #[error("`{address}` is no address that can be dialled: {why}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing could listen there.
    #[error("cannot listen on {address}: {source}; is the port taken by another program?")]
    Listen {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused what the network needs before it can start.
    #[error("the network cannot start: {0}")]
    Start(#[source] io::Error),
    /// The key is no key, or it is our own.
    #[error("{0} is no peer that can be reached: it is this node itself, or no key at all")]
    NoPeer(PeerKey),
    /// No connection, and none could be made.
    #[error("peer {} cannot be reached: {why}", peer.short())]
    Unreachable {
        /// Who.
        peer: PeerKey,
        /// What was tried, in libp2p's words.
        why: String,
    },
    /// The address that was dialled did not answer, or somebody else did.
    #[error("{address} cannot be reached: {why}")]
    NotThere {
        /// What was dialled.
        address: String,
        /// What was tried, in libp2p's words.
        why: String,
    },
    /// It is connected and did not answer in time.
    #[error("peer {} did not answer within {} s", peer.short(), after.as_secs())]
    Timeout {
        /// Who.
        peer: PeerKey,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended before the answer.
    #[error("peer {} went away before it answered", peer.short())]
    Gone {
        /// Who.
        peer: PeerKey,
    },
    /// Its answer is no message.
    #[error("peer {} answered with something that is no message of Sublet", peer.short())]
    Garbage {
        /// Who.
        peer: PeerKey,
    },
    /// It does not speak this protocol: another program, or another version.
    #[error("peer {} does not speak Sublet's protocols: another program, or another version", peer.short())]
    Foreign {
        /// Who.
        peer: PeerKey,
    },
    /// It would not have the stream.
    #[error("peer {} refused the stream: {}", peer.short(), reason(*answer))]
    Refused {
        /// Who.
        peer: PeerKey,
        /// What it said.
        answer: StreamAnswer,
    },
    /// We block it.
    #[error("peer {} is blocked here", peer.short())]
    Blocked {
        /// Who.
        peer: PeerKey,
    },
    /// Too much is under way already.
    #[error("too many {what} at once: {limit} are the limit; try again when some have ended")]
    Busy {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// What was to be sent is larger than any peer would read.
    #[error("{size} bytes are more than the {limit} that a message may have")]
    TooLarge {
        /// Its length in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The network has been shut down.
    #[error("the network of this node has stopped")]
    Stopped,
}

fn reason(answer: StreamAnswer) -> &'static str {
    match answer {
        StreamAnswer::Open => "it is open",
        StreamAnswer::NotYours => "no lease between us allows it now",
        StreamAnswer::Closed => "nobody listens on that port of the guest",
        StreamAnswer::Missing => "it has no such part",
        StreamAnswer::Busy => "it has too many streams",
    }
}
