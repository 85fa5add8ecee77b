//! What a guest costs: the one place in which a price is computed.

use model::{Amount, Arithmetic, Mode, Prices, Rate, Resources, Speed};

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
}
