//! What was paid outside of Sublet, in the words of both.

use super::{DeviceCertificate, Party, is_plain, require, signed_by};
use crate::amount::Amount;
use crate::envelope::{Document, Invalid, Parties, Unverified};
use crate::id::{DeviceId, Nonce};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// "I have paid you this." Signed by the payer first; signed by the payee too, it is received, and both book it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Whose device pays: the payee may never have met it.
    pub certificate: Unverified<DeviceCertificate>,
    /// Who has paid.
    pub payer: Party,
    /// Who was paid.
    pub payee: Party,
    /// How much, in the currency of the debt.
    pub amount: Amount,
    /// By which way: `bank`, `cash`.
    pub method: String,
    /// By which the payee finds it, such as the text of a bank transfer.
    pub reference: String,
    /// Two payments of one amount are two.
    pub nonce: Nonce,
    /// When the payer signed.
    pub issued: Timestamp,
    /// Until when the payee can sign.
    pub expires: Timestamp,
}

/// How long a payee may take to find a payment.
pub const LONGEST_SETTLEMENT: Span = Span::days(180);

impl Parties for Settlement {
    fn first(&self) -> DeviceId {
        self.payer.device
    }

    fn second(&self) -> DeviceId {
        self.payee.device
    }
}

impl Document for Settlement {
    const DOMAIN: &'static str = "sublet/settlement/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        if signer != self.payee.device {
            signed_by(signer, self.payer.device)?;
        }
        let certificate = self.certificate.verify_past()?;
        signed_by(self.payer.device, certificate.device)?;
        require(certificate.person == self.payer.person, "payer", "the person of the certificate")?;
        require(self.payer.person != self.payee.person, "payee", "somebody else than the payer")?;
        require(self.amount.micros > 0, "amount", "more than nought")?;
        require(is_plain(&self.method, 64), "method", "at most 64 bytes of plain text")?;
        require(is_plain(&self.reference, 140), "reference", "at most 140 bytes of plain text")?;
        require(
            self.expires > self.issued && self.expires.since(self.issued) <= LONGEST_SETTLEMENT,
            "expires",
            "within 180 days of its issue",
        )
    }
}
