//! How leases end: by themselves, by either side's will, by somebody's absence; and what is judged after.

use crate::world::{EUR, Goes, HOST, OTHER, TENANT, World, code, person, rules, share, wish};
use engine::Input;
use engine::input::{Machine, Owner, Tenant};
use model::message::Standing;
use model::record::{Account, Record};
use model::{
    AskTerms, End, EndReason, Id, Lease, Phase, Rating, RenewalTerms, Request, Resources, Response, Share,
    Side, Span, Terms, Tick,
};

/// The tenant waits for a silent host until it would have been frozen and closed: 2N + G + grace.
fn patience() -> Span {
    rules().tick + rules().tick + rules().sign_within + rules().grace
}

#[test]
fn a_term_ends_on_time_and_is_billed_to_the_millisecond() {
    let mut world = World::of(1);
    world.nodes[HOST].machine.stopping = Span::seconds(9);
    let lease = world.running();
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::TermOver)));
    let receipt = world.lease(HOST, lease).receipt.clone().unwrap();
    assert!(receipt.last);
    assert_eq!(receipt.usage.billed(), wish().term, "nine seconds of stopping are nobody's debt");
    assert_eq!(world.lease(TENANT, lease).receipt, Some(receipt));
}

#[test]
fn a_host_that_vanishes_is_owed_what_was_signed() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(130));
    let signed = world.lease(TENANT, lease).receipt.clone().unwrap();
    world.vanish(HOST);
    let gone = world.now;
    world.until(Span::minutes(10), |world| world.lease(TENANT, lease).phase.is_ended());
    let tenant = world.lease(TENANT, lease);
    assert_eq!(tenant.phase, Phase::Ended(EndReason::HostGone));
    let waited = tenant.moved.since(gone);
    assert!(waited >= patience() && waited <= patience() + Span::minutes(1), "after {waited}");
    assert_eq!(tenant.receipt.as_ref(), Some(&signed));
    let host = person(HOST as u8).party().person;
    let owed = world.nodes[TENANT].engine.state().ledger.balance(Account::Person(host), EUR);
    assert_eq!(owed.micros, -signed.amount.micros);
    assert_eq!(world.nodes[TENANT].engine.state().reputation.score(host).broken, 1);
}

#[test]
fn the_last_word_of_a_host_that_vanishes_is_its_reason() {
    let mut world = World::of(1);
    let lease = world.running();
    let end = End { lease, side: Side::Host, reason: EndReason::GuestLost, code: None, issued: world.now };
    let end = person(HOST as u8).key.sign(&end).unwrap();
    world.say(HOST, TENANT, Request::End(end.unverified()));
    world.vanish(HOST);
    world.until(Span::minutes(10), |world| world.lease(TENANT, lease).phase.is_ended());
    assert_eq!(world.lease(TENANT, lease).phase, Phase::Ended(EndReason::GuestLost));
}

#[test]
fn a_host_that_vanishes_early_frees_its_tenant() {
    for phase in ["agreed", "fetching", "starting"] {
        let (mut world, lease) = stuck_in(phase);
        world.vanish(HOST);
        world.until(Span::minutes(15), |world| world.lease(TENANT, lease).phase.is_ended());
        assert_eq!(world.lease(TENANT, lease).phase, Phase::Ended(EndReason::HostGone), "{phase}");
        assert_eq!(world.nodes[TENANT].engine.state().ledger.balances().count(), 0);
    }
}

#[test]
fn a_host_that_vanishes_from_a_tenant_that_stops_is_not_to_blame() {
    let mut world = World::of(1);
    let lease = world.running();
    world.vanish(HOST);
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.until(Span::minutes(10), |world| world.lease(TENANT, lease).phase.is_ended());
    assert_eq!(world.lease(TENANT, lease).phase, Phase::Ended(EndReason::TenantStopped));
}

#[test]
fn a_host_that_never_signs_binds_nobody() {
    let mut world = World::of(1);
    let ask = world.ask(TENANT, wish());
    world.until(Span::seconds(5), |world| world.nodes[HOST].engine.state().lease.quotes().count() == 1);
    world.run(Span(21));
    world.vanish(HOST);
    assert_eq!(world.refusal(TENANT, ask).0, "not_agreed");
}

#[test]
fn a_tenant_that_vanishes_leaves_nothing_behind() {
    for phase in ["agreed", "fetching", "starting", "running", "frozen", "closing"] {
        let (mut world, lease) = stuck_in(phase);
        world.vanish(TENANT);
        world.nodes[HOST].machine.starting = Goes::Well(Span(100));
        world.until(Span::minutes(15), |world| world.lease(HOST, lease).phase.is_ended());
        assert!(!world.nodes[HOST].machine.runs(lease), "{phase}");
        assert_eq!(
            engine::capacity::promised(&world.nodes[HOST].engine.state().lease, world.now),
            Resources::default(),
            "{phase}"
        );
        world.run(Span::hours(2));
        assert!(!world.nodes[HOST].machine.has(lease), "{phase}");
    }
}

#[test]
fn a_tenant_that_vanishes_after_the_quote_holds_nothing() {
    let mut world = World::of(1);
    world.ask(TENANT, wish());
    world.until(Span::seconds(5), |world| world.nodes[HOST].engine.state().lease.quotes().count() == 1);
    world.vanish(TENANT);
    world.run(Span::seconds(31));
    assert_eq!(
        engine::capacity::promised(&world.nodes[HOST].engine.state().lease, world.now),
        Resources::default()
    );
}

#[test]
fn a_tenant_stops_wherever_the_lease_stands() {
    for phase in ["agreed", "fetching", "starting", "running", "frozen", "closing"] {
        let (mut world, lease) = stuck_in(phase);
        world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
        world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
        world.cut.clear();
        world.ended(lease);
        let reason = if phase == "closing" { EndReason::OwnerStopped } else { EndReason::TenantStopped };
        assert!(
            world.both(lease, |lease| lease.phase == Phase::Ended(reason)),
            "{phase}: {}",
            world.picture()
        );
        assert!(!world.nodes[HOST].machine.runs(lease), "{phase}");
        assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt, "{phase}");
    }
}

#[test]
fn both_know_with_which_code_a_program_ended_that_was_stopped() {
    let (mut world, lease) = stuck_in("running");
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.exit_code() == Some(143)), "{}", world.picture());
    // One that ended by itself says it in the reason, and once.
    let mut world = World::of(1);
    world.nodes[HOST].machine.program = Some((Span::seconds(5), 7));
    let lease = world.running();
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.exit_code() == Some(7)));
    assert!(world.both(lease, |lease| lease.ends.values().all(|end| end.code.is_none())));
    // And one that never ran has none.
    let (mut world, lease) = stuck_in("starting");
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.exit_code().is_none()));
}

#[test]
fn an_owner_stops_wherever_the_lease_stands() {
    for phase in ["fetching", "starting", "running", "frozen"] {
        let (mut world, lease) = stuck_in(phase);
        world.owner(Owner::Stop(lease)).unwrap();
        world.owner(Owner::Stop(lease)).unwrap();
        world.cut.clear();
        world.ended(lease);
        assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::OwnerStopped)), "{phase}");
        let score = world.nodes[TENANT].engine.state().reputation.score(person(HOST as u8).party().person);
        assert_eq!((score.leases, score.broken), (1, 1), "it counts against the owner");
        assert_eq!(world.owner(Owner::Stop(lease)).unwrap_err().code(), "unknown_lease", "it is over");
    }
}

#[test]
fn only_the_parties_end_a_lease() {
    let mut world = World::of(2);
    let lease = world.running();
    let end = |side, signer: usize, world: &World| {
        let end = End { lease, side, reason: EndReason::TenantStopped, code: None, issued: world.now };
        Request::End(person(signer as u8).key.sign(&end).unwrap().unverified())
    };
    let strange = end(Side::Tenant, OTHER, &world);
    assert_eq!(code(world.say(OTHER, HOST, strange.clone())), "unknown_lease");
    assert_eq!(code(world.say(TENANT, HOST, strange)), "not_the_sender");
    let wrong_side = end(Side::Host, TENANT, &world);
    assert_eq!(code(world.say(TENANT, HOST, wrong_side)), "not_the_sender");
    assert_eq!(world.tenant(HOST, Tenant::Stop(lease)).unwrap_err().code(), "wrong_side");
    assert!(world.both(lease, |lease| lease.phase == Phase::Running));
}

#[test]
fn a_host_cannot_pass_its_own_doing_off_as_another_s() {
    for reason in [EndReason::TenantStopped, EndReason::TermOver, EndReason::HostGone, EndReason::NotAgreed] {
        let mut world = World::of(1);
        let lease = world.deal(TENANT, AskTerms { term: Span::hours(1), ..wish() });
        world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
        let end = End { lease, side: Side::Host, reason, code: None, issued: world.now };
        let end = person(HOST as u8).key.sign(&end).unwrap();
        world.say(HOST, TENANT, Request::End(end.unverified()));
        let standing = Standing {
            lease,
            phase: Phase::Ended(reason),
            started: None,
            fetched: None,
            detail: String::new(),
            health: None,
        };
        world.say(HOST, TENANT, Request::Standing(standing));
        let ended = Phase::Ended(EndReason::OwnerStopped);
        assert_eq!(world.lease(TENANT, lease).phase, ended, "it said {reason}");
        let score = world.nodes[TENANT].engine.state().reputation.score(person(HOST as u8).party().person);
        assert_eq!((score.leases, score.broken), (1, 1));
    }
}

#[test]
fn fetching_and_starting_have_their_time_limits() {
    for (phase, limit, reason) in [
        ("fetching", rules().fetch_within, EndReason::FetchFailed),
        ("starting", rules().start_within, EndReason::StartFailed),
    ] {
        let (mut world, lease) = stuck_in(phase);
        let since = world.lease(HOST, lease).moved;
        world.ended(lease);
        assert!(world.both(lease, |lease| lease.phase == Phase::Ended(reason)));
        let took = world.lease(HOST, lease).moved.since(since);
        assert!(took > limit && took < limit + Span::seconds(2), "{phase} ended after {took}");
        assert!(world.lease(HOST, lease).tick.is_none(), "{phase} is free");
        assert_eq!(world.lease(TENANT, lease).detail, "it took too long");
    }
}

#[test]
fn what_stands_in_the_way_of_an_image_is_told_while_it_is_tried_and_at_the_end() {
    let (mut world, lease) = stuck_in("fetching");
    let since = world.lease(HOST, lease).moved;
    let hindered = |detail: &str| Input::Machine(Machine::Hindered { lease, detail: detail.to_owned() });
    let records = |world: &World| world.nodes[HOST].count(|record| matches!(record, Record::Moved { .. }));
    world.wish(HOST, hindered("nobody has it"));
    world.until(Span::seconds(30), |world| world.both(lease, |lease| lease.detail == "nobody has it"));
    let before = records(&world);
    world.wish(HOST, hindered("nobody has it"));
    assert_eq!(records(&world), before, "once is enough");
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.detail == "it took too long: nobody has it"));
    let took = world.lease(HOST, lease).moved.since(since);
    assert!(took < rules().fetch_within + Span::seconds(2), "it is no new beginning: {took}");

    // Where it comes after all, nothing of it is left.
    let (mut world, lease) = stuck_in("fetching");
    world.wish(HOST, hindered("nobody has it"));
    world.until(Span::seconds(30), |world| world.both(lease, |lease| !lease.detail.is_empty()));
    world.wish(HOST, Input::Machine(Machine::Fetched(lease)));
    world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
    assert!(world.both(lease, |lease| lease.detail.is_empty()));
}

#[test]
fn a_workload_that_cannot_run_is_the_tenant_s_fault_and_a_start_that_fails_the_host_s() {
    let cases = [
        (Goes::Wrong { workload: true }, Goes::Never, EndReason::BadWorkload),
        (Goes::Wrong { workload: false }, Goes::Never, EndReason::FetchFailed),
        (Goes::Well(Span(10)), Goes::Wrong { workload: true }, EndReason::BadWorkload),
        (Goes::Well(Span(10)), Goes::Wrong { workload: false }, EndReason::StartFailed),
    ];
    for (fetching, starting, reason) in cases {
        let mut world = World::of(1);
        world.nodes[HOST].machine.fetching = fetching;
        world.nodes[HOST].machine.starting = starting;
        let lease = world.deal(TENANT, wish());
        world.ended(lease);
        assert!(world.both(lease, |lease| lease.phase == Phase::Ended(reason)), "{reason}");
        assert!(world.both(lease, |lease| lease.detail == "it pretends to fail"));
        let broken = |node: usize, of: usize| {
            world.nodes[node].engine.state().reputation.score(person(of as u8).party().person).broken
        };
        let expected = match reason.against() {
            Some(Side::Host) => (0, 1),
            Some(Side::Tenant) => (1, 0),
            None => (0, 0),
        };
        assert_eq!((broken(HOST, TENANT), broken(TENANT, HOST)), expected, "{reason}");
    }
}

#[test]
fn a_lost_guest_is_billed_as_far_as_it_was_claimed() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(90));
    world.nodes[HOST].machine.lose(lease);
    world.ended(lease);
    assert!(world.both(lease, |lease| lease.phase == Phase::Ended(EndReason::GuestLost)));
    let receipt = world.lease(TENANT, lease).receipt.clone().unwrap();
    assert_eq!((receipt.number, receipt.last), (2, true));
    assert_eq!(receipt.usage.elapsed.0 / 1_000, 60, "the first tick's word stands");
    assert_eq!(world.lease(HOST, lease).receipt, Some(receipt));
}

#[test]
fn a_host_that_has_lost_everything_ends_the_lease() {
    let mut world = World::of(1);
    let lease = world.running();
    world.vanish(HOST);
    let mut empty = crate::world::Node::new(HOST as u8, world.now);
    empty.up = true;
    world.nodes[HOST] = empty;
    world.until(Span::minutes(5), |world| world.lease(TENANT, lease).phase.is_ended());
    assert_eq!(world.lease(TENANT, lease).phase, Phase::Ended(EndReason::GuestLost));
}

#[test]
fn a_renewal_makes_the_term_longer_on_both_sides() {
    let mut world = World::of(1);
    let lease = world.running();
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    assert_eq!(renew(&mut world, lease, Span::minutes(1)), "renewal_pending");
    world.run(Span::seconds(5));
    assert!(world.both(lease, |lease| lease.term == Span::minutes(15)
        && lease.renewals.len() == 1
        && lease.renewing.is_none()));
    world.ended(lease);
    assert_eq!(world.lease(HOST, lease).receipt.as_ref().unwrap().usage.billed(), Span::minutes(15));
    assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt);
    assert_eq!(renew(&mut world, lease, Span::minutes(1)), "wrong_phase");
}

#[test]
fn a_renewal_keeps_to_the_terms() {
    let mut world = World::of(1);
    let lease = world.running();
    assert_eq!(renew(&mut world, lease, Span::minutes(111)), "renewal_too_long");
    assert_eq!(
        world.tenant(HOST, Tenant::Renew { lease, more: Span::minutes(1) }).unwrap_err().code(),
        "wrong_side"
    );
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(110) }).unwrap();

    let (mut world, lease) = renewed_as(RenewalTerms::Never);
    assert_eq!(renew(&mut world, lease, Span::minutes(1)), "no_renewal");
    let host = world.lease(HOST, lease).contract.host.device;
    let renewal = model::Renewal {
        lease,
        number: 1,
        host,
        tenant: person(TENANT as u8).party().device,
        more: Span::minutes(1),
        issued: world.now,
        expires: world.now + Span::minutes(1),
    };
    let forced = person(TENANT as u8).key.sign(&renewal).unwrap().unverified();
    assert_eq!(code(world.say(TENANT, HOST, Request::Renew(forced))), "no_renewal");
}

fn renewed_as(renewal: RenewalTerms) -> (World, Id<Lease>) {
    let mut world = World::lending(Share { terms: Terms { renewal, ..rules() }, ..share() }, 1, 1);
    let lease = world.running();
    (world, lease)
}

#[test]
fn an_owner_who_is_asked_grants_more_time() {
    let (mut world, lease) = renewed_as(RenewalTerms::Ask);
    assert_eq!(world.owner(Owner::Answer { lease, grant: true }).unwrap_err().code(), "nothing_to_answer");
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::minutes(2));
    assert!(world.lease(HOST, lease).renewing.is_some(), "it waits for the owner");
    assert_eq!(renew(&mut world, lease, Span::minutes(1)), "renewal_pending");
    // Who waits is not forgotten when a computer starts again.
    world.crash(HOST);
    world.crash(TENANT);
    world.run(Span::minutes(1));
    world.owner(Owner::Answer { lease, grant: true }).unwrap();
    world.until(Span::minutes(2), |world| {
        world.both(lease, |lease| lease.term == Span::minutes(15) && lease.renewing.is_none())
    });
    assert_eq!(world.owner(Owner::Answer { lease, grant: true }).unwrap_err().code(), "nothing_to_answer");
    world.ended(lease);
    assert_eq!(world.lease(HOST, lease).receipt.as_ref().unwrap().usage.billed(), Span::minutes(15));
}

#[test]
fn an_owner_who_is_asked_says_no_and_may_be_asked_again() {
    let (mut world, lease) = renewed_as(RenewalTerms::Ask);
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::seconds(5));
    let asked = world.lease(HOST, lease).renewing.clone().unwrap();
    world.owner(Owner::Answer { lease, grant: false }).unwrap();
    assert_eq!(code(world.say(TENANT, HOST, Request::Renew(asked.unverified()))), "owner_denied");
    world.until(Span::minutes(2), |world| world.lease(TENANT, lease).renewing.is_none());
    assert!(world.lease(TENANT, lease).detail.contains("no more time"));
    assert_eq!(world.lease(TENANT, lease).phase, Phase::Running);
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(1) }).unwrap();
    world.until(Span::minutes(2), |world| world.lease(HOST, lease).renewing.is_some());
    world.owner(Owner::Answer { lease, grant: true }).unwrap();
    world.until(Span::minutes(2), |world| world.both(lease, |lease| lease.term == Span::minutes(11)));
}

#[test]
fn who_waits_for_an_owner_waits_no_longer_than_the_lease() {
    let (mut world, lease) = renewed_as(RenewalTerms::Ask);
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::seconds(5));
    world.ended(lease);
    assert_eq!(world.owner(Owner::Answer { lease, grant: true }).unwrap_err().code(), "wrong_phase");
    assert!(world.lease(TENANT, lease).renewing.is_none());
    assert_eq!(world.lease(TENANT, lease).term, Span::minutes(10));
}

#[test]
fn both_sides_are_warned_once_before_the_end_and_again_after_a_renewal() {
    let mut world = World::of(1);
    let lease = world.running();
    let warned = |world: &World, node: usize| {
        world.nodes[node].count(|record| matches!(record, Record::Warned { .. }))
    };
    world.run(Span::minutes(8));
    assert_eq!([warned(&world, HOST), warned(&world, TENANT)], [0, 0]);
    world.run(Span::seconds(90));
    assert_eq!([warned(&world, HOST), warned(&world, TENANT)], [1, 1], "a tenth of ten minutes before");
    world.crash(HOST);
    world.crash(TENANT);
    world.run(Span::seconds(5));
    assert_eq!([warned(&world, HOST), warned(&world, TENANT)], [1, 1], "not again after a start");
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.ended(lease);
    assert_eq!([warned(&world, HOST), warned(&world, TENANT)], [2, 2]);
}

#[test]
fn a_renewal_is_granted_once_however_often_it_is_asked() {
    let mut world = World::of(2);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    let renewal = world.lease(TENANT, lease).renewing.clone().unwrap();
    assert_eq!(code(world.say(OTHER, HOST, Request::Renew(renewal.unverified()))), "unknown_lease");
    let first = world.say(TENANT, HOST, Request::Renew(renewal.unverified()));
    assert!(matches!(first, Response::Renewal(_)));
    assert_eq!(world.say(TENANT, HOST, Request::Renew(renewal.unverified())), first);
    assert_eq!(world.lease(HOST, lease).term, Span::minutes(15));
    let again = model::Renewal { more: Span::minutes(6), ..(*renewal).clone() };
    let again = person(TENANT as u8).key.sign(&again).unwrap().unverified();
    assert_eq!(code(world.say(TENANT, HOST, Request::Renew(again))), "answer_differs");
}

#[test]
fn a_granted_renewal_is_learnt_of_even_when_it_has_expired_meanwhile() {
    let slow = Terms { tick: Span::minutes(10), ..rules() };
    let mut world = World::lending(Share { terms: slow, ..share() }, 1, 1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    let renewal = world.lease(TENANT, lease).renewing.clone().unwrap();
    world.say(TENANT, HOST, Request::Renew(renewal.unverified()));
    world.run(Span::minutes(6));
    assert!(renewal.expires < world.now);
    world.cut.clear();
    world.run(Span::minutes(1));
    assert!(world.both(lease, |lease| lease.term == Span::minutes(15)), "{}", world.picture());
}

#[test]
fn a_renewal_that_came_too_late_makes_room_for_another() {
    let mut world = World::of(1);
    let lease = world.running();
    // Asked while the host's clock was wrong.
    world.nodes[HOST].clock.ahead = 6 * 60_000;
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::seconds(1));
    assert!(world.lease(TENANT, lease).renewing.is_none());
    assert!(world.lease(TENANT, lease).detail.contains("expired"), "{}", world.lease(TENANT, lease).detail);
    world.nodes[HOST].clock.ahead = 0;
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::minutes(1));
    assert!(world.both(lease, |lease| lease.term == Span::minutes(15)));
}

#[test]
fn a_renewal_that_the_end_overtook_hides_nothing() {
    let mut world = World::of(1);
    let lease = world.running();
    world.cut.insert((HOST, TENANT));
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.nodes[HOST].machine.lose(lease);
    world.run(Span::seconds(61));
    world.cut.clear();
    world.ended(lease);
    let tenant = world.lease(TENANT, lease);
    assert!(tenant.renewing.is_none());
    assert_eq!(tenant.detail, "no guest runs under this lease");
}

#[test]
fn a_renewal_that_cannot_be_counted_to_the_end_is_refused() {
    let mut dear = share();
    dear.resources.memory = 1 << 50;
    dear.prices.memory_gib = 1_000_000_000_000;
    dear.terms = Terms { longest: Span::hours(9), credit: i64::MAX, ..rules() };
    dear.terms.renewal = RenewalTerms::Automatic { longest: Span::days(1) };
    let mut world = World::lending(dear, 1, 1);
    let cap = model::Rate::hourly(model::Amount::new(i64::MAX, EUR));
    let resources = Resources { memory: 1 << 50, ..wish().resources };
    let lease = world.deal(TENANT, AskTerms { resources, cap, term: Span::hours(8), ..wish() });
    assert_eq!(renew(&mut world, lease, Span::hours(1)), "cannot_be_counted");
}

#[test]
fn a_renewal_may_be_asked_before_the_guest_runs() {
    let (mut world, lease) = stuck_in("fetching");
    world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
    world.run(Span::seconds(5));
    assert!(world.both(lease, |lease| lease.term == Span::minutes(15)));
}

#[test]
fn a_lease_is_judged_once_after_its_end_by_its_parties() {
    let mut world = World::of(2);
    let lease = world.running();
    let rate = |marks| Tenant::Rate { lease, marks, text: "well".into() };
    assert_eq!(world.tenant(TENANT, rate([5, 5, 5])).unwrap_err().code(), "wrong_phase");
    world.run(Span::seconds(61));
    let early = rating(&world, lease, TENANT);
    assert_eq!(code(world.say(TENANT, HOST, Request::Rate(early))), "wrong_phase");
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    for marks in [[0, 5, 5], [5, 6, 5]] {
        assert_eq!(world.tenant(TENANT, rate(marks)).unwrap_err().code(), "invalid_document");
    }
    assert_eq!(world.tenant(OTHER, rate([5, 5, 5])).unwrap_err().code(), "unknown_lease");
    let theirs = rating(&world, lease, TENANT);
    assert_eq!(code(world.say(OTHER, HOST, Request::Rate(theirs))), "unknown_lease");

    world.tenant(TENANT, rate([5, 5, 5])).unwrap();
    assert_eq!(world.tenant(TENANT, rate([1, 1, 1])).unwrap_err().code(), "rated_already");
    world.run(Span::minutes(1));
    world.now = world.now + Span(1);
    let second = rating(&world, lease, TENANT);
    assert_eq!(code(world.say(TENANT, HOST, Request::Rate(second))), "rated_already");
    let known = world.lease(TENANT, lease).ratings[&Side::Tenant].unverified();
    assert_eq!(world.say(TENANT, HOST, Request::Rate(known)), Response::Done, "the same again does no harm");

    world.tenant(HOST, Tenant::Rate { lease, marks: [5, 5, 5], text: String::new() }).unwrap();
    let own = world.lease(HOST, lease).ratings[&Side::Host].unverified();
    assert_eq!(
        code(world.say(TENANT, HOST, Request::Rate(own))),
        "not_the_sender",
        "nobody judges in our name"
    );
}

#[test]
fn without_a_receipt_there_is_nothing_to_judge_by() {
    let (mut world, lease) = stuck_in("fetching");
    world.ended(lease);
    for (node, other) in [(HOST, TENANT), (TENANT, HOST)] {
        let score = world.nodes[node].engine.state().reputation.score(person(other as u8).party().person);
        assert_eq!((score.leases, score.kept.mean()), (1, 500), "nothing was kept or broken");
        assert_eq!(
            world
                .tenant(node, Tenant::Rate { lease, marks: [1, 1, 1], text: String::new() })
                .unwrap_err()
                .code(),
            "no_receipt"
        );
    }
}

#[test]
fn a_judgement_with_a_puppet_s_receipt_is_refused() {
    let mut world = World::of(1);
    let lease = world.running();
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    let puppet = person(OTHER as u8);
    let contract = &world.lease(HOST, lease).contract;
    let words = Tick {
        lease,
        host: puppet.party().device,
        tenant: contract.tenant.device,
        number: 1,
        usage: model::Usage::default(),
        amount: "0 EUR".parse().unwrap(),
        last: true,
        issued: world.now,
    };
    let tenant = person(TENANT as u8).key;
    let receipt = tenant.countersign(&puppet.key.sign(&words).unwrap()).unwrap();
    let rating = Rating {
        receipt,
        side: Side::Tenant,
        kept: 1,
        quality: 1,
        manners: 1,
        text: String::new(),
        issued: world.now,
    };
    let rating = tenant.sign(&rating).unwrap().unverified();
    assert_eq!(code(world.say(TENANT, HOST, Request::Rate(rating))), "no_receipt");
}

/// A lease that both know of and that goes no further; running and frozen go on.
fn stuck_in(phase: &str) -> (World, Id<Lease>) {
    let mut world = World::of(1);
    match phase {
        "agreed" | "fetching" => world.nodes[HOST].machine.fetching = Goes::Never,
        "starting" => world.nodes[HOST].machine.starting = Goes::Never,
        _ => {}
    }
    let lease = world.deal(TENANT, wish());
    match phase {
        // The tenant knows of no more; the host goes ahead by itself.
        "agreed" => {}
        "fetching" | "starting" | "running" => {
            world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase.word() == phase));
        }
        "frozen" => {
            world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
            world.cut.insert((HOST, TENANT));
            world.until(Span::minutes(4), |world| world.lease(HOST, lease).phase.word() == "frozen");
        }
        "closing" => {
            world.nodes[HOST].machine.stopping = Span::seconds(20);
            world.until(Span::minutes(1), |world| world.both(lease, |lease| lease.phase == Phase::Running));
            world.owner(Owner::Stop(lease)).unwrap();
            world.run(Span::seconds(1));
        }
        other => panic!("no such phase: {other}"),
    }
    (world, lease)
}

/// The code with which a renewal is refused here.
fn renew(world: &mut World, lease: Id<Lease>, more: Span) -> &'static str {
    world.tenant(TENANT, Tenant::Renew { lease, more }).unwrap_err().code()
}

/// A judgement as a party could send it without its own engine's leave.
fn rating(world: &World, lease: Id<Lease>, by: usize) -> model::Unverified<Rating> {
    let receipt = world.lease(by, lease).receipt.clone().unwrap();
    let rating = Rating {
        receipt,
        side: Side::Tenant,
        kept: 1,
        quality: 1,
        manners: 1,
        text: String::new(),
        issued: world.now,
    };
    person(by as u8).key.sign(&rating).unwrap().unverified()
}
