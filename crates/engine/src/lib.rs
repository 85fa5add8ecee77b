//! Every decision that Sublet makes, and nothing else: no clock, no chance, no disk, no network, no thread.
//!
//! [`Engine::decide`] looks at the state and says what would become true ([`Record`]s) and what to answer. Whoever
//! holds the engine writes the records down first, hands them to [`Engine::apply`], and then does what
//! [`Engine::wanted`] lists. What is wanted follows from state alone: after a crash it is the same list again, and each
//! effect has a [`Key`](effect::Effect::key) by which doing it twice is doing it once.
//!
//! This file routes. Each subject owns its commands, its state and its refusals:
//! [`market`] (offers, search, price), [`lease`] (deal, phases, ticks, renewal), [`owner`], [`capacity`],
//! [`ledger`], [`reputation`], [`people`], [`settlement`], [`benchmark`], [`update`].

pub mod benchmark;
pub mod capacity;
pub mod effect;
pub mod health;
pub mod input;
pub mod lease;
pub mod ledger;
pub mod market;
pub mod owner;
pub mod people;
mod refusal;
pub mod reputation;
pub mod settlement;
pub mod update;

pub use effect::{Effect, Topic};
pub use input::Input;
use input::Owner;
pub use refusal::Refusal;

use model::record::{Entry, Record};
use model::{DeviceCertificate, Id, Key, Party, PeerKey, Request, Response, Signed, Timestamp};

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Signs for this device.
    pub key: Key,
    /// The person's word that the device is theirs.
    pub certificate: Signed<DeviceCertificate>,
    /// The processor's architecture as OCI names it.
    pub arch: String,
}

impl Identity {
    /// This device and its person.
    pub fn party(&self) -> Party {
        Party { device: self.certificate.device, person: self.certificate.person }
    }

    /// Where this device is reached.
    pub fn peer(&self) -> PeerKey {
        self.certificate.peer
    }
}

/// What a decision comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be written down, all or none, before anything is answered or done.
    pub records: Vec<Record>,
    /// To be answered after.
    pub reply: Reply,
}

/// What the asker gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// Only that it is done.
    #[default]
    Done,
    /// A peer's answer.
    Peer(Response),
    /// The ask that was made.
    Asked(Id<model::Ask>),
}

impl Step {
    /// Nothing changes; this is the answer.
    pub fn answer(response: Response) -> Step {
        Step { records: Vec::new(), reply: Reply::Peer(response) }
    }

    /// These become true.
    pub fn of(records: Vec<Record>) -> Step {
        Step { records, reply: Reply::Done }
    }

    /// These become true, then this is the answer.
    pub fn and_answer(records: Vec<Record>, response: Response) -> Step {
        Step { records, reply: Reply::Peer(response) }
    }
}

/// All that the record adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// What is lent, and what was published of it.
    pub market: market::State,
    /// Asks, quotes and leases.
    pub lease: lease::State,
    /// Who owes whom.
    pub ledger: ledger::State,
    /// What was seen and said of whom.
    pub reputation: reputation::State,
    /// Whom I know.
    pub people: people::State,
    /// Debts that were paid.
    pub settlement: settlement::State,
    /// What the owner of this machine wants, and what holds.
    pub owner: owner::State,
}

impl State {
    /// The only change of state there is.
    pub fn apply(&mut self, entry: &Entry) {
        self.market.apply(entry);
        self.lease.apply(entry);
        self.ledger.apply(entry);
        self.reputation.apply(entry);
        self.people.apply(entry);
        self.settlement.apply(entry);
        self.owner.apply(entry);
    }
}

/// The state, and the rules that move it.
#[derive(Clone, Debug)]
pub struct Engine {
    identity: Identity,
    state: State,
    book: market::Book,
}

impl Engine {
    /// An engine that starts from a state: a snapshot's, or none.
    pub fn new(identity: Identity, state: State) -> Engine {
        Engine { identity, state, book: market::Book::default() }
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is true now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What others offer.
    pub fn book(&self) -> &market::Book {
        &self.book
    }

    /// What others offer, to be added to. It is not part of the state: it can be had again from any peer.
    pub fn book_mut(&mut self) -> &mut market::Book {
        &mut self.book
    }

    /// What `input` at `now` comes to. Changes nothing.
    ///
    /// # Errors
    /// Why not, with the facts.
    pub fn decide(&self, now: Timestamp, input: Input) -> Result<Step, Refusal> {
        match input {
            Input::Time => {
                let (records, stance) = self.state.owner.time(now);
                Ok(Step::of(self.and_leases(now, records, stance)))
            }
            Input::Owner(Owner::First(command)) => {
                let (records, stance) = self.state.owner.decide(now, command)?;
                Ok(Step::of(self.and_leases(now, records, stance)))
            }
            Input::Owner(command) => market::owner(&self.identity, &self.state, now, command),
            Input::Tenant(command) => Ok(lease::tenant(self, now, command)?),
            Input::People(command) => Ok(people::command(&self.identity, &self.state.people, now, command)?),
            Input::Settle(command) => Ok(settlement::command(self, now, command)?),
            Input::Machine(seen) => Ok(lease::machine(self, now, seen)),
            Input::Request { from, request: Request::Greet(greeting) } => {
                Ok(people::greeted(&self.state.people, now, from, &greeting)?)
            }
            Input::Request { from, request: Request::Paid(settlement) } => {
                Ok(settlement::claimed(self, now, from, &settlement)?)
            }
            Input::Request { from, request: Request::Settled { settlement, verdict } } => {
                Ok(settlement::answered(self, from, settlement, &verdict)?)
            }
            Input::Answer { topic: Topic::Settlement(id), response } => {
                Ok(settlement::heard(&self.state.settlement, id, &response))
            }
            Input::Answer { topic: Topic::Greet(invite), response } => {
                Ok(people::heard(&self.state.people, invite, &response))
            }
            Input::Request { from, request } => Ok(lease::request(self, now, from, request)?),
            Input::Answer { topic, response } => Ok(lease::answer(self, now, topic, response)?),
            Input::Unreachable { lease, since } => {
                Ok(Step::of(self.state.lease.unreachable(&self.identity, now, lease, since)))
            }
        }
    }

    /// What a stance comes to for all leases, besides what brought it about.
    fn and_leases(&self, now: Timestamp, mut records: Vec<Record>, stance: owner::Stance) -> Vec<Record> {
        records.extend(self.state.lease.time(&self.identity, now, stance));
        records
    }

    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        self.state.apply(entry);
    }

    /// All that should be going on at `now`. Starting what is on the list already changes nothing.
    pub fn wanted(&self, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.state.lease.wanted(self.state.market.share.as_ref(), now);
        effects.extend(self.state.market.wanted(now));
        effects.extend(self.state.people.wanted(now));
        effects.extend(self.state.settlement.wanted(now));
        effects
    }

    /// When to call [`Engine::decide`] with [`Input::Time`] next, at the latest.
    pub fn next_time(&self, now: Timestamp) -> Timestamp {
        let next = self.state.lease.next_time(now).min(self.state.market.next_time(now));
        self.state.owner.next_time(now).map_or(next, |at| at.min(next))
    }
}
