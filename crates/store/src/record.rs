//! The record: append-only, and each row bound to the one before, so that no byte of history changes unseen.
//!
//! `hash(n) = BLAKE3(context, hash(n - 1), n, at, body)`, both numbers as 8 little-endian bytes, `hash(0)` all nought.
//! All parts but the last have a fixed length, so that no two rows have the same input.

use crate::{Break, Store, StoreError, bound, earning, lease, mention, posting, rating, snapshot};
use model::record::{Entry, Record};
use model::{Speed, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Where the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: [u8; 32],
}

/// What a look at the whole record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many records there are.
    pub records: u64,
    /// The hash of the last. Kept elsewhere, it proves that nothing was cut off the end.
    pub head_hash: [u8; 32],
}

impl Store {
    /// Writes records down, and what follows from them in the tables: all of it, on the disk, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`], or whatever SQLite has against it. The record is then as it was before.
    pub fn append(&mut self, at: Timestamp, records: &[Record]) -> Result<Vec<Entry>, StoreError> {
        let transaction = self.record.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut head = self.head;
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let entry = Entry { seq: head.seq + 1, at, record: record.clone() };
            head = insert(&transaction, head, &entry)?;
            derive(&transaction, &entry)?;
            entries.push(entry);
        }
        transaction.commit()?;
        self.head = head;
        Ok(entries)
    }

    /// The number of the last record; nought when there is none.
    pub fn head(&self) -> u64 {
        self.head.seq
    }

    /// At most `limit` records after `after_seq`, in their order, each checked against the one before.
    ///
    /// # Errors
    /// [`StoreError::Broken`] names the first record that is not as it was written.
    pub fn entries(&self, after_seq: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        if after_seq >= self.head.seq {
            return Ok(entries);
        }
        let hash = hash_at(&self.record, after_seq)?;
        follow(&self.record, Head { seq: after_seq, hash }, limit, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// What this machine measured of itself, the newest first, at most `limit`.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn measurements(&self, limit: usize) -> Result<Vec<(Timestamp, Speed)>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT seq, at, body FROM record WHERE kind = 'measured' ORDER BY seq DESC LIMIT ?1",
        )?;
        let mut rows = statement.query([bound(limit)])?;
        let mut measurements = Vec::new();
        while let Some(row) = rows.next()? {
            let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            if let Record::Measured { speed } = read(row.get(0)?, body)? {
                measurements.push((Timestamp(row.get(1)?), speed));
            }
        }
        Ok(measurements)
    }

    /// Looks at every record from the first to the last: hashes, signatures, and that none is missing.
    ///
    /// # Errors
    /// [`StoreError::Broken`] names the first record that is not as it was written.
    pub fn verify(&self) -> Result<Report, StoreError> {
        let head = follow(&self.record, Head::NONE, usize::MAX, |_| Ok(()))?;
        // The snapshots were taken of records that must still be there.
        if snapshot::latest_seq(&self.cache)? > head.seq || self.head.seq > head.seq {
            return Err(StoreError::Broken { seq: head.seq + 1, how: Break::Missing });
        }
        Ok(Report { records: head.seq, head_hash: head.hash })
    }

    /// Drops what is made from the record, and makes it again.
    ///
    /// # Errors
    /// [`StoreError::Broken`]; the tables are then as they were before.
    pub fn rebuild(&mut self) -> Result<(), StoreError> {
        let transaction = self.record.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in ["mention", "lease", "posting", "rating", "earning", "power"] {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        follow(&transaction, Head::NONE, usize::MAX, |entry| derive(&transaction, &entry))?;
        Ok(transaction.commit()?)
    }
}

impl Head {
    /// Before the first record.
    const NONE: Head = Head { seq: 0, hash: [0; 32] };

    /// The hash of the record that comes next.
    fn next_hash(&self, at: i64, body: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("Sublet record chain, version 1");
        hasher
            .update(&self.hash)
            .update(&(self.seq + 1).to_le_bytes())
            .update(&at.to_le_bytes())
            .update(body);
        hasher.finalize().into()
    }
}

fn insert(transaction: &Transaction, head: Head, entry: &Entry) -> Result<Head, StoreError> {
    let body = model::to_bytes(&entry.record);
    let hash = head.next_hash(entry.at.0, &body);
    transaction
        .prepare_cached("INSERT INTO record (seq, at, kind, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![entry.seq, entry.at.0, kind(&body), body, hash])?;
    Ok(Head { seq: entry.seq, hash })
}

/// The record's kind, as its own bytes name it.
fn kind(body: &[u8]) -> String {
    let tagged: Result<BTreeMap<String, IgnoredAny>, _> = model::from_bytes(body);
    tagged.ok().and_then(|mut tagged| tagged.pop_first()).map_or_else(String::new, |(kind, _)| kind)
}

/// All tables that are made from the record, in the order of the plan.
fn derive(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    mention::apply(connection, entry)?;
    earning::apply(connection, entry)?;
    lease::apply(connection, entry)?;
    posting::apply(connection, entry)?;
    rating::apply(connection, entry)
}

/// Reads on from `from`, hands each record to `each`, and returns where it came to.
fn follow(
    connection: &Connection,
    from: Head,
    limit: usize,
    mut each: impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<Head, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, at, body, hash FROM record WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![from.seq, bound(limit)])?;
    let mut head = from;
    while let Some(row) = rows.next()? {
        head = link(head, row, &mut each)?;
    }
    Ok(head)
}

fn link(
    head: Head,
    row: &Row,
    each: &mut impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<Head, StoreError> {
    let seq = head.seq + 1;
    if row.get::<_, u64>(0)? != seq {
        return Err(StoreError::Broken { seq, how: Break::Missing });
    }
    let (at, hash) = (row.get(1)?, row.get(3)?);
    let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    if head.next_hash(at, body) != hash {
        return Err(StoreError::Broken { seq, how: Break::Hash });
    }
    each(Entry { seq, at: Timestamp(at), record: read(seq, body)? })?;
    Ok(Head { seq, hash })
}

/// Reads a body. Signatures inside are checked again: only that makes signed documents.
pub(crate) fn read(seq: u64, body: &[u8]) -> Result<Record, StoreError> {
    model::from_bytes(body).map_err(|invalid| StoreError::Broken { seq, how: Break::Body(invalid) })
}

pub(crate) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let last = connection.query_row("SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1", [], |row| {
        Ok(Head { seq: row.get(0)?, hash: row.get(1)? })
    });
    Ok(last.optional()?.unwrap_or(Head::NONE))
}

/// The hash of a record as it is written there.
pub(crate) fn hash_at(connection: &Connection, seq: u64) -> Result<[u8; 32], StoreError> {
    if seq == 0 {
        return Ok(Head::NONE.hash);
    }
    let hash = connection
        .prepare_cached("SELECT hash FROM record WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0));
    hash.optional()?.ok_or(StoreError::Broken { seq, how: Break::Missing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};
    use rusqlite::types::Value;
    use std::path::Path;

    fn lived(dir: &Path) -> Store {
        let mut store = Store::open(dir).unwrap();
        for entry in examples::entries() {
            store.append(entry.at, &[entry.record]).unwrap();
        }
        store
    }

    /// As somebody with another program would.
    fn meddle(dir: &Path, sql: &str) {
        let other = Connection::open(dir.join("sublet.db")).unwrap();
        other.pragma_update(None, "foreign_keys", false).unwrap();
        other
            .execute_batch("DROP TRIGGER record_is_never_changed; DROP TRIGGER record_is_never_shortened")
            .unwrap();
        other.execute_batch(sql).unwrap();
    }

    fn tables(store: &Store) -> Vec<Vec<Vec<Value>>> {
        ["mention", "lease", "posting", "rating", "earning", "power"].map(|table| rows(store, table)).to_vec()
    }

    fn rows(store: &Store, table: &str) -> Vec<Vec<Value>> {
        let mut statement = store.record.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn measurements_are_found_among_all_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = lived(dir.path());
        let before = store.measurements(usize::MAX).unwrap();
        let faster = Speed { core: 1_234, ..Speed::default() };
        store.append(NOW, &[Record::Measured { speed: faster }]).unwrap();
        assert_eq!(store.measurements(1).unwrap(), [(NOW, faster)]);
        assert_eq!(store.measurements(usize::MAX).unwrap()[1..], before);
        // A scan of the whole record for them would be slow.
        let plan =
            "EXPLAIN QUERY PLAN SELECT seq FROM record WHERE kind = 'measured' ORDER BY seq DESC LIMIT 9";
        let plan: String = store.record.query_row(plan, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("measured"), "{plan}");
    }

    #[test]
    fn what_was_written_is_what_is_read_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        drop(lived(dir.path()));
        let store = Store::open(dir.path()).unwrap();
        let lived = examples::entries();
        assert_eq!(store.entries(0, usize::MAX).unwrap(), lived);
        assert_eq!(store.entries(5, 3).unwrap(), lived[5..8]);
        assert_eq!(store.entries(lived.len() as u64, 9).unwrap(), []);
        assert_eq!(store.entries(u64::MAX, usize::MAX).unwrap(), []);
        let report = store.verify().unwrap();
        assert_eq!((report.records, store.head()), (lived.len() as u64, lived.len() as u64));
    }

    #[test]
    fn a_batch_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let shared = Record::Shared { share: None };
        store.append(NOW, std::slice::from_ref(&shared)).unwrap();
        let (before, was) = (store.verify().unwrap(), tables(&store));

        // The same lease agreed twice is nothing that a table can hold.
        let agreed =
            examples::life().into_iter().find(|record| matches!(record, Record::Agreed { .. })).unwrap();
        assert!(store.append(NOW, &[shared.clone(), agreed.clone(), agreed]).is_err());
        assert_eq!((store.verify().unwrap(), tables(&store)), (before, was));
        assert_eq!(store.append(NOW, &[shared]).unwrap()[0].seq, 2);
    }

    #[test]
    fn a_full_disk_leaves_the_record_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        // SQLite's own limit on the file stands for the disk's; tests/crash.rs fills a real one.
        let pages: u32 = store.record.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.record.pragma_update(None, "max_page_count", pages + 8).unwrap();
        let mut written = 0;
        let error = loop {
            match store.append(NOW, &examples::life()[..2]) {
                Ok(entries) => written += entries.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full), "{error}");
        assert!(written > 0);
        assert_eq!(store.verify().unwrap().records, written);
        store.record.pragma_update(None, "max_page_count", pages + 1_000).unwrap();
        assert_eq!(store.append(NOW, &examples::life()[..1]).unwrap()[0].seq, written + 1);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let changes = [
            (
                "UPDATE record SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE seq = 7",
                7,
            ),
            ("UPDATE record SET at = at + 1 WHERE seq = 4", 4),
            ("UPDATE record SET hash = zeroblob(32) WHERE seq = 9", 9),
            ("UPDATE record SET seq = seq + 1000 WHERE seq >= 5", 5),
            ("DELETE FROM record WHERE seq = 6", 6),
            ("DELETE FROM record WHERE seq = 1", 1),
            // A whole row put in another's place: each fits by itself, and not where it is.
            (
                "UPDATE record SET (at, body, hash) = (SELECT at, body, hash FROM record WHERE seq = 3) WHERE seq = 8",
                8,
            ),
        ];
        for (sql, broken) in changes {
            let dir = tempfile::tempdir().unwrap();
            drop(lived(dir.path()));
            meddle(dir.path(), sql);
            let mut store = Store::open(dir.path()).unwrap();
            let found = |error| matches!(error, StoreError::Broken { seq, .. } if seq == broken);
            assert!(found(store.verify().unwrap_err()), "{sql}");
            assert!(found(store.entries(0, usize::MAX).unwrap_err()), "{sql}");
            let before = tables(&store);
            assert!(found(store.rebuild().unwrap_err()), "{sql}");
            assert_eq!(tables(&store), before, "{sql}");
        }
    }

    #[test]
    fn history_is_not_edited_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let store = lived(dir.path());
        for sql in ["UPDATE record SET at = 0 WHERE seq = 1", "DELETE FROM record WHERE seq = 1"] {
            let error = store.record.execute(sql, []).unwrap_err();
            assert!(error.to_string().contains("append a correction"), "{error}");
        }
    }

    #[test]
    fn the_tables_are_what_the_record_makes_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = lived(dir.path());
        let before = tables(&store);
        assert!(before.iter().all(|table| !table.is_empty()));
        store
            .record
            .execute_batch(
                "DELETE FROM mention; UPDATE posting SET micros = 1; UPDATE lease SET detail = 'x'",
            )
            .unwrap();
        assert_ne!(tables(&store), before);
        store.rebuild().unwrap();
        assert_eq!(tables(&store), before);
        store.rebuild().unwrap();
        assert_eq!(tables(&store), before);
    }

    #[test]
    fn kinds_are_named_as_the_bytes_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = lived(dir.path());
        let mut statement = store.record.prepare("SELECT kind FROM record WHERE seq IN (1, 5, 17)").unwrap();
        let kinds: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(kinds, ["measured", "asked", "renewal_asked"]);
    }
}
