//! Why no work comes: what was wanted, and what stood in the way.

use super::basic::{Moment, Money, Resources, Seconds};
use super::owner::Reason;
use node::model::Prices;
use node::{Demand as Wanted, DemandOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What was wanted of this machine since its node started, and why it did or did not come to work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Demands {
    /// Since when demands are kept.
    pub since: Moment,
    /// What there is to say, in plain words, the weightiest first.
    pub words: Vec<String>,
    /// What keeps work away whoever asks, for programs: `not_measured`, `nothing_lent`, `owner_first`, `all_promised`,
    /// `not_published`, `no_peer`, `not_public`.
    pub in_the_way: Vec<String>,
    /// Why the owner comes first, where that keeps work away.
    pub owner: Option<Reason>,
    /// What stood in the way, the most frequent first.
    pub obstacles: Vec<Obstacle>,
    /// Each demand, the newest first; at most 512.
    pub demands: Vec<Demand>,
}

/// Something that stood in the way of demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Obstacle {
    /// For programs, such as `too_dear`.
    pub code: String,
    /// In words.
    pub sentence: String,
    /// Of how many demands.
    pub demands: usize,
    /// The highest price of a core-hour at which one of them would have come here, where the price alone failed.
    pub winning_core_price: Option<Money>,
}

/// Something that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Demand {
    /// When.
    pub at: Moment,
    /// Whose computer wanted it, hexadecimal.
    pub peer: String,
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Seconds,
    /// The most that an hour could cost; none: nothing was said.
    pub cap: Option<Money>,
    /// What an hour of it cost here.
    pub hourly: Option<Money>,
    /// What came of it.
    pub outcome: DemandState,
    /// What stood in the way, as codes.
    pub failed: Vec<String>,
    /// In words, where it was refused.
    pub sentence: Option<String>,
    /// What a core-hour could have cost at the most for it to come here, where the price alone failed.
    pub winning_core_price: Option<Money>,
}

/// What came of something that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DemandState {
    /// A quote was given, and not, or not yet, taken.
    Quoted,
    /// It became a lease.
    Taken,
    /// It was refused.
    Refused,
    /// It looked at the offer, and asked elsewhere.
    PassedBy,
}

impl Demand {
    /// A demand, beside the prices of now.
    pub fn of(wanted: &Wanted, prices: Option<&Prices>) -> Demand {
        let (outcome, sentence) = match &wanted.outcome {
            DemandOutcome::Quoted => (DemandState::Quoted, None),
            DemandOutcome::Taken => (DemandState::Taken, None),
            DemandOutcome::Refused { sentence, .. } => (DemandState::Refused, Some(sentence.clone())),
            DemandOutcome::PassedBy { .. } => (DemandState::PassedBy, None),
        };
        Demand {
            at: Moment(wanted.at),
            peer: wanted.peer.to_string(),
            resources: wanted.resources.into(),
            term: Seconds(wanted.term),
            cap: wanted.cap.map(|cap| cap.hourly.into()),
            hourly: wanted.rate.map(|rate| rate.hourly.into()),
            outcome,
            failed: wanted.failed().into_iter().map(str::to_owned).collect(),
            sentence,
            winning_core_price: prices.and_then(|prices| wanted.winning_core_price(prices)).map(Money::from),
        }
    }
}

/// What would have come of the demands that are kept, had this machine been lent otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIf {
    /// How many would have come that did not.
    pub comes: usize,
    /// How many that came, or got a quote, would have come all the same.
    pub stays: usize,
    /// How many that came, or got a quote, would not have.
    pub goes: usize,
    /// What those that came, or got a quote, cost at the most, at the prices of now; none where prices cannot be added.
    pub worth_now: Option<Money>,
    /// What all would cost at the most that would have come.
    pub worth: Option<Money>,
    /// Each demand, the newest first; at most 512.
    pub demands: Vec<Supposed>,
}

/// A demand, and what would have come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Supposed {
    /// As it was.
    pub demand: Demand,
    /// What would have come of it.
    pub would: Would,
    /// What an hour of it would have cost; none where it would not have come.
    pub hourly: Option<Money>,
    /// What would have stood in the way, as codes.
    pub failed: Vec<String>,
}

/// What would have come of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Would {
    /// It would have come, and did not.
    Come,
    /// It came, or got a quote, and would have all the same.
    Stay,
    /// It came, or got a quote, and would not have.
    Go,
    /// It did not come, and would not have.
    Fail,
}

/// An obstacle in words.
pub fn in_words(code: &str) -> &'static str {
    match code {
        "owner_first" => "the owner came first: `sublet policy` shows the rules",
        "no_capacity" | "too_small" => "more was wanted than is lent, or than was free",
        "price_above_cap" | "too_dear" => "it cost more than was to be paid",
        "other_currency" => "it is priced in another currency",
        "term_too_long" | "too_short" => "it is not lent for so long",
        "other_mode" => "another way of paying was wanted",
        "other_arch" => "the image is for another processor",
        "out_of_reach" => "guests may not reach what was wanted outside: `sublet offer set --net`",
        "too_slow" => "the machine is slower than was wanted",
        "too_little_trust" => "more trust was wanted than others have in this machine",
        "stranger" | "not_for_you" => "it is lent to people you know alone",
        "unknown_offer" => "an older offer was asked for",
        _ => "it was refused",
    }
}
