//! `sublet market`: what others lend.

use crate::Done;
use crate::args::Size;
use crate::desk::Desk;
use crate::parse;
use crate::show::{Table, amounts, party, per_cent, short};
use api::shapes::{Found, Listing, Mode, Money, NearMiss, Network, Query, Seconds};
use clap::{Args, ValueEnum};

/// What to look for.
#[derive(Args, Debug)]
pub struct MarketArgs {
    #[command(flatten)]
    size: Size,
    /// For how long.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse::time)]
    time: Seconds,
    /// The most that an hour may cost, such as "0.05 EUR".
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    max_price: Option<Money>,
    /// Only this way of paying.
    #[arg(long, value_name = "MODE")]
    mode: Option<PayMode>,
    /// Only this processor architecture, such as amd64.
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Only this host: its name, or the first digits of its device, person or peer.
    #[arg(long, value_name = "HOST")]
    on: Option<String>,
    /// What the guest is to reach outside: `none`, `internet`, or a list such as `allow:example.org:443`.
    #[arg(long, value_name = "POLICY", default_value = "none", value_parser = parse::network)]
    net: Network,
    /// A device that the guest is to have, by its name in the offer; may be given several times.
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// The least speed of one core, in rating units.
    #[arg(long, value_name = "UNITS", default_value_t = 0)]
    min_core: u32,
    /// The least score, in per cent.
    #[arg(long, value_name = "SCORE", default_value = "0", value_parser = parse::per_cent)]
    min_trust: u32,
    /// Show what does not suit as well, and what would have to give.
    #[arg(long)]
    all: bool,
}

/// How a lease is paid for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PayMode {
    /// For nothing.
    Gift,
    /// For credits.
    Barter,
    /// For money.
    Rent,
}

impl From<PayMode> for Mode {
    fn from(mode: PayMode) -> Mode {
        match mode {
            PayMode::Gift => Mode::Gift,
            PayMode::Barter => Mode::Barter,
            PayMode::Rent => Mode::Rent,
        }
    }
}

/// Searches.
pub async fn run(desk: &Desk<'_>, args: MarketArgs) -> Done {
    let query = Query {
        cpu_millis: args.size.cpus,
        memory_bytes: args.size.memory,
        disk_bytes: args.size.disk,
        term: args.time,
        max_price: args.max_price,
        mode: args.mode.map(Mode::from),
        arch: args.arch,
        network: args.net,
        devices: args.devices,
        on: args.on,
        min_core: args.min_core,
        min_trust: args.min_trust,
        skip: 0,
    };
    let found = desk.client.search(&query).await?;
    desk.out.either(&found, || story(desk, &found, args.all)).map(|()| 0)
}

fn story(desk: &Desk<'_>, found: &Found, all: bool) -> String {
    let mut parts = Vec::new();
    if found.matches.is_empty() {
        parts.push(match found.looked_at {
            0 => "nobody offers anything yet; `sublet peers` shows who is in sight".to_owned(),
            looked_at => format!("none of {looked_at} offers suits"),
        });
    } else {
        parts.push(matches(found).text(|head| desk.out.head(head)));
        if let Some(more @ 1..) = found.suits.checked_sub(found.matches.len()) {
            parts.push(format!("and {more} more that suit: say more narrowly what you look for"));
        }
    }
    // When nothing suits, what would have is the answer.
    if !found.near.is_empty() && (all || found.matches.is_empty()) {
        parts.push(near(&found.near).text(|head| desk.out.head(head)));
    }
    parts.join("\n\n")
}

fn matches(found: &Found) -> Table {
    let mut table =
        Table::new(&["OFFER", "HOST", ">AN HOUR", ">IN ALL", ">CORE", ">TRUST", "FOR", "SANDBOX", "LENDS"]);
    for found in &found.matches {
        let offer = &found.offer;
        let mode = match offer.share.prices.mode() {
            Mode::Gift => "gift",
            Mode::Barter => "barter",
            Mode::Rent => "rent",
        };
        table.row([
            short(&offer.id),
            party(&offer.host),
            found.hourly.text.clone(),
            found.whole_term.text.clone(),
            offer.speed.core.to_string(),
            per_cent(offer.trust),
            mode.to_owned(),
            sandbox(offer),
            amounts(offer.share.resources),
        ]);
    }
    table
}

/// What runs guests there, and what came of the host's isolation test.
fn sandbox(offer: &Listing) -> String {
    let tested = offer.tested.as_ref();
    let held = tested.map(|tested| format!(" ({}/{} held)", tested.passed, tested.passed + tested.failed));
    let lacks = (!offer.without.is_empty()).then(|| format!(", no {}", offer.without.join(", no ")));
    format!("{}{}{}", offer.runtime, held.unwrap_or_default(), lacks.unwrap_or_default())
}

fn near(near: &[NearMiss]) -> Table {
    let mut table = Table::new(&["DOES NOT SUIT", "HOST", "WHY"]);
    for near in near {
        table.row([short(&near.offer.id), party(&near.offer.host), near.remedies.join("; ")]);
    }
    table
}
