//! What electricity costs: how much more a busy core takes than an idle one, and what a kilowatt-hour costs.

use crate::amount::{Amount, Arithmetic, Currency};
use crate::document::{is_plain, require};
use crate::envelope::Invalid;
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// What lending costs its owner in electricity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Power {
    /// Thousandths of a watt that a busy core takes more than an idle one.
    pub milliwatts: u32,
    /// Who says so: `the owner`, or what was measured with.
    pub source: String,
    /// What a kilowatt-hour costs.
    pub tariff: Amount,
}

/// A core for an hour, by the guest's own use.
pub const CORE_HOUR: Span = Span::hours(1);

impl Power {
    /// What so much processor time costs, rounded up: what was paid is never made smaller.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn cost(&self, cpu: Span) -> Result<Amount, Arithmetic> {
        // Milliwatts times milliseconds are microjoules, of which a kilowatt-hour has so many.
        const KILOWATT_HOUR: i128 = 3_600_000_000_000;
        let exact = i128::from(self.milliwatts) * i128::from(cpu.0) * i128::from(self.tariff.micros);
        let micros = (exact + KILOWATT_HOUR - 1) / KILOWATT_HOUR;
        Ok(Amount { micros: i64::try_from(micros).map_err(|_| Arithmetic::Overflow)?, ..self.tariff })
    }

    /// Whether each value lies in its range.
    ///
    /// # Errors
    /// [`Invalid::Content`] names the first that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        require(
            (1..=1_000_000).contains(&self.milliwatts),
            "watts",
            "more than nought, and at most 1000 for a core",
        )?;
        require(is_plain(&self.source, 64), "source", "at most 64 bytes of plain text")?;
        require(
            (0..=1_000_000_000).contains(&self.tariff.micros),
            "tariff",
            "from 0 to 1000 for a kilowatt-hour",
        )?;
        require(self.tariff.currency != Currency::Credit, "tariff", "electricity is paid for with money")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_watts_for_an_hour_are_a_hundredth_of_a_kilowatt_hour() {
        let power =
            Power { milliwatts: 10_000, source: "the owner".into(), tariff: "0.40 EUR".parse().unwrap() };
        assert_eq!(power.cost(CORE_HOUR).unwrap(), "0.004 EUR".parse().unwrap());
        assert_eq!(power.cost(Span(1)).unwrap().micros, 1, "rounded up");
        assert_eq!(power.cost(Span::ZERO).unwrap().micros, 0);
        assert_eq!(power.check(), Ok(()));
        let free = Power { tariff: Amount::new(1, Currency::Credit), ..power };
        assert!(free.check().is_err());
    }
}
