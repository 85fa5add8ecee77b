//! The book: the lines of each posting, and what they add up to.

use crate::{Break, Store, StoreError, bound, record};
use model::record::{Account, Entry, Posting, Record};
use model::{Amount, Currency, Id, Lease, ObjectId, PersonId, Timestamp};
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, params};

/// A posting with its place and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// The number of its record: the next page of [`Store::postings`] begins before it.
    pub seq: u64,
    /// When it was booked.
    pub at: Timestamp,
    /// Amounts that sum to nought, and what they cite.
    pub posting: Posting,
    /// The lease whose receipt it cites; none when it cites something else.
    pub lease: Option<Id<Lease>>,
}

impl Store {
    /// At most `limit` postings, those of one account or all, the newest first; `before` is the `seq` of the last one
    /// of the page before.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when the record of one of them cannot be read.
    pub fn postings(
        &self,
        account: Option<Account>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Booked>, StoreError> {
        let (word, person) = account.map(words).unzip();
        let of_one = if account.is_some() { "account = ?1 AND person IS ?2 AND" } else { "" };
        let mut statement = self.record.prepare_cached(&format!(
            "SELECT record.seq, record.at, record.body, ({LEASE})
             FROM (SELECT DISTINCT seq, cites FROM posting WHERE {of_one} (?3 IS NULL OR seq < ?3) ORDER BY seq DESC LIMIT ?4) line
             JOIN record ON record.seq = line.seq ORDER BY record.seq DESC"
        ))?;
        let mut rows = statement.query(params![word, person.flatten(), before.map(bound), bound(limit)])?;
        let mut postings = Vec::new();
        while let Some(row) = rows.next()? {
            postings.push(read(row)?);
        }
        Ok(postings)
    }

    /// What each account adds up to, in each currency.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn balances(&self) -> Result<Vec<(Account, Amount)>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT account, person, currency, sum(micros) FROM posting
             GROUP BY account, person, currency ORDER BY account, person, currency",
        )?;
        let balances = statement.query_map([], |row| {
            let currency: String = row.get(2)?;
            Ok((account(row.get(0)?, row.get(1)?)?, amount(&currency, row.get(3)?)?))
        })?;
        Ok(balances.collect::<Result<_, _>>()?)
    }
}

/// Receipts are spoken of together with their lease.
pub(crate) const LEASE: &str =
    "SELECT lease.id FROM mention cited JOIN mention beside ON beside.seq = cited.seq
    JOIN lease ON lease.id = beside.object WHERE cited.object = line.cites LIMIT 1";

fn read(row: &Row) -> Result<Booked, StoreError> {
    let seq = row.get(0)?;
    let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    let Record::Posted { posting } = record::read(seq, body)? else {
        return Err(StoreError::Broken { seq, how: Break::Kind });
    };
    let lease = row.get::<_, Option<[u8; 32]>>(3)?.map(|id| Id::of(ObjectId(id)));
    Ok(Booked { seq, at: Timestamp(row.get(1)?), posting, lease })
}

/// An account, by the word for it and the person whose it is, where it is one's.
pub(crate) fn account(word: String, person: Option<[u8; 32]>) -> rusqlite::Result<Account> {
    match (word.as_str(), person) {
        ("person", Some(person)) => Ok(Account::Person(PersonId(person))),
        ("income", None) => Ok(Account::Income),
        ("expense", None) => Ok(Account::Expense),
        ("settled", None) => Ok(Account::Settled),
        _ => Err(rusqlite::Error::InvalidColumnType(0, word, Type::Text)),
    }
}

pub(crate) fn amount(currency: &str, micros: i64) -> rusqlite::Result<Amount> {
    let currency: Currency = currency.parse().map_err(FromSqlError::other)?;
    Ok(Amount::new(micros, currency))
}

pub(crate) fn apply(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let Record::Posted { posting } = &entry.record else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "INSERT INTO posting (seq, line, cites, account, person, micros, currency) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (line, (account, amount)) in posting.entries().iter().enumerate() {
        let (word, person) = words(*account);
        let currency = amount.currency.to_string();
        statement.execute(params![
            entry.seq,
            line,
            posting.cites().0,
            word,
            person,
            amount.micros,
            currency
        ])?;
    }
    Ok(())
}

fn words(account: Account) -> (&'static str, Option<[u8; 32]>) {
    match account {
        Account::Person(person) => ("person", Some(person.0)),
        Account::Income => ("income", None),
        Account::Expense => ("expense", None),
        Account::Settled => ("settled", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};

    /// The lease of the examples, and a posting with a second person and currency that cites no receipt.
    fn booked() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(NOW, &examples::life()).unwrap();
        let credits = |micros| Amount::new(micros, Currency::Credit);
        let entries = vec![(Account::Expense, credits(7)), (Account::Person(PersonId([9; 32])), credits(-7))];
        let posting = Posting::new(ObjectId([8; 32]), entries).unwrap();
        store.append(NOW, &[Record::Posted { posting }]).unwrap();
        (dir, store)
    }

    #[test]
    fn the_book_balances_and_knows_each_lease() {
        let (_dir, store) = booked();
        let tenant = Account::Person(examples::tenant().party().person);
        let total = examples::tick(2).amount;
        let mut balances = store.balances().unwrap();
        balances.sort_by_key(|(account, amount)| (*account, amount.currency));
        let stranger = Account::Person(PersonId([9; 32]));
        let mut expected = vec![
            (tenant, total),
            (stranger, Amount::new(-7, Currency::Credit)),
            (Account::Income, total.negated().unwrap()),
            (Account::Expense, Amount::new(7, Currency::Credit)),
        ];
        expected.sort_by_key(|(account, amount)| (*account, amount.currency));
        assert_eq!(balances, expected);

        let leases: Vec<_> =
            store.postings(None, None, 10).unwrap().iter().map(|booked| booked.lease).collect();
        assert_eq!(leases, [None, Some(examples::lease().id()), Some(examples::lease().id())]);
    }

    #[test]
    fn an_account_shows_its_own_postings_page_by_page() {
        let (_dir, store) = booked();
        let tenant = Some(Account::Person(examples::tenant().party().person));
        let first = store.postings(tenant, None, 1).unwrap();
        assert_eq!(first[0].posting.cites(), examples::receipt(2).id().object());
        let second = store.postings(tenant, Some(first[0].seq), 1).unwrap();
        assert_eq!(second[0].posting.cites(), examples::receipt(1).id().object());
        assert_eq!(store.postings(tenant, Some(second[0].seq), 1).unwrap(), []);
        assert_eq!(store.postings(Some(Account::Expense), None, 10).unwrap().len(), 1);
    }
}
