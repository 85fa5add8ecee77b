//! States that the record added up to, so that a start need not read it all.
//!
//! `hash = BLAKE3(context, hash of the last record in it, version, state)`: a snapshot of another record, or one whose
//! bytes were changed, is passed over. It is never needed: without it the start takes longer.

use crate::{Break, Store, StoreError, record};
use rusqlite::{Connection, OptionalExtension, params};

/// How many are kept: the last, and the one before in case that the last is damaged.
const KEPT: u32 = 2;

impl Store {
    /// Keeps the state that the records up to `seq` add up to, in a form that its own `version` names.
    ///
    /// # Errors
    /// [`StoreError::Full`], or [`StoreError::Broken`] when there is no such record.
    pub fn snapshot(&mut self, seq: u64, version: u32, state: &[u8]) -> Result<(), StoreError> {
        let hash = hash(record::hash_at(&self.record, seq)?, version, state);
        let transaction = self.cache.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO snapshot (seq, version, state, hash) VALUES (?1, ?2, ?3, ?4)",
            params![seq, version, state, hash],
        )?;
        transaction.execute(
            "DELETE FROM snapshot WHERE (version, seq) NOT IN (SELECT version, seq FROM snapshot ORDER BY seq DESC LIMIT ?1)",
            [KEPT],
        )?;
        Ok(transaction.commit()?)
    }

    /// The latest state in the form of `version` that belongs to this record, and the last record in it.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when a snapshot was taken of records that are no longer there.
    pub fn latest_snapshot(&self, version: u32) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        if latest_seq(&self.cache)? > self.head() {
            return Err(StoreError::Broken { seq: self.head() + 1, how: Break::Missing });
        }
        let mut statement = self
            .cache
            .prepare_cached("SELECT seq, state, hash FROM snapshot WHERE version = ?1 ORDER BY seq DESC")?;
        let mut rows = statement.query([version])?;
        while let Some(row) = rows.next()? {
            let (seq, state): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if row.get::<_, [u8; 32]>(2)? == hash(record::hash_at(&self.record, seq)?, version, &state) {
                return Ok(Some((seq, state)));
            }
        }
        Ok(None)
    }
}

/// The last record that is in any snapshot; nought when there is none.
pub(crate) fn latest_seq(connection: &Connection) -> Result<u64, StoreError> {
    let latest =
        connection.query_row("SELECT max(seq) FROM snapshot", [], |row| row.get::<_, Option<u64>>(0));
    Ok(latest.optional()?.flatten().unwrap_or(0))
}

fn hash(record: [u8; 32], version: u32, state: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("Sublet state snapshot, version 1");
    hasher.update(&record).update(&version.to_le_bytes()).update(state);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use crate::{Break, Store, StoreError, examples};
    use rusqlite::Connection;

    #[test]
    fn the_last_two_are_kept_and_a_damaged_one_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(examples::NOW, &examples::life()).unwrap();
        for seq in [1, 2, 3] {
            store.snapshot(seq, 1, &[seq as u8; 9]).unwrap();
        }
        assert_eq!(store.latest_snapshot(1).unwrap(), Some((3, vec![3; 9])));
        assert_eq!(store.latest_snapshot(2).unwrap(), None, "another form");
        drop(store);

        let other = Connection::open(dir.path().join("sublet.db")).unwrap();
        other.execute("UPDATE snapshot SET state = x'00' WHERE seq = 3", []).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.latest_snapshot(1).unwrap(), Some((2, vec![2; 9])));
        drop(store);

        other.execute("UPDATE snapshot SET state = x'00' WHERE seq = 2", []).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().latest_snapshot(1).unwrap(), None);
    }

    #[test]
    fn a_record_that_ends_before_its_snapshot_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let last = store.append(examples::NOW, &examples::life()).unwrap().len() as u64;
        store.snapshot(last, 1, b"state").unwrap();
        drop(store);
        let other = Connection::open(dir.path().join("sublet.db")).unwrap();
        other.execute_batch("DROP TRIGGER record_is_never_shortened").unwrap();
        other.pragma_update(None, "foreign_keys", false).unwrap();
        other.execute("DELETE FROM record WHERE seq = ?1", [last]).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cut_off = |error| matches!(error, StoreError::Broken { seq, how: Break::Missing } if seq == last);
        assert!(cut_off(store.latest_snapshot(1).unwrap_err()));
        assert!(cut_off(store.verify().unwrap_err()));
    }

    #[test]
    fn a_state_of_records_that_are_not_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert!(matches!(
            store.snapshot(1, 1, b"state"),
            Err(StoreError::Broken { seq: 1, how: Break::Missing })
        ));
        store.snapshot(0, 1, b"nothing yet").unwrap();
        assert_eq!(store.latest_snapshot(1).unwrap(), Some((0, b"nothing yet".to_vec())));
    }
}
