//! Who owes whom.

use super::basic::{Moment, Money, Party};
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

/// What passed between this node's person and others in a stretch of time, one account for each of them and each currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statement {
    /// From this moment on.
    pub from: Moment,
    /// Before this moment.
    pub until: Moment,
    /// Whose statement it is.
    pub me: Party,
    /// Those in which anything was booked, or owed before.
    pub accounts: Vec<StatementAccount>,
}

/// What passed between two people in one currency. Amounts are what they owe us; below nought, we owe them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementAccount {
    /// Their key, hexadecimal.
    pub person: String,
    /// What they are called here.
    pub name: Option<String>,
    /// What was owed when the stretch began.
    pub before: Money,
    /// What was booked, what began first before what began later.
    pub lines: Vec<StatementLine>,
    /// What was lent to them, in all.
    pub lent: Money,
    /// What was rented from them, in all: nought or less.
    pub rented: Money,
    /// What was paid: below nought, they have paid us.
    pub paid: Money,
    /// What is owed when the stretch ends.
    pub after: Money,
}

/// What was booked for one lease, or for one payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatementLine {
    /// What it is.
    pub kind: StatementKind,
    /// The lease; none for a payment.
    pub lease: Option<String>,
    /// Which image the lease runs; the way and the reference of a payment. Empty where that is not known any more.
    pub about: String,
    /// The last receipt or payment that both have signed, hexadecimal.
    pub cites: String,
    /// When the first was booked.
    pub first: Moment,
    /// When the last was.
    pub last: Moment,
    /// What it adds to what they owe us.
    pub amount: Money,
}

/// What a line of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// They used this person's computers.
    Lent,
    /// This person used theirs.
    Rented,
    /// A debt was paid outside of Sublet.
    Payment,
}
