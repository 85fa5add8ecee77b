//! Which offers suit, in which order, and why; and where none does, what would have to give.

use super::{Book, Listing, rate};
use crate::State;
use model::document::Lack;
use model::{Arithmetic, Audience, DeviceId, Feature, Mode, NetworkPolicy, Rate, Resources, Span, Timestamp};

/// What a tenant looks for.
#[derive(Clone, Debug)]
pub struct Query {
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour may cost; none: whatever it costs.
    pub cap: Option<Rate>,
    /// Only this way of paying.
    pub mode: Option<Mode>,
    /// Only this architecture.
    pub arch: Option<String>,
    /// What the guest is to reach outside.
    pub network: NetworkPolicy,
    /// Whether the guest is to have volumes.
    pub volumes: bool,
    /// Whether the guest is to have secrets.
    pub secrets: bool,
    /// What the guest needs that not each sandbox has.
    pub features: Vec<Feature>,
    /// Devices that the guest is to have, by the names in the offer.
    pub devices: Vec<String>,
    /// Only offers of this device.
    pub host: Option<DeviceId>,
    /// The least speed of one core, in rating units.
    pub min_core: u32,
    /// The least score, in thousandths.
    pub min_trust: u32,
    /// Not our own.
    pub me: DeviceId,
}

/// An offer that suits.
#[derive(Clone, Debug)]
pub struct Match {
    /// Which.
    pub listing: Listing,
    /// What an hour of the wanted resources costs there.
    pub rate: Rate,
    /// Why it stands where it stands.
    pub weight: Weight,
}

/// What the order is made of: cheapest for its speed first, then the better trusted, then the faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Millionths for an hour, for each 1000 rating units of one core.
    pub price_per_speed: i64,
    /// The host's score, in thousandths.
    pub trust: u32,
    /// Rating units of one core.
    pub core: u32,
}

/// A term of a query that an offer does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It lends less than is wanted.
    TooSmall {
        /// What it lends.
        lent: Resources,
    },
    /// It costs more than the cap.
    TooDear {
        /// What it costs.
        rate: Rate,
    },
    /// Another currency than the cap's.
    OtherCurrency {
        /// What it costs.
        rate: Rate,
    },
    /// It does not lend for so long.
    TooShort {
        /// The longest term.
        longest: Span,
    },
    /// Another way of paying.
    OtherMode {
        /// Which.
        mode: Mode,
    },
    /// Another architecture.
    OtherArch,
    /// Its guests may not reach what is wanted.
    OutOfReach {
        /// What is missing.
        lack: Lack,
        /// Whether they may reach anything.
        nothing: bool,
    },
    /// Its guests have no volumes.
    NoVolumes,
    /// Its guests have no secrets.
    NoSecrets,
    /// What runs its guests cannot give them that.
    Without {
        /// What.
        feature: Feature,
    },
    /// It does not lend such a device.
    NoDevice {
        /// Its name.
        device: String,
    },
    /// Slower than is wanted.
    TooSlow {
        /// Rating units of one core.
        core: u32,
    },
    /// Less trusted than is wanted.
    TooLittleTrust {
        /// Its score, in thousandths.
        trust: u32,
    },
    /// Its price cannot be counted.
    Uncountable,
    /// It is for people whom its owner knows, and its owner is none of mine.
    Stranger,
    /// I do not deal with its owner.
    Blocked,
}

/// An offer that fails in a few terms.
#[derive(Clone, Debug)]
pub struct NearMiss {
    /// Which.
    pub listing: Listing,
    /// In which.
    pub misses: Vec<Miss>,
}

/// The answer to a query.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What suits, best first.
    pub matches: Vec<Match>,
    /// What does not, nearest first; at most 20.
    pub near: Vec<NearMiss>,
    /// How many offers were looked at.
    pub looked_at: usize,
}

/// Looks through the book.
pub fn search(book: &Book, state: &State, now: Timestamp, query: &Query) -> Found {
    let mut found = Found::default();
    let others = book.standing(now).filter(|listing| listing.offer.signer() != query.me);
    for listing in others.filter(|listing| query.host.is_none_or(|host| listing.offer.signer() == host)) {
        found.looked_at += 1;
        match judge(listing, state, query) {
            Ok((rate, weight)) => found.matches.push(Match { listing: listing.clone(), rate, weight }),
            Err(misses) => found.near.push(NearMiss { listing: listing.clone(), misses }),
        }
    }
    found.matches.sort_by_key(|m| {
        (
            m.weight.price_per_speed,
            std::cmp::Reverse(m.weight.trust),
            std::cmp::Reverse(m.weight.core),
            m.listing.offer.id(),
        )
    });
    found.near.sort_by_key(|near| (near.misses.len(), near.listing.offer.id()));
    found.near.truncate(20);
    found
}

fn judge(listing: &Listing, state: &State, query: &Query) -> Result<(Rate, Weight), Vec<Miss>> {
    let (offer, owner) = (&listing.offer, listing.host.party.person);
    let trust = state.reputation.score(owner).trust();
    let share = &offer.share;
    let Ok(rate) = rate(&share.prices, &query.resources, &offer.speed) else {
        return Err(vec![Miss::Uncountable]);
    };
    let checks = [
        (!share.resources.holds(&query.resources)).then_some(Miss::TooSmall { lent: share.resources }),
        query.cap.and_then(|cap| too_dear(rate, cap)),
        (share.terms.longest < query.term).then_some(Miss::TooShort { longest: share.terms.longest }),
        query
            .mode
            .filter(|mode| *mode != share.prices.mode)
            .map(|_| Miss::OtherMode { mode: share.prices.mode }),
        query.arch.as_ref().filter(|arch| **arch != offer.arch).map(|_| Miss::OtherArch),
        share
            .network
            .lacks(&query.network)
            .map(|lack| Miss::OutOfReach { lack, nothing: share.network.is_none() }),
        query
            .devices
            .iter()
            .find(|wanted| share.devices.iter().all(|lent| lent.name != **wanted))
            .map(|device| Miss::NoDevice { device: device.clone() }),
        (query.volumes && !offer.sandbox.volumes).then_some(Miss::NoVolumes),
        (query.secrets && !offer.sandbox.secrets).then_some(Miss::NoSecrets),
        offer.sandbox.lacks(&query.features).map(|feature| Miss::Without { feature }),
        (offer.speed.core < query.min_core).then_some(Miss::TooSlow { core: offer.speed.core }),
        (trust < query.min_trust).then_some(Miss::TooLittleTrust { trust }),
        // Acquaintance goes both ways: whoever's owner I know, I take to know me.
        (share.audience == Audience::Known && !state.people.knows(owner)).then_some(Miss::Stranger),
        state.people.blocks(owner).then_some(Miss::Blocked),
    ];
    let misses: Vec<Miss> = checks.into_iter().flatten().collect();
    if !misses.is_empty() {
        return Err(misses);
    }
    let price_per_speed = i128::from(rate.hourly.micros) * 1_000 / i128::from(offer.speed.core.max(1));
    let weight = Weight {
        price_per_speed: i64::try_from(price_per_speed).unwrap_or(i64::MAX),
        trust,
        core: offer.speed.core,
    };
    Ok((rate, weight))
}

/// A gift keeps to any cap; otherwise currencies must be the same to be compared.
pub(super) fn too_dear(rate: Rate, cap: Rate) -> Option<Miss> {
    if rate.hourly.micros == 0 {
        return None;
    }
    match rate.hourly.exceeds(cap.hourly) {
        Ok(dear) => dear.then_some(Miss::TooDear { rate }),
        Err(Arithmetic::Mixed(..) | Arithmetic::Overflow) => Some(Miss::OtherCurrency { rate }),
    }
}

impl Miss {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Miss::TooSmall { .. } => "too_small",
            Miss::TooDear { .. } => "too_dear",
            Miss::OtherCurrency { .. } => "other_currency",
            Miss::TooShort { .. } => "too_short",
            Miss::OtherMode { .. } => "other_mode",
            Miss::OtherArch => "other_arch",
            Miss::OutOfReach { .. } => "out_of_reach",
            Miss::NoVolumes => "no_volumes",
            Miss::NoSecrets => "no_secrets",
            Miss::Without { .. } => "not_in_this_sandbox",
            Miss::NoDevice { .. } => "no_device",
            Miss::TooSlow { .. } => "too_slow",
            Miss::TooLittleTrust { .. } => "too_little_trust",
            Miss::Stranger => "stranger",
            Miss::Blocked => "blocked",
            Miss::Uncountable => "uncountable",
        }
    }

    /// What would have matched, as a sentence without its full stop.
    pub fn remedy(&self) -> String {
        match self {
            Miss::TooSmall { lent } => format!("it lends {lent}: ask for less"),
            Miss::TooDear { rate } => format!("it costs {rate}: raise the cap"),
            Miss::OtherCurrency { rate } => format!("it costs {rate}: name the cap in that currency"),
            Miss::TooShort { longest } => {
                format!("it lends for {longest} at the longest: ask for a shorter time")
            }
            Miss::OtherMode { mode: Mode::Gift } => "it is a gift".to_owned(),
            Miss::OtherMode { mode: Mode::Barter } => "it is for barter".to_owned(),
            Miss::OtherMode { mode: Mode::Rent } => "it is for rent".to_owned(),
            Miss::OtherArch => "it has another processor architecture: name an image for it".to_owned(),
            Miss::OutOfReach { nothing: true, .. } => {
                "its guests reach nothing outside: ask for `--net none`".to_owned()
            }
            Miss::OutOfReach { lack, nothing: false } => {
                format!("its guests may not reach {lack}: ask for less with --net")
            }
            Miss::NoDevice { device } => format!("it lends no device {device}: go without --device"),
            Miss::NoVolumes => "its guests have no volumes: go without -v".to_owned(),
            Miss::NoSecrets => "its Sublet knows of no secrets yet: go without --secret".to_owned(),
            Miss::Without { feature: Feature::Network } => {
                "its guests have no ports and reach nothing outside: go without -p and --net".to_owned()
            }
            Miss::Without { feature: Feature::Writing } => {
                "its guests cannot write over their images: ask with --read-only, and --tmpfs for what is written to"
                    .to_owned()
            }
            Miss::Without {
                feature:
                    feature @ (Feature::Devices
                    | Feature::Processes
                    | Feature::Volumes
                    | Feature::Secrets
                    | Feature::Copying),
            } => {
                format!("its guests go without {}", feature.word())
            }
            Miss::TooSlow { core } => format!("one core measures {core} rating units: ask for less speed"),
            Miss::TooLittleTrust { trust } => {
                format!("its score is {}.{} %: ask for less trust", trust / 10, trust % 10)
            }
            Miss::Stranger => {
                "it is for people whom its owner knows: ask them for an invite, and `sublet join` it"
                    .to_owned()
            }
            Miss::Blocked => "you have blocked its owner: `sublet people know` lets them in".to_owned(),
            Miss::Uncountable => "its price is too large to be counted".to_owned(),
        }
    }
}
