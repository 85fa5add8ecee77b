//! From the offer to the ended lease, and the many ways in which no deal comes about.

use crate::world::{EUR, Faults, HOST, ONE_CORE, OTHER, TENANT, World, code, person, share, wish};
use engine::input::{Owner, Tenant};
use engine::lease::Outcome;
use engine::{Input, Topic};
use model::document::{Readers, SecretFile, Secrets};
use model::record::{Account, Record};
use model::{
    Ask, AskTerms, Denial, EndReason, Feature, Id, Lease, NetworkPolicy, Nonce, Phase, Quote, Rate, Request,
    Resources, Response, Sandbox, Share, Signed, Span, Workload,
};

#[test]
fn a_lease_goes_from_the_ask_to_two_judgements() {
    let mut world = World::of(1);
    world.nodes[HOST].machine.program = Some((Span::seconds(150), 0));
    let lease = world.running();
    world.ended(lease);

    let (host, tenant) = (world.lease(HOST, lease).clone(), world.lease(TENANT, lease).clone());
    let reason = EndReason::Exited { code: 0 };
    assert_eq!((host.phase, tenant.phase), (Phase::Ended(reason), Phase::Ended(reason)));
    assert_eq!(host.receipt, tenant.receipt);
    assert_eq!(host.ends, tenant.ends, "each has both words");
    assert_eq!(host.ends.len(), 2);

    let receipt = host.receipt.unwrap();
    assert_eq!((receipt.number, receipt.last), (3, true), "at one minute, at two, and the last");
    assert_eq!(receipt.usage.billed(), Span::seconds(150));
    assert_eq!(receipt.amount.micros, 150_000, "a millionth of a euro for each millisecond");

    let owed = |node: usize, account| world.nodes[node].engine.state().ledger.balance(account, EUR).micros;
    let (lender, renter) = (person(0).party().person, person(1).party().person);
    assert_eq!((owed(HOST, Account::Person(renter)), owed(HOST, Account::Income)), (150_000, -150_000));
    assert_eq!((owed(TENANT, Account::Person(lender)), owed(TENANT, Account::Expense)), (-150_000, 150_000));

    let before = world.nodes[TENANT].engine.state().reputation.score(lender);
    assert_eq!(before.kept.mean(), 750, "kept once, and three times signed: {before:?}");
    assert_eq!(world.nodes[HOST].engine.state().reputation.score(renter).kept.mean(), 750);
    assert!(before.manners.mean() > 750);
    world.tenant(TENANT, Tenant::Rate { lease, marks: [5, 5, 5], text: "quick".into() }).unwrap();
    world.tenant(HOST, Tenant::Rate { lease, marks: [4, 3, 5], text: "quiet".into() }).unwrap();
    world.run(Span::minutes(1));
    assert_eq!(world.lease(HOST, lease).ratings, world.lease(TENANT, lease).ratings);
    assert_eq!(world.lease(HOST, lease).ratings.len(), 2);
    let after = world.nodes[TENANT].engine.state().reputation.score(lender);
    assert!(after.trust() > before.trust());
    let of_tenant = world.nodes[HOST].engine.state().reputation.score(renter);
    assert_eq!((of_tenant.ratings, of_tenant.leases, of_tenant.broken, of_tenant.receipts), (1, 1, 0, 3));
}

#[test]
fn more_than_the_cap_is_never_paid() {
    let mut world = World::of(1);
    let ask = world.ask(TENANT, AskTerms { cap: rate("3.59 EUR"), ..wish() });
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(
        (code.as_str(), sentence.as_str()),
        ("price_above_cap", "an hour costs 3.60 EUR/h, and at most 3.59 EUR/h was to be paid")
    );
    let exact = world.ask(TENANT, AskTerms { cap: rate("3.60 EUR"), ..wish() });
    world.until(Span::seconds(5), |world| matches!(world.outcome(TENANT, exact), Outcome::Agreed(_)));
}

#[test]
fn what_a_sandbox_cannot_give_is_not_promised() {
    let network: NetworkPolicy = "internet".parse().unwrap();
    let mut world = World::lending(Share { network: network.clone(), ..share() }, 1, 1);
    let sandbox =
        Sandbox { without: vec![Feature::Network, Feature::Writing], ..world.offer().sandbox.clone() };
    world.lend_with(HOST, Some(Share { network, ..share() }), sandbox);
    assert!(world.offer().share.network.is_none(), "it is not said to be lent");
    let mut wanted = wish();
    let ask = world.ask(TENANT, wanted.clone());
    assert_eq!(world.refusal(TENANT, ask).0, "not_in_this_sandbox", "it would write over its image");
    wanted.workload.options.read_only = true;
    wanted.workload.ports = vec![80];
    let ask = world.ask(TENANT, wanted.clone());
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(code, "not_in_this_sandbox");
    assert_eq!(sentence, "guests have no ports here, and reach nothing outside");
    wanted.workload.ports = Vec::new();
    let ask = world.ask(TENANT, wanted);
    world.until(Span::seconds(5), |world| matches!(world.outcome(TENANT, ask), Outcome::Agreed(_)));
}

#[test]
fn a_cap_in_another_currency_is_no_deal() {
    let mut world = World::of(1);
    let ask = world.ask(TENANT, AskTerms { cap: rate("100 USD"), ..wish() });
    assert_eq!(world.refusal(TENANT, ask).0, "cannot_be_counted");
}

#[test]
fn a_host_cannot_raise_its_price_to_the_cap() {
    let mut world = World::of(1);
    let (ask, quote) = quoted(&mut world);
    let dear = Quote { rate: rate("9.99 EUR"), ..(*quote).clone() };
    answers(&mut world, ask, dear);
    assert_eq!(world.refusal(TENANT, ask).0, "answer_differs");
}

#[test]
fn a_host_cannot_change_its_rules() {
    let mut world = World::of(1);
    let (ask, quote) = quoted(&mut world);
    let mut other = (*quote).clone();
    other.terms.grace = Span::ZERO;
    answers(&mut world, ask, other);
    assert_eq!(
        world.refusal(TENANT, ask),
        ("answer_differs".into(), "the host's answer differs from the ask in its terms".into())
    );
}

#[test]
fn a_term_that_is_too_long_is_refused_with_the_longest() {
    let mut world = World::of(1);
    let ask = world.ask(TENANT, AskTerms { term: Span::minutes(61), ..wish() });
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(
        (code.as_str(), sentence.as_str()),
        ("term_too_long", "1 h 1 min was asked, and 1 h is the longest")
    );
}

#[test]
fn a_price_that_cannot_be_counted_to_the_end_is_refused() {
    let mut share = share();
    share.prices.memory_gib = 1_000_000_000_000;
    share.resources.memory = 1 << 50;
    share.terms.longest = Span::days(366);
    let mut world = World::lending(share, 1, 1);
    let resources = Resources { memory: 1 << 50, ..ONE_CORE };
    let cap = Rate::hourly(model::Amount::new(i64::MAX, EUR));
    let ask = world.ask(TENANT, AskTerms { resources, cap, term: Span::days(366), ..wish() });
    assert_eq!(world.refusal(TENANT, ask).0, "cannot_be_counted");
}

#[test]
fn a_guest_reaches_no_more_than_the_host_offers() {
    let reach = |policy: &str| {
        let mut wanted = wish();
        wanted.workload.network = policy.parse().unwrap();
        wanted
    };
    let mut world = World::of(1);
    let ask = world.ask(TENANT, reach("internet"));
    assert_eq!(world.refusal(TENANT, ask).0, "out_of_reach", "nothing is offered unless the owner says so");
    let network = "allow:*.example.org:443".parse().unwrap();
    let mut world = World::lending(Share { network, ..share() }, 1, 1);
    let ask = world.ask(TENANT, reach("allow:a.example.org:443,b.example.org:80"));
    let (code, sentence) = world.refusal(TENANT, ask);
    assert_eq!(code, "out_of_reach");
    assert!(sentence.starts_with("b.example.org:80 is not among"), "{sentence}");
    let lease = world.deal(TENANT, reach("allow:a.example.org:443"));
    assert_eq!(
        world.lease(HOST, lease).contract.workload.network,
        "allow:a.example.org:443".parse().unwrap()
    );
}

#[test]
fn capacity_comes_back_when_a_quote_lapses() {
    let mut world = World::of(2);
    let all = AskTerms { resources: share().resources, cap: rate("100 EUR"), ..wish() };
    let (ask, _) = held_by(&mut world, TENANT, all.clone());
    let second = world.ask(OTHER, all.clone());
    let (code, sentence) = world.refusal(OTHER, second);
    assert_eq!(code, "no_capacity");
    assert!(sentence.contains("0 cores"), "{sentence}");
    world.run(Span::seconds(31));
    assert_eq!(world.refusal(TENANT, ask).0, "no_answer");
    assert_eq!(world.nodes[HOST].count(|record| matches!(record, Record::Lapsed { .. })), 1);
    world.deal(OTHER, all);
}

#[test]
fn capacity_comes_back_when_a_lease_ends() {
    let mut world = World::of(2);
    let all = AskTerms { resources: share().resources, cap: rate("100 EUR"), ..wish() };
    let lease = world.deal(TENANT, all.clone());
    let second = world.ask(OTHER, all.clone());
    assert_eq!(world.refusal(OTHER, second).0, "no_capacity");
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    world.deal(OTHER, all);
}

#[test]
fn a_device_is_one_lease_s_at_a_time() {
    let mut world = World::of(2);
    let with = |name: &str| AskTerms {
        workload: Workload { devices: vec![name.to_owned()], ..wish().workload },
        ..wish()
    };
    let lease = world.deal(TENANT, with("camera"));
    let second = world.ask(OTHER, with("camera"));
    let (code, sentence) = world.refusal(OTHER, second);
    assert_eq!((code.as_str(), sentence.as_str()), ("device_in_use", "another guest has the device camera"));
    let third = world.ask(OTHER, with("microscope"));
    assert_eq!(world.refusal(OTHER, third).0, "no_device");
    // Another device is free, and so is this one after the lease.
    world.deal(OTHER, with("gpu"));
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    world.deal(OTHER, with("camera"));
}

#[test]
fn a_guest_s_secrets_are_agreed_by_name() {
    let file = |name: &str| SecretFile { name: name.to_owned(), readers: Readers::User };
    let with = |names: &[&str]| {
        let named = names.iter().map(|name| file(name)).collect();
        let secrets = Some(Secrets { bundle: Nonce([9; 16]), named });
        AskTerms { workload: Workload { secrets, ..wish().workload }, ..wish() }
    };
    let mut world = World::of(2);
    let lease = world.deal(TENANT, with(&["db", "key"]));
    let agreed = world.nodes[HOST].engine.state().lease.get(lease).unwrap().contract.workload.secrets.clone();
    assert_eq!(agreed, with(&["db", "key"]).workload.secrets);
    let kept = |world: &World| world.nodes[TENANT].engine.state().lease.secrets();
    assert_eq!(kept(&world), [Nonce([9; 16])].into());
    assert!(world.nodes[HOST].engine.state().lease.secrets().is_empty(), "a host keeps none");
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    assert!(kept(&world).is_empty(), "none are needed after the end");
    // A name that is no file's is not even asked for.
    let offer = Box::new(world.offer());
    let wrong = Tenant::Ask { offer, terms: Box::new(with(&["../x"])), nonce: Nonce([1; 16]) };
    assert!(world.tenant(OTHER, wrong).is_err());
    // Who does not say that it gives secrets refuses them, whatever the tenant makes of its offer.
    let sandbox = Sandbox { secrets: false, ..world.offer().sandbox.clone() };
    world.lend_with(HOST, Some(share()), sandbox);
    let ask = world.ask(OTHER, with(&["db"]));
    assert_eq!(world.refusal(OTHER, ask).0, "no_secrets");
    world.deal(OTHER, wish());
}

#[test]
fn two_tenants_never_get_more_than_is_lent() {
    let mut world = World::of(2);
    let most =
        AskTerms { resources: Resources { cpu_millis: 3_000, ..ONE_CORE }, cap: rate("100 EUR"), ..wish() };
    let asks = [(TENANT, world.ask(TENANT, most.clone())), (OTHER, world.ask(OTHER, most))];
    world.run(Span::minutes(1));
    let agreed =
        asks.iter().filter(|(node, ask)| matches!(world.outcome(*node, *ask), Outcome::Agreed(_))).count();
    assert_eq!(agreed, 1, "that it is never more is held after each write");
}

#[test]
fn an_offer_that_has_expired_or_was_taken_back_makes_no_deal() {
    let mut world = World::of(1);
    let old = world.offer();
    world.lend(None);
    assert_eq!(refused(&mut world, &old), "unknown_offer");
    world.lend(Some(share()));
    assert_eq!(refused(&mut world, &old), "unknown_offer");
    let new = world.offer();
    world.run(Span::hours(24));
    assert_eq!(refused(&mut world, &new), "unknown_offer");
}

#[test]
fn a_quote_makes_one_lease() {
    let mut world = World::of(1);
    let (_, quote) = quoted(&mut world);
    let (one, other) = (accepted(&world, &quote, 0), accepted(&world, &quote, 1));
    assert_ne!(one.id(), other.id());
    let signed = world.say(TENANT, HOST, Request::Lease(one.unverified()));
    assert!(matches!(signed, Response::Lease(_)));
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(other.unverified()))), "unknown_quote");
    assert_eq!(
        world.say(TENANT, HOST, Request::Lease(one.unverified())),
        signed,
        "asked twice is answered alike"
    );
    assert_eq!(world.nodes[HOST].engine.state().lease.hosted().count(), 1);
}

#[test]
fn a_quote_does_not_hold_for_longer_than_half_a_minute() {
    let mut world = World::of(1);
    let (_, quote) = quoted(&mut world);
    let lease = accepted(&world, &quote, 0);
    world.now = world.now + Span::seconds(30);
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(lease.unverified()))), "unknown_quote");
}

#[test]
fn only_the_words_of_the_quote_are_signed() {
    let mut world = World::of(2);
    let (_, quote) = quoted(&mut world);
    let honest = accepted(&world, &quote, 0);
    let sign = |node: usize, words: &Lease| person(node as u8).key.sign(words).unwrap().unverified();

    let longer = Lease { term: Span::hours(1), ..(*honest).clone() };
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(sign(TENANT, &longer)))), "answer_differs");
    let cheaper = Lease { rate: rate("0.01 EUR"), ..(*honest).clone() };
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(sign(TENANT, &cheaper)))), "answer_differs");
    let larger = Lease { resources: share().resources, ..(*honest).clone() };
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(sign(TENANT, &larger)))), "answer_differs");
    let stolen = Lease { tenant: person(OTHER as u8).party(), ..(*honest).clone() };
    assert_eq!(code(world.say(TENANT, HOST, Request::Lease(sign(OTHER, &stolen)))), "answer_differs");
    assert_eq!(code(world.say(OTHER, HOST, Request::Lease(honest.unverified()))), "not_the_sender");

    let mut forged = honest.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        code(world.say(TENANT, HOST, Request::Lease(model::Unverified::read(&forged).unwrap()))),
        "invalid_document"
    );
    assert!(matches!(world.say(TENANT, HOST, Request::Lease(honest.unverified())), Response::Lease(_)));
}

#[test]
fn an_ask_is_answered_to_whom_it_is_from_and_by_whom_it_is_for() {
    let mut world = World::of(2);
    let ask = world.ask(TENANT, wish());
    let words = world.nodes[TENANT].engine.state().lease.asking(ask).unwrap().ask.clone();
    assert_eq!(code(world.say(OTHER, HOST, Request::Ask(words.unverified()))), "not_the_sender");
    assert_eq!(code(world.say(TENANT, OTHER, Request::Ask(words.unverified()))), "not_for_us");
    let borrowed = person(OTHER as u8).key.sign(&(*words).clone());
    assert!(matches!(borrowed, Err(model::Invalid::Signer { .. })), "nobody asks with another's certificate");
}

#[test]
fn a_machine_rents_nothing_from_itself() {
    let mut world = World::of(0);
    let offer = world.offer();
    let ask = Tenant::Ask { offer: Box::new(offer), terms: Box::new(wish()), nonce: Nonce([0; 16]) };
    assert_eq!(world.tenant(HOST, ask).unwrap_err().code(), "own_offer");
}

#[test]
fn a_copy_of_an_ask_holds_no_capacity_of_its_own() {
    let mut world = World::of(1);
    let lease = world.deal(TENANT, wish());
    let ask = world.lease(TENANT, lease).contract.ask;
    let words = world.nodes[TENANT].engine.state().lease.asking(ask).unwrap().ask.clone();
    assert_eq!(code(world.say(TENANT, HOST, Request::Ask(words.unverified()))), "wrong_phase");
    assert_eq!(world.nodes[HOST].engine.state().lease.quotes().count(), 0);
}

#[test]
fn clocks_that_differ_by_minutes_make_a_deal_and_equal_money() {
    for minutes in [-4, 4] {
        let mut world = World::of(1);
        world.nodes[TENANT].clock.ahead = minutes * 60_000;
        world.nodes[HOST].machine.program = Some((Span::seconds(90), 0));
        let lease = world.running();
        world.tenant(TENANT, Tenant::Renew { lease, more: Span::minutes(5) }).unwrap();
        world.ended(lease);
        assert_eq!(world.lease(HOST, lease).receipt, world.lease(TENANT, lease).receipt, "{minutes} min");
        assert_eq!(world.lease(HOST, lease).receipt.as_ref().unwrap().usage.billed(), Span::seconds(90));
        assert_eq!(world.lease(TENANT, lease).term, Span::minutes(15));
    }
}

#[test]
fn clocks_that_differ_by_hours_are_named_as_the_reason() {
    for (hours, says) in [(3, "ahead of this computer's clock"), (-3, "expired 2 h 55 min ago")] {
        let mut world = World::of(1);
        world.nodes[TENANT].clock.ahead = hours * 3_600_000;
        let ask = world.ask(TENANT, wish());
        let (code, sentence) = world.refusal(TENANT, ask);
        assert_eq!(code, "clock_or_expired");
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[test]
fn on_a_bad_line_both_sides_know_the_same() {
    let mut deals = 0;
    for seed in 0..20 {
        let mut world = World::lending(share(), 1, seed);
        world.faults = Faults { lost: 30, doubled: 30, late: Span::seconds(2) };
        let ask = world.ask(TENANT, wish());
        world.run(Span::minutes(4));
        let agreed = matches!(world.outcome(TENANT, ask), Outcome::Agreed(_));
        let signed = world.nodes[HOST].count(|record| matches!(record, Record::Agreed { .. }));
        assert_eq!(signed, usize::from(agreed), "seed {seed}: {:?}", world.outcome(TENANT, ask));
        deals += signed;
    }
    assert!(deals >= 15, "{deals} of 20 asks became leases");
}

#[test]
fn a_host_without_time_is_asked_again() {
    let mut world = World::of(1);
    let (ask, quote) = quoted(&mut world);
    let lease = accepted(&world, &quote, 0);
    for code in ["busy", "fault"] {
        let denial = Response::Denied(Denial { code: code.into(), sentence: "later".into() });
        hears(&mut world, Topic::Ask(ask), denial.clone());
        hears(&mut world, Topic::Lease(lease.id()), denial);
    }
    assert_eq!(*world.outcome(TENANT, ask), Outcome::Waiting);
    world.cut.clear();
    world.until(Span::seconds(10), |world| matches!(world.outcome(TENANT, ask), Outcome::Agreed(_)));
}

#[test]
fn an_ask_that_was_given_up_makes_no_lease() {
    let mut world = World::of(1);
    let (ask, quote) = quoted(&mut world);
    world.tenant(TENANT, Tenant::GiveUp(ask)).unwrap();
    hears(&mut world, Topic::Ask(ask), Response::Quote(quote.unverified()));
    assert_eq!(world.refusal(TENANT, ask).0, "given_up");
    world.cut.clear();
    world.run(Span::minutes(2));
    assert_eq!(world.nodes[HOST].engine.state().lease.hosted().count(), 0);
}

#[test]
fn nobody_lends_an_unmeasured_machine() {
    let mut world = World::of(1);
    let stranger = &mut world.nodes[TENANT];
    let refusal = stranger.decide(world.now, Input::Owner(Owner::Share(Some(share())))).unwrap().unwrap_err();
    assert_eq!(refusal.code(), "not_measured");
}

#[test]
fn what_is_promised_stays_promised_when_less_is_lent() {
    let mut world = World::of(1);
    let lease = world.running();
    world.owner(Owner::Share(None)).unwrap();
    let ask = world.ask(TENANT, wish());
    assert_eq!(world.refusal(TENANT, ask).0, "no_capacity", "before the offer is taken back");
    world.lend(Some(Share { resources: ONE_CORE, ..share() }));
    let ask = world.ask(TENANT, wish());
    assert_eq!(world.refusal(TENANT, ask).0, "no_capacity");
    assert_eq!(world.lease(HOST, lease).phase, Phase::Running);
}

fn rate(text: &str) -> Rate {
    Rate::hourly(text.parse().unwrap())
}

/// An ask whose quote was given, and has not come back: the line is cut.
fn quoted(world: &mut World) -> (Id<Ask>, Signed<Quote>) {
    held_by(world, TENANT, wish())
}

fn held_by(world: &mut World, node: usize, terms: AskTerms) -> (Id<Ask>, Signed<Quote>) {
    world.cut.insert((HOST, node));
    let ask = world.ask(node, terms);
    let words = world.nodes[node].engine.state().lease.asking(ask).unwrap().ask.unverified();
    match world.say(node, HOST, Request::Ask(words)) {
        Response::Quote(quote) => (ask, quote.verify_past().unwrap()),
        other => panic!("{other:?}"),
    }
}

/// The tenant hears this instead of an answer of the host.
fn hears(world: &mut World, topic: Topic, response: Response) {
    let now = world.now;
    world.nodes[TENANT].decide(now, Input::Answer { topic, response }).unwrap().unwrap();
}

fn answers(world: &mut World, ask: Id<Ask>, quote: Quote) {
    let quote = person(HOST as u8).key.sign(&quote).unwrap();
    hears(world, Topic::Ask(ask), Response::Quote(quote.unverified()));
}

/// What a tenant signs after a quote, some milliseconds later.
fn accepted(world: &World, quote: &Quote, later: u64) -> Signed<Lease> {
    let terms = wish();
    let lease = Lease {
        offer: world.offer().id(),
        ask: quote.ask,
        quote: world.nodes[HOST].engine.state().lease.quotes().next().unwrap().quote.id(),
        host: person(HOST as u8).party(),
        tenant: person(TENANT as u8).party(),
        workload: terms.workload,
        resources: terms.resources,
        term: terms.term,
        rate: quote.rate,
        keeping: quote.keeping,
        mode: quote.mode,
        rules: quote.terms,
        nonce: quote.nonce,
        issued: world.now + Span(later),
        expires: quote.expires,
    };
    person(TENANT as u8).key.sign(&lease).unwrap()
}

/// The code with which an ask of this offer is refused.
fn refused(world: &mut World, offer: &Signed<model::Offer>) -> String {
    let ask = Tenant::Ask { offer: Box::new(offer.clone()), terms: Box::new(wish()), nonce: Nonce([9; 16]) };
    let engine::Reply::Asked(ask) = world.tenant(TENANT, ask).unwrap() else { panic!("no ask") };
    world.refusal(TENANT, ask).0
}
