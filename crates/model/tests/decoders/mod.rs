//! Everything that reads foreign bytes, and what must hold of it whatever the bytes are. The fuzzers run these, and so
//! does an ordinary test over the corpus: see `fuzz/README.md`.

#![allow(dead_code, reason = "a fuzz target needs one of them")]

use crate::examples::{NOW, keys};
use ed25519_dalek::{Signer, SigningKey};
use model::envelope::{Claim, PREFIX};
use model::message::{self, Request, Response, StreamHead};
use model::record::Entry;
use model::*;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Reads bytes, panics when something does not hold, and says whether they were good.
pub type Decoder = fn(&[u8]) -> bool;

/// Each decoder by the name of its fuzz target and of its corpus.
pub const DECODERS: [(&str, Decoder); 19] = [
    ("envelope", envelope),
    ("device", document::<DeviceCertificate>),
    ("profile", document::<Profile>),
    ("offer", document::<Offer>),
    ("ask", document::<Ask>),
    ("quote", document::<Quote>),
    ("lease", document::<Lease>),
    ("tick", document::<Tick>),
    ("renewal", document::<Renewal>),
    ("end", document::<End>),
    ("rating", document::<Rating>),
    ("invite", document::<Invite>),
    ("greeting", document::<Greeting>),
    ("settlement", document::<Settlement>),
    ("release", document::<Release>),
    ("request", message::<Request>),
    ("response", message::<Response>),
    ("head", message::<StreamHead>),
    ("entry", entry),
];

/// Runs the decoder of that name.
pub fn decode(name: &str, bytes: &[u8]) -> bool {
    let (_, decoder) = DECODERS.iter().find(|(known, _)| *known == name).expect("a decoder of that name");
    decoder(bytes)
}

fn envelope(bytes: &[u8]) -> bool {
    Claim::of(bytes).is_ok()
}

/// The bytes as an envelope; and, as no fuzzer can forge a signature, as the payload of one that is truly signed.
fn document<T: Document + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let as_envelope = verified::<T>(bytes).is_some();
    let Ok(document) = from_bytes::<T>(bytes) else { return as_envelope };
    let as_payload = keys().into_iter().zip(1..).filter(|(key, seed)| {
        let sealed = sealed(T::DOMAIN, bytes, &SigningKey::from_bytes(&[*seed; 32]));
        match verified::<T>(&sealed) {
            Some(signed) => {
                assert_eq!((&*signed, signed.signer()), (&document, key.id()));
                true
            }
            None => false,
        }
    });
    as_payload.count() > 0 || as_envelope
}

fn verified<T: Document + PartialEq + Debug>(bytes: &[u8]) -> Option<Signed<T>> {
    let signed = Unverified::<T>::read(bytes).ok()?.verify(NOW).ok()?;
    assert_eq!(signed.bytes(), bytes, "the bytes received are the bytes kept");
    let claim = Claim::of(bytes).expect("what is valid has a claim");
    assert_eq!(
        (claim.id, claim.signer, claim.domain.as_str()),
        (signed.id().object(), signed.signer(), T::DOMAIN)
    );
    let read: Signed<T> = from_bytes(&to_bytes(&signed)).expect("what is valid can be written down");
    assert_eq!(read, signed);
    Some(signed)
}

/// An envelope as a stranger could make it, by the words of `model::envelope` and not by its code.
fn sealed(domain: &str, payload: &[u8], key: &SigningKey) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        v: u64,
        domain: &'a str,
        signer: DeviceId,
        #[serde(with = "serde_bytes")]
        payload: &'a [u8],
        #[serde(with = "serde_bytes")]
        sig: &'a [u8],
    }
    let signer = key.verifying_key().to_bytes();
    let mut words = PREFIX.to_vec();
    for part in [domain.as_bytes(), &signer, payload] {
        words.extend((part.len() as u64).to_le_bytes());
        words.extend(part);
    }
    let sig = key.sign(&words).to_bytes();
    to_bytes(&Envelope { v: 1, domain, signer: DeviceId(signer), payload, sig: &sig })
}

fn message<T: Serialize + for<'a> Deserialize<'a> + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(read) = message::read::<T>(bytes) else { return false };
    assert_eq!(message::read::<T>(&message::write(&read)).as_ref(), Ok(&read));
    true
}

fn entry(bytes: &[u8]) -> bool {
    let Ok(read) = from_bytes::<Entry>(bytes) else { return false };
    assert_eq!(from_bytes::<Entry>(&to_bytes(&read)).as_ref(), Ok(&read));
    true
}
