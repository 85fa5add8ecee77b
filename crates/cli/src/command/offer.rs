//! `sublet offer`: what this computer lends.

use crate::Done;
use crate::desk::Desk;
use crate::parse;
use crate::show::{amounts, fields, network, prices, time};
use api::node::model::resources::bytes;
use api::shapes::{
    LentDevice, Money, MyOffer, Network, Prices, Published, Renewal, Seconds, Share, ShareWish,
};
use clap::{Args, Subcommand, ValueEnum};

/// What to do with the offer.
#[derive(Args, Debug)]
pub struct OfferArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what is lent, what is left of it, and what would be sensible to lend.
    Show,
    /// Lend. What is not named stays as it is lent now; at first it is what is sensible.
    Set(Box<SetArgs>),
    /// Lend nothing any more. Leases that run go on by their own terms.
    Off,
}

#[derive(Args, Debug)]
struct SetArgs {
    /// Logical cores in all, such as 1.5.
    #[arg(long, value_name = "N", value_parser = parse::cpus)]
    cpus: Option<u32>,
    /// Memory in all.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory: Option<u64>,
    /// Disk in all.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    disk: Option<u64>,
    #[command(flatten)]
    prices: PriceArgs,
    /// The longest time of one lease.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    longest: Option<Seconds>,
    /// The time from one running total to the next.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    tick: Option<Seconds>,
    /// How long a total may stay unsigned before the guest is frozen.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    sign_within: Option<Seconds>,
    /// From a freeze, or the end of the time, to the stop.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    grace: Option<Seconds>,
    /// What may be owed before the guest is frozen [with new prices: what the longest lease of all costs].
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    credit: Option<Money>,
    /// Make leases longer by themselves when asked, up to this time in all; `ask` to be asked each time, `never` for none.
    #[arg(long, value_name = "TIME", value_parser = renewal)]
    renew: Option<Renewal>,
    /// To whom.
    #[arg(long = "for", value_name = "WHO")]
    audience: Option<Audience>,
    /// The most that guests may reach outside: `none`, `internet` (what is public, never this computer or its network),
    /// or a list such as `allow:example.org:443,*.example.org:80`.
    #[arg(long, value_name = "POLICY", value_parser = parse::network)]
    net: Option<Network>,
    /// The most bytes between a guest and the outside in a second, each way, such as 2M; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    net_rate: Option<u64>,
    /// The most bytes that a guest may read, and as many that it may write, on its disk in a second, such as 50M; 0 for no
    /// limit. `sublet doctor` says whether this computer can enforce it.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    io_rate: Option<u64>,
    /// Lend a device, to one guest at a time: `gpu=nvidia.com/gpu=0` as a CDI file of this computer names it, or a file such as
    /// `cam=/dev/video0`. All that are to be lent, in one command; `none` for none any more.
    #[arg(long = "device", value_name = "NAME=DEVICE", value_parser = device)]
    devices: Vec<Option<LentDevice>>,
    /// How long the owner may let a guest stand still, at once, before its lease is closed.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    notice: Option<Seconds>,
    /// Where the machine is: a country, or a finer name.
    #[arg(long, value_name = "PLACE")]
    region: Option<String>,
}

/// To whom.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Audience {
    /// Whoever sees it.
    Everyone,
    /// People you know: `sublet invite` makes somebody known.
    Known,
}

impl From<Audience> for api::shapes::Audience {
    fn from(audience: Audience) -> api::shapes::Audience {
        match audience {
            Audience::Everyone => api::shapes::Audience::Everyone,
            Audience::Known => api::shapes::Audience::Known,
        }
    }
}

#[derive(Args, Debug)]
#[group(multiple = true)]
pub(super) struct PriceArgs {
    /// For nothing.
    #[arg(long, conflicts_with_all = ["barter", "rent"])]
    gift: bool,
    /// For credits: this many for an hour of a core at the reference speed.
    #[arg(long, value_name = "AMOUNT", value_parser = credits, num_args = 0..=1, default_missing_value = "1 credit", conflicts_with = "rent")]
    barter: Option<Money>,
    /// For money: so much for an hour of a core, such as "0.05 EUR".
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    rent: Option<Money>,
    /// The price of a GiB of memory for an hour [default: an eighth of a core's].
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    memory_price: Option<Money>,
    /// The price of a GiB of disk for an hour [default: an eighth of a core's].
    #[arg(long, value_name = "AMOUNT", value_parser = parse::price)]
    disk_price: Option<Money>,
}

fn credits(text: &str) -> Result<Money, String> {
    let plain = text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { parse::price(&format!("{text} credit")) } else { parse::price(text) }
}

fn device(text: &str) -> Result<Option<LentDevice>, String> {
    if text == "none" {
        return Ok(None);
    }
    let (name, source) = text.split_once('=').ok_or("write NAME=DEVICE, such as cam=/dev/video0, or none")?;
    Ok(Some(LentDevice { name: name.to_owned(), source: source.to_owned() }))
}

fn renewal(text: &str) -> Result<Renewal, String> {
    match text {
        "never" => Ok(Renewal::Never),
        "ask" => Ok(Renewal::Ask),
        time => parse::time(time).map(|longest| Renewal::Automatic { longest }),
    }
}

/// Shows, sets, or takes back.
pub async fn run(desk: &Desk<'_>, args: OfferArgs) -> Done {
    let offer = match args.what.unwrap_or(What::Show) {
        What::Show => desk.client.offer().await?,
        What::Set(set) => {
            let now = desk.client.offer().await?;
            desk.client.set_offer(&wish(*set, &now)).await?
        }
        What::Off => desk.client.unset_offer().await?,
    };
    desk.out.either(&offer, || story(&offer)).map(|()| 0)
}

fn wish(args: SetArgs, now: &MyOffer) -> ShareWish {
    let lent = now.share.as_ref().unwrap_or(&now.suggested);
    ShareWish {
        cpu_millis: args.cpus,
        memory_bytes: args.memory,
        disk_bytes: args.disk,
        prices: wished_prices(args.prices, &lent.prices),
        longest: args.longest,
        tick: args.tick,
        sign_within: args.sign_within,
        grace: args.grace,
        credit: args.credit,
        fetch_within: None,
        start_within: None,
        renewal: args.renew,
        notice: args.notice,
        audience: args.audience.map(Into::into),
        network: args.net,
        network_rate: args.net_rate,
        io_rate: args.io_rate,
        devices: (!args.devices.is_empty()).then(|| args.devices.into_iter().flatten().collect()),
        region: args.region,
    }
}

/// The three prices, if one of them was named.
pub(super) fn wished_prices(args: PriceArgs, now: &Prices) -> Option<Prices> {
    let eighth = |core: &Money| Money { micros: core.micros / 8, ..core.clone() };
    let (core, memory, disk) = match (&args.barter, &args.rent, now) {
        _ if args.gift => return Some(Prices::Gift),
        (Some(core), _, _) | (None, Some(core), _) => (core.clone(), eighth(core), eighth(core)),
        (
            None,
            None,
            Prices::Barter { core, memory_gib, disk_gib } | Prices::Rent { core, memory_gib, disk_gib },
        ) => (core.clone(), memory_gib.clone(), disk_gib.clone()),
        (None, None, Prices::Gift) => return None,
    };
    if args.barter.is_none()
        && args.rent.is_none()
        && args.memory_price.is_none()
        && args.disk_price.is_none()
    {
        return None;
    }
    let (memory_gib, disk_gib) = (args.memory_price.unwrap_or(memory), args.disk_price.unwrap_or(disk));
    let is_barter = args.barter.is_some() || (args.rent.is_none() && matches!(now, Prices::Barter { .. }));
    Some(if is_barter {
        Prices::Barter { core, memory_gib, disk_gib }
    } else {
        Prices::Rent { core, memory_gib, disk_gib }
    })
}

fn story(offer: &MyOffer) -> String {
    let Some(share) = &offer.share else {
        let measured =
            if offer.speed.is_none() { "\nmeasure this computer first: `sublet bench`" } else { "" };
        return format!(
            "nothing is lent; sensible would be (`sublet offer set`):\n{}{measured}",
            words(&offer.suggested)
        );
    };
    let left = fields([("promised", amounts(offer.promised)), ("free", amounts(offer.free))]);
    let floor = floor(offer).unwrap_or_default();
    let published = match &offer.published {
        None => "\nno peer sees it yet".to_owned(),
        Some(Published { tested: None, .. }) => {
            "\nits sandbox was not tried: `sublet selftest isolation`".to_owned()
        }
        Some(Published { tested: Some(tested), .. }) => {
            format!(
                "\nits sandbox held against {} of {} probes",
                tested.passed,
                tested.passed + tested.failed
            )
        }
    };
    let without = offer.published.as_ref().map(|published| published.without.join(", ")).unwrap_or_default();
    let without = if without.is_empty() {
        without
    } else {
        format!("\nby what runs them, guests go without: {without}")
    };
    format!("{}\n{left}{floor}{published}{without}", words(share))
}

/// What a core-hour costs in electricity, and whether the price covers it.
fn floor(offer: &MyOffer) -> Option<String> {
    let floor = offer.floor.as_ref()?;
    let loses = match &offer.share.as_ref()?.prices {
        Prices::Rent { core, .. } => core.currency == floor.currency && core.micros < floor.micros,
        Prices::Gift | Prices::Barter { .. } => false,
    };
    let warning = if loses { ": the price does not cover it" } else { "" };
    Some(format!("\na core-hour takes {} of electricity{warning}", floor.text))
}

fn words(share: &Share) -> String {
    let terms = &share.terms;
    let renewal = match terms.renewal {
        Renewal::Never => "never".to_owned(),
        Renewal::Ask => "when the owner agrees".to_owned(),
        Renewal::Automatic { longest } => format!("up to {} in all", time(longest)),
    };
    let signed = format!("every {}, to be signed within {}", time(terms.tick), time(terms.sign_within));
    fields([
        ("lent", amounts(share.resources)),
        ("price", prices(&share.prices)),
        ("longest", time(terms.longest)),
        ("renewal", renewal),
        ("totals", signed),
        ("grace", time(terms.grace)),
        (
            "notice",
            terms
                .notice
                .map(|notice| format!("{} at a standstill ends a lease", time(notice)))
                .unwrap_or_default(),
        ),
        ("credit", if terms.credit.micros == 0 { String::new() } else { terms.credit.text.clone() }),
        ("for", whom(share)),
        ("reach", reach(share)),
        ("disk rate", disk_rate(terms.io_rate)),
        ("devices", devices(&share.devices)),
        ("region", share.region.clone()),
    ])
}

fn whom(share: &Share) -> String {
    match share.audience {
        api::shapes::Audience::Everyone => String::new(),
        api::shapes::Audience::Known => "people you know".to_owned(),
    }
}

fn devices(lent: &[LentDevice]) -> String {
    let named: Vec<String> =
        lent.iter().map(|device| format!("{} ({})", device.name, device.source)).collect();
    named.join(", ")
}

fn disk_rate(rate: u64) -> String {
    if rate == 0 {
        String::new()
    } else {
        format!("at most {} a second, reading and writing each", bytes(rate))
    }
}

/// What guests may reach, and how fast.
fn reach(share: &Share) -> String {
    match (&share.network, share.terms.network_rate) {
        (Network::None, _) => "guests reach nothing outside".to_owned(),
        (policy, 0) => network(policy),
        (policy, rate) => format!("{}, at most {} a second each way", network(policy), bytes(rate)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> PriceArgs {
        PriceArgs { gift: false, barter: None, rent: None, memory_price: None, disk_price: None }
    }

    fn money(text: &str) -> Money {
        parse::price(text).unwrap()
    }

    #[test]
    fn a_price_that_is_not_named_stays_or_follows_the_core_s() {
        let now = Prices::Rent { core: money("1 EUR"), memory_gib: money("2 EUR"), disk_gib: money("3 EUR") };
        assert_eq!(wished_prices(args(), &now), None);
        let memory = PriceArgs { memory_price: Some(money("9 EUR")), ..args() };
        assert_eq!(
            wished_prices(memory, &now),
            Some(Prices::Rent { core: money("1 EUR"), memory_gib: money("9 EUR"), disk_gib: money("3 EUR") })
        );
        let rent = PriceArgs { rent: Some(money("8 EUR")), ..args() };
        let Some(Prices::Rent { core, memory_gib, disk_gib }) = wished_prices(rent, &Prices::Gift) else {
            panic!()
        };
        assert_eq!((core.micros, memory_gib.micros, disk_gib.micros), (8_000_000, 1_000_000, 1_000_000));
        assert_eq!(wished_prices(PriceArgs { gift: true, ..args() }, &now), Some(Prices::Gift));
    }

    #[test]
    fn a_device_has_a_name_and_a_source_that_may_have_more_of_them() {
        let gpu = device("gpu=nvidia.com/gpu=0").unwrap().unwrap();
        assert_eq!((gpu.name.as_str(), gpu.source.as_str()), ("gpu", "nvidia.com/gpu=0"));
        assert_eq!(device("none"), Ok(None));
        assert!(device("/dev/video0").is_err());
    }

    #[test]
    fn credits_need_no_name() {
        assert_eq!(credits("2"), parse::price("2 credit"));
        assert_eq!(credits("2 credit"), parse::price("2 credit"));
        assert!(credits("two").is_err());
    }
}
