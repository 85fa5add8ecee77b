//! The one place where the swarm is built: which protocols of libp2p run here, and with which limits.

pub(crate) mod book;
pub(crate) mod streams;
mod tls;

use crate::config::{Config, Limits};
use crate::error::NetError;
use crate::identity;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, Swarm, SwarmBuilder, allow_block_list, autonat, connection_limits, dcutr, identify,
    identity::Keypair, mdns, memory_connection_limits, noise, ping, relay, tcp, upnp, yamux,
};
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// What peers tell each other as the family of programs that they belong to; another one is a stranger.
pub(crate) const FAMILY: &str = "/sublet/id/1";

/// Direct, relayed and simultaneous connections to one peer: one of each transport from each side.
const CONNECTIONS_PER_PEER: u32 = 4;

/// How long a connection lives on with nothing to do, once nobody holds it.
const IDLE: Duration = Duration::from_secs(60);

/// Handshakes that take longer are given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// All that runs on each connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // Those that refuse connections come first, so that the others never hear of what was refused.
    blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(crate) book: book::Behaviour,
    pub(crate) streams: streams::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay_client: relay::client::Behaviour,
    relay_server: Toggle<relay::Behaviour>,
    punch: dcutr::Behaviour,
    reach_client: Toggle<autonat::v2::client::Behaviour>,
    reach_server: Toggle<autonat::v2::server::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    /// Refuses a peer and closes what there is with it.
    pub(crate) fn block(&mut self, peer: PeerId) {
        self.blocked.block_peer(peer);
    }

    /// Takes the refusal back.
    pub(crate) fn unblock(&mut self, peer: PeerId) {
        self.blocked.unblock_peer(peer);
    }

    /// Who is on the LAN.
    pub(crate) fn neighbours(&self) -> HashSet<PeerId> {
        self.mdns.as_ref().into_iter().flat_map(|mdns| mdns.discovered_nodes()).copied().collect()
    }

    /// Whether a peer is refused.
    pub(crate) fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.blocked_peers().contains(peer)
    }
}

/// Builds the swarm of a configuration; nothing listens yet.
pub(crate) fn build(config: &Config) -> Result<Swarm<Behaviour>, NetError> {
    let key = identity::keypair(config.key_seed);
    let mdns =
        config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id()));
    // A machine that keeps its interfaces to itself can still be given addresses.
    let mdns =
        mdns.transpose().inspect_err(|error| tracing::warn!(%error, "cannot look for peers on the LAN"));
    let mdns = mdns.unwrap_or_default();
    let streams = 2 * config.limits.streams_per_peer + config.limits.requests_per_peer + 64;
    let muxer = move || {
        let mut muxer = yamux::Config::default();
        muxer.set_max_num_streams(streams);
        muxer
    };
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), (tls::Tls::new, noise::Config::new), muxer)
        .map_err(start)?
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = u32::try_from(streams).unwrap_or(u32::MAX);
            quic
        })
        .with_dns()
        .map_err(NetError::Start)?
        .with_relay_client(noise::Config::new, muxer)
        .map_err(start)?
        .with_behaviour(|key, relay_client| behaviour(key, relay_client, mdns, config))
        .map_err(start)?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE).with_smart_dial())
        .with_connection_timeout(HANDSHAKE)
        .build();
    Ok(swarm)
}

fn start(error: impl std::error::Error + Send + Sync + 'static) -> NetError {
    NetError::Start(io::Error::other(error))
}

fn behaviour(
    key: &Keypair,
    relay_client: relay::client::Behaviour,
    mdns: Option<mdns::tokio::Behaviour>,
    config: &Config,
) -> Behaviour {
    let me = key.public().to_peer_id();
    let public = config.relay_server;
    let agent = concat!("sublet/", env!("CARGO_PKG_VERSION")).to_owned();
    // Our own book decides which addresses are worth dialling; identify would keep strangers' private ones.
    let identify = identify::Config::new(FAMILY.into(), key.public())
        .with_agent_version(agent)
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(connection_limits(&config.limits)),
        memory: memory_connection_limits::Behaviour::with_max_bytes(config.limits.memory),
        book: book::Behaviour::new(me),
        streams: streams::Behaviour::default(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
        relay_client,
        relay_server: public.then(|| relay::Behaviour::new(me, relay_limits())).into(),
        punch: dcutr::Behaviour::new(me),
        reach_client: (!public).then(autonat::v2::client::Behaviour::default).into(),
        reach_server: public.then(autonat::v2::server::Behaviour::default).into(),
        upnp: config.upnp.then(upnp::tokio::Behaviour::default).into(),
        mdns: mdns.into(),
    }
}

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_connections))
        .with_max_pending_outgoing(Some(limits.pending_connections))
        .with_max_established_incoming(Some(limits.incoming_connections))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER))
}

/// libp2p's own limits end a circuit after 2 minutes or 128 KiB, which no lease survives. Whoever relays gives hours.
fn relay_limits() -> relay::Config {
    relay::Config {
        max_reservations: 512,
        max_reservations_per_peer: 4,
        max_circuits: 256,
        max_circuits_per_peer: 8,
        max_circuit_duration: Duration::from_secs(12 * 3600),
        max_circuit_bytes: 16 << 30,
        ..relay::Config::default()
    }
}
