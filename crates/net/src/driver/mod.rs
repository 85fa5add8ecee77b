//! The one task that owns the swarm: does what the handle asks, tells the node what happens, and sees to it that
//! nobody takes more than is his.
//!
//! It never waits for the node or for a peer. What takes time runs in tasks of its own, each with a deadline; what
//! the node must hear and cannot take yet waits in an outbox that holds one word for each peer at most.

mod admit;
mod conduct;
mod keep;
mod peers;
mod relays;
mod swarm_events;
mod syncing;

use crate::address;
use crate::common::Common;
use crate::config::Config;
use crate::error::NetError;
use crate::event::{NetEvent, PeerSeen, Transport};
use crate::identity;
use crate::swarm::streams::{NoStream, Opening, Protocol};
use crate::swarm::{self, Behaviour};
pub(crate) use conduct::Slot;
use conduct::{Conduct, Room, Wait};
use futures::StreamExt;
use keep::Kept;
pub(crate) use keep::MAX_KEPT;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, Stream as Substream};
use libp2p::{Multiaddr, PeerId, Swarm};
use model::PeerKey;
use peers::Peers;
use relays::Relays;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use syncing::Syncing;
use tokio::sync::{mpsc, oneshot};

/// How often what is due is looked for: dials, bans that end, comparisons of sets.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long a peer that went too far is refused.
const BAN: Duration = Duration::from_secs(600);

/// Peers refused at once for what they did. Past it, the first is forgiven early.
const MAX_BANS: usize = 1_024;

/// Peers whose conduct is remembered.
const MAX_CONDUCTS: usize = 4_096;

/// Words from tasks that wait to be heard.
const MAX_REPORTS: usize = 256;

/// What the handle asks for.
pub(crate) enum Command {
    Open { to: PeerId, protocol: Protocol, reply: oneshot::Sender<Result<Opened, Later>> },
    Dial { address: Multiaddr, reply: oneshot::Sender<Result<PeerKey, NetError>> },
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
    limits: crate::config::Limits,
    relay_server: bool,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    outbox: VecDeque<NetEvent>,
    peers: Peers,
    conducts: HashMap<PeerId, Conduct>,
    room: Arc<Room>,
    kept: Kept,
    relays: Relays,
    syncing: Syncing,
    bans: VecDeque<(Instant, PeerId)>,
    /// Blocked by the node, until it says otherwise.
    blocked: HashSet<PeerId>,
    /// Dials that somebody waits for.
    dials: HashMap<ConnectionId, Dial>,
    /// Connected to, and waited for until they say that they speak Sublet.
    meetings: HashMap<PeerId, Vec<oneshot::Sender<Result<PeerKey, NetError>>>>,
    listening: BTreeSet<Multiaddr>,
    told: Vec<Multiaddr>,
    /// Listeners that have not said yet where they listen, and who waits for that.
    starting: HashSet<ListenerId>,
    started: Option<oneshot::Sender<()>>,
}

struct Dial {
    address: Multiaddr,
    reply: oneshot::Sender<Result<PeerKey, NetError>>,
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
        let mut driver = Driver {
            swarm: swarm::build(config)?,
            common,
            limits: config.limits.clone(),
            relay_server: config.relay_server,
            commands,
            reports,
            reporter,
            outbox: VecDeque::new(),
            peers: Peers::default(),
            conducts: HashMap::new(),
            room: Arc::new(Room::new(&config.limits)),
            kept: Kept::default(),
            relays: Relays::new(config.relay_server),
            syncing: Syncing::new(&config.limits, Instant::now()),
            bans: VecDeque::new(),
            blocked: HashSet::new(),
            dials: HashMap::new(),
            meetings: HashMap::new(),
            listening: BTreeSet::new(),
            told: Vec::new(),
            starting: HashSet::new(),
            started: Some(started),
        };
        driver.listen(&config.listen)?;
        for address in &config.external {
            driver.swarm.add_external_address(address::parse(address)?);
        }
        for address in &config.bootstrap {
            driver.hold_on_to(address)?;
        }
        Ok(driver)
    }

    fn listen(&mut self, addresses: &[String]) -> Result<(), NetError> {
        let mut failed = None;
        for text in addresses {
            match listen_on(&mut self.swarm, &address::parse(text)?) {
                Ok(listener) => {
                    self.starting.insert(listener);
                }
                Err(source) => {
                    let taken = source.kind() == io::ErrorKind::AddrInUse;
                    let error = NetError::Listen { address: text.clone(), source };
                    if taken {
                        return Err(error);
                    }
                    // A machine without IPv6 is no reason to stop, as long as something else listens.
                    tracing::warn!(%error, "not listening");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if self.starting.is_empty() => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn hold_on_to(&mut self, text: &str) -> Result<(), NetError> {
        let address = address::parse(text)?;
        let without = || NetError::Address {
            address: text.to_owned(),
            why: "it must end with /p2p/ and the id of the peer",
        };
        let peer = address::peer(&address).ok_or_else(without)?;
        self.swarm.behaviour_mut().book.add_proven(peer, address);
        self.kept.insert(peer, Instant::now());
        Ok(())
    }

    /// Runs until the last handle is dropped.
    pub(crate) async fn run(mut self) {
        let common = self.common.clone();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.announce_start();
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(report) = self.reports.recv() => self.on_report(report),
                Ok(room) = common.events.reserve(), if !self.outbox.is_empty() => {
                    if let Some(event) = self.outbox.pop_front() {
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
            Command::Block { peer } => {
                self.blocked.insert(peer);
                self.swarm.behaviour_mut().block(peer);
            }
            Command::Unblock { peer } => {
                self.blocked.remove(&peer);
                self.bans.retain(|(_, banned)| *banned != peer);
                self.swarm.behaviour_mut().unblock(peer);
            }
            Command::Complain { peer } => self.on_mistake(peer),
            Command::Peers { reply } => {
                let _ = reply.send(self.peers.seen(Instant::now()));
            }
            Command::Addresses { reply } => {
                let _ = reply.send(self.told.iter().map(Multiaddr::to_string).collect());
            }
        }
    }

    fn open(&mut self, to: PeerId, protocol: Protocol) -> Result<Opened, Later> {
        if self.swarm.behaviour().is_blocked(&to) {
            return Err(Later::Blocked);
        }
        let slot = self.conduct(to).slot(protocol, Instant::now()).map_err(|wait| match wait {
            Wait::For(time) => Later::In(time),
            Wait::UntilSomeEnd(limit) => Later::UntilSomeEnd(limit),
        })?;
        let (reply, stream) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(to, Opening { protocol, reply });
        Ok(Opened { slot, stream })
    }

    fn dial(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<PeerKey, NetError>>) {
        let peer = address::peer(&address);
        if let Some(peer) = peer.filter(|peer| self.peers.is_connected(peer)) {
            return self.meet(peer, reply);
        }
        let options = match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(libp2p::swarm::dial_opts::PeerCondition::Always)
                .addresses(vec![address.clone()])
                .build(),
            None => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, Dial { address, reply });
            }
            Err(error) => {
                let _ = reply
                    .send(Err(NetError::NotThere { address: address.to_string(), why: error.to_string() }));
            }
        }
    }

    /// Waits until a connected peer has said that it speaks Sublet.
    fn meet(&mut self, peer: PeerId, reply: oneshot::Sender<Result<PeerKey, NetError>>) {
        match identity::key_of(&peer) {
            Some(key) if self.peers.is_met(&peer) => {
                let _ = reply.send(Ok(key));
            }
            Some(_) | None => self.meetings.entry(peer).or_default().push(reply),
        }
    }

    fn conduct(&mut self, peer: PeerId) -> &mut Conduct {
        let now = Instant::now();
        if self.conducts.len() >= MAX_CONDUCTS && !self.conducts.contains_key(&peer) {
            self.conducts.retain(|_, conduct| !conduct.is_clean(now));
        }
        if self.conducts.len() >= MAX_CONDUCTS && !self.conducts.contains_key(&peer) {
            // All of them are misbehaving: whoever is forgotten starts afresh, and no harm is done by which.
            let any = self.conducts.keys().next().copied();
            any.and_then(|any| self.conducts.remove(&any));
        }
        self.conducts.entry(peer).or_insert_with(|| Conduct::new(&self.limits, now))
    }

    /// Holds the connections of a peer, or lets them close when idle.
    fn tend(&mut self, peer: PeerId) {
        let held = self.kept.contains(&peer) || self.peers.len() <= self.limits.idle_peers;
        self.swarm.behaviour_mut().streams.hold(peer, held);
    }

    fn keep_house(&mut self) {
        let now = Instant::now();
        self.dial_kept();
        while let Some((_, peer)) = self.bans.pop_front_if(|(until, _)| *until <= now) {
            self.pardon(peer);
        }
        self.dials.retain(|_, dial| !dial.reply.is_closed());
        self.meetings.retain(|_, waiting| {
            waiting.retain(|reply| !reply.is_closed());
            !waiting.is_empty()
        });
        self.compare_with_somebody(now);
    }

    fn dial_kept(&mut self) {
        let peers = &self.peers;
        for peer in self.kept.due(Instant::now(), |peer| !peers.is_connected(peer), chance) {
            tracing::debug!(%peer, "dialling a peer that is held on to");
            if let Err(error) = self.swarm.dial(DialOpts::peer_id(peer).build()) {
                tracing::debug!(%peer, %error, "cannot dial");
            }
        }
    }

    fn pardon(&mut self, peer: PeerId) {
        if !self.blocked.contains(&peer) {
            self.swarm.behaviour_mut().unblock(peer);
        }
    }

    /// Tells the node as soon as it can listen.
    fn tell(&mut self, event: NetEvent) {
        match &event {
            // What it has not heard yet and is no longer so, it need not hear.
            NetEvent::PeerDown { peer } => {
                let up = self
                    .outbox
                    .iter()
                    .position(|said| matches!(said, NetEvent::PeerUp { peer: up } if up == peer));
                if let Some(up) = up {
                    self.outbox.remove(up);
                    return;
                }
            }
            NetEvent::Addresses(_) => self.outbox.retain(|said| !matches!(said, NetEvent::Addresses(_))),
            NetEvent::PeerUp { .. }
            | NetEvent::Request { .. }
            | NetEvent::Stream { .. }
            | NetEvent::Objects { .. } => {}
        }
        self.outbox.push_back(event);
    }

    fn announce_start(&mut self) {
        if self.starting.is_empty()
            && let Some(started) = self.started.take()
        {
            let _ = started.send(());
        }
    }
}

/// libp2p shares a port with whoever else of this user listens there, and each would get some of the other's calls. So
/// the port is tried first, alone.
fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> io::Result<ListenerId> {
    if let (Some(socket), Some(transport)) = (address::socket(address), address::transport(address)) {
        try_alone(socket, transport)?;
    }
    swarm.listen_on(address.clone()).map_err(io::Error::other)
}

fn try_alone(address: SocketAddr, transport: Transport) -> io::Result<()> {
    let kind = match transport {
        Transport::Tcp => Type::STREAM,
        Transport::Quic => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a node that has just ended linger for a minute on its port.
    #[cfg(unix)]
    socket.set_reuse_address(transport == Transport::Tcp)?;
    socket.bind(&address.into())?;
    if transport == Transport::Tcp { socket.listen(1) } else { Ok(()) }
}

/// A number that nobody can foresee.
fn chance() -> u64 {
    getrandom::u64().unwrap_or_default()
}
