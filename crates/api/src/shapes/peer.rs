//! Peers to which there is a connection.

use super::basic::{Party, Seconds};
use node::net::{Net, PeerSeen, Transport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A peer to which there is a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// Its key, hexadecimal.
    pub peer: String,
    /// The same, as it stands in addresses: `12D3KooW..`.
    pub peer_id: String,
    /// Whose it is, where a profile or an offer has told.
    pub party: Option<Party>,
    /// Its program and version, as it says.
    pub agent: String,
    /// The shortest round trip measured lately.
    pub round_trip: Option<Seconds>,
    /// The ways to it, the best first.
    pub paths: Vec<Path>,
}

/// One connection to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Path {
    /// The peer's end of it.
    pub address: String,
    /// Whether it leads through a relay.
    pub relayed: bool,
    /// `quic` or `tcp`.
    pub transport: String,
    /// How long it has been there.
    pub open_for: Seconds,
}

impl Peer {
    /// A peer as it was seen.
    pub fn of(seen: PeerSeen, party: Option<Party>) -> Peer {
        let paths = seen.paths.into_iter().map(|path| {
            let transport = match path.transport {
                Transport::Quic => "quic",
                Transport::Tcp => "tcp",
            };
            Path {
                address: path.address,
                relayed: path.relayed,
                transport: transport.to_owned(),
                open_for: Seconds(path.open_for),
            }
        });
        Peer {
            peer: seen.peer.to_string(),
            peer_id: Net::peer_id(seen.peer),
            party,
            agent: seen.agent,
            round_trip: seen.round_trip.map(Seconds),
            paths: paths.collect(),
        }
    }
}

/// All peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peers {
    /// By key.
    pub peers: Vec<Peer>,
}

/// Where to look for a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// A multiaddress: `/ip4/192.0.2.7/udp/7390/quic-v1`. With a `/p2p/` id at its end, nobody else will do.
    pub address: String,
}

/// Who was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Met {
    /// Its key, hexadecimal.
    pub peer: String,
    /// The same, as it stands in addresses.
    pub peer_id: String,
}
