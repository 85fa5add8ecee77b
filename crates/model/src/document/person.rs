//! Who is who: a person certifies devices, a device tells its name and where it is reached.

use super::{is_plain, require, signed_by};
use crate::envelope::{Document, Invalid, Unverified};
use crate::id::{DeviceId, PeerKey, PersonId};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// A person's word that a device is theirs. Signed by the person's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCertificate {
    /// The person who signs.
    pub person: PersonId,
    /// The device that may sign in the person's name.
    pub device: DeviceId,
    /// The libp2p identity of that device.
    pub peer: PeerKey,
    /// What the person calls the device.
    pub label: String,
    /// The higher number of one device wins.
    pub seq: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Document for DeviceCertificate {
    const DOMAIN: &'static str = "sublet/device/1";
    const MAX_BYTES: usize = 1024;

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        signed_by(signer, DeviceId(self.person.0))?;
        require(is_plain(&self.label, 64), "label", "at most 64 bytes of plain text")?;
        require(self.expires > self.issued, "expires", "before it was issued")?;
        require(
            self.expires.since(self.issued) <= Span::days(3_660),
            "expires",
            "more than ten years after it was issued",
        )
    }
}

/// A device and the person whom it acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Party {
    /// Signs.
    pub device: DeviceId,
    /// Owes, is owed, and has a reputation.
    pub person: PersonId,
}

/// A party with the certificate that proves it, and the way to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub party: Party,
    /// Where it is.
    pub peer: PeerKey,
}

impl Person {
    /// Reads the certificate that a device shows, and holds the device to it.
    ///
    /// # Errors
    /// When the certificate is not valid now, or is another device's.
    pub fn proven(
        certificate: &Unverified<DeviceCertificate>,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Person, Invalid> {
        let certificate = certificate.verify(now)?;
        signed_by(device, certificate.device)?;
        Ok(Person { party: Party { device, person: certificate.person }, peer: certificate.peer })
    }
}

/// What a device says of itself to everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Whose device it is.
    pub certificate: Unverified<DeviceCertificate>,
    /// What the person calls themselves.
    pub name: String,
    /// Multiaddresses, direct and relayed, at which the device is reached.
    pub addresses: Vec<String>,
    /// The higher number wins.
    pub seq: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Document for Profile {
    const DOMAIN: &'static str = "sublet/profile/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        let certificate = self.certificate.verify_past()?;
        signed_by(signer, certificate.device)?;
        require(is_plain(&self.name, 64), "name", "at most 64 bytes of plain text")?;
        check_addresses(&self.addresses)?;
        require(
            self.expires.since(self.issued) <= Span::days(7),
            "expires",
            "more than 7 days after it was issued",
        )
    }
}

/// Peers dial these: a few, of bounded length.
pub(super) fn check_addresses(addresses: &[String]) -> Result<(), Invalid> {
    require(addresses.len() <= 16, "addresses", "at most 16")?;
    require(
        addresses.iter().all(|address| is_plain(address, 256)),
        "addresses",
        "at most 256 bytes of plain text each",
    )
}
