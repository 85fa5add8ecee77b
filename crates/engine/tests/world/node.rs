//! One node of the world: the real engine, with a record that is kept in memory and hands that pretend.

use super::people::person;
use super::pretend::{Dice, PretendClock, PretendMachine};
use engine::effect::Key;
use engine::{Effect, Engine, Input, Reply, State, Step, Topic};
use model::record::{Entry, Record};
use model::{Id, Lease, PeerKey, Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Where a node dies, counted in writes of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Before this write: nothing of it is there.
    Before(usize),
    /// After it, and before anything of it is answered or done.
    After(usize),
}

/// A decision that the node did not live to tell.
#[derive(Debug)]
pub struct Died;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Going { tries: u32 },
    Done,
    Waiting { until: Timestamp, tries: u32 },
}

/// A computer with Sublet on it.
pub struct Node {
    pub engine: Engine,
    pub clock: PretendClock,
    pub machine: PretendMachine,
    /// The record, as it would be on the disk.
    pub pretend_store: Vec<Entry>,
    /// Steps that were written.
    pub writes: usize,
    pub kills: Vec<Kill>,
    /// Whether each effect is done twice.
    pub eager: bool,
    pub up: bool,
    /// What was begun in an earlier life reports to nobody.
    pub life: u32,
    /// When to look again, by the right clock.
    pub wake: Timestamp,
    outbox: BTreeMap<Key, Stand>,
    silent: BTreeMap<PeerKey, Timestamp>,
}

impl Node {
    pub fn new(number: u8, now: Timestamp) -> Node {
        Node {
            engine: Engine::new(person(number), State::default()),
            clock: PretendClock { ahead: 0, pace: 1_000 },
            machine: PretendMachine::new(),
            pretend_store: Vec::new(),
            writes: 0,
            kills: Vec::new(),
            eager: false,
            up: true,
            life: 0,
            wake: now,
            outbox: BTreeMap::new(),
            silent: BTreeMap::new(),
        }
    }

    pub fn peer(&self) -> PeerKey {
        self.engine.identity().peer()
    }

    pub fn lease(&self, id: Id<Lease>) -> &engine::lease::Lease {
        self.engine.state().lease.get(id).expect("a lease that this node knows")
    }

    /// Decides, writes down, makes true.
    pub fn decide(&mut self, now: Timestamp, input: Input) -> Result<Result<Reply, engine::Refusal>, Died> {
        let local = self.clock.shows(now);
        let Step { records, reply } = match self.engine.decide(local, input) {
            Ok(step) => step,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if records.is_empty() {
            return Ok(Ok(reply));
        }
        self.writes += 1;
        if self.kills.contains(&Kill::Before(self.writes)) {
            return Err(Died);
        }
        for record in records {
            let entry = Entry { seq: self.pretend_store.len() as u64 + 1, at: local, record };
            self.engine.apply(&entry);
            self.pretend_store.push(entry);
        }
        self.check();
        if self.kills.contains(&Kill::After(self.writes)) { Err(Died) } else { Ok(Ok(reply)) }
    }

    /// What must be true after each write.
    fn check(&self) {
        let state = self.engine.state();
        let mut sums = BTreeMap::new();
        for (_, balance) in state.ledger.balances() {
            *sums.entry(balance.currency).or_insert(0i128) += i128::from(balance.micros);
        }
        assert!(sums.values().all(|sum| *sum == 0), "postings sum to nought: {sums:?}");
        if let Some(share) = &state.market.share {
            let promised = engine::capacity::promised(&state.lease, Timestamp(i64::MAX));
            assert!(share.resources.holds(&promised), "promised {promised} of {}", share.resources);
        }
        let held = state.lease.quotes().flat_map(|held| &held.ask.terms.workload.devices);
        let had = state.lease.hosted().flat_map(|lease| &lease.contract.workload.devices);
        let mut devices: Vec<&String> = held.chain(had).collect();
        devices.sort();
        assert!(devices.windows(2).all(|pair| pair[0] != pair[1]), "each device is one lease's: {devices:?}");
    }

    /// Loses what is in memory, and builds it again from the record, as a start does: from a snapshot and what came after.
    pub fn replay(&mut self, dice: &mut Dice) {
        let (old, new) = self.pretend_store.split_at(dice.roll(self.pretend_store.len() as u64 + 1) as usize);
        let mut snapshot = State::default();
        old.iter().for_each(|entry| snapshot.apply(entry));
        let bytes = postcard::to_stdvec(&snapshot).expect("a state can be written");
        let read: State = postcard::from_bytes(&bytes).expect("a state can be read");
        let mut engine = Engine::new(self.engine.identity().clone(), read);
        new.iter().for_each(|entry| engine.apply(entry));
        assert_eq!(engine.state(), self.engine.state(), "the record adds up to the state");
        self.engine = engine;
        self.outbox.clear();
        self.silent.clear();
        self.life += 1;
    }

    /// Of all that is wanted, what is to be begun now, in any order.
    pub fn begin(&mut self, now: Timestamp, dice: &mut Dice) -> Vec<Effect> {
        let mut wanted = self.engine.wanted(self.clock.shows(now));
        dice.shuffle(&mut wanted);
        let keys: BTreeSet<Key> = wanted.iter().map(Effect::key).collect();
        self.outbox.retain(|key, stand| keys.contains(key) || matches!(stand, Stand::Going { .. }));
        let begun = wanted.into_iter().filter(|effect| self.may_begin(now, effect.key())).collect();
        let tries = self.outbox.values().filter_map(|stand| match stand {
            Stand::Waiting { until, .. } => Some(*until),
            Stand::Going { .. } | Stand::Done => None,
        });
        let local = self.clock.shows(now);
        let timer = self.clock.will_show(self.engine.next_time(local).max(local + Span(1)));
        self.wake = tries.chain([timer, now + Span::minutes(1)]).min().unwrap_or(timer);
        begun
    }

    fn may_begin(&mut self, now: Timestamp, key: Key) -> bool {
        let tries = match self.outbox.get(&key) {
            None => 0,
            Some(Stand::Waiting { until, tries }) if *until <= now => *tries,
            Some(Stand::Going { .. } | Stand::Done | Stand::Waiting { .. }) => return false,
        };
        self.outbox.insert(key, Stand::Going { tries });
        true
    }

    pub fn done(&mut self, key: Key) {
        self.outbox.insert(key, Stand::Done);
    }

    /// To be tried again after a pause that doubles.
    pub fn failed(&mut self, now: Timestamp, key: Key) {
        let tries = match self.outbox.get(&key) {
            Some(Stand::Going { tries } | Stand::Waiting { tries, .. }) => *tries,
            Some(Stand::Done) | None => 0,
        };
        let longest = if matches!(key, Key::Send(Topic::Ask(_) | Topic::Lease(_))) { 2 } else { 60 };
        let pause = Span(400 << tries.min(10)).min(Span::seconds(longest));
        self.outbox.insert(key, Stand::Waiting { until: now + pause, tries: tries + 1 });
    }

    /// A peer is out of reach; since when, by this node's clock.
    pub fn missed(&mut self, now: Timestamp, peer: PeerKey) -> Timestamp {
        *self.silent.entry(peer).or_insert(self.clock.shows(now))
    }

    /// A peer was heard.
    pub fn heard(&mut self, peer: PeerKey) {
        self.silent.remove(&peer);
    }

    /// The receipts of a lease in the order in which they were written down.
    pub fn receipts(&self, id: Id<Lease>) -> impl Iterator<Item = &model::Receipt> {
        self.pretend_store.iter().filter_map(move |entry| match &entry.record {
            Record::Receipted { receipt } if receipt.lease == id => Some(receipt),
            _ => None,
        })
    }

    /// How many records there are of which this is true.
    pub fn count(&self, is: impl Fn(&Record) -> bool) -> usize {
        self.pretend_store.iter().filter(|entry| is(&entry.record)).count()
    }
}
