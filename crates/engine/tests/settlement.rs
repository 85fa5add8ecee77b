//! Debts that were paid: said, received or missed, and booked by both or by none.

use crate::world::{CALM, EUR, Faults, HOST, OTHER, TENANT, World, code, person};
use engine::input::Tenant;
use engine::settlement::{Command, Stands};
use engine::{Input, Refusal};
use model::message::Verdict;
use model::record::Account;
use model::{Amount, Id, Nonce, PersonId, Request, Settlement, Span};

fn who(node: usize) -> PersonId {
    person(node as u8).party().person
}

/// A world in which the tenant owes the host some money: a second of the usual guest costs 1000 millionths.
fn owing(seed: u64) -> World {
    let mut world = World::lending(crate::world::share(), 2, seed);
    let lease = world.running();
    world.run(Span::seconds(100));
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    assert!(owed(&world) > 90_000, "{}", owed(&world));
    world
}

/// What the host believes to be owed; the tenant believes the same.
fn owed(world: &World) -> i64 {
    let of = |node: usize, other| {
        world.nodes[node].engine.state().ledger.balance(Account::Person(who(other)), EUR).micros
    };
    assert_eq!(of(HOST, TENANT), -of(TENANT, HOST));
    of(HOST, TENANT)
}

fn settle(world: &mut World, node: usize, command: Command) -> Result<(), Refusal> {
    world.wish(node, Input::Settle(command)).expect("it lives").map(drop)
}

fn pay(world: &mut World, micros: i64) -> Result<(), Refusal> {
    let command = Command::Pay {
        person: who(HOST),
        amount: Amount::new(micros, EUR),
        method: "bank".to_owned(),
        reference: "January".to_owned(),
        nonce: Nonce([micros as u8; 16]),
    };
    settle(world, TENANT, command)
}

fn claim(world: &World) -> Option<Id<Settlement>> {
    let payments = world.nodes[HOST].engine.state().settlement.payments();
    payments.filter(|(_, payment)| payment.stands == Stands::Open).map(|(id, _)| id).next()
}

#[test]
fn a_payment_is_booked_by_both_once_the_payee_has_signed() {
    let mut world = owing(1);
    let before = owed(&world);
    pay(&mut world, 60_000).unwrap();
    world.until(Span::minutes(1), |world| claim(world).is_some());
    assert_eq!(owed(&world), before, "a claim alone changes nothing");
    let id = claim(&world).unwrap();
    settle(&mut world, HOST, Command::Confirm(id)).unwrap();
    world.run(Span::minutes(1));
    assert_eq!(owed(&world), before - 60_000);
    for node in [HOST, TENANT] {
        let state = world.nodes[node].engine.state();
        let sum: i64 = state.ledger.balances().map(|(_, amount)| amount.micros).sum();
        assert_eq!(sum, 0);
        assert!(matches!(state.settlement.get(id).unwrap().stands, Stands::Confirmed(_)));
        assert!(state.settlement.get(id).unwrap().told);
    }
}

#[test]
fn a_payment_survives_loss_doubling_and_crashes_of_both_and_is_booked_once() {
    for seed in 1..40 {
        let mut world = owing(seed);
        let before = owed(&world);
        world.faults = Faults { lost: 50, doubled: 40, ..CALM };
        pay(&mut world, 10_000).unwrap();
        world.crash(TENANT);
        world.until(Span::hours(6), |world| claim(world).is_some());
        let id = claim(&world).unwrap();
        settle(&mut world, HOST, Command::Confirm(id)).unwrap();
        world.crash(HOST);
        world.until(Span::hours(6), |world| {
            let state = world.nodes[TENANT].engine.state();
            matches!(state.settlement.get(id).unwrap().stands, Stands::Confirmed(_))
        });
        world.run(Span::hours(6));
        assert_eq!(owed(&world), before - 10_000);
        assert_eq!(settle(&mut world, HOST, Command::Confirm(id)).unwrap_err().code(), "unknown_payment");
    }
}

#[test]
fn what_has_not_come_is_rejected_and_owed_as_before() {
    let mut world = owing(1);
    let before = owed(&world);
    pay(&mut world, 60_000).unwrap();
    world.until(Span::minutes(1), |world| claim(world).is_some());
    let id = claim(&world).unwrap();
    settle(&mut world, HOST, Command::Reject { settlement: id, why: "not\nthere".to_owned() }).unwrap();
    world.run(Span::minutes(1));
    let payment = world.nodes[TENANT].engine.state().settlement.get(id).unwrap().clone();
    assert_eq!(payment.stands, Stands::Rejected("notthere".to_owned()));
    assert_eq!(owed(&world), before);
    // And can be said again.
    pay(&mut world, before).unwrap();
}

#[test]
fn nobody_pays_more_than_they_owe_or_twice() {
    let mut world = owing(1);
    let before = owed(&world);
    assert_eq!(pay(&mut world, before + 1).unwrap_err().code(), "not_owed");
    pay(&mut world, before).unwrap();
    let again = pay(&mut world, 1).unwrap_err();
    assert_eq!(again.code(), "not_owed", "{again}");
    assert_eq!(pay(&mut world, 0).unwrap_err().code(), "out_of_range");
    let wrong = Command::Pay {
        person: who(OTHER),
        amount: Amount::new(5, EUR),
        method: String::new(),
        reference: String::new(),
        nonce: Nonce([1; 16]),
    };
    assert_eq!(settle(&mut world, TENANT, wrong).unwrap_err().code(), "not_owed");
}

#[test]
fn strangers_can_neither_claim_nor_confirm() {
    let mut world = owing(1);
    pay(&mut world, 60_000).unwrap();
    let payments = world.nodes[TENANT].engine.state().settlement.payments();
    let (id, payment) = payments.map(|(id, payment)| (id, payment.clone())).next().unwrap();
    let claim = || Request::Paid(payment.settlement.unverified());
    assert_eq!(code(world.say(OTHER, HOST, claim())), "not_the_sender");
    assert_eq!(code(world.say(TENANT, OTHER, claim())), "not_for_us");
    // Who confirms with a signature that is not the payee's, or as somebody else, confirms nothing.
    let forged =
        Request::Settled { settlement: id, verdict: Verdict::Received(payment.settlement.unverified()) };
    assert_eq!(code(world.say(OTHER, TENANT, forged.clone())), "unknown_payment");
    assert_eq!(code(world.say(HOST, TENANT, forged)), "out_of_range");
    assert!(owed(&world) > 90_000);
}
