//! How far a lease reaches: what each side can lose by the other, and the wish for more time.

use super::basic::{Money, Seconds};
use node::engine::lease::exposure::exposure;
use node::model::{Lease, Renewal, RenewalTerms, Span};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most that each side can lose by the other, whatever the other does; stated before the guest starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loss {
    /// The host: what the tenant has used and never pays.
    pub host: Money,
    /// The tenant: what was paid ahead.
    pub tenant: Money,
}

impl Loss {
    /// What the words of a lease come to over a term.
    pub fn of(lease: &Lease, term: Span) -> Option<Loss> {
        let most = exposure(&lease.rules, lease.rate, term).ok()?;
        Some(Loss { host: most.host.into(), tenant: most.tenant.into() })
    }
}

/// A wish for more time that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewing {
    /// How much more.
    pub more: Seconds,
    /// Whether the owner of the machine has to answer; no: its node does, when it is reached.
    pub owner_answers: bool,
}

impl Renewing {
    /// A wish under the terms of its lease.
    pub fn of(renewal: &Renewal, terms: RenewalTerms) -> Renewing {
        Renewing { more: Seconds(renewal.more), owner_answers: terms == RenewalTerms::Ask }
    }
}

/// An owner's answer to a tenant who wants more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewalAnswer {
    /// Whether it is granted.
    pub grant: bool,
}

/// Where a wish for more time stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStands {
    /// It waits for an answer; on the host's side, for the owner's.
    Asked,
    /// Both have signed.
    Agreed,
    /// There is no more time.
    Refused,
}

impl From<node::RenewalStands> for RenewalStands {
    fn from(stands: node::RenewalStands) -> RenewalStands {
        match stands {
            node::RenewalStands::Asked => RenewalStands::Asked,
            node::RenewalStands::Agreed => RenewalStands::Agreed,
            node::RenewalStands::Refused => RenewalStands::Refused,
        }
    }
}
