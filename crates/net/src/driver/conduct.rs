//! What one peer may do, and what it gets for doing more: first it waits, then it is turned away, then it is sent off.

use crate::config::Limits;
use crate::swarm::streams::Protocol;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many times its limits a peer may use at once after a quiet time.
const BURST: u32 = 4;

/// Messages that make no sense which one peer may send: all at once, and again after as many times [`MERCY`].
const MISTAKES: u32 = 8;
/// After how long one mistake is forgotten.
const MERCY: Duration = Duration::from_secs(20);

/// Openings beyond its limits that one peer may make: at once, and in a second.
const OVERRUNS: u32 = 256;
const OVERRUNS_PER_SECOND: u32 = 16;

/// Sessions of sync with one peer at once: its own and our push may cross.
const SYNCS: usize = 4;
/// Sessions that one peer may open in a second. A push every 100 ms is what an honest one does at most.
const SYNCS_PER_SECOND: u32 = 20;

/// One peer's allowance. It outlives the connection, or a flood would start afresh with each.
pub(super) struct Conduct {
    streams: Allowance,
    requests: Allowance,
    syncs: Allowance,
    mistakes: Bucket,
    overruns: Bucket,
}

/// What becomes of a stream that a peer opened.
#[derive(Debug)]
pub(super) enum Admission {
    /// Served for as long as the permit lives.
    Served(OwnedSemaphorePermit),
    /// Told to come back later.
    TurnedAway,
    /// The peer has gone too far.
    SentOff,
}

impl Conduct {
    /// A stranger's.
    pub(super) fn new(limits: &Limits, now: Instant) -> Conduct {
        Conduct {
            streams: Allowance::new(limits.streams_per_second, limits.streams_per_peer, now),
            requests: Allowance::new(limits.requests_per_second, limits.requests_per_peer, now),
            syncs: Allowance::new(SYNCS_PER_SECOND, SYNCS, now),
            mistakes: Bucket::new(MERCY, MISTAKES, now),
            overruns: Bucket::per_second(OVERRUNS_PER_SECOND, OVERRUNS, now),
        }
    }

    /// Judges a stream that the peer opened.
    pub(super) fn admit(&mut self, protocol: Protocol, now: Instant) -> Admission {
        let allowance = self.allowance(protocol);
        if !allowance.incoming.take(now) {
            return if self.overruns.take(now) { Admission::TurnedAway } else { Admission::SentOff };
        }
        match allowance.incoming_slots.clone().try_acquire_owned() {
            Ok(slot) => Admission::Served(slot),
            Err(_) => Admission::TurnedAway,
        }
    }

    /// A slot for a stream that we open, or how long to wait for one. We keep to what the other end allows, and so
    /// are never turned away by a peer with the same limits.
    pub(super) fn slot(&mut self, protocol: Protocol, now: Instant) -> Result<OwnedSemaphorePermit, Wait> {
        let allowance = self.allowance(protocol);
        let slots = allowance.outgoing_slots.clone();
        let Ok(slot) = slots.try_acquire_owned() else { return Err(Wait::UntilSomeEnd(allowance.limit)) };
        if allowance.outgoing.take(now) { Ok(slot) } else { Err(Wait::For(allowance.outgoing.next(now))) }
    }

    /// The peer sent what makes no sense; whether that is still forgiven.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        self.mistakes.take(now)
    }

    /// Whether nothing is remembered that a stranger would not have.
    pub(super) fn is_clean(&mut self, now: Instant) -> bool {
        let idle = [&mut self.streams, &mut self.requests, &mut self.syncs]
            .into_iter()
            .all(|allowance| allowance.is_idle(now));
        idle && self.mistakes.is_full(now) && self.overruns.is_full(now)
    }

    fn allowance(&mut self, protocol: Protocol) -> &mut Allowance {
        match protocol {
            Protocol::Stream => &mut self.streams,
            Protocol::Deal => &mut self.requests,
            Protocol::Sync => &mut self.syncs,
        }
    }
}

/// Why a stream cannot be opened now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The rate is used up for this long.
    For(Duration),
    /// So many are open.
    UntilSomeEnd(usize),
}

/// How many of one kind at once and how many in a second, each way.
struct Allowance {
    incoming: Bucket,
    outgoing: Bucket,
    incoming_slots: Arc<Semaphore>,
    outgoing_slots: Arc<Semaphore>,
    limit: usize,
}

impl Allowance {
    fn new(per_second: u32, limit: usize, now: Instant) -> Allowance {
        Allowance {
            incoming: Bucket::per_second(per_second, per_second * BURST, now),
            // A little less than what is allowed: clocks and queues between us are not exact.
            outgoing: Bucket::per_second((per_second * 3 / 4).max(1), per_second * BURST * 3 / 4, now),
            incoming_slots: Arc::new(Semaphore::new(limit)),
            outgoing_slots: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    fn is_idle(&mut self, now: Instant) -> bool {
        let unused = [&self.incoming_slots, &self.outgoing_slots]
            .iter()
            .all(|slots| slots.available_permits() == self.limit);
        unused && self.incoming.is_full(now) && self.outgoing.is_full(now)
    }
}

/// A token bucket: holds `burst` tokens, and gets one back each `interval`.
struct Bucket {
    interval: Duration,
    burst: u32,
    /// When it will be full again if nothing more is taken.
    full_at: Instant,
}

impl Bucket {
    fn new(interval: Duration, burst: u32, now: Instant) -> Bucket {
        Bucket { interval, burst, full_at: now }
    }

    fn per_second(per_second: u32, burst: u32, now: Instant) -> Bucket {
        Bucket::new(Duration::from_secs(1) / per_second.max(1), burst, now)
    }

    fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        if full_at > now + self.interval * self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// How long until there is a token.
    fn next(&self, now: Instant) -> Duration {
        (self.full_at + self.interval).saturating_duration_since(now + self.interval * self.burst)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { streams_per_second: 10, streams_per_peer: 100, ..Limits::default() }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::per_second(10, 4, start);
        assert_eq!((0..9).filter(|_| bucket.take(start)).count(), 4);
        assert_eq!(bucket.next(start), Duration::from_millis(100));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..9).filter(|_| bucket.take(later)).count(), 4, "it never holds more than its burst");
        assert!(!bucket.is_full(later) && bucket.is_full(later + Duration::from_millis(400)));
    }

    #[test]
    fn a_flood_is_turned_away_and_then_sent_off() {
        let now = Instant::now();
        let mut conduct = Conduct::new(&limits(), now);
        let mut fates = [0; 3];
        for _ in 0..1_000 {
            // The permit is dropped at once: it is the rate that is exceeded here.
            fates[match conduct.admit(Protocol::Stream, now) {
                Admission::Served(_) => 0,
                Admission::TurnedAway => 1,
                Admission::SentOff => 2,
            }] += 1;
        }
        assert_eq!(fates, [40, 256, 704]);
        assert!(!conduct.is_clean(now));
        assert!(conduct.is_clean(now + Duration::from_secs(60)));
    }

    #[test]
    fn what_we_open_stays_within_what_an_equal_allows() {
        let now = Instant::now();
        let (mut ours, mut theirs) = (Conduct::new(&limits(), now), Conduct::new(&limits(), now));
        let mut slots = Vec::new();
        while let Ok(slot) = ours.slot(Protocol::Stream, now) {
            assert!(matches!(theirs.admit(Protocol::Stream, now), Admission::Served(_)));
            slots.push(slot);
        }
        assert_eq!(slots.len(), 30);
        assert!(
            matches!(ours.slot(Protocol::Stream, now), Err(Wait::For(wait)) if wait <= Duration::from_millis(150))
        );
    }

    #[test]
    fn mistakes_are_forgiven_for_a_while() {
        let now = Instant::now();
        let mut conduct = Conduct::new(&limits(), now);
        assert_eq!((0..20).filter(|_| conduct.forgive(now)).count(), 8);
        assert!(conduct.forgive(now + MERCY));
    }
}
