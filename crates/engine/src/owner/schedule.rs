//! The hours of the week, by the clocks of a place: daylight saving included.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::{Schedule, Span, Timestamp};

/// Every change of the clocks, and every half-hour by any of them, falls on a multiple of this.
const GRAIN: Span = Span::minutes(15);

/// A week, and what daylight saving can add to it.
const AHEAD: u64 = 8 * 24 * 4;

/// The zone of this name, from the database that is built in: the same everywhere, and read from no disk.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Whether the machine is lent at `at`. Where nobody knows the zone, it is lent by the clocks of UTC.
pub fn is_open(schedule: &Schedule, at: Timestamp) -> bool {
    is_open_in(schedule, &zone(&schedule.zone).unwrap_or(TimeZone::UTC), at)
}

fn is_open_in(schedule: &Schedule, zone: &TimeZone, at: Timestamp) -> bool {
    let Ok(at) = jiff::Timestamp::from_millisecond(at.0) else { return false };
    let local = zone.to_datetime(at);
    let day = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
    let half = u64::from(local.hour().unsigned_abs()) * 2 + u64::from(local.minute() >= 30);
    schedule.week.get(day).is_some_and(|halves| halves >> half & 1 == 1)
}

/// When it next opens or closes after `at`; none: never.
pub fn next_change(schedule: &Schedule, at: Timestamp) -> Option<Timestamp> {
    let zone = zone(&schedule.zone).unwrap_or(TimeZone::UTC);
    let now = is_open_in(schedule, &zone, at);
    let first = next_look(at);
    (0..AHEAD).map(|step| first + Span(GRAIN.0 * step)).find(|at| is_open_in(schedule, &zone, *at) != now)
}

/// When to look again: it opens and closes at no other time.
pub fn next_look(at: Timestamp) -> Timestamp {
    let grain = i64::try_from(GRAIN.0).unwrap_or(1);
    Timestamp(at.0.div_euclid(grain).saturating_add(1).saturating_mul(grain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    /// From `from` to `to` o'clock each day.
    fn hours(zone: &str, from: u64, to: u64) -> Schedule {
        let day = (from * 2..to * 2).fold(0, |day, half| day | 1 << half);
        Schedule { zone: zone.to_owned(), week: [day; 7] }
    }

    #[test]
    fn the_hours_are_those_of_the_place() {
        let schedule = hours("Europe/Berlin", 8, 18);
        assert!(!is_open(&schedule, at("2026-01-14T06:59:59Z")));
        assert!(is_open(&schedule, at("2026-01-14T07:00:00Z")), "eight in winter");
        assert!(is_open(&schedule, at("2026-07-14T06:00:00Z")), "eight in summer");
        assert!(!is_open(&schedule, at("2026-07-14T16:00:00Z")));
    }

    #[test]
    fn days_are_those_of_the_place() {
        let mut schedule = hours("Pacific/Auckland", 0, 24);
        schedule.week = [0; 7];
        schedule.week[6] = (1 << 48) - 1;
        assert!(is_open(&schedule, at("2026-05-02T12:30:00Z")), "Sunday began there half an hour ago");
        assert!(!is_open(&schedule, at("2026-05-03T12:00:00Z")), "and is over");
    }

    #[test]
    fn the_hour_that_a_spring_night_leaves_out_is_left_out() {
        let schedule = hours("Europe/Berlin", 2, 3);
        let night = at("2026-03-29T00:00:00Z");
        let open = (0..96u64).filter(|step| is_open(&schedule, night + Span(GRAIN.0 * step))).count();
        assert_eq!(open, 0, "from two to three there was no time that night");
        assert_eq!(next_change(&schedule, night), Some(at("2026-03-30T00:00:00Z")));
    }

    #[test]
    fn the_hour_that_an_autumn_night_has_twice_is_lent_twice() {
        let schedule = hours("Europe/Berlin", 2, 3);
        let night = at("2026-10-24T22:00:00Z");
        let open = (0..32u64).filter(|step| is_open(&schedule, night + Span(GRAIN.0 * step))).count();
        assert_eq!(open, 8);
    }

    #[test]
    fn zones_of_a_quarter_hour_open_on_time() {
        let schedule = hours("Asia/Kathmandu", 9, 10);
        let opens = at("2026-05-05T03:15:00Z");
        assert!(is_open(&schedule, opens) && !is_open(&schedule, opens - Span(1)));
        assert_eq!(next_change(&schedule, opens - Span::hours(2)), Some(opens));
    }

    #[test]
    fn what_never_changes_says_so() {
        assert_eq!(next_change(&hours("UTC", 0, 24), at("2026-05-05T03:15:00Z")), None);
        assert_eq!(next_change(&hours("UTC", 0, 0), at("2026-05-05T03:15:00Z")), None);
        assert!(zone("Mars/Olympus").is_none());
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_next_change(
            week in prop::array::uniform7(0u64..1 << 48),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            start in 1_700_000_000_000i64..1_900_000_000_000,
            inside in 0.0f64..1.0,
        ) {
            let schedule = Schedule { zone: zone.to_owned(), week };
            let start = Timestamp(start);
            let Some(change) = next_change(&schedule, start) else { return Ok(()) };
            let between = start + Span((change.since(start).0 as f64 * inside) as u64);
            prop_assume!(between < change);
            prop_assert_eq!(is_open(&schedule, between), is_open(&schedule, start));
            prop_assert_ne!(is_open(&schedule, change), is_open(&schedule, start));
        }
    }
}
