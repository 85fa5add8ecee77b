//! What happens on the swarm, and what follows from it.

use super::{Driver, relays};
use crate::address;
use crate::error::NetError;
use crate::identity;
use crate::swarm::{BehaviourEvent, FAMILY};
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionId, StreamUpgradeError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, ping};
use std::time::{Duration, Instant};

/// How long the one of two neighbours that should be dialled waits before it dials itself.
const YIELD: Duration = Duration::from_secs(2);

impl Driver {
    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum: the rest is for its own parts")]
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                tracing::debug!(peer = %peer_id, at = %endpoint.get_remote_address(), "connected");
                self.peers.connected(peer_id, connection_id, &endpoint, Instant::now());
                self.kept.reset(&peer_id, Instant::now());
                self.neighbours.reset(&peer_id, Instant::now());
                self.tend(peer_id);
                if let Some(reply) = self.dialling.connected(connection_id) {
                    self.meet(peer_id, reply);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "disconnected");
                self.on_closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dialling.failed(connection_id, &error)
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.on_listening(listener_id, address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
                self.on_own_addresses();
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                self.listening.ended(listener_id, &addresses);
                if let Some(relay) = self.relays.lost(listener_id) {
                    tracing::debug!(%relay, ?reason, "lost the place at a relay");
                }
                self.on_own_addresses();
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                self.relays.public |= !address::is_relayed(&address);
                self.on_own_addresses();
            }
            SwarmEvent::ExternalAddrExpired { .. } => {
                self.relays.public =
                    self.relay_server || self.swarm.external_addresses().any(|own| !address::is_relayed(own));
                self.on_own_addresses();
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(arrived) => self.admit(arrived),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(round_trip) => self.peers.measured(&peer, connection, round_trip),
                // A peer that vanished without a word: the connection would stay for minutes.
                Err(ping::Failure::Timeout) => {
                    self.swarm.close_connection(connection);
                }
                Err(ping::Failure::Unsupported | ping::Failure::Other { .. }) => {}
            },
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_neighbours(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(gone)) => {
                // A peer may have moved from one address to another.
                let here = self.swarm.behaviour().neighbours();
                gone.iter()
                    .filter(|(peer, _)| !here.contains(peer))
                    .for_each(|(peer, _)| self.neighbours.remove(peer));
            }
            BehaviourEvent::Punch(event) => match event.result {
                Ok(_) => {
                    tracing::info!(peer = %event.remote_peer_id, "direct connection through both routers");
                    self.tend(event.remote_peer_id);
                }
                Err(error) => tracing::debug!(peer = %event.remote_peer_id, %error, "no direct connection"),
            },
            BehaviourEvent::RelayClient(event) => tracing::debug!(?event, "relay"),
            BehaviourEvent::RelayServer(event) => tracing::debug!(?event, "relaying"),
            BehaviourEvent::ReachClient(event) => {
                tracing::debug!(address = %event.tested_addr, ok = event.result.is_ok(), "reach tried")
            }
            BehaviourEvent::ReachServer(event) => tracing::debug!(?event, "reach of another tried"),
            BehaviourEvent::Upnp(event) => tracing::debug!(?event, "router"),
            BehaviourEvent::Blocked(never)
            | BehaviourEvent::Limits(never)
            | BehaviourEvent::Memory(never)
            | BehaviourEvent::Book(never) => match never {},
        }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let lost = self.peers.disconnected(&peer, connection);
        if self.peers.is_connected(&peer) {
            return self.tend(peer);
        }
        if let Some(key) = identity::key_of(&peer) {
            self.dialling.settled(&peer, || Err(NetError::Gone { peer: key }));
            if lost {
                self.outbox.peer_down(key);
            }
        }
        self.syncing.forget(&peer);
        self.kept.reset(&peer, Instant::now());
        self.dial_kept();
    }

    fn on_identify(&mut self, event: identify::Event) {
        match event {
            identify::Event::Received { peer_id, info, .. } if info.protocol_version == FAMILY => {
                self.on_met(peer_id, &info)
            }
            identify::Event::Received { peer_id, .. }
            | identify::Event::Error { peer_id, error: StreamUpgradeError::NegotiationFailed, .. } => {
                tracing::debug!(peer = %peer_id, "speaks something else");
                self.on_foreigner(peer_id);
            }
            identify::Event::Error { .. } | identify::Event::Sent { .. } | identify::Event::Pushed { .. } => {
            }
        }
    }

    fn on_met(&mut self, peer: PeerId, info: &identify::Info) {
        let Some(key) = identity::key_of(&peer) else { return };
        self.swarm.behaviour_mut().book.add_told(peer, info.listen_addrs.iter().cloned());
        if self.relays.want(&peer, info) {
            self.ask_for_place(peer, info);
        }
        if !self.peers.met(&peer, &info.agent_version) {
            return;
        }
        self.outbox.peer_up(key);
        self.dialling.settled(&peer, || Ok(key));
        // One session makes both sets alike, so one end opens it: the one with the smaller key.
        if Some(key) > identity::key_of(self.swarm.local_peer_id()) {
            self.compare_soon(peer);
        }
    }

    fn on_foreigner(&mut self, peer: PeerId) {
        if let Some(key) = identity::key_of(&peer) {
            self.dialling.settled(&peer, || Err(NetError::Foreign { peer: key }));
        }
        self.neighbours.remove(&peer);
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn ask_for_place(&mut self, relay: PeerId, info: &identify::Info) {
        let used: Vec<_> =
            self.peers.addresses(&relay).filter(|address| !address::is_relayed(address)).cloned().collect();
        // An inbound connection's far end is a port that nobody listens on; what the relay says of itself is meant.
        let known = info.listen_addrs.iter().filter(|address| !address::is_relayed(address));
        let Some(direct) = known.clone().find(|address| used.iter().any(|used| same_machine(used, address)))
        else {
            return;
        };
        match self.swarm.listen_on(relays::place(direct, relay)) {
            Ok(listener) => self.relays.asked(relay, listener),
            Err(error) => tracing::debug!(%relay, %error, "cannot ask for a place"),
        }
        let known: Vec<_> =
            known.filter(|address| used.iter().any(|used| same_machine(used, address))).cloned().collect();
        if let Some(dial) = relays::other_transport(relay, &used, &known)
            && let Err(error) = self.swarm.dial(dial)
        {
            tracing::debug!(%relay, %error, "cannot dial the relay's other transport");
        }
    }

    fn on_neighbours(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let now = Instant::now();
        for (peer, address) in found {
            self.swarm.behaviour_mut().book.add_told(peer, [address]);
            // Both ends hear of each other in one moment. If both dialled then, from the port that they listen on, each
            // would find itself the caller of one and the same connection, and both would fail.
            let wait = if peer > *self.swarm.local_peer_id() { Duration::ZERO } else { YIELD };
            if !self.neighbours.contains(&peer) {
                self.neighbours.insert(peer, now + wait);
            }
        }
        self.dial_kept();
    }

    fn on_listening(&mut self, listener: ListenerId, address: Multiaddr) {
        tracing::info!(%address, "listening");
        self.listening.add(listener, address);
        // A relay must know an address of its own to give places there. Its owner says that others reach it.
        if self.relay_server {
            let (vouched, dropped) = self.listening.vouched();
            vouched.into_iter().for_each(|own| self.swarm.add_external_address(own));
            dropped.iter().for_each(|own| self.swarm.remove_external_address(own));
        }
        self.on_own_addresses();
    }

    fn on_own_addresses(&mut self) {
        self.swarm.behaviour_mut().book.set_ours(self.listening.direct());
        let me = *self.swarm.local_peer_id();
        if let Some(news) = self.listening.news(self.swarm.external_addresses(), me) {
            self.outbox.addresses(news);
        }
    }
}

/// Whether two addresses name one host, whatever the ports.
fn same_machine(one: &Multiaddr, other: &Multiaddr) -> bool {
    one.iter().next() == other.iter().next()
}
