//! People: invites, acquaintance, blocks, and offers for those whom the owner knows.

use crate::world::{CALM, Faults, HOST, OTHER, TENANT, World, code, person, share, wish};
use engine::people::{Command, Outcome};
use engine::{Input, Refusal};
use model::{Audience, Contact, Invite, Nonce, PersonId, Regard, Request, Share, Signed, Span};

fn who(node: usize) -> PersonId {
    person(node as u8).party().person
}

fn invite(world: &mut World, uses: u32) -> Signed<Invite> {
    let command = Command::Invite {
        nonce: Nonce([7; 16]),
        name: "Ada".to_owned(),
        addresses: Vec::new(),
        stands: Span::days(7),
        uses,
    };
    world.wish(HOST, Input::People(command)).unwrap().unwrap();
    let now = world.now;
    let (_, open) = world.nodes[HOST].engine.state().people.invites(now).next().unwrap();
    open.invite.clone()
}

fn accept(world: &mut World, node: usize, invite: &Signed<Invite>) -> Result<(), Refusal> {
    let command = Command::Accept { invite: Box::new(invite.unverified()), name: "Bo".to_owned() };
    world.wish(node, Input::People(command)).unwrap().map(drop)
}

fn regard(world: &mut World, node: usize, person: PersonId, regard: Regard) {
    let contact = Contact { name: String::new(), note: String::new(), regard };
    let command = Command::Regard { person, contact: Some(contact) };
    world.wish(node, Input::People(command)).unwrap().unwrap();
}

fn acquainted(world: &World, node: usize) -> bool {
    let people = |at: usize| &world.nodes[at].engine.state().people;
    people(HOST).knows(who(node)) && people(node).knows(who(HOST))
}

#[test]
fn an_accepted_invite_makes_two_people_known_to_each_other() {
    let mut world = World::of(1);
    let invite = invite(&mut world, 1);
    accept(&mut world, TENANT, &invite).unwrap();
    world.until(Span::minutes(1), |world| acquainted(world, TENANT));
    let people = &world.nodes[HOST].engine.state().people;
    assert_eq!(people.contact(who(TENANT)).unwrap().name, "Bo");
    assert_eq!(world.nodes[TENANT].engine.state().people.contact(who(HOST)).unwrap().name, "Ada");
    world.run(Span::minutes(1));
    let (_, answer) = world.nodes[TENANT].engine.state().people.answers().next().unwrap();
    assert_eq!(answer.outcome, Outcome::Heard);
}

#[test]
fn an_invite_is_heard_through_loss_and_crashes_and_counts_once() {
    let mut world = World::lending(share(), 1, 77);
    world.faults = Faults { lost: 60, doubled: 30, ..CALM };
    let invite = invite(&mut world, 1);
    accept(&mut world, TENANT, &invite).unwrap();
    world.crash(TENANT);
    world.crash(HOST);
    world.until(Span::hours(2), |world| acquainted(world, TENANT));
    let now = world.now;
    let (_, open) = world.nodes[HOST].engine.state().people.invites(now).next().unwrap();
    assert_eq!(open.greeted.len(), 1);
}

#[test]
fn an_invite_lets_in_as_many_as_it_says() {
    let mut world = World::of(2);
    let invite = invite(&mut world, 1);
    accept(&mut world, TENANT, &invite).unwrap();
    world.until(Span::minutes(1), |world| acquainted(world, TENANT));
    accept(&mut world, OTHER, &invite).unwrap();
    world.run(Span::minutes(2));
    assert!(!world.nodes[HOST].engine.state().people.knows(who(OTHER)));
    let (_, answer) = world.nodes[OTHER].engine.state().people.answers().next().unwrap();
    assert!(matches!(&answer.outcome, Outcome::Refused(why) if why.contains("used")), "{:?}", answer.outcome);
}

#[test]
fn an_invite_that_was_withdrawn_or_is_over_lets_nobody_in() {
    let mut world = World::of(2);
    let invite = invite(&mut world, 5);
    world.wish(HOST, Input::People(Command::Withdraw(invite.id()))).unwrap().unwrap();
    accept(&mut world, TENANT, &invite).unwrap();
    world.run(Span::minutes(2));
    assert!(!world.nodes[HOST].engine.state().people.knows(who(TENANT)));
    world.run(Span::days(8));
    let late = accept(&mut world, OTHER, &invite).unwrap_err();
    assert_eq!(late.code(), "invite_expired");
    let again = world.wish(HOST, Input::People(Command::Withdraw(invite.id()))).unwrap().unwrap_err();
    assert_eq!(again.code(), "unknown_invite");
}

#[test]
fn nobody_greets_with_the_words_of_another_or_invites_themselves() {
    let mut world = World::of(2);
    let invite = invite(&mut world, 5);
    let own = accept(&mut world, HOST, &invite).unwrap_err();
    assert_eq!(own.code(), "yourself");
    accept(&mut world, TENANT, &invite).unwrap();
    let (_, answer) = world.nodes[TENANT].engine.state().people.answers().next().unwrap();
    let greeting = answer.greeting.unverified();
    let stolen = world.say(OTHER, HOST, Request::Greet(greeting));
    assert_eq!(code(stolen), "not_the_sender");
    assert!(!world.nodes[HOST].engine.state().people.knows(who(OTHER)));
}

#[test]
fn who_was_blocked_is_not_let_in_by_an_older_invite() {
    let mut world = World::of(1);
    let invite = invite(&mut world, 5);
    regard(&mut world, HOST, who(TENANT), Regard::Blocked);
    accept(&mut world, TENANT, &invite).unwrap();
    world.run(Span::minutes(2));
    assert!(world.nodes[HOST].engine.state().people.blocks(who(TENANT)));
}

#[test]
fn what_is_lent_to_people_i_know_is_refused_to_strangers() {
    let mut world = World::of(1);
    world.lend(Some(Share { audience: Audience::Known, ..share() }));
    let ask = world.ask(TENANT, wish());
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(code, "not_for_you", "{sentence}");
    let invite = invite(&mut world, 1);
    accept(&mut world, TENANT, &invite).unwrap();
    world.until(Span::minutes(1), |world| acquainted(world, TENANT));
    world.deal(TENANT, wish());
}

#[test]
fn who_is_blocked_gets_no_new_lease_and_keeps_the_one_there_is() {
    let mut world = World::of(1);
    let lease = world.running();
    regard(&mut world, HOST, who(TENANT), Regard::Blocked);
    let ask = world.ask(TENANT, wish());
    assert_eq!(world.refusal(TENANT, ask).0, "not_for_you");
    assert!(world.lease(HOST, lease).may_go_on());
    let forget = Command::Regard { person: who(TENANT), contact: None };
    world.wish(HOST, Input::People(forget)).unwrap().unwrap();
    world.deal(TENANT, wish());
}

#[test]
fn what_is_out_of_range_is_refused_in_words() {
    let mut world = World::of(1);
    let wrong =
        |world: &mut World, command| world.wish(HOST, Input::People(command)).unwrap().unwrap_err().code();
    let contact = |name: &str| Contact { name: name.to_owned(), note: String::new(), regard: Regard::Known };
    let of = |person, name| Command::Regard { person, contact: Some(contact(name)) };
    assert_eq!(wrong(&mut world, of(who(TENANT), "two\nlines")), "out_of_range");
    assert_eq!(wrong(&mut world, of(who(HOST), "me")), "yourself");
    let invite = |stands, uses| Command::Invite {
        nonce: Nonce([1; 16]),
        name: String::new(),
        addresses: Vec::new(),
        stands,
        uses,
    };
    assert_eq!(wrong(&mut world, invite(Span::days(31), 1)), "out_of_range");
    assert_eq!(wrong(&mut world, invite(Span::days(1), 0)), "out_of_range");
}
