//! What lending earns, net of electricity.

use super::machine::blocking;
use crate::door::Door;
use crate::problem::{Body, Params, Problem};
use crate::shapes::{Bucket, BucketLength, Earnings, Electricity, ElectricityWish, Moment, Money, Seconds};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use node::engine::owner::Command;
use node::machine::electricity;
use node::model::{Amount, Power, Span, Timestamp};
use node::store::Earned;
use serde::Deserialize;
use std::path::Path;
use utoipa::IntoParams;

/// Which earnings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `hour`, `day` (when nobody says) or `month`, by the clocks of this machine.
    #[serde(default)]
    #[param(inline)]
    by: BucketLength,
    /// From this moment on; when nobody says, all since the beginning.
    #[param(value_type = Option<String>)]
    from: Option<Moment>,
    /// Before this moment; when nobody says, until now.
    #[param(value_type = Option<String>)]
    until: Option<Moment>,
}

/// What lending has earned, by hour, day or month, gross and net of electricity.
#[utoipa::path(get, path = "/v1/earnings", tag = "ledger", params(Wanted), responses((status = 200, body = Earnings)))]
pub async fn earnings(
    State(door): State<Door>,
    Params(wanted): Params<Wanted>,
) -> Result<Json<Earnings>, Problem> {
    let (earned, power) = door
        .node
        .look(move |core| {
            let from = wanted.from.map_or(Timestamp(0), |from| from.0);
            let until = wanted.until.map_or(core.now() + Span(1), |until| until.0);
            let earned = tokio::task::block_in_place(|| core.store().earned(from, until));
            (earned, core.engine().state().owner.power.clone())
        })
        .await?;
    let earned = earned?;
    let zone = TimeZone::system();
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut totals: Vec<Bucket> = Vec::new();
    for quarter in &earned {
        let (from, until) = stretch(quarter.at, wanted.by, &zone)?;
        add(&mut buckets, from, until, quarter, true)?;
        add(&mut totals, quarter.at, quarter.at + node::store::QUARTER, quarter, false)?;
    }
    Ok(Json(Earnings { buckets, totals, electricity: power.as_ref().map(Electricity::of) }))
}

/// The hour, day or month in which something happened.
fn stretch(at: Timestamp, by: BucketLength, zone: &TimeZone) -> Result<(Timestamp, Timestamp), Problem> {
    let strange =
        |error: jiff::Error| Problem::fault(format!("this machine's calendar cannot be used: {error}"));
    let local: Zoned = jiff::Timestamp::from_millisecond(at.0).map_err(strange)?.to_zoned(zone.clone());
    let midnight = |day: Date| day.to_zoned(zone.clone());
    let (from, until) = match by {
        BucketLength::Hour => {
            let from = local.with().minute(0).second(0).subsec_nanosecond(0).build();
            let until = from.clone().and_then(|from| from.checked_add(1.hour()));
            (from, until)
        }
        BucketLength::Day => (midnight(local.date()), local.date().tomorrow().and_then(midnight)),
        BucketLength::Month => {
            let first = local.date().first_of_month();
            (midnight(first), first.checked_add(1.month()).and_then(midnight))
        }
    };
    let stamp = |zoned: Zoned| Timestamp(zoned.timestamp().as_millisecond());
    Ok((stamp(from.map_err(strange)?), stamp(until.map_err(strange)?)))
}

/// Adds a quarter of an hour to its stretch, or to all of its currency.
fn add(
    buckets: &mut Vec<Bucket>,
    from: Timestamp,
    until: Timestamp,
    more: &Earned,
    by_time: bool,
) -> Result<(), Problem> {
    let too_much = |_| Problem::fault("the earnings are too large to be counted");
    let same = |bucket: &&mut Bucket| {
        bucket.gross.currency == more.gross.currency && (!by_time || bucket.from == Moment(from))
    };
    if let Some(bucket) = buckets.iter_mut().find(same) {
        let plus =
            |one: &Money, other: Amount| Amount::from(one).plus(other).map(Money::from).map_err(too_much);
        bucket.gross = plus(&bucket.gross, more.gross)?;
        bucket.electricity = match (&bucket.electricity, more.electricity) {
            (Some(one), Some(other)) if one.currency == other.currency => Some(plus(one, other)?),
            // A tariff in another currency makes no sum.
            (Some(_), Some(_)) => None,
            (one, other) => one.clone().or(other.map(Money::from)),
        };
        bucket.until = Moment(bucket.until.0.max(until));
        bucket.billed = Seconds(bucket.billed.0 + more.billed);
        bucket.cpu = Seconds(bucket.cpu.0 + more.cpu);
        bucket.net = net(bucket);
        return Ok(());
    }
    let mut bucket = Bucket {
        from: Moment(from),
        until: Moment(until),
        gross: more.gross.into(),
        electricity: more.electricity.map(Money::from),
        net: None,
        billed: Seconds(more.billed),
        cpu: Seconds(more.cpu),
    };
    bucket.net = net(&bucket);
    buckets.push(bucket);
    Ok(())
}

fn net(bucket: &Bucket) -> Option<Money> {
    let cost = Amount::from(bucket.electricity.as_ref()?);
    Amount::from(&bucket.gross).minus(cost).ok().map(Money::from)
}

/// What electricity costs; nothing where nobody has said.
#[utoipa::path(get, path = "/v1/electricity", tag = "ledger", responses((status = 200, body = Option<Electricity>)))]
pub async fn electricity(State(door): State<Door>) -> Result<Json<Option<Electricity>>, Problem> {
    let power = door.node.look(|core| core.engine().state().owner.power.clone()).await?;
    Ok(Json(power.as_ref().map(Electricity::of)))
}

/// Says what electricity costs. Without a figure for a core, the machine is measured: it takes up to half a minute.
#[utoipa::path(put, path = "/v1/electricity", tag = "ledger", request_body = ElectricityWish, responses((status = 200, body = Option<Electricity>)))]
pub async fn set_electricity(
    State(door): State<Door>,
    Body(wish): Body<ElectricityWish>,
) -> Result<Json<Option<Electricity>>, Problem> {
    let tariff = Amount::from(&wish.tariff);
    let power = match wish.milliwatts_per_core {
        Some(milliwatts) => Power { milliwatts, source: "the owner".to_owned(), tariff },
        None => {
            // Its tariff is looked at before half a minute is spent.
            Power { milliwatts: 1, source: String::new(), tariff }.check()?;
            let _alone = door
                .benchmark
                .clone()
                .try_acquire_owned()
                .map_err(|_| Problem::busy("this machine is being measured already"))?;
            let draw = blocking(|| {
                electricity::measure(Path::new("/sys")).map_err(|why| {
                    Problem::new(StatusCode::CONFLICT, "no_power_figure", why.to_string())
                        .hint("Say it yourself: `sublet power --watts 8`; a laptop's core takes some 5 W, a desktop's some 10.")
                })
            });
            let draw = draw.await?;
            Power { milliwatts: draw.milliwatts, source: draw.source.to_owned(), tariff }
        }
    };
    door.node.first(Command::Power(Some(power))).await?;
    electricity(State(door)).await
}

/// Forgets what electricity costs. What was counted before stays.
#[utoipa::path(delete, path = "/v1/electricity", tag = "ledger", responses((status = 200, body = Option<Electricity>)))]
pub async fn unset_electricity(State(door): State<Door>) -> Result<Json<Option<Electricity>>, Problem> {
    door.node.first(Command::Power(None)).await?;
    electricity(State(door)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::model::Currency;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn days_and_months_are_those_of_the_place() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let late = at("2026-03-28T23:15:00Z");
        let (from, until) = stretch(late, BucketLength::Day, &berlin).unwrap();
        assert_eq!(
            (from, until),
            (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")),
            "a day of 23 hours"
        );
        let (from, until) = stretch(late, BucketLength::Month, &berlin).unwrap();
        assert_eq!((from, until), (at("2026-02-28T23:00:00Z"), at("2026-03-31T22:00:00Z")));
        let (from, until) = stretch(late, BucketLength::Hour, &berlin).unwrap();
        assert_eq!((from, until), (at("2026-03-28T23:00:00Z"), at("2026-03-29T00:00:00Z")));
    }

    #[test]
    fn what_is_earned_is_told_net_where_both_are_of_one_currency() {
        let eur = Currency::Iso(*b"EUR");
        let quarter = |micros, cost: Option<Amount>| Earned {
            at: Timestamp(0),
            gross: Amount::new(micros, eur),
            electricity: cost,
            billed: Span::minutes(1),
            cpu: Span::seconds(30),
        };
        let mut buckets = Vec::new();
        let mut put = |earned: Earned| add(&mut buckets, Timestamp(0), Timestamp(9), &earned, true).unwrap();
        put(quarter(100, Some(Amount::new(30, eur))));
        put(quarter(50, None));
        put(Earned { gross: Amount::new(7, Currency::Credit), ..quarter(0, Some(Amount::new(1, eur))) });
        assert_eq!(buckets.len(), 2, "currencies never mix");
        let net: Vec<Option<i64>> =
            buckets.iter().map(|bucket| bucket.net.as_ref().map(|net| net.micros)).collect();
        assert_eq!(net, [Some(120), None], "credits less euros make no sum");
    }
}
