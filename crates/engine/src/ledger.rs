//! Who owes whom: a double-entry book, each posting citing a receipt or a settlement.
//!
//! As host a receipt is booked as *person owes* against *income*; as tenant as *expense* against *person is owed*.
//! Every account is held by currency; all accounts of one currency sum to nought.

use crate::Identity;
use model::record::{Account, Entry, Posting, Record, Unbalanced};
use model::{Amount, Arithmetic, Currency, Lease, Receipt, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The balance of each account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    balances: BTreeMap<(Account, Currency), Amount>,
}

/// Why an amount cannot be booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not balance or does not fit.
    #[error("{0}")]
    Unbalanced(#[from] Unbalanced),
    /// It does not fit beside what is booked already.
    #[error("{0}")]
    Arithmetic(#[from] Arithmetic),
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        "cannot_be_booked"
    }
}

impl State {
    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        if let Record::Posted { posting } = &entry.record {
            for (account, amount) in posting.entries() {
                let balance =
                    self.balances.entry((*account, amount.currency)).or_insert(Amount::zero(amount.currency));
                // The command has checked that it fits, so that a record never has to be refused.
                *balance = balance.plus(*amount).unwrap_or(*balance);
            }
        }
    }

    /// Every account with its balance.
    pub fn balances(&self) -> impl Iterator<Item = (Account, Amount)> {
        self.balances.iter().map(|((account, _), amount)| (*account, *amount))
    }

    /// One account's balance.
    pub fn balance(&self, account: Account, currency: Currency) -> Amount {
        self.balances.get(&(account, currency)).copied().unwrap_or(Amount::zero(currency))
    }

    fn has_room_for(&self, posting: &Posting) -> Result<(), Arithmetic> {
        posting.entries().iter().try_for_each(|(account, amount)| {
            self.balance(*account, amount.currency).plus(*amount).map(|_| ())
        })
    }
}

/// Books what a receipt adds to the one before. Nothing when it adds nothing.
///
/// # Errors
/// When it cannot be counted.
pub fn book(
    state: &State,
    identity: &Identity,
    lease: &Lease,
    before: Option<&Receipt>,
    receipt: &Receipt,
) -> Result<Option<Record>, Refusal> {
    let more = match before {
        Some(before) => receipt.amount.minus(before.amount)?,
        None => receipt.amount,
    };
    if more.micros == 0 {
        return Ok(None);
    }
    let side = if lease.host.device == identity.party().device { Side::Host } else { Side::Tenant };
    let entries = match side {
        Side::Host => vec![(Account::Person(lease.tenant.person), more), (Account::Income, more.negated()?)],
        Side::Tenant => vec![(Account::Expense, more), (Account::Person(lease.host.person), more.negated()?)],
    };
    let posting = Posting::new(receipt.id().object(), entries)?;
    fits(state, posting).map(Some)
}

/// The record of a posting that fits beside what is booked already.
///
/// # Errors
/// When it does not.
pub fn fits(state: &State, posting: Posting) -> Result<Record, Refusal> {
    state.has_room_for(&posting)?;
    Ok(Record::Posted { posting })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ObjectId, PersonId, Timestamp};

    const EUR: Currency = Currency::Iso(*b"EUR");
    const ANNA: Account = Account::Person(PersonId([1; 32]));

    fn posting(micros: i64) -> Posting {
        let entries = vec![(ANNA, Amount::new(micros, EUR)), (Account::Income, Amount::new(-micros, EUR))];
        Posting::new(ObjectId([0; 32]), entries).unwrap()
    }

    #[test]
    fn what_does_not_fit_beside_the_rest_is_refused() {
        let mut state = State::default();
        let posted = Record::Posted { posting: posting(i64::MAX - 5) };
        state.apply(&Entry { seq: 1, at: Timestamp(0), record: posted });
        assert_eq!(state.balance(ANNA, EUR).micros, i64::MAX - 5);
        assert_eq!(state.has_room_for(&posting(5)), Ok(()));
        assert_eq!(state.has_room_for(&posting(6)), Err(Arithmetic::Overflow));
    }

    #[test]
    fn currencies_have_accounts_of_their_own() {
        let mut state = State::default();
        state.apply(&Entry { seq: 1, at: Timestamp(0), record: Record::Posted { posting: posting(7) } });
        assert_eq!(state.balance(ANNA, Currency::Credit), Amount::zero(Currency::Credit));
        assert_eq!(state.balances().count(), 2);
    }
}
