//! What holds whatever happens: bad lines, nodes that die at any write, users who change their minds.

use crate::world::{CALM, Faults, Goes, HOST, Kill, OTHER, TENANT, World, person, rules, share, wish};
use engine::input::{Owner, Tenant};
use engine::lease::Outcome;
use engine::{Input, owner};
use model::record::{Account, Record};
use model::{
    AskTerms, Currency, Id, Lease, Nonce, Phase, Presence, RenewalTerms, Resources, Share, Side, Span, Terms,
    Timestamp, Workload,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What is left of a lease when times do not matter.
#[derive(Debug, PartialEq)]
struct End {
    phases: [Phase; 2],
    receipts: [Option<(u32, bool)>; 2],
    terms: [Span; 2],
    words: [usize; 2],
    marks: [Vec<(Side, u8)>; 2],
    scores: [(u32, u32, u32, u32, bool); 2],
}

/// A lease that is renewed, runs out and is judged; people insist when a computer dies before them.
fn scripted(kills: [Vec<Kill>; 2], eager: bool) -> (World, Id<Lease>) {
    let mut world = World::of(1);
    let [host, tenant] = kills;
    (world.nodes[HOST].kills, world.nodes[TENANT].kills) = (host, tenant);
    (world.nodes[HOST].eager, world.nodes[TENANT].eager) = (eager, eager);
    let offer = world.offer();
    let ask = |_: &World| {
        let terms = AskTerms { term: Span::minutes(3), ..wish() };
        Tenant::Ask { offer: Box::new(offer.clone()), terms: Box::new(terms), nonce: Nonce([1; 16]) }
    };
    insist(&mut world, TENANT, ask, |record| matches!(record, Record::Asked { .. }));
    world.until(Span::minutes(2), |world| world.nodes[TENANT].engine.state().lease.all().count() == 1);
    let lease = world.nodes[TENANT].engine.state().lease.all().next().unwrap().id();
    world.until(Span::minutes(2), |world| world.both(lease, |lease| lease.phase == Phase::Running));
    let renew = |_: &World| Tenant::Renew { lease, more: Span::seconds(30) };
    insist(&mut world, TENANT, renew, |record| matches!(record, Record::RenewalAsked { .. }));
    world.ended(lease);
    for node in [HOST, TENANT] {
        let side = world.lease(node, lease).side;
        let rate = |_: &World| Tenant::Rate { lease, marks: [5, 4, 3], text: "kept".into() };
        insist(
            &mut world,
            node,
            rate,
            |record| matches!(record, Record::Rated { rating, .. } if rating.side == side),
        );
    }
    world.run(Span::minutes(3));
    (world, lease)
}

fn insist(world: &mut World, node: usize, command: impl Fn(&World) -> Tenant, is: impl Fn(&Record) -> bool) {
    while world.nodes[node].count(&is) == 0 {
        let command = command(world);
        world.wish(node, Input::Tenant(command));
        world.run(Span(100));
    }
}

fn end(world: &World, id: Id<Lease>) -> End {
    let each = |node: usize| world.lease(node, id);
    let marks =
        |node: usize| each(node).ratings.iter().map(|(side, rating)| (*side, rating.quality)).collect();
    let score = |node: usize, of: usize| {
        let score = world.nodes[node].engine.state().reputation.score(person(of as u8).party().person);
        (score.leases, score.broken, score.receipts, score.ratings, score.cheated)
    };
    End {
        phases: [HOST, TENANT].map(|node| each(node).phase),
        receipts: [HOST, TENANT]
            .map(|node| each(node).receipt.as_ref().map(|receipt| (receipt.number, receipt.last))),
        terms: [HOST, TENANT].map(|node| each(node).term),
        words: [HOST, TENANT].map(|node| each(node).ends.len()),
        marks: [marks(HOST), marks(TENANT)],
        scores: [score(HOST, TENANT), score(TENANT, HOST)],
    }
}

#[test]
fn a_node_killed_at_any_write_changes_no_end() {
    let (world, lease) = scripted([vec![], vec![]], false);
    let plain = end(&world, lease);
    assert_eq!(plain.receipts, [Some((4, true)); 2]);
    let writes = [HOST, TENANT].map(|node| world.nodes[node].writes);
    // What the host does before the story begins is written by the world itself.
    for (node, first) in [(HOST, 4), (TENANT, 1)] {
        for write in first..=writes[node] {
            for kill in [Kill::Before(write), Kill::After(write)] {
                let mut kills = [vec![], vec![]];
                kills[node].push(kill);
                let (world, lease) = scripted(kills, false);
                assert_eq!(end(&world, lease), plain, "node {node} {kill:?}");
                assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt);
                assert!(world.nodes[node].life > 0, "it did die");
            }
        }
    }
}

#[test]
fn nodes_that_die_after_each_write_come_to_the_same_end() {
    let (world, lease) = scripted([vec![], vec![]], false);
    let plain = end(&world, lease);
    let deaths: Vec<Kill> = (4..100).map(Kill::After).collect();
    let (world, lease) = scripted([deaths.clone(), vec![]], false);
    assert_eq!(end(&world, lease), plain);
    let (world, lease) = scripted([vec![], deaths], false);
    assert_eq!(end(&world, lease), plain);
}

#[test]
fn what_is_done_twice_is_done_once() {
    let (world, lease) = scripted([vec![], vec![]], false);
    let (twice, again) = scripted([vec![], vec![]], true);
    assert_eq!(end(&twice, again), end(&world, lease));
    for node in [HOST, TENANT] {
        assert_eq!(
            twice.nodes[node].pretend_store.len(),
            world.nodes[node].pretend_store.len(),
            "no record more"
        );
    }
}

/// What somebody does at some time.
#[derive(Clone, Copy, Debug)]
enum Deed {
    TenantStops,
    OwnerStops,
    Renews(u64),
    Rates(usize),
    Dies(usize),
    CutsLine(u64),
    LosesGuest,
    Asks(usize),
    GivesUp,
    Pauses(Option<u64>),
    Resumes,
    Sees { battery: bool, idle: u64 },
}

/// A story to be tried.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    faults: Faults,
    kills: Vec<(usize, Kill)>,
    away: u64,
    deeds: Vec<(u64, Deed)>,
    program: Option<u64>,
    fetching: Goes,
    starting: Goes,
    credit: i64,
    skew: i64,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::TenantStops),
        Just(Deed::OwnerStops),
        (1u64..4_000).prop_map(Deed::Renews),
        (HOST..=OTHER).prop_map(Deed::Rates),
        (HOST..=OTHER).prop_map(Deed::Dies),
        (1u64..300).prop_map(Deed::CutsLine),
        Just(Deed::LosesGuest),
        (TENANT..=OTHER).prop_map(Deed::Asks),
        Just(Deed::GivesUp),
        prop::option::of(1u64..300).prop_map(Deed::Pauses),
        Just(Deed::Resumes),
        (any::<bool>(), 0u64..600).prop_map(|(battery, idle)| Deed::Sees { battery, idle }),
    ]
}

fn goes() -> impl Strategy<Value = Goes> {
    prop_oneof![
        8 => (1u64..20_000).prop_map(|ms| Goes::Well(Span(ms))),
        1 => Just(Goes::Never),
        1 => any::<bool>().prop_map(|workload| Goes::Wrong { workload }),
    ]
}

fn kill() -> impl Strategy<Value = (usize, Kill)> {
    let when = (4usize..60, any::<bool>())
        .prop_map(|(write, before)| if before { Kill::Before(write) } else { Kill::After(write) });
    (HOST..=OTHER, when)
}

fn story() -> impl Strategy<Value = Story> {
    let line = (0u64..40, 0u64..40, 1u64..15_000).prop_map(|(lost, doubled, late)| Faults {
        lost,
        doubled,
        late: Span(late),
    });
    let luck = (any::<u64>(), line, prop::collection::vec(kill(), 0..5), 0u64..30_000);
    let deeds = prop::collection::vec((0u64..900, deed()), 0..8);
    let work = (
        prop::option::of(1u64..900),
        goes(),
        goes(),
        prop_oneof![Just(100_000_000), 0i64..300_000],
        -200_000i64..200_000,
    );
    (luck, deeds, work).prop_map(
        |((seed, faults, kills, away), mut deeds, (program, fetching, starting, credit, skew))| {
            deeds.sort_by_key(|(at, _)| *at);
            Story { seed, faults, kills, away, deeds, program, fetching, starting, credit, skew }
        },
    )
}

impl Story {
    /// Tells the story, and then lets the world come to rest on a good line.
    fn tell(&self) -> World {
        let terms = Terms {
            credit: self.credit,
            renewal: RenewalTerms::Automatic { longest: Span::hours(1) },
            ..rules()
        };
        let mut world = World::lending(Share { terms, ..share() }, 2, self.seed);
        world.faults = self.faults;
        world.away = Span(self.away);
        world.nodes[TENANT].clock.ahead = self.skew;
        for (node, kill) in &self.kills {
            world.nodes[*node].kills.push(*kill);
        }
        let machine = &mut world.nodes[HOST].machine;
        machine.program = self.program.map(|seconds| (Span::seconds(seconds), 3));
        (machine.fetching, machine.starting) = (self.fetching, self.starting);
        asks(&mut world, TENANT);
        let begin = world.now;
        let mut cut_until = begin;
        for (at, deed) in &self.deeds {
            let at = begin + Span::seconds(*at);
            if cut_until <= at {
                world.run(cut_until.since(world.now));
                world.cut.clear();
            }
            world.run(at.since(world.now));
            if let Deed::CutsLine(seconds) = deed {
                world.cut = [(HOST, TENANT), (HOST, OTHER)].into();
                cut_until = world.now + Span::seconds(*seconds);
            }
            does(&mut world, *deed);
        }
        world.run(cut_until.since(world.now));
        world.cut.clear();
        world.run(Span::minutes(2));
        world.faults = CALM;
        world.until(Span::hours(4), is_at_rest);
        world.run(Span::minutes(10));
        world
    }
}

fn is_at_rest(world: &World) -> bool {
    world.nodes.iter().all(|node| {
        let state = &node.engine.state().lease;
        node.up
            && state.all().all(|lease| lease.phase.is_ended())
            && state.quotes().count() == 0
            && state
                .asks()
                .all(|asking| matches!(asking.outcome, Outcome::Agreed(_) | Outcome::Refused { .. }))
    })
}

fn asks(world: &mut World, node: usize) {
    let devices: &[&str] = match world.now.0 % 3 {
        0 => &["camera"],
        1 => &["gpu", "camera"],
        _ => &[],
    };
    let devices = devices.iter().map(|name| (*name).to_owned()).collect();
    let terms = AskTerms {
        resources: Resources { cpu_millis: 1_500, memory: 2 << 30, disk: 1 << 30 },
        workload: Workload { devices, ..wish().workload },
        ..wish()
    };
    let nonce = Nonce(u128::from(world.now.0.unsigned_abs()).to_le_bytes());
    let ask = Tenant::Ask { offer: Box::new(world.offer()), terms: Box::new(terms), nonce };
    world.wish(node, Input::Tenant(ask));
}

/// People do what they like; whether it may be done is the engine's to say.
fn does(world: &mut World, deed: Deed) {
    let lease = world.nodes[TENANT].engine.state().lease.all().last().map(engine::lease::Lease::id);
    let asking = world.nodes[TENANT].engine.state().lease.asks().last().map(|asking| asking.ask.id());
    let rate = |lease| Input::Tenant(Tenant::Rate { lease, marks: [1, 3, 5], text: String::new() });
    match (deed, lease) {
        (Deed::TenantStops, Some(lease)) => drop(world.wish(TENANT, Input::Tenant(Tenant::Stop(lease)))),
        (Deed::OwnerStops, Some(lease)) => drop(world.wish(HOST, Input::Owner(Owner::Stop(lease)))),
        (Deed::Renews(seconds), Some(lease)) => {
            drop(world.wish(TENANT, Input::Tenant(Tenant::Renew { lease, more: Span::seconds(seconds) })));
        }
        (Deed::Rates(node), Some(lease)) => drop(world.wish(node, rate(lease))),
        (Deed::Dies(node), _) if world.nodes[node].up => world.crash(node),
        (Deed::LosesGuest, Some(lease)) if world.nodes[HOST].machine.has(lease) => {
            world.nodes[HOST].machine.lose(lease)
        }
        (Deed::Asks(node), _) => asks(world, node),
        (Deed::Pauses(seconds), _) => {
            let until = seconds.map(|seconds| world.now + Span::seconds(seconds));
            drop(world.wish(HOST, first(owner::Command::Pause { until })));
        }
        (Deed::Resumes, _) => drop(world.wish(HOST, first(owner::Command::Resume))),
        (Deed::Sees { battery, idle }, _) => {
            let idle = Some(Span::seconds(idle));
            let seen = Presence { on_battery: Some(battery), idle, ..Presence::default() };
            drop(world.wish(HOST, first(owner::Command::See(seen))));
        }
        (Deed::GivesUp, _) => {
            if let Some(ask) = asking {
                drop(world.wish(TENANT, Input::Tenant(Tenant::GiveUp(ask))));
            }
        }
        (
            Deed::TenantStops
            | Deed::OwnerStops
            | Deed::Renews(_)
            | Deed::Rates(_)
            | Deed::Dies(_)
            | Deed::CutsLine(_)
            | Deed::LosesGuest,
            _,
        ) => {}
    }
}

fn first(command: owner::Command) -> Input {
    Input::Owner(Owner::First(command))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    // That postings sum to nought, that promised never exceeds lent, that a device is one lease's at a time, and that the host's loss is bounded, the world
    // holds against each write; and that the record adds up to the state, against each start.
    #[test]
    fn whatever_happens_both_sides_come_to_one_end(story in story()) {
        let mut world = story.tell();
        let leases: Vec<Id<Lease>> = world.nodes[HOST].engine.state().lease.all().map(engine::lease::Lease::id).collect();
        for lease in leases {
            agree(&world, lease);
        }
        for node in TENANT..=OTHER {
            signs_no_more_than_it_measured(&world, node);
            mirrors(&world, node);
        }
        let before: Vec<_> = world.nodes.iter().map(|node| (node.engine.state().clone(), node.pretend_store.len())).collect();
        (HOST..=OTHER).for_each(|node| world.crash(node));
        world.run(Span::minutes(5));
        for (node, (state, records)) in world.nodes.iter().zip(before) {
            prop_assert_eq!(node.pretend_store.len(), records, "all is done: doing it again writes nothing");
            prop_assert_eq!(node.engine.state(), &state);
        }
    }
}

/// What the host has of a lease, its tenant has, too.
fn agree(world: &World, id: Id<Lease>) {
    let host = world.lease(HOST, id);
    assert!(!world.nodes[HOST].machine.runs(id), "nothing runs any more");
    let numbers: Vec<_> = world.nodes[HOST]
        .receipts(id)
        .map(|receipt| (receipt.number, receipt.usage.billed(), receipt.amount.micros))
        .collect();
    assert!(
        numbers.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1 && one.2 <= other.2),
        "{numbers:?}"
    );
    let known = world.nodes[TENANT..].iter().find_map(|node| node.engine.state().lease.get(id));
    let Some(tenant) = known else {
        assert!(host.receipt.is_none(), "nobody signs for a lease that only the host knows");
        return;
    };
    let refused = host
        .tick
        .as_ref()
        .is_some_and(|tick| host.receipt.as_ref().is_none_or(|receipt| receipt.number < tick.number));
    if refused {
        let number =
            |lease: &engine::lease::Lease| lease.receipt.as_ref().map_or(0, |receipt| receipt.number);
        assert!(number(host) <= number(tenant), "the last total was refused: {}", world.picture());
    } else {
        assert_eq!(host.receipt, tenant.receipt, "{}", world.picture());
    }
    assert_eq!(host.term, tenant.term, "{}", world.picture());
    assert_eq!(host.ends, tenant.ends);
    assert_eq!(host.ratings, tenant.ratings);
}

/// No receipt of a tenant is for more than its own clock has counted since it last heard that the guest was not running.
fn signs_no_more_than_it_measured(world: &World, node: usize) {
    let mut idle: BTreeMap<Id<Lease>, Timestamp> = BTreeMap::new();
    for entry in &world.nodes[node].pretend_store {
        match &entry.record {
            Record::Agreed { lease, .. } => {
                idle.insert(lease.id(), entry.at);
            }
            Record::Moved { lease, phase: Phase::Fetching | Phase::Starting, .. } => {
                idle.insert(*lease, entry.at);
            }
            Record::Receipted { receipt } => {
                let measured = entry.at.since(idle[&receipt.lease]).0;
                assert!(receipt.usage.billed().0 <= measured * 102 / 100 + 2_000);
                let worked = world.nodes[HOST].machine.worked(world.now, receipt.lease);
                if world.nodes[HOST].machine.has(receipt.lease) {
                    assert!(
                        receipt.usage.billed() <= worked + Span::seconds(1),
                        "{:?} for {worked}",
                        receipt.usage
                    );
                }
            }
            _ => {}
        }
    }
}

/// What a tenant owes by its own book is what its receipts say, and what the host expects is never more.
fn mirrors(world: &World, node: usize) {
    let eur = Currency::Iso(*b"EUR");
    let balance = |node: usize, of: usize| {
        let account = Account::Person(person(of as u8).party().person);
        world.nodes[node].engine.state().ledger.balance(account, eur).micros
    };
    let signed = |node: usize, with: usize| -> i64 {
        let with = person(with as u8).party();
        let leases = world.nodes[node].engine.state().lease.all().filter(|lease| lease.other() == with);
        leases.filter_map(|lease| lease.receipt.as_ref()).map(|receipt| receipt.amount.micros).sum()
    };
    assert_eq!(balance(node, HOST), -signed(node, HOST));
    assert_eq!(balance(HOST, node), signed(HOST, node));
    assert!(balance(HOST, node) <= -balance(node, HOST));
}
