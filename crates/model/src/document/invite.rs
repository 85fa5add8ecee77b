//! How two people come to know each other: an invite, handed over as a link or a picture of one, and the greeting that
//! answers it.

use super::person::check_addresses;
use super::{DeviceCertificate, is_plain, require, signed_by};
use crate::envelope::{Document, Invalid, Unverified};
use crate::id::{DeviceId, Id, Nonce};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Who I am, where I am reached, and that whoever shows this is expected. Signed by the inviting device.
///
/// It is a secret between who gives it and who gets it: knowing it is what lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Whose device invites.
    pub certificate: Unverified<DeviceCertificate>,
    /// What the inviting person calls themselves.
    pub name: String,
    /// Multiaddresses, direct and relayed, at which the device is reached.
    pub addresses: Vec<String>,
    /// Nobody can guess the invite's id without it.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: Timestamp,
    /// Until when it can be answered.
    pub expires: Timestamp,
}

/// How long an invite may stand.
pub const LONGEST_INVITE: Span = Span::days(30);

impl Document for Invite {
    const DOMAIN: &'static str = "sublet/invite/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        signed_by(signer, self.certificate.verify_past()?.device)?;
        require(is_plain(&self.name, 64), "name", "at most 64 bytes of plain text")?;
        check_addresses(&self.addresses)?;
        require(
            self.expires > self.issued && self.expires.since(self.issued) <= LONGEST_INVITE,
            "expires",
            "within 30 days of its issue",
        )
    }
}

/// The answer to an invite: here I am. Signed by the invited device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The invite that it answers.
    pub invite: Id<Invite>,
    /// Whose device answers.
    pub certificate: Unverified<DeviceCertificate>,
    /// What the answering person calls themselves.
    pub name: String,
    /// When it was signed.
    pub issued: Timestamp,
    /// Until when it is said again.
    pub expires: Timestamp,
}

impl Document for Greeting {
    const DOMAIN: &'static str = "sublet/greeting/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        signed_by(signer, self.certificate.verify_past()?.device)?;
        require(is_plain(&self.name, 64), "name", "at most 64 bytes of plain text")?;
        require(
            self.expires > self.issued && self.expires.since(self.issued) <= LONGEST_INVITE,
            "expires",
            "within 30 days of its issue",
        )
    }
}
