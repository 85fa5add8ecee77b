//! While the guest runs: who measures what, who signs what, and what happens when somebody cheats.

use crate::world::{CALM, Faults, HOST, Kill, OTHER, TENANT, World, code, person, rules, share, wish};
use engine::input::{Machine, Meter};
use engine::lease::Refusal;
use engine::{Input, Topic};
use model::message::Standing;
use model::record::Record;
use model::{
    Amount, Arithmetic, Currency, EndReason, FreezeReason, Id, Lease, Mode, Phase, Prices, Request, Response,
    Share, Signed, Span, Terms, Tick, Usage,
};

/// Nothing is signed beyond this in a hundred.
const ALLOWED: u64 = 102;

#[test]
fn a_tenant_that_never_signs_is_frozen_then_closed() {
    let mut world = World::of(1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    let started = world.lease(HOST, lease).started.unwrap();

    world.until(Span::minutes(5), |world| {
        world.lease(HOST, lease).phase == Phase::Frozen(FreezeReason::Unsigned)
    });
    let frozen = world.lease(HOST, lease).moved.since(started);
    let due = rules().tick + rules().tick + rules().sign_within;
    assert!(
        frozen >= due && frozen <= due + Span::seconds(1),
        "frozen after {frozen}: N until the tick, N + G without a signature"
    );
    world.until(Span::minutes(5), |world| world.lease(HOST, lease).phase.is_ended());
    assert_eq!(world.lease(HOST, lease).phase, Phase::Ended(EndReason::Unsigned));
    let closed = world.lease(HOST, lease).moved.since(started).less(frozen);
    assert!(
        closed >= rules().grace && closed <= rules().grace + Span::seconds(1),
        "closed after a grace of {closed}"
    );

    let worked = world.nodes[HOST].machine.worked(world.now, lease);
    assert!(worked <= due + Span::seconds(1), "{worked} for nothing");
    assert!(world.lease(HOST, lease).receipt.is_none());
    let score = world.nodes[HOST].engine.state().reputation.score(person(TENANT as u8).party().person);
    assert_eq!((score.broken, score.receipts), (1, 0));
    assert!(score.kept.mean() < 300);
}

#[test]
fn a_tenant_that_signs_again_in_time_goes_on() {
    let mut world = World::of(1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    world.until(Span::minutes(5), |world| {
        world.lease(HOST, lease).phase == Phase::Frozen(FreezeReason::Unsigned)
    });
    world.run(Span::seconds(20));
    world.cut.clear();
    world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
    world.ended(lease);
    assert_eq!(world.lease(HOST, lease).phase, Phase::Ended(EndReason::TermOver));
    let receipt = world.lease(TENANT, lease).receipt.clone().unwrap();
    assert!(receipt.usage.frozen >= Span::seconds(20), "{:?} is free", receipt.usage);
    assert_eq!(receipt.usage.elapsed, wish().term);
    assert_eq!(receipt.amount.micros, (receipt.usage.elapsed.0 - receipt.usage.frozen.0) as i64);
}

#[test]
fn used_up_credit_freezes_and_then_closes() {
    let mut world = World::lending(Share { terms: Terms { credit: 100_000, ..rules() }, ..share() }, 1, 1);
    let lease = world.running();
    world.until(Span::minutes(3), |world| {
        world.both(lease, |lease| lease.phase == Phase::Frozen(FreezeReason::CreditUsedUp))
    });
    assert_eq!(
        world.lease(HOST, lease).receipt.as_ref().unwrap().number,
        2,
        "the first minute is within the credit, the second is not"
    );
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::CreditUsedUp)));
    let owed = world.lease(HOST, lease).receipt.as_ref().unwrap().amount.micros;
    let most = 100_000 + rules().tick.0 as i64 + 1_000;
    assert!(owed > 100_000 && owed <= most, "{owed} of at most {most}: the credit and one tick");
}

#[test]
fn who_signs_late_for_more_than_the_credit_stays_frozen() {
    let mut world = World::lending(Share { terms: Terms { credit: 100_000, ..rules() }, ..share() }, 1, 1);
    let lease = world.running();
    world.run(Span::seconds(70));
    world.cut.insert((HOST, TENANT));
    world.until(Span::minutes(5), |world| {
        world.lease(HOST, lease).phase == Phase::Frozen(FreezeReason::Unsigned)
    });
    world.cut.clear();
    world.until(Span::minutes(1), |world| world.lease(HOST, lease).receipt.as_ref().unwrap().number > 1);
    assert_eq!(world.lease(HOST, lease).phase, Phase::Frozen(FreezeReason::CreditUsedUp));
    let ran = world.nodes[HOST].count(|record| matches!(record, Record::Moved { phase: Phase::Running, .. }));
    assert_eq!(ran, 1, "it did not run in between");
}

#[test]
fn an_answer_to_an_older_total_changes_nothing() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(61));
    let old = world.lease(TENANT, lease).receipt.clone().unwrap();
    world.cut.insert((HOST, TENANT));
    world.run(Span::seconds(60));
    let (topic, response) = (Topic::Tick(lease, old.id()), Response::Tick(old.second_signed().unverified()));
    let (now, before) = (world.now, world.lease(HOST, lease).clone());
    world.nodes[HOST].decide(now, Input::Answer { topic, response }).unwrap().unwrap();
    assert_eq!(*world.lease(HOST, lease), before);
}

#[test]
fn a_gift_is_metered_and_costs_nothing() {
    let gift = Prices { mode: Mode::Gift, currency: Currency::Credit, core: 0, memory_gib: 0, disk_gib: 0 };
    let mut world =
        World::lending(Share { prices: gift, terms: Terms { credit: 0, ..rules() }, ..share() }, 1, 1);
    let lease = world.running();
    world.ended(lease);
    let receipt = world.lease(TENANT, lease).receipt.clone().unwrap();
    assert_eq!((receipt.usage.billed(), receipt.amount.micros), (wish().term, 0));
    assert_eq!(world.nodes[TENANT].engine.state().ledger.balances().count(), 0, "nothing to book");
}

#[test]
fn a_host_whose_clock_runs_fast_gets_no_signature() {
    let mut world = World::of(1);
    world.nodes[HOST].clock.pace = 1_100;
    let lease = world.running();
    world.ended(lease);
    let claimed = world.lease(HOST, lease).tick.as_ref().unwrap().usage.billed();
    let signed =
        world.lease(HOST, lease).receipt.as_ref().map_or(Span::ZERO, |receipt| receipt.usage.billed());
    let worked = world.nodes[HOST].machine.worked(world.now, lease);
    assert!(claimed.0 > worked.0 * ALLOWED / 100, "it claimed {claimed} of {worked}");
    assert!(signed.0 <= worked.0 * ALLOWED / 100 + 2_000, "{signed} signed of {worked}");
}

#[test]
fn a_clock_that_runs_a_hundredth_fast_harms_nobody() {
    let mut world = World::of(1);
    world.nodes[HOST].clock.pace = 1_010;
    let lease = world.running();
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::TermOver)));
    assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt);
    assert!(world.lease(HOST, lease).receipt.as_ref().unwrap().last);
}

#[test]
fn no_more_is_signed_than_was_measured() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(50));
    let measured = world.now.since(world.lease(TENANT, lease).idle_until);
    let most = Span(measured.0 * ALLOWED / 100 + 2_000);
    let just_too_much = tick(&world, lease, 1, most + Span(1));
    assert_eq!(code(world.say(HOST, TENANT, Request::Tick(just_too_much.unverified()))), "overclaimed");
    let just_enough = tick(&world, lease, 2, most);
    assert!(matches!(world.say(HOST, TENANT, Request::Tick(just_enough.unverified())), Response::Tick(_)));
    let beyond = tick(&world, lease, 3, wish().term + Span(1));
    world.vanish(HOST);
    world.now = world.now + Span::hours(2);
    assert_eq!(
        code(world.say(HOST, TENANT, Request::Tick(beyond.unverified()))),
        "overclaimed",
        "never beyond the term"
    );
}

#[test]
fn a_total_is_price_times_time() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(30));
    let honest = tick(&world, lease, 1, Span::seconds(20));
    let dear = Tick { amount: Amount::new(20_001, honest.amount.currency), ..(*honest).clone() };
    assert_eq!(code(world.say(HOST, TENANT, Request::Tick(sign(&dear)))), "wrong_amount");
    let dollars = Tick { amount: "0.02 USD".parse().unwrap(), ..(*honest).clone() };
    assert_eq!(code(world.say(HOST, TENANT, Request::Tick(sign(&dollars)))), "wrong_amount");
    assert!(world.lease(TENANT, lease).receipt.is_none());
}

#[test]
fn totals_never_go_back() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(50));
    let signed = tick(&world, lease, 2, Span::seconds(40));
    let answer = world.say(HOST, TENANT, Request::Tick(signed.unverified()));
    assert_eq!(
        world.say(HOST, TENANT, Request::Tick(signed.unverified())),
        answer,
        "the same again is answered alike"
    );
    for (number, billed) in [(1, 45), (3, 39)] {
        let old = tick(&world, lease, number, Span::seconds(billed));
        assert_eq!(code(world.say(HOST, TENANT, Request::Tick(old.unverified()))), "old_tick");
    }
    assert_eq!(world.nodes[TENANT].receipts(lease).count(), 1);
}

#[test]
fn a_flood_of_totals_is_not_signed() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(50));
    let sent = 1..=50;
    let signed = sent.filter(|number| {
        let tick = tick(&world, lease, *number, Span(u64::from(*number)));
        matches!(world.say(HOST, TENANT, Request::Tick(tick.unverified())), Response::Tick(_))
    });
    assert_eq!(signed.count(), 2, "no tick was due yet");
}

#[test]
fn a_total_comes_from_the_host_alone() {
    let mut world = World::of(2);
    let lease = world.running();
    world.run(Span::seconds(10));
    let honest = tick(&world, lease, 1, Span::seconds(5));
    assert_eq!(code(world.say(OTHER, TENANT, Request::Tick(honest.unverified()))), "unknown_lease");
    let own = person(TENANT as u8).key.sign(&*honest).unwrap();
    assert_eq!(code(world.say(HOST, TENANT, Request::Tick(own.unverified()))), "not_the_sender");
    let strange = Tick { host: person(OTHER as u8).party().device, ..(*honest).clone() };
    let strange = person(OTHER as u8).key.sign(&strange).unwrap();
    assert_eq!(code(world.say(HOST, TENANT, Request::Tick(strange.unverified()))), "not_the_sender");
}

#[test]
fn two_totals_with_one_number_prove_a_cheat() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(50));
    let one = tick(&world, lease, 1, Span::seconds(40));
    assert!(matches!(world.say(HOST, TENANT, Request::Tick(one.unverified())), Response::Tick(_)));
    for billed in [41, 42] {
        let other = tick(&world, lease, 1, Span::seconds(billed));
        assert_eq!(code(world.say(HOST, TENANT, Request::Tick(other.unverified()))), "equivocation");
    }
    let host = person(HOST as u8).party().person;
    let score = world.nodes[TENANT].engine.state().reputation.score(host);
    assert!(score.cheated);
    assert_eq!(score.trust(), 0);
    let proofs: Vec<_> = world.nodes[TENANT]
        .pretend_store
        .iter()
        .filter_map(|entry| match &entry.record {
            Record::Equivocated { person, one, other } => Some((*person, one.clone(), other.clone())),
            _ => None,
        })
        .collect();
    let [(person, first, second)] = proofs.as_slice() else { panic!("{} proofs", proofs.len()) };
    let read = |bytes| model::Unverified::<Tick>::read(bytes).unwrap().verify_past().unwrap();
    let (first, second) = (read(first), read(second));
    assert_eq!(
        (*person, first.signer(), first.number),
        (host, second.signer(), second.number),
        "the proof proves itself"
    );
    assert_ne!(first.id(), second.id());
}

#[test]
fn a_host_that_dies_at_any_write_never_equivocates() {
    for write in 4..20 {
        let mut world = World::of(1);
        world.nodes[HOST].kills = vec![Kill::After(write)];
        let lease = world.deal(TENANT, wish());
        world.ended(lease);
        assert!(
            !world.nodes[TENANT].engine.state().reputation.score(person(0).party().person).cheated,
            "at {write}"
        );
    }
}

#[test]
fn a_measure_that_comes_twice_makes_one_total() {
    let mut world = World::of(1);
    let lease = world.running();
    let (now, meter) = (world.now, Meter::default());
    for _ in 0..2 {
        world.nodes[HOST].decide(now, Input::Machine(Machine::Metered { lease, meter })).unwrap().unwrap();
    }
    assert!(world.lease(HOST, lease).tick.is_none(), "none is due yet");
    world.nodes[HOST].eager = true;
    world.run(Span::seconds(61));
    assert_eq!(world.lease(HOST, lease).tick.as_ref().unwrap().number, 1);
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_back() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(130));
    let before = world.lease(HOST, lease).receipt.clone().unwrap();
    world.nodes[HOST].clock.ahead = -90_000;
    world.ended(lease);
    let after = world.lease(HOST, lease).receipt.clone().unwrap();
    assert!(after.number > before.number && after.amount.micros >= before.amount.micros);
    assert_eq!(Some(after), world.lease(TENANT, lease).receipt);
}

#[test]
fn old_news_never_moves_a_lease_back() {
    let mut world = World::of(1);
    let lease = world.running();
    let tell = |world: &mut World, phase| {
        let standing =
            Standing { lease, phase, started: None, fetched: None, detail: String::new(), health: None };
        assert_eq!(world.say(HOST, TENANT, Request::Standing(standing)), Response::Done);
        world.lease(TENANT, lease).phase
    };
    for old in [Phase::Agreed, Phase::Fetching, Phase::Starting] {
        assert_eq!(tell(&mut world, old), Phase::Running);
    }
    let closing = Phase::Closing(EndReason::OwnerStopped);
    assert_eq!(tell(&mut world, closing), closing);
    for old in [Phase::Running, Phase::Frozen(FreezeReason::Unsigned), Phase::Fetching] {
        assert_eq!(tell(&mut world, old), closing);
    }
    let ended = Phase::Ended(EndReason::OwnerStopped);
    assert_eq!(tell(&mut world, ended), ended);
    for old in [Phase::Running, closing, Phase::Ended(EndReason::TermOver)] {
        assert_eq!(tell(&mut world, old), ended);
    }
}

#[test]
fn news_of_a_lease_comes_from_its_host() {
    let mut world = World::of(2);
    let lease = world.running();
    let phase = Phase::Ended(EndReason::OwnerStopped);
    let standing =
        Standing { lease, phase, started: None, fetched: None, detail: String::new(), health: None };
    assert_eq!(code(world.say(OTHER, TENANT, Request::Standing(standing))), "unknown_lease");
    assert_eq!(code(world.say(OTHER, HOST, Request::Where { lease })), "unknown_lease");
    assert_eq!(world.lease(TENANT, lease).phase, Phase::Running);
}

#[test]
fn what_a_tenant_has_signed_is_the_host_s_even_when_its_answer_was_late() {
    let mut world = World::of(1);
    let lease = world.running();
    world.faults = Faults { lost: 40, doubled: 20, late: Span::seconds(3) };
    world.run(Span::minutes(8));
    world.faults = CALM;
    world.ended(lease);
    assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt);
}

#[test]
fn an_answer_that_proves_nothing_makes_no_receipt() {
    let mut world = World::of(1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    world.run(Span::seconds(61));
    let theirs = world.lease(HOST, lease).tick.clone().unwrap();
    let less = Tick { amount: Amount::new(1, theirs.amount.currency), ..(*theirs).clone() };
    let less = person(TENANT as u8).key.sign(&less).unwrap();
    let stranger = person(OTHER as u8);
    let strange = Tick { tenant: stranger.party().device, ..(*theirs).clone() };
    let strange = stranger.key.sign(&strange).unwrap();
    for false_word in [less, strange, theirs.clone()] {
        let answer = Input::Answer {
            topic: Topic::Tick(lease, theirs.id()),
            response: Response::Tick(false_word.unverified()),
        };
        let now = world.now;
        assert!(world.nodes[HOST].decide(now, answer).unwrap().is_err());
    }
    assert!(world.lease(HOST, lease).receipt.is_none());
}

#[test]
fn refusals_carry_their_facts() {
    let refusal = Refusal::Overclaimed { claimed: Span::seconds(90), measured: Span::seconds(60) };
    assert_eq!(refusal.to_string(), "the total claims 1 min 30 s, and 1 min was measured");
    assert_eq!(Refusal::from(Arithmetic::Overflow).code(), "cannot_be_counted");
}

/// A running total as a host can sign it, honest or not.
fn tick(world: &World, lease: Id<Lease>, number: u32, billed: Span) -> Signed<Tick> {
    let contract = world.lease(TENANT, lease).contract.clone();
    let tick = Tick {
        lease,
        host: contract.host.device,
        tenant: contract.tenant.device,
        number,
        usage: Usage { elapsed: billed, cpu: billed, memory_peak: 1, ..Usage::default() },
        amount: contract.rate.over(billed).unwrap(),
        last: false,
        issued: world.now,
    };
    person(HOST as u8).key.sign(&tick).unwrap()
}

fn sign(tick: &Tick) -> model::Unverified<Tick> {
    person(HOST as u8).key.sign(tick).unwrap().unverified()
}
