//! `sublet power` and `sublet ledger earnings`: what electricity costs, and what is left.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::parse;
use crate::show::{Table, moment, spinner, time};
use api::shapes::{Bucket, BucketLength, Earnings, Electricity, ElectricityWish, Money};
use clap::{Args, ValueEnum};

/// What electricity costs.
#[derive(Args, Debug)]
pub struct PowerArgs {
    /// What a kilowatt-hour costs, such as "0.32 EUR".
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    tariff: Option<Money>,
    /// What a busy core takes more than an idle one, in watts [default: measured, where this machine can].
    #[arg(long, value_name = "WATTS", value_parser = watts)]
    watts: Option<u32>,
    /// Forget what was said.
    #[arg(long, conflicts_with_all = ["tariff", "watts"])]
    off: bool,
}

fn watts(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no power of a core: write for example 8 or 7.5, in watts");
    let watts: f64 = text.trim_end_matches(['W', 'w']).trim().parse().map_err(|_| wrong())?;
    let milliwatts = (watts * 1_000.0).round();
    if (1.0..=1_000_000.0).contains(&milliwatts) { Ok(milliwatts as u32) } else { Err(wrong()) }
}

/// Shows or says what electricity costs.
pub async fn run(desk: &Desk<'_>, args: PowerArgs) -> Done {
    let known = desk.client.electricity().await?;
    let now = match (args.off, args.tariff, args.watts) {
        (true, _, _) => desk.client.unset_electricity().await?,
        (false, None, None) => known,
        (false, tariff, milliwatts_per_core) => {
            let Some(tariff) = tariff.or(known.map(|known| known.tariff)) else {
                return Err(Failure::misused("what a kilowatt-hour costs is not known yet")
                    .hint("Say it: --tariff \"0.32 EUR\"."));
            };
            let wish = ElectricityWish { tariff, milliwatts_per_core };
            let measuring =
                milliwatts_per_core.is_none().then(|| spinner("measuring the power of a busy core"));
            let set = desk.client.set_electricity(&wish).await;
            if let Some(measuring) = measuring {
                measuring.finish_and_clear();
            }
            set?
        }
    };
    desk.out.either(&now, || now.as_ref().map_or_else(unknown, story)).map(|()| 0)
}

fn unknown() -> String {
    "what electricity costs is not known; say it: `sublet power --tariff \"0.32 EUR\"`".to_owned()
}

fn story(power: &Electricity) -> String {
    format!(
        "a busy core takes {} W more than an idle one, says {}; at {} a kilowatt-hour, a core-hour costs {}",
        f64::from(power.milliwatts_per_core) / 1_000.0,
        power.source,
        power.tariff.text,
        power.core_hour.text
    )
}

/// Which earnings.
#[derive(Args, Debug)]
pub struct EarningsArgs {
    /// For each hour, day or month.
    #[arg(long, value_name = "LENGTH", default_value = "day")]
    by: By,
}

/// How long a stretch is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
}

/// Shows what lending has earned: gross, electricity, net.
pub async fn earnings(desk: &Desk<'_>, args: &EarningsArgs) -> Done {
    let by = match args.by {
        By::Hour => BucketLength::Hour,
        By::Day => BucketLength::Day,
        By::Month => BucketLength::Month,
    };
    let earnings = desk.client.earnings(by).await?;
    desk.out.either(&earnings, || table(desk, &earnings)).map(|()| 0)
}

fn table(desk: &Desk<'_>, earnings: &Earnings) -> String {
    if earnings.buckets.is_empty() {
        return "nothing was earned yet; `sublet why` tells why".to_owned();
    }
    let mut table = Table::new(&["FROM", ">PAID TIME", ">CPU TIME", ">GROSS", ">ELECTRICITY", ">NET"]);
    let mut row = |name: String, bucket: &Bucket| {
        let text = |money: &Option<Money>| money.as_ref().map_or("?".to_owned(), |money| money.text.clone());
        table.row([
            name,
            time(bucket.billed),
            time(bucket.cpu),
            bucket.gross.text.clone(),
            text(&bucket.electricity),
            text(&bucket.net),
        ]);
    };
    earnings.buckets.iter().for_each(|bucket| row(moment(bucket.from), bucket));
    earnings.totals.iter().for_each(|total| row("in all".to_owned(), total));
    let hint = if earnings.electricity.is_none() { format!("\n{}", unknown()) } else { String::new() };
    format!("{}{hint}", table.text(|head| desk.out.head(head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_of_a_core_is_in_watts() {
        assert_eq!((watts("8"), watts("7.5 W")), (Ok(8_000), Ok(7_500)));
        for text in ["", "0", "-1", "many", "5000"] {
            assert!(watts(text).is_err(), "{text}");
        }
    }
}
