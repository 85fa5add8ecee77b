//! The one task that owns the swarm: does what the handle asks, tells the node what happens, and sees to it that
//! nobody takes more than is his.
//!
//! It never waits for the node or for a peer. What takes time runs in tasks of its own, each with a deadline; what
//! the node must hear and cannot take yet waits in an outbox that holds one word for each peer at most.

mod admit;
mod conduct;
mod dialling;
mod gate;
mod keep;
mod listening;
mod outbox;
mod peers;
mod relays;
mod swarm_events;
mod syncing;

use crate::address;
use crate::common::Common;
use crate::config::Config;
use crate::error::NetError;
use crate::event::PeerSeen;
use crate::identity;
use crate::swarm::streams::{NoStream, Opening, Protocol};
use crate::swarm::{self, Behaviour};
pub(crate) use conduct::Slot;
use conduct::Wait;
pub(crate) use dialling::DialReply;
use dialling::Dialling;
use futures::StreamExt;
use gate::Gate;
use keep::Kept;
pub(crate) use keep::MAX_KEPT;
use libp2p::swarm::Stream as Substream;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Swarm};
use listening::Listening;
use outbox::Outbox;
use peers::Peers;
use relays::Relays;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use syncing::Syncing;
use tokio::sync::{mpsc, oneshot};

/// How often what is due is looked for: dials, bans that end, comparisons of sets.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Words from tasks that wait to be heard.
const MAX_REPORTS: usize = 256;

/// What the handle asks for.
pub(crate) enum Command {
    Open { to: PeerId, protocol: Protocol, reply: oneshot::Sender<Result<Opened, Later>> },
    Dial { address: Multiaddr, reply: DialReply },
    Know { peer: PeerId, addresses: Vec<Multiaddr> },
    Keep { peer: PeerId, reply: oneshot::Sender<bool> },
    Release { peer: PeerId },
    Block { peer: PeerId },
    Unblock { peer: PeerId },
    Complain { peer: PeerId },
    Peers { reply: oneshot::Sender<Vec<PeerSeen>> },
    Addresses { reply: oneshot::Sender<Vec<String>> },
}

/// A stream on its way, and the slot that it takes.
pub(crate) struct Opened {
    pub(crate) slot: Slot,
    pub(crate) stream: oneshot::Receiver<Result<Substream, NoStream>>,
}

/// Why no stream was asked for.
pub(crate) enum Later {
    /// We would ask more of that peer than it allows; it is all right after this time.
    In(Duration),
    /// So many are open already.
    UntilSomeEnd(usize),
    /// We block that peer.
    Blocked,
}

/// A task that served or opened a stream has ended.
struct Report {
    peer: PeerId,
    protocol: Protocol,
    result: io::Result<()>,
}

/// Owns the swarm.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    common: Arc<Common>,
    idle_peers: usize,
    relay_server: bool,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    outbox: Outbox,
    peers: Peers,
    gate: Gate,
    kept: Kept,
    /// Seen on the LAN, and held on to for as long as they are.
    neighbours: Kept,
    relays: Relays,
    syncing: Syncing,
    dialling: Dialling,
    listening: Listening,
}

impl Driver {
    /// Builds the swarm, starts to listen and to dial. `started` hears when each listener has its address.
    pub(crate) fn new(
        config: &Config,
        common: Arc<Common>,
        commands: mpsc::Receiver<Command>,
        started: oneshot::Sender<()>,
    ) -> Result<Driver, NetError> {
        let (reporter, reports) = mpsc::channel(MAX_REPORTS);
        let mut swarm = swarm::build(config)?;
        let listening = Listening::start(&mut swarm, &config.listen, started)?;
        let mut driver = Driver {
            swarm,
            common,
            idle_peers: config.limits.idle_peers,
            relay_server: config.relay_server,
            commands,
            reports,
            reporter,
            outbox: Outbox::default(),
            peers: Peers::default(),
            gate: Gate::new(&config.limits),
            kept: Kept::default(),
            neighbours: Kept::default(),
            relays: Relays::new(config.relay_server),
            syncing: Syncing::new(&config.limits, Instant::now()),
            dialling: Dialling::default(),
            listening,
        };
        for address in &config.external {
            driver.swarm.add_external_address(address::parse(address)?);
        }
        for address in &config.bootstrap {
            driver.hold_on_to(address)?;
        }
        Ok(driver)
    }

    fn hold_on_to(&mut self, text: &str) -> Result<(), NetError> {
        let address = address::parse(text)?;
        let Some(peer) = address::peer(&address) else {
            let why = "it must end with /p2p/ and the id of the peer";
            return Err(NetError::Address { address: text.to_owned(), why });
        };
        self.swarm.behaviour_mut().book.add_proven(peer, address);
        self.kept.insert(peer, Instant::now());
        Ok(())
    }

    /// Runs until the last handle is dropped.
    pub(crate) async fn run(mut self) {
        let common = self.common.clone();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(report) = self.reports.recv() => self.on_report(report),
                Ok(room) = common.events.reserve(), if !self.outbox.is_empty() => {
                    if let Some(event) = self.outbox.pop() {
                        room.send(event);
                    }
                }
                () = common.changed.notified() => self.syncing.changed(Instant::now()),
                () = self.syncing.push_due() => self.push(),
                _ = housekeeping.tick() => self.keep_house(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { to, protocol, reply } => {
                let _ = reply.send(self.open(to, protocol));
            }
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Know { peer, addresses } => {
                self.swarm.behaviour_mut().book.add_told(peer, addresses);
                if !self.peers.is_connected(&peer) {
                    self.kept.reset(&peer, Instant::now());
                }
            }
            Command::Keep { peer, reply } => {
                let _ = reply.send(self.kept.insert(peer, Instant::now()));
                self.tend(peer);
                self.dial_kept();
            }
            Command::Release { peer } => {
                self.kept.remove(&peer);
                self.tend(peer);
            }
            Command::Block { peer } => self.gate.block(peer, self.swarm.behaviour_mut()),
            Command::Unblock { peer } => self.gate.unblock(peer, self.swarm.behaviour_mut()),
            Command::Complain { peer } => self.on_mistake(peer),
            Command::Peers { reply } => {
                let _ = reply.send(self.peers.seen(Instant::now()));
            }
            Command::Addresses { reply } => {
                let _ = reply.send(self.listening.told());
            }
        }
    }

    fn open(&mut self, to: PeerId, protocol: Protocol) -> Result<Opened, Later> {
        if self.swarm.behaviour().is_blocked(&to) {
            return Err(Later::Blocked);
        }
        let now = Instant::now();
        let slot = self.gate.conduct(to, now).slot(protocol, now).map_err(|wait| match wait {
            Wait::For(time) => Later::In(time),
            Wait::UntilSomeEnd(limit) => Later::UntilSomeEnd(limit),
        })?;
        let (reply, stream) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(to, Opening { protocol, reply });
        Ok(Opened { slot, stream })
    }

    fn dial(&mut self, address: Multiaddr, reply: DialReply) {
        let peer = address::peer(&address);
        if let Some(peer) = peer.filter(|peer| self.peers.is_connected(peer)) {
            return self.meet(peer, reply);
        }
        let options = match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address.clone()])
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.dialling.dialled(connection, address, reply),
            Err(error) => {
                let _ = reply.send(Err(dialling::not_there(&address, &error)));
            }
        }
    }

    /// Answers when a connected peer has said that it speaks Sublet.
    fn meet(&mut self, peer: PeerId, reply: DialReply) {
        match identity::key_of(&peer) {
            Some(key) if self.peers.is_met(&peer) => {
                let _ = reply.send(Ok(key));
            }
            Some(_) | None => self.dialling.meet(peer, reply),
        }
    }

    /// Holds the connections of a peer, or lets them close when idle.
    fn tend(&mut self, peer: PeerId) {
        let held = self.kept.contains(&peer) || self.peers.len() <= self.idle_peers;
        self.swarm.behaviour_mut().streams.hold(peer, held);
    }

    fn keep_house(&mut self) {
        let now = Instant::now();
        self.dial_kept();
        self.gate.pardon_due(now, self.swarm.behaviour_mut());
        self.dialling.prune();
        self.compare_with_somebody(now);
    }

    fn dial_kept(&mut self) {
        let (now, peers) = (Instant::now(), &self.peers);
        let lost = |peer: &PeerId| !peers.is_connected(peer);
        let mut due = self.kept.due(now, lost, chance);
        // A large LAN is not held in one hand: what is shared spreads through some of it.
        if peers.len() < self.idle_peers {
            due.extend(self.neighbours.due(now, lost, chance));
        }
        for peer in due {
            if let Err(error) = self.swarm.dial(DialOpts::peer_id(peer).build()) {
                tracing::debug!(%peer, %error, "not dialled");
            }
        }
    }
}

/// A number that nobody can foresee.
fn chance() -> u64 {
    getrandom::u64().unwrap_or_default()
}
