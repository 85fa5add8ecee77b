//! The owner comes first: guests make room in the decision in which a reason is seen, nothing flaps, nobody pays for it.

use crate::world::{HOST, TENANT, World, rules, share, wish};
use engine::input::Owner;
use engine::owner::{Command, Stance, State, quiet};
use model::record::{Entry, Record};
use model::{
    Answer, EndReason, FreezeReason, Id, Lease, Lending, OwnerReason, Phase, Policy, Presence, ReasonKind,
    Rule, Schedule, Share, Span, Terms, Timestamp,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Somebody is there, on mains.
fn at_work() -> Presence {
    Presence { on_battery: Some(false), idle: Some(Span::ZERO), ..Presence::default() }
}

/// Nobody has been there for an hour.
fn alone() -> Presence {
    Presence { idle: Some(Span::hours(1)), ..at_work() }
}

fn on_battery() -> Presence {
    Presence { on_battery: Some(true), ..alone() }
}

fn tell(world: &mut World, command: Command) {
    world.owner(Owner::First(command)).unwrap();
}

fn frozen(reason: OwnerReason) -> Phase {
    Phase::Frozen(FreezeReason::Owner(reason))
}

/// Lets the machine say the same each second for a while.
fn sees(world: &mut World, presence: &Presence, seconds: u64) {
    for _ in 0..seconds {
        tell(world, Command::See(presence.clone()));
        world.run(Span::seconds(1));
    }
}

#[test]
fn a_pause_freezes_in_the_same_decision_and_the_tenant_hears_why() {
    let mut world = World::of(1);
    let lease = world.running();
    let until = world.now + Span::hours(1);
    tell(&mut world, Command::Pause { until: Some(until) });
    let paused = frozen(OwnerReason::Paused { until: Some(until) });
    assert_eq!(world.lease(HOST, lease).phase, paused, "before anything else happens");
    world.run(Span::seconds(1));
    assert!(world.nodes[HOST].machine.is_still(lease));
    assert_eq!(world.lease(TENANT, lease).phase, paused);
    tell(&mut world, Command::Resume);
    world.run(Span::seconds(1));
    assert!(!world.nodes[HOST].machine.is_still(lease));
    assert!(world.both(lease, |lease| lease.phase == Phase::Running));
}

#[test]
fn a_pause_ends_by_itself_and_survives_a_restart() {
    let mut world = World::of(1);
    let lease = world.running();
    let until = world.now + Span::minutes(2);
    tell(&mut world, Command::Pause { until: Some(until) });
    world.run(Span::seconds(30));
    world.crash(HOST);
    world.run(Span::seconds(30));
    assert!(world.nodes[HOST].machine.is_still(lease));
    world.until(Span::minutes(2), |world| world.both(lease, |lease| lease.phase == Phase::Running));
    assert!(world.now.since(until) <= Span::seconds(1), "{} late", world.now.since(until));
}

#[test]
fn time_that_the_owner_takes_is_free() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(30));
    tell(&mut world, Command::Pause { until: None });
    world.run(Span::seconds(100));
    tell(&mut world, Command::Resume);
    world.run(Span::seconds(30));
    sees(&mut world, &at_work(), 60);
    assert!(world.nodes[HOST].machine.is_slow(lease));
    sees(&mut world, &alone(), 2);
    assert!(!world.nodes[HOST].machine.is_slow(lease));
    world.ended(lease);
    let usage = world.lease(TENANT, lease).receipt.as_ref().unwrap().usage;
    assert!((100_000..101_000).contains(&usage.frozen.0), "{usage:?}");
    assert!((60_000..62_000).contains(&usage.throttled.0), "{usage:?}");
    let billed = wish().term.less(usage.frozen).less(usage.throttled);
    assert_eq!(world.lease(TENANT, lease).receipt.as_ref().unwrap().amount.micros, billed.0 as i64);
}

#[test]
fn who_uses_the_machine_gets_most_of_it() {
    let mut world = World::of(1);
    let lease = world.running();
    tell(&mut world, Command::See(at_work()));
    let slow = Phase::Throttled { reason: OwnerReason::InUse, percent: 25 };
    assert_eq!(world.lease(HOST, lease).phase, slow);
    world.run(Span::seconds(1));
    assert!(world.both(lease, |lease| lease.phase == slow) && world.nodes[HOST].machine.is_slow(lease));
    tell(&mut world, Command::See(Presence { full_screen: Some(true), ..at_work() }));
    assert_eq!(
        world.lease(HOST, lease).phase,
        frozen(OwnerReason::FullScreen),
        "a freeze comes before a throttle"
    );
}

#[test]
fn nothing_new_is_lent_while_a_reason_holds() {
    let mut world = World::of(1);
    tell(&mut world, Command::See(on_battery()));
    let ask = world.ask(TENANT, wish());
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(code, "owner_first");
    assert!(sentence.contains("battery"), "{sentence}");
    sees(&mut world, &alone(), 12);
    world.deal(TENANT, wish());
}

#[test]
fn a_guest_that_starts_while_a_reason_holds_stands_still_at_once() {
    let mut world = World::of(1);
    let lease = world.deal(TENANT, wish());
    tell(&mut world, Command::See(on_battery()));
    world.until(Span::minutes(1), |world| world.lease(HOST, lease).started.is_some());
    assert_eq!(world.lease(HOST, lease).phase, frozen(OwnerReason::OnBattery));
    world.run(Span::seconds(1));
    assert!(world.nodes[HOST].machine.is_still(lease));
}

#[test]
fn an_owner_who_holds_a_guest_for_longer_than_the_notice_ends_the_lease() {
    let terms = Terms { notice: Some(Span::minutes(3)), ..rules() };
    let mut world = World::lending(Share { terms, ..share() }, 1, 1);
    let lease = world.running();
    // Another reason takes over in between: to the tenant it is one wait.
    let since = world.now;
    tell(&mut world, Command::Pause { until: Some(since + Span::minutes(2)) });
    world.run(Span::seconds(60));
    let ahead = Some((since + Span::minutes(3), EndReason::OwnerStopped));
    assert_eq!(engine::lease::blame_ahead(world.lease(HOST, lease)), ahead, "the owner can know");
    assert_eq!(engine::lease::blame_ahead(world.lease(TENANT, lease)), None, "it is not the tenant's doing");
    sees(&mut world, &on_battery(), 130);
    assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::OwnerStopped)));
    assert_eq!(engine::lease::blame_ahead(world.lease(HOST, lease)), None);
    let held = world.lease(HOST, lease).moved.since(since);
    assert!(held >= Span::minutes(3) && held <= Span::seconds(182), "{held}");
}

#[test]
fn what_a_tenant_owes_is_not_hidden_behind_the_owner() {
    let mut world = World::of(1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    let unsigned = Phase::Frozen(FreezeReason::Unsigned);
    world.until(Span::minutes(5), |world| world.lease(HOST, lease).phase == unsigned);
    tell(&mut world, Command::Pause { until: None });
    assert_eq!(world.lease(HOST, lease).phase, unsigned);
    world.cut.clear();
    let paused = frozen(OwnerReason::Paused { until: None });
    world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == paused));
    assert!(world.nodes[HOST].machine.is_still(lease));
}

#[test]
fn the_hours_of_the_week_open_and_close_by_themselves() {
    let mut world = World::of(1);
    let lease = world.running();
    let never = Policy { schedule: Some(Schedule { zone: "UTC".into(), week: [0; 7] }), ..Policy::default() };
    tell(&mut world, Command::Rule(never));
    assert_eq!(world.lease(HOST, lease).phase, frozen(OwnerReason::OutsideSchedule { until: None }));
    tell(&mut world, Command::Rule(Policy::default()));
    assert_eq!(world.lease(HOST, lease).phase, Phase::Running);
    let refused = world.owner(Owner::First(Command::Rule(Policy {
        schedule: Some(Schedule { zone: "Middle-earth/Shire".into(), week: [0; 7] }),
        ..Policy::default()
    })));
    assert_eq!(refused.unwrap_err().code(), "unknown_zone");
}

#[test]
fn always_and_never_are_taken_at_their_word() {
    let mut world = World::of(1);
    let lease = world.running();
    tell(&mut world, Command::Rule(Policy { lending: Lending::Always, ..Policy::default() }));
    tell(&mut world, Command::See(on_battery()));
    assert_eq!(world.lease(HOST, lease).phase, Phase::Running);
    tell(&mut world, Command::Rule(Policy { lending: Lending::Never, ..Policy::default() }));
    assert_eq!(world.lease(HOST, lease).phase, frozen(OwnerReason::Never));
}

#[test]
fn a_pause_in_the_past_is_refused() {
    let state = State::default();
    for until in [Timestamp(5), Timestamp(5) + Span::days(400)] {
        let refused = state.decide(Timestamp(10), Command::Pause { until: Some(until) });
        assert_eq!(refused.unwrap_err().code(), "out_of_range");
    }
}

#[test]
fn new_facts_of_an_old_reason_fill_no_record() {
    let mut world = World::of(1);
    world.running();
    let hot = |celsius| Presence { celsius: Some(celsius), ..alone() };
    sees(&mut world, &hot(95), 2);
    let written = world.nodes[HOST].pretend_store.len();
    for celsius in [91, 93, 88, 99, 86] {
        sees(&mut world, &hot(celsius), 5);
    }
    assert_eq!(world.nodes[HOST].pretend_store.len(), written);
}

/// A policy that answers to everything, and something a machine sees.
fn strict() -> Policy {
    Policy { busy: Rule { answer: Answer::Throttle, level: 50 }, ..Policy::default() }
}

fn presence() -> impl Strategy<Value = Presence> {
    let yes = prop::option::of(any::<bool>());
    let idle = prop::option::of((0u64..900).prop_map(Span::seconds));
    (
        yes.clone(),
        prop::option::of(0u8..=100),
        prop::option::of(20i16..110),
        yes.clone(),
        yes,
        idle,
        prop::option::of(0u8..=100),
    )
        .prop_map(|(on_battery, charge, celsius, metered, full_screen, idle, busy)| Presence {
            on_battery,
            charge,
            celsius,
            metered,
            full_screen,
            programs: None,
            idle,
            busy,
        })
}

/// Whether a reason of this kind is plainly there: beyond its level, and not within the band in which it may linger.
fn plain(policy: &Policy, kind: ReasonKind, seen: &Presence) -> bool {
    match kind {
        ReasonKind::OnBattery => seen.on_battery == Some(true),
        ReasonKind::LowCharge => {
            seen.charge.is_some_and(|charge| u16::from(charge) < policy.low_charge.level)
        }
        ReasonKind::Hot => seen.celsius.is_some_and(|celsius| celsius >= policy.hot.level as i16),
        ReasonKind::Metered => seen.metered == Some(true),
        ReasonKind::FullScreen => seen.full_screen == Some(true),
        ReasonKind::InUse => seen.idle.is_some_and(|idle| idle < Span::seconds(policy.in_use.level.into())),
        ReasonKind::Busy => seen.busy.is_some_and(|busy| u16::from(busy) > policy.busy.level),
        ReasonKind::Never | ReasonKind::Paused | ReasonKind::OutsideSchedule | ReasonKind::Program => false,
    }
}

proptest! {
    #[test]
    fn a_reason_is_taken_up_at_once_and_never_flaps(looks in prop::collection::vec((1u64..40, presence()), 1..60)) {
        let policy = strict();
        let mut state = State { ruled: Some(policy.clone()), ..State::default() };
        let mut replayed = state.clone();
        let mut now = Timestamp(1_800_000_000_000);
        let mut gone: BTreeMap<ReasonKind, (Timestamp, Timestamp)> = BTreeMap::new();
        for (seq, (seconds, seen)) in looks.into_iter().enumerate() {
            now = now + Span::seconds(seconds);
            let before = state.claims.clone();
            let (records, stance) = state.decide(now, Command::See(seen.clone())).unwrap();
            for record in records {
                let entry = Entry { seq: seq as u64 + 1, at: now, record };
                state.apply(&entry);
                replayed.apply(&entry);
            }
            prop_assert_eq!(&replayed, &state, "the record is the state");
            prop_assert_eq!(stance, state.stance(), "what was decided is what follows from the record");
            for kind in ReasonKind::ALL {
                let claim = state.claim(kind);
                if plain(&policy, kind, &seen) {
                    prop_assert!(claim.is_some_and(|claim| claim.quiet.is_none()), "{kind:?} holds at once");
                }
                if let (Some(held), None) = (before.iter().find(|claim| claim.reason.kind() == kind), claim) {
                    prop_assert!(!plain(&policy, kind, &seen), "{kind:?} is not given up while it is there");
                    prop_assert!(now.since(held.since) >= quiet(kind), "{kind:?} lasts");
                    prop_assert!(held.quiet.unwrap_or(now) + quiet(kind) <= now, "{kind:?} was quiet");
                    gone.insert(kind, (held.since, now));
                }
            }
            let frozen = state.claims.iter().any(|claim| policy.answer(claim.reason.kind()) == Answer::Freeze);
            prop_assert_eq!(matches!(stance, Stance::Freeze(_)), frozen, "frozen within one decision, and explained");
            prop_assert_eq!(stance == Stance::Lend, state.claims.is_empty());
        }
        // Each turn from held to free took its quiet time at least.
        for (kind, (since, until)) in gone {
            prop_assert!(until.since(since) >= quiet(kind));
        }
    }
}

#[test]
fn what_is_quiet_for_long_enough_is_given_up_without_another_look() {
    let mut world = World::of(1);
    let lease: Id<Lease> = world.running();
    sees(&mut world, &on_battery(), 1);
    tell(&mut world, Command::See(alone()));
    let quiet_since = world.now;
    world.until(Span::minutes(1), |world| world.lease(HOST, lease).phase == Phase::Running);
    assert_eq!(world.now.since(quiet_since).0 / 1_000, quiet(ReasonKind::OnBattery).0 / 1_000);
    let claims = world.nodes[HOST].count(|record| matches!(record, Record::Claimed { .. }));
    assert_eq!(claims, 3, "taken up, quiet, given up");
}
