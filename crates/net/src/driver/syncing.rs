//! With whom the shared set is compared, and when; and to whom its news goes.

use super::{Driver, chance};
use crate::common::Common;
use crate::config::Limits;
use crate::swarm::streams::{Opening, Protocol};
use crate::sync::set::Fresh;
use crate::{identity, sync};
use libp2p::PeerId;
use libp2p::swarm::Stream as Substream;
use model::{ObjectId, PeerKey};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Peers to whom news is pushed. Each passes on what is new to it, so that all hear of it in a few steps.
const FAN_OUT: usize = 8;

/// Pushes under way at once. Past it, news waits for the next comparison.
const MAX_PUSHES: usize = 32;

/// News is gathered for this long, so that a burst is one push.
const GATHER: Duration = Duration::from_millis(100);

/// Comparisons that wait for their turn.
const MAX_DUE: usize = 512;

/// What is due.
pub(super) struct Syncing {
    due: VecDeque<PeerId>,
    sessions: Arc<Semaphore>,
    pushes: Arc<Semaphore>,
    push_at: Option<Instant>,
    every: Duration,
    next: Instant,
}

impl Syncing {
    pub(super) fn new(limits: &Limits, now: Instant) -> Syncing {
        Syncing {
            due: VecDeque::new(),
            sessions: Arc::new(Semaphore::new(limits.syncs)),
            pushes: Arc::new(Semaphore::new(MAX_PUSHES)),
            push_at: None,
            every: limits.sync_every,
            next: now + limits.sync_every,
        }
    }

    /// There is news.
    pub(super) fn changed(&mut self, now: Instant) {
        self.push_at.get_or_insert(now + GATHER);
    }

    /// Returns when news has been gathered.
    pub(super) fn push_due(&self) -> impl Future<Output = ()> + use<> {
        let at = self.push_at;
        async move {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.due.retain(|due| due != peer);
    }
}

impl Driver {
    /// Compares sets with one peer of those that are connected, chosen by chance, when it is time.
    pub(super) fn compare_with_somebody(&mut self, now: Instant) {
        if now < self.syncing.next {
            return;
        }
        // Between half and one and a half of the time, so that nodes do not fall into step.
        let percent = 50 + u32::try_from(chance() % 100).unwrap_or(0);
        self.syncing.next = now + self.syncing.every * percent / 100;
        if let Some(peer) = some_of(self.peers.all_met(), 1).first() {
            self.compare_soon(*peer);
        }
    }

    /// Compares sets with `peer` as soon as there is room for a session.
    pub(super) fn compare_soon(&mut self, peer: PeerId) {
        if !self.syncing.due.contains(&peer) && self.syncing.due.len() < MAX_DUE {
            self.syncing.due.push_back(peer);
        }
        self.start_comparing();
    }

    pub(super) fn start_comparing(&mut self) {
        while let Ok(room) = self.syncing.sessions.clone().try_acquire_owned() {
            let Some(peer) = self.syncing.due.pop_front() else { return };
            self.session(peer, Protocol::Sync, room, |common, key, stream| async move {
                sync::reconcile(&common, key, stream).await
            });
        }
    }

    /// Offers what is new to a few peers.
    pub(super) fn push(&mut self) {
        self.syncing.push_at = None;
        let fresh = self.common.set().take_fresh();
        let peers = some_of(self.peers.all_met(), FAN_OUT);
        match fresh {
            Fresh::Nothing => {}
            Fresh::These(ids) => {
                let ids: Arc<[ObjectId]> = ids.into();
                for peer in peers {
                    self.push_to(peer, ids.clone());
                }
            }
            Fresh::TooMany => peers.into_iter().for_each(|peer| self.compare_soon(peer)),
        }
    }

    fn push_to(&mut self, peer: PeerId, ids: Arc<[ObjectId]>) {
        let Ok(room) = self.syncing.pushes.clone().try_acquire_owned() else { return };
        self.session(peer, Protocol::Push, room, |common, key, stream| async move {
            sync::push(&common, key, stream, &ids).await
        });
    }

    /// Opens a stream for a session and runs it. A peer that allows no further session now is left for later.
    fn session<S>(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        room: OwnedSemaphorePermit,
        run: impl FnOnce(Arc<Common>, PeerKey, Substream) -> S + Send + 'static,
    ) where
        S: Future<Output = io::Result<()>> + Send,
    {
        let Some(key) = identity::key_of(&peer) else { return };
        let now = Instant::now();
        let Ok(slot) = self.gate.conduct(peer, now).slot(protocol, now) else { return };
        let common = self.common.clone();
        let (reply, stream) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, Opening { protocol, reply });
        self.report_on(peer, protocol, async move {
            let Ok(Ok(stream)) = stream.await else { return Err(io::ErrorKind::NotConnected.into()) };
            let result = run(common, key, stream).await;
            drop((room, slot));
            result
        });
    }
}

/// `n` of the peers, by chance.
fn some_of(mut peers: Vec<PeerId>, n: usize) -> Vec<PeerId> {
    for at in 0..n.min(peers.len()) {
        let left = (peers.len() - at) as u64;
        peers.swap(at, at + usize::try_from(chance() % left).unwrap_or(0));
    }
    peers.truncate(n);
    peers
}
