//! What a host lends: capacity, measured speed, prices, terms.

use super::device::{LentDevice, check_lent};
use super::network::NetworkPolicy;
use super::person::check_addresses;
use super::{DeviceCertificate, RunOptions, Tested, is_plain, require, signed_by};
use crate::amount::Currency;
use crate::envelope::{Document, Invalid, Unverified};
use crate::id::DeviceId;
use crate::owner::Customs;
use crate::resources::Resources;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// How a lease is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is owed.
    Gift,
    /// Credits on a line with a limit.
    Barter,
    /// Money.
    Rent,
}

/// Prices of the three resources, linear, in millionths of the currency for one hour.
///
/// In barter a core-hour counts by measured speed: a core at half the reference speed earns half the credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prices {
    /// Gift, barter or rent.
    pub mode: Mode,
    /// What is counted in.
    pub currency: Currency,
    /// For a core.
    pub core: i64,
    /// For a GiB of memory.
    pub memory_gib: i64,
    /// For a GiB of disk.
    pub disk_gib: i64,
}

/// Whether and how a lease can be made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalTerms {
    /// It ends when its term is over.
    Never,
    /// The owner decides each time.
    Ask,
    /// Granted at the price of the lease, up to this long in all.
    Automatic {
        /// From the start of running, all terms together.
        longest: Span,
    },
}

/// The rules of a lease, stated before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The longest term of one lease, before renewals.
    pub longest: Span,
    /// N: the time from tick to tick.
    pub tick: Span,
    /// G: how long a tick may stay unsigned before the guest is frozen.
    pub sign_within: Span,
    /// From the first freeze for want of a signature, or from the end of the term, to the stop.
    pub grace: Span,
    /// U: what may be owed, in millionths of the price's currency, before the guest is frozen.
    pub credit: i64,
    /// How long fetching the image may take; not billed.
    pub fetch_within: Span,
    /// How long starting the guest may take; not billed.
    pub start_within: Span,
    /// Whether and how it can be made longer.
    pub renewal: RenewalTerms,
    /// The most bytes that pass between a guest and the outside in a second, each way; nought: no limit.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub network_rate: u64,
    /// The most bytes that a guest may read, and as many that it may write, on its disk in a second; nought: no limit.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub io_rate: u64,
    /// How long the owner may let the guest stand still, at once, before the lease is closed; none: as long as it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Span>,
}

/// Measured speed relative to the reference machine: 1000 is as fast. See [`engine::benchmark`] for the reference.
///
/// [`engine::benchmark`]: ../../engine/benchmark/index.html
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Speed {
    /// CPU, one core.
    pub core: u32,
    /// CPU, all cores.
    pub cores: u32,
    /// Memory bandwidth.
    pub memory: u32,
    /// Disk: the geometric mean of sequential and random, reading and writing.
    pub disk: u32,
}

/// More than there will ever be.
const MOST_FEATURES: usize = 32;

/// What stands between the guest and the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sandbox {
    /// The OCI runtime and its version, such as `crun 1.8.1`.
    pub runtime: String,
    /// Whether guests have a user namespace of their own.
    pub user_namespace: bool,
    /// What a hostile guest found when the owner last tried it; none: it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
    /// Whether guests can have volumes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub volumes: bool,
    /// Whether guests can have secrets. A program that knows of none would read past them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secrets: bool,
    /// What guests have elsewhere and cannot have in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Feature>,
}

/// What guests have as a rule, and not in every sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Ports that the tenant reaches, and a way out.
    Network,
    /// Devices of the machine.
    Devices,
    /// A list of what goes on inside.
    Processes,
    /// Writing over the image: only directories in memory can be written to.
    Writing,
    /// Disks that outlive them.
    Volumes,
    /// Files that are given in secret.
    Secrets,
    /// Files copied in and out while they run.
    Copying,
}

impl Feature {
    /// All of them.
    pub const ALL: [Feature; 7] = [
        Feature::Network,
        Feature::Devices,
        Feature::Processes,
        Feature::Writing,
        Feature::Volumes,
        Feature::Secrets,
        Feature::Copying,
    ];

    /// What a guest needs that is run so, and has ports or not.
    pub fn needed(network: &NetworkPolicy, ports: bool, options: &RunOptions) -> Vec<Feature> {
        let network = (Feature::Network, ports || !network.is_none());
        let writing = (Feature::Writing, !options.read_only);
        [network, writing].into_iter().filter_map(|(feature, needed)| needed.then_some(feature)).collect()
    }

    /// One word for programs, which people understand, too.
    pub fn word(self) -> &'static str {
        match self {
            Feature::Network => "network",
            Feature::Devices => "devices",
            Feature::Processes => "processes",
            Feature::Writing => "writing",
            Feature::Volumes => "volumes",
            Feature::Secrets => "secrets",
            Feature::Copying => "copying",
        }
    }
}

impl Sandbox {
    /// Whether guests in it have this.
    pub fn has(&self, feature: Feature) -> bool {
        !self.without.contains(&feature)
    }

    /// The first of these that guests cannot have in it.
    pub fn lacks(&self, needed: &[Feature]) -> Option<Feature> {
        needed.iter().copied().find(|feature| !self.has(*feature))
    }

    /// What is really lent of this, by such a sandbox.
    pub fn narrow(&self, share: Share) -> Share {
        Share {
            network: if self.has(Feature::Network) { share.network } else { NetworkPolicy::default() },
            devices: if self.has(Feature::Devices) { share.devices } else { Vec::new() },
            ..share
        }
    }
}

/// For whom an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Whoever sees it.
    Everyone,
    /// People whom the owner knows. Others see that it exists, and are refused.
    Known,
}

/// What the owner decides about lending: everything in an offer that is not measured or derived.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// What is lent in all.
    pub resources: Resources,
    /// For how much.
    pub prices: Prices,
    /// By which rules.
    pub terms: Terms,
    /// To whom.
    pub audience: Audience,
    /// The most that a guest may reach outside.
    #[serde(default, skip_serializing_if = "NetworkPolicy::is_none")]
    pub network: NetworkPolicy,
    /// Devices that guests can have, each one at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<LentDevice>,
    /// Where the machine says it is: an ISO 3166 country, or a finer name; empty when the owner does not say.
    pub region: String,
}

/// What a host lends, signed by the host's device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Whose device it is.
    pub certificate: Unverified<DeviceCertificate>,
    /// Multiaddresses, direct and relayed, at which the host is reached.
    pub addresses: Vec<String>,
    /// One host can have several offers, each in a slot.
    pub slot: u16,
    /// The higher number in a slot wins.
    pub seq: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Whether it stands; no: the owner has taken back what the slot held before.
    pub open: bool,
    /// What the owner lends, at which price, by which rules.
    pub share: Share,
    /// How fast the machine is.
    pub speed: Speed,
    /// The processor's architecture, as OCI names it: `amd64`, `arm64`.
    pub arch: String,
    /// How guests are kept.
    pub sandbox: Sandbox,
    /// What the owner keeps for themselves; none: nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customs: Option<Customs>,
}

/// How long an offer may stand before its host says it again.
pub const LONGEST_OFFER: Span = Span::days(7);

impl Share {
    /// Whether each value lies in its range.
    ///
    /// # Errors
    /// [`Invalid::Content`] names the first that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        let Share { resources, prices, terms, audience: _, network, devices, region } = self;
        require((1..=1_024_000).contains(&resources.cpu_millis), "cpu_millis", "from 1 to 1024000")?;
        require(resources.memory >= 4 << 20, "memory", "at least 4 MiB")?;
        require(
            resources.memory <= 1 << 50 && resources.disk <= 1 << 55,
            "resources",
            "more than a machine has",
        )?;
        require(is_plain(region, 64), "region", "at most 64 bytes of plain text")?;
        prices.check()?;
        network.check()?;
        check_lent(devices)?;
        terms.check()
    }
}

fn is_nought(number: &u64) -> bool {
    *number == 0
}

impl Prices {
    fn check(&self) -> Result<(), Invalid> {
        // A million an hour for one core: beyond it a price is a mistake, and below it no sum of three can overflow.
        let fair = |price: i64| (0..=1_000_000_000_000).contains(&price);
        require(
            fair(self.core) && fair(self.memory_gib) && fair(self.disk_gib),
            "prices",
            "from 0 to 1000000 an hour",
        )?;
        match self.mode {
            Mode::Gift => require(
                self.core == 0 && self.memory_gib == 0 && self.disk_gib == 0,
                "prices",
                "a gift has no price",
            ),
            Mode::Barter => {
                require(self.currency == Currency::Credit, "currency", "barter counts in credits")
            }
            Mode::Rent => require(
                self.currency != Currency::Credit,
                "currency",
                "rent is money: give its ISO 4217 code",
            ),
        }
    }
}

impl Terms {
    fn check(&self) -> Result<(), Invalid> {
        require(
            (Span::seconds(1)..=Span::days(366)).contains(&self.longest),
            "longest",
            "from 1 s to 366 days",
        )?;
        require((Span::seconds(1)..=Span::hours(24)).contains(&self.tick), "tick", "from 1 s to 24 h")?;
        require(
            (Span::seconds(1)..=Span::hours(24)).contains(&self.sign_within),
            "sign_within",
            "from 1 s to 24 h",
        )?;
        require(self.grace <= Span::days(30), "grace", "at most 30 days")?;
        require(self.credit >= 0, "credit", "not below nought")?;
        require(
            (Span::seconds(1)..=Span::hours(24)).contains(&self.fetch_within),
            "fetch_within",
            "from 1 s to 24 h",
        )?;
        require(
            (Span::seconds(1)..=Span::hours(1)).contains(&self.start_within),
            "start_within",
            "from 1 s to 1 h",
        )?;
        require(
            self.notice.is_none_or(|notice| (Span::minutes(1)..=Span::days(30)).contains(&notice)),
            "notice",
            "from 1 min to 30 days",
        )
    }
}

impl Document for Offer {
    const DOMAIN: &'static str = "sublet/offer/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        let certificate = self.certificate.verify_past()?;
        signed_by(signer, certificate.device)?;
        check_addresses(&self.addresses)?;
        require(
            self.expires.since(self.issued) <= LONGEST_OFFER,
            "expires",
            "more than 7 days after it was issued",
        )?;
        require(is_plain(&self.arch, 16) && !self.arch.is_empty(), "arch", "1 to 16 bytes of plain text")?;
        require(is_plain(&self.sandbox.runtime, 64), "runtime", "at most 64 bytes of plain text")?;
        require(self.sandbox.without.len() <= MOST_FEATURES, "without", "more than 32 things")?;
        self.sandbox.tested.as_ref().map_or(Ok(()), Tested::check)?;
        self.customs.as_ref().map_or(Ok(()), Customs::check)?;
        self.share.check()
    }
}
