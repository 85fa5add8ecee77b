//! One fixed example of everything that is signed, sent or written down: the life of one lease, from fixed seeds.
//!
//! The golden vectors are made of it, the fuzzers start from it, and the store's tests write it down.

#![allow(dead_code, reason = "each of its users needs a part")]

use model::document::{Channel, LentDevice, Package, PackageKind, Readers, SecretFile, Secrets, Stage};
use model::health::{Checked, Health, HealthState};
use model::message::LogView;
use model::message::{Denial, Passed, Request, Response, Standing, StreamHead, Verdict, VolumeWish};
use model::owner::WHOLE_DAY;
use model::record::{Account, Entry, Posting, Record};
use model::*;

/// 2027-01-15T08:00:00Z: each example acts at this moment.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

const EUR: Currency = Currency::Iso(*b"EUR");

/// One of the two parties.
pub struct Actor {
    pub person: Key,
    pub device: Key,
    pub peer: PeerKey,
    label: &'static str,
}

pub fn host() -> Actor {
    Actor { person: seed(1), device: seed(2), peer: PeerKey([12; 32]), label: "attic" }
}

pub fn tenant() -> Actor {
    Actor { person: seed(3), device: seed(4), peer: PeerKey([14; 32]), label: "laptop" }
}

/// Every key that signs here.
pub fn keys() -> [Key; 4] {
    [seed(1), seed(2), seed(3), seed(4)]
}

fn seed(byte: u8) -> Key {
    Key::from_seed([byte; 32])
}

impl Actor {
    pub fn party(&self) -> Party {
        Party { device: self.device.id(), person: PersonId(self.person.id().0) }
    }

    pub fn certificate(&self) -> Signed<DeviceCertificate> {
        let Party { device, person } = self.party();
        let (issued, expires) = (NOW - Span::days(30), NOW + Span::days(365));
        signed(
            &self.person,
            DeviceCertificate {
                person,
                device,
                peer: self.peer,
                label: self.label.into(),
                seq: 1,
                issued,
                expires,
            },
        )
    }
}

pub fn profile() -> Signed<Profile> {
    let certificate = host().certificate().unverified();
    let addresses = vec!["/ip4/192.0.2.7/udp/4001/quic-v1".into()];
    let expires = NOW + Span::days(1);
    signed(
        &host().device,
        Profile { certificate, name: "Ada".into(), addresses, seq: 3, issued: NOW, expires },
    )
}

pub fn share() -> Share {
    Share {
        resources: Resources { cpu_millis: 4_000, memory: 8 << 30, disk: 100 << 30 },
        prices: Prices { mode: Mode::Rent, currency: EUR, core: 20_000, memory_gib: 4_000, disk_gib: 100 },
        terms: Terms {
            longest: Span::hours(12),
            tick: Span::minutes(1),
            sign_within: Span::minutes(1),
            grace: Span::minutes(5),
            credit: 50_000,
            fetch_within: Span::minutes(10),
            start_within: Span::minutes(1),
            renewal: RenewalTerms::Automatic { longest: Span::hours(24) },
            network_rate: 0,
            io_rate: 0,
            notice: None,
        },
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: Vec::new(),
        region: "CH".into(),
    }
}

pub fn speed() -> Speed {
    Speed { core: 1_100, cores: 4_200, memory: 950, disk: 1_800 }
}

pub fn offer(seq: u64) -> Signed<Offer> {
    let offer = Offer {
        certificate: host().certificate().unverified(),
        addresses: vec!["/ip4/192.0.2.7/udp/4001/quic-v1".into(), "/ip4/192.0.2.7/tcp/4001".into()],
        slot: 0,
        seq,
        issued: NOW,
        expires: NOW + Span::days(1),
        open: true,
        share: share(),
        speed: speed(),
        arch: "amd64".into(),
        sandbox: Sandbox {
            runtime: "crun 1.8.1".into(),
            user_namespace: true,
            tested: None,
            volumes: false,
            secrets: false,
            without: Vec::new(),
        },
        customs: None,
    };
    signed(&host().device, offer)
}

/// With what came later than the first offers had.
pub fn offer_of_devices() -> Signed<Offer> {
    let devices = [("cam", "/dev/video0"), ("gpu", "example.com/gpu=0")];
    let devices =
        devices.map(|(name, source)| LentDevice { name: name.into(), source: source.into() }).to_vec();
    let terms = Terms { io_rate: 50 << 20, ..share().terms };
    let offer = (*offer(8)).clone();
    signed(&host().device, Offer { share: Share { devices, terms, ..share() }, ..offer })
}

pub fn ask_for_devices() -> Signed<Ask> {
    let ask = (*ask()).clone();
    let workload = Workload { devices: vec!["cam".into(), "gpu".into()], ..workload() };
    signed(&tenant().device, Ask { terms: AskTerms { workload, ..ask.terms }, ..ask })
}

pub fn offer_of_secrets() -> Signed<Offer> {
    let offer = (*offer(9)).clone();
    let sandbox = Sandbox { secrets: true, ..offer.sandbox.clone() };
    signed(&host().device, Offer { sandbox, ..offer })
}

pub fn ask_for_secrets() -> Signed<Ask> {
    let file = |(name, readers): (&str, Readers)| SecretFile { name: name.into(), readers };
    let named = [("db-password", Readers::User), ("API_KEY", Readers::All)].map(file).to_vec();
    let ask = (*ask()).clone();
    let workload = Workload { secrets: Some(Secrets { bundle: Nonce([0x53; 16]), named }), ..workload() };
    signed(&tenant().device, Ask { terms: AskTerms { workload, ..ask.terms }, ..ask })
}

pub fn workload() -> Workload {
    Workload {
        image: ImageDigest([0xab; 32]),
        reference: "registry.example.org/render:1".into(),
        command: vec!["/render".into(), "--size".into(), "640x480".into()],
        env: vec!["THREADS=2".into()],
        ports: vec![8080],
        udp_ports: Vec::new(),
        network: NetworkPolicy::None,
        options: Default::default(),
        pieces: None,
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: None,
    }
}

pub fn ask() -> Signed<Ask> {
    let resources = Resources { cpu_millis: 2_000, memory: 1 << 30, disk: 1 << 30 };
    let cap = Rate::hourly(Amount::new(100_000, EUR));
    let ask = Ask {
        offer: offer(7).id(),
        host: host().device.id(),
        certificate: tenant().certificate().unverified(),
        terms: AskTerms { workload: workload(), resources, term: Span::minutes(10), cap },
        nonce: Nonce([0x51; 16]),
        issued: NOW,
        expires: NOW + Span::seconds(30),
    };
    signed(&tenant().device, ask)
}

pub fn quote() -> Signed<Quote> {
    let quote = Quote {
        ask: ask().id(),
        tenant: tenant().device.id(),
        certificate: host().certificate().unverified(),
        rate: Rate::hourly(Amount::new(44_100, EUR)),
        keeping: None,
        mode: Mode::Rent,
        terms: share().terms,
        nonce: Nonce([0x52; 16]),
        issued: NOW,
        expires: NOW + Span::seconds(30),
    };
    signed(&host().device, quote)
}

pub fn lease() -> Cosigned<Lease> {
    lease_for(ask().terms.term)
}

/// Another lease of the same deal.
pub fn lease_for(term: Span) -> Cosigned<Lease> {
    let (ask, quote) = (ask(), quote());
    let lease = Lease {
        offer: ask.offer,
        ask: ask.id(),
        quote: quote.id(),
        host: host().party(),
        tenant: tenant().party(),
        workload: ask.terms.workload.clone(),
        resources: ask.terms.resources,
        term,
        rate: quote.rate,
        keeping: None,
        mode: quote.mode,
        rules: quote.terms,
        nonce: quote.nonce,
        issued: NOW,
        expires: NOW + Span::seconds(30),
    };
    cosigned(&tenant(), lease, &host())
}

/// The host's running total number `number`, at the end of that minute.
pub fn tick(number: u32) -> Signed<Tick> {
    let elapsed = Span::minutes(u64::from(number));
    let tick = Tick {
        lease: lease().id(),
        host: host().device.id(),
        tenant: tenant().device.id(),
        number,
        usage: Usage { elapsed, cpu: Span::seconds(95), memory_peak: 300 << 20, ..Usage::default() },
        amount: lease().rate.over(elapsed).expect("it fits"),
        last: number == 2,
        issued: NOW + elapsed,
    };
    signed(&host().device, tick)
}

pub fn receipt(number: u32) -> Receipt {
    tenant().device.countersign(&tick(number)).expect("the tenant is a party")
}

pub fn renewal() -> Cosigned<Renewal> {
    let renewal = Renewal {
        lease: lease().id(),
        number: 1,
        host: host().device.id(),
        tenant: tenant().device.id(),
        more: Span::minutes(5),
        issued: NOW,
        expires: NOW + Span::seconds(30),
    };
    cosigned(&tenant(), renewal, &host())
}

pub fn end() -> Signed<End> {
    let (lease, reason) = (lease().id(), EndReason::Exited { code: 0 });
    signed(&host().device, End { lease, side: Side::Host, reason, code: None, issued: NOW })
}

/// With what came later than the first ends had.
pub fn end_of_stopped() -> Signed<End> {
    let end = End { reason: EndReason::TenantStopped, code: Some(143), ..(*end()).clone() };
    signed(&host().device, end)
}

pub fn rating() -> Signed<Rating> {
    let rating = Rating {
        receipt: receipt(2),
        side: Side::Tenant,
        kept: 5,
        quality: 4,
        manners: 5,
        text: "As promised.".into(),
        issued: NOW,
    };
    signed(&tenant().device, rating)
}

pub fn invite() -> Signed<Invite> {
    let invite = Invite {
        certificate: host().certificate().unverified(),
        name: "Ada".into(),
        addresses: vec!["/ip4/192.0.2.7/udp/4001/quic-v1".into()],
        nonce: Nonce([5; 16]),
        issued: NOW,
        expires: NOW + Span::days(7),
    };
    signed(&host().device, invite)
}

pub fn greeting() -> Signed<Greeting> {
    let greeting = Greeting {
        invite: invite().id(),
        certificate: tenant().certificate().unverified(),
        name: "Bo".into(),
        issued: NOW,
        expires: NOW + Span::days(7),
    };
    signed(&tenant().device, greeting)
}

pub fn settlement() -> Cosigned<Settlement> {
    let settlement = Settlement {
        certificate: tenant().certificate().unverified(),
        payer: tenant().party(),
        payee: host().party(),
        amount: Amount::new(4_680, EUR),
        method: "bank".into(),
        reference: "attic, January".into(),
        nonce: Nonce([6; 16]),
        issued: NOW,
        expires: NOW + Span::days(90),
    };
    cosigned(&tenant(), settlement, &host())
}

fn signed<T: Document>(key: &Key, document: T) -> Signed<T> {
    key.sign(&document).expect("an example is valid")
}

fn cosigned<T: Document + model::envelope::Parties>(
    first: &Actor,
    document: T,
    second: &Actor,
) -> Cosigned<T> {
    second.device.countersign(&signed(&first.device, document)).expect("both are parties")
}

pub fn release() -> Signed<Release> {
    let package = |name: &str, kind, byte| Package {
        name: name.into(),
        kind,
        arch: "amd64".into(),
        url: format!("https://example.org/sublet/1.2.0/{name}_1.2.0_amd64"),
        size: 4_000_000,
        sha256: ObjectId([byte; 32]),
    };
    let version = |minor| Version { major: 1, minor, patch: 0 };
    signed(
        &host().device,
        Release {
            version: version(2),
            channel: Channel::Stable,
            minimum: version(0),
            packages: vec![
                package("sublet", PackageKind::Deb, 7),
                package("sublet-desktop", PackageKind::Rpm, 8),
            ],
            rollout: vec![
                Stage { at: NOW - Span::days(1), cursor: 100 },
                Stage { at: NOW + Span::days(2), cursor: 10_000 },
            ],
            issued: NOW - Span::days(1),
            expires: NOW + Span::days(30),
        },
    )
}

/// One of each document that is signed, by name.
pub fn documents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("device", host().certificate().bytes().to_vec()),
        ("profile", profile().bytes().to_vec()),
        ("offer", offer(7).bytes().to_vec()),
        ("ask", ask().bytes().to_vec()),
        ("offer-of-devices", offer_of_devices().bytes().to_vec()),
        ("ask-for-devices", ask_for_devices().bytes().to_vec()),
        ("offer-of-secrets", offer_of_secrets().bytes().to_vec()),
        ("ask-for-secrets", ask_for_secrets().bytes().to_vec()),
        ("quote", quote().bytes().to_vec()),
        ("lease", lease().first_signed().bytes().to_vec()),
        ("lease-by-host", lease().second_signed().bytes().to_vec()),
        ("tick", tick(1).bytes().to_vec()),
        ("tick-by-tenant", receipt(1).second_signed().bytes().to_vec()),
        ("renewal", renewal().first_signed().bytes().to_vec()),
        ("end", end().bytes().to_vec()),
        ("end-of-stopped", end_of_stopped().bytes().to_vec()),
        ("rating", rating().bytes().to_vec()),
        ("invite", invite().bytes().to_vec()),
        ("greeting", greeting().bytes().to_vec()),
        ("settlement", settlement().first_signed().bytes().to_vec()),
        ("release", release().bytes().to_vec()),
    ]
}

/// One of each request.
pub fn requests() -> Vec<Request> {
    vec![
        Request::Ask(ask().unverified()),
        Request::Lease(lease().first_signed().unverified()),
        Request::Tick(tick(1).unverified()),
        Request::Renew(renewal().first_signed().unverified()),
        Request::End(end().unverified()),
        Request::Rate(rating().unverified()),
        Request::Greet(greeting().unverified()),
        Request::Paid(settlement().first_signed().unverified()),
        Request::Settled {
            settlement: settlement().id(),
            verdict: Verdict::Received(settlement().second_signed().unverified()),
        },
        Request::Settled { settlement: settlement().id(), verdict: Verdict::Missing("not there yet".into()) },
        Request::Standing(standing()),
        Request::Standing(standing_of_health()),
        Request::Release { ask: ask().id() },
        Request::Where { lease: lease().id() },
        Request::Passed(Passed {
            offer: offer(7).id(),
            resources: ask().terms.resources,
            term: ask().terms.term,
            cap: Some(ask().terms.cap),
            failed: vec!["too_dear".into()],
        }),
    ]
}

/// One of each response.
pub fn responses() -> Vec<Response> {
    let sentence = "2 cores are asked for and 1 core is free".into();
    vec![
        Response::Quote(quote().unverified()),
        Response::Lease(lease().second_signed().unverified()),
        Response::Tick(receipt(1).second_signed().unverified()),
        Response::Renewal(renewal().second_signed().unverified()),
        Response::Standing(standing()),
        Response::Done,
        Response::Denied(Denial { code: "no_capacity".into(), sentence }),
    ]
}

fn standing() -> Standing {
    let phase = Phase::Frozen(FreezeReason::Owner(OwnerReason::InUse));
    Standing {
        lease: lease().id(),
        phase,
        started: Some(NOW),
        fetched: Some((1 << 20, 1 << 24)),
        detail: "the owner is back".into(),
        health: None,
    }
}

/// With what came later than the first words of where a lease stands had.
fn standing_of_health() -> Standing {
    let output = "curl: (7) Failed to connect\nto port 8080".into();
    let last = Some(Checked { at: NOW, code: Some(7), output });
    let health = Health { state: HealthState::Unhealthy, since: NOW - Span::minutes(1), failing: 3, last };
    Standing {
        phase: Phase::Running,
        fetched: None,
        detail: String::new(),
        health: Some(health),
        ..standing()
    }
}

/// What electricity costs.
pub fn power() -> Power {
    Power { milliwatts: 8_500, source: "RAPL".into(), tariff: Amount::new(320_000, EUR) }
}

/// A policy that says something about everything.
pub fn policy() -> Policy {
    let schedule =
        Schedule { zone: "Europe/Berlin".into(), week: [0xFFFF, 0, 0, 0, 0, WHOLE_DAY, WHOLE_DAY] };
    let programs = Programs { answer: Answer::Freeze, names: vec!["blender".into()] };
    Policy { schedule: Some(schedule), programs, lending: Lending::ByRules, ..Policy::default() }
}

/// One of each head of a stream.
pub fn heads() -> Vec<StreamHead> {
    let lease = lease().id();
    vec![
        StreamHead::Port { lease, port: 8080 },
        StreamHead::Datagrams { lease, port: 53 },
        StreamHead::Logs { lease, from: 4_096, follow: true, view: LogView::default() },
        StreamHead::Logs {
            lease,
            from: 0,
            follow: false,
            view: LogView {
                since: Some(NOW),
                until: Some(NOW + Span::minutes(1)),
                tail: Some(100),
                timestamps: true,
            },
        },
        StreamHead::Stats { lease, follow: true },
        StreamHead::Top { lease },
        StreamHead::Exec { lease },
        StreamHead::Attach { lease, from: Some(7) },
        StreamHead::Attach { lease, from: None },
        StreamHead::Blob { lease, digest: workload().image, from: 0 },
        StreamHead::Pieces { lease: Some(lease), want: ObjectId([0x77; 32]) },
        StreamHead::Pieces { lease: None, want: ObjectId([0x77; 32]) },
        StreamHead::VolumeKey { lease, name: "db".into() },
        StreamHead::Secrets { lease },
        StreamHead::Volume { lease, name: "db".into(), wish: VolumeWish::Show },
        StreamHead::Volume {
            lease,
            name: "db".into(),
            wish: VolumeWish::Export { snapshot: Some("monday".into()) },
        },
        StreamHead::Volume { lease, name: "db".into(), wish: VolumeWish::Import },
        StreamHead::Volume { lease, name: "db".into(), wish: VolumeWish::Snapshot { name: "monday".into() } },
        StreamHead::Volume { lease, name: "db".into(), wish: VolumeWish::Remove { snapshot: None } },
    ]
}

/// One of each record at least: a lease as its host lives it, from the measuring to the rating, and what a tenant
/// writes down before.
pub fn life() -> Vec<Record> {
    let (lease, peer) = (lease(), tenant().peer);
    let moved = |phase, detail: &str| Record::Moved { lease: lease.id(), phase, detail: detail.into() };
    let mut records = vec![
        Record::Measured { speed: speed() },
        Record::Shared { share: Some(share()) },
        Record::Offered { offer: offer(7) },
        Record::Profiled { profile: profile() },
        Record::Asked { ask: ask(), offer: offer(7), among: None },
        Record::Refused { ask: ask().id(), code: "no_capacity".into(), sentence: "no core is free".into() },
        Record::Quoted { ask: ask(), quote: quote(), tenant: tenant().party(), peer },
        Record::Lapsed { quote: quote().id() },
        Record::Heard { quote: quote() },
        Record::Accepted { quote: quote(), lease: lease.first_signed().clone(), peer: host().peer },
        Record::Agreed { lease: lease.clone(), side: Side::Host, peer },
        moved(Phase::Fetching, ""),
        moved(Phase::Starting, ""),
        moved(Phase::Running, ""),
        moved(Phase::Frozen(FreezeReason::Owner(OwnerReason::InUse)), "the owner is back"),
        moved(Phase::Running, ""),
        Record::RenewalAsked { renewal: renewal().first_signed().clone() },
        Record::RenewalRefused {
            lease: lease.id(),
            renewal: renewal().id(),
            code: "too_long".into(),
            sentence: "15 min in all are asked for and 12 min granted".into(),
        },
        Record::Renewed { renewal: renewal() },
    ];
    for number in [1, 2] {
        let receipt = receipt(number);
        let more = lease.rate.over(Span::minutes(1)).expect("it fits");
        let entries = vec![
            (Account::Person(tenant().party().person), more),
            (Account::Income, more.negated().expect("it fits")),
        ];
        let posting = Posting::new(receipt.id().object(), entries).expect("it balances");
        records.extend([
            Record::Ticked { tick: tick(number) },
            Record::Receipted { receipt },
            Record::Posted { posting },
        ]);
    }
    records.extend([
        Record::Warned { lease: lease.id(), over: NOW + Span::minutes(12) },
        moved(Phase::Closing(EndReason::Exited { code: 0 }), ""),
        Record::Ended { end: end() },
        moved(Phase::Ended(EndReason::Exited { code: 0 }), ""),
        Record::Rated { rating: rating(), of: host().party().person, by: tenant().party().person },
        Record::Equivocated {
            person: host().party().person,
            one: offer(7).bytes().to_vec(),
            other: offer(8).bytes().to_vec(),
        },
    ]);
    records.extend(acquaintance());
    records.extend(payment());
    records.extend([
        Record::Powered { power: Some(power()) },
        Record::Ruled { policy: policy() },
        Record::Claimed { claims: vec![Claim { reason: OwnerReason::InUse, since: NOW, quiet: Some(NOW) }] },
    ]);
    records
}

/// How two people come to know each other, as both write it down.
fn acquaintance() -> Vec<Record> {
    let contact = Contact { name: "Bo".into(), note: "from next door".into(), regard: Regard::Known };
    let person = tenant().party().person;
    vec![
        Record::Regarded { person, contact: Some(contact) },
        Record::Invited { invite: invite(), uses: 1 },
        Record::Withdrawn { invite: invite().id() },
        Record::Greeted { invite: invite().id(), person },
        Record::Accepting { invite: invite(), greeting: greeting() },
        Record::Answered { invite: invite().id(), refusal: None },
    ]
}

/// A debt that was paid, as its payee writes it down, and one that was not.
fn payment() -> Vec<Record> {
    let (both, peer) = (settlement(), tenant().peer);
    vec![
        Record::Paid { settlement: both.first_signed().clone(), peer, ours: false },
        Record::Settled { settlement: both.clone() },
        Record::Unsettled { settlement: both.id(), why: "not there yet".into() },
        Record::SettlementTold { settlement: both.id() },
    ]
}

/// The life as it stands in a record: one a second.
pub fn entries() -> Vec<Entry> {
    let numbered = (1..).zip(life());
    numbered.map(|(seq, record)| Entry { seq, at: NOW + Span::seconds(seq), record }).collect()
}
