//! Which records speak of an object: how the whole story of one lease is found again.

use crate::{Store, StoreError, bound, record};
use model::envelope::Claim;
use model::record::{Entry, Record};
use model::{ObjectId, Timestamp};
use rusqlite::{Connection, params};

impl Store {
    /// At most `limit` records after `after_seq` that speak of `object`, or of what is spoken of along with it.
    ///
    /// Of a lease these are its ask, quote, phases, ticks, receipts, renewals, ends, ratings and postings: all but
    /// the offer, which many leases share, and which is found by its own id.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when one of them cannot be read.
    pub fn about(&self, object: ObjectId, after_seq: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut statement = self.record.prepare_cached(
            "SELECT seq, at, body FROM record WHERE seq > ?2 AND seq IN (
                 SELECT seq FROM mention WHERE object IN (
                     SELECT object FROM mention WHERE seq IN (SELECT seq FROM mention WHERE object = ?1)))
             ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = statement.query(params![object.0, bound(after_seq), bound(limit)])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let (seq, at) = (row.get(0)?, Timestamp(row.get(1)?));
            let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            entries.push(Entry { seq, at, record: record::read(seq, body)? });
        }
        Ok(entries)
    }
}

pub(crate) fn apply(connection: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO mention (object, seq) VALUES (?1, ?2)")?;
    for object in objects(&entry.record) {
        statement.execute(params![object.0, entry.seq])?;
    }
    Ok(())
}

/// What a record speaks of. Not the offer where there is an ask: it would join the stories of all its leases.
fn objects(record: &Record) -> Vec<ObjectId> {
    match record {
        Record::Measured { .. }
        | Record::Shared { .. }
        | Record::Ruled { .. }
        | Record::Powered { .. }
        | Record::Claimed { .. }
        | Record::Regarded { .. } => vec![],
        Record::Offered { offer } => vec![offer.id().object()],
        Record::Profiled { profile } => vec![profile.id().object()],
        Record::Asked { ask, offer: _, among: _ } => vec![ask.id().object()],
        Record::Refused { ask, .. } => vec![ask.object()],
        Record::Quoted { ask, quote, .. } => vec![ask.id().object(), quote.id().object()],
        Record::Lapsed { quote } => vec![quote.object()],
        Record::Heard { quote } => vec![quote.ask.object(), quote.id().object()],
        Record::Accepted { quote, lease, .. } => {
            vec![lease.ask.object(), quote.id().object(), lease.id().object()]
        }
        Record::Agreed { lease, .. } => vec![lease.ask.object(), lease.quote.object(), lease.id().object()],
        Record::Moved { lease, .. } => vec![lease.object()],
        Record::Ticked { tick } => vec![tick.lease.object(), tick.id().object()],
        Record::Receipted { receipt } => vec![receipt.lease.object(), receipt.id().object()],
        Record::RenewalAsked { renewal } => vec![renewal.lease.object(), renewal.id().object()],
        Record::RenewalRefused { lease, renewal, .. } => vec![lease.object(), renewal.object()],
        Record::Renewed { renewal } => vec![renewal.lease.object(), renewal.id().object()],
        Record::Warned { lease, .. } => vec![lease.object()],
        Record::Ended { end } => vec![end.lease.object(), end.id().object()],
        Record::Rated { rating, .. } => vec![rating.receipt.lease.object(), rating.id().object()],
        Record::Posted { posting } => vec![posting.cites()],
        Record::Invited { invite, .. } => vec![invite.id().object()],
        Record::Withdrawn { invite } | Record::Greeted { invite, .. } | Record::Answered { invite, .. } => {
            vec![invite.object()]
        }
        Record::Accepting { invite, greeting } => vec![invite.id().object(), greeting.id().object()],
        Record::Paid { settlement, .. } => vec![settlement.id().object()],
        Record::Settled { settlement } => vec![settlement.id().object()],
        Record::Unsettled { settlement, .. } | Record::SettlementTold { settlement } => {
            vec![settlement.object()]
        }
        Record::Equivocated { one, other, .. } => {
            [one, other].iter().filter_map(|bytes| Claim::of(bytes).ok()).map(|claim| claim.id).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{self, NOW};

    #[test]
    fn the_story_of_a_lease_begins_with_its_ask_and_leaves_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let life = examples::life();
        store.append(NOW, &life).unwrap();
        // Another lease from the same offer.
        let lease = examples::lease_for(model::Span::minutes(3));
        store
            .append(
                NOW,
                &[Record::Moved { lease: lease.id(), phase: model::Phase::Starting, detail: String::new() }],
            )
            .unwrap();

        let told = store.about(examples::lease().id().object(), 0, 100).unwrap();
        let elsewhere = |record: &Record| {
            let of_its_own =
                matches!(record, Record::Measured { .. } | Record::Shared { .. } | Record::Profiled { .. });
            let of_people_or_payments = matches!(
                record,
                Record::Regarded { .. }
                    | Record::Invited { .. }
                    | Record::Withdrawn { .. }
                    | Record::Greeted { .. }
                    | Record::Accepting { .. }
                    | Record::Answered { .. }
                    | Record::Ruled { .. }
                    | Record::Powered { .. }
                    | Record::Claimed { .. }
                    | Record::Paid { .. }
                    | Record::Settled { .. }
                    | Record::Unsettled { .. }
                    | Record::SettlementTold { .. }
            );
            of_people_or_payments
                || of_its_own
                || matches!(record, Record::Offered { .. } | Record::Equivocated { .. })
        };
        let expected: Vec<_> = life.into_iter().filter(|record| !elsewhere(record)).collect();
        assert_eq!(told.iter().map(|entry| entry.record.clone()).collect::<Vec<_>>(), expected);

        let rest = store.about(examples::lease().id().object(), told[2].seq, 2).unwrap();
        assert_eq!(rest, told[3..5]);
        let offer = store.about(examples::offer(7).id().object(), 0, 100).unwrap();
        assert!(matches!(&offer[0].record, Record::Offered { offer } if offer.seq == 7));
    }
}
