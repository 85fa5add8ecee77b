//! Peers to hold on to: dialled again when lost, ever more rarely while they stay away.

use libp2p::PeerId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Peers that are held on to at once. Leases are far fewer.
pub(crate) const MAX_KEPT: usize = 512;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// The peers to hold on to, and when to dial each again.
#[derive(Default)]
pub(super) struct Kept(HashMap<PeerId, Attempt>);

#[derive(Clone, Copy)]
struct Attempt {
    due: Instant,
    failures: u32,
}

impl Kept {
    /// Holds on to `peer`, to be dialled from `due` on; false when there are too many.
    pub(super) fn insert(&mut self, peer: PeerId, due: Instant) -> bool {
        let room = self.0.len() < MAX_KEPT || self.contains(&peer);
        if room {
            self.0.insert(peer, Attempt { due, failures: 0 });
        }
        room
    }

    /// Lets go of `peer`.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Whether it is held on to.
    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    /// It is connected, or was just lost: the next dial is due at once.
    pub(super) fn reset(&mut self, peer: &PeerId, now: Instant) {
        if let Some(attempt) = self.0.get_mut(peer) {
            *attempt = Attempt { due: now, failures: 0 };
        }
    }

    /// The peers to dial now, of those that are `lost`. Each is due again after twice the time, a quarter more or
    /// less by `chance`, so that a host that comes back is not met by all its tenants in one moment.
    pub(super) fn due(
        &mut self,
        now: Instant,
        lost: impl Fn(&PeerId) -> bool,
        mut chance: impl FnMut() -> u64,
    ) -> Vec<PeerId> {
        let mut due = Vec::new();
        for (peer, attempt) in &mut self.0 {
            if attempt.due > now || !lost(peer) {
                continue;
            }
            let wait = (FIRST_RETRY * 2_u32.saturating_pow(attempt.failures.min(16))).min(LAST_RETRY);
            let percent = 75 + u32::try_from(chance() % 50).unwrap_or(0);
            *attempt = Attempt { due: now + wait * percent / 100, failures: attempt.failures + 1 };
            due.push(*peer);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_peer_is_dialled_ever_more_rarely_and_at_once_after_it_was_there() {
        let (mut kept, peer, mut now) = (Kept::default(), PeerId::random(), Instant::now());
        let start = now;
        assert!(kept.insert(peer, now));
        let mut dials = Vec::new();
        while now < start + Duration::from_secs(3_600) {
            if !kept.due(now, |_| true, || 25).is_empty() {
                dials.push((now - start).as_secs());
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(dials[..6], [0, 1, 3, 7, 15, 31]);
        assert!(dials.windows(2).all(|two| two[1] - two[0] <= 300));
        assert!(kept.due(now, |_| false, || 0).is_empty(), "connected ones are left alone");
        kept.reset(&peer, now);
        assert_eq!(kept.due(now, |_| true, || 0), [peer]);
    }

    #[test]
    fn there_is_a_limit_to_holding_on() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        assert_eq!((0..600).filter(|_| kept.insert(PeerId::random(), now)).count(), MAX_KEPT);
    }
}
