//! What is sensible to lend, and what an owner makes of it.

use crate::problem::Problem;
use crate::shapes::{Seconds, ShareWish};
use node::engine::market::rate;
use node::machine::guest::Writable;
use node::machine::inventory::Inventory;
use node::model::{
    Audience, Currency, Invalid, Mode, NetworkPolicy, Prices, Rate, RenewalTerms, Resources, Share, Span,
    Speed, Terms,
};

/// The speed of a machine that was not measured yet, for what is suggested: that of the reference.
pub const UNMEASURED: Speed = Speed { core: 1_000, cores: 1_000, memory: 1_000, disk: 1_000 };

/// A credit: an hour of one core of the reference machine, in millionths.
const CREDIT: i64 = 1_000_000;

/// What a GiB of memory costs against a core, as computing centres price them: an eighth.
const GIB: i64 = CREDIT / 8;

/// What is lent when the owner names nothing: three quarters of the cores; half the memory; for what guests
/// write a quarter of the free disk, or of the memory where that lives in memory too; for barter, a credit for the hour of
/// a core at the reference speed.
pub fn suggested(inventory: &Inventory, writable: Writable, speed: &Speed) -> Share {
    const MIB: u64 = 1 << 20;
    let whole_mib = |bytes: u64| bytes / MIB * MIB;
    let resources = Resources {
        cpu_millis: inventory.cores_usable.saturating_mul(750),
        memory: whole_mib(inventory.memory_total / 2),
        disk: whole_mib(match writable {
            Writable::Memory => inventory.memory_total / 4,
            Writable::Disk => inventory.disk_free / 4,
        }),
    };
    let prices = Prices {
        mode: Mode::Barter,
        currency: Currency::Credit,
        core: CREDIT,
        memory_gib: GIB,
        disk_gib: GIB,
    };
    let terms = Terms {
        longest: Span::hours(24),
        tick: Span::minutes(1),
        sign_within: Span::minutes(2),
        grace: Span::minutes(5),
        credit: 0,
        fetch_within: Span::minutes(15),
        start_within: Span::minutes(1),
        renewal: RenewalTerms::Automatic { longest: Span::days(7) },
        // 100 Mbit/s: enough to work with, and it leaves the owner the rest of the line.
        network_rate: 12_500_000,
        io_rate: 0,
        notice: Some(Span::hours(1)),
    };
    let share = Share {
        resources,
        prices,
        terms,
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: Vec::new(),
        region: String::new(),
    };
    Share { terms: Terms { credit: longest_lease(&share, speed), ..terms }, ..share }
}

/// A share, changed as the owner wishes, on a machine of this speed.
///
/// # Errors
/// When prices or credit are in several currencies. Ranges are checked where shares are decided about.
pub fn with(share: Share, wish: &ShareWish, speed: &Speed) -> Result<Share, Problem> {
    let resources = Resources {
        cpu_millis: wish.cpu_millis.unwrap_or(share.resources.cpu_millis),
        memory: wish.memory_bytes.unwrap_or(share.resources.memory),
        disk: wish.disk_bytes.unwrap_or(share.resources.disk),
    };
    let prices = wish.prices.as_ref().map(Prices::try_from).transpose()?.unwrap_or(share.prices);
    let span = |wished: Option<Seconds>, now: Span| wished.map_or(now, |seconds| seconds.0);
    let terms = Terms {
        longest: span(wish.longest, share.terms.longest),
        tick: span(wish.tick, share.terms.tick),
        sign_within: span(wish.sign_within, share.terms.sign_within),
        grace: span(wish.grace, share.terms.grace),
        credit: share.terms.credit,
        fetch_within: span(wish.fetch_within, share.terms.fetch_within),
        start_within: span(wish.start_within, share.terms.start_within),
        renewal: wish.renewal.map_or(share.terms.renewal, RenewalTerms::from),
        notice: wish.notice.map_or(share.terms.notice, |seconds| Some(seconds.0)),
        network_rate: wish.network_rate.unwrap_or(share.terms.network_rate),
        io_rate: wish.io_rate.unwrap_or(share.terms.io_rate),
    };
    let region = wish.region.clone().unwrap_or(share.region);
    let same_prices = prices == share.prices;
    let network = wish.network.as_ref().map(NetworkPolicy::try_from).transpose()?.unwrap_or(share.network);
    let devices = wish.devices.as_ref().map_or(share.devices, |lent| lent.iter().map(Into::into).collect());
    let mut changed = Share {
        resources,
        prices,
        terms,
        audience: wish.audience.map_or(share.audience, Into::into),
        network,
        devices,
        region,
    };
    match &wish.credit {
        Some(credit) if credit.currency != prices.currency => {
            return Err(Invalid::Content { field: "credit", why: "in the currency of the prices" }.into());
        }
        Some(credit) => changed.terms.credit = credit.micros,
        // The credit of before was meant for the prices of before.
        None if !same_prices || share.terms.credit == 0 => {
            changed.terms.credit = longest_lease(&changed, speed)
        }
        None => {}
    }
    Ok(changed)
}

/// What the longest lease of all that is lent costs: a credit that no lease can use up.
fn longest_lease(share: &Share, speed: &Speed) -> i64 {
    // A price that cannot be counted is refused where shares are decided about.
    let cost =
        rate(&share.prices, &share.resources, speed).and_then(|rate: Rate| rate.over(share.terms.longest));
    cost.map_or(0, |cost| cost.micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes;

    fn inventory() -> Inventory {
        Inventory {
            os: String::new(),
            arch: "x86_64".to_owned(),
            kernel: String::new(),
            cpu_model: String::new(),
            cores_physical: 4,
            cores_logical: 8,
            cores_usable: 8,
            memory_total: 16_777_216_123,
            memory_free: 0,
            disk_total: 0,
            disk_free: 0,
            gpus: Vec::new(),
            battery: false,
        }
    }

    #[test]
    fn what_is_suggested_can_be_lent_and_leaves_the_owner_a_quarter() {
        let share = suggested(&inventory(), Writable::Memory, &UNMEASURED);
        share.check().unwrap();
        assert!(share.resources.memory + share.resources.disk <= inventory().memory_total / 4 * 3);
        assert_eq!(share.resources.cpu_millis, 6_000);
        let there = Inventory { disk_free: 400 << 30, ..inventory() };
        let on_disk = suggested(&there, Writable::Disk, &UNMEASURED);
        assert_eq!(on_disk.resources.disk, 100 << 30);
        assert_eq!(on_disk.resources.memory, share.resources.memory);
        assert!(share.terms.credit > 0, "a guest would be frozen at its first tick");
    }

    #[test]
    fn an_owner_changes_what_they_name_and_nothing_else() {
        let start = suggested(&inventory(), Writable::Memory, &UNMEASURED);
        let wish = ShareWish { cpu_millis: Some(500), ..ShareWish::default() };
        let changed = with(start.clone(), &wish, &UNMEASURED).unwrap();
        assert_eq!(changed, Share { resources: Resources { cpu_millis: 500, ..start.resources }, ..start });
    }

    #[test]
    fn new_prices_bring_a_credit_of_their_own() {
        let euro = |micros| shapes::Money::from(node::model::Amount::new(micros, Currency::Iso(*b"EUR")));
        let prices = shapes::Prices::Rent { core: euro(50_000), memory_gib: euro(0), disk_gib: euro(0) };
        let wish = ShareWish { prices: Some(prices), ..ShareWish::default() };
        let changed =
            with(suggested(&inventory(), Writable::Memory, &UNMEASURED), &wish, &UNMEASURED).unwrap();
        // Six cores for a day at five cents.
        assert_eq!(changed.terms.credit, 6 * 24 * 50_000);
        let other = ShareWish { credit: Some(euro(1)), ..ShareWish::default() };
        assert_eq!(
            with(suggested(&inventory(), Writable::Memory, &UNMEASURED), &other, &UNMEASURED)
                .unwrap_err()
                .code,
            "out_of_range"
        );
    }
}
