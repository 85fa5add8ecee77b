//! Whether a guest is well: which check it has, when that is due, and what it makes of it. As docker has it.
//!
//! ```text
//!  starting ── well ──> healthy <──┐ well
//!      │                   │       │
//!      └── so many failures in a row ──> unhealthy
//! ```
//!
//! In the first time after its start failures do not count. Nothing follows from it: a guest that is not well is told of, and goes
//! on.

use model::document::{HealthCheck, HealthWish};
use model::health::{Checked, Health, HealthState};
use model::{Span, Timestamp};
use std::ops::RangeInclusive;

/// A check of which everything is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is run in the guest.
    pub command: Vec<String>,
    /// From the end of one to the beginning of the next.
    pub interval: Span,
    /// One that takes longer has failed.
    pub within: Span,
    /// So many failures in a row make it unwell.
    pub retries: u32,
    /// In its first time failures do not count.
    pub start_period: Span,
    /// The interval in its first time.
    pub start_interval: Span,
}

impl Check {
    /// What a tenant wants and an image says come to; none where nothing is checked. What an image says is brought within the bounds.
    pub fn of(wish: Option<&HealthWish>, image: Option<&HealthWish>) -> Option<Check> {
        let nothing = HealthCheck::default();
        let (wish, image) = match (wish, image) {
            (Some(HealthWish::Off), _) | (None, None | Some(HealthWish::Off)) => return None,
            (None, Some(HealthWish::Check(image))) => (&nothing, image),
            (Some(HealthWish::Check(wish)), Some(HealthWish::Check(image))) => (wish, image),
            (Some(HealthWish::Check(wish)), None | Some(HealthWish::Off)) => (wish, &nothing),
        };
        let command = if wish.command.is_empty() { &image.command } else { &wish.command };
        let span = |wish: Option<Span>, image: Option<Span>, usual, range: RangeInclusive<Span>| {
            wish.or(image).unwrap_or(usual).clamp(*range.start(), *range.end())
        };
        let retries = wish.retries.or(image.retries).unwrap_or(3);
        (!command.is_empty()).then(|| Check {
            command: command.clone(),
            interval: span(wish.interval, image.interval, Span::seconds(30), HealthCheck::INTERVALS),
            within: span(wish.within, image.within, Span::seconds(30), HealthCheck::WITHIN),
            retries: retries.clamp(*HealthCheck::RETRIES.start(), *HealthCheck::RETRIES.end()),
            start_period: span(
                wish.start_period,
                image.start_period,
                Span::ZERO,
                Span::ZERO..=HealthCheck::LONGEST_START,
            ),
            start_interval: span(
                wish.start_interval,
                image.start_interval,
                Span::seconds(5),
                HealthCheck::INTERVALS,
            ),
        })
    }
}

/// A guest that is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    check: Check,
    /// When its program began.
    began: Timestamp,
    health: Health,
}

impl Patient {
    /// A guest whose program began at some time.
    pub fn new(check: Check, began: Timestamp, now: Timestamp) -> Patient {
        let health = Health { state: HealthState::Starting, since: now, failing: 0, last: None };
        Patient { check, began, health }
    }

    /// How it is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Its check.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// When it is to be checked next, when the last check ended at some time; none: there was none.
    pub fn next(&self, ended: Option<Timestamp>) -> Timestamp {
        let after = ended.unwrap_or(self.began);
        let step = if self.is_in_first_time(after) { self.check.start_interval } else { self.check.interval };
        after + step
    }

    /// It was checked. Says whether it is in another state now.
    pub fn checked(&mut self, checked: Checked, now: Timestamp) -> bool {
        let before = self.health.state;
        if checked.code == Some(0) {
            self.health.state = HealthState::Healthy;
            self.health.failing = 0;
        } else if !self.is_in_first_time(checked.at) {
            self.health.failing = self.health.failing.saturating_add(1);
            if self.health.failing >= self.check.retries {
                self.health.state = HealthState::Unhealthy;
            }
        }
        self.health.last = Some(checked);
        let is_news = self.health.state != before;
        if is_news {
            self.health.since = now;
        }
        is_news
    }

    fn is_in_first_time(&self, at: Timestamp) -> bool {
        self.health.state == HealthState::Starting && at < self.began + self.check.start_period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Timestamp = Timestamp(1_800_000_000_000);

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn check() -> Check {
        Check {
            command: words("is it well"),
            interval: Span::seconds(30),
            within: Span::seconds(30),
            retries: 3,
            start_period: Span::ZERO,
            start_interval: Span::seconds(5),
        }
    }

    #[test]
    fn a_wish_goes_before_the_image_part_by_part() {
        let image = HealthWish::Check(HealthCheck {
            command: words("is it well"),
            interval: Some(Span::seconds(7)),
            retries: Some(9),
            ..HealthCheck::default()
        });
        let of_image = Check { interval: Span::seconds(7), retries: 9, ..check() };
        assert_eq!(Check::of(None, Some(&image)), Some(of_image.clone()));
        let wish = HealthCheck { interval: Some(Span::seconds(2)), ..HealthCheck::default() };
        let faster = Check { interval: Span::seconds(2), ..of_image };
        assert_eq!(Check::of(Some(&HealthWish::Check(wish.clone())), Some(&image)), Some(faster));
        let other = HealthWish::Check(HealthCheck { command: words("or not"), ..HealthCheck::default() });
        assert_eq!(Check::of(Some(&other), None), Some(Check { command: words("or not"), ..check() }));
        assert_eq!(Check::of(Some(&other), Some(&HealthWish::Off)).map(|check| check.retries), Some(3));

        assert_eq!(Check::of(None, None), None);
        assert_eq!(Check::of(None, Some(&HealthWish::Off)), None);
        assert_eq!(Check::of(Some(&HealthWish::Off), Some(&image)), None);
        assert_eq!(Check::of(Some(&HealthWish::Check(wish)), None), None, "nothing says what is to be run");
    }

    #[test]
    fn what_an_image_says_is_brought_within_bounds() {
        let image = HealthWish::Check(HealthCheck {
            command: words("x"),
            interval: Some(Span(1)),
            within: Some(Span::days(9)),
            retries: Some(u32::MAX),
            start_period: Some(Span::days(9)),
            start_interval: Some(Span(1)),
        });
        let check = Check::of(None, Some(&image)).unwrap();
        assert_eq!((check.interval, check.start_interval), (Span::seconds(1), Span::seconds(1)));
        assert_eq!((check.within, check.start_period), (Span::hours(1), Span::hours(24)));
        assert_eq!(check.retries, 1_000);
    }

    /// A guest that is checked each time that it is due, each check taking a second.
    struct Ward {
        patient: Patient,
        now: Timestamp,
        ended: Option<Timestamp>,
    }

    impl Ward {
        fn of(check: Check) -> Ward {
            Ward { patient: Patient::new(check, BEGAN, BEGAN), now: BEGAN, ended: None }
        }

        /// Seconds after its start when it is checked, and how it is then.
        fn checked(&mut self, code: Option<i32>) -> (u64, HealthState, u32) {
            let at = self.patient.next(self.ended);
            self.now = at + Span::seconds(1);
            self.ended = Some(self.now);
            let before = self.patient.health.state;
            let is_news = self.patient.checked(Checked { at, code, output: String::new() }, self.now);
            let Health { state, failing, .. } = *self.patient.health();
            assert_eq!(is_news, state != before);
            (at.since(BEGAN).0 / 1_000, state, failing)
        }
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unwell_and_one_success_makes_it_well() {
        use HealthState::{Healthy, Starting, Unhealthy};
        let mut ward = Ward::of(check());
        assert_eq!(ward.checked(Some(1)), (30, Starting, 1));
        assert_eq!(ward.checked(Some(0)), (61, Healthy, 0));
        assert_eq!(ward.patient.health().since, ward.now);
        assert_eq!(ward.checked(Some(1)), (92, Healthy, 1));
        assert_eq!(ward.checked(None), (123, Healthy, 2));
        assert_eq!(ward.checked(Some(0)).1, Healthy);
        assert_eq!([(); 3].map(|()| ward.checked(Some(1)).1), [Healthy, Healthy, Unhealthy]);
        let since = ward.patient.health().since;
        assert_eq!(ward.checked(Some(1)).2, 4);
        assert_eq!(ward.patient.health().since, since, "it is no more unwell than before");
        assert_eq!((ward.checked(Some(0)).1, ward.patient.health().failing), (Healthy, 0));
    }

    #[test]
    fn at_first_failures_do_not_count_and_checks_come_oftener() {
        use HealthState::{Healthy, Starting, Unhealthy};
        let mut ward = Ward::of(Check { start_period: Span::seconds(12), retries: 1, ..check() });
        assert_eq!(ward.checked(Some(1)), (5, Starting, 0));
        assert_eq!(ward.checked(Some(1)), (11, Starting, 0));
        assert_eq!(ward.checked(Some(1)), (42, Unhealthy, 1));
        // Once it was well, its first time is over.
        let mut ward = Ward::of(Check { start_period: Span::hours(1), retries: 1, ..check() });
        assert_eq!(ward.checked(Some(0)), (5, Healthy, 0));
        assert_eq!(ward.checked(Some(1)), (36, Unhealthy, 1));
    }
}
