//! Who may do what: the conduct of each peer, and whom we refuse.

use super::conduct::{Conduct, Room};
use crate::config::Limits;
use crate::swarm::Behaviour;
use libp2p::PeerId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a peer that went too far is refused.
pub(super) const BAN: Duration = Duration::from_secs(600);

/// Peers refused at once for what they did. Past it, the first is forgiven early.
const MAX_BANS: usize = 1_024;

/// Peers whose conduct is remembered.
const MAX_CONDUCTS: usize = 4_096;

/// What we remember of peers' conduct, and what follows from it.
pub(super) struct Gate {
    limits: Limits,
    conducts: HashMap<PeerId, Conduct>,
    /// For all peers together.
    pub(super) room: Arc<Room>,
    bans: VecDeque<(Instant, PeerId)>,
    /// Blocked by the node, until it says otherwise.
    blocked: HashSet<PeerId>,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Gate {
        Gate {
            limits: limits.clone(),
            conducts: HashMap::new(),
            room: Arc::new(Room::new(limits)),
            bans: VecDeque::new(),
            blocked: HashSet::new(),
        }
    }

    /// A peer's conduct so far.
    pub(super) fn conduct(&mut self, peer: PeerId, now: Instant) -> &mut Conduct {
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

    /// Refuses a peer because the node says so.
    pub(super) fn block(&mut self, peer: PeerId, swarm: &mut Behaviour) {
        self.blocked.insert(peer);
        swarm.block(peer);
    }

    /// Lets a peer in again, whatever it was refused for.
    pub(super) fn unblock(&mut self, peer: PeerId, swarm: &mut Behaviour) {
        self.blocked.remove(&peer);
        self.bans.retain(|(_, banned)| *banned != peer);
        swarm.unblock(peer);
    }

    /// Refuses a peer for [`BAN`].
    pub(super) fn ban(&mut self, peer: PeerId, now: Instant, swarm: &mut Behaviour) {
        if self.bans.len() >= MAX_BANS
            && let Some((_, first)) = self.bans.pop_front()
        {
            self.pardon(first, swarm);
        }
        self.bans.push_back((now + BAN, peer));
        swarm.block(peer);
    }

    /// Lets those in again whose time is over.
    pub(super) fn pardon_due(&mut self, now: Instant, swarm: &mut Behaviour) {
        while let Some((_, peer)) = self.bans.pop_front_if(|(until, _)| *until <= now) {
            self.pardon(peer, swarm);
        }
    }

    fn pardon(&mut self, peer: PeerId, swarm: &mut Behaviour) {
        if !self.blocked.contains(&peer) {
            swarm.unblock(peer);
        }
    }
}
