//! Whether a guest is well, as its host has seen it. Nobody signs it and nobody writes it down: it can be seen again.

use crate::text::plain_lines;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a guest is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub state: HealthState,
    /// Since when, by the host's clock.
    pub since: Timestamp,
    /// Checks that have failed, one after the other, until now.
    pub failing: u32,
    /// The last check; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Checked>,
}

/// In a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It was not well yet, and may not be.
    Starting,
    /// It is.
    Healthy,
    /// It is not.
    Unhealthy,
}

impl HealthState {
    /// One word for lists.
    pub fn word(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When it began, by the host's clock.
    pub at: Timestamp,
    /// Its exit code; none: it took too long, or did not begin.
    pub code: Option<i32>,
    /// What it printed: the first of it, at most [`Checked::MOST_OUTPUT`] bytes.
    pub output: String,
}

impl Checked {
    /// The most that is told of what a check has printed, in bytes.
    pub const MOST_OUTPUT: usize = 1_024;

    /// What a check has printed, as it is told.
    pub fn output(printed: &[u8]) -> String {
        plain_lines(&String::from_utf8_lossy(printed), Checked::MOST_OUTPUT)
    }
}

impl Health {
    /// As it is kept and shown, when a stranger has said it.
    #[must_use]
    pub fn as_heard(mut self) -> Health {
        if let Some(last) = &mut self.last {
            last.output = plain_lines(&last.output, Checked::MOST_OUTPUT);
        }
        self
    }
}
