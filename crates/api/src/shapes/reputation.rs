//! What this node makes of others.

use super::basic::Party;
use node::engine::reputation::Score as Known;
use node::model::{self, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is known of one person. Scores are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Score {
    /// Their key, hexadecimal.
    pub person: String,
    /// What they call themselves; proves nothing.
    pub name: Option<String>,
    /// The number that offers are ranked by: the mean of the weakest aspect; nought for cheats.
    pub trust: u32,
    /// Kept, quality, manners.
    pub aspects: Vec<Aspect>,
    /// Leases that have ended.
    pub leases: u32,
    /// Leases that ended badly by this person's doing.
    pub broken: u32,
    /// Receipts signed together.
    pub receipts: u32,
    /// Ratings by parties to leases.
    pub ratings: u32,
    /// Caught signing two different things where only one may be.
    pub cheated: bool,
}

/// One aspect of a score: the interval holds the truth with about 95 %.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Aspect {
    /// `kept`, `quality` or `manners`.
    pub aspect: String,
    /// The mean.
    pub mean: u32,
    /// The interval's lower end.
    pub low: u32,
    /// The interval's upper end.
    pub high: u32,
}

impl Score {
    /// What is known of a person.
    pub fn of(person: PersonId, name: Option<&str>, score: &Known) -> Score {
        let aspects = model::Aspect::ALL.iter().map(|aspect| {
            let beta = score.aspect(*aspect);
            let (low, high) = beta.interval();
            Aspect { aspect: aspect.to_string(), mean: beta.mean(), low, high }
        });
        Score {
            person: person.to_string(),
            name: name.map(str::to_owned),
            trust: score.trust(),
            aspects: aspects.collect(),
            leases: score.leases,
            broken: score.broken,
            receipts: score.receipts,
            ratings: score.ratings,
            cheated: score.cheated,
        }
    }
}

/// All of whom something is known, and what is known of us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reputation {
    /// Who we are.
    pub me: Party,
    /// By person.
    pub scores: Vec<Score>,
}
