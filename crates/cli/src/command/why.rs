//! `sublet why`: why no work comes, and what would have come at other terms.

use super::offer::{Audience, PriceArgs, wished_prices};
use crate::Done;
use crate::desk::Desk;
use crate::parse;
use crate::show::{Table, amounts, fields, moment, short, time};
use api::shapes::{Demand, DemandState, Demands, Money, Seconds, ShareWish, WhatIf, Would};
use clap::Args;

/// How much to tell, and what to suppose.
#[derive(Args, Debug)]
pub struct WhyArgs {
    /// Each demand, the newest first, too.
    #[arg(short, long)]
    all: bool,
    #[command(flatten, next_help_heading = "What if it were lent otherwise")]
    what_if: WhatIfArgs,
}

/// What is named is supposed; the rest is as it is lent now. Nothing is changed by it.
#[derive(Args, Debug)]
struct WhatIfArgs {
    #[command(flatten)]
    prices: PriceArgs,
    /// Logical cores in all, such as 1.5.
    #[arg(long, value_name = "N", value_parser = parse::cpus)]
    cpus: Option<u32>,
    /// Memory in all.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory: Option<u64>,
    /// Disk in all.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    disk: Option<u64>,
    /// The longest time of one lease.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    longest: Option<Seconds>,
    /// To whom.
    #[arg(long = "for", value_name = "WHO")]
    audience: Option<Audience>,
}

/// Tells what was wanted of this computer, and what stood in the way, or would have.
pub async fn run(desk: &Desk<'_>, args: WhyArgs) -> Done {
    let WhatIfArgs { prices, cpus, memory, disk, longest, audience } = args.what_if;
    let offer = desk.client.offer().await?;
    let lent = offer.share.as_ref().unwrap_or(&offer.suggested);
    let wish = ShareWish {
        prices: wished_prices(prices, &lent.prices),
        cpu_millis: cpus,
        memory_bytes: memory,
        disk_bytes: disk,
        longest,
        audience: audience.map(Into::into),
        ..ShareWish::default()
    };
    if wish == ShareWish::default() {
        let demands = desk.client.demands().await?;
        return desk.out.either(&demands, || story(desk, &demands, args.all)).map(|()| 0);
    }
    let what_if = desk.client.what_if(&wish).await?;
    desk.out.either(&what_if, || supposed(desk, &what_if, args.all)).map(|()| 0)
}

fn story(desk: &Desk<'_>, demands: &Demands, all: bool) -> String {
    let words = demands.words.join("\n");
    if !all || demands.demands.is_empty() {
        return words;
    }
    let mut table = Table::new(&["AT", "BY", "WANTED", ">FOR", ">AT MOST", ">HERE", "CAME OF IT"]);
    for demand in &demands.demands {
        table.row(row(demand, text(&demand.hourly), came_of_it(demand)));
    }
    format!("{words}\n\n{}", table.text(|head| desk.out.head(head)))
}

fn supposed(desk: &Desk<'_>, what_if: &WhatIf, all: bool) -> String {
    if what_if.demands.is_empty() {
        return "nobody has asked since the node started, so nothing can be said of other terms".to_owned();
    }
    let sums = fields([
        ("would have come besides", what_if.comes.to_string()),
        ("would have come as they did", what_if.stays.to_string()),
        ("would not have come", what_if.goes.to_string()),
        ("what came costs at the most", text(&what_if.worth_now)),
        ("what would have come", text(&what_if.worth)),
    ]);
    if !all {
        return sums;
    }
    let mut table = Table::new(&["AT", "BY", "WANTED", ">FOR", ">AT MOST", ">THEN", "WOULD"]);
    for one in &what_if.demands {
        let would = match one.would {
            Would::Come => "have come".to_owned(),
            Would::Stay => "have come as it did".to_owned(),
            Would::Go => format!("not have come: {}", one.failed.join(", ")),
            Would::Fail => format!("have failed too: {}", one.failed.join(", ")),
        };
        table.row(row(&one.demand, text(&one.hourly), would));
    }
    format!("{sums}\n\n{}", table.text(|head| desk.out.head(head)))
}

fn row(demand: &Demand, price: String, outcome: String) -> [String; 7] {
    let (at, by) = (moment(demand.at), short(&demand.peer));
    [at, by, amounts(demand.resources), time(demand.term), text(&demand.cap), price, outcome]
}

fn text(money: &Option<Money>) -> String {
    money.as_ref().map(|money| money.text.clone()).unwrap_or_default()
}

fn came_of_it(demand: &Demand) -> String {
    match demand.outcome {
        DemandState::Quoted => "a quote".to_owned(),
        DemandState::Taken => "a lease".to_owned(),
        DemandState::Refused => demand.sentence.clone().unwrap_or_default(),
        DemandState::PassedBy => format!("passed by: {}", demand.failed.join(", ")),
    }
}
