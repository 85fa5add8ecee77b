//! What peers say to each other: requests with one answer each, and the heads of streams.
//!
//! A message is canonical bytes (DAG-CBOR) of at most [`MAX_MESSAGE`]; what needs trust inside it is an envelope of
//! its own. Each request may come twice: the second has the effect and the answer of the first.

use crate::amount::Rate;
use crate::document::{Ask, End, Greeting, ImageDigest, Lease, Quote, Rating, Renewal, Settlement, Tick};
use crate::document::{Offer, require};
use crate::envelope::{Invalid, Unverified};
use crate::health::Health;
use crate::id::{Id, ObjectId};
use crate::phase::Phase;
use crate::resources::Resources;
use crate::time::Span;
use crate::time::Timestamp;
use crate::{from_bytes, to_bytes};
use serde::{Deserialize, Serialize};

/// The largest request or response, in bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// The largest head of a stream, in bytes.
pub const MAX_HEAD: usize = 1024;

/// What one peer asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Tenant to host: for how much?
    Ask(Unverified<Ask>),
    /// Tenant to host: agreed, here is my signature.
    Lease(Unverified<Lease>),
    /// Host to tenant: the running total, to be signed.
    Tick(Unverified<Tick>),
    /// Tenant to host: more time, please.
    Renew(Unverified<Renewal>),
    /// Either: it is over, and why.
    End(Unverified<End>),
    /// Either: my judgement of you.
    Rate(Unverified<Rating>),
    /// Who owes: I have paid you this.
    Paid(Unverified<Settlement>),
    /// Who was owed: it has come, or it has not.
    Settled {
        /// Which payment.
        settlement: Id<Settlement>,
        /// What became of it.
        verdict: Verdict,
    },
    /// Whoever was invited: here I am.
    Greet(Unverified<Greeting>),
    /// Host to tenant: where the lease stands now.
    Standing(Standing),
    /// Tenant to host: another was chosen, and what is held for this ask can be let go.
    Release {
        /// Which ask.
        ask: Id<Ask>,
    },
    /// Tenant to host: I looked at your offer, and ask elsewhere. Nothing is wanted.
    Passed(Passed),
    /// Tenant to host: where does the lease stand?
    Where {
        /// Which lease.
        lease: Id<Lease>,
    },
}

/// What a payee says of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has come: the payee's signature of the same words.
    Received(Unverified<Settlement>),
    /// It has not, and why; at most 200 characters.
    Missing(String),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Ask`].
    Quote(Unverified<Quote>),
    /// To [`Request::Lease`]: the host's signature of the same words.
    Lease(Unverified<Lease>),
    /// To [`Request::Tick`]: the tenant's signature of the same words.
    Tick(Unverified<Tick>),
    /// To [`Request::Renew`]: the host's signature of the same words.
    Renewal(Unverified<Renewal>),
    /// To [`Request::Where`].
    Standing(Standing),
    /// To what needs no answer but that it arrived.
    Done,
    /// To whatever could not be granted.
    Denied(Denial),
}

/// Where a lease stands, as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which lease.
    pub lease: Id<Lease>,
    /// Where it stands.
    pub phase: Phase,
    /// When the guest started to run.
    pub started: Option<Timestamp>,
    /// Bytes of the image that are there, and bytes in all, while it is fetched.
    pub fetched: Option<(u64, u64)>,
    /// What went wrong, in words, where it did: at most 500 bytes.
    pub detail: String,
    /// Whether the guest is well, where that is looked after. In a [`Request`] it is the news, and nothing else is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What somebody wanted who looked at an offer and asked elsewhere: so that a host learns why no work comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Which offer.
    pub offer: Id<Offer>,
    /// With how much.
    pub resources: Resources,
    /// For how long.
    pub term: Span,
    /// The most that an hour could cost.
    pub cap: Option<Rate>,
    /// The terms that the offer failed, as codes; at most [`MOST_FAILED`], each of at most 32 bytes.
    pub failed: Vec<String>,
}

/// The most terms that an offer is told it failed.
pub const MOST_FAILED: usize = 4;

impl Passed {
    /// Whether it keeps to its bounds.
    ///
    /// # Errors
    /// [`Invalid::Content`] names what does not.
    pub fn check(&self) -> Result<(), Invalid> {
        let plain = |code: &String| {
            code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        require(
            (1..=MOST_FAILED).contains(&self.failed.len()) && self.failed.iter().all(plain),
            "failed",
            "1 to 4 codes",
        )
    }
}

/// A refusal as it travels: a code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// Such as `no_capacity`. At most 64 bytes.
    pub code: String,
    /// What was asked, what there is, what to do. At most 500 bytes.
    pub sentence: String,
}

/// The first bytes on a stream: its length as a big-endian u16, then this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamHead {
    /// Tenant to host: a connection to a port of the guest. Bytes follow both ways.
    Port {
        /// Which lease.
        lease: Id<Lease>,
        /// Which port inside the guest.
        port: u16,
    },
    /// Tenant to host: datagrams to a UDP port of the guest, and what it answers. Each is its length as a big-endian
    /// u16, then its bytes, both ways; one stream for each port of the tenant's that sends them.
    Datagrams {
        /// Which lease.
        lease: Id<Lease>,
        /// Which port inside the guest.
        port: u16,
    },
    /// Tenant to host: the guest's output from an offset on.
    Logs {
        /// Which lease.
        lease: Id<Lease>,
        /// Bytes to leave out.
        from: u64,
        /// Whether to go on as output comes.
        follow: bool,
        /// Which lines of it, and how.
        #[serde(default, skip_serializing_if = "LogView::is_usual")]
        view: LogView,
    },
    /// Tenant to host: what the guest takes. [Frames](crate::stats) follow, each a list of readings.
    Stats {
        /// Which lease.
        lease: Id<Lease>,
        /// Whether to go on with one each second.
        follow: bool,
    },
    /// Tenant to host: what goes on in the guest. One [frame](crate::stats) follows.
    Top {
        /// Which lease.
        lease: Id<Lease>,
    },
    /// Tenant to host: a program to be begun in the guest. [Frames](crate::session) follow both ways.
    Exec {
        /// Which lease.
        lease: Id<Lease>,
    },
    /// Tenant to host: the guest's own program, to be spoken to. [Frames](crate::session) follow both ways.
    Attach {
        /// Which lease.
        lease: Id<Lease>,
        /// The offset in its output from which on to hear it; none: from now on.
        from: Option<u64>,
    },
    /// Host to tenant: a part of the lease's image. The answer is its length as a big-endian u64, then its bytes.
    Blob {
        /// Which lease.
        lease: Id<Lease>,
        /// Which manifest, configuration or layer.
        digest: ImageDigest,
        /// Bytes that are already here.
        from: u64,
    },
    /// Anybody to anybody: pieces of an image. Requests follow, each a part's and a piece's number as big-endian u32s; each
    /// answer is one byte, nought when the piece follows. A part's number of `u32::MAX` asks for the list of pieces,
    /// which comes after its length as a big-endian u32.
    Pieces {
        /// Host to tenant: under which lease. None: by the holder's leave.
        lease: Option<Id<Lease>>,
        /// Which image: see [`want`](crate::document::want).
        want: ObjectId,
    },
    /// Tenant to host: something about a volume. What follows is framed: a length as a big-endian u32 and so many bytes,
    /// again and again; a length of nought ends it well; `u32::MAX` and one more frame, with a sentence, end it ill.
    Volume {
        /// Which lease, which may be over while the volume is kept.
        lease: Id<Lease>,
        /// Which of its volumes.
        name: String,
        /// What.
        wish: VolumeWish,
    },
    /// Host to tenant: the key of an encrypted volume. The answer is 64 bytes.
    VolumeKey {
        /// Which lease.
        lease: Id<Lease>,
        /// Which of its volumes.
        name: String,
    },
    /// Host to tenant: the values of the guest's secrets, as it is about to start. The answer is one after the other, in the order
    /// of the lease: each its length as a big-endian u32, then its bytes.
    Secrets {
        /// Which lease.
        lease: Id<Lease>,
    },
}

/// Which lines of a guest's output, and how. A line's time is that of the host's clock when its first byte came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// None that came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// None that came after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Of those that are there, so many of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Whether each begins with its time, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timestamps: bool,
}

impl LogView {
    /// Whether all is wanted as it is.
    pub fn is_usual(&self) -> bool {
        *self == LogView::default()
    }
}

/// What a tenant wants of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeWish {
    /// Its state, as JSON.
    Show,
    /// Its files, as a tar archive.
    Export {
        /// Of this snapshot; none: as it is now.
        snapshot: Option<String>,
    },
    /// Files from a tar archive that follows, over those that are there.
    Import,
    /// A snapshot by this name.
    Snapshot {
        /// The name.
        name: String,
    },
    /// Nothing of it, or of one of its snapshots, any more.
    Remove {
        /// Of this snapshot; none: of all.
        snapshot: Option<String>,
    },
}

/// The first byte that a stream's opener gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamAnswer {
    /// Go on.
    Open = 0,
    /// No such lease between us, or it is not in a phase for this.
    NotYours = 1,
    /// Nobody listens on that port.
    Closed = 2,
    /// There is no such part.
    Missing = 3,
    /// Too many streams at once.
    Busy = 4,
}

impl StreamAnswer {
    /// Reads an answer; none when the byte means nothing.
    pub fn of(byte: u8) -> Option<StreamAnswer> {
        use StreamAnswer::{Busy, Closed, Missing, NotYours, Open};
        [Open, NotYours, Closed, Missing, Busy].into_iter().find(|answer| *answer as u8 == byte)
    }
}

/// Reads a message from outside.
///
/// # Errors
/// When it is too large or not in canonical form.
pub fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, Invalid> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Invalid::TooLarge { domain: "message", limit: MAX_MESSAGE, found: bytes.len() });
    }
    from_bytes(bytes)
}

/// The bytes of a message.
pub fn write<T: Serialize>(message: &T) -> Vec<u8> {
    to_bytes(message)
}
