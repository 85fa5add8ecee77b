//! Money is whole: amounts are integers of a millionth of one currency, and currencies never mix.

use crate::time::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// What an amount is counted in: an ISO 4217 code, or credits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Currency {
    /// Barter: one credit is one hour of one core of the reference machine.
    Credit,
    /// Money, by its ISO 4217 code in capitals.
    Iso([u8; 3]),
}

/// An amount of one currency, in millionths. Negative means owed the other way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Amount {
    /// Millionths of one unit of the currency.
    pub micros: i64,
    /// The currency.
    pub currency: Currency,
}

/// An amount for each hour.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// What one hour costs.
    pub hourly: Amount,
}

/// A sum that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Arithmetic {
    /// The result does not fit in 63 bits of millionths.
    #[error("the amount is too large to be counted")]
    Overflow,
    /// Two currencies in one sum.
    #[error("{0} and {1} cannot be added")]
    Mixed(Currency, Currency),
}

impl Amount {
    /// An amount of `micros` millionths.
    pub const fn new(micros: i64, currency: Currency) -> Amount {
        Amount { micros, currency }
    }

    /// Nothing, in a currency.
    pub const fn zero(currency: Currency) -> Amount {
        Amount { micros: 0, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum does not fit.
    pub fn plus(self, other: Amount) -> Result<Amount, Arithmetic> {
        self.same_currency(other)?;
        let micros = self.micros.checked_add(other.micros).ok_or(Arithmetic::Overflow)?;
        Ok(Amount { micros, ..self })
    }

    /// The difference.
    ///
    /// # Errors
    /// When the currencies differ or the difference does not fit.
    pub fn minus(self, other: Amount) -> Result<Amount, Arithmetic> {
        self.same_currency(other)?;
        let micros = self.micros.checked_sub(other.micros).ok_or(Arithmetic::Overflow)?;
        Ok(Amount { micros, ..self })
    }

    /// The same amount, the other way.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn negated(self) -> Result<Amount, Arithmetic> {
        Amount::zero(self.currency).minus(self)
    }

    /// Whether this is more than `other`.
    ///
    /// # Errors
    /// When the currencies differ: then neither is more.
    pub fn exceeds(self, other: Amount) -> Result<bool, Arithmetic> {
        self.same_currency(other)?;
        Ok(self.micros > other.micros)
    }

    fn same_currency(self, other: Amount) -> Result<(), Arithmetic> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(Arithmetic::Mixed(self.currency, other.currency))
        }
    }
}

impl Rate {
    /// `hourly` for each hour.
    pub const fn hourly(hourly: Amount) -> Rate {
        Rate { hourly }
    }

    /// The price of `span`: hourly amount times time, rounded down, so that a fraction is never claimed.
    ///
    /// # Errors
    /// When the price does not fit.
    pub fn over(self, span: Span) -> Result<Amount, Arithmetic> {
        let exact = i128::from(self.hourly.micros) * i128::from(span.0) / i128::from(Span::hours(1).0);
        let micros = i64::try_from(exact).map_err(|_| Arithmetic::Overflow)?;
        Ok(Amount { micros, ..self.hourly })
    }
}

/// `12.5 EUR`, `0.000042 credit`; always with the digits that matter and no others.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.micros.unsigned_abs() / 1_000_000;
        let fraction = format!("{:06}", self.micros.unsigned_abs() % 1_000_000);
        // Two digits as people expect of money; more only where they say something.
        let digits = fraction.trim_end_matches('0').len().max(2);
        let sign = if self.micros < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}.{} {}", &fraction[..digits], self.currency)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", self.hourly)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Currency::Credit => f.write_str("credit"),
            Currency::Iso(code) => code.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter))),
        }
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no amount or currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMoney {
    /// No currency.
    #[error("`{0}` is no currency: write an ISO 4217 code such as EUR, or `credit`")]
    Currency(String),
    /// No amount.
    #[error("`{0}` is no amount: write for example `0.05 EUR` or `2 credit`, with at most six decimals")]
    Amount(String),
}

impl FromStr for Currency {
    type Err = NotMoney;
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        if matches!(text.to_ascii_lowercase().as_str(), "credit" | "credits") {
            return Ok(Currency::Credit);
        }
        let code =
            <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_alphabetic));
        code.map(|code| Currency::Iso(code.map(|letter| letter.to_ascii_uppercase())))
            .ok_or_else(|| NotMoney::Currency(text.to_owned()))
    }
}

impl FromStr for Amount {
    type Err = NotMoney;
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let wrong = || NotMoney::Amount(text.to_owned());
        let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, currency) = (text[..at].trim(), text[at..].trim().parse()?);
        let (sign, number) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(wrong());
        }
        let micros: i64 = format!("{whole}{fraction:0<6}").parse().map_err(|_| wrong())?;
        Ok(Amount { micros: sign * micros, currency })
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let currency: Currency = text.parse().map_err(de::Error::custom)?;
        // One spelling for one currency: `eur` would be other bytes for the same thing.
        if currency.to_string() == text {
            Ok(currency)
        } else {
            Err(de::Error::custom(format!("write {currency}, not {text}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EUR: Currency = Currency::Iso(*b"EUR");

    #[test]
    fn currencies_never_mix() {
        let error = Amount::new(1, EUR).plus(Amount::new(1, Currency::Credit)).unwrap_err();
        assert_eq!(error, Arithmetic::Mixed(EUR, Currency::Credit));
    }

    #[test]
    fn overflow_is_refused() {
        assert_eq!(Amount::new(i64::MAX, EUR).plus(Amount::new(1, EUR)), Err(Arithmetic::Overflow));
        assert_eq!(Amount::new(i64::MIN, EUR).negated(), Err(Arithmetic::Overflow));
        assert_eq!(Rate::hourly(Amount::new(i64::MAX, EUR)).over(Span::hours(2)), Err(Arithmetic::Overflow));
    }

    #[test]
    fn a_fraction_is_never_claimed() {
        let rate = Rate::hourly(Amount::new(1, EUR));
        assert_eq!(rate.over(Span(3_599_999)).unwrap().micros, 0);
        assert_eq!(rate.over(Span::hours(1)).unwrap().micros, 1);
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        for text in ["0.05 EUR", "2.00 credit", "-1.50 USD", "0.000042 EUR"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
        assert!("0.0000001 EUR".parse::<Amount>().is_err());
        assert!("1,50 EUR".parse::<Amount>().is_err());
        assert!("EUR".parse::<Amount>().is_err());
        assert_eq!(
            "3 €".parse::<Amount>().unwrap_err().to_string(),
            "`3 €` is no amount: write for example `0.05 EUR` or `2 credit`, with at most six decimals"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(micros in -i64::MAX..=i64::MAX) {
            let amount = Amount::new(micros, EUR);
            prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        }

        #[test]
        fn parts_of_a_span_never_cost_more_than_the_whole(hourly in 0i64..1_000_000_000, a in 0u64..100_000_000, b in 0u64..100_000_000) {
            let rate = Rate::hourly(Amount::new(hourly, EUR));
            let parts = rate.over(Span(a)).unwrap().plus(rate.over(Span(b)).unwrap()).unwrap();
            let whole = rate.over(Span(a + b)).unwrap();
            prop_assert!(parts.micros <= whole.micros && whole.micros <= parts.micros + 1);
        }
    }
}
