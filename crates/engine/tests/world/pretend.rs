//! What the world pretends: clocks, chance, a machine that runs guests. All else in it is real.

use engine::input::{Machine, Meter};
use model::{Id, Lease, Span, Timestamp, Traffic};
use std::collections::BTreeMap;

/// The world's beginning, by a clock that is right.
pub const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

/// The clock of one computer.
#[derive(Clone, Copy, Debug)]
pub struct PretendClock {
    /// Milliseconds that it is ahead of the right one.
    pub ahead: i64,
    /// Milliseconds that it counts in a second.
    pub pace: i64,
}

impl PretendClock {
    /// What it shows.
    pub fn shows(&self, now: Timestamp) -> Timestamp {
        Timestamp(BEGIN.0 + (now.0 - BEGIN.0) * self.pace / 1_000 + self.ahead)
    }

    /// When it will show `local`, rounded up.
    pub fn will_show(&self, local: Timestamp) -> Timestamp {
        let counted = local.0.saturating_sub(self.ahead).saturating_sub(BEGIN.0);
        Timestamp(
            BEGIN.0.saturating_add(counted.saturating_mul(1_000).saturating_add(self.pace - 1) / self.pace),
        )
    }
}

/// Chance from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn chance(&mut self, per_cent: u64) -> bool {
        self.roll(100) < per_cent
    }

    /// The same things in whatever order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = self.roll(last as u64 + 1) as usize;
            things.swap(last, other);
        }
    }
}

/// How one step of a guest's life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Well, after a time.
    Well(Span),
    /// Never.
    Never,
    /// Wrong at once; whether another host could not do it either.
    Wrong { workload: bool },
}

/// A machine that pretends to run guests. It outlives the node above it, as supervisors do.
#[derive(Clone, Debug)]
pub struct PretendMachine {
    pub fetching: Goes,
    pub starting: Goes,
    /// How long a guest takes to stop.
    pub stopping: Span,
    /// After how long a program ends by itself, and its exit code.
    pub program: Option<(Span, i32)>,
    guests: BTreeMap<Id<Lease>, PretendGuest>,
}

#[derive(Clone, Debug)]
struct PretendGuest {
    started: Timestamp,
    program: Option<(Span, i32)>,
    stood: Span,
    still_since: Option<Timestamp>,
    /// Whether it gets less than was promised, and for how long it ran like that before `marked`.
    slow: bool,
    slowed: Span,
    marked: Timestamp,
    ended: Option<(Timestamp, i32)>,
}

impl PretendMachine {
    pub fn new() -> PretendMachine {
        PretendMachine {
            fetching: Goes::Well(Span::seconds(2)),
            starting: Goes::Well(Span(200)),
            stopping: Span(100),
            program: None,
            guests: BTreeMap::new(),
        }
    }

    /// Starts a guest, unless it was started before.
    pub fn start(&mut self, now: Timestamp, lease: Id<Lease>) {
        let program = self.program;
        let guest = PretendGuest {
            started: now,
            program,
            stood: Span::ZERO,
            still_since: None,
            slow: false,
            slowed: Span::ZERO,
            marked: now,
            ended: None,
        };
        self.guests.entry(lease).or_insert(guest);
    }

    pub fn freeze(&mut self, now: Timestamp, lease: Id<Lease>) {
        if let Some(guest) = self.guests.get_mut(&lease) {
            guest.mark(now);
            guest.still_since.get_or_insert(now);
        }
    }

    pub fn thaw(&mut self, now: Timestamp, lease: Id<Lease>) {
        if let Some(guest) = self.guests.get_mut(&lease) {
            guest.mark(now);
            guest.stood = guest.stood_by(now);
            guest.still_since = None;
        }
    }

    /// Gives a guest less than was promised, or all of it.
    pub fn pace(&mut self, now: Timestamp, lease: Id<Lease>, slow: bool) {
        if let Some(guest) = self.guests.get_mut(&lease) {
            guest.mark(now);
            guest.slow = slow;
        }
    }

    /// Whether a guest gets less than was promised.
    pub fn is_slow(&self, lease: Id<Lease>) -> bool {
        self.guests.get(&lease).is_some_and(|guest| guest.slow)
    }

    /// Whether a guest stands still.
    pub fn is_still(&self, lease: Id<Lease>) -> bool {
        self.guests.get(&lease).is_some_and(|guest| guest.still_since.is_some())
    }

    /// Kills a guest's program.
    pub fn stop(&mut self, now: Timestamp, lease: Id<Lease>) {
        if let Some(guest) = self.guests.get_mut(&lease) {
            guest.end(now, 143);
        }
    }

    pub fn remove(&mut self, lease: Id<Lease>) {
        self.guests.remove(&lease);
    }

    /// Loses a guest with its supervisor.
    pub fn lose(&mut self, lease: Id<Lease>) {
        self.guests.remove(&lease).expect("a guest to lose");
    }

    /// Whether a guest's program has started and not ended.
    pub fn runs(&self, lease: Id<Lease>) -> bool {
        self.guests.get(&lease).is_some_and(|guest| guest.ended.is_none())
    }

    /// Whether anything is left of a guest.
    pub fn has(&self, lease: Id<Lease>) -> bool {
        self.guests.contains_key(&lease)
    }

    /// How long a guest has really worked, at full speed.
    pub fn worked(&self, now: Timestamp, lease: Id<Lease>) -> Span {
        self.guests.get(&lease).map_or(Span::ZERO, |guest| guest.worked(now))
    }

    /// When the next program ends by itself.
    pub fn next_end(&self) -> Option<(Timestamp, Id<Lease>)> {
        self.guests.iter().filter_map(|(lease, guest)| Some((guest.ends_at()?, *lease))).min()
    }

    /// The program ends by itself.
    pub fn end(&mut self, now: Timestamp, lease: Id<Lease>) {
        if let Some(guest) = self.guests.get_mut(&lease) {
            let code = guest.program.map_or(0, |(_, code)| code);
            guest.end(now, code);
        }
    }

    /// What it tells of a guest: its end, its absence, or what it has used.
    pub fn tells(&self, clock: &PretendClock, now: Timestamp, lease: Id<Lease>) -> Machine {
        let Some(guest) = self.guests.get(&lease) else {
            return Machine::Gone { lease, detail: "no guest runs under this lease".to_owned() };
        };
        let until = guest.ended.map_or(now, |(at, _)| at);
        let meter = Meter {
            cpu: guest.worked(now),
            memory_peak: 64 << 20,
            frozen: guest.stood_by(until),
            traffic: Traffic::default(),
        };
        match guest.ended {
            Some((at, code)) => Machine::Exited { lease, code, at: clock.shows(at), meter },
            None => Machine::Metered { lease, meter },
        }
    }
}

impl PretendGuest {
    fn stood_by(&self, now: Timestamp) -> Span {
        self.stood + self.still_since.map_or(Span::ZERO, |since| now.since(since))
    }

    fn slow_by(&self, now: Timestamp) -> Span {
        // What stands still runs neither fast nor slow.
        let runs_slow = self.slow && self.still_since.is_none() && self.ended.is_none();
        self.slowed + if runs_slow { now.since(self.marked) } else { Span::ZERO }
    }

    fn mark(&mut self, now: Timestamp) {
        (self.slowed, self.marked) = (self.slow_by(now), now);
    }

    fn worked(&self, now: Timestamp) -> Span {
        let until = self.ended.map_or(now, |(at, _)| at);
        until.since(self.started).less(self.stood_by(until)).less(self.slow_by(until))
    }

    fn ends_at(&self) -> Option<Timestamp> {
        let (runs, _) = self.program.filter(|_| self.ended.is_none() && self.still_since.is_none())?;
        Some(self.started + self.stood + runs)
    }

    fn end(&mut self, now: Timestamp, code: i32) {
        self.mark(now);
        self.ended.get_or_insert((now, code));
    }
}
