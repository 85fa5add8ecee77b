//! What passed between this node's person and others in a stretch of time: the postings of [`posting`](crate::posting),
//! summed for each lease and each payment.

use crate::posting::{LEASE, account, amount};
use crate::{Store, StoreError};
use model::record::Account;
use model::{Amount, Id, Lease, ObjectId, PersonId, Timestamp};
use rusqlite::{Row, params};

/// All that was booked with one person for one lease, or for one payment, in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// With whom.
    pub person: PersonId,
    /// What stands against their account: [`Account::Income`] when we lent, [`Account::Expense`] when we rented,
    /// [`Account::Settled`] when something was paid.
    pub against: Account,
    /// The lease whose receipts were booked; none: something else, such as a payment.
    pub lease: Option<Id<Lease>>,
    /// The last receipt or settlement that was booked.
    pub cites: ObjectId,
    /// When the first was booked.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// What it adds to what they owe us.
    pub amount: Amount,
}

impl Store {
    /// What each person owed us, and below nought what we owed them, just before a moment: one amount for each currency
    /// in which anything was booked.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn owed_before(&self, moment: Timestamp) -> Result<Vec<(PersonId, Amount)>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT person, currency, sum(micros) FROM posting JOIN record ON record.seq = posting.seq
             WHERE account = 'person' AND record.at < ?1 GROUP BY person, currency ORDER BY person, currency",
        )?;
        let owed = statement.query_map([moment.0], |row| {
            let currency: String = row.get(1)?;
            Ok((PersonId(row.get(0)?), amount(&currency, row.get(2)?)?))
        })?;
        Ok(owed.collect::<Result<_, _>>()?)
    }

    /// What was booked from `from` on and before `until`, with one person or all; what began first comes first.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn dealt(
        &self,
        from: Timestamp,
        until: Timestamp,
        person: Option<PersonId>,
    ) -> Result<Vec<Dealt>, StoreError> {
        let mut statement = self.record.prepare_cached(&format!(
            "SELECT person, against, lease, (SELECT cites FROM posting WHERE seq = last LIMIT 1), currency, micros,
                 (SELECT at FROM record WHERE seq = first), (SELECT at FROM record WHERE seq = last)
             FROM (
                 SELECT person, against, lease, currency, sum(micros) AS micros, min(seq) AS first, max(seq) AS last
                 FROM (
                     SELECT line.*, other.account AS against, ({LEASE}) AS lease
                     FROM posting line
                     JOIN record ON record.seq = line.seq
                     JOIN posting other ON other.seq = line.seq AND other.currency = line.currency AND other.account <> 'person'
                     WHERE line.account = 'person' AND record.at >= ?1 AND record.at < ?2 AND (?3 IS NULL OR line.person = ?3)
                 )
                 GROUP BY person, currency, against, coalesce(lease, cites)
             )
             ORDER BY first"
        ))?;
        let dealt = statement.query_map(params![from.0, until.0, person.map(|person| person.0)], read)?;
        Ok(dealt.collect::<Result<_, _>>()?)
    }
}

fn read(row: &Row) -> rusqlite::Result<Dealt> {
    let currency: String = row.get(4)?;
    Ok(Dealt {
        person: PersonId(row.get(0)?),
        against: account(row.get(1)?, None)?,
        lease: row.get::<_, Option<[u8; 32]>>(2)?.map(|id| Id::of(ObjectId(id))),
        cites: ObjectId(row.get(3)?),
        amount: amount(&currency, row.get(5)?)?,
        first: Timestamp(row.get(6)?),
        last: Timestamp(row.get(7)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};
    use model::record::{Posting, Record};
    use model::{Currency, Span, Timestamp};

    const LATER: Timestamp = Timestamp(NOW.0 + 60_000);

    /// The lease of the examples, and a minute later a payment to somebody else.
    fn booked() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(NOW, &examples::life()).unwrap();
        let credits = |micros| Amount::new(micros, Currency::Credit);
        let entries = vec![(Account::Settled, credits(-7)), (Account::Person(PersonId([9; 32])), credits(7))];
        let posting = Posting::new(ObjectId([8; 32]), entries).unwrap();
        store.append(LATER, &[Record::Posted { posting }]).unwrap();
        (dir, store)
    }

    #[test]
    fn the_receipts_of_a_lease_are_one_line_and_a_payment_is_another() {
        let (_dir, store) = booked();
        let all = store.dealt(Timestamp(0), LATER + Span(1), None).unwrap();
        let [lease, payment] = &all[..] else { panic!("{all:?}") };
        assert_eq!(lease.lease, Some(examples::lease().id()));
        assert_eq!((lease.against, lease.amount), (Account::Income, examples::tick(2).amount));
        assert_eq!(lease.cites, examples::receipt(2).id().object(), "the last of two receipts");
        assert_eq!((lease.first, lease.last), (NOW, NOW));
        assert_eq!((payment.against, payment.lease), (Account::Settled, None));
        assert_eq!((payment.person, payment.amount.micros), (PersonId([9; 32]), 7));
    }

    #[test]
    fn what_was_owed_before_and_what_was_booked_since_make_the_balance() {
        let (_dir, store) = booked();
        let tenant = examples::tenant().party().person;
        assert_eq!(store.owed_before(NOW).unwrap(), []);
        assert_eq!(store.owed_before(LATER).unwrap(), [(tenant, examples::tick(2).amount)]);
        let since = store.dealt(LATER, LATER + Span(1), None).unwrap();
        assert_eq!(since.len(), 1, "the moment it ends before is not in it: {since:?}");
        assert_eq!(store.dealt(NOW, LATER, Some(PersonId([9; 32]))).unwrap(), []);
        let in_all: i64 =
            store.dealt(NOW, LATER + Span(1), None).unwrap().iter().map(|dealt| dealt.amount.micros).sum();
        let owed: i64 =
            store.owed_before(LATER + Span(1)).unwrap().iter().map(|(_, amount)| amount.micros).sum();
        assert_eq!(in_all, owed);
    }
}
