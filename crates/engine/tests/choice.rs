//! Several hosts are asked at once: the best that answers is taken, the others are let go, and nobody holds a machine
//! by asking alone.

use crate::world::{
    CALM, EUR, Faults, HOST, Kill, ONE_CORE, OTHER, TENANT, World, person, rules, share, wish,
};
use engine::Input;
use engine::input::Tenant;
use engine::lease::{Outcome, choice, holds};
use model::{Amount, AskTerms, FreezeReason, Id, Lease, Phase, Rate, Resources, Share, Side, Span, Terms};
use proptest::prelude::*;

const THIRD: usize = 3;

/// Three that lend, and one that rents.
fn three_hosts() -> World {
    let mut world = World::of(3);
    world.lend_as(OTHER, Some(share()));
    world.lend_as(THIRD, Some(share()));
    world
}

fn whole() -> AskTerms {
    AskTerms { resources: share().resources, cap: rich(), ..wish() }
}

fn rich() -> Rate {
    Rate::hourly("100 EUR".parse().unwrap())
}

fn leases(world: &World, node: usize) -> Vec<Id<Lease>> {
    world.nodes[node].engine.state().lease.all().map(engine::lease::Lease::id).collect()
}

fn host_of(world: &World, lease: Id<Lease>) -> usize {
    let device = world.lease(TENANT, lease).contract.host.device;
    (0..world.nodes.len()).find(|node| person(*node as u8).party().device == device).unwrap()
}

fn holds(world: &World) -> usize {
    world.nodes.iter().map(|node| node.engine.state().lease.quotes().count()).sum()
}

#[test]
fn the_host_that_is_liked_best_is_taken_and_the_others_are_let_go_at_once() {
    let mut world = three_hosts();
    world.ask_all(TENANT, &[THIRD, HOST, OTHER], &wish());
    world.until(Span::seconds(2), |world| !leases(world, TENANT).is_empty() && holds(world) == 0);
    let lease = leases(&world, TENANT)[0];
    assert_eq!(host_of(&world, lease), THIRD);
    assert_eq!(leases(&world, HOST).len() + leases(&world, OTHER).len(), 0);
    world.run(Span::minutes(5));
    assert_eq!(leases(&world, TENANT), [lease], "one wish, one lease");
}

#[test]
fn a_host_that_is_gone_delays_by_a_moment_only() {
    let mut world = three_hosts();
    world.vanish(THIRD);
    let before = world.now;
    world.ask_all(TENANT, &[THIRD, HOST, OTHER], &wish());
    world.until(Span::seconds(2), |world| !leases(world, TENANT).is_empty());
    assert_eq!(host_of(&world, leases(&world, TENANT)[0]), HOST);
    assert!(world.now.since(before) < Span(500), "{}", world.now.since(before));
}

#[test]
fn a_host_that_is_full_costs_no_time() {
    let mut world = three_hosts();
    world.lend(Some(Share { resources: Resources { cpu_millis: 500, ..share().resources }, ..share() }));
    let before = world.now;
    world.ask_all(TENANT, &[HOST, OTHER], &wish());
    world.until(Span::seconds(2), |world| !leases(world, TENANT).is_empty());
    assert_eq!(host_of(&world, leases(&world, TENANT)[0]), OTHER);
    assert!(world.now.since(before) < Span(200), "{}", world.now.since(before));
}

#[test]
fn where_nobody_has_room_each_says_why() {
    let mut world = three_hosts();
    let much = AskTerms { resources: Resources { cpu_millis: 9_000, ..ONE_CORE }, cap: rich(), ..wish() };
    let ask = world.ask_all(TENANT, &[HOST, OTHER], &much);
    assert_eq!(world.refusal(TENANT, ask).0, "no_capacity");
    assert_eq!(choice::rivals(&world.nodes[TENANT].engine.state().lease, ask).len(), 2);
}

#[test]
fn who_gives_up_lets_all_go() {
    let mut world = three_hosts();
    world.faults.late = Span(200);
    let ask = world.ask_all(TENANT, &[HOST, OTHER, THIRD], &wish());
    world.until(Span::seconds(5), |world| holds(world) > 0);
    if leases(&world, TENANT).is_empty() {
        world.tenant(TENANT, Tenant::GiveUp(ask)).unwrap();
    }
    world.run(Span::seconds(7));
    assert!(holds(&world) == 0 || !leases(&world, TENANT).is_empty());
}

#[test]
fn several_leases_at_once_on_one_host() {
    let mut world = World::of(1);
    let asks: Vec<_> = (0..4).map(|_| world.ask(TENANT, wish())).collect();
    world.until(Span::minutes(1), |world| {
        asks.iter().all(|ask| matches!(world.outcome(TENANT, *ask), Outcome::Agreed(_)))
    });
    assert_eq!(leases(&world, HOST).len(), 4);
    let fifth = world.ask(TENANT, wish());
    assert_eq!(world.refusal(TENANT, fifth).0, "no_capacity");
}

#[test]
fn one_person_has_a_few_quotes_at_a_time() {
    let small = AskTerms { resources: Resources { cpu_millis: 1, memory: 4 << 20, disk: 0 }, ..wish() };
    let mut world = World::of(2);
    // Quotes come, and nothing that the tenant says of them arrives.
    let asks: Vec<_> = (0..12).map(|_| silent_ask(&mut world, TENANT, &small)).collect();
    let refused = asks.iter().filter(|answer| **answer == Some("too_many_quotes".to_owned())).count();
    assert_eq!((refused, holds(&world)), (12 - holds::OF_ONE, holds::OF_ONE));
    assert_eq!(silent_ask(&mut world, OTHER, &small), None, "another person has room");
}

/// Asks as a tenant that never takes what it is quoted; the code of the denial, if it is denied.
fn silent_ask(world: &mut World, node: usize, terms: &AskTerms) -> Option<String> {
    use model::envelope::CLOCK_SKEW;
    let identity = person(node as u8);
    let offer = world.offer();
    let ask = model::Ask {
        offer: offer.id(),
        host: offer.signer(),
        certificate: identity.certificate.unverified(),
        terms: terms.clone(),
        nonce: model::Nonce(world.dice().to_le_bytes()),
        issued: world.now,
        expires: world.now + CLOCK_SKEW,
    };
    let ask = identity.key.sign(&ask).unwrap().unverified();
    match world.say(node, HOST, model::Request::Ask(ask)) {
        model::Response::Quote(_) => None,
        model::Response::Denied(denial) => Some(denial.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stranger_cannot_release_what_another_was_quoted() {
    let mut world = World::of(2);
    assert_eq!(silent_ask(&mut world, TENANT, &wish()), None);
    let ask = world.nodes[HOST].engine.state().lease.quotes().next().unwrap().ask.id();
    world.say(OTHER, HOST, model::Request::Release { ask });
    assert_eq!(holds(&world), 1);
    world.say(TENANT, HOST, model::Request::Release { ask });
    assert_eq!(holds(&world), 0);
    world.say(TENANT, HOST, model::Request::Release { ask });
}

#[test]
fn who_holds_all_for_nothing_is_given_half_for_a_while() {
    let mut world = World::of(2);
    assert_eq!(silent_ask(&mut world, TENANT, &whole()), None, "the first time is nobody's concern");
    world.run(Span::seconds(31));
    assert_eq!(silent_ask(&mut world, TENANT, &whole()), None, "nor is the second");
    world.run(Span::seconds(31));
    assert_eq!(silent_ask(&mut world, TENANT, &whole()), Some("held_for_nothing".to_owned()));
    let half = AskTerms { resources: holds::half(&share().resources), ..whole() };
    assert_eq!(silent_ask(&mut world, TENANT, &half), None, "half is always there");
    assert_eq!(silent_ask(&mut world, OTHER, &half), None, "and the other half for others");
    world.run(Span::minutes(12));
    assert_eq!(silent_ask(&mut world, TENANT, &whole()), None, "and all of it is forgiven");
}

/// Four cores at 3.60 EUR an hour each: a core runs up a millionth of a euro each millisecond.
#[test]
fn the_credit_is_the_person_s_and_not_the_lease_s() {
    let credit = 150_000; // 150 s of one core
    let mut world = World::lending(Share { terms: Terms { credit, ..rules() }, ..share() }, 1, 1);
    let one = world.deal(TENANT, wish());
    let two = world.deal(TENANT, wish());
    world.until(Span::minutes(5), |world| {
        [one, two]
            .iter()
            .all(|lease| world.lease(HOST, *lease).phase == Phase::Frozen(FreezeReason::CreditUsedUp))
    });
    let signed: i64 = [one, two]
        .iter()
        .filter_map(|lease| world.lease(HOST, *lease).receipt.as_ref())
        .map(|receipt| receipt.amount.micros)
        .sum();
    assert!(signed > credit && signed < 2 * credit, "{signed}: neither alone has used it up");
    let ask = world.ask(TENANT, wish());
    assert_eq!(world.refusal(TENANT, ask).0, "credit_used_up");
    // The tenant ends one of them: what is left is within the credit.
    world.tenant(TENANT, Tenant::Stop(one)).unwrap();
    world.until(Span::seconds(50), |world| world.lease(HOST, two).phase == Phase::Running);
}

#[test]
fn what_a_host_gives_on_credit_is_bounded_by_what_it_said_before() {
    let credit = 100_000;
    let terms = Terms { credit, ..rules() };
    let mut world = World::lending(Share { terms, ..share() }, 1, 1);
    let lease = world.deal(TENANT, wish());
    let contract = world.lease(HOST, lease).contract.clone();
    let said = engine::lease::exposure::exposure(&contract.rules, contract.rate, contract.term).unwrap();
    assert_eq!(said.tenant, Amount::zero(EUR));
    world.until(Span::minutes(20), |world| world.lease(HOST, lease).phase.is_ended());
    let worked = world.nodes[HOST].machine.worked(world.now, lease);
    assert!(contract.rate.over(worked).unwrap().micros <= said.host.micros, "{worked} of {}", said.host);
}

#[derive(Clone, Debug)]
struct Race {
    seed: u64,
    faults: Faults,
    kills: Vec<(usize, Kill)>,
    full: Vec<usize>,
    hosts: Vec<usize>,
    gives_up: Option<u64>,
}

fn race() -> impl Strategy<Value = Race> {
    let line = (0u64..40, 0u64..40, 1u64..4_000).prop_map(|(lost, doubled, late)| Faults {
        lost,
        doubled,
        late: Span(late),
    });
    let kill = (0usize..4, 4usize..20, any::<bool>()).prop_map(|(node, write, before)| {
        (node, if before { Kill::Before(write) } else { Kill::After(write) })
    });
    let hosts = Just(vec![HOST, OTHER, THIRD]).prop_shuffle();
    (
        any::<u64>(),
        line,
        prop::collection::vec(kill, 0..4),
        prop::collection::vec(prop::sample::select(vec![HOST, OTHER, THIRD]), 0..3),
        hosts,
        prop::option::of(1u64..3_000),
    )
        .prop_map(|(seed, faults, kills, full, hosts, gives_up)| Race {
            seed,
            faults,
            kills,
            full,
            hosts,
            gives_up,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn one_wish_is_at_most_one_lease_and_nothing_stays_held(race in race()) {
        let mut world = World::lending(share(), 3, race.seed);
        world.lend_as(OTHER, Some(share()));
        world.lend_as(THIRD, Some(share()));
        for full in &race.full {
            world.lend_as(*full, Some(Share { resources: Resources { cpu_millis: 1, ..share().resources }, ..share() }));
        }
        let ask = world.ask_all(TENANT, &race.hosts, &wish());
        world.faults = race.faults;
        world.away = Span::seconds(3);
        for (node, kill) in &race.kills {
            world.nodes[*node].kills.push(*kill);
        }
        if let Some(after) = race.gives_up {
            world.run(Span(after));
            world.wish(TENANT, Input::Tenant(Tenant::GiveUp(ask)));
        }
        world.run(Span::minutes(4));
        world.faults = CALM;
        world.run(Span::minutes(4));
        prop_assert!(leases(&world, TENANT).len() <= 1, "{}", world.picture());
        prop_assert_eq!(holds(&world), 0);
        let open = world.nodes[TENANT].engine.state().lease.asks().filter(|asking| !matches!(asking.outcome, Outcome::Agreed(_) | Outcome::Refused { .. }));
        prop_assert_eq!(open.count(), 0);
        // A host that signed what never arrived hears nothing of its tenant, and is rid of it in time.
        world.run(Span::hours(1));
        for node in [HOST, OTHER, THIRD] {
            let state = &world.nodes[node].engine.state().lease;
            let strange = state.all().filter(|lease| lease.side == Side::Host && !lease.phase.is_ended());
            prop_assert_eq!(strange.count(), 0, "{}", world.picture());
        }
    }

    /// Whatever a person asks, lets lapse or releases, others can have half of the machine most of the time.
    #[test]
    fn nobody_keeps_a_machine_from_others_by_asking(deeds in prop::collection::vec((0u64..40, 1u32..4_001, any::<bool>()), 1..80)) {
        let mut world = World::of(1);
        let begin = world.now;
        let half = holds::half(&share().resources);
        let mut kept = Span::ZERO;
        for (wait, cpu_millis, release) in deeds {
            let terms = AskTerms { resources: Resources { cpu_millis, ..ONE_CORE }, ..whole() };
            silent_ask(&mut world, TENANT, &terms);
            let end = world.now + Span::seconds(wait);
            while world.now < end {
                let state = &world.nodes[HOST].engine.state().lease;
                let held = state.quotes().fold(Resources::default(), |sum, held| sum.plus(&held.ask.terms.resources).unwrap());
                if held.cpu_millis > half.cpu_millis {
                    kept = kept + Span::seconds(1);
                }
                world.run(Span::seconds(1));
            }
            if release {
                let asks: Vec<_> = world.nodes[HOST].engine.state().lease.quotes().map(|held| held.ask.id()).collect();
                for ask in asks {
                    world.say(TENANT, HOST, model::Request::Release { ask });
                }
            }
        }
        let all = world.now.since(begin);
        let most = holds::FREE + Span::seconds(31) + Span(all.0 / holds::FORGIVEN_IN);
        prop_assert!(kept <= most, "{kept} of {all}, and {most} is the most");
    }
}
