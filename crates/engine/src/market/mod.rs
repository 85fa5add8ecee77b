//! Offers: what this machine lends, what others do, and which of them suits.

mod book;
mod price;
mod search;
mod suppose;

pub use book::{Book, Learned, Listing};
pub use price::{keeping, rate};
pub use search::{Found, Match, Miss, NearMiss, Query, Weight, search};
pub use suppose::{Past, suppose};

use crate::effect::Effect;
use crate::input::Owner;
use crate::{Identity, State as All, Step, lease};
use model::record::{Entry, Record};
use model::{
    Arithmetic, Customs, Id, Invalid, Lease, Offer, Profile, Sandbox, Share, Signed, Span, Speed, Timestamp,
};
use serde::{Deserialize, Serialize};

/// How long an offer or a profile stands. It is said again when half of it has passed.
pub const STANDS: Span = Span::hours(24);

/// What is lent from this machine, and what was published of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The machine's speed, once it was measured.
    pub speed: Option<Speed>,
    /// What the owner lends.
    #[serde(with = "model::canonical")]
    pub share: Option<Share>,
    /// The offer that stands, or was taken back.
    pub offer: Option<Signed<Offer>>,
    /// The profile that stands.
    pub profile: Option<Signed<Profile>>,
}

impl State {
    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "each subject reads the few records that concern it"
        )]
        match &entry.record {
            Record::Measured { speed } => self.speed = Some(*speed),
            Record::Shared { share } => self.share = share.clone(),
            Record::Offered { offer } => self.offer = Some(offer.clone()),
            Record::Profiled { profile } => self.profile = Some(profile.clone()),
            _ => {}
        }
    }

    /// The offer, when it stands at `now`.
    pub fn standing(&self, now: Timestamp) -> Option<&Signed<Offer>> {
        self.offer.as_ref().filter(|offer| offer.open && offer.expires > now)
    }

    /// What peers should have of us.
    pub fn wanted(&self, now: Timestamp) -> Vec<Effect> {
        let offer = self
            .offer
            .iter()
            .filter(|offer| offer.expires > now)
            .map(|offer| Effect::Share(offer.id().object(), offer.bytes().to_vec()));
        let profile = self.profile.iter().filter(|profile| profile.expires > now);
        offer
            .chain(profile.map(|profile| Effect::Share(profile.id().object(), profile.bytes().to_vec())))
            .collect()
    }

    /// When what was published is to be said again.
    pub fn next_time(&self, now: Timestamp) -> Timestamp {
        let halves = [self.offer.as_ref().map(|o| o.issued), self.profile.as_ref().map(|p| p.issued)];
        halves
            .into_iter()
            .flatten()
            .map(|issued| issued + Span(STANDS.0 / 2))
            .filter(|at| *at > now)
            .min()
            .unwrap_or(now + STANDS)
    }
}

/// Why an owner's wish is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody rents an unknown speed.
    #[error("this machine was not measured yet")]
    NotMeasured,
    /// Values out of range.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Prices too large.
    #[error("{0}")]
    Price(#[from] Arithmetic),
    /// No such lease, or over.
    #[error("there is no live lease {0} on this machine")]
    UnknownLease(Id<Lease>),
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotMeasured => "not_measured",
            Refusal::Invalid(_) | Refusal::Price(_) => "out_of_range",
            Refusal::UnknownLease(_) => "unknown_lease",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::NotMeasured => "Run `sublet bench` first: it takes 20 seconds.",
            Refusal::Invalid(_) | Refusal::Price(_) => "",
            Refusal::UnknownLease(_) => "`sublet ps` lists the leases.",
        }
    }
}

/// Decides what an owner wants.
///
/// # Errors
/// Why not.
pub fn owner(
    identity: &Identity,
    state: &All,
    now: Timestamp,
    command: Owner,
) -> Result<Step, crate::Refusal> {
    match command {
        Owner::Measured(speed) => Ok(Step::of(vec![Record::Measured { speed }])),
        Owner::Share(share) => Ok(share_this(&state.market, share)?),
        Owner::Publish { addresses, sandbox, name } => {
            Ok(publish(identity, state, now, &addresses, sandbox, &name)?)
        }
        Owner::Answer { lease, grant } => {
            lease::owner_answers(identity, &state.lease, lease, grant).map(Step::of)
        }
        Owner::Stop(lease) => {
            let stopped = lease::owner_stops(&state.lease, lease).ok_or(Refusal::UnknownLease(lease))?;
            Ok(Step::of(stopped))
        }
        // Of another subject: the engine has taken it before.
        Owner::First(_) => Ok(Step::default()),
    }
}

fn share_this(market: &State, share: Option<Share>) -> Result<Step, Refusal> {
    if let Some(share) = &share {
        let speed = market.speed.ok_or(Refusal::NotMeasured)?;
        share.check()?;
        rate(&share.prices, &share.resources, &speed)?;
    }
    Ok(Step::of(vec![Record::Shared { share }]))
}

/// Says again what has changed, or was said half its time ago. Otherwise nothing.
fn publish(
    identity: &Identity,
    state: &All,
    now: Timestamp,
    addresses: &[String],
    sandbox: Sandbox,
    name: &str,
) -> Result<Step, Refusal> {
    let mut records = Vec::new();
    let market = &state.market;
    if let Some(offer) = next_offer(identity, market, now, addresses, sandbox, state.owner.customs()) {
        records.push(Record::Offered { offer: identity.key.sign(&offer)? });
    }
    if let Some(profile) = next_profile(identity, market, now, addresses, name) {
        records.push(Record::Profiled { profile: identity.key.sign(&profile)? });
    }
    Ok(Step::of(records))
}

fn next_offer(
    identity: &Identity,
    market: &State,
    now: Timestamp,
    addresses: &[String],
    sandbox: Sandbox,
    customs: Customs,
) -> Option<Offer> {
    let last = market.offer.as_ref();
    // What was taken back is said with the words that it had.
    let share = market.share.clone().or_else(|| last.map(|last| last.share.clone()))?;
    let offer = Offer {
        certificate: identity.certificate.unverified(),
        addresses: addresses.to_vec(),
        slot: 0,
        seq: last.map_or(1, |last| last.seq + 1),
        issued: now,
        expires: now + STANDS,
        open: market.share.is_some(),
        share: sandbox.narrow(share),
        speed: market.speed?,
        arch: identity.arch.clone(),
        sandbox,
        customs: Some(customs),
    };
    let Some(last) = last else { return offer.open.then_some(offer) };
    let same = Offer { seq: last.seq, issued: last.issued, expires: last.expires, ..offer.clone() } == **last;
    let stale = offer.open && last.issued + Span(STANDS.0 / 2) <= now;
    let both_closed = !offer.open && !last.open;
    (!both_closed && (!same || stale)).then_some(offer)
}

fn next_profile(
    identity: &Identity,
    market: &State,
    now: Timestamp,
    addresses: &[String],
    name: &str,
) -> Option<Profile> {
    let last = market.profile.as_ref();
    let profile = Profile {
        certificate: identity.certificate.unverified(),
        name: name.to_owned(),
        addresses: addresses.to_vec(),
        seq: last.map_or(1, |last| last.seq + 1),
        issued: now,
        expires: now + STANDS,
    };
    let Some(last) = last else { return Some(profile) };
    let same =
        Profile { seq: last.seq, issued: last.issued, expires: last.expires, ..profile.clone() } == **last;
    (!same || last.issued + Span(STANDS.0 / 2) <= now).then_some(profile)
}
