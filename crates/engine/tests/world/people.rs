//! Who lives in the world, and what they usually lend and want.

use super::pretend::BEGIN;
use engine::Identity;
use model::document::LentDevice;
use model::{
    AskTerms, Audience, Currency, DeviceCertificate, ImageDigest, Key, Mode, NetworkPolicy, PeerKey,
    PersonId, Prices, Rate, RenewalTerms, Resources, Share, Span, Speed, Terms, Workload,
};

/// What the world's prices are counted in.
pub const EUR: Currency = Currency::Iso(*b"EUR");

/// The resources of [`wish`]: at the price of [`share`], a millionth of a euro for each millisecond.
pub const ONE_CORE: Resources = Resources { cpu_millis: 1_000, memory: 1 << 30, disk: 1 << 30 };

/// A person with one device.
pub fn person(number: u8) -> Identity {
    let root = Key::from_seed([1 + number; 32]);
    let key = Key::from_seed([101 + number; 32]);
    let certificate = DeviceCertificate {
        person: PersonId(root.id().0),
        device: key.id(),
        peer: PeerKey([number + 1; 32]),
        label: format!("computer {number}"),
        seq: 1,
        // Older than any clock of the world is wrong.
        issued: BEGIN - Span::days(30),
        expires: BEGIN + Span::days(700),
    };
    Identity { certificate: root.sign(&certificate).expect("a certificate"), key, arch: "amd64".to_owned() }
}

/// Four cores to lend, of which each costs 3.60 EUR an hour.
pub fn share() -> Share {
    Share {
        resources: Resources { cpu_millis: 4_000, memory: 4 << 30, disk: 16 << 30 },
        prices: Prices { mode: Mode::Rent, currency: EUR, core: 3_600_000, memory_gib: 0, disk_gib: 0 },
        terms: rules(),
        audience: Audience::Everyone,
        network: NetworkPolicy::None,
        devices: [("camera", "/dev/video0"), ("gpu", "example.com/gpu=0")]
            .map(|(name, source)| LentDevice { name: name.to_owned(), source: source.to_owned() })
            .to_vec(),
        region: "AT".to_owned(),
    }
}

/// Ticks each minute, signed within half of one.
pub fn rules() -> Terms {
    Terms {
        longest: Span::hours(1),
        tick: Span::minutes(1),
        sign_within: Span::seconds(30),
        grace: Span::minutes(1),
        credit: 100_000_000,
        fetch_within: Span::minutes(2),
        start_within: Span::seconds(30),
        renewal: RenewalTerms::Automatic { longest: Span::hours(2) },
        network_rate: 0,
        io_rate: 0,
        notice: None,
    }
}

/// A machine as fast as the reference.
pub fn speed() -> Speed {
    Speed { core: 1_000, cores: 4_000, memory: 1_000, disk: 1_000 }
}

/// One core for ten minutes, for at most 10 EUR an hour.
pub fn wish() -> AskTerms {
    AskTerms {
        workload: Workload {
            image: ImageDigest([7; 32]),
            reference: String::new(),
            command: vec!["work".to_owned()],
            env: Vec::new(),
            ports: vec![8080],
            udp_ports: Vec::new(),
            network: NetworkPolicy::None,
            options: Default::default(),
            pieces: None,
            volumes: Vec::new(),
            devices: Vec::new(),
            secrets: None,
        },
        resources: ONE_CORE,
        term: Span::minutes(10),
        cap: Rate::hourly("10 EUR".parse().expect("an amount")),
    }
}
