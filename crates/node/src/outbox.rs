//! Which wanted effects go on, are done, or wait to be tried again.
//!
//! It holds nothing that a crash could lose: an effect that is still wanted after a restart is started again, and each
//! is idempotent by its key.

use engine::effect::Key;
use engine::{Effect, Topic};
use model::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The first pause before a second try.
const FIRST_PAUSE: Span = Span(400);

/// The longest pause between tries.
const LONGEST_PAUSE: Span = Span::seconds(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Going { tries: u32 },
    Done,
    Waiting { until: Timestamp, tries: u32 },
}

/// Which wanted effects go on, are done, or wait.
#[derive(Debug, Default)]
pub struct Outbox {
    effects: BTreeMap<Key, Stand>,
}

impl Outbox {
    /// Of all that is wanted, what is to be started now.
    pub fn start(&mut self, now: Timestamp, wanted: Vec<Effect>) -> Vec<Effect> {
        let keys: BTreeSet<Key> = wanted.iter().map(Effect::key).collect();
        // What goes on is let finish; what is no longer wanted is forgotten, so that this map stays as small as the list.
        self.effects.retain(|key, stand| keys.contains(key) || matches!(stand, Stand::Going { .. }));
        wanted.into_iter().filter(|effect| self.may_start(now, effect.key())).collect()
    }

    fn may_start(&mut self, now: Timestamp, key: Key) -> bool {
        if self.must_wait(key) {
            return false;
        }
        let tries = match self.effects.get(&key) {
            None => 0,
            Some(Stand::Waiting { until, tries }) if *until <= now => *tries,
            Some(Stand::Going { .. } | Stand::Done | Stand::Waiting { .. }) => return false,
        };
        self.effects.insert(key, Stand::Going { tries });
        true
    }

    /// A freeze and a thaw of one guest are done one after the other, and so are its paces: a slow one must not come
    /// after the next.
    fn must_wait(&self, key: Key) -> bool {
        let same = match key {
            Key::Still(lease, _) => Key::Still(lease, 0)..=Key::Still(lease, u64::MAX),
            Key::Pace(lease, _) => Key::Pace(lease, 0)..=Key::Pace(lease, u64::MAX),
            Key::Send(_)
            | Key::Fetch(_)
            | Key::Start(_)
            | Key::Stop(_)
            | Key::Remove(_)
            | Key::Meter(..)
            | Key::Share(_) => return false,
        };
        let same = self.effects.range(same);
        same.into_iter().any(|(_, stand)| matches!(stand, Stand::Going { .. }))
    }

    /// It is done.
    pub fn done(&mut self, key: Key) {
        self.effects.insert(key, Stand::Done);
    }

    /// It failed: to be tried again after a pause that doubles.
    pub fn failed(&mut self, now: Timestamp, key: Key) {
        let tries = match self.effects.get(&key) {
            Some(Stand::Going { tries } | Stand::Waiting { tries, .. }) => *tries,
            Some(Stand::Done) | None => 0,
        };
        let longest = match key {
            // Somebody waits in front of a screen for these.
            Key::Send(Topic::Ask(_) | Topic::Lease(_)) => Span::seconds(2),
            // An owner's answer is fetched by asking again.
            Key::Send(Topic::Renewal(..)) => Span::seconds(10),
            Key::Send(_)
            | Key::Fetch(_)
            | Key::Start(_)
            | Key::Still(..)
            | Key::Pace(..)
            | Key::Stop(_)
            | Key::Remove(_)
            | Key::Meter(..)
            | Key::Share(_) => LONGEST_PAUSE,
        };
        let pause = Span(FIRST_PAUSE.0 << tries.min(10)).min(longest);
        self.effects.insert(key, Stand::Waiting { until: now + pause, tries: tries + 1 });
    }

    /// A peer is here again: what waits to be said to it need not wait longer.
    pub fn hurry(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if let Some(Stand::Waiting { until, .. }) = self.effects.get_mut(&key) {
                *until = Timestamp(0);
            }
        }
    }

    /// When the next is to be tried again.
    pub fn next(&self) -> Option<Timestamp> {
        let waiting = self.effects.values().filter_map(|stand| match stand {
            Stand::Waiting { until, .. } => Some(*until),
            Stand::Going { .. } | Stand::Done => None,
        });
        waiting.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Id, ObjectId};

    fn stop(n: u8) -> Effect {
        Effect::Stop(Id::of(ObjectId([n; 32])))
    }

    #[test]
    fn what_goes_on_or_is_done_is_not_started_again() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.start(Timestamp(0), vec![stop(1)]).len(), 1);
        assert_eq!(outbox.start(Timestamp(0), vec![stop(1), stop(2)]), [stop(2)]);
        outbox.done(stop(1).key());
        assert!(outbox.start(Timestamp(0), vec![stop(1), stop(2)]).is_empty());
    }

    #[test]
    fn what_failed_is_tried_again_after_a_pause_that_doubles() {
        let mut outbox = Outbox::default();
        let mut now = Timestamp(0);
        let mut pauses = vec![];
        for _ in 0..12 {
            assert_eq!(outbox.start(now, vec![stop(1)]).len(), 1);
            outbox.failed(now, stop(1).key());
            let next = outbox.next().unwrap();
            pauses.push(next.since(now));
            assert!(outbox.start(next - Span(1), vec![stop(1)]).is_empty());
            now = next;
        }
        assert_eq!(pauses[..3], [Span(400), Span(800), Span(1_600)]);
        assert_eq!(*pauses.last().unwrap(), LONGEST_PAUSE);
    }

    #[test]
    fn a_thaw_waits_for_the_freeze_before_it() {
        let lease = Id::of(ObjectId([1; 32]));
        let (freeze, thaw) = (Effect::Freeze(lease, 7), Effect::Thaw(lease, 9));
        let mut outbox = Outbox::default();
        assert_eq!(outbox.start(Timestamp(0), vec![freeze.clone()]), std::slice::from_ref(&freeze));
        assert!(outbox.start(Timestamp(0), vec![thaw.clone()]).is_empty());
        outbox.done(freeze.key());
        assert_eq!(outbox.start(Timestamp(0), vec![thaw.clone()]), [thaw]);
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten() {
        let mut outbox = Outbox::default();
        outbox.start(Timestamp(0), vec![stop(1)]);
        outbox.done(stop(1).key());
        outbox.start(Timestamp(0), vec![]);
        assert!(outbox.effects.is_empty());
    }
}
