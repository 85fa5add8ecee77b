//! Amounts, times and parties, as they stand in JSON.

use node::clock::{rfc3339, timestamp};
use node::model::{self, Amount, Currency, Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// An amount of one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "micros": 50_000, "currency": "EUR", "text": "0.05 EUR" }))]
pub struct Money {
    /// Millionths of one unit of the currency. Negative means owed the other way.
    pub micros: i64,
    /// An ISO 4217 code, or `credit`.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// As people write it. Not read.
    #[serde(default)]
    pub text: String,
}

impl From<Amount> for Money {
    fn from(amount: Amount) -> Money {
        Money { micros: amount.micros, currency: amount.currency, text: amount.to_string() }
    }
}

impl From<&Money> for Amount {
    fn from(money: &Money) -> Amount {
        Amount::new(money.micros, money.currency)
    }
}

/// A length of time: a number of seconds, exact to a thousandth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Span);

/// A moment: `2026-07-31T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.0 as f64 / 1_000.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A thousand years: far beyond every limit, and far from where a float loses milliseconds.
        const MOST: f64 = 3.2e10;
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=MOST).contains(&seconds) {
            return Err(de::Error::custom("a length of time is a number of seconds, from 0 to 32000000000"));
        }
        Ok(Seconds(Span((seconds * 1_000.0).round() as u64)))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let at = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        at.duration_since(UNIX_EPOCH).map_err(de::Error::custom)?;
        Ok(Moment(timestamp(at)))
    }
}

/// A moment that is past, or soon will be: `2026-07-31T12:00:00Z`, or how long ago it was: `10m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ago(SystemTime);

impl Ago {
    /// The moment.
    pub fn moment(self) -> Timestamp {
        timestamp(self.0)
    }
}

/// Which output is wanted of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogsWish {
    /// Whether to go on as output comes, until the guest ends.
    pub follow: bool,
    /// Bytes to leave out.
    pub from: u64,
    /// No line that came before.
    pub since: Option<Moment>,
    /// No line that came after.
    pub until: Option<Moment>,
    /// Of the lines that are there, so many of the last.
    pub tail: Option<u32>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
}

impl FromStr for Ago {
    type Err = String;

    fn from_str(text: &str) -> Result<Ago, String> {
        let wrong = || {
            format!("`{text}` is no time: write for example 2026-07-31T18:30:00Z, or 10m for ten minutes ago")
        };
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Ago(at.into()));
        }
        let span = humantime::parse_duration(text).map_err(|_| wrong())?;
        SystemTime::now().checked_sub(span).map(Ago).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Ago {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rfc3339(self.0).fmt(f)
    }
}

impl PartialSchema for Seconds {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Double);
        let number = ObjectBuilder::new().schema_type(Type::Number).format(Some(format)).minimum(Some(0));
        number.description(Some("Seconds, exact to a thousandth.")).into()
    }
}

impl ToSchema for Seconds {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Moment {}

/// An amount of each resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// Thousandths of a logical core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk that a guest may write.
    pub disk_bytes: u64,
}

impl From<model::Resources> for Resources {
    fn from(resources: model::Resources) -> Resources {
        Resources {
            cpu_millis: resources.cpu_millis,
            memory_bytes: resources.memory,
            disk_bytes: resources.disk,
        }
    }
}

impl From<Resources> for model::Resources {
    fn from(resources: Resources) -> model::Resources {
        model::Resources {
            cpu_millis: resources.cpu_millis,
            memory: resources.memory_bytes,
            disk: resources.disk_bytes,
        }
    }
}

/// A device, and the person whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Party {
    /// The person's key, hexadecimal.
    pub person: String,
    /// The device's key, hexadecimal.
    pub device: String,
    /// What they call themselves; proves nothing.
    pub name: Option<String>,
}

/// One of the two parties of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who lends.
    Host,
    /// Who uses.
    Tenant,
}

impl From<model::Side> for Side {
    fn from(side: model::Side) -> Side {
        match side {
            model::Side::Host => Side::Host,
            model::Side::Tenant => Side::Tenant,
        }
    }
}

/// How a lease is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is owed.
    Gift,
    /// Credits on a line with a limit.
    Barter,
    /// Money.
    Rent,
}

impl From<model::Mode> for Mode {
    fn from(mode: model::Mode) -> Mode {
        match mode {
            model::Mode::Gift => Mode::Gift,
            model::Mode::Barter => Mode::Barter,
            model::Mode::Rent => Mode::Rent,
        }
    }
}

impl From<Mode> for model::Mode {
    fn from(mode: Mode) -> model::Mode {
        match mode {
            Mode::Gift => model::Mode::Gift,
            Mode::Barter => model::Mode::Barter,
            Mode::Rent => model::Mode::Rent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_written() {
        let at = Moment(Timestamp(1_800_000_000_123));
        assert_eq!(serde_json::to_string(&at).unwrap(), r#""2027-01-15T08:00:00.123Z""#);
        assert_eq!(serde_json::from_str::<Moment>(r#""2027-01-15T08:00:00.123Z""#).unwrap(), at);
        for millis in [0, 1, 999, 20_512, 86_400_000 * 366] {
            let text = serde_json::to_string(&Seconds(Span(millis))).unwrap();
            assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), Seconds(Span(millis)), "{text}");
        }
    }

    #[test]
    fn a_moment_that_is_past_is_named_or_counted_back() {
        let ago = |text: &str| text.parse::<Ago>().map(Ago::moment);
        assert_eq!(ago("2027-01-15T08:00:00.123Z"), Ok(Timestamp(1_800_000_000_123)));
        assert_eq!(ago("2027-01-15T09:00:00+01:00"), Ok(Timestamp(1_800_000_000_000)));
        let (hour, now) = (ago("1h").unwrap(), ago("0s").unwrap());
        assert!((3_590_000..=3_610_000).contains(&now.since(hour).0));
        for text in ["", "soon", "10", "-5m", "2027-01-15"] {
            assert!(ago(text).is_err(), "{text}");
        }
        assert_eq!(ago("900y"), Ok(Timestamp(0)));
    }

    #[test]
    fn a_length_of_time_is_never_negative_or_endless() {
        for text in ["-1", "1e300", "null", "\"1h\""] {
            assert!(serde_json::from_str::<Seconds>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn money_names_its_currency_and_is_whole() {
        let money: Money = serde_json::from_str(r#"{"micros":50000,"currency":"EUR"}"#).unwrap();
        assert_eq!(Money::from(Amount::from(&money)).text, "0.05 EUR");
        for text in
            [r#"{"micros":0.5,"currency":"EUR"}"#, r#"{"micros":1,"currency":"euro"}"#, r#"{"micros":1}"#]
        {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
    }
}
