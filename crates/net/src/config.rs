//! How a node's network is set up, and how much others may take of it.

use std::time::Duration;

/// How a node meets others.
#[derive(Clone)]
pub struct Config {
    /// The seed of the peer key: random, kept, replaceable.
    pub key_seed: [u8; 32],
    /// Where to listen, as multiaddresses; port 0 takes a free one.
    pub listen: Vec<String>,
    /// Addresses at which this node is known to be reached from outside, as its owner says.
    pub external: Vec<String>,
    /// Peers to hold on to from the start, each with its `/p2p/` id.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the LAN, and to be found there.
    pub mdns: bool,
    /// Whether to ask the router for a port.
    pub upnp: bool,
    /// Whether to stand in for peers that cannot be reached: others may reserve a place here and be called through
    /// it, and may have their addresses tried. For nodes whose listen addresses all who need them can reach.
    pub relay_server: bool,
    /// How much others may take.
    pub limits: Limits,
}

impl Default for Config {
    /// Listens everywhere on free ports, asks the LAN and the router, relays for nobody. The seed is nought: give one.
    fn default() -> Config {
        let listen =
            ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1", "/ip6/::/tcp/0"];
        Config {
            key_seed: [0; 32],
            listen: listen.map(str::to_owned).to_vec(),
            external: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            upnp: true,
            relay_server: false,
            limits: Limits::default(),
        }
    }
}

/// How much others may take. Each figure bounds what a hostile peer can cost, and leaves honest ones room.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that others opened.
    pub incoming_connections: u32,
    /// Connections whose handshake is under way, each way.
    pub pending_connections: u32,
    /// Memory of this process past which no new connection is made, in bytes.
    pub memory: usize,
    /// Peers to stay connected with even when there is nothing to say; past them, idle connections close.
    pub idle_peers: usize,
    /// Streams of one peer at once, each way.
    pub streams_per_peer: usize,
    /// Streams that one peer may open in a second; four times as many in a burst.
    pub streams_per_second: u32,
    /// Requests of one peer that wait for their answer.
    pub requests_per_peer: usize,
    /// Requests that one peer may make in a second; four times as many in a burst.
    pub requests_per_second: u32,
    /// Comparisons of the set that this node has under way at once.
    pub syncs: usize,
    /// How often the set is compared with one peer, chosen by chance.
    pub sync_every: Duration,
    /// Objects in the shared set.
    pub objects: usize,
    /// Bytes of all objects in the shared set.
    pub object_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            incoming_connections: 400,
            pending_connections: 64,
            memory: 768 << 20,
            idle_peers: 64,
            streams_per_peer: 128,
            streams_per_second: 200,
            requests_per_peer: 32,
            requests_per_second: 50,
            syncs: 8,
            sync_every: Duration::from_secs(180),
            objects: 50_000,
            object_bytes: 32 << 20,
        }
    }
}

/// The seed is nobody's to print.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("external", &self.external)
            .field("bootstrap", &self.bootstrap)
            .field("mdns", &self.mdns)
            .field("upnp", &self.upnp)
            .field("relay_server", &self.relay_server)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
