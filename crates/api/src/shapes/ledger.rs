//! Who owes whom.

use super::basic::{Moment, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An account of this node's book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Account {
    /// What a person owes us, and, below nought, what we owe them.
    Person {
        /// Their key, hexadecimal.
        person: String,
        /// What they call themselves; proves nothing.
        name: Option<String>,
    },
    /// What lending has earned; below nought, as income is in double entry.
    Income,
    /// What renting has cost.
    Expense,
    /// What was paid outside of Sublet: received, less what was given.
    Settled,
}

/// An amount in an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Booked {
    /// Which account.
    pub account: Account,
    /// How much.
    pub amount: Money,
}

/// The balance of each account. All balances of one currency sum to nought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    /// By account and currency.
    pub balances: Vec<Booked>,
}

/// Amounts booked together. They sum to nought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Posting {
    /// Its number in the record.
    pub seq: u64,
    /// When it was written down.
    pub at: Moment,
    /// The receipt or settlement that justifies it, hexadecimal.
    pub cites: String,
    /// The lease whose receipt it cites; none when it cites something else.
    pub lease: Option<String>,
    /// What goes where.
    pub entries: Vec<Booked>,
}

/// A page of postings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Postings {
    /// The newest first.
    pub postings: Vec<Posting>,
    /// To be given as `before` for the page that follows; none on the last.
    pub next: Option<u64>,
}
