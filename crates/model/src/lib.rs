//! The nouns of Sublet: ids, amounts, resources, every signed document, the messages between peers, the record.
//!
//! Everything here is data with its own rules and nothing else: no clock, no chance, no disk, no network. The
//! crates above meet in this language.
//!
//! - [`envelope`]: how bytes become a [`Signed`] document, and the only way there: [`Unverified::verify`].
//! - [`document`]: what is signed: profile, offer, ask, quote, lease, tick, renewal, end, rating, invite.
//! - [`message`]: what peers say to each other, and the heads of the streams that they open.
//! - [`owner`]: the owner's policy, and the reasons that come of it.
//! - [`record`]: what a node writes down before it acts.

pub mod amount;
pub mod contact;
pub mod document;
pub mod envelope;
pub mod health;
pub mod hidden;
pub mod id;
pub mod message;
pub mod owner;
pub mod phase;
pub mod power;
pub mod record;
pub mod resources;
pub mod session;
pub mod stats;
mod text;
pub mod time;

pub use amount::{Amount, Arithmetic, Currency, Rate};
pub use contact::{Contact, Regard};
pub use document::{
    Ask, AskTerms, Aspect, Audience, Destination, DeviceCertificate, End, EndReason, Feature, Greeting,
    ImageDigest, Invite, Lease, Mode, NetworkPolicy, Offer, Party, Person, Pieces, Prices, Profile, Quote,
    Rating, Receipt, Release, Renewal, RenewalTerms, Sandbox, Settlement, Share, Side, Speed, Terms, Tested,
    Tick, Traffic, Usage, Version, Volume, Workload,
};
pub use envelope::{Cosigned, Document, Invalid, Key, Parties, Signed, Unverified};
pub use hidden::Hidden;
pub use id::{DeviceId, Id, Nonce, ObjectId, PeerKey, PersonId};
pub use message::{Denial, Request, Response};
pub use owner::{
    Answer, Claim, Customs, Lending, OwnerReason, Policy, Presence, Programs, ReasonKind, Rule, Schedule,
};
pub use phase::{FreezeReason, Phase};
pub use power::Power;
pub use resources::Resources;
pub use text::{is_plain, plain};
pub use time::{Span, Timestamp};

/// For `#[serde(with)]`: a value as its canonical bytes, inside a format in which a field cannot be left out.
pub mod canonical {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes its bytes.
    ///
    /// # Errors
    /// Those of the format around it.
    pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serde_bytes::Bytes::new(&crate::to_bytes(value)).serialize(serializer)
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// Those of the format around it, and when the bytes are not the value's.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: for<'a> Deserialize<'a>,
        D: Deserializer<'de>,
    {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        crate::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

/// The canonical bytes of a value: DAG-CBOR (<https://ipld.io/specs/codecs/dag-cbor/spec/>), one form for one value.
///
/// # Panics
/// Never for the types of this crate: their maps have text keys and their numbers are integers.
pub fn to_bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("our own types have a canonical form")
}

/// Reads canonical bytes; refuses every other form of the same value, and bytes left over.
///
/// # Errors
/// [`Invalid::Malformed`] names what did not fit.
pub fn from_bytes<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    serde_ipld_dagcbor::from_slice(bytes).map_err(|error| Invalid::Malformed(error.to_string()))
}
