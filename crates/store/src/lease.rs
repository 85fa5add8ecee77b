//! Where each lease stands, and how those that are over ended. Its words stay in the record that agreed it.

use crate::{Break, Store, StoreError, bound, record};
use model::record::{Entry, Record};
use model::{Cosigned, Id, Lease, PeerKey, PersonId, Phase, Receipt, Side, Span, Timestamp};
use rusqlite::{Connection, Row, params};

/// One lease, standing or over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The number of the record that agreed it: the next page of [`Store::leases`] begins before it.
    pub seq: u64,
    /// The words.
    pub contract: Cosigned<Lease>,
    /// Which of the two this node is.
    pub side: Side,
    /// Where the other was when it was agreed.
    pub peer: PeerKey,
    /// Where it stands.
    pub phase: Phase,
    /// What went wrong, in words, where it did.
    pub detail: String,
    /// When it was agreed.
    pub agreed: Timestamp,
    /// When the guest first ran.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Its time with all renewals.
    pub term: Span,
    /// The highest running total that both have signed.
    pub receipt: Option<Receipt>,
}

/// Which leases are wanted; by default all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseFilter {
    /// Only those in which this node is the host, or the tenant.
    pub side: Option<Side>,
    /// Only those that are over, or only those that are not.
    pub ended: Option<bool>,
    /// Only those with this person.
    pub person: Option<PersonId>,
}

impl Store {
    /// At most `limit` leases, the newest first; `before` is the `seq` of the last one of the page before.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when a record that one of them needs cannot be read.
    pub fn leases(
        &self,
        filter: &LeaseFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<LeaseRow>, StoreError> {
        let mut statement = self.record.prepare_cached(&format!(
            "{SELECT} WHERE (?1 IS NULL OR lease.side = ?1) AND (?2 IS NULL OR (lease.ended IS NOT NULL) = ?2)
                AND (?3 IS NULL OR lease.person = ?3) AND (?4 IS NULL OR lease.agreed < ?4)
              ORDER BY lease.agreed DESC LIMIT ?5"
        ))?;
        let (side, person) = (filter.side.map(side_word), filter.person.map(|person| person.0));
        let mut rows =
            statement.query(params![side, filter.ended, person, before.map(bound), bound(limit)])?;
        let mut leases = Vec::new();
        while let Some(row) = rows.next()? {
            leases.push(read(row)?);
        }
        Ok(leases)
    }

    /// One lease.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when a record that it needs cannot be read.
    pub fn lease(&self, id: Id<Lease>) -> Result<Option<LeaseRow>, StoreError> {
        let mut statement = self.record.prepare_cached(&format!("{SELECT} WHERE lease.id = ?1"))?;
        let mut rows = statement.query([id.object().0])?;
        rows.next()?.map(read).transpose()
    }
}

const SELECT: &str = "SELECT lease.agreed, lease.phase, lease.detail, lease.at, lease.started, lease.ended, lease.term,
        agreed.body, lease.receipt, receipt.body
    FROM lease JOIN record agreed ON agreed.seq = lease.agreed LEFT JOIN record receipt ON receipt.seq = lease.receipt";

fn read(row: &Row) -> Result<LeaseRow, StoreError> {
    let seq = row.get(0)?;
    let Record::Agreed { lease: contract, side, peer } = body(row, seq, 7)? else {
        return Err(other_kind(seq));
    };
    let receipt = row.get::<_, Option<u64>>(8)?.map(|seq| receipt(row, seq)).transpose()?;
    let phase: Vec<u8> = row.get(1)?;
    Ok(LeaseRow {
        seq,
        contract,
        side,
        peer,
        phase: model::from_bytes(&phase)
            .map_err(|invalid| StoreError::Broken { seq, how: Break::Body(invalid) })?,
        detail: row.get(2)?,
        agreed: Timestamp(row.get(3)?),
        started: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        ended: row.get::<_, Option<i64>>(5)?.map(Timestamp),
        term: Span(row.get(6)?),
        receipt,
    })
}

fn receipt(row: &Row, seq: u64) -> Result<Receipt, StoreError> {
    let Record::Receipted { receipt } = body(row, seq, 9)? else { return Err(other_kind(seq)) };
    Ok(receipt)
}

fn body(row: &Row, seq: u64, column: usize) -> Result<Record, StoreError> {
    record::read(seq, row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?)
}

/// The table points at a record that does not say what it should.
fn other_kind(seq: u64) -> StoreError {
    StoreError::Broken { seq, how: Break::Kind }
}

pub(crate) fn apply(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "each table reads the few records that concern it")]
    match &entry.record {
        Record::Agreed { lease, side, .. } => agreed(connection, entry, lease, *side),
        Record::Moved { lease, phase, detail } => moved(connection, entry, *lease, *phase, detail),
        Record::Receipted { receipt } => change(
            connection,
            "UPDATE lease SET receipt = ?2 WHERE id = ?1",
            params![receipt.lease.object().0, entry.seq],
        ),
        Record::RenewalRefused { lease, sentence, .. } => change(
            connection,
            "UPDATE lease SET detail = ?2 WHERE id = ?1",
            params![lease.object().0, sentence],
        ),
        Record::Renewed { renewal } => change(
            connection,
            "UPDATE lease SET term = term + ?2 WHERE id = ?1",
            params![renewal.lease.object().0, renewal.more.0],
        ),
        _ => Ok(()),
    }
}

fn agreed(
    connection: &Connection,
    entry: &Entry,
    lease: &Cosigned<Lease>,
    side: Side,
) -> Result<(), StoreError> {
    let other = match side {
        Side::Host => lease.tenant.person,
        Side::Tenant => lease.host.person,
    };
    change(
        connection,
        "INSERT INTO lease (id, agreed, at, side, person, phase, detail, term) VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', ?7)",
        params![
            lease.id().object().0,
            entry.seq,
            entry.at.0,
            side_word(side),
            other.0,
            model::to_bytes(&Phase::Agreed),
            lease.term.0
        ],
    )
}

fn moved(
    connection: &Connection,
    entry: &Entry,
    lease: Id<Lease>,
    phase: Phase,
    detail: &str,
) -> Result<(), StoreError> {
    let started = phase.is_live().then_some(entry.at.0);
    let ended = phase.is_ended().then_some(entry.at.0);
    change(
        connection,
        "UPDATE lease SET phase = ?2, started = coalesce(started, ?3), ended = ?4,
             detail = CASE ?5 WHEN '' THEN detail ELSE ?5 END WHERE id = ?1",
        params![lease.object().0, model::to_bytes(&phase), started, ended, detail],
    )
}

fn change(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
    connection.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

pub(crate) fn side_word(side: Side) -> &'static str {
    match side {
        Side::Host => "host",
        Side::Tenant => "tenant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};
    use model::{EndReason, FreezeReason};

    fn lived(until: usize) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for entry in examples::entries().into_iter().take(until) {
            store.append(entry.at, &[entry.record]).unwrap();
        }
        (dir, store)
    }

    fn at(is: impl Fn(&Record) -> bool) -> Entry {
        examples::entries().into_iter().find(|entry| is(&entry.record)).unwrap()
    }

    #[test]
    fn a_lease_that_is_over_tells_its_whole_story() {
        let (_dir, store) = lived(usize::MAX);
        let row = store.lease(examples::lease().id()).unwrap().unwrap();
        assert_eq!(
            (&row.contract, row.side, row.peer),
            (&examples::lease(), Side::Host, examples::tenant().peer)
        );
        assert_eq!(row.phase, Phase::Ended(EndReason::Exited { code: 0 }));
        assert_eq!(row.detail, "15 min in all are asked for and 12 min granted");
        assert_eq!(row.term, Span::minutes(15));
        assert_eq!(row.receipt, Some(examples::receipt(2)));
        let running = at(|record| matches!(record, Record::Moved { phase: Phase::Running, .. }));
        let ended = at(|record| matches!(record, Record::Moved { phase: Phase::Ended(_), .. }));
        assert_eq!((row.started, row.ended), (Some(running.at), Some(ended.at)));
        assert_eq!(store.leases(&LeaseFilter::default(), None, 10).unwrap(), [row]);
    }

    #[test]
    fn a_lease_that_stands_has_no_end_yet() {
        let frozen = at(|record| matches!(record, Record::Moved { phase: Phase::Frozen(_), .. }));
        let (_dir, store) = lived(frozen.seq as usize);
        let row = store.lease(examples::lease().id()).unwrap().unwrap();
        assert_eq!(row.phase, Phase::Frozen(FreezeReason::Owner(model::OwnerReason::InUse)));
        assert_eq!((row.ended, row.receipt, row.term), (None, None, Span::minutes(10)));
    }

    #[test]
    fn only_what_is_asked_for_is_listed() {
        let (_dir, store) = lived(usize::MAX);
        let found = |filter: LeaseFilter| store.leases(&filter, None, 10).unwrap().len();
        let all = LeaseFilter::default();
        assert_eq!(found(LeaseFilter { side: Some(Side::Host), ..all }), 1);
        assert_eq!(found(LeaseFilter { side: Some(Side::Tenant), ..all }), 0);
        assert_eq!(found(LeaseFilter { ended: Some(true), ..all }), 1);
        assert_eq!(found(LeaseFilter { ended: Some(false), ..all }), 0);
        assert_eq!(found(LeaseFilter { person: Some(examples::tenant().party().person), ..all }), 1);
        assert_eq!(found(LeaseFilter { person: Some(examples::host().party().person), ..all }), 0);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let (_dir, mut store) = lived(0);
        for minutes in 1..=5 {
            let lease = examples::lease_for(Span::minutes(minutes));
            store
                .append(NOW, &[Record::Agreed { lease, side: Side::Host, peer: examples::tenant().peer }])
                .unwrap();
        }
        let (mut before, mut terms) = (None, Vec::new());
        loop {
            let page = store.leases(&LeaseFilter::default(), before, 2).unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            terms.extend(page.iter().map(|row| row.term));
        }
        assert_eq!(terms, [5, 4, 3, 2, 1].map(Span::minutes));
    }
}
