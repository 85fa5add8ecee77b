//! What others and we have signed for everyone, as it travels: profiles, offers, ratings.
//!
//! In one place (signer, kind, slot) the higher number wins. Two different objects of one number prove that their
//! signer says two different things: both are kept and passed on, so that everyone sees it.

use crate::{Store, StoreError};
use model::{DeviceId, ObjectId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Objects of one kind that are kept of one signer. More is somebody who fills the market.
pub const MAX_OF_ONE: usize = 20;

/// Objects that are kept in all: 20 000 offers and as many profiles, at about 2 KiB each.
pub const MAX_IN_ALL: usize = 40_000;

/// A signed object with what the store sorts it by. Whoever puts it has verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The hash of what was signed.
    pub id: ObjectId,
    /// Its kind and major version.
    pub domain: String,
    /// Who signed it.
    pub signer: DeviceId,
    /// Which of the signer's places it takes.
    pub slot: u16,
    /// The higher number in a place wins.
    pub seq: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// The envelope as it came.
    pub bytes: Vec<u8>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was new, and took the place of what was there.
    New,
    /// It is there already.
    Known,
    /// A later one is there: it was not kept.
    Superseded,
    /// A different one with the same number is there: a proof that its signer cheats.
    Equivocation {
        /// That one's envelope.
        other: Vec<u8>,
    },
    /// Its signer, or everyone together, has too many: it was not kept.
    NoRoom,
}

impl Store {
    /// Keeps a verified object, if it is better than what is there.
    ///
    /// # Errors
    /// [`StoreError::Full`], or whatever SQLite has against it.
    pub fn put(&mut self, object: &Object) -> Result<Put, StoreError> {
        let transaction = self.cache.transaction()?;
        let there = in_place(&transaction, object)?;
        if there.iter().any(|known| known.id == object.id) {
            return Ok(Put::Known);
        }
        match there.iter().max_by_key(|known| known.seq) {
            Some(latest) if latest.seq > object.seq => return Ok(Put::Superseded),
            Some(latest) if latest.seq == object.seq => {
                // Two are proof enough: a third would only take room.
                if there.len() == 1 {
                    insert(&transaction, object)?;
                    transaction.commit()?;
                    self.objects += 1;
                }
                return Ok(Put::Equivocation { other: latest.bytes.clone() });
            }
            Some(_) => {}
            None if self.objects >= MAX_IN_ALL || of_signer(&transaction, object)? >= MAX_OF_ONE => {
                return Ok(Put::NoRoom);
            }
            None => {}
        }
        for old in &there {
            transaction.prepare_cached("DELETE FROM object WHERE id = ?1")?.execute([old.id.0])?;
        }
        insert(&transaction, object)?;
        transaction.commit()?;
        self.objects = self.objects + 1 - there.len();
        Ok(Put::New)
    }

    /// An object by its id.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn object(&self, id: ObjectId) -> Result<Option<Object>, StoreError> {
        let mut statement = self.cache.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
        Ok(statement.query_row([id.0], read).optional()?)
    }

    /// Hands each object that has not ended at `now` to `each`, one at a time: together they may be many.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn live(&self, now: Timestamp, mut each: impl FnMut(Object)) -> Result<(), StoreError> {
        let mut statement = self.cache.prepare_cached(&format!("{SELECT} WHERE expires > ?1 ORDER BY id"))?;
        statement.query_map([now.0], read)?.try_for_each(|object| object.map(&mut each))?;
        Ok(())
    }

    /// Forgets the objects that have ended at `now`, and says which.
    ///
    /// # Errors
    /// Whatever SQLite has against it.
    pub fn expire(&mut self, now: Timestamp) -> Result<Vec<ObjectId>, StoreError> {
        let mut statement =
            self.cache.prepare_cached("DELETE FROM object WHERE expires <= ?1 RETURNING id")?;
        let ended: Vec<_> =
            statement.query_map([now.0], |row| row.get(0).map(ObjectId))?.collect::<Result<_, _>>()?;
        self.objects -= ended.len();
        Ok(ended)
    }
}

pub(crate) fn count(connection: &Connection) -> Result<usize, StoreError> {
    Ok(connection.query_row("SELECT count(*) FROM object", [], |row| row.get(0))?)
}

fn in_place(connection: &Connection, object: &Object) -> Result<Vec<Object>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT} WHERE signer = ?1 AND domain = ?2 AND slot = ?3"))?;
    let there = statement.query_map(params![object.signer.0, object.domain, object.slot], read)?;
    Ok(there.collect::<Result<_, _>>()?)
}

fn of_signer(connection: &Connection, object: &Object) -> Result<usize, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM object WHERE signer = ?1 AND domain = ?2")?;
    Ok(statement.query_row(params![object.signer.0, object.domain], |row| row.get(0))?)
}

fn insert(connection: &Connection, object: &Object) -> Result<(), StoreError> {
    let Object { id, domain, signer, slot, seq, issued, expires, bytes } = object;
    connection
        .prepare_cached(
            "INSERT INTO object (id, domain, signer, slot, seq, issued, expires, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![id.0, domain, signer.0, slot, seq.cast_signed(), issued.0, expires.0, bytes])?;
    Ok(())
}

const SELECT: &str = "SELECT id, domain, signer, slot, seq, issued, expires, bytes FROM object";

fn read(row: &Row) -> rusqlite::Result<Object> {
    Ok(Object {
        id: ObjectId(row.get(0)?),
        domain: row.get(1)?,
        signer: DeviceId(row.get(2)?),
        slot: row.get(3)?,
        seq: row.get::<_, i64>(4)?.cast_unsigned(),
        issued: Timestamp(row.get(5)?),
        expires: Timestamp(row.get(6)?),
        bytes: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    /// An offer of device `signer`; `words` tells two of one number apart.
    fn object(signer: u8, slot: u16, seq: u64, words: u8) -> Object {
        let bytes = vec![signer, slot as u8, seq as u8, words];
        Object {
            id: ObjectId(blake3::hash(&bytes).into()),
            domain: "sublet/offer/1".into(),
            signer: DeviceId([signer; 32]),
            slot,
            seq,
            issued: NOW,
            expires: Timestamp(NOW.0 + i64::from(signer)),
            bytes,
        }
    }

    fn live(store: &Store, now: Timestamp) -> Vec<Object> {
        let mut objects = Vec::new();
        store.live(now, |object| objects.push(object)).unwrap();
        objects
    }

    #[test]
    fn the_higher_number_in_a_place_wins() {
        let (_dir, mut store) = store();
        let (first, second) = (object(1, 0, 1, 0), object(1, 0, 2, 0));
        assert_eq!(store.put(&first).unwrap(), Put::New);
        assert_eq!(store.put(&first).unwrap(), Put::Known);
        assert_eq!(store.put(&second).unwrap(), Put::New);
        assert_eq!(store.put(&first).unwrap(), Put::Superseded);
        assert_eq!(live(&store, NOW), [second]);
        assert_eq!(store.object(first.id).unwrap(), None);
    }

    #[test]
    fn a_number_beyond_what_sqlite_counts_is_still_the_higher() {
        let (_dir, mut store) = store();
        store.put(&object(1, 0, 5, 0)).unwrap();
        let last = object(1, 0, u64::MAX, 0);
        assert_eq!(store.put(&last).unwrap(), Put::New);
        assert_eq!(store.put(&object(1, 0, 6, 0)).unwrap(), Put::Superseded);
        assert_eq!(store.object(last.id).unwrap(), Some(last));
    }

    #[test]
    fn two_statements_under_one_number_are_both_kept_until_a_later_one() {
        let (_dir, mut store) = store();
        let (one, other) = (object(1, 0, 1, 1), object(1, 0, 1, 2));
        store.put(&one).unwrap();
        assert_eq!(store.put(&other).unwrap(), Put::Equivocation { other: one.bytes.clone() });
        assert_eq!(store.put(&other).unwrap(), Put::Known);
        assert!(matches!(store.put(&object(1, 0, 1, 3)).unwrap(), Put::Equivocation { .. }));
        assert_eq!(live(&store, NOW).len(), 2, "two are proof enough");
        assert_eq!(store.put(&object(1, 0, 2, 0)).unwrap(), Put::New);
        assert_eq!((live(&store, NOW).len(), store.objects), (1, 1));
    }

    #[test]
    fn one_signer_cannot_fill_the_market() {
        let (_dir, mut store) = store();
        for slot in 0..MAX_OF_ONE as u16 {
            assert_eq!(store.put(&object(1, slot, 1, 0)).unwrap(), Put::New);
        }
        assert_eq!(store.put(&object(1, 99, 1, 0)).unwrap(), Put::NoRoom);
        assert_eq!(store.put(&object(1, 3, 2, 0)).unwrap(), Put::New, "a place that is held can be renewed");
        assert_eq!(store.put(&object(2, 0, 1, 0)).unwrap(), Put::New);
    }

    #[test]
    fn all_together_cannot_fill_the_disk() {
        let (_dir, mut store) = store();
        store.put(&object(1, 0, 1, 0)).unwrap();
        store.objects = MAX_IN_ALL;
        assert_eq!(store.put(&object(2, 0, 1, 0)).unwrap(), Put::NoRoom);
        assert_eq!(store.put(&object(1, 0, 2, 0)).unwrap(), Put::New);
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let (dir, mut store) = store();
        let (early, late) = (object(1, 0, 1, 0), object(9, 0, 1, 0));
        store.put(&early).unwrap();
        store.put(&late).unwrap();
        assert_eq!(live(&store, Timestamp(1_001)), std::slice::from_ref(&late));
        assert_eq!(store.expire(Timestamp(1_001)).unwrap(), [early.id]);
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!((live(&store, NOW), store.objects), (vec![late], 1));
    }
}
