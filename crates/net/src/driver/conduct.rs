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

/// Comparisons of the set with one peer at once, and in a second. Honest ones come every few minutes.
const SYNCS: usize = 2;
const SYNCS_PER_SECOND: u32 = 1;

/// Pushes of one peer at once, and in a second. An honest one gathers its news for 100 ms.
const PUSHES: usize = 4;
const PUSHES_PER_SECOND: u32 = 20;

/// One peer's allowance. It outlives the connection, or a flood would start afresh with each.
pub(super) struct Conduct {
    streams: Allowance,
    requests: Allowance,
    syncs: Allowance,
    pushes: Allowance,
    mistakes: Bucket,
    overruns: Bucket,
}

/// What becomes of a stream that a peer opened.
#[derive(Debug)]
pub(super) enum Admission {
    /// Served for as long as the slot lives.
    Served(Slot),
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
            pushes: Allowance::new(PUSHES_PER_SECOND, PUSHES, now),
            mistakes: Bucket::new(MERCY, MISTAKES, now),
            overruns: Bucket::per_second(OVERRUNS_PER_SECOND, OVERRUNS, now),
        }
    }

    /// Judges a stream that the peer opened, by what is its own and by the `room` for all peers together.
    pub(super) fn admit(&mut self, protocol: Protocol, room: &Room, now: Instant) -> Admission {
        let allowance = self.allowance(protocol);
        if !allowance.incoming.take(now) {
            return if self.overruns.take(now) { Admission::TurnedAway } else { Admission::SentOff };
        }
        let of_peer = allowance.incoming_slots.clone().try_acquire_owned();
        match (of_peer, room.of(protocol).try_acquire_owned()) {
            (Ok(of_peer), Ok(of_all)) => Admission::Served(Slot { _of_peer: of_peer, _of_all: Some(of_all) }),
            (Err(_), _) | (_, Err(_)) => Admission::TurnedAway,
        }
    }

    /// A slot for a stream that we open, or how long to wait for one. We keep to what the other end allows, and so
    /// are never turned away by a peer with the same limits.
    pub(super) fn slot(&mut self, protocol: Protocol, now: Instant) -> Result<Slot, Wait> {
        let allowance = self.allowance(protocol);
        let slots = allowance.outgoing_slots.clone();
        let Ok(of_peer) = slots.try_acquire_owned() else { return Err(Wait::UntilSomeEnd(allowance.limit)) };
        if allowance.outgoing.take(now) {
            Ok(Slot { _of_peer: of_peer, _of_all: None })
        } else {
            Err(Wait::For(allowance.outgoing.next(now)))
        }
    }

    /// The peer sent what makes no sense; whether that is still forgiven.
    pub(super) fn forgive(&mut self, now: Instant) -> bool {
        self.mistakes.take(now)
    }

    /// Whether nothing is remembered that a stranger would not have.
    pub(super) fn is_clean(&mut self, now: Instant) -> bool {
        let all = [&mut self.streams, &mut self.requests, &mut self.syncs, &mut self.pushes];
        let idle = all.into_iter().all(|allowance| allowance.is_idle(now));
        idle && self.mistakes.is_full(now) && self.overruns.is_full(now)
    }

    fn allowance(&mut self, protocol: Protocol) -> &mut Allowance {
        match protocol {
            Protocol::Stream => &mut self.streams,
            Protocol::Deal => &mut self.requests,
            Protocol::Sync => &mut self.syncs,
            Protocol::Push => &mut self.pushes,
        }
    }
}

/// A place for one stream, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Slot {
    _of_peer: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

/// How many streams of each kind all peers together may have served: many peers in the hands of one enemy shall not
/// take more memory than one.
pub(super) struct Room([Arc<Semaphore>; 4]);

impl Room {
    /// Of each kind, eight times what one peer may have.
    pub(super) fn new(limits: &Limits) -> Room {
        let of_peer = |protocol| match protocol {
            Protocol::Stream => limits.streams_per_peer,
            Protocol::Deal => limits.requests_per_peer,
            Protocol::Sync => SYNCS,
            Protocol::Push => PUSHES,
        };
        Room(Protocol::ALL.map(|protocol| Arc::new(Semaphore::new(8 * of_peer(protocol)))))
    }

    fn of(&self, protocol: Protocol) -> Arc<Semaphore> {
        self.0[protocol as usize].clone()
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
        let room = Room::new(&limits());
        let mut fates = [0; 3];
        for _ in 0..1_000 {
            // The permit is dropped at once: it is the rate that is exceeded here.
            fates[match conduct.admit(Protocol::Stream, &room, now) {
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
        let (room, mut slots) = (Room::new(&limits()), Vec::new());
        while let Ok(slot) = ours.slot(Protocol::Stream, now) {
            assert!(matches!(theirs.admit(Protocol::Stream, &room, now), Admission::Served(_)));
            slots.push(slot);
        }
        assert_eq!(slots.len(), 30);
        assert!(
            matches!(ours.slot(Protocol::Stream, now), Err(Wait::For(wait)) if wait <= Duration::from_millis(150))
        );
    }

    #[test]
    fn many_peers_of_one_enemy_share_one_room() {
        let now = Instant::now();
        let room = Room::new(&limits());
        let mut enemies: Vec<_> = (0..20).map(|_| Conduct::new(&limits(), now)).collect();
        let served: Vec<_> = enemies
            .iter_mut()
            .flat_map(|enemy| [0; 32].map(|_| enemy.admit(Protocol::Deal, &room, now)))
            .filter(|admission| matches!(admission, Admission::Served(_)))
            .collect();
        assert_eq!(served.len(), 8 * limits().requests_per_peer);
        drop(served);
        assert!(matches!(enemies[0].admit(Protocol::Deal, &room, now), Admission::Served(_)));
    }

    #[test]
    fn mistakes_are_forgiven_for_a_while() {
        let now = Instant::now();
        let mut conduct = Conduct::new(&limits(), now);
        assert_eq!((0..20).filter(|_| conduct.forgive(now)).count(), 8);
        assert!(conduct.forgive(now + MERCY));
    }
}
