//! What lending earns, and what electricity it takes.

use super::basic::{Moment, Money, Seconds};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What lending has earned, by stretches of time in which something was earned or used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Earnings {
    /// Stretches with something in them, the earliest first; one for each currency.
    pub buckets: Vec<Bucket>,
    /// All of them together, one for each currency.
    pub totals: Vec<Bucket>,
    /// What electricity costs; none: nobody has said.
    pub electricity: Option<Electricity>,
}

/// What a stretch of time has earned in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// When it began.
    pub from: Moment,
    /// When it ended.
    pub until: Moment,
    /// What was earned.
    pub gross: Money,
    /// What electricity it took; none: nobody had said what that costs.
    pub electricity: Option<Money>,
    /// The one less the other; none where they are of two currencies, or the other is not known.
    pub net: Option<Money>,
    /// Guests' time that was paid for.
    pub billed: Seconds,
    /// Processor time that guests used.
    pub cpu: Seconds,
}

/// How long a stretch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BucketLength {
    /// An hour.
    Hour,
    /// A day, by the clocks of this machine.
    #[default]
    Day,
    /// A month, by the clocks of this machine.
    Month,
}

/// What electricity costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Electricity {
    /// Thousandths of a watt that a busy core takes more than an idle one.
    pub milliwatts_per_core: u32,
    /// Who says so: `the owner`, or what was measured with.
    pub source: String,
    /// What a kilowatt-hour costs.
    pub tariff: Money,
    /// What an hour of a busy core costs: no price below it earns anything.
    pub core_hour: Money,
}

/// What electricity costs, as the owner says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ElectricityWish {
    /// What a kilowatt-hour costs.
    pub tariff: Money,
    /// Thousandths of a watt that a busy core takes more than an idle one; none: it is measured, which takes some
    /// seconds.
    #[serde(default)]
    pub milliwatts_per_core: Option<u32>,
}

impl Electricity {
    /// What a core costs.
    pub fn of(power: &node::model::Power) -> Electricity {
        let core_hour = power.cost(node::model::power::CORE_HOUR).unwrap_or(power.tariff);
        Electricity {
            milliwatts_per_core: power.milliwatts,
            source: power.source.clone(),
            tariff: power.tariff.into(),
            core_hour: core_hour.into(),
        }
    }
}
