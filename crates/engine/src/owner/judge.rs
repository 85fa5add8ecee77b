//! Which reasons hold: each is taken up at once, and given up only when it has been quiet for a while, so that nothing
//! flaps.

use super::schedule;
use model::{Answer, Claim, Lending, OwnerReason, Policy, Presence, ReasonKind, Rule, Span, Timestamp};

/// For how long nothing of a reason must be seen until it is given up.
pub fn quiet(kind: ReasonKind) -> Span {
    match kind {
        // They say themselves when they are over.
        ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => Span::ZERO,
        // What is left alone for minutes has been quiet for long enough.
        ReasonKind::InUse => Span::ZERO,
        // People plug in and out, and leave the full screen for a look at something else.
        ReasonKind::OnBattery | ReasonKind::FullScreen | ReasonKind::Program => Span::seconds(10),
        ReasonKind::LowCharge | ReasonKind::Hot | ReasonKind::Metered | ReasonKind::Busy => Span::seconds(60),
    }
}

/// How far below its level a reason has to fall to be quiet.
const CHARGE_BAND: u8 = 3;
const HEAT_BAND: i16 = 5;
const BUSY_BAND: u8 = 10;

/// What is seen of a reason.
enum Sight {
    /// It holds.
    Seen(OwnerReason),
    /// It does not hold, or cannot be told here.
    NotSeen,
}

/// The reasons that hold at `now`, after those of before, and what is seen; none is seen when only time has passed.
pub fn claims(policy: &Policy, before: &[Claim], now: Timestamp, seen: Option<&Presence>) -> Vec<Claim> {
    ReasonKind::ALL.into_iter().filter_map(|kind| claim(policy, kind, before, now, seen)).collect()
}

fn claim(
    policy: &Policy,
    kind: ReasonKind,
    before: &[Claim],
    now: Timestamp,
    seen: Option<&Presence>,
) -> Option<Claim> {
    let held = before.iter().find(|claim| claim.reason.kind() == kind).copied();
    let is_asked = match kind {
        ReasonKind::Never => true,
        ReasonKind::Paused => true,
        ReasonKind::OutsideSchedule
        | ReasonKind::OnBattery
        | ReasonKind::LowCharge
        | ReasonKind::Hot
        | ReasonKind::Metered
        | ReasonKind::FullScreen
        | ReasonKind::Program
        | ReasonKind::InUse
        | ReasonKind::Busy => policy.lending != Lending::Always && policy.answer(kind) != Answer::Ignore,
    };
    if !is_asked {
        return None;
    }
    let sight = match kind {
        ReasonKind::Never if policy.lending == Lending::Never => Sight::Seen(OwnerReason::Never),
        ReasonKind::Never => Sight::NotSeen,
        // Taken up and given up by hand; its time ends it.
        ReasonKind::Paused => {
            return held.filter(|claim| claim.reason.until().is_none_or(|until| now < until));
        }
        ReasonKind::OutsideSchedule => scheduled(policy, held.as_ref(), now),
        ReasonKind::OnBattery
        | ReasonKind::LowCharge
        | ReasonKind::Hot
        | ReasonKind::Metered
        | ReasonKind::FullScreen
        | ReasonKind::Program
        | ReasonKind::InUse
        | ReasonKind::Busy => match seen {
            Some(seen) => sight(policy, kind, held.is_some(), seen),
            None => return held.filter(|claim| !is_over(claim, now)),
        },
    };
    match (sight, held) {
        // The facts of its beginning stand, so that a temperature does not fill the record.
        (Sight::Seen(_), Some(claim)) => Some(Claim { quiet: None, ..claim }),
        (Sight::Seen(reason), None) => Some(Claim { reason, since: now, quiet: None }),
        (Sight::NotSeen, Some(claim)) => {
            let claim = Claim { quiet: claim.quiet.or(Some(now)), ..claim };
            (!is_over(&claim, now)).then_some(claim)
        }
        (Sight::NotSeen, None) => None,
    }
}

/// Whether a claim has been quiet for long enough.
fn is_over(claim: &Claim, now: Timestamp) -> bool {
    claim.quiet.is_some_and(|since| since + quiet(claim.reason.kind()) <= now)
}

fn scheduled(policy: &Policy, held: Option<&Claim>, now: Timestamp) -> Sight {
    match &policy.schedule {
        Some(times) if !schedule::is_open(times, now) => {
            let until = match held {
                Some(claim) => claim.reason.until(),
                None => schedule::next_change(times, now),
            };
            Sight::Seen(OwnerReason::OutsideSchedule { until })
        }
        Some(_) | None => Sight::NotSeen,
    }
}

/// Whether what is seen is a reason of this kind. What holds already holds a little longer: up to its band.
fn sight(policy: &Policy, kind: ReasonKind, held: bool, seen: &Presence) -> Sight {
    let when = |is_so: bool, reason| if is_so { Sight::Seen(reason) } else { Sight::NotSeen };
    let level = |rule: &Rule| u8::try_from(rule.level).unwrap_or(u8::MAX);
    match kind {
        ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule => Sight::NotSeen,
        ReasonKind::OnBattery => when(seen.on_battery == Some(true), OwnerReason::OnBattery),
        ReasonKind::Metered => when(seen.metered == Some(true), OwnerReason::Metered),
        ReasonKind::FullScreen => when(seen.full_screen == Some(true), OwnerReason::FullScreen),
        ReasonKind::Program => {
            when(seen.programs.as_ref().is_some_and(|names| !names.is_empty()), OwnerReason::Program)
        }
        ReasonKind::InUse => {
            let alone = Span::seconds(policy.in_use.level.into());
            when(seen.idle.is_some_and(|idle| idle < alone), OwnerReason::InUse)
        }
        ReasonKind::LowCharge => match seen.charge {
            Some(percent) => {
                let least = level(&policy.low_charge).saturating_add(if held { CHARGE_BAND } else { 0 });
                when(percent < least, OwnerReason::LowCharge { percent })
            }
            None => Sight::NotSeen,
        },
        ReasonKind::Hot => match seen.celsius {
            Some(celsius) => {
                let most = i16::from(level(&policy.hot)) - if held { HEAT_BAND } else { 0 };
                when(celsius >= most, OwnerReason::Hot { celsius })
            }
            None => Sight::NotSeen,
        },
        ReasonKind::Busy => match seen.busy {
            Some(percent) => {
                let most = level(&policy.busy).saturating_sub(if held { BUSY_BAND } else { 0 });
                when(percent > most, OwnerReason::Busy { percent })
            }
            None => Sight::NotSeen,
        },
    }
}

/// When time alone next changes something of these claims.
pub fn next_time(policy: &Policy, claims: &[Claim], now: Timestamp) -> Option<Timestamp> {
    let over = claims.iter().flat_map(|claim| {
        let given_up = claim.quiet.map(|since| since + quiet(claim.reason.kind()));
        let ends = claim.reason.until().filter(|_| claim.reason.kind() == ReasonKind::Paused);
        [given_up, ends]
    });
    let look = policy.schedule.as_ref().map(|_| schedule::next_look(now));
    over.flatten().chain(look).min()
}
