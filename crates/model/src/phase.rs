//! Where a lease stands, between agreed and ended.

use crate::document::EndReason;
use crate::owner::OwnerReason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a lease stands. The state diagram is drawn in `engine::lease`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both have signed.
    Agreed,
    /// The host fetches the image; not billed.
    Fetching,
    /// The host starts the guest; not billed.
    Starting,
    /// The guest runs; billed.
    Running,
    /// The guest runs with less than was promised; not billed.
    Throttled {
        /// Why.
        reason: OwnerReason,
        /// How much of what was promised it gets, in per cent.
        percent: u8,
    },
    /// The guest stands still; not billed.
    Frozen(FreezeReason),
    /// The guest is being stopped.
    Closing(EndReason),
    /// Over.
    Ended(EndReason),
}

/// Why a guest stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeReason {
    /// The owner comes first.
    Owner(OwnerReason),
    /// A tick stayed unsigned too long.
    Unsigned,
    /// What is owed has passed the credit.
    CreditUsedUp,
}

impl fmt::Display for FreezeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FreezeReason::Owner(reason) => reason.fmt(f),
            FreezeReason::Unsigned => f.write_str("no signed receipt arrives from the tenant"),
            FreezeReason::CreditUsedUp => f.write_str("the agreed credit is used up"),
        }
    }
}

impl Phase {
    /// One word for lists.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Agreed => "agreed",
            Phase::Fetching => "fetching",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Throttled { .. } => "throttled",
            Phase::Frozen(_) => "frozen",
            Phase::Closing(_) => "closing",
            Phase::Ended(_) => "ended",
        }
    }

    /// Whether a guest has run or runs, so that ticks are due.
    pub fn is_live(&self) -> bool {
        matches!(self, Phase::Running | Phase::Throttled { .. } | Phase::Frozen(_))
    }

    /// For which of the owner's reasons the guest stands still or runs slower; none where it is not the owner's.
    pub fn owner(&self) -> Option<OwnerReason> {
        match self {
            Phase::Throttled { reason, .. } | Phase::Frozen(FreezeReason::Owner(reason)) => Some(*reason),
            Phase::Agreed
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Frozen(_)
            | Phase::Closing(_)
            | Phase::Ended(_) => None,
        }
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self, Phase::Ended(_))
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Throttled { reason, percent } => write!(f, "throttled to {percent} %: {reason}"),
            Phase::Frozen(reason) => write!(f, "frozen: {reason}"),
            Phase::Closing(reason) => write!(f, "closing: {reason}"),
            Phase::Ended(reason) => write!(f, "ended: {reason}"),
            Phase::Agreed | Phase::Fetching | Phase::Starting | Phase::Running => f.write_str(self.word()),
        }
    }
}
