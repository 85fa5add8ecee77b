//! What I make of others, from what I can verify: facts of our leases, and what the parties to real leases say.
//!
//! A score is a Beta distribution for each aspect (Jøsang and Ismail, "The Beta Reputation System", 2002): `a` counts
//! what went well and `b` what did not, both from one, and each new fact makes the old ones weigh a little less. Few
//! facts give a wide interval, and it is shown as such.

use crate::lease::KEPT;
use model::record::{Entry, Record};
use model::{Aspect, EndReason, Lease, PersonId, Rating, Receipt, Side, Signed, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of a thousand parts of old evidence, how many are left after a new fact. Half is forgotten after about 70 facts.
const REMEMBERED: u64 = 990;

/// Evidence is counted in thousandths.
const ONE: u64 = 1_000;

/// What a fact weighs against an opinion: facts beat opinions.
const FACT: u64 = 2 * ONE;

/// Evidence for and against one aspect of a person, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beta {
    good: u64,
    bad: u64,
}

impl Default for Beta {
    /// Nothing is known: anything between nought and one is as likely.
    fn default() -> Beta {
        Beta { good: ONE, bad: ONE }
    }
}

impl Beta {
    /// The mean, in thousandths.
    pub fn mean(&self) -> u32 {
        (self.good * 1_000 / (self.good + self.bad)) as u32
    }

    /// The interval that holds the truth with about 95 %: two standard deviations about the mean, in thousandths.
    pub fn interval(&self) -> (u32, u32) {
        let (a, b) = (u128::from(self.good), u128::from(self.bad));
        // Var = ab / ((a+b)^2 (a+b+1)); with a and b in thousandths, in millionths:
        let variance = a * b * 1_000_000 * u128::from(ONE) / ((a + b) * (a + b) * (a + b + u128::from(ONE)));
        let spread = 2 * u32::try_from(variance.isqrt()).unwrap_or(1_000);
        (self.mean().saturating_sub(spread), (self.mean() + spread).min(1_000))
    }

    fn add(&mut self, good: u64, bad: u64) {
        // The one of each that stands for not knowing is never forgotten.
        let kept = |evidence: u64| ONE + (evidence - ONE) * REMEMBERED / 1_000;
        *self = Beta { good: kept(self.good) + good, bad: kept(self.bad) + bad };
    }
}

/// What is known of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Kept what was agreed.
    pub kept: Beta,
    /// As fast as offered, or as gentle as asked.
    pub quality: Beta,
    /// Signed, answered and settled in time.
    pub manners: Beta,
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

impl Score {
    /// One aspect.
    pub fn aspect(&self, aspect: Aspect) -> &Beta {
        match aspect {
            Aspect::Kept => &self.kept,
            Aspect::Quality => &self.quality,
            Aspect::Manners => &self.manners,
        }
    }

    /// The number that offers are ranked by, in thousandths: the mean of the weakest aspect; nought for cheats.
    pub fn trust(&self) -> u32 {
        if self.cheated {
            return 0;
        }
        Aspect::ALL.iter().map(|aspect| self.aspect(*aspect).mean()).min().unwrap_or(0)
    }
}

/// What is known of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    scores: BTreeMap<PersonId, Score>,
    /// Leases of which something may still come: they go on, or have ended not long ago.
    dealings: BTreeMap<model::Id<Lease>, Dealing>,
}

/// A lease, as far as it tells something of the other party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Dealing {
    me: Side,
    other: PersonId,
    /// Whether a receipt was signed: without one, nothing has proven that anything was kept.
    signed: bool,
    ended: Option<(Timestamp, EndReason)>,
}

impl State {
    /// What is known of a person; of a stranger, nothing.
    pub fn score(&self, person: PersonId) -> Score {
        self.scores.get(&person).cloned().unwrap_or_default()
    }

    /// All of whom something is known.
    pub fn known(&self) -> impl Iterator<Item = (PersonId, &Score)> {
        self.scores.iter().map(|(person, score)| (*person, score))
    }

    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "each subject reads the few records that concern it"
        )]
        match &entry.record {
            Record::Agreed { lease, side, .. } => {
                let other = match side {
                    Side::Host => lease.tenant.person,
                    Side::Tenant => lease.host.person,
                };
                self.dealings
                    .retain(|_, dealing| dealing.ended.is_none_or(|(ended, _)| ended + KEPT > entry.at));
                self.dealings.insert(lease.id(), Dealing { me: *side, other, signed: false, ended: None });
            }
            Record::Receipted { receipt } => self.receipted(receipt),
            Record::Moved { lease, phase: model::Phase::Ended(reason), .. } => {
                self.ended(*lease, entry.at, *reason)
            }
            Record::Rated { rating, of, .. } => self.rated(rating, *of),
            Record::Equivocated { person, .. } => self.scores.entry(*person).or_default().cheated = true,
            _ => {}
        }
    }

    fn receipted(&mut self, receipt: &Receipt) {
        let Some(dealing) = self.dealings.get_mut(&receipt.lease) else { return };
        let score = self.scores.entry(dealing.other).or_default();
        score.receipts += 1;
        score.manners.add(ONE, 0);
        // The last receipt is often signed after the end.
        if !dealing.signed && dealing.ended.is_some_and(|(_, reason)| reason.against().is_none()) {
            score.kept.add(FACT, 0);
        }
        dealing.signed = true;
    }

    fn ended(&mut self, lease: model::Id<Lease>, at: Timestamp, reason: EndReason) {
        let Some(dealing) = self.dealings.get_mut(&lease).filter(|dealing| dealing.ended.is_none()) else {
            return;
        };
        dealing.ended = Some((at, reason));
        let score = self.scores.entry(dealing.other).or_default();
        score.leases += 1;
        match reason.against() {
            Some(side) if side == dealing.me.other() => {
                score.broken += 1;
                score.kept.add(0, FACT);
            }
            // My own fault says nothing of the other.
            Some(_) => {}
            None if dealing.signed => score.kept.add(FACT, 0),
            None => {}
        }
    }

    fn rated(&mut self, rating: &Signed<Rating>, of: PersonId) {
        let score = self.scores.entry(of).or_default();
        score.ratings += 1;
        for aspect in Aspect::ALL {
            // 1 to 5 becomes 0 to 1.
            let good = u64::from(rating.mark(aspect).saturating_sub(1)) * ONE / 4;
            let beta = match aspect {
                Aspect::Kept => &mut score.kept,
                Aspect::Quality => &mut score.quality,
                Aspect::Manners => &mut score.manners,
            };
            beta.add(good, ONE - good);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stranger_nothing_is_known() {
        let (low, high) = Beta::default().interval();
        assert_eq!(Beta::default().mean(), 500);
        assert!(low < 10 && high > 990, "{low} to {high}");
    }

    #[test]
    fn facts_narrow_the_interval() {
        let mut beta = Beta::default();
        let mut width = 1_000;
        for _ in 0..50 {
            beta.add(ONE, 0);
        }
        let (low, high) = beta.interval();
        assert!(beta.mean() > 950 && high - low < width, "{low} to {high}");
        width = high - low;
        beta.add(0, ONE);
        assert!(beta.mean() < 970);
        assert!(width < 150);
    }

    #[test]
    fn old_facts_fade() {
        let mut beta = Beta::default();
        (0..100).for_each(|_| beta.add(0, ONE));
        (0..300).for_each(|_| beta.add(ONE, 0));
        assert!(beta.mean() > 900, "{}", beta.mean());
        assert!(beta.good < 101 * ONE, "evidence is bounded");
    }
}
