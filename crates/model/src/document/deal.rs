//! The deal: ask, quote, lease, and the renewal of a lease.

use super::device::check_names;
use super::network::NetworkPolicy;
use super::offer::{Mode, Terms};
use super::person::{DeviceCertificate, Party};
use super::pieces::Pieces;
use super::run::RunOptions;
use super::secret::Secrets;
use super::volume::{Volume, check_volumes, volumes_room};
use super::{is_plain, require, signed_by};
use crate::Offer;
use crate::amount::{Amount, Rate};
use crate::envelope::{Document, Invalid, Parties, Unverified};
use crate::id::{DeviceId, Id, Nonce, NotAnId};
use crate::resources::Resources;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The SHA-256 digest of an OCI manifest or blob, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDigest(pub [u8; 32]);

impl ImageDigest {
    /// The first twelve digits, as docker shows them.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageDigest({})", self.short())
    }
}

impl FromStr for ImageDigest {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wrong = || NotAnId { text: text.to_owned(), what: "digest (sha256:...)", digits: 64 };
        let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        // OCI allows small letters only, so that one digest has one name.
        let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower || hex::decode_to_slice(digits, &mut bytes).is_err() {
            return Err(wrong());
        }
        Ok(ImageDigest(bytes))
    }
}

impl Serialize for ImageDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ImageDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom);
        }
        crate::id::deserialize(deserializer).map(ImageDigest)
    }
}

/// What a guest is to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// The OCI manifest's digest.
    pub image: ImageDigest,
    /// Where the image can be had besides from the tenant: a registry reference, or empty.
    pub reference: String,
    /// The command and its arguments; empty for the image's own.
    pub command: Vec<String>,
    /// `NAME=value`, added to the image's.
    pub env: Vec<String>,
    /// Guest ports that the tenant may reach.
    pub ports: Vec<u16>,
    /// The same for UDP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp_ports: Vec<u16>,
    /// What the guest may reach outside.
    #[serde(default, skip_serializing_if = "NetworkPolicy::is_none")]
    pub network: NetworkPolicy,
    /// How it is run.
    #[serde(default, skip_serializing_if = "RunOptions::is_usual")]
    pub options: RunOptions,
    /// How the image can be had in pieces; none: as a whole, from the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<Pieces>,
    /// Disks that outlive the guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Devices of the host that the guest is to have, by the names in its offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Files that the guest alone may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
}

impl Workload {
    fn check(&self, resources: &Resources) -> Result<(), Invalid> {
        check_names(self.devices.iter().map(String::as_str))?;
        self.secrets.as_ref().map_or(Ok(()), Secrets::check)?;
        check_volumes(&self.volumes)?;
        require(
            volumes_room(&self.volumes) <= resources.disk,
            "volumes",
            "they are a part of the disk, which must hold them and their snapshots",
        )?;
        let text = |texts: &[String]| texts.iter().all(|text| !text.contains('\0'));
        require(is_plain(&self.reference, 512), "reference", "at most 512 bytes of plain text")?;
        require(
            self.command.len() <= 128 && text(&self.command),
            "command",
            "at most 128 words, without a zero byte",
        )?;
        require(
            self.env.len() <= 128 && text(&self.env),
            "env",
            "at most 128 variables, without a zero byte",
        )?;
        require(
            self.env.iter().all(|pair| pair.find('=').is_some_and(|at| at > 0)),
            "env",
            "write NAME=value",
        )?;
        let ports = |ports: &[u16]| ports.len() <= 64 && !ports.contains(&0);
        require(ports(&self.ports) && ports(&self.udp_ports), "ports", "at most 64, from 1 to 65535")?;
        self.options.check()?;
        self.network.check()
    }
}

/// What a tenant wants, whoever the host will be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AskTerms {
    /// What is to run.
    pub workload: Workload,
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour may cost.
    pub cap: Rate,
}

/// What a tenant wants of one host, signed by the tenant's device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The offer that it answers.
    pub offer: Id<Offer>,
    /// The host that it is for.
    pub host: DeviceId,
    /// Whose device asks.
    pub certificate: Unverified<DeviceCertificate>,
    /// What is wanted.
    pub terms: AskTerms,
    /// Makes this ask its own.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// What a host answers. It holds the capacity for half a minute by its own clock; that the quote expires later leaves
/// room for a tenant's clock that differs. Signed by the host's device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The ask that it answers.
    pub ask: Id<Ask>,
    /// Who asked.
    pub tenant: DeviceId,
    /// Whose device answers.
    pub certificate: Unverified<DeviceCertificate>,
    /// The price, which will never change.
    pub rate: Rate,
    /// What keeping the volumes after the lease costs in all; none where nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeping: Option<Amount>,
    /// Gift, barter or rent.
    pub mode: Mode,
    /// The rules, which will never change.
    pub terms: Terms,
    /// To be repeated in the lease.
    pub nonce: Nonce,
    /// When it was signed.
    pub issued: Timestamp,
    /// Until when it can be accepted at all.
    pub expires: Timestamp,
}

/// Offer, ask and quote made one. Signed by the tenant first, whose signature gives it its id, then by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The offer it came from.
    pub offer: Id<Offer>,
    /// The ask it came from.
    pub ask: Id<Ask>,
    /// The quote it accepts.
    pub quote: Id<Quote>,
    /// Who lends.
    pub host: Party,
    /// Who uses.
    pub tenant: Party,
    /// What runs.
    pub workload: Workload,
    /// What is promised.
    pub resources: Resources,
    /// For how long it runs, from the moment that the guest does.
    pub term: Span,
    /// For how much.
    pub rate: Rate,
    /// What keeping the volumes after it costs in all, due with the last total; none where nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeping: Option<Amount>,
    /// Gift, barter or rent.
    pub mode: Mode,
    /// By which rules.
    pub rules: Terms,
    /// The quote's nonce.
    pub nonce: Nonce,
    /// When the tenant signed.
    pub issued: Timestamp,
    /// Until when the host may sign it.
    pub expires: Timestamp,
}

/// More time for a lease. Signed by the tenant first, then by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Which lease.
    pub lease: Id<Lease>,
    /// One, two, three: so that one renewal is granted once.
    pub number: u32,
    /// Who lends.
    pub host: DeviceId,
    /// Who uses.
    pub tenant: DeviceId,
    /// The time added to the term.
    pub more: Span,
    /// When the tenant signed.
    pub issued: Timestamp,
    /// Until when the host may sign it.
    pub expires: Timestamp,
}

/// An answer to an ask is a matter of seconds.
const LONGEST_HANDSHAKE: Span = Span::minutes(10);

fn check_handshake(issued: Timestamp, expires: Timestamp) -> Result<(), Invalid> {
    require(
        expires > issued && expires.since(issued) <= LONGEST_HANDSHAKE,
        "expires",
        "within 10 minutes of its issue",
    )
}

fn check_term(term: Span) -> Result<(), Invalid> {
    require((Span::seconds(1)..=Span::days(366)).contains(&term), "term", "from 1 s to 366 days")
}

fn check_resources(resources: &Resources) -> Result<(), Invalid> {
    require((1..=1_024_000).contains(&resources.cpu_millis), "cpu_millis", "from 1 to 1024000")?;
    require(resources.memory >= 4 << 20, "memory", "at least 4 MiB")?;
    require(resources.memory <= 1 << 50 && resources.disk <= 1 << 55, "resources", "more than a machine has")
}

impl Document for Ask {
    const DOMAIN: &'static str = "sublet/ask/1";
    const MAX_BYTES: usize = 64 * 1024;

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        signed_by(signer, self.certificate.verify_past()?.device)?;
        check_handshake(self.issued, self.expires)?;
        check_term(self.terms.term)?;
        check_resources(&self.terms.resources)?;
        require(self.terms.cap.hourly.micros >= 0, "cap", "not below nought")?;
        self.terms.workload.check(&self.terms.resources)
    }
}

impl Document for Quote {
    const DOMAIN: &'static str = "sublet/quote/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        signed_by(signer, self.certificate.verify_past()?.device)?;
        require(self.rate.hourly.micros >= 0, "rate", "not below nought")?;
        require(self.keeping.is_none_or(|price| price.micros >= 0), "keeping", "not below nought")?;
        check_handshake(self.issued, self.expires)
    }
}

impl Parties for Lease {
    fn first(&self) -> DeviceId {
        self.tenant.device
    }

    fn second(&self) -> DeviceId {
        self.host.device
    }
}

impl Document for Lease {
    const DOMAIN: &'static str = "sublet/lease/1";
    const MAX_BYTES: usize = 64 * 1024;

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        if signer != self.host.device {
            signed_by(signer, self.tenant.device)?;
        }
        require(self.host.device != self.tenant.device, "tenant", "a device cannot rent from itself")?;
        check_handshake(self.issued, self.expires)?;
        check_term(self.term)?;
        check_resources(&self.resources)?;
        require(self.rate.hourly.micros >= 0, "rate", "not below nought")?;
        self.workload.check(&self.resources)
    }
}

impl Parties for Renewal {
    fn first(&self) -> DeviceId {
        self.tenant
    }

    fn second(&self) -> DeviceId {
        self.host
    }
}

impl Document for Renewal {
    const DOMAIN: &'static str = "sublet/renewal/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        if signer != self.host {
            signed_by(signer, self.tenant)?;
        }
        require(self.number >= 1, "number", "counts from one")?;
        check_handshake(self.issued, self.expires)?;
        check_term(self.more)
    }
}
