//! What would have come at other terms: demands that are past, judged once more.
//!
//! Of a demand that asked elsewhere only what it said is known: how much, for how long, for how much at the most, and
//! the terms that failed. What another share cannot change, or what the demand never said, fails as it did.

use super::{rate, search::too_dear};
use model::{Audience, Rate, Resources, Share, Span, Speed};

/// Something that was wanted, and came or did not.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour could cost; none: nothing was said.
    pub cap: Option<Rate>,
    /// The codes of what stood in the way; none where nothing did.
    pub failed: &'a [&'a str],
}

/// What an hour of it would cost under `new`, where it came or failed under `old`.
///
/// # Errors
/// The codes of what would stand in the way.
pub fn suppose<'a>(old: &Share, new: &Share, speed: &Speed, past: &Past<'a>) -> Result<Rate, Vec<&'a str>> {
    let price = rate(&new.prices, &past.resources, speed);
    let mut failed: Vec<&str> =
        past.failed.iter().copied().filter(|code| stays(code, old, new, past)).collect();
    if !new.resources.holds(&past.resources) && !failed.contains(&"too_small") {
        failed.retain(|code| *code != "no_capacity");
        failed.push("too_small");
    }
    if past.term > new.terms.longest {
        failed.push("too_short");
    }
    match price {
        Ok(price) => failed.extend(past.cap.and_then(|cap| too_dear(price, cap)).map(|miss| miss.code())),
        Err(_) => failed.push("uncountable"),
    }
    match price {
        Ok(price) if failed.is_empty() => Ok(price),
        Ok(_) | Err(_) => Err(failed),
    }
}

/// Whether what stood in the way still does, whatever the price and the time, which are looked at anew.
fn stays(code: &str, old: &Share, new: &Share, past: &Past) -> bool {
    match code {
        "price_above_cap" | "too_dear" | "other_currency" | "uncountable" | "term_too_long" | "too_short" => {
            false
        }
        "no_capacity" | "too_small" => !has_room(old, new, past),
        "stranger" | "not_for_you" => new.audience == Audience::Known,
        _ => true,
    }
}

/// Whether there would have been room. What was more than is lent in all needs no more than that; what was only more than was free
/// then is sure of room where all of it is added.
fn has_room(old: &Share, new: &Share, past: &Past) -> bool {
    if !old.resources.holds(&past.resources) {
        return new.resources.holds(&past.resources);
    }
    new.resources.minus(&old.resources).is_some_and(|added| added.holds(&past.resources))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Amount, Currency, Mode, NetworkPolicy, Prices, RenewalTerms, Terms};

    const EUR: Currency = Currency::Iso(*b"EUR");
    const GIB: u64 = 1 << 30;

    fn share(core: i64, memory: u64, hours: u64) -> Share {
        Share {
            resources: Resources { cpu_millis: 4_000, memory, disk: GIB },
            prices: Prices { mode: Mode::Rent, currency: EUR, core, memory_gib: 0, disk_gib: 0 },
            terms: Terms {
                longest: Span::hours(hours),
                tick: Span::minutes(1),
                sign_within: Span::minutes(2),
                grace: Span::minutes(5),
                credit: 0,
                fetch_within: Span::minutes(15),
                start_within: Span::minutes(1),
                renewal: RenewalTerms::Never,
                network_rate: 0,
                io_rate: 0,
                notice: None,
            },
            audience: Audience::Everyone,
            network: NetworkPolicy::None,
            devices: Vec::new(),
            region: String::new(),
        }
    }

    fn past<'a>(cap: i64, failed: &'a [&'a str]) -> Past<'a> {
        Past {
            resources: Resources { cpu_millis: 1_000, memory: 2 * GIB, disk: 0 },
            term: Span::hours(3),
            cap: Some(Rate::hourly(Amount::new(cap, EUR))),
            failed,
        }
    }

    fn judged<'a>(new: &Share, past: &Past<'a>) -> Result<i64, Vec<&'a str>> {
        suppose(&share(50_000, 2 * GIB, 24), new, &Speed::default(), past).map(|rate| rate.hourly.micros)
    }

    #[test]
    fn a_lower_price_brings_what_passed_by_for_it_and_a_higher_one_loses_what_came() {
        let dear = past(40_000, &["too_dear"]);
        assert_eq!(judged(&share(40_000, 2 * GIB, 24), &dear), Ok(40_000));
        assert_eq!(judged(&share(45_000, 2 * GIB, 24), &dear), Err(vec!["too_dear"]));
        let came = past(60_000, &[]);
        assert_eq!(judged(&share(60_000, 2 * GIB, 24), &came), Ok(60_000));
        assert_eq!(judged(&share(60_001, 2 * GIB, 24), &came), Err(vec!["too_dear"]));
        assert_eq!(judged(&share(60_000, GIB, 24), &came), Err(vec!["too_small"]));
        assert_eq!(judged(&share(60_000, 2 * GIB, 2), &came), Err(vec!["too_short"]));
    }

    #[test]
    fn what_found_no_room_needs_as_much_as_surely_is_free() {
        let full = past(60_000, &["no_capacity"]);
        assert_eq!(judged(&share(50_000, 3 * GIB, 24), &full), Err(vec!["no_capacity"]));
        let more = Share {
            resources: Resources { cpu_millis: 5_000, memory: 4 * GIB, disk: GIB },
            ..share(50_000, 4 * GIB, 24)
        };
        assert_eq!(judged(&more, &full), Ok(50_000));
        // It never fitted at all: then to fit is enough.
        let large = Past { resources: Resources { memory: 3 * GIB, ..full.resources }, ..full };
        assert_eq!(judged(&share(50_000, 3 * GIB, 24), &large), Ok(50_000));
    }

    #[test]
    fn what_another_share_cannot_change_fails_as_it_did() {
        let slow = past(60_000, &["too_slow", "too_dear"]);
        assert_eq!(judged(&share(1, 2 * GIB, 24), &slow), Err(vec!["too_slow"]));
        let stranger = past(60_000, &["stranger"]);
        assert_eq!(judged(&share(50_000, 2 * GIB, 24), &stranger), Ok(50_000));
        let known = Share { audience: Audience::Known, ..share(50_000, 2 * GIB, 24) };
        assert_eq!(judged(&known, &stranger), Err(vec!["stranger"]));
    }
}
