//! What a search finds, in which order, and what it says of the rest.

use crate::world::{BEGIN, HOST, ONE_CORE, TENANT, World, person, share, speed, wish};
use engine::State;
use engine::input::Tenant;
use engine::market::{Book, Found, Learned, Miss, Query, STANDS, Weight, search};
use model::document::RunOptions;
use model::{
    Currency, Feature, Mode, NetworkPolicy, Offer, Prices, Profile, Rate, Sandbox, Share, Signed, Span,
};

#[test]
fn the_cheapest_for_its_speed_comes_first_and_says_why() {
    let mut book = Book::default();
    offers(&mut book, 1, |offer| offer.share.prices.core = 4_000_000);
    offers(&mut book, 2, |offer| (offer.share.prices.core, offer.speed.core) = (6_000_000, 3_000));
    offers(&mut book, 3, |offer| (offer.share.prices.core, offer.speed.core) = (1_000_000, 100));
    let found = find(&book, &query());
    let seen: Vec<_> = found.matches.iter().map(|m| (m.rate.hourly.to_string(), m.weight)).collect();
    let weight = |price_per_speed, core| Weight { price_per_speed, trust: 500, core };
    assert_eq!(
        seen,
        [
            ("6.00 EUR".to_owned(), weight(2_000_000, 3_000)),
            ("4.00 EUR".to_owned(), weight(4_000_000, 1_000)),
            ("1.00 EUR".to_owned(), weight(10_000_000, 100)),
        ]
    );
    assert_eq!(found.looked_at, 3);
}

#[test]
fn of_two_that_cost_alike_the_better_trusted_comes_first() {
    let mut world = World::of(1);
    let lease = world.running();
    world.run(Span::seconds(61));
    world.tenant(TENANT, Tenant::Stop(lease)).unwrap();
    world.ended(lease);
    world.tenant(TENANT, Tenant::Rate { lease, marks: [5, 5, 5], text: String::new() }).unwrap();
    let known = person(HOST as u8).party().device;
    let mut book = Book::default();
    for number in [HOST as u8, 5, 6] {
        offers(&mut book, number, |_| {});
    }
    let state = world.nodes[TENANT].engine.state();
    let found = search(&book, state, BEGIN, &query());
    assert_eq!(found.matches[0].listing.offer.signer(), known);
    assert!(found.matches[0].weight.trust > found.matches[1].weight.trust);

    let trusting = Query { min_trust: 501, ..query() };
    let found = search(&book, state, BEGIN, &trusting);
    assert_eq!((found.matches.len(), found.near.len()), (1, 2));
    assert_eq!(found.near[0].misses, [Miss::TooLittleTrust { trust: 500 }]);
}

#[test]
fn what_does_not_suit_says_what_would() {
    type Change = fn(&mut Offer);
    let cases: [(Change, &str); 6] = [
        (
            |offer| offer.share.resources.cpu_millis = 500,
            "it lends 0.5 cores, 4.0 GiB memory, 16 GiB disk: ask for less",
        ),
        (|offer| offer.share.prices.core = 20_000_000, "it costs 20.00 EUR/h: raise the cap"),
        (
            |offer| offer.share.prices.currency = Currency::Iso(*b"CHF"),
            "it costs 3.60 CHF/h: name the cap in that currency",
        ),
        (
            |offer| offer.share.terms.longest = Span::minutes(5),
            "it lends for 5 min at the longest: ask for a shorter time",
        ),
        (
            |offer| offer.arch = "arm64".to_owned(),
            "it has another processor architecture: name an image for it",
        ),
        (|offer| offer.speed.core = 400, "one core measures 400 rating units: ask for less speed"),
    ];
    for (change, remedy) in cases {
        let mut book = Book::default();
        offers(&mut book, 1, change);
        let query = Query { arch: Some("amd64".to_owned()), min_core: 500, ..query() };
        let found = find(&book, &query);
        assert!(found.matches.is_empty(), "{remedy}");
        let remedies: Vec<_> = found.near[0].misses.iter().map(Miss::remedy).collect();
        assert_eq!(remedies, [remedy]);
    }
}

#[test]
fn what_runs_guests_there_must_give_them_what_is_needed() {
    let mut book = Book::default();
    offers(&mut book, 1, |offer| offer.sandbox.without = vec![Feature::Network, Feature::Writing]);
    let usual = Feature::needed(&NetworkPolicy::None, false, &RunOptions::default());
    let found = find(&book, &Query { features: usual, ..query() });
    assert_eq!(found.near[0].misses, [Miss::Without { feature: Feature::Writing }]);
    let options = RunOptions { read_only: true, ..RunOptions::default() };
    let ports = Feature::needed(&NetworkPolicy::None, true, &options);
    let found = find(&book, &Query { features: ports, ..query() });
    assert_eq!(found.near[0].misses, [Miss::Without { feature: Feature::Network }]);
    let features = Feature::needed(&NetworkPolicy::None, false, &options);
    assert_eq!(find(&book, &Query { features, ..query() }).matches.len(), 1);
}

#[test]
fn a_way_of_paying_can_be_chosen() {
    let mut book = Book::default();
    offers(&mut book, 1, |offer| offer.share.prices = barter());
    let found = find(&book, &Query { mode: Some(Mode::Rent), cap: None, ..query() });
    assert_eq!(found.near[0].misses, [Miss::OtherMode { mode: Mode::Barter }]);
    let found = find(&book, &Query { mode: Some(Mode::Barter), cap: None, ..query() });
    assert_eq!(found.matches[0].rate, Rate::hourly("1 credit".parse().unwrap()));
}

#[test]
fn the_nearest_miss_comes_first_and_twenty_are_named() {
    let mut book = Book::default();
    offers(&mut book, 1, |offer| (offer.share.prices.core, offer.speed.core) = (90_000_000, 1));
    for number in 2..30 {
        offers(&mut book, number, |offer| offer.speed.core = 1);
    }
    let found = find(&book, &Query { min_core: 2, ..query() });
    assert_eq!((found.near.len(), found.looked_at), (20, 29));
    assert!(
        found.near.iter().all(|near| near.misses == [Miss::TooSlow { core: 1 }]),
        "the one with two misses is further off"
    );
}

#[test]
fn a_gift_keeps_to_any_cap() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    offers(&mut book, 2, |offer| {
        offer.share.prices =
            Prices { mode: Mode::Gift, currency: Currency::Credit, core: 0, memory_gib: 0, disk_gib: 0 };
    });
    let found = find(&book, &query());
    assert_eq!(found.matches.len(), 2);
    assert_eq!(
        found.matches[0].listing.offer.signer(),
        person(2).party().device,
        "nothing is cheaper than nothing"
    );
}

#[test]
fn our_own_and_other_hosts_can_be_left_out() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    offers(&mut book, 2, |_| {});
    let (one, two) = (person(1).party().device, person(2).party().device);
    let found = find(&book, &Query { me: one, ..query() });
    assert_eq!((found.looked_at, found.matches[0].listing.offer.signer()), (1, two));
    let found = find(&book, &Query { host: Some(one), ..query() });
    assert_eq!((found.looked_at, found.matches[0].listing.offer.signer()), (1, one));
}

#[test]
fn what_has_expired_or_was_taken_back_is_not_found() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    let later = BEGIN + STANDS;
    assert_eq!(find(&book, &query()).matches.len(), 1);
    assert_eq!(search(&book, &State::default(), later, &query()).looked_at, 0);
    offers(&mut book, 1, |offer| (offer.seq, offer.open) = (2, false));
    assert_eq!(find(&book, &query()).looked_at, 0);
    let old = offer(1, |_| {});
    assert!(matches!(book.learn(BEGIN, old.bytes()), Ok(Learned::Nothing)), "what was taken back stays so");
    book.forget_expired(later);
    assert!(book.get(old.id()).is_none());
}

#[test]
fn a_device_fills_no_more_than_its_part_of_the_book() {
    let mut book = Book::default();
    for slot in 0..30 {
        offers(&mut book, 1, |offer| offer.slot = slot);
    }
    offers(&mut book, 2, |_| {});
    assert_eq!(find(&book, &query()).looked_at, 21, "twenty of the one, and the other");
    let changed = offer(1, |offer| (offer.slot, offer.seq) = (3, 2));
    assert!(
        matches!(book.learn(BEGIN, changed.bytes()), Ok(Learned::Offer(_))),
        "a change needs no more room"
    );
}

#[test]
fn who_says_two_things_at_once_is_doubted() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    offers(&mut book, 2, |_| {});
    let other = offer(1, |offer| offer.share.prices.core = 1);
    let cheat = book.learn(BEGIN, other.bytes()).unwrap();
    assert!(matches!(cheat, Learned::Cheat(device) if device == person(1).party().device));
    assert_eq!(find(&book, &query()).looked_at, 1, "all its offers are left out");
    offers(&mut book, 1, |offer| offer.seq = 2);
    assert_eq!(find(&book, &query()).looked_at, 1, "and what it says later, too");
    book.forget_expired(BEGIN + STANDS);
    offers(&mut book, 1, |offer| (offer.issued, offer.expires) = (BEGIN + STANDS, BEGIN + STANDS + STANDS));
    assert_eq!(
        search(&book, &State::default(), BEGIN + STANDS, &query()).looked_at,
        1,
        "until all that is forgotten"
    );
}

#[test]
fn the_same_offer_teaches_nothing_twice() {
    let mut book = Book::default();
    let once = offer(1, |_| {});
    assert!(matches!(book.learn(BEGIN, once.bytes()), Ok(Learned::Offer(_))));
    assert!(matches!(book.learn(BEGIN, once.bytes()), Ok(Learned::Nothing)));
}

#[test]
fn what_proves_nothing_is_not_kept() {
    let mut book = Book::default();
    let honest = offer(1, |_| {});
    let mut altered = honest.bytes().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(book.learn(BEGIN, &altered).unwrap_err(), model::Invalid::Signature);
    assert!(matches!(book.learn(BEGIN + STANDS, honest.bytes()), Err(model::Invalid::Expired(_))));
    assert!(matches!(book.learn(BEGIN - Span::hours(1), honest.bytes()), Err(model::Invalid::Early(_))));
    let mut world = World::of(1);
    let ask = world.ask(TENANT, wish());
    let ask = world.nodes[TENANT].engine.state().lease.asking(ask).unwrap().ask.clone();
    assert!(
        matches!(book.learn(BEGIN, ask.bytes()), Err(model::Invalid::Domain { .. })),
        "an ask is nothing for the market"
    );
    assert!(book.learn(BEGIN, b"garbage").is_err());
    assert_eq!(find(&book, &query()).looked_at, 0);
}

#[test]
fn a_name_is_the_newest_that_was_given() {
    let mut book = Book::default();
    let device = person(1).party().device;
    for (seq, name) in [(2, "anna"), (1, "old"), (2, "bert")] {
        let profile = Profile {
            certificate: person(1).certificate.unverified(),
            name: name.to_owned(),
            addresses: Vec::new(),
            seq,
            issued: BEGIN,
            expires: BEGIN + STANDS,
        };
        book.learn(BEGIN, person(1).key.sign(&profile).unwrap().bytes()).unwrap();
    }
    assert_eq!(book.name(device), Some("anna"));
}

#[test]
fn an_offer_is_said_again_when_it_has_changed_or_grows_old_and_else_not() {
    let mut world = World::of(0);
    let first = world.offer();
    world.lend(Some(share()));
    assert_eq!(world.offer(), first, "nothing has changed");
    world.run(Span(STANDS.0 / 2));
    world.lend(Some(share()));
    let second = world.offer();
    assert_eq!((second.seq, second.expires), (2, world.now + STANDS));
    world.lend(Some(Share { region: "DE".to_owned(), ..share() }));
    assert_eq!(world.offer().seq, 3);
    world.lend(None);
    let closed = world.offer();
    assert!(!closed.open && closed.seq == 4);
    world.run(STANDS);
    world.lend(None);
    assert_eq!(world.offer(), closed, "silence needs no saying");
}

#[test]
fn what_guests_may_not_reach_is_named() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    offers(&mut book, 2, |offer| offer.share.network = policy("allow:*.example.org:443"));
    offers(&mut book, 3, |offer| offer.share.network = policy("internet"));
    let wants = |network| find(&book, &Query { network: policy(network), ..query() });
    assert_eq!(wants("none").matches.len(), 3);
    assert_eq!(wants("allow:a.example.org:443").matches.len(), 2);
    let found = wants("allow:a.example.org:443,example.org:80");
    assert_eq!(found.matches.len(), 1);
    let mut remedies: Vec<String> =
        found.near.iter().flat_map(|near| near.misses.iter().map(Miss::remedy)).collect();
    remedies.sort();
    let expected = [
        "its guests may not reach example.org:80: ask for less with --net",
        "its guests reach nothing outside: ask for `--net none`",
    ];
    assert_eq!(remedies, expected);
    assert_eq!(wants("internet").matches.len(), 1);
}

#[test]
fn who_knows_of_no_secrets_is_not_asked_for_any() {
    let mut book = Book::default();
    offers(&mut book, 1, |_| {});
    offers(&mut book, 2, |offer| offer.sandbox.secrets = false);
    assert_eq!(find(&book, &query()).matches.len(), 2);
    let found = find(&book, &Query { secrets: true, ..query() });
    assert_eq!(found.matches.len(), 1);
    assert_eq!(found.near[0].misses, [Miss::NoSecrets]);
    assert!(found.near[0].misses[0].remedy().contains("--secret"));
}

fn policy(text: &str) -> NetworkPolicy {
    text.parse().unwrap()
}

/// One core for a while, for at most 10 EUR an hour.
fn query() -> Query {
    let cap = Some(Rate::hourly("10 EUR".parse().unwrap()));
    let (term, me) = (Span::minutes(10), person(99).party().device);
    Query {
        volumes: false,
        secrets: false,
        features: Vec::new(),
        devices: Vec::new(),
        resources: ONE_CORE,
        term,
        cap,
        mode: None,
        arch: None,
        network: NetworkPolicy::None,
        host: None,
        min_core: 0,
        min_trust: 0,
        me,
    }
}

fn find(book: &Book, query: &Query) -> Found {
    search(book, &State::default(), BEGIN, query)
}

fn offers(book: &mut Book, number: u8, change: impl FnOnce(&mut Offer)) {
    let offer = offer(number, change);
    book.learn(offer.issued, offer.bytes()).unwrap();
}

/// An offer like all others but for a change.
fn offer(number: u8, change: impl FnOnce(&mut Offer)) -> Signed<Offer> {
    let mut offer = Offer {
        certificate: person(number).certificate.unverified(),
        addresses: Vec::new(),
        slot: 0,
        seq: 1,
        issued: BEGIN,
        expires: BEGIN + STANDS,
        open: true,
        share: share(),
        speed: speed(),
        arch: "amd64".to_owned(),
        sandbox: Sandbox {
            runtime: "pretend 1".to_owned(),
            user_namespace: true,
            tested: None,
            volumes: false,
            secrets: true,
            without: Vec::new(),
        },
        customs: None,
    };
    change(&mut offer);
    person(number).key.sign(&offer).unwrap()
}

fn barter() -> Prices {
    Prices { mode: Mode::Barter, currency: Currency::Credit, core: 1_000_000, memory_gib: 0, disk_gib: 0 }
}
