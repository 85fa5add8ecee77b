//! The dispute pack: everything signed that belongs to a lease, in one file, and what anybody can find in it.
//!
//! [`check`] believes nothing in the file but its signatures. It needs no node, no network and no clock.

use crate::problem::Problem;
use crate::shapes::{Moment, Money, Party, Seconds};
use axum::http::StatusCode;
use node::NodeHandle;
use node::engine::market::{keeping, rate};
use node::model::record::{Entry, Record};
use node::model::{
    self, Ask, Cosigned, Document, End, Id, Lease, Offer, PersonId, Quote, Rating, Renewal, Signed, Span,
    Tick, Unverified,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The version of the file.
pub const VERSION: u32 = 1;

/// The largest file that is read, in bytes: a year of ticks a minute apart.
pub const LARGEST: u64 = 1 << 30;

/// Records that are looked at in one go.
const AT_ONCE: usize = 200;

/// Everything signed that belongs to a lease. Envelopes are hexadecimal, in the bytes in which they travelled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pack {
    /// The version of this file.
    pub version: u32,
    /// The lease's id, hexadecimal.
    #[schema(value_type = String)]
    pub lease: Id<Lease>,
    /// The host's offer.
    #[schema(value_type = Option<String>)]
    pub offer: Option<Unverified<Offer>>,
    /// The tenant's ask.
    #[schema(value_type = Option<String>)]
    pub ask: Option<Unverified<Ask>>,
    /// The host's quote.
    #[schema(value_type = Option<String>)]
    pub quote: Option<Unverified<Quote>>,
    /// The lease: the tenant's signature, then the host's.
    #[schema(value_type = Vec<String>)]
    pub contract: [Unverified<Lease>; 2],
    /// The host's running totals.
    #[schema(value_type = Vec<String>)]
    pub ticks: Vec<Unverified<Tick>>,
    /// Running totals that both have signed: the host's signature, then the tenant's.
    #[schema(value_type = Vec<Vec<String>>)]
    pub receipts: Vec<[Unverified<Tick>; 2]>,
    /// More time: the tenant's signature, then the host's.
    #[schema(value_type = Vec<Vec<String>>)]
    pub renewals: Vec<[Unverified<Renewal>; 2]>,
    /// Each party's word that it is over.
    #[schema(value_type = Vec<String>)]
    pub ends: Vec<Unverified<End>>,
    /// Each party's judgement of the other.
    #[schema(value_type = Vec<String>)]
    pub ratings: Vec<Unverified<Rating>>,
}

/// Collects the pack of a lease from the record.
///
/// # Errors
/// When there is no such lease, or the record cannot be read.
pub async fn gather(node: &NodeHandle, id: Id<Lease>) -> Result<Pack, Problem> {
    let mut papers = Papers::default();
    papers.read_all(node, id.object()).await?;
    let Some(contract) = papers.contract else {
        return Err(node::Error::UnknownLease(id.to_string()).into());
    };
    if papers.offer.is_none() {
        // A host keeps its offers by themselves: many leases share one.
        let mut own = Papers::default();
        own.read_all(node, contract.offer.object()).await?;
        papers.offer = own.offer;
    }
    Ok(Pack {
        version: VERSION,
        lease: id,
        offer: papers.offer.map(|offer| offer.unverified()),
        ask: papers.ask.map(|ask| ask.unverified()),
        quote: papers.quote.map(|quote| quote.unverified()),
        contract: both(&contract),
        ticks: papers.ticks.iter().map(Signed::unverified).collect(),
        receipts: papers.receipts.iter().map(both).collect(),
        renewals: papers.renewals.iter().map(both).collect(),
        ends: papers.ends.iter().map(Signed::unverified).collect(),
        ratings: papers.ratings.iter().map(Signed::unverified).collect(),
    })
}

fn both<T: Document>(cosigned: &Cosigned<T>) -> [Unverified<T>; 2] {
    [cosigned.first_signed().unverified(), cosigned.second_signed().unverified()]
}

/// What the record holds of a lease.
#[derive(Default)]
struct Papers {
    offer: Option<Signed<Offer>>,
    ask: Option<Signed<Ask>>,
    quote: Option<Signed<Quote>>,
    contract: Option<Cosigned<Lease>>,
    ticks: Vec<Signed<Tick>>,
    receipts: Vec<Cosigned<Tick>>,
    renewals: Vec<Cosigned<Renewal>>,
    ends: Vec<Signed<End>>,
    ratings: Vec<Signed<Rating>>,
}

impl Papers {
    /// Reads in parts, so that the node has other things to do in between.
    async fn read_all(&mut self, node: &NodeHandle, object: model::ObjectId) -> Result<(), Problem> {
        let mut after = 0;
        loop {
            let part = node
                .look(move |core| tokio::task::block_in_place(|| core.store().about(object, after, AT_ONCE)))
                .await??;
            let Some(last) = part.last() else { return Ok(()) };
            after = last.seq;
            part.into_iter().for_each(|entry| self.take(entry));
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry.record {
            Record::Offered { offer } => self.offer = Some(offer),
            Record::Asked { ask, offer, .. } => (self.ask, self.offer) = (Some(ask), Some(offer)),
            Record::Quoted { ask, quote, .. } => (self.ask, self.quote) = (Some(ask), Some(quote)),
            Record::Accepted { quote, .. } => self.quote = Some(quote),
            Record::Agreed { lease, .. } => self.contract = Some(lease),
            Record::Ticked { tick } => self.ticks.push(tick),
            Record::Receipted { receipt } => self.receipts.push(receipt),
            Record::Renewed { renewal } => self.renewals.push(renewal),
            Record::Ended { end } => self.ends.push(end),
            Record::Rated { rating, .. } => self.ratings.push(rating),
            Record::Measured { .. }
            | Record::Shared { .. }
            | Record::Ruled { .. }
            | Record::Powered { .. }
            | Record::Claimed { .. }
            | Record::Profiled { .. }
            | Record::Lapsed { .. }
            | Record::Heard { .. }
            | Record::Warned { .. }
            | Record::Refused { .. }
            | Record::Moved { .. }
            | Record::RenewalAsked { .. }
            | Record::RenewalRefused { .. }
            | Record::Posted { .. }
            | Record::Regarded { .. }
            | Record::Invited { .. }
            | Record::Withdrawn { .. }
            | Record::Greeted { .. }
            | Record::Accepting { .. }
            | Record::Answered { .. }
            | Record::Paid { .. }
            | Record::Settled { .. }
            | Record::Unsettled { .. }
            | Record::SettlementTold { .. }
            | Record::Equivocated { .. } => {}
        }
    }
}

/// What a pack proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Whether all that is in the file holds together.
    pub holds: bool,
    /// What was checked, in the order of the deal.
    pub checks: Vec<Check>,
    /// What both parties have signed, as far as it holds.
    pub facts: Facts,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What should be true.
    pub what: String,
    /// Why it is not; none when it is.
    pub wrong: Option<String>,
}

/// What both parties have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Facts {
    /// The lease's id, hexadecimal.
    pub lease: String,
    /// Who lent.
    pub host: Party,
    /// Who used.
    pub tenant: Party,
    /// When the tenant signed.
    pub agreed: Moment,
    /// What an hour costs.
    pub hourly: Money,
    /// How long it was to run, with all renewals.
    pub term: Seconds,
    /// What is owed, as both have signed last; none when they signed nothing.
    pub owed: Option<Money>,
    /// For this time.
    pub billed: Option<Seconds>,
    /// How many running totals both have signed.
    pub receipts: usize,
}

/// Checks a pack.
///
/// # Errors
/// When it is no pack, or its lease proves nothing: then nothing else in it can.
pub fn check(bytes: &[u8]) -> Result<Verdict, Problem> {
    let no_pack = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_pack", detail);
    let pack: Pack = serde_json::from_slice(bytes)
        .map_err(|error| no_pack(format!("this is no dispute pack: {error}")))?;
    if pack.version != VERSION {
        return Err(no_pack(format!(
            "the pack has version {}, and this program knows version {VERSION}",
            pack.version
        )));
    }
    let contract = join(&pack.contract).map_err(|why| no_pack(format!("the lease proves nothing: {why}")))?;
    let mut court = Court { contract, checks: Vec::new() };
    court.hear("the lease is the one that the file names", |lease| {
        require(lease.id() == pack.lease, "it is another one")
    });
    court.hear_deal(&pack);
    let receipts = court.hear_totals(&pack);
    let more = court.hear_renewals(&pack);
    court.hear_words(&pack);
    let facts = court.facts(receipts.last(), receipts.len(), more);
    Ok(Verdict { holds: court.checks.iter().all(|check| check.wrong.is_none()), checks: court.checks, facts })
}

/// The lease, and what was found true or wrong.
struct Court {
    contract: Cosigned<Lease>,
    checks: Vec<Check>,
}

impl Court {
    fn hear<T>(
        &mut self,
        what: &str,
        check: impl FnOnce(&Cosigned<Lease>) -> Result<T, String>,
    ) -> Option<T> {
        let found = check(&self.contract);
        let (found, wrong) = found.map_or_else(|wrong| (None, Some(wrong)), |found| (Some(found), None));
        self.checks.push(Check { what: what.to_owned(), wrong });
        found
    }

    /// Offer, ask, quote and lease cite each other, and the price follows from them.
    fn hear_deal(&mut self, pack: &Pack) {
        let offer = self.hear("the host made the offer", |lease| {
            let offer = verified(pack.offer.as_ref())?;
            require(
                offer.id() == lease.offer && offer.signer() == lease.host.device,
                "the lease cites another offer",
            )?;
            person_is(&offer.certificate, lease.host.person)?;
            Ok(offer)
        });
        let ask = self.hear("the tenant asked for it", |lease| {
            let ask = verified(pack.ask.as_ref())?;
            require(
                ask.id() == lease.ask && ask.signer() == lease.tenant.device,
                "the lease cites another ask",
            )?;
            require(
                ask.offer == lease.offer && ask.host == lease.host.device,
                "it was asked of another offer",
            )?;
            require(
                ask.terms.resources == lease.resources && ask.terms.term == lease.term,
                "something else was asked for",
            )?;
            require(ask.terms.workload == lease.workload, "another workload was asked for")?;
            person_is(&ask.certificate, lease.tenant.person)?;
            Ok(ask)
        });
        self.hear("the host quoted the price and the rules of the lease", |lease| {
            let quote = verified(pack.quote.as_ref())?;
            require(
                quote.id() == lease.quote && quote.signer() == lease.host.device,
                "the lease cites another quote",
            )?;
            require(quote.ask == lease.ask, "it answers another ask")?;
            require(
                quote.rate == lease.rate
                    && quote.keeping == lease.keeping
                    && quote.terms == lease.rules
                    && quote.mode == lease.mode,
                "other terms were quoted",
            )
        });
        let (Some(offer), Some(ask)) = (offer, ask) else { return };
        self.hear("the price follows from the offer", |lease| {
            let due = rate(&offer.share.prices, &ask.terms.resources, &offer.speed)
                .map_err(|error| error.to_string())?;
            let keeping =
                keeping(&offer.share.prices, &lease.workload.volumes).map_err(|error| error.to_string())?;
            require(keeping == lease.keeping, "keeping volumes costs something else by the offer")?;
            require(
                due == lease.rate,
                format!("by the offer an hour costs {due}, by the lease {}", lease.rate),
            )
        });
        self.hear("the price keeps to what the tenant would pay", |lease| {
            let above = lease.rate.hourly.micros != 0
                && lease.rate.hourly.exceeds(ask.terms.cap.hourly).map_err(|error| error.to_string())?;
            require(!above, format!("at most {} was to be paid", ask.terms.cap))
        });
    }

    /// Running totals: each follows from time and price, none goes back, no number has two.
    fn hear_totals(&mut self, pack: &Pack) -> Vec<Cosigned<Tick>> {
        let ticks = self.hear("the host signed each running total", |lease| {
            let ticks = pack
                .ticks
                .iter()
                .map(Unverified::verify_past)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|why| why.to_string())?;
            ticks.iter().try_for_each(|tick| {
                require(
                    tick.signer() == lease.host.device,
                    format!("total {} is not signed by the host", tick.number),
                )?;
                belongs(lease, tick)
            })?;
            Ok(ticks)
        });
        let receipts = self.hear("both signed each receipt", |lease| {
            let receipts = pack.receipts.iter().map(join).collect::<Result<Vec<_>, _>>()?;
            receipts.iter().try_for_each(|receipt| belongs(lease, receipt))?;
            Ok(receipts)
        });
        let (ticks, mut receipts) = (ticks.unwrap_or_default(), receipts.unwrap_or_default());
        receipts.sort_by_key(|receipt| receipt.number);
        self.hear("no number was given to two different totals", |_| {
            let mut seen = BTreeMap::new();
            let shown = ticks
                .iter()
                .map(|tick| (tick.number, tick.id()))
                .chain(receipts.iter().map(|receipt| (receipt.number, receipt.id())));
            for (number, id) in shown {
                let first = *seen.entry(number).or_insert(id);
                require(
                    first == id,
                    format!("the host signed two totals with number {number}: this file proves it"),
                )?;
            }
            Ok(())
        });
        self.hear("what is owed follows from time and price", |lease| {
            receipts.iter().try_for_each(|receipt| {
                let due = lease.rate.over(receipt.usage.billed()).map_err(|error| error.to_string())?;
                // The last total may have the price of keeping volumes in it.
                let kept = lease.keeping.filter(|_| receipt.last).map(|keeping| due.plus(keeping));
                require(
                    due == receipt.amount || kept.is_some_and(|kept| kept == Ok(receipt.amount)),
                    format!(
                        "receipt {} says {}, and time times price is {due}",
                        receipt.number, receipt.amount
                    ),
                )
            })
        });
        self.hear("totals only grow", |_| {
            receipts.windows(2).try_for_each(|pair| match pair {
                [one, next] => require(
                    one.amount.micros <= next.amount.micros,
                    format!("receipt {} is less than the one before", next.number),
                ),
                _ => Ok(()),
            })
        });
        receipts
    }

    /// The time that renewals add.
    fn hear_renewals(&mut self, pack: &Pack) -> Span {
        let more = self.hear("both signed each renewal", |lease| {
            let mut more = Span::ZERO;
            for (renewal, number) in pack.renewals.iter().map(join).zip(1..) {
                let renewal = renewal?;
                require(
                    renewal.lease == lease.id() && renewal.number == number,
                    format!("renewal {number} belongs elsewhere"),
                )?;
                more = more + renewal.more;
            }
            Ok(more)
        });
        more.unwrap_or_default()
    }

    /// What each says of the end, and of the other.
    fn hear_words(&mut self, pack: &Pack) {
        self.hear("only the parties said that it is over", |lease| {
            pack.ends.iter().try_for_each(|end| {
                let end = end.verify_past().map_err(|why| why.to_string())?;
                require(
                    end.lease == lease.id() && end.signer() == device(lease, end.side),
                    "it is of somebody else, or of another lease",
                )
            })
        });
        self.hear("only the parties judged each other", |lease| {
            pack.ratings.iter().try_for_each(|rating| {
                let rating = rating.verify_past().map_err(|why| why.to_string())?;
                let cited =
                    rating.receipt.lease == lease.id() && rating.signer() == device(lease, rating.side);
                require(cited, "it is of somebody else, or of another lease")
            })
        });
    }

    fn facts(&self, last: Option<&Cosigned<Tick>>, receipts: usize, more: Span) -> Facts {
        let lease = &self.contract;
        let party = |party: model::Party| Party {
            person: party.person.to_string(),
            device: party.device.to_string(),
            name: None,
        };
        Facts {
            lease: lease.id().to_string(),
            host: party(lease.host),
            tenant: party(lease.tenant),
            agreed: Moment(lease.issued),
            hourly: lease.rate.hourly.into(),
            term: Seconds(lease.term + more),
            owed: last.map(|receipt| Money::from(receipt.amount)),
            billed: last.map(|receipt| Seconds(receipt.usage.billed())),
            receipts,
        }
    }
}

fn verified<T: Document>(paper: Option<&Unverified<T>>) -> Result<Signed<T>, String> {
    paper.ok_or("it is not in the file")?.verify_past().map_err(|why| why.to_string())
}

fn join<T: Document + model::Parties>(pair: &[Unverified<T>; 2]) -> Result<Cosigned<T>, String> {
    let [first, second] = pair;
    let joined = first.verify_past().and_then(|first| Cosigned::join(first, second.verify_past()?));
    joined.map_err(|why| why.to_string())
}

fn belongs(lease: &Cosigned<Lease>, tick: &Tick) -> Result<(), String> {
    let parties = tick.host == lease.host.device && tick.tenant == lease.tenant.device;
    require(tick.lease == lease.id() && parties, format!("total {} belongs to another lease", tick.number))
}

fn device(lease: &Lease, side: model::Side) -> model::DeviceId {
    match side {
        model::Side::Host => lease.host.device,
        model::Side::Tenant => lease.tenant.device,
    }
}

fn person_is(certificate: &Unverified<model::DeviceCertificate>, person: PersonId) -> Result<(), String> {
    let certificate = certificate.verify_past().map_err(|why| why.to_string())?;
    require(certificate.person == person, "the device is certified by another person")
}

fn require(holds: bool, wrong: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong.into()) }
}

#[cfg(test)]
mod tests;
