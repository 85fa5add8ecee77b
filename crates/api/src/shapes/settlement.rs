//! Payments: debts that were paid outside of Sublet.

use super::basic::{Moment, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A payment, in the words of the payer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    /// Its id, hexadecimal. A posting that books it cites this.
    pub id: String,
    /// Whether we have paid; no: we were paid.
    pub ours: bool,
    /// The other, hexadecimal.
    pub person: String,
    /// What they are called.
    pub name: Option<String>,
    /// How much.
    pub amount: Money,
    /// By which way: `bank`, `cash`.
    pub method: String,
    /// By which the payee finds it.
    pub reference: String,
    /// When the payer said so.
    pub at: Moment,
    /// Where it stands.
    pub state: PaymentState,
    /// Why it was not received, as the payee says.
    pub why: Option<String>,
    /// Whether the other has heard where it stands.
    pub told: bool,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// The payee has not answered.
    Open,
    /// Received: signed by both, and booked by both.
    Received,
    /// Not received, as the payee says: owed as before.
    Missing,
}

/// Payments of the last months, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payments {
    /// Ours and those of others.
    pub payments: Vec<Payment>,
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentWish {
    /// To whom: the first digits of their key, or their name.
    pub person: String,
    /// How much; none: all that is owed in the currency that most is owed in.
    #[serde(default)]
    pub amount: Option<Money>,
    /// By which way: `bank`, `cash`.
    #[serde(default)]
    pub method: String,
    /// By which the payee finds it, such as the text of a bank transfer.
    #[serde(default)]
    pub reference: String,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentAnswer {
    /// Whether it has come.
    pub received: bool,
    /// Why not.
    #[serde(default)]
    pub why: String,
}
