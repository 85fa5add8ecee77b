//! What a party to a real lease says of the other.

use super::work::{Receipt, Side};
use super::{is_plain, require, signed_by};
use crate::envelope::{Document, Invalid, Parties};
use crate::id::DeviceId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Kept what was agreed.
    Kept,
    /// As fast as offered, or as gentle as asked.
    Quality,
    /// Signed, answered and settled in time.
    Manners,
}

impl Aspect {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Aspect; 3] = [Aspect::Kept, Aspect::Quality, Aspect::Manners];
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aspect::Kept => "kept",
            Aspect::Quality => "quality",
            Aspect::Manners => "manners",
        })
    }
}

/// A party's judgement of the other. It carries the receipt that both signed, so that it proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// The last receipt of the lease.
    pub receipt: Receipt,
    /// Who judges.
    pub side: Side,
    /// From 1, bad, to 5, good.
    pub kept: u8,
    /// From 1 to 5.
    pub quality: u8,
    /// From 1 to 5.
    pub manners: u8,
    /// A few words.
    pub text: String,
    /// When it was signed.
    pub issued: Timestamp,
}

impl Rating {
    /// The mark for one aspect, 1 to 5.
    pub fn mark(&self, aspect: Aspect) -> u8 {
        match aspect {
            Aspect::Kept => self.kept,
            Aspect::Quality => self.quality,
            Aspect::Manners => self.manners,
        }
    }

    /// Who is judged.
    pub fn of(&self) -> DeviceId {
        match self.side {
            Side::Host => self.receipt.second(),
            Side::Tenant => self.receipt.first(),
        }
    }
}

impl Document for Rating {
    const DOMAIN: &'static str = "sublet/rating/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        None
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        let judge = match self.side {
            Side::Host => self.receipt.first(),
            Side::Tenant => self.receipt.second(),
        };
        signed_by(signer, judge)?;
        require(
            Aspect::ALL.iter().all(|aspect| (1..=5).contains(&self.mark(*aspect))),
            "marks",
            "from 1 to 5",
        )?;
        require(is_plain(&self.text, 500), "text", "at most 500 bytes of plain text")
    }
}
