//! What a guest costs: the one place in which a price is computed.

use model::{Amount, Arithmetic, Mode, Prices, Rate, Resources, Speed, Volume};

/// The price of an hour of `resources`: cores, GiB of memory and GiB of disk, each times its price, rounded down.
///
/// In barter a core counts by its measured speed, so that an hour on a machine at half the reference speed earns half
/// the credits, and fast and slow machines trade fairly.
///
/// # Errors
/// When the price does not fit.
pub fn rate(prices: &Prices, resources: &Resources, speed: &Speed) -> Result<Rate, Arithmetic> {
    const GIB: i128 = 1 << 30;
    let pace = match prices.mode {
        Mode::Barter => i128::from(speed.core),
        Mode::Gift | Mode::Rent => 1_000,
    };
    let cores = i128::from(prices.core) * i128::from(resources.cpu_millis) * pace / 1_000_000;
    let memory = i128::from(prices.memory_gib) * i128::from(resources.memory) / GIB;
    let disk = i128::from(prices.disk_gib) * i128::from(resources.disk) / GIB;
    let micros = i64::try_from(cores + memory + disk).map_err(|_| Arithmetic::Overflow)?;
    Ok(Rate::hourly(Amount::new(micros, prices.currency)))
}

/// What keeping volumes after a lease costs in all: their disk, at its price by the hour, for as long as each is kept.
///
/// # Errors
/// When the price does not fit.
pub fn keeping(prices: &Prices, volumes: &[Volume]) -> Result<Option<Amount>, Arithmetic> {
    const GIB: i128 = 1 << 30;
    const HOUR: i128 = 3_600_000;
    let kept = || volumes.iter().filter(|volume| volume.keep.0 > 0);
    if kept().next().is_none() {
        return Ok(None);
    }
    let one = |volume: &Volume| {
        i128::from(prices.disk_gib) * i128::from(volume.room()) / GIB * i128::from(volume.keep.0) / HOUR
    };
    let micros = i64::try_from(kept().map(one).sum::<i128>()).map_err(|_| Arithmetic::Overflow)?;
    Ok(Some(Amount::new(micros, prices.currency)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Currency;

    const EUR: Currency = Currency::Iso(*b"EUR");
    const ASKED: Resources = Resources { cpu_millis: 1_500, memory: 512 << 20, disk: 2 << 30 };

    #[test]
    fn a_price_is_the_sum_of_its_parts() {
        let prices =
            Prices { mode: Mode::Rent, currency: EUR, core: 20_000, memory_gib: 4_000, disk_gib: 100 };
        // 1.5 x 0.02 + 0.5 x 0.004 + 2 x 0.0001
        assert_eq!(rate(&prices, &ASKED, &Speed::default()).unwrap().hourly, "0.0322 EUR".parse().unwrap());
    }

    #[test]
    fn in_barter_a_slow_core_earns_less() {
        let prices = Prices {
            mode: Mode::Barter,
            currency: Currency::Credit,
            core: 1_000_000,
            memory_gib: 0,
            disk_gib: 0,
        };
        let half = Speed { core: 500, ..Speed::default() };
        assert_eq!(rate(&prices, &ASKED, &half).unwrap().hourly, "0.75 credit".parse().unwrap());
    }

    #[test]
    fn a_gift_costs_nothing() {
        let prices = Prices { mode: Mode::Gift, currency: EUR, core: 0, memory_gib: 0, disk_gib: 0 };
        assert_eq!(rate(&prices, &ASKED, &Speed::default()).unwrap().hourly.micros, 0);
    }

    #[test]
    fn keeping_a_volume_costs_its_disk_for_as_long() {
        let prices =
            Prices { mode: Mode::Rent, currency: EUR, core: 20_000, memory_gib: 4_000, disk_gib: 100 };
        let volume = |keep, snapshots| Volume {
            name: "v".into(),
            path: "/v".into(),
            size: 2 << 30,
            read_only: false,
            encrypted: false,
            snapshots,
            keep,
        };
        assert_eq!(keeping(&prices, &[volume(model::Span(0), 0)]).unwrap(), None);
        // (2 + 4) x 0.0001 x 24
        let two = [volume(model::Span::days(1), 0), volume(model::Span::days(1), 1)];
        assert_eq!(keeping(&prices, &two).unwrap(), Some("0.0144 EUR".parse().unwrap()));
    }
}
