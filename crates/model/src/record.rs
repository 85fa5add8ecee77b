//! What a node writes down before it acts. The record is never edited; state is what it adds up to.
//!
//! It holds what this node did and agreed to. What others merely say (profiles, offers) is kept as signed objects
//! beside it: that can be had again from any peer.

use crate::amount::{Amount, Arithmetic, Currency};
use crate::contact::Contact;
use crate::document::{
    Ask, End, Greeting, Invite, Lease, Offer, Party, Profile, Quote, Rating, Receipt, Renewal, Settlement,
    Share, Side, Speed, Tick,
};
use crate::envelope::{Cosigned, Signed};
use crate::id::{Id, ObjectId, PeerKey, PersonId};
use crate::owner::{Claim, Policy};
use crate::phase::Phase;
use crate::power::Power;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A record with its place and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// One, two, three.
    pub seq: u64,
    /// When it was written, by this node's clock.
    pub at: Timestamp,
    /// What happened.
    pub record: Record,
}

/// One thing that happened, or was decided, here.
#[expect(clippy::large_enum_variant, reason = "one lives for as long as it takes to write it down")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// This machine was measured.
    Measured {
        /// Its speed.
        speed: Speed,
    },
    /// The owner decided what to lend; none: nothing.
    Shared {
        /// What.
        share: Option<Share>,
    },
    /// The owner decided what comes first on this machine.
    Ruled {
        /// What.
        policy: Policy,
    },
    /// The reasons changed for which this machine is not, or not fully, for others.
    Claimed {
        /// All that hold now, the most telling first.
        claims: Vec<Claim>,
    },
    /// The owner said what electricity costs; none: nothing any more.
    Powered {
        /// How much.
        power: Option<Power>,
    },
    /// This node published an offer.
    Offered {
        /// Which.
        offer: Signed<Offer>,
    },
    /// This node published its profile.
    Profiled {
        /// Which.
        profile: Signed<Profile>,
    },
    /// As host: a quote was given and its capacity held.
    Quoted {
        /// What was asked.
        ask: Signed<Ask>,
        /// What was answered.
        quote: Signed<Quote>,
        /// Who asked.
        tenant: Party,
        /// From where.
        peer: PeerKey,
    },
    /// As host: a quote expired unused.
    Lapsed {
        /// Which.
        quote: Id<Quote>,
    },
    /// As tenant: an ask was made of a host.
    Asked {
        /// What.
        ask: Signed<Ask>,
        /// Of which offer.
        offer: Signed<Offer>,
        /// Among which others; none where one host alone was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        among: Option<Among>,
    },
    /// As tenant: a quote came, and a better host may still answer.
    Heard {
        /// The quote.
        quote: Signed<Quote>,
    },
    /// As tenant: an ask led to nothing.
    Refused {
        /// Which ask.
        ask: Id<Ask>,
        /// The refusal's code.
        code: String,
        /// And sentence.
        sentence: String,
    },
    /// As tenant: a quote was accepted and signed; the host has not signed yet.
    Accepted {
        /// The quote.
        quote: Signed<Quote>,
        /// What was signed.
        lease: Signed<Lease>,
        /// Where the host is.
        peer: PeerKey,
    },
    /// Both have signed.
    Agreed {
        /// What.
        lease: Cosigned<Lease>,
        /// Which of the two this node is.
        side: Side,
        /// Where the other is.
        peer: PeerKey,
    },
    /// A lease moved on.
    Moved {
        /// Which.
        lease: Id<Lease>,
        /// Where to.
        phase: Phase,
        /// What went wrong, in words, where it did.
        detail: String,
    },
    /// The host signed, or the tenant received, a running total.
    Ticked {
        /// Which.
        tick: Signed<Tick>,
    },
    /// A running total was signed by both.
    Receipted {
        /// Which.
        receipt: Receipt,
    },
    /// As tenant: more time was asked for.
    RenewalAsked {
        /// What was signed.
        renewal: Signed<Renewal>,
    },
    /// As tenant: more time was not granted.
    RenewalRefused {
        /// For which lease.
        lease: Id<Lease>,
        /// What was signed.
        renewal: Id<Renewal>,
        /// The refusal's code.
        code: String,
        /// And sentence.
        sentence: String,
    },
    /// More time was agreed.
    Renewed {
        /// By which words.
        renewal: Cosigned<Renewal>,
    },
    /// The people on this side were told that its time is nearly over.
    Warned {
        /// Which lease.
        lease: Id<Lease>,
        /// When its time is over, unless it is made longer.
        over: Timestamp,
    },
    /// A party said that it is over.
    Ended {
        /// Its word.
        end: Signed<End>,
    },
    /// A party to a lease judged the other.
    Rated {
        /// How.
        rating: Signed<Rating>,
        /// Who is judged.
        of: PersonId,
        /// By whom.
        by: PersonId,
    },
    /// An amount was booked.
    Posted {
        /// Where.
        posting: Posting,
    },
    /// I made up my mind about a person; none: I forget what I thought.
    Regarded {
        /// Who.
        person: PersonId,
        /// What I make of them.
        contact: Option<Contact>,
    },
    /// An invite was made.
    Invited {
        /// Which.
        invite: Signed<Invite>,
        /// How many people may answer it.
        uses: u32,
    },
    /// An invite is no longer good.
    Withdrawn {
        /// Which.
        invite: Id<Invite>,
    },
    /// As who invited: somebody has answered.
    Greeted {
        /// Which invite.
        invite: Id<Invite>,
        /// Who.
        person: PersonId,
    },
    /// As who was invited: an invite was accepted, and is to be answered.
    Accepting {
        /// Which.
        invite: Signed<Invite>,
        /// The answer.
        greeting: Signed<Greeting>,
    },
    /// As who was invited: the answer was heard, or refused.
    Answered {
        /// Which invite.
        invite: Id<Invite>,
        /// Why it was refused, if it was.
        refusal: Option<String>,
    },
    /// Somebody says that a debt was paid: we, or one who owes us.
    Paid {
        /// The payer's word.
        settlement: Signed<Settlement>,
        /// Where the other is.
        peer: PeerKey,
        /// Whether we are the payer.
        ours: bool,
    },
    /// A payment was received, as both have signed.
    Settled {
        /// What.
        settlement: Cosigned<Settlement>,
    },
    /// A payment was not received, as the payee says.
    Unsettled {
        /// Which.
        settlement: Id<Settlement>,
        /// Why.
        why: String,
    },
    /// The other has heard where a payment stands.
    SettlementTold {
        /// Which.
        settlement: Id<Settlement>,
    },
    /// Two different statements that a signer may make only once: a proof of cheating, kept.
    Equivocated {
        /// Who.
        person: PersonId,
        /// The first statement's envelope.
        #[serde(with = "serde_bytes")]
        one: Vec<u8>,
        /// The second's.
        #[serde(with = "serde_bytes")]
        other: Vec<u8>,
    },
}

/// One of several asks that were made at once, of which at most one leads to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Among {
    /// The ask of the host that is liked best: by it they are known together.
    pub first: Id<Ask>,
    /// How many hosts are liked better.
    pub place: u16,
}

/// An account of this node's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What a person owes us, and, below nought, what we owe them.
    Person(PersonId),
    /// What lending has earned; below nought, as income is in double entry.
    Income,
    /// What renting has cost.
    Expense,
    /// What was paid outside of Sublet: received, less what was given.
    Settled,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Person(person) => write!(f, "person {}", person.short()),
            Account::Income => f.write_str("income"),
            Account::Expense => f.write_str("expense"),
            Account::Settled => f.write_str("settled"),
        }
    }
}

/// Amounts booked together. They sum to nought in each currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Posting {
    /// The receipt or settlement that justifies it.
    cites: ObjectId,
    /// What goes where.
    entries: Vec<(Account, Amount)>,
}

/// Why amounts cannot be booked together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbalanced {
    /// They do not sum to nought.
    #[error("the entries leave {0} over")]
    Rest(Amount),
    /// They cannot be summed.
    #[error(transparent)]
    Arithmetic(#[from] Arithmetic),
}

impl Posting {
    /// Books entries that balance.
    ///
    /// # Errors
    /// When they do not.
    pub fn new(cites: ObjectId, entries: Vec<(Account, Amount)>) -> Result<Posting, Unbalanced> {
        let mut sums: BTreeMap<Currency, Amount> = BTreeMap::new();
        for (_, amount) in &entries {
            let sum = sums.entry(amount.currency).or_insert(Amount::zero(amount.currency));
            *sum = sum.plus(*amount)?;
        }
        match sums.into_values().find(|sum| sum.micros != 0) {
            Some(rest) => Err(Unbalanced::Rest(rest)),
            None => Ok(Posting { cites, entries }),
        }
    }

    /// The receipt or settlement that justifies it.
    pub fn cites(&self) -> ObjectId {
        self.cites
    }

    /// What goes where.
    pub fn entries(&self) -> &[(Account, Amount)] {
        &self.entries
    }
}

impl<'de> Deserialize<'de> for Posting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            cites: ObjectId,
            entries: Vec<(Account, Amount)>,
        }
        let Raw { cites, entries } = Raw::deserialize(deserializer)?;
        Posting::new(cites, entries).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_balance_is_not_booked() {
        let euro = |micros| Amount::new(micros, Currency::Iso(*b"EUR"));
        let booked = |entries| Posting::new(ObjectId([0; 32]), entries);
        assert!(
            booked(vec![(Account::Expense, euro(5)), (Account::Person(PersonId([1; 32])), euro(-5))]).is_ok()
        );
        assert_eq!(
            booked(vec![(Account::Expense, euro(5)), (Account::Income, euro(-4))]),
            Err(Unbalanced::Rest(euro(1)))
        );
        let credits = Amount::new(-5, Currency::Credit);
        assert!(matches!(
            booked(vec![(Account::Expense, euro(5)), (Account::Income, credits)]),
            Err(Unbalanced::Rest(_))
        ));
    }
}
