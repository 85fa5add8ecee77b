//! As host: quotes hold capacity, and nobody may keep a machine from others by asking alone.
//!
//! - One person has at most [`OF_ONE`] quotes at a time, and all together [`IN_ALL`].
//! - Time in which quotes of a person have held capacity for nothing is counted, and forgiven slowly. While much of it
//!   stands against a person, all that this person's quotes hold is at most half of what is lent. An honest tenant, who
//!   takes or releases what it was quoted, is never bounded so.

use super::{Refusal, State};
use model::record::Entry;
use model::{PersonId, Quote, Resources, Share, Signed, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Quotes of one person at a time: room for some leases at once.
pub const OF_ONE: usize = 8;

/// Quotes of all persons at a time: each is kept in memory and in the record.
pub const IN_ALL: usize = 256;

/// Idle time that is nobody's concern: a quote that lapses now and then.
pub const FREE: Span = super::deal::HOLD;

/// Idle time is forgiven so many times slower than it was taken.
pub const FORGIVEN_IN: u64 = 10;

/// Time in which quotes of a person held capacity for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Idle {
    time: Span,
    as_of: Timestamp,
}

impl Idle {
    fn left(self, now: Timestamp) -> Span {
        self.time.less(Span(now.since(self.as_of).0 / FORGIVEN_IN))
    }
}

/// Who has held capacity for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idlers(BTreeMap<PersonId, Idle>);

impl Idlers {
    /// A quote of this person has ended unused.
    pub fn unused(&mut self, entry: &Entry, person: PersonId, quote: &Signed<Quote>) {
        let held = entry.at.since(quote.issued).min(super::deal::HOLD);
        let before = self.0.get(&person).map_or(Span::ZERO, |idle| idle.left(entry.at));
        self.0.insert(person, Idle { time: before + held, as_of: entry.at });
    }

    /// What is forgiven makes room.
    pub fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, idle| idle.left(now) > Span::ZERO);
    }

    /// What stands against a person.
    pub fn of(&self, person: PersonId, now: Timestamp) -> Span {
        self.0.get(&person).map_or(Span::ZERO, |idle| idle.left(now))
    }
}

/// Whether a person's quote may hold this much, besides what this person's quotes hold already.
///
/// # Errors
/// Why not.
pub fn may_hold(
    state: &State,
    share: &Share,
    now: Timestamp,
    person: PersonId,
    asked: Resources,
) -> Result<(), Refusal> {
    let mine: Vec<_> = state.quotes.values().filter(|held| held.tenant.person == person).collect();
    if mine.len() >= OF_ONE {
        return Err(Refusal::TooManyQuotes { open: mine.len() });
    }
    if state.quotes.len() >= IN_ALL {
        return Err(Refusal::TooManyQuotes { open: state.quotes.len() });
    }
    let idle = state.idlers.of(person, now);
    if idle < FREE {
        return Ok(());
    }
    let held = mine.iter().map(|held| held.ask.terms.resources);
    let all = held.fold(asked, |sum, next| sum.plus(&next).unwrap_or(sum));
    let half = half(&share.resources);
    if half.holds(&all) { Ok(()) } else { Err(Refusal::HeldForNothing { idle, asked: all, most: half }) }
}

/// Half of what is lent.
pub fn half(lent: &Resources) -> Resources {
    Resources { cpu_millis: lent.cpu_millis / 2, memory: lent.memory / 2, disk: lent.disk / 2 }
}
