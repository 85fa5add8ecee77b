//! What a pack proves, and what it does not.

use super::*;
use node::model::{
    AskTerms, Audience, Currency, DeviceCertificate, EndReason, ImageDigest, Key, Mode, NetworkPolicy, Nonce,
    Party, PeerKey, Prices, Rate, RenewalTerms, Resources, Sandbox, Share, Side, Speed, Terms, Timestamp,
    Usage, Workload,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const EUR: Currency = Currency::Iso(*b"EUR");

struct Actor {
    device: Key,
    party: Party,
    certificate: Unverified<DeviceCertificate>,
}

fn actor(seed: u8) -> Actor {
    let (person, device) = (Key::from_seed([seed; 32]), Key::from_seed([seed + 1; 32]));
    let party = Party { device: device.id(), person: PersonId(person.id().0) };
    let certificate = DeviceCertificate {
        person: party.person,
        device: party.device,
        peer: PeerKey([seed; 32]),
        label: "box".to_owned(),
        seq: 1,
        issued: NOW,
        expires: NOW + Span::days(365),
    };
    Actor { device, party, certificate: person.sign(&certificate).unwrap().unverified() }
}

/// A deal between two, whose price is `hourly` micros where the offer says 20000.
fn deal(hourly: i64) -> (Actor, Actor, Pack) {
    let (host, tenant) = (actor(1), actor(3));
    let terms = Terms {
        longest: Span::hours(12),
        tick: Span::minutes(1),
        sign_within: Span::minutes(1),
        grace: Span::minutes(5),
        credit: 50_000,
        fetch_within: Span::minutes(10),
        start_within: Span::minutes(1),
        renewal: RenewalTerms::Automatic { longest: Span::hours(24) },
        notice: None,
        network_rate: 0,
        io_rate: 0,
    };
    let resources = Resources { cpu_millis: 1_000, memory: 1 << 30, disk: 0 };
    let share = Share {
        resources: Resources { disk: 1 << 30, ..resources },
        prices: Prices { mode: Mode::Rent, currency: EUR, core: 20_000, memory_gib: 0, disk_gib: 0 },
        terms,
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: Vec::new(),
        region: String::new(),
    };
    let offer = host.device.sign(&Offer {
        certificate: host.certificate.clone(),
        addresses: Vec::new(),
        slot: 0,
        seq: 1,
        issued: NOW,
        expires: NOW + Span::days(1),
        open: true,
        share,
        speed: Speed { core: 1_000, cores: 1_000, memory: 1_000, disk: 1_000 },
        arch: "amd64".to_owned(),
        sandbox: Sandbox {
            runtime: "crun".to_owned(),
            user_namespace: true,
            tested: None,
            volumes: false,
            secrets: false,
            without: Vec::new(),
        },
        customs: None,
    });
    let offer = offer.unwrap();
    let workload = Workload {
        image: ImageDigest([7; 32]),
        reference: String::new(),
        command: Vec::new(),
        env: Vec::new(),
        ports: Vec::new(),
        udp_ports: Vec::new(),
        network: NetworkPolicy::None,
        options: Default::default(),
        pieces: None,
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: None,
    };
    let (nonce, issued, expires) = (Nonce([5; 16]), NOW, NOW + Span::seconds(30));
    let cap = Rate::hourly(model::Amount::new(100_000, EUR));
    let ask = tenant.device.sign(&Ask {
        offer: offer.id(),
        host: host.party.device,
        certificate: tenant.certificate.clone(),
        terms: AskTerms { workload: workload.clone(), resources, term: Span::hours(1), cap },
        nonce,
        issued,
        expires,
    });
    let ask = ask.unwrap();
    let rate = Rate::hourly(model::Amount::new(hourly, EUR));
    let quote = host.device.sign(&Quote {
        ask: ask.id(),
        tenant: tenant.party.device,
        certificate: host.certificate.clone(),
        rate,
        keeping: None,
        mode: Mode::Rent,
        terms,
        nonce,
        issued,
        expires,
    });
    let quote = quote.unwrap();
    let lease = Lease {
        offer: offer.id(),
        ask: ask.id(),
        quote: quote.id(),
        host: host.party,
        tenant: tenant.party,
        workload,
        resources,
        term: Span::hours(1),
        rate,
        keeping: None,
        mode: Mode::Rent,
        rules: terms,
        nonce,
        issued,
        expires,
    };
    let contract = host.device.countersign(&tenant.device.sign(&lease).unwrap()).unwrap();
    let pack = Pack {
        version: VERSION,
        lease: contract.id(),
        offer: Some(offer.unverified()),
        ask: Some(ask.unverified()),
        quote: Some(quote.unverified()),
        contract: both(&contract),
        ticks: Vec::new(),
        receipts: Vec::new(),
        renewals: Vec::new(),
        ends: Vec::new(),
        ratings: Vec::new(),
    };
    (host, tenant, pack)
}

fn tick(
    host: &Actor,
    tenant: &Actor,
    lease: Id<Lease>,
    number: u32,
    minutes: u64,
    micros: i64,
) -> Signed<Tick> {
    let usage = Usage { elapsed: Span::minutes(minutes), ..Usage::default() };
    let (amount, last, issued) = (model::Amount::new(micros, EUR), false, NOW + Span::minutes(minutes));
    let (host_id, tenant_id) = (host.party.device, tenant.party.device);
    host.device
        .sign(&Tick { lease, host: host_id, tenant: tenant_id, number, usage, amount, last, issued })
        .unwrap()
}

/// What is wrong with a pack, by what should be true.
fn wrong(pack: &Pack) -> Vec<String> {
    let verdict = check(&serde_json::to_vec(pack).unwrap()).unwrap();
    let wrong: Vec<String> =
        verdict.checks.into_iter().filter(|check| check.wrong.is_some()).map(|check| check.what).collect();
    assert_eq!(verdict.holds, wrong.is_empty());
    wrong
}

#[test]
fn an_honest_pack_holds_and_says_what_is_owed() {
    let (host, tenant, mut pack) = deal(20_000);
    for (number, minutes, micros) in [(1, 30, 10_000), (2, 45, 15_000)] {
        let tick = tick(&host, &tenant, pack.lease, number, minutes, micros);
        pack.receipts.push(both(&tenant.device.countersign(&tick).unwrap()));
        pack.ticks.push(tick.unverified());
    }
    let end = End {
        lease: pack.lease,
        side: Side::Tenant,
        reason: EndReason::TenantStopped,
        code: None,
        issued: NOW,
    };
    pack.ends.push(tenant.device.sign(&end).unwrap().unverified());
    assert_eq!(wrong(&pack), Vec::<String>::new());
    let facts = check(&serde_json::to_vec(&pack).unwrap()).unwrap().facts;
    assert_eq!((facts.owed.unwrap().text.as_str(), facts.receipts), ("0.015 EUR", 2));
}

#[test]
fn a_price_that_the_offer_does_not_give_is_found() {
    let (_, _, pack) = deal(30_000);
    assert_eq!(wrong(&pack), ["the price follows from the offer"]);
    let (_, _, pack) = deal(200_000);
    assert_eq!(
        wrong(&pack),
        ["the price follows from the offer", "the price keeps to what the tenant would pay"]
    );
}

#[test]
fn two_totals_of_one_number_prove_a_cheat() {
    let (host, tenant, mut pack) = deal(20_000);
    pack.ticks = vec![
        tick(&host, &tenant, pack.lease, 1, 30, 10_000).unverified(),
        tick(&host, &tenant, pack.lease, 1, 60, 20_000).unverified(),
    ];
    assert_eq!(wrong(&pack), ["no number was given to two different totals"]);
}

#[test]
fn a_total_that_time_and_price_do_not_give_is_found() {
    let (host, tenant, mut pack) = deal(20_000);
    let tick = tick(&host, &tenant, pack.lease, 1, 30, 10_001);
    pack.receipts.push(both(&tenant.device.countersign(&tick).unwrap()));
    assert_eq!(wrong(&pack), ["what is owed follows from time and price"]);
}

#[test]
fn papers_of_others_and_missing_ones_are_found() {
    let (host, tenant, mut pack) = deal(20_000);
    let (_, _, other) = deal(20_001);
    let stranger = actor(9);
    pack.quote = other.quote.clone();
    pack.ask = None;
    pack.ticks.push(tick(&host, &tenant, other.lease, 1, 1, 333).unverified());
    let end = End {
        lease: pack.lease,
        side: Side::Tenant,
        reason: EndReason::TenantStopped,
        code: None,
        issued: NOW,
    };
    pack.ends.push(stranger.device.sign(&end).unwrap().unverified());
    let expected = [
        "the tenant asked for it",
        "the host quoted the price and the rules of the lease",
        "the host signed each running total",
        "only the parties said that it is over",
    ];
    assert_eq!(wrong(&pack), expected);
    pack.lease = other.lease;
    assert!(wrong(&pack).contains(&"the lease is the one that the file names".to_owned()));
}

#[test]
fn what_is_no_pack_proves_nothing() {
    let (_, _, mut pack) = deal(20_000);
    assert_eq!(check(b"{}").unwrap_err().code, "no_pack");
    pack.contract.swap(0, 1);
    assert_eq!(check(&serde_json::to_vec(&pack).unwrap()).unwrap_err().code, "no_pack");
}
