//! Who was judged, by whom. The words stay in the record.

use crate::{Break, Store, StoreError, bound, record};
use model::record::{Entry, Record};
use model::{PersonId, Rating, Signed, Timestamp};
use rusqlite::{Connection, Row, params};

/// A rating with its place and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The number of its record: the next page of [`Store::ratings`] begins before it.
    pub seq: u64,
    /// When it was written down here.
    pub at: Timestamp,
    /// The words.
    pub rating: Signed<Rating>,
    /// Who is judged.
    pub of: PersonId,
    /// By whom.
    pub by: PersonId,
}

impl Store {
    /// At most `limit` ratings of a person, the newest first; `before` is the `seq` of the last one of the page before.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when the record of one of them cannot be read.
    pub fn ratings(&self, of: PersonId, before: Option<u64>, limit: usize) -> Result<Vec<Rated>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT record.seq, record.at, record.body FROM rating JOIN record ON record.seq = rating.seq
             WHERE rating.person = ?1 AND (?2 IS NULL OR rating.seq < ?2) ORDER BY rating.seq DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![of.0, before.map(bound), bound(limit)])?;
        let mut ratings = Vec::new();
        while let Some(row) = rows.next()? {
            ratings.push(read(row)?);
        }
        Ok(ratings)
    }
}

fn read(row: &Row) -> Result<Rated, StoreError> {
    let seq = row.get(0)?;
    let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    let Record::Rated { rating, of, by } = record::read(seq, body)? else {
        return Err(StoreError::Broken { seq, how: Break::Kind });
    };
    Ok(Rated { seq, at: Timestamp(row.get(1)?), rating, of, by })
}

pub(crate) fn apply(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let Record::Rated { of, by, .. } = &entry.record else { return Ok(()) };
    connection
        .prepare_cached("INSERT INTO rating (seq, person, judge) VALUES (?1, ?2, ?3)")?
        .execute(params![entry.seq, of.0, by.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};

    #[test]
    fn a_person_is_shown_what_was_said_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(NOW, &examples::life()).unwrap();
        let (host, tenant) = (examples::host().party().person, examples::tenant().party().person);
        let of_host = store.ratings(host, None, 10).unwrap();
        assert_eq!((&of_host[0].rating, of_host[0].of, of_host[0].by), (&examples::rating(), host, tenant));
        assert_eq!(store.ratings(host, Some(of_host[0].seq), usize::MAX).unwrap(), []);
        assert_eq!(store.ratings(tenant, Some(u64::MAX), 10).unwrap(), []);
    }
}
