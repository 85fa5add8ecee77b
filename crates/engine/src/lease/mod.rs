//! A lease, from the ask to the end.
//!
//! ```text
//!  asked -> quoted -> agreed -> fetching -> starting -> running <-> throttled, frozen
//!    |        |                    |            |          |          |
//!    v        v                    +------------+----------+----------+
//!  refused  lapsed                                         v
//!                                                       closing -> ended(reason)
//! ```
//!
//! Asked and quoted are states of their own kind: an [`Asking`] on the tenant's side, a [`Held`] quote on the host's.
//! From agreed on both sides hold the same [`Lease`], and the host moves it; the tenant follows what the host says,
//! and leaves by itself when the host is gone. Fetching, starting, throttled and frozen time is free.

pub mod choice;
mod deal;
mod device;
pub mod exposure;
pub mod holds;
mod refusal;
mod renewal;
mod run;
mod secret;
mod volume;
mod want;

pub(crate) use deal::is_for_now;
pub use refusal::Refusal;
pub use renewal::owner_answers;
pub use run::{blame_ahead, standing, warned_at};
pub use volume::{VolumeKey, kept_until};

use crate::input::{Machine, Tenant};
use crate::{Engine, Step, Topic};
use model::message::{Request, Response};
use model::record::{Among, Entry, Record};
use model::{
    Ask, Cosigned, End, EndReason, FreezeReason, Id, Offer, Party, PeerKey, Phase, Quote, Rating, Receipt,
    Renewal, Side, Signed, Span, Tick, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long an ended lease is kept in memory, to be rated and to give its answers again.
pub(crate) const KEPT: Span = Span::days(30);

/// How often what is long over is looked for.
const FORGETS_EVERY: Span = Span::minutes(1);

/// An ask that this node has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// What was asked.
    pub ask: Signed<Ask>,
    /// Of which offer.
    pub offer: Signed<Offer>,
    /// When.
    pub at: Timestamp,
    /// Among which others.
    pub among: Option<Among>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// No answer yet.
    Waiting,
    /// A good quote came, and a better one may come.
    Quoted {
        /// The quote.
        quote: Box<Signed<Quote>>,
        /// When it came.
        at: Timestamp,
    },
    /// The quote was good, and this node has signed; the host has not yet.
    Accepted {
        /// What was signed.
        lease: Box<Signed<model::Lease>>,
        /// Where the host is.
        peer: PeerKey,
    },
    /// Both have signed.
    Agreed(Id<model::Lease>),
    /// Nothing.
    Refused {
        /// For programs.
        code: String,
        /// For people.
        sentence: String,
    },
}

/// A quote that this node has given, and the capacity that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What was asked.
    pub ask: Signed<Ask>,
    /// What was answered.
    pub quote: Signed<Quote>,
    /// Who asked.
    pub tenant: Party,
    /// From where.
    pub peer: PeerKey,
}

/// A lease that both have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The words.
    pub contract: Cosigned<model::Lease>,
    /// Which of the two this node is.
    pub side: Side,
    /// Where the other is.
    pub peer: PeerKey,
    /// When it was agreed.
    pub agreed: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub moved: Timestamp,
    /// The number of the record that brought it there.
    pub generation: u64,
    /// What went wrong, in words, where it did.
    pub detail: String,
    /// When the guest started.
    pub started: Option<Timestamp>,
    /// When it was known for the last time that the guest had not started: from then on the tenant's own meter runs.
    pub idle_until: Timestamp,
    /// Whether the guest has stood still.
    pub froze: bool,
    /// Whether the guest has run slower than was promised.
    pub slowed: bool,
    /// For how long it has, before the last move.
    pub throttled: Span,
    /// Since when the owner lets it stand still, for whatever reasons.
    pub held: Option<Timestamp>,
    /// The term with all renewals.
    pub term: Span,
    /// Renewals that were agreed.
    pub renewals: Vec<Cosigned<Renewal>>,
    /// A renewal that was asked for. As host: that waits for the owner.
    pub renewing: Option<Signed<Renewal>>,
    /// As host: the last renewal that the owner has denied.
    pub denied: Option<Id<Renewal>>,
    /// The end that the people on this side were warned of.
    pub warned: Option<Timestamp>,
    /// The highest tick.
    pub tick: Option<Signed<Tick>>,
    /// Since when ticks have stayed unsigned.
    pub unsigned_since: Option<Timestamp>,
    /// The highest tick that both have signed.
    pub receipt: Option<Receipt>,
    /// Each side's word that it is over.
    pub ends: BTreeMap<Side, Signed<End>>,
    /// Each side's judgement of the other.
    pub ratings: BTreeMap<Side, Signed<Rating>>,
}

impl Lease {
    /// Its id.
    pub fn id(&self) -> Id<model::Lease> {
        self.contract.id()
    }

    /// The other party.
    pub fn other(&self) -> Party {
        match self.side {
            Side::Host => self.contract.tenant,
            Side::Tenant => self.contract.host,
        }
    }

    /// When its term is over; none before the guest runs.
    pub fn over(&self) -> Option<Timestamp> {
        self.started.map(|started| started + self.term)
    }

    /// Whether nobody has stopped it yet.
    pub fn may_go_on(&self) -> bool {
        match self.phase {
            Phase::Agreed
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Throttled { .. }
            | Phase::Frozen(_) => true,
            Phase::Closing(_) | Phase::Ended(_) => false,
        }
    }

    /// For how long the guest has run slower than was promised, until `at`.
    pub fn throttled_until(&self, at: Timestamp) -> Span {
        match self.phase {
            Phase::Throttled { .. } => self.throttled + at.since(self.moved),
            Phase::Agreed
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Frozen(_)
            | Phase::Closing(_)
            | Phase::Ended(_) => self.throttled,
        }
    }

    /// With which exit code the guest's program ended, where its host has said so.
    pub fn exit_code(&self) -> Option<i32> {
        match self.phase {
            Phase::Ended(EndReason::Exited { code }) => Some(code),
            Phase::Ended(_) => self.ends.get(&Side::Host)?.code,
            Phase::Agreed
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Throttled { .. }
            | Phase::Frozen(_)
            | Phase::Closing(_) => None,
        }
    }

    /// When it ended.
    pub fn ended(&self) -> Option<Timestamp> {
        self.phase.is_ended().then_some(self.moved)
    }
}

/// Asks, quotes and leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    asks: BTreeMap<Id<Ask>, Asking>,
    quotes: BTreeMap<Id<Quote>, Held>,
    leases: BTreeMap<Id<model::Lease>, Lease>,
    /// Asks that this host has answered: the same ask again gets the same answer.
    answered: BTreeMap<Id<Ask>, Id<Quote>>,
    /// Who has held capacity of this host for nothing.
    idlers: holds::Idlers,
    /// When what is long over was forgotten last.
    forgot: Timestamp,
}

impl State {
    /// An ask of ours.
    pub fn asking(&self, id: Id<Ask>) -> Option<&Asking> {
        self.asks.get(&id)
    }

    /// All asks of ours that are remembered.
    pub fn asks(&self) -> impl Iterator<Item = &Asking> {
        self.asks.values()
    }

    /// Quotes that hold capacity.
    pub fn quotes(&self) -> impl Iterator<Item = &Held> {
        self.quotes.values()
    }

    /// A lease by its id.
    pub fn get(&self, id: Id<model::Lease>) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// All leases that are remembered, ended ones too.
    pub fn all(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// Leases that take capacity of this machine.
    pub fn hosted(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(|lease| lease.side == Side::Host && !lease.phase.is_ended())
    }

    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        // Looking through all at each of many records would make a start slow.
        if entry.at < self.forgot || entry.at.since(self.forgot) >= FORGETS_EVERY {
            self.forget(entry.at);
        }
        match &entry.record {
            Record::Asked { ask, offer, among } => {
                let asking = Asking {
                    ask: ask.clone(),
                    offer: offer.clone(),
                    at: entry.at,
                    among: *among,
                    outcome: Outcome::Waiting,
                };
                self.asks.insert(ask.id(), asking);
            }
            Record::Refused { ask, code, sentence } => {
                self.outcome(*ask, Outcome::Refused { code: code.clone(), sentence: sentence.clone() });
            }
            Record::Heard { quote } => {
                self.outcome(quote.ask, Outcome::Quoted { quote: Box::new(quote.clone()), at: entry.at });
            }
            Record::Accepted { lease, peer, .. } => {
                self.outcome(lease.ask, Outcome::Accepted { lease: Box::new(lease.clone()), peer: *peer });
            }
            Record::Quoted { ask, quote, tenant, peer } => {
                self.answered.insert(ask.id(), quote.id());
                let held = Held { ask: ask.clone(), quote: quote.clone(), tenant: *tenant, peer: *peer };
                self.quotes.insert(quote.id(), held);
            }
            Record::Lapsed { quote } => {
                if let Some(held) = self.quotes.remove(quote) {
                    self.answered.remove(&held.ask.id());
                    self.idlers.unused(entry, held.tenant.person, &held.quote);
                }
            }
            Record::Agreed { lease, side, peer } => self.agreed(entry.at, entry.seq, lease, *side, *peer),
            Record::Moved { lease, phase, detail } => {
                self.with(*lease, |lease| moved(lease, entry, *phase, detail))
            }
            Record::Ticked { tick } => self.with(tick.lease, |lease| {
                lease.tick = Some(tick.clone());
                lease.unsigned_since.get_or_insert(entry.at);
            }),
            Record::Receipted { receipt } => self.with(receipt.lease, |lease| {
                if lease.tick.as_ref().is_none_or(|tick| tick.number <= receipt.number) {
                    lease.unsigned_since = None;
                }
                lease.receipt = Some(receipt.clone());
            }),
            Record::RenewalAsked { renewal } => {
                self.with(renewal.lease, |lease| lease.renewing = Some(renewal.clone()))
            }
            Record::RenewalRefused { lease, renewal, sentence, .. } => self.with(*lease, |lease| {
                lease.renewing = None;
                if lease.side == Side::Host {
                    lease.denied = Some(*renewal);
                } else if lease.may_go_on() {
                    lease.detail = sentence.clone();
                }
            }),
            Record::Renewed { renewal } => self.with(renewal.lease, |lease| {
                lease.term = lease.term + renewal.more;
                lease.renewing = None;
                lease.renewals.push(renewal.clone());
            }),
            Record::Warned { lease, over } => self.with(*lease, |lease| lease.warned = Some(*over)),
            Record::Ended { end } => self.with(end.lease, |lease| {
                lease.ends.insert(end.side, end.clone());
            }),
            Record::Rated { rating, .. } => self.with(rating.receipt.lease, |lease| {
                lease.ratings.insert(rating.side, rating.clone());
            }),
            Record::Measured { .. }
            | Record::Shared { .. }
            | Record::Ruled { .. }
            | Record::Powered { .. }
            | Record::Claimed { .. }
            | Record::Offered { .. }
            | Record::Profiled { .. }
            | Record::Posted { .. }
            | Record::Regarded { .. }
            | Record::Invited { .. }
            | Record::Withdrawn { .. }
            | Record::Greeted { .. }
            | Record::Accepting { .. }
            | Record::Answered { .. }
            | Record::Paid { .. }
            | Record::Settled { .. }
            | Record::Unsettled { .. }
            | Record::SettlementTold { .. }
            | Record::Equivocated { .. } => {}
        }
    }

    fn agreed(
        &mut self,
        at: Timestamp,
        seq: u64,
        contract: &Cosigned<model::Lease>,
        side: Side,
        peer: PeerKey,
    ) {
        if let Some(held) = self.quotes.remove(&contract.quote) {
            self.answered.remove(&held.ask.id());
        }
        self.outcome(contract.ask, Outcome::Agreed(contract.id()));
        let lease = Lease {
            contract: contract.clone(),
            side,
            peer,
            agreed: at,
            phase: Phase::Agreed,
            moved: at,
            generation: seq,
            detail: String::new(),
            started: None,
            idle_until: at,
            froze: false,
            slowed: false,
            throttled: Span::ZERO,
            held: None,
            term: contract.term,
            renewals: Vec::new(),
            renewing: None,
            denied: None,
            warned: None,
            tick: None,
            unsigned_since: None,
            receipt: None,
            ends: BTreeMap::new(),
            ratings: BTreeMap::new(),
        };
        self.leases.insert(contract.id(), lease);
    }

    fn outcome(&mut self, ask: Id<Ask>, outcome: Outcome) {
        if let Some(asking) = self.asks.get_mut(&ask) {
            asking.outcome = outcome;
        }
    }

    fn with(&mut self, id: Id<model::Lease>, change: impl FnOnce(&mut Lease)) {
        if let Some(lease) = self.leases.get_mut(&id) {
            change(lease);
        }
    }

    /// What is long over makes room. History is in the record.
    fn forget(&mut self, now: Timestamp) {
        self.forgot = now;
        self.idlers.forget(now);
        // A lease that is long over is still the title to the volumes that are kept of it.
        let kept = |lease: &Lease| {
            let mut volumes = lease.contract.workload.volumes.iter();
            volumes.any(|volume| kept_until(lease, volume).is_some_and(|until| until > now))
        };
        self.leases.retain(|_, lease| lease.ended().is_none_or(|ended| ended + KEPT > now) || kept(lease));
        let live: BTreeSet<_> = self.leases.keys().copied().collect();
        self.asks.retain(|_, asking| match &asking.outcome {
            Outcome::Waiting | Outcome::Quoted { .. } | Outcome::Accepted { .. } => true,
            Outcome::Agreed(lease) => live.contains(lease),
            Outcome::Refused { .. } => asking.at + Span::hours(1) > now,
        });
    }
}

fn moved(lease: &mut Lease, entry: &Entry, phase: Phase, detail: &str) {
    lease.throttled = lease.throttled_until(entry.at);
    match phase {
        Phase::Agreed | Phase::Fetching | Phase::Starting => lease.idle_until = entry.at,
        Phase::Running => {}
        Phase::Throttled { .. } => lease.slowed = true,
        Phase::Frozen(_) => lease.froze = true,
        Phase::Closing(_) | Phase::Ended(_) => {}
    }
    // A tenant may hear first of a guest that it stands still already.
    if phase.is_live() {
        lease.started.get_or_insert(entry.at);
    }
    lease.held = match phase {
        Phase::Frozen(FreezeReason::Owner(_)) => lease.held.or(Some(entry.at)),
        Phase::Agreed
        | Phase::Fetching
        | Phase::Starting
        | Phase::Running
        | Phase::Throttled { .. }
        | Phase::Frozen(_)
        | Phase::Closing(_)
        | Phase::Ended(_) => None,
    };
    // What is said of fetching while it goes on is no new beginning of it, and is over with it.
    let goes_on = lease.phase == phase;
    if !detail.is_empty() || lease.phase == Phase::Fetching {
        lease.detail = detail.to_owned();
    }
    if !goes_on {
        lease.phase = phase;
        lease.moved = entry.at;
    }
    lease.generation = entry.seq;
}

/// Decides what a tenant wants.
///
/// # Errors
/// Why not.
pub fn tenant(engine: &Engine, now: Timestamp, command: Tenant) -> Result<Step, crate::Refusal> {
    let (identity, state) = (&engine.identity, &engine.state.lease);
    match command {
        Tenant::Ask { offer, terms, nonce } => deal::ask(identity, now, &offer, *terms, nonce),
        Tenant::AskAll(candidates) => deal::ask_all(identity, now, candidates),
        Tenant::GiveUp(ask) => Ok(deal::give_up(state, ask)),
        Tenant::Stop(lease) => Ok(run::tenant_stops(identity, state, now, lease)?),
        Tenant::Renew { lease, more } => renewal::ask(identity, state, now, lease, more),
        Tenant::Rate { lease, marks, text } => run::rate(identity, state, now, lease, marks, text),
    }
}

/// Decides what a machine's news comes to.
pub fn machine(engine: &Engine, now: Timestamp, seen: Machine) -> Step {
    Step::of(run::seen(engine, now, seen))
}

/// Decides what a peer asks.
///
/// # Errors
/// Why not; it travels back as a denial.
pub fn request(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    request: Request,
) -> Result<Step, crate::Refusal> {
    match request {
        Request::Ask(ask) => deal::quote(engine, now, from, &ask),
        Request::Release { ask } => Ok(deal::release(&engine.state.lease, from, ask)),
        Request::Lease(lease) => deal::agree(engine, now, from, &lease),
        Request::Tick(tick) => run::sign_tick(engine, now, from, &tick),
        Request::Renew(renewal) => renewal::grant(&engine.identity, &engine.state.lease, now, from, &renewal),
        Request::End(end) => run::hear_end(engine, now, from, &end),
        Request::Rate(rating) => run::hear_rating(engine, now, from, &rating),
        Request::Standing(standing) => {
            Ok(run::hear_standing(&engine.identity, &engine.state.lease, now, from, &standing)?)
        }
        // Another subject's.
        Request::Greet(_) | Request::Paid(_) | Request::Settled { .. } => Ok(Step::default()),
        // Only to be known: nothing follows.
        Request::Passed(passed) => {
            passed.check()?;
            Ok(Step::answer(Response::Done))
        }
        Request::Where { lease } => Ok(run::tell_standing(&engine.state.lease, from, lease)?),
    }
}

/// Decides what a peer's answer comes to.
///
/// # Errors
/// When it proves nothing: then it is as if none had come.
pub fn answer(
    engine: &Engine,
    now: Timestamp,
    topic: Topic,
    response: Response,
) -> Result<Step, crate::Refusal> {
    match topic {
        Topic::Ask(ask) => deal::quoted(engine, now, ask, response),
        Topic::Lease(lease) => deal::countersigned(engine, now, lease, response),
        Topic::Tick(lease, _) => run::receipted(engine, now, lease, response),
        Topic::Renewal(lease, renewal) => renewal::answered(&engine.state.lease, lease, renewal, response),
        Topic::Where(lease, _) => run::stands(engine, now, lease, response),
        Topic::Release(..)
        | Topic::End(_)
        | Topic::Rating(..)
        | Topic::Standing(..)
        | Topic::Greet(_)
        | Topic::Settlement(_) => Ok(Step::default()),
    }
}

/// Ends a lease on this machine because its owner says so; none when there is no such live lease.
pub fn owner_stops(state: &State, id: Id<model::Lease>) -> Option<Vec<Record>> {
    let lease = state.get(id).filter(|lease| lease.side == Side::Host && !lease.phase.is_ended())?;
    if matches!(lease.phase, Phase::Closing(_)) {
        return Some(Vec::new());
    }
    Some(vec![run::moved(lease, Phase::Closing(model::EndReason::OwnerStopped), "")])
}
