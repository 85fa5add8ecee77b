//! What others offer: a cache of the signed objects that peers pass on, bounded, and never believed beyond its signature.

use model::envelope::Claim;
use model::{DeviceId, Document, Id, Invalid, Offer, Person, Profile, Signed, Timestamp, Unverified};
use std::collections::{BTreeMap, BTreeSet};

/// Offers kept of one device. More is somebody who fills the market.
const OFFERS_OF_ONE: usize = 20;

/// Offers kept in all: at about 2 KiB each, 40 MiB at most.
const OFFERS_IN_ALL: usize = 20_000;

/// An offer with what its certificate proves.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The offer.
    pub offer: Signed<Offer>,
    /// Whose it is.
    pub host: Person,
}

/// What others offer.
#[derive(Clone, Debug, Default)]
pub struct Book {
    offers: BTreeMap<(DeviceId, u16), Listing>,
    profiles: BTreeMap<DeviceId, (Person, Signed<Profile>)>,
    doubted: BTreeSet<DeviceId>,
}

/// What an object taught us.
#[derive(Clone, Debug)]
pub enum Learned {
    /// An offer, new or changed.
    Offer(Box<Signed<Offer>>),
    /// A profile, new or changed.
    Profile(Box<Signed<Profile>>),
    /// Nothing that was not known better.
    Nothing,
    /// That its signer says two different things under one number.
    Cheat(DeviceId),
}

impl Book {
    /// Reads an object that a peer has passed on.
    ///
    /// # Errors
    /// When it is no valid profile or offer now.
    pub fn learn(&mut self, now: Timestamp, bytes: &[u8]) -> Result<Learned, Invalid> {
        let claim = Claim::of(bytes)?;
        match claim.domain.as_str() {
            Offer::DOMAIN => self.learn_offer(now, Unverified::read(bytes)?.verify(now)?),
            Profile::DOMAIN => self.learn_profile(now, Unverified::read(bytes)?.verify(now)?),
            other => Err(Invalid::Domain {
                expected: "sublet/offer/1 or sublet/profile/1",
                found: other.chars().take(64).collect(),
            }),
        }
    }

    fn learn_offer(&mut self, now: Timestamp, offer: Signed<Offer>) -> Result<Learned, Invalid> {
        let host = Person::proven(&offer.certificate, offer.signer(), now)?;
        let place = (offer.signer(), offer.slot);
        if let Some(known) = self.offers.get(&place) {
            match known.offer.seq.cmp(&offer.seq) {
                std::cmp::Ordering::Greater => return Ok(Learned::Nothing),
                std::cmp::Ordering::Equal if known.offer.id() == offer.id() => return Ok(Learned::Nothing),
                std::cmp::Ordering::Equal => {
                    self.doubted.insert(offer.signer());
                    return Ok(Learned::Cheat(offer.signer()));
                }
                std::cmp::Ordering::Less => {}
            }
        } else if self.of(offer.signer()).count() >= OFFERS_OF_ONE || self.offers.len() >= OFFERS_IN_ALL {
            return Ok(Learned::Nothing);
        }
        self.offers.insert(place, Listing { offer: offer.clone(), host });
        Ok(Learned::Offer(Box::new(offer)))
    }

    fn learn_profile(&mut self, now: Timestamp, profile: Signed<Profile>) -> Result<Learned, Invalid> {
        let person = Person::proven(&profile.certificate, profile.signer(), now)?;
        if let Some((_, known)) = self.profiles.get(&profile.signer()) {
            if known.seq >= profile.seq {
                return Ok(Learned::Nothing);
            }
        } else if self.profiles.len() >= OFFERS_IN_ALL {
            return Ok(Learned::Nothing);
        }
        self.profiles.insert(profile.signer(), (person, profile.clone()));
        Ok(Learned::Profile(Box::new(profile)))
    }

    fn of(&self, device: DeviceId) -> impl Iterator<Item = &Listing> {
        self.offers.range((device, 0)..=(device, u16::MAX)).map(|(_, listing)| listing)
    }

    /// Offers that stand at `now`, of devices that were not caught cheating.
    pub fn standing(&self, now: Timestamp) -> impl Iterator<Item = &Listing> {
        self.offers.values().filter(move |listing| {
            listing.offer.open
                && listing.offer.expires > now
                && !self.doubted.contains(&listing.offer.signer())
        })
    }

    /// An offer by its id.
    pub fn get(&self, id: Id<Offer>) -> Option<&Listing> {
        self.offers.values().find(|listing| listing.offer.id() == id)
    }

    /// What a device calls itself.
    pub fn name(&self, device: DeviceId) -> Option<&str> {
        self.profile(device).map(|profile| profile.name.as_str()).filter(|name| !name.is_empty())
    }

    /// A device's profile.
    pub fn profile(&self, device: DeviceId) -> Option<&Signed<Profile>> {
        self.profiles.get(&device).map(|(_, profile)| profile)
    }

    /// All profiles, with whose they were proven to be.
    pub fn profiles(&self) -> impl Iterator<Item = (&Person, &Signed<Profile>)> {
        self.profiles.values().map(|(person, profile)| (person, profile))
    }

    /// Forgets what no longer acts.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.offers.retain(|_, listing| listing.offer.expires > now);
        self.profiles.retain(|_, (_, profile)| profile.expires > now);
        let offering: BTreeSet<DeviceId> = self.offers.keys().map(|(device, _)| *device).collect();
        self.doubted.retain(|device| offering.contains(device));
    }
}
