//! What is lent: by this machine, and by others.

use super::basic::{Mode, Moment, Money, Party, Resources, Seconds};
use super::network::Network;
use super::owner::Customs;
use super::selftest::Tested;
use node::engine::market::Listing as Listed;
use node::model::{self, Amount, Currency, Invalid, Span};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Prices for one hour of each resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Prices {
    /// Nothing is owed.
    Gift,
    /// Credits. A core counts by its measured speed.
    Barter {
        /// For a core at the reference speed.
        core: Money,
        /// For a GiB of memory.
        memory_gib: Money,
        /// For a GiB of disk.
        disk_gib: Money,
    },
    /// Money.
    Rent {
        /// For a core.
        core: Money,
        /// For a GiB of memory.
        memory_gib: Money,
        /// For a GiB of disk.
        disk_gib: Money,
    },
}

impl Prices {
    /// What is counted in.
    pub fn currency(&self) -> Currency {
        match self {
            // A gift is nought of anything; credits are what no country prints.
            Prices::Gift => Currency::Credit,
            Prices::Barter { core, .. } | Prices::Rent { core, .. } => core.currency,
        }
    }

    /// Gift, barter or rent.
    pub fn mode(&self) -> Mode {
        match self {
            Prices::Gift => Mode::Gift,
            Prices::Barter { .. } => Mode::Barter,
            Prices::Rent { .. } => Mode::Rent,
        }
    }
}

impl From<&model::Prices> for Prices {
    fn from(prices: &model::Prices) -> Prices {
        let money = |micros| Money::from(Amount::new(micros, prices.currency));
        let (core, memory_gib, disk_gib) =
            (money(prices.core), money(prices.memory_gib), money(prices.disk_gib));
        match prices.mode {
            model::Mode::Gift => Prices::Gift,
            model::Mode::Barter => Prices::Barter { core, memory_gib, disk_gib },
            model::Mode::Rent => Prices::Rent { core, memory_gib, disk_gib },
        }
    }
}

impl TryFrom<&Prices> for model::Prices {
    type Error = Invalid;

    fn try_from(prices: &Prices) -> Result<model::Prices, Invalid> {
        let (mode, currency) = (prices.mode().into(), prices.currency());
        match prices {
            Prices::Gift => Ok(model::Prices { mode, currency, core: 0, memory_gib: 0, disk_gib: 0 }),
            Prices::Barter { core, memory_gib, disk_gib } | Prices::Rent { core, memory_gib, disk_gib } => {
                if memory_gib.currency != currency || disk_gib.currency != currency {
                    return Err(Invalid::Content { field: "prices", why: "one currency for all three" });
                }
                Ok(model::Prices {
                    mode,
                    currency,
                    core: core.micros,
                    memory_gib: memory_gib.micros,
                    disk_gib: disk_gib.micros,
                })
            }
        }
    }
}

/// Whether and how a lease can be made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Renewal {
    /// It ends when its term is over.
    Never,
    /// The owner decides each time.
    Ask,
    /// Granted at the price of the lease, up to this long in all.
    Automatic {
        /// From the start of running, all terms together.
        longest: Seconds,
    },
}

impl From<model::RenewalTerms> for Renewal {
    fn from(terms: model::RenewalTerms) -> Renewal {
        match terms {
            model::RenewalTerms::Never => Renewal::Never,
            model::RenewalTerms::Ask => Renewal::Ask,
            model::RenewalTerms::Automatic { longest } => Renewal::Automatic { longest: Seconds(longest) },
        }
    }
}

impl From<Renewal> for model::RenewalTerms {
    fn from(renewal: Renewal) -> model::RenewalTerms {
        match renewal {
            Renewal::Never => model::RenewalTerms::Never,
            Renewal::Ask => model::RenewalTerms::Ask,
            Renewal::Automatic { longest } => model::RenewalTerms::Automatic { longest: longest.0 },
        }
    }
}

/// The rules of a lease, stated before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Terms {
    /// The longest term of one lease, before renewals.
    pub longest: Seconds,
    /// The time from one running total to the next.
    pub tick: Seconds,
    /// How long a total may stay unsigned before the guest is frozen.
    pub sign_within: Seconds,
    /// From a freeze, or the end of the term, to the stop.
    pub grace: Seconds,
    /// What may be owed before the guest is frozen.
    pub credit: Money,
    /// How long fetching the image may take; not billed.
    pub fetch_within: Seconds,
    /// How long starting the guest may take; not billed.
    pub start_within: Seconds,
    /// Whether and how it can be made longer.
    pub renewal: Renewal,
    /// The most bytes between a guest and the outside in a second, each way; nought: no limit.
    #[serde(default)]
    pub network_rate: u64,
    /// The most bytes that a guest may read, and as many that it may write, on its disk in a second; nought: no limit.
    #[serde(default)]
    pub io_rate: u64,
    /// How long the owner may let the guest stand still, at once, before the lease is closed; none: as long as it lasts.
    #[serde(default)]
    pub notice: Option<Seconds>,
}

impl Terms {
    /// The terms of a document, whose credit is counted in `currency`.
    pub fn of(terms: &model::Terms, currency: Currency) -> Terms {
        Terms {
            longest: Seconds(terms.longest),
            tick: Seconds(terms.tick),
            sign_within: Seconds(terms.sign_within),
            grace: Seconds(terms.grace),
            credit: Amount::new(terms.credit, currency).into(),
            fetch_within: Seconds(terms.fetch_within),
            start_within: Seconds(terms.start_within),
            renewal: terms.renewal.into(),
            network_rate: terms.network_rate,
            io_rate: terms.io_rate,
            notice: terms.notice.map(Seconds),
        }
    }
}

impl From<&Terms> for model::Terms {
    fn from(terms: &Terms) -> model::Terms {
        model::Terms {
            longest: terms.longest.0,
            tick: terms.tick.0,
            sign_within: terms.sign_within.0,
            grace: terms.grace.0,
            credit: terms.credit.micros,
            fetch_within: terms.fetch_within.0,
            start_within: terms.start_within.0,
            renewal: terms.renewal.into(),
            network_rate: terms.network_rate,
            io_rate: terms.io_rate,
            notice: terms.notice.map(|seconds| seconds.0),
        }
    }
}

/// For whom an offer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Whoever sees it.
    Everyone,
    /// People whom the owner knows.
    Known,
}

impl From<model::Audience> for Audience {
    fn from(audience: model::Audience) -> Audience {
        match audience {
            model::Audience::Everyone => Audience::Everyone,
            model::Audience::Known => Audience::Known,
        }
    }
}

impl From<Audience> for model::Audience {
    fn from(audience: Audience) -> model::Audience {
        match audience {
            Audience::Everyone => model::Audience::Everyone,
            Audience::Known => model::Audience::Known,
        }
    }
}

/// A device that an owner lends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LentDevice {
    /// What the owner calls it, and tenants ask for.
    pub name: String,
    /// Which it is: a device of the Container Device Interface, such as `nvidia.com/gpu=0`, or a file such as `/dev/video0`.
    pub source: String,
}

impl From<&model::document::LentDevice> for LentDevice {
    fn from(device: &model::document::LentDevice) -> LentDevice {
        LentDevice { name: device.name.clone(), source: device.source.clone() }
    }
}

impl From<&LentDevice> for model::document::LentDevice {
    fn from(device: &LentDevice) -> model::document::LentDevice {
        model::document::LentDevice { name: device.name.clone(), source: device.source.clone() }
    }
}

/// What an owner lends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// How much in all.
    pub resources: Resources,
    /// For how much.
    pub prices: Prices,
    /// By which rules.
    pub terms: Terms,
    /// To whom.
    pub audience: Audience,
    /// The most that a guest may reach outside.
    #[serde(default)]
    pub network: Network,
    /// Devices that guests can have, each one at a time.
    #[serde(default)]
    pub devices: Vec<LentDevice>,
    /// Where the machine says it is; empty when the owner does not say.
    pub region: String,
}

impl From<&model::Share> for Share {
    fn from(share: &model::Share) -> Share {
        Share {
            resources: share.resources.into(),
            prices: (&share.prices).into(),
            terms: Terms::of(&share.terms, share.prices.currency),
            audience: share.audience.into(),
            network: (&share.network).into(),
            devices: share.devices.iter().map(LentDevice::from).collect(),
            region: share.region.clone(),
        }
    }
}

impl TryFrom<&Share> for model::Share {
    type Error = Invalid;

    fn try_from(share: &Share) -> Result<model::Share, Invalid> {
        let prices = model::Prices::try_from(&share.prices)?;
        let credit = &share.terms.credit;
        if credit.currency != prices.currency && credit.micros != 0 {
            return Err(Invalid::Content { field: "credit", why: "in the currency of the prices" });
        }
        let (resources, terms) = (share.resources.into(), (&share.terms).into());
        Ok(model::Share {
            resources,
            prices,
            terms,
            audience: share.audience.into(),
            network: (&share.network).try_into()?,
            devices: share.devices.iter().map(Into::into).collect(),
            region: share.region.clone(),
        })
    }
}

/// What an owner wants to lend. What is left out stays as it is lent now; where nothing is lent, it is what
/// `suggested` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShareWish {
    /// Thousandths of a logical core.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of disk.
    pub disk_bytes: Option<u64>,
    /// All three prices.
    pub prices: Option<Prices>,
    /// The longest term of one lease.
    pub longest: Option<Seconds>,
    /// The time from one running total to the next.
    pub tick: Option<Seconds>,
    /// How long a total may stay unsigned.
    pub sign_within: Option<Seconds>,
    /// From a freeze, or the end of the term, to the stop.
    pub grace: Option<Seconds>,
    /// What may be owed. Left out with new prices: what the longest lease of all that is lent costs.
    pub credit: Option<Money>,
    /// How long fetching the image may take.
    pub fetch_within: Option<Seconds>,
    /// How long starting the guest may take.
    pub start_within: Option<Seconds>,
    /// Whether and how a lease can be made longer.
    pub renewal: Option<Renewal>,
    /// How long the owner may let a guest stand still, at once, before its lease is closed: from 1 min to 30 days.
    pub notice: Option<Seconds>,
    /// To whom.
    pub audience: Option<Audience>,
    /// The most that a guest may reach outside.
    pub network: Option<Network>,
    /// The most bytes between a guest and the outside in a second, each way; nought: no limit.
    pub network_rate: Option<u64>,
    /// The most bytes that a guest may read, and as many that it may write, on its disk in a second; nought: no limit.
    pub io_rate: Option<u64>,
    /// All devices that guests can have, each one at a time.
    pub devices: Option<Vec<LentDevice>>,
    /// Where the machine says it is.
    pub region: Option<String>,
}

/// Measured speed in rating units: 1000 is as fast as the reference machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<model::Speed> for Speed {
    fn from(speed: model::Speed) -> Speed {
        Speed { core: speed.core, cores: speed.cores, memory: speed.memory, disk: speed.disk }
    }
}

/// What this machine lends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MyOffer {
    /// What is lent; none: nothing.
    pub share: Option<Share>,
    /// What is lent when the owner names nothing: at most three quarters of the cores, and of the memory for memory and
    /// disk together.
    pub suggested: Share,
    /// How fast the machine is; none before it was measured. Nothing can be lent before.
    pub speed: Option<Speed>,
    /// What an hour of a busy core costs in electricity: no price below it earns anything; none: nobody has said.
    pub floor: Option<Money>,
    /// What quotes hold and leases use.
    pub promised: Resources,
    /// What can still be promised.
    pub free: Resources,
    /// What peers see.
    pub published: Option<Published>,
}

/// An offer as it was published last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// Its id, hexadecimal.
    pub id: String,
    /// When it was signed.
    pub issued: Moment,
    /// When it ends, if it is not said again.
    pub expires: Moment,
    /// What it says of the isolation test; none: it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
    /// What guests have elsewhere and cannot have here, by what runs them: `network`, `devices`, `processes`, `writing`,
    /// `volumes`, `secrets`, `copying`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// An offer of another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// Its id, hexadecimal.
    pub id: String,
    /// Who lends.
    pub host: Party,
    /// How peers reach the host, hexadecimal.
    pub peer: String,
    /// What is lent.
    #[serde(flatten)]
    pub share: Share,
    /// How fast the machine is.
    pub speed: Speed,
    /// The processor's architecture, as OCI names it.
    pub arch: String,
    /// The OCI runtime that keeps guests.
    pub runtime: String,
    /// Whether guests have a user namespace of their own.
    pub user_namespace: bool,
    /// What guests have elsewhere and cannot have there: `network`, `devices`, `processes`, `writing`, `volumes`, `secrets`,
    /// `copying`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// What a hostile guest found when the owner last tried the sandbox; none: it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
    /// What the owner keeps for themselves; none: nothing is said.
    pub customs: Option<Customs>,
    /// What we make of the host, in thousandths.
    pub trust: u32,
    /// When it was signed.
    pub issued: Moment,
    /// When it ends.
    pub expires: Moment,
}

/// What guests cannot have in a sandbox.
pub(crate) fn features(sandbox: &model::Sandbox) -> Vec<String> {
    sandbox.without.iter().map(|feature| feature.word().to_owned()).collect()
}

impl Listing {
    /// An offer, with what is known of its host.
    pub fn of(listed: &Listed, name: Option<&str>, trust: u32) -> Listing {
        let (offer, host) = (&listed.offer, listed.host);
        Listing {
            id: offer.id().to_string(),
            host: Party {
                person: host.party.person.to_string(),
                device: host.party.device.to_string(),
                name: name.map(str::to_owned),
            },
            peer: host.peer.to_string(),
            share: (&offer.share).into(),
            speed: offer.speed.into(),
            arch: offer.arch.clone(),
            customs: offer.customs.as_ref().map(Customs::from),
            runtime: offer.sandbox.runtime.clone(),
            user_namespace: offer.sandbox.user_namespace,
            without: features(&offer.sandbox),
            tested: offer.sandbox.tested.as_ref().map(Tested::from),
            trust,
            issued: Moment(offer.issued),
            expires: Moment(offer.expires),
        }
    }
}

/// A page of the market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listings {
    /// By the host's device.
    pub offers: Vec<Listing>,
    /// To be given as `after` for the page that follows; none on the last.
    pub next: Option<String>,
}

/// What a tenant looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Thousandths of a logical core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
    /// For how long.
    pub term: Seconds,
    /// The most that an hour may cost.
    pub max_price: Option<Money>,
    /// Only this way of paying.
    pub mode: Option<Mode>,
    /// Only this architecture, as OCI names it.
    pub arch: Option<String>,
    /// What the guest is to reach outside.
    pub network: Network,
    /// Devices that the guest is to have, by the names in the offer.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Only this host: the first digits of its device, person or peer, its peer id, or its name.
    pub on: Option<String>,
    /// The least speed of one core, in rating units.
    pub min_core: u32,
    /// The least score, in thousandths.
    pub min_trust: u32,
    /// So many of the best are left out: those of the pages before.
    pub skip: usize,
}

impl Default for Query {
    /// A small guest for an hour.
    fn default() -> Query {
        Query {
            cpu_millis: 1_000,
            memory_bytes: 256 << 20,
            disk_bytes: 64 << 20,
            term: Seconds(Span::hours(1)),
            max_price: None,
            mode: None,
            arch: None,
            network: Network::None,
            devices: Vec::new(),
            on: None,
            min_core: 0,
            min_trust: 0,
            skip: 0,
        }
    }
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// What suits, best first; at most 100, and the others by `skip`.
    pub matches: Vec<Match>,
    /// How many suit in all.
    pub suits: usize,
    /// What does not, nearest first; at most 20.
    pub near: Vec<NearMiss>,
    /// How many offers were looked at.
    pub looked_at: usize,
}

/// An offer that suits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Match {
    /// Which.
    pub offer: Listing,
    /// What an hour of the wanted resources costs.
    pub hourly: Money,
    /// What the whole term costs at the most.
    pub whole_term: Money,
    /// Why it stands where it stands: cheapest for its speed first, then the better trusted, then the faster.
    pub weight: Weight,
}

/// What the order of offers is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Weight {
    /// Millionths for an hour, for each 1000 rating units of one core.
    pub price_per_speed: i64,
    /// The host's score, in thousandths.
    pub trust: u32,
    /// Rating units of one core.
    pub core: u32,
}

/// An offer that fails in a few terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NearMiss {
    /// Which.
    pub offer: Listing,
    /// What would have matched, a sentence for each term that failed.
    pub remedies: Vec<String>,
}
