//! What lending has earned, when, and what electricity it took.

use crate::{Store, StoreError, lease};
use model::record::{Entry, Record};
use model::{Amount, Currency, Power, Receipt, Side, Span, Timestamp};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Times are counted in these: each change of a clock anywhere falls on a multiple.
pub const QUARTER: Span = Span::minutes(15);

/// What a quarter of an hour has earned in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// When it began.
    pub at: Timestamp,
    /// What was earned.
    pub gross: Amount,
    /// What electricity it took; none: nobody has said what that costs.
    pub electricity: Option<Amount>,
    /// Guests' time that was paid for.
    pub billed: Span,
    /// Processor time that guests used.
    pub cpu: Span,
}

impl Store {
    /// What was earned from `from` on and before `until`, by quarters of an hour, the earliest first.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn earned(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Earned>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT at / ?3 * ?3 AS quarter, currency, sum(micros), sum(billed), sum(cpu), sum(cost), cost_currency
             FROM earning WHERE at >= ?1 AND at < ?2 GROUP BY quarter, currency, cost_currency ORDER BY quarter, currency",
        )?;
        let earned = statement.query_map(params![from.0, until.0, QUARTER.0], read)?;
        Ok(earned.collect::<Result<_, _>>()?)
    }
}

fn read(row: &Row) -> rusqlite::Result<Earned> {
    let currency =
        |text: String| -> rusqlite::Result<Currency> { Ok(text.parse().map_err(FromSqlError::other)?) };
    let cost = row.get::<_, Option<i64>>(5)?.zip(row.get::<_, Option<String>>(6)?);
    let cost = cost.map(|(micros, name)| currency(name).map(|currency| Amount::new(micros, currency)));
    Ok(Earned {
        at: Timestamp(row.get(0)?),
        gross: Amount::new(row.get(2)?, currency(row.get(1)?)?),
        electricity: cost.transpose()?,
        billed: Span(row.get(3)?),
        cpu: Span(row.get(4)?),
    })
}

pub(crate) fn apply(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "each table reads the few records that concern it")]
    match &entry.record {
        Record::Powered { power } => {
            connection.execute("DELETE FROM power", [])?;
            if let Some(power) = power {
                let body = model::to_bytes(power);
                connection.execute("INSERT INTO power (one, body) VALUES (1, ?1)", params![body])?;
            }
            Ok(())
        }
        Record::Receipted { receipt } => receipted(connection, entry, receipt),
        _ => Ok(()),
    }
}

fn receipted(connection: &Connection, entry: &Entry, receipt: &Receipt) -> Result<(), StoreError> {
    let lease = receipt.lease.object().0;
    let side: Option<String> = connection
        .prepare_cached("SELECT side FROM lease WHERE id = ?1")?
        .query_row(params![lease], |row| row.get(0))
        .optional()?;
    if side.as_deref() != Some(lease::side_word(Side::Host)) {
        return Ok(());
    }
    let before: (i64, u64, u64) = connection
        .prepare_cached(
            "SELECT coalesce(sum(micros), 0), coalesce(sum(billed), 0), coalesce(sum(cpu), 0) FROM earning WHERE lease = ?1",
        )?
        .query_row(params![lease], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let cpu = receipt.usage.cpu.less(Span(before.2));
    let body: Option<Vec<u8>> =
        connection.prepare_cached("SELECT body FROM power")?.query_row([], |row| row.get(0)).optional()?;
    // Our own bytes; should they not be read, the cost is not known, and nothing else.
    let power = body.and_then(|body| model::from_bytes::<Power>(&body).ok());
    let cost = power.and_then(|power| power.cost(cpu).ok());
    connection
        .prepare_cached(
            "INSERT INTO earning (seq, at, lease, micros, currency, billed, cpu, cost, cost_currency)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            entry.seq,
            entry.at.0,
            lease,
            receipt.amount.micros - before.0,
            receipt.amount.currency.to_string(),
            receipt.usage.billed().less(Span(before.1)).0,
            cpu.0,
            cost.map(|cost| cost.micros),
            cost.map(|cost| cost.currency.to_string()),
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn receipts_add_up_to_what_was_earned_and_what_it_took() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let power =
            Power { milliwatts: 10_000, source: "the owner".into(), tariff: "0.36 EUR".parse().unwrap() };
        store.append(examples::NOW, &[Record::Powered { power: Some(power.clone()) }]).unwrap();
        for entry in examples::entries() {
            if !matches!(entry.record, Record::Powered { .. }) {
                store.append(entry.at, &[entry.record]).unwrap();
            }
        }
        let earned = store.earned(Timestamp(0), Timestamp(i64::MAX)).unwrap();
        let last = examples::receipt(2);
        let gross: i64 = earned.iter().map(|earned| earned.gross.micros).sum();
        assert_eq!(gross, last.amount.micros, "two receipts of which each says the whole");
        let cpu: u64 = earned.iter().map(|earned| earned.cpu.0).sum();
        assert_eq!(cpu, last.usage.cpu.0);
        let cost: i64 = earned.iter().filter_map(|earned| earned.electricity).map(|cost| cost.micros).sum();
        assert_eq!(cost, power.cost(last.usage.cpu).unwrap().micros);
        assert_eq!(store.earned(Timestamp(0), examples::NOW).unwrap(), []);
        store.rebuild().unwrap();
        assert_eq!(store.earned(Timestamp(0), Timestamp(i64::MAX)).unwrap(), earned);
    }
}
