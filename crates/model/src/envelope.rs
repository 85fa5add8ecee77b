//! One envelope for all that is signed, and the types that say what has been checked.
//!
//! An envelope travels as canonical bytes of `{v, domain, signer, payload, sig}`. The signature covers
//! [`PREFIX`], then domain, signer and payload, each after its length as a little-endian u64; the object's id is the
//! BLAKE3 hash of the same message. The signature is not part of the id, so that nobody can make a second name for
//! one statement. What is verified are the bytes that came: nothing is ever encoded again to be checked.

use crate::id::{DeviceId, Id, ObjectId};
use crate::time::{Span, Timestamp};
use crate::{from_bytes, to_bytes};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Starts every message that is signed, so that no other protocol's signature can pass for one of ours.
pub const PREFIX: &[u8] = b"sublet-signed-v1\0";

/// How far a signer's clock may run ahead of ours. Honest clocks differ by minutes; a tighter bound drops honest offers.
pub const CLOCK_SKEW: Span = Span::minutes(5);

/// A kind of document: what its domain is, and which contents of it can be true.
pub trait Document: Serialize + DeserializeOwned + Clone {
    /// Kind and major version, such as `sublet/offer/1`.
    const DOMAIN: &'static str;
    /// The largest envelope that is read at all, in bytes.
    const MAX_BYTES: usize = 8 * 1024;

    /// When it was signed, by the signer's clock.
    fn issued(&self) -> Timestamp;

    /// When it stops to act; none for statements about the past, which stay true.
    fn expires(&self) -> Option<Timestamp>;

    /// Whether `signer` may say this, and each value lies in its range.
    ///
    /// # Errors
    /// [`Invalid::Signer`] or [`Invalid::Content`].
    fn check(&self, signer: DeviceId) -> Result<(), Invalid>;
}

/// Why bytes are no valid document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More bytes than this kind may have.
    #[error("{found} bytes are more than the {limit} that {domain} may have")]
    TooLarge {
        /// What it claims or was expected to be.
        domain: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// Not canonical DAG-CBOR of the right shape.
    #[error("not in canonical form: {0}")]
    Malformed(String),
    /// An envelope of a version that this program does not know.
    #[error("envelope version {0} is not known to this program: update Sublet")]
    Version(u64),
    /// Another kind of document than was asked for.
    #[error("this is a {found}, not a {expected}")]
    Domain {
        /// What was asked for.
        expected: &'static str,
        /// What it says it is.
        found: String,
    },
    /// The signature is not the signer's, or the key is one that signs anything.
    #[error("the signature does not fit: altered on its way, or forged")]
    Signature,
    /// Signed by somebody who may not say this.
    #[error("signed by {found}, but only {expected} may say this")]
    Signer {
        /// Who may.
        expected: DeviceId,
        /// Who did.
        found: DeviceId,
    },
    /// Must-understand fields that this program does not know.
    #[error("the field `{0}` must be understood, and this program does not know it: update Sublet")]
    Critical(String),
    /// Issued in the future.
    #[error("issued {0} ahead of this computer's clock: one of the two clocks is wrong")]
    Early(Span),
    /// No longer acting.
    #[error("expired {0} ago")]
    Expired(Span),
    /// A value outside its range.
    #[error("{field}: {why}")]
    Content {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two signatures that do not belong together.
    #[error("the two signatures are not of the same words")]
    NotTheSame,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    v: u64,
    domain: &'a str,
    signer: DeviceId,
    #[serde(with = "serde_bytes")]
    payload: &'a [u8],
    #[serde(with = "serde_bytes")]
    sig: &'a [u8],
}

impl Envelope<'_> {
    /// What is signed, and hashed into the id.
    fn message(&self) -> Vec<u8> {
        let parts = [self.domain.as_bytes(), &self.signer.0, self.payload];
        let mut message = PREFIX.to_vec();
        for part in parts {
            message.extend((part.len() as u64).to_le_bytes());
            message.extend(part);
        }
        message
    }

    fn has_valid_signature(&self) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.signer.0) else { return false };
        let Ok(signature) = Signature::from_slice(self.sig) else { return false };
        !key.is_weak() && key.verify_strict(&self.message(), &signature).is_ok()
    }
}

/// A signing key: of a device, or of a person when it certifies a device.
#[derive(Clone)]
pub struct Key(SigningKey);

impl Key {
    /// The key with this 32-byte seed.
    pub fn from_seed(seed: [u8; 32]) -> Key {
        Key(SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn id(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// Signs a document. Signing is deterministic (RFC 8032): the same words give the same bytes.
    ///
    /// # Errors
    /// When this key may not say this, a value is out of range, or it is too large: what we would not accept we do not say.
    pub fn sign<T: Document>(&self, document: &T) -> Result<Signed<T>, Invalid> {
        document.check(self.id())?;
        self.seal(&to_bytes(document))
    }

    /// Signs the words that another has signed, byte by byte as they came.
    ///
    /// # Errors
    /// When this key may not say this.
    pub fn countersign<T: Document + Parties>(&self, first: &Signed<T>) -> Result<Cosigned<T>, Invalid> {
        let second = first.with_payload(|payload| self.seal(payload))?;
        Cosigned::join(first.clone(), second)
    }

    fn seal<T: Document>(&self, payload: &[u8]) -> Result<Signed<T>, Invalid> {
        use ed25519_dalek::Signer;
        let mut envelope = Envelope { v: 1, domain: T::DOMAIN, signer: self.id(), payload, sig: &[] };
        let signature = self.0.sign(&envelope.message()).to_bytes();
        envelope.sig = &signature;
        let unverified = Unverified::<T>::read(&to_bytes(&envelope))?;
        unverified.open(None)
    }
}

/// The seed is nobody's to print.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id().short())
    }
}

/// The domain, signer and id that a signed object claims: for sorting what comes, never for believing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Kind and major version.
    pub domain: String,
    /// Who is said to have signed it.
    pub signer: DeviceId,
    /// The hash of what was signed.
    pub id: ObjectId,
}

impl Claim {
    /// Reads the claim of an envelope of whatever kind.
    ///
    /// # Errors
    /// When the bytes are no envelope.
    pub fn of(bytes: &[u8]) -> Result<Claim, Invalid> {
        let envelope: Envelope = from_bytes(bytes)?;
        let id = ObjectId(blake3::hash(&envelope.message()).into());
        Ok(Claim { domain: envelope.domain.to_owned(), signer: envelope.signer, id })
    }
}

/// An envelope of kind `T` whose size fits, and nothing more is known of it.
pub struct Unverified<T> {
    bytes: Arc<[u8]>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Document> Unverified<T> {
    /// Takes bytes from outside.
    ///
    /// # Errors
    /// [`Invalid::TooLarge`].
    pub fn read(bytes: &[u8]) -> Result<Unverified<T>, Invalid> {
        if bytes.len() > T::MAX_BYTES {
            return Err(Invalid::TooLarge { domain: T::DOMAIN, limit: T::MAX_BYTES, found: bytes.len() });
        }
        Ok(Unverified { bytes: bytes.into(), kind: PhantomData })
    }

    /// The only way to a [`Signed`] document: envelope, signature, times and contents, as of `now`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, now: Timestamp) -> Result<Signed<T>, Invalid> {
        self.open(Some(now))
    }

    /// Verifies a statement that acted in the past: all but the times, which held when it was received.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify_past(&self) -> Result<Signed<T>, Invalid> {
        self.open(None)
    }

    fn open(&self, now: Option<Timestamp>) -> Result<Signed<T>, Invalid> {
        let envelope: Envelope = from_bytes(&self.bytes)?;
        if envelope.v != 1 {
            return Err(Invalid::Version(envelope.v));
        }
        if envelope.domain != T::DOMAIN {
            return Err(Invalid::Domain {
                expected: T::DOMAIN,
                found: envelope.domain.chars().take(64).collect(),
            });
        }
        if !envelope.has_valid_signature() {
            return Err(Invalid::Signature);
        }
        let document: T = from_bytes(envelope.payload)?;
        understood(&document, envelope.payload)?;
        document.check(envelope.signer)?;
        if let Some(now) = now {
            in_time(&document, now)?;
        }
        let id = Id::of(ObjectId(blake3::hash(&envelope.message()).into()));
        Ok(Signed { id, signer: envelope.signer, document, bytes: self.bytes.clone() })
    }
}

/// Old programs read new fields past, unless the signer lists one under `crit`.
fn understood<T: Document>(document: &T, payload: &[u8]) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct Critical {
        #[serde(default)]
        crit: Vec<String>,
    }
    let Critical { crit } = from_bytes(payload)?;
    if crit.is_empty() {
        return Ok(());
    }
    let known: BTreeMap<String, IgnoredAny> = from_bytes(&to_bytes(document))?;
    crit.into_iter()
        .find(|field| !known.contains_key(field))
        .map_or(Ok(()), |field| Err(Invalid::Critical(field)))
}

fn in_time<T: Document>(document: &T, now: Timestamp) -> Result<(), Invalid> {
    let ahead = document.issued().since(now);
    if ahead > CLOCK_SKEW {
        return Err(Invalid::Early(ahead));
    }
    match document.expires() {
        Some(expires) if expires <= now => Err(Invalid::Expired(now.since(expires))),
        Some(_) | None => Ok(()),
    }
}

/// A document whose signature and contents were verified, with the very bytes that came.
pub struct Signed<T> {
    id: Id<T>,
    signer: DeviceId,
    document: T,
    bytes: Arc<[u8]>,
}

impl<T> Signed<T> {
    /// The hash of what was signed.
    pub fn id(&self) -> Id<T> {
        self.id
    }

    /// Whose signature it bears.
    pub fn signer(&self) -> DeviceId {
        self.signer
    }

    /// The envelope as it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The envelope to send or to put into another document.
    pub fn unverified(&self) -> Unverified<T> {
        Unverified { bytes: self.bytes.clone(), kind: PhantomData }
    }

    fn with_payload<R>(&self, use_it: impl FnOnce(&[u8]) -> Result<R, Invalid>) -> Result<R, Invalid> {
        let envelope: Envelope = from_bytes(&self.bytes)?;
        use_it(envelope.payload)
    }
}

impl<T> std::ops::Deref for Signed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.document
    }
}

/// Documents that two parties sign.
pub trait Parties {
    /// Who signs first. That signature gives the object its id.
    fn first(&self) -> DeviceId;
    /// Who signs the same words after.
    fn second(&self) -> DeviceId;
}

/// The same words with the signatures of both parties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosigned<T: Document> {
    first: Signed<T>,
    second: Signed<T>,
}

impl<T: Document + Parties> Cosigned<T> {
    /// Joins two signatures of the same words.
    ///
    /// # Errors
    /// When the signers are not the parties, or the words differ in one byte.
    pub fn join(first: Signed<T>, second: Signed<T>) -> Result<Cosigned<T>, Invalid> {
        signed_by(&first, first.first())?;
        signed_by(&second, first.second())?;
        let same = first.with_payload(|one| second.with_payload(|other| Ok(one == other)))?;
        if same { Ok(Cosigned { first, second }) } else { Err(Invalid::NotTheSame) }
    }
}

fn signed_by<T>(document: &Signed<T>, expected: DeviceId) -> Result<(), Invalid> {
    if document.signer == expected {
        Ok(())
    } else {
        Err(Invalid::Signer { expected, found: document.signer })
    }
}

impl<T: Document> Cosigned<T> {
    /// The id that the first signature gave it.
    pub fn id(&self) -> Id<T> {
        self.first.id
    }

    /// The first party's signature.
    pub fn first_signed(&self) -> &Signed<T> {
        &self.first
    }

    /// The second party's signature.
    pub fn second_signed(&self) -> &Signed<T> {
        &self.second
    }
}

impl<T: Document> std::ops::Deref for Cosigned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.first.document
    }
}

impl<T> Clone for Unverified<T> {
    fn clone(&self) -> Self {
        Unverified { bytes: self.bytes.clone(), kind: PhantomData }
    }
}
impl<T> PartialEq for Unverified<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl<T> Eq for Unverified<T> {}
impl<T> fmt::Debug for Unverified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unverified({} bytes)", self.bytes.len())
    }
}
impl<T> Serialize for Unverified<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::id::serialize(&self.bytes, serializer)
    }
}
impl<'de, T: Document> Deserialize<'de> for Unverified<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)?
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec()
        };
        Unverified::read(&bytes).map_err(de::Error::custom)
    }
}

impl<T: Clone> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Signed {
            id: self.id,
            signer: self.signer,
            document: self.document.clone(),
            bytes: self.bytes.clone(),
        }
    }
}
impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl<T> Eq for Signed<T> {}
impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("id", &self.id)
            .field("by", &self.signer)
            .field("document", &self.document)
            .finish()
    }
}
impl<T> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::id::serialize(&self.bytes, serializer)
    }
}
/// From our own record: the signature is checked again, the times held when it was written down.
impl<'de, T: Document> Deserialize<'de> for Signed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Unverified::<T>::deserialize(deserializer)?.verify_past().map_err(de::Error::custom)
    }
}
impl<'de, T: Document + Parties> Deserialize<'de> for Cosigned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "T: Document")]
        struct Pair<T: Document> {
            first: Signed<T>,
            second: Signed<T>,
        }
        let Pair { first, second } = Pair::deserialize(deserializer)?;
        Cosigned::join(first, second).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        issued: Timestamp,
        expires: Timestamp,
    }
    impl Document for Note {
        const DOMAIN: &'static str = "sublet/note/1";
        const MAX_BYTES: usize = 512;
        fn issued(&self) -> Timestamp {
            self.issued
        }
        fn expires(&self) -> Option<Timestamp> {
            Some(self.expires)
        }
        fn check(&self, _signer: DeviceId) -> Result<(), Invalid> {
            if self.text.is_empty() { Err(Invalid::Content { field: "text", why: "empty" }) } else { Ok(()) }
        }
    }

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn note() -> Note {
        Note { text: "hello".into(), issued: NOW, expires: NOW + Span::hours(1) }
    }

    fn key() -> Key {
        Key::from_seed([1; 32])
    }

    #[derive(Serialize)]
    struct Raw<'a> {
        v: u64,
        domain: &'a str,
        signer: DeviceId,
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
        #[serde(with = "serde_bytes")]
        sig: &'a [u8],
    }

    /// An envelope as a stranger could make it: any payload, truly signed.
    fn sealed(payload: &[u8], domain: &str, v: u64) -> Unverified<Note> {
        use ed25519_dalek::Signer;
        let signer = key().id();
        let message = Envelope { v, domain, signer, payload, sig: &[] }.message();
        let sig = key().0.sign(&message).to_bytes();
        Unverified::read(&to_bytes(&Raw { v, domain, signer, payload, sig: &sig })).unwrap()
    }

    #[test]
    fn what_was_signed_is_what_is_read() {
        let signed = key().sign(&note()).unwrap();
        let read = Unverified::<Note>::read(signed.bytes()).unwrap().verify(NOW).unwrap();
        assert_eq!((&*read, read.id(), read.signer()), (&note(), signed.id(), key().id()));
    }

    #[test]
    fn times_are_judged_by_our_clock() {
        let signed = key().sign(&note()).unwrap().unverified();
        assert_eq!(signed.verify(NOW - Span::minutes(6)).unwrap_err(), Invalid::Early(Span::minutes(6)));
        assert!(signed.verify(NOW - Span::minutes(5)).is_ok());
        assert_eq!(signed.verify(NOW + Span::hours(2)).unwrap_err(), Invalid::Expired(Span::hours(1)));
    }

    #[test]
    fn other_kinds_and_versions_are_refused_by_name() {
        let payload = to_bytes(&note());
        assert!(
            matches!(sealed(&payload, "sublet/offer/1", 1).verify(NOW), Err(Invalid::Domain { found, .. }) if found == "sublet/offer/1")
        );
        assert_eq!(sealed(&payload, Note::DOMAIN, 2).verify(NOW).unwrap_err(), Invalid::Version(2));
        assert!(sealed(&payload, Note::DOMAIN, 1).verify(NOW).is_ok());
    }

    #[test]
    fn a_new_field_is_read_past_unless_it_is_critical() {
        #[derive(Serialize)]
        struct Newer<'a> {
            text: &'a str,
            issued: Timestamp,
            expires: Timestamp,
            colour: u8,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            crit: Vec<&'a str>,
        }
        let newer = |crit| {
            to_bytes(&Newer { text: "hello", issued: NOW, expires: NOW + Span::hours(1), colour: 3, crit })
        };
        assert!(sealed(&newer(vec![]), Note::DOMAIN, 1).verify(NOW).is_ok());
        assert!(sealed(&newer(vec!["text"]), Note::DOMAIN, 1).verify(NOW).is_ok());
        assert_eq!(
            sealed(&newer(vec!["colour"]), Note::DOMAIN, 1).verify(NOW).unwrap_err(),
            Invalid::Critical("colour".into())
        );
    }

    #[test]
    fn contents_out_of_range_are_neither_signed_nor_read() {
        let empty = Note { text: String::new(), ..note() };
        assert!(matches!(key().sign(&empty), Err(Invalid::Content { field: "text", .. })));
        assert!(matches!(
            sealed(&to_bytes(&empty), Note::DOMAIN, 1).verify(NOW),
            Err(Invalid::Content { .. })
        ));
        let long = Note { text: "x".repeat(600), ..note() };
        assert!(matches!(key().sign(&long), Err(Invalid::TooLarge { limit: 512, .. })));
    }

    #[test]
    fn a_key_that_signs_anything_is_refused() {
        // The identity point: every message verifies under it in a lax check.
        let mut weak = [0; 32];
        weak[0] = 1;
        let payload = to_bytes(&note());
        let sig = [weak.as_slice(), &[0; 32]].concat();
        let bytes = to_bytes(&Raw {
            v: 1,
            domain: Note::DOMAIN,
            signer: DeviceId(weak),
            payload: &payload,
            sig: &sig,
        });
        assert_eq!(Unverified::<Note>::read(&bytes).unwrap().verify(NOW).unwrap_err(), Invalid::Signature);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn no_altered_bit_passes(at in 0usize..2_000) {
            let mut bytes = key().sign(&note()).unwrap().bytes().to_vec();
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Unverified::<Note>::read(&bytes).unwrap().verify(NOW).is_err());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(Unverified::<Note>::read(&bytes).unwrap().verify(NOW).is_err());
            prop_assert!(Claim::of(&bytes).is_err());
        }
    }
}
