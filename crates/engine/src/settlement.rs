//! Debts that were paid outside of Sublet.
//!
//! ```text
//!  payer   paying --told--> claimed   payee
//!    |                       |     |
//!    |                  confirmed  rejected
//!    +<------both told-------+-----+
//! ```
//!
//! Whoever owes says what they have paid, and signs it. Whoever is owed looks into their bank account, and signs the same
//! words, or says why not. Only the two signatures together are booked, by both: a debt shrinks on neither side before.

use crate::effect::{Effect, Topic};
use crate::lease::is_for_now;
use crate::{Engine, Identity, State as All, Step, ledger};
use model::message::{Request, Response, Verdict};
use model::record::{Account, Entry, Posting, Record};
use model::{
    Amount, Cosigned, Id, Invalid, Nonce, ObjectId, PeerKey, Person, PersonId, Settlement, Signed, Span,
    Timestamp, Unverified, plain,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a payee may take.
const STANDS: Span = Span::days(90);

/// How long it is remembered here after the end; the record keeps it for ever.
const KEPT: Span = Span::days(90);

/// The most that is kept of why a payment was not received, in bytes.
const WHY: usize = 400;

/// Claims of one person that wait for an answer.
const MOST_OPEN: usize = 20;

/// What was paid, and what others say they have paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    payments: BTreeMap<Id<Settlement>, Payment>,
}

/// One payment, as both sides keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The payer's word.
    pub settlement: Signed<Settlement>,
    /// Where the other is.
    pub peer: PeerKey,
    /// Whether we are the payer.
    pub ours: bool,
    /// Where it stands.
    pub stands: Stands,
    /// Whether the other was told where it stands.
    pub told: bool,
    /// Since when.
    pub since: Timestamp,
}

/// Where a payment stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stands {
    /// The payee has not answered.
    Open,
    /// Received: signed by both, and booked.
    Confirmed(Box<Cosigned<Settlement>>),
    /// Not received, as the payee says.
    Rejected(String),
}

/// What can be wanted.
#[derive(Clone, Debug)]
pub enum Command {
    /// As who owes: to say that it was paid.
    Pay {
        /// Whom.
        person: PersonId,
        /// How much.
        amount: Amount,
        /// By which way.
        method: String,
        /// By which the payee finds it.
        reference: String,
        /// Sixteen random bytes.
        nonce: Nonce,
    },
    /// As who is owed: to say that it has come.
    Confirm(Id<Settlement>),
    /// As who is owed: to say that it has not.
    Reject {
        /// Which.
        settlement: Id<Settlement>,
        /// Why.
        why: String,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Values out of range.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// More than is owed.
    #[error("{asked} was to be settled, and {owed} is owed and not yet said to be paid")]
    NotOwed {
        /// How much was to be settled.
        asked: Amount,
        /// How much is left.
        owed: Amount,
    },
    /// No device of the person is known.
    #[error("no device of that person is known: a lease or an invite makes one known")]
    NoDevice,
    /// There is no such payment, or it was answered.
    #[error("there is no payment {} that waits for an answer here", .0.short())]
    Unknown(Id<Settlement>),
    /// The connection is not the signer's.
    #[error("the connection is not the signer's")]
    NotTheSender,
    /// It is for somebody else.
    #[error("this is meant for another")]
    NotForUs,
    /// Too many wait for an answer.
    #[error("{MOST_OPEN} payments wait for an answer already")]
    TooMany,
    /// It cannot be booked.
    #[error(transparent)]
    Ledger(#[from] ledger::Refusal),
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid(_) => "out_of_range",
            Refusal::NotOwed { .. } => "not_owed",
            Refusal::NoDevice => "no_device",
            Refusal::Unknown(_) => "unknown_payment",
            Refusal::NotTheSender => "not_the_sender",
            Refusal::NotForUs => "not_for_us",
            Refusal::TooMany => "too_many",
            Refusal::Ledger(refusal) => refusal.code(),
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::NotOwed { .. } => "`sublet ledger` shows who owes whom.",
            Refusal::Unknown(_) => "`sublet settle list` shows those that wait.",
            Refusal::TooMany => "Wait until some were answered.",
            Refusal::NoDevice
            | Refusal::Invalid(_)
            | Refusal::NotTheSender
            | Refusal::NotForUs
            | Refusal::Ledger(_) => "",
        }
    }
}

impl State {
    /// Payments that are remembered, ours and others'.
    pub fn payments(&self) -> impl Iterator<Item = (Id<Settlement>, &Payment)> {
        self.payments.iter().map(|(id, payment)| (*id, payment))
    }

    /// One payment.
    pub fn get(&self, id: Id<Settlement>) -> Option<&Payment> {
        self.payments.get(&id)
    }

    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        self.forget(entry.at);
        let (at, mut moved) = (entry.at, None);
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "each subject reads the few records that concern it"
        )]
        match &entry.record {
            Record::Paid { settlement, peer, ours } => {
                let payment = Payment {
                    settlement: settlement.clone(),
                    peer: *peer,
                    ours: *ours,
                    stands: Stands::Open,
                    // A claim that came was heard; our own has to be said.
                    told: !*ours,
                    since: at,
                };
                self.payments.insert(settlement.id(), payment);
            }
            Record::Settled { settlement } => {
                moved = Some((settlement.id(), Stands::Confirmed(Box::new(settlement.clone()))));
            }
            Record::Unsettled { settlement, why } => {
                moved = Some((*settlement, Stands::Rejected(why.clone())));
            }
            Record::SettlementTold { settlement } => {
                if let Some(payment) = self.payments.get_mut(settlement) {
                    payment.told = true;
                }
            }
            _ => {}
        }
        if let Some((id, stands)) = moved
            && let Some(payment) = self.payments.get_mut(&id)
        {
            payment.stands = stands;
            // The payee has to tell; the payer was told.
            payment.told = payment.ours;
            payment.since = at;
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.payments.retain(|_, payment| match payment.stands {
            Stands::Open => payment.settlement.expires > now,
            Stands::Confirmed(_) | Stands::Rejected(_) => payment.since + KEPT > now,
        });
    }

    /// What we say was paid to a person and waits for their answer.
    fn pending(&self, person: PersonId, sum: Amount) -> Result<Amount, ledger::Refusal> {
        let open = self.payments.values().filter(|payment| {
            payment.ours
                && payment.stands == Stands::Open
                && payment.settlement.payee.person == person
                && payment.settlement.amount.currency == sum.currency
        });
        open.map(|payment| payment.settlement.amount)
            .try_fold(Amount::zero(sum.currency), Amount::plus)
            .map_err(ledger::Refusal::from)
    }

    /// What others are still to be told.
    pub fn wanted(&self, now: Timestamp) -> Vec<Effect> {
        let untold = self.payments.iter().filter(|(_, payment)| !payment.told);
        let told = untold.filter_map(|(id, payment)| {
            let (to, id) = (payment.peer, *id);
            let request = match (&payment.stands, payment.ours) {
                (Stands::Open, true) if payment.settlement.expires > now => {
                    Request::Paid(payment.settlement.unverified())
                }
                (Stands::Confirmed(both), false) => Request::Settled {
                    settlement: id,
                    verdict: Verdict::Received(both.second_signed().unverified()),
                },
                (Stands::Rejected(why), false) => {
                    Request::Settled { settlement: id, verdict: Verdict::Missing(why.clone()) }
                }
                (Stands::Open, _) | (Stands::Confirmed(_) | Stands::Rejected(_), true) => return None,
            };
            Some(Effect::Send { to, topic: Topic::Settlement(id), request })
        });
        told.collect()
    }
}

/// Decides what is wanted.
///
/// # Errors
/// Why not.
pub fn command(engine: &Engine, now: Timestamp, command: Command) -> Result<Step, Refusal> {
    match command {
        Command::Pay { person, amount, method, reference, nonce } => {
            pay(engine, now, person, amount, method, reference, nonce)
        }
        Command::Confirm(id) => {
            let payment = waiting_here(&engine.state.settlement, id)?;
            let both = engine.identity.key.countersign(&payment.settlement)?;
            Ok(Step::of(settled(&engine.state, &engine.identity, both)?))
        }
        Command::Reject { settlement, why } => {
            waiting_here(&engine.state.settlement, settlement)?;
            let why = plain(&why, WHY);
            Ok(Step::of(vec![Record::Unsettled { settlement, why }]))
        }
    }
}

fn waiting_here(state: &State, id: Id<Settlement>) -> Result<&Payment, Refusal> {
    state
        .get(id)
        .filter(|payment| !payment.ours && payment.stands == Stands::Open)
        .ok_or(Refusal::Unknown(id))
}

fn pay(
    engine: &Engine,
    now: Timestamp,
    person: PersonId,
    amount: Amount,
    method: String,
    reference: String,
    nonce: Nonce,
) -> Result<Step, Refusal> {
    let (identity, state) = (&engine.identity, &engine.state);
    let balance = state.ledger.balance(Account::Person(person), amount.currency);
    let said = state.settlement.pending(person, amount)?;
    let owed = balance.negated().and_then(|owed| owed.minus(said)).map_err(ledger::Refusal::from)?;
    if amount.micros > owed.micros {
        return Err(Refusal::NotOwed { asked: amount, owed: Amount { micros: owed.micros.max(0), ..owed } });
    }
    let payee = device_of(engine, person).ok_or(Refusal::NoDevice)?;
    let settlement = Settlement {
        certificate: identity.certificate.unverified(),
        payer: identity.party(),
        payee: payee.party,
        amount,
        method,
        reference,
        nonce,
        issued: now,
        expires: now + STANDS,
    };
    let settlement = identity.key.sign(&settlement)?;
    Ok(Step::of(vec![Record::Paid { settlement, peer: payee.peer, ours: true }]))
}

/// The device of a person that we dealt with last, else one whose profile has come.
fn device_of(engine: &Engine, person: PersonId) -> Option<Person> {
    let leases = engine.state.lease.all().filter(|lease| lease.other().person == person);
    let dealt = leases.max_by_key(|lease| lease.agreed);
    let dealt = dealt.map(|lease| Person { party: lease.other(), peer: lease.peer });
    let mut seen = engine.book.profiles().map(|(seen, _)| *seen);
    dealt.or_else(|| seen.find(|seen| seen.party.person == person))
}

/// The two signatures, and what they change in our book.
fn settled(state: &All, identity: &Identity, both: Cosigned<Settlement>) -> Result<Vec<Record>, Refusal> {
    let amount = both.amount;
    let less = amount.negated().map_err(ledger::Refusal::from)?;
    let entries: Vec<(Account, Amount)> = if both.payer == identity.party() {
        vec![(Account::Person(both.payee.person), amount), (Account::Settled, less)]
    } else {
        vec![(Account::Person(both.payer.person), less), (Account::Settled, amount)]
    };
    let cites: ObjectId = both.id().object();
    let posting = Posting::new(cites, entries).map_err(ledger::Refusal::from)?;
    let posted = ledger::fits(&state.ledger, posting)?;
    Ok(vec![Record::Settled { settlement: both }, posted])
}

/// As who is owed: somebody says that they have paid.
///
/// # Errors
/// When it proves nothing, or more was paid than is owed.
pub fn claimed(
    engine: &Engine,
    now: Timestamp,
    from: PeerKey,
    settlement: &Unverified<Settlement>,
) -> Result<Step, Refusal> {
    let (identity, state) = (&engine.identity, &engine.state);
    let settlement = settlement.verify(now)?;
    if settlement.signer() != settlement.payer.device {
        return Err(Refusal::NotTheSender);
    }
    let payer = Person::proven(&settlement.certificate, settlement.signer(), now)?;
    if payer.peer != from || payer.party != settlement.payer {
        return Err(Refusal::NotTheSender);
    }
    if settlement.payee != identity.party() {
        return Err(Refusal::NotForUs);
    }
    if state.settlement.get(settlement.id()).is_some() {
        return Ok(Step::answer(Response::Done));
    }
    let open = state.settlement.payments.values().filter(|payment| {
        !payment.ours
            && payment.stands == Stands::Open
            && payment.settlement.payer.person == payer.party.person
    });
    if open.count() >= MOST_OPEN {
        return Err(Refusal::TooMany);
    }
    let amount = settlement.amount;
    let owed = state.ledger.balance(Account::Person(payer.party.person), amount.currency);
    if amount.micros > owed.micros {
        return Err(Refusal::NotOwed { asked: amount, owed });
    }
    Ok(Step::and_answer(vec![Record::Paid { settlement, peer: from, ours: false }], Response::Done))
}

/// As who has paid: the payee's answer.
///
/// # Errors
/// When it proves nothing.
pub fn answered(
    engine: &Engine,
    from: PeerKey,
    id: Id<Settlement>,
    verdict: &Verdict,
) -> Result<Step, Refusal> {
    let payment = engine.state.settlement.get(id).filter(|payment| payment.ours && payment.peer == from);
    let payment = payment.ok_or(Refusal::Unknown(id))?;
    match (verdict, &payment.stands) {
        // A signature counts whatever was said before it.
        (Verdict::Received(theirs), Stands::Open | Stands::Rejected(_)) => {
            let both = Cosigned::join(payment.settlement.clone(), theirs.verify_past()?)?;
            let records = settled(&engine.state, &engine.identity, both)?;
            Ok(Step::and_answer(records, Response::Done))
        }
        (Verdict::Missing(why), Stands::Open) => {
            let record = Record::Unsettled { settlement: id, why: plain(why, WHY) };
            Ok(Step::and_answer(vec![record], Response::Done))
        }
        (Verdict::Received(_), Stands::Confirmed(_))
        | (Verdict::Missing(_), Stands::Confirmed(_) | Stands::Rejected(_)) => {
            Ok(Step::answer(Response::Done))
        }
    }
}

/// Either: what we said was heard, or will not be.
pub fn heard(state: &State, id: Id<Settlement>, response: &Response) -> Step {
    let Some(payment) = state.get(id).filter(|payment| !payment.told) else { return Step::default() };
    match response {
        Response::Done => Step::of(vec![Record::SettlementTold { settlement: id }]),
        Response::Denied(denial) if is_for_now(denial) => Step::default(),
        // The payee will not even look at it.
        Response::Denied(denial) if payment.ours => {
            let told = Record::SettlementTold { settlement: id };
            Step::of(vec![Record::Unsettled { settlement: id, why: plain(&denial.sentence, WHY) }, told])
        }
        Response::Denied(_)
        | Response::Quote(_)
        | Response::Lease(_)
        | Response::Tick(_)
        | Response::Renewal(_)
        | Response::Standing(_) => Step::default(),
    }
}
