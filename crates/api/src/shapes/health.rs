//! Whether guests are well, and how that is seen.

use super::basic::{Moment, Seconds};
use node::model::document as model;
use node::model::health as seen;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wanted of health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthWish {
    /// None, whatever the image says.
    Off,
    /// This one. What it leaves out is as the image says, or as usual.
    Check(HealthCheck),
}

/// How to see whether a guest is well: a command that is run in it, and ends with 0 if so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// The command and its arguments; empty: the image's.
    pub command: Vec<String>,
    /// From the end of one to the beginning of the next; none: as the image says, or 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// One that takes longer has failed; none: as the image says, or 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Seconds>,
    /// So many failures in a row make it unwell; none: as the image says, or 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// In its first time failures do not count, until it was well for once; none: as the image says, or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Seconds>,
    /// The interval in its first time; none: as the image says, or 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Seconds>,
}

/// Whether a guest is well, as its host has seen it. Times are by the host's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// In a word.
    pub state: HealthState,
    /// Since when.
    pub since: Moment,
    /// Checks that have failed, one after the other, until now.
    pub failing: u32,
    /// The last check; none before the first.
    pub last: Option<HealthChecked>,
}

/// Whether a guest is well, in a word. Nothing follows from it: a guest that is not well goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It was not well yet, and may not be.
    Starting,
    /// It is.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthChecked {
    /// When it began.
    pub at: Moment,
    /// Its exit code; none: it took too long, or did not begin.
    pub exit_code: Option<i32>,
    /// What it printed: the first KiB of it.
    pub output: String,
}

impl From<HealthWish> for model::HealthWish {
    fn from(wish: HealthWish) -> model::HealthWish {
        match wish {
            HealthWish::Off => model::HealthWish::Off,
            HealthWish::Check(check) => model::HealthWish::Check(model::HealthCheck {
                command: check.command,
                interval: check.interval.map(|interval| interval.0),
                within: check.within.map(|within| within.0),
                retries: check.retries,
                start_period: check.start_period.map(|period| period.0),
                start_interval: check.start_interval.map(|interval| interval.0),
            }),
        }
    }
}

impl From<&model::HealthWish> for HealthWish {
    fn from(wish: &model::HealthWish) -> HealthWish {
        match wish {
            model::HealthWish::Off => HealthWish::Off,
            model::HealthWish::Check(check) => HealthWish::Check(HealthCheck {
                command: check.command.clone(),
                interval: check.interval.map(Seconds),
                within: check.within.map(Seconds),
                retries: check.retries,
                start_period: check.start_period.map(Seconds),
                start_interval: check.start_interval.map(Seconds),
            }),
        }
    }
}

impl From<&seen::Health> for Health {
    fn from(health: &seen::Health) -> Health {
        let checked = |last: &seen::Checked| HealthChecked {
            at: Moment(last.at),
            exit_code: last.code,
            output: last.output.clone(),
        };
        Health {
            state: health.state.into(),
            since: Moment(health.since),
            failing: health.failing,
            last: health.last.as_ref().map(checked),
        }
    }
}

impl From<seen::HealthState> for HealthState {
    fn from(state: seen::HealthState) -> HealthState {
        match state {
            seen::HealthState::Starting => HealthState::Starting,
            seen::HealthState::Healthy => HealthState::Healthy,
            seen::HealthState::Unhealthy => HealthState::Unhealthy,
        }
    }
}
