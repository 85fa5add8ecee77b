//! What can go wrong, as people and programs are told: a code, a sentence, a hint.

use crate::VaultError;
use crate::update::UpdateError;
use machine::guest::GuestError;
use machine::image::ImageError;
use machine::selftest::SelftestError;
use machine::volume::VolumeError;
use model::document::SecretFile;
use model::{Id, Lease};
use net::NetError;
use std::path::PathBuf;
use store::StoreError;

/// Why a wish was not granted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no.
    #[error(transparent)]
    Refused(#[from] engine::Refusal),
    /// A host said no, or did not answer.
    #[error("{sentence}")]
    Denied {
        /// The host's code.
        code: String,
        /// The host's sentence.
        sentence: String,
    },
    /// No offer suits.
    #[error("no offer suits, of {looked_at} looked at{}", .nearest.as_ref().map(|n| format!("; the nearest: {n}")).unwrap_or_default())]
    NoOffer {
        /// How many there were.
        looked_at: usize,
        /// The nearest, and what it fails in.
        nearest: Option<String>,
    },
    /// No such image here.
    #[error("there is no image `{0}` on this computer")]
    UnknownImage(String),
    /// No such lease.
    #[error("there is no lease `{0}`")]
    UnknownLease(String),
    /// The lease is not in a phase for this.
    #[error("lease {} is {phase}", .lease.short())]
    NotRunning {
        /// Which.
        lease: Id<Lease>,
        /// Where it stands.
        phase: String,
    },
    /// About the person's key.
    #[error(transparent)]
    Key(#[from] VaultError),
    /// A setting that makes no sense, or cannot be kept.
    #[error("{0}")]
    Setting(String),
    /// The guest is somebody else's, on this machine.
    #[error("the guest of lease {} is its tenant's: nobody else may enter it", .0.short())]
    NotOurGuest(Id<Lease>),
    /// The local port is taken.
    #[error("port {port} of this computer cannot be used: {reason}")]
    Port {
        /// Which.
        port: u16,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// About images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// About guests.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The isolation test could not be run.
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    /// About volumes.
    #[error("{0}")]
    Volume(String),
    /// About a release of Sublet.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The health check has no command, and neither has the image.
    #[error("nothing says how to check whether the guest is well: its image has no health check of its own")]
    NoHealthCommand,
    /// A secret that no guest can have.
    #[error("the secret {name} has {size} bytes; 1 to {} are possible", SecretFile::LARGEST)]
    SecretSize {
        /// Its name.
        name: String,
        /// Bytes of its value.
        size: usize,
    },
    /// More secrets than a guest can have.
    #[error("the secrets have {size} bytes together; at most {} are possible", SecretFile::LARGEST_TOGETHER)]
    SecretsSize {
        /// Bytes of all values.
        size: usize,
    },
    /// About peers.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Cancelled by who asked.
    #[error("cancelled")]
    Cancelled,
    /// The node itself is in trouble.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Trouble of the node itself.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key file.
    #[error("the key file {} cannot be used: {reason}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Peers cannot be talked to.
    #[error("the network cannot be used: {0}")]
    Net(#[source] NetError),
    /// Images cannot be kept.
    #[error("images cannot be kept: {0}")]
    Image(#[source] ImageError),
    /// Volumes cannot be kept.
    #[error("volumes cannot be kept: {0}")]
    Volume(#[source] VolumeError),
    /// Guests cannot be kept.
    #[error("guests cannot be kept: {0}")]
    Guest(#[source] GuestError),
    /// The system has no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The thread that looks after the owner cannot be started.
    #[error("the machine cannot be watched: {0}")]
    Presence(#[source] std::io::Error),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The machine could not be measured.
    #[error("the machine could not be measured: {0}")]
    Measure(String),
}

impl Error {
    /// A host says nothing, or nothing that makes sense.
    pub(crate) fn no_answer(lease: Id<Lease>) -> Error {
        Error::Denied {
            code: "no_answer".to_owned(),
            sentence: format!("the host of lease {} does not answer", lease.short()),
        }
    }

    /// For programs.
    pub fn code(&self) -> &str {
        match self {
            Error::Refused(refusal) => refusal.code(),
            Error::Denied { code, .. } => code,
            Error::NoOffer { .. } => "no_offer",
            Error::UnknownImage(_) => "unknown_image",
            Error::UnknownLease(_) => "unknown_lease",
            Error::NotRunning { .. } => "wrong_phase",
            Error::NotOurGuest(_) => "not_your_guest",
            Error::Port { .. } => "port_taken",
            Error::Setting(_) => "setting",
            Error::Key(error) => error.code(),
            Error::Image(error) => error.code(),
            Error::Guest(_) => "guest",
            Error::Selftest(_) => "selftest",
            Error::Volume(_) => "volume",
            Error::Update(error) => error.code(),
            Error::NoHealthCommand => "no_health_check",
            Error::SecretSize { .. } | Error::SecretsSize { .. } => "out_of_range",
            Error::Net(_) => "network",
            Error::Cancelled => "cancelled",
            Error::Fault(Fault::Stopped) => "stopped",
            Error::Fault(_) => "fault",
        }
    }

    /// What to do about it; empty where there is nothing to do.
    pub fn hint(&self) -> String {
        match self {
            Error::Refused(refusal) => refusal.hint().to_owned(),
            Error::Denied { code, .. } => denied_hint(code).to_owned(),
            Error::NoOffer { looked_at: 0, .. } => {
                "No host is in sight: `sublet peers` shows who is; `sublet peers add ADDRESS` meets one."
                    .to_owned()
            }
            Error::NoOffer { .. } => "`sublet market` shows every offer with what it fails in.".to_owned(),
            Error::UnknownImage(_) => {
                "`sublet image ls` lists them; `sublet image pull`, `import` and `build` add one.".to_owned()
            }
            Error::UnknownLease(_) => "`sublet ps --all` lists the leases.".to_owned(),
            Error::NotRunning { .. } => "`sublet ps` shows where each lease stands.".to_owned(),
            Error::NotOurGuest(_) => {
                "As the owner of this machine you can see what it takes, freeze it and end it.".to_owned()
            }
            Error::Port { port, .. } => {
                format!("Choose another one, such as -p {}:GUEST.", port.saturating_add(1))
            }
            Error::Key(error) => error.hint().to_owned(),
            Error::Image(error) => error.hint().to_owned(),
            Error::Update(error) => error.hint().to_owned(),
            Error::Guest(_) | Error::Setting(_) | Error::Cancelled => String::new(),
            Error::NoHealthCommand => "Give a command: --health-cmd.".to_owned(),
            Error::SecretSize { .. } | Error::SecretsSize { .. } => {
                "Give large files by a volume or in the image.".to_owned()
            }
            Error::Net(_) | Error::Selftest(_) => "`sublet doctor` tells what works.".to_owned(),
            Error::Volume(_) => {
                "`sublet volume ls` lists the volumes, with the leases that have them.".to_owned()
            }
            Error::Fault(_) => "`sublet doctor` tells what works.".to_owned(),
        }
    }

    /// Whether the node is at fault, and not the wish.
    pub fn is_fault(&self) -> bool {
        matches!(self, Error::Fault(_))
    }
}

fn denied_hint(code: &str) -> &'static str {
    match code {
        "owner_first" | "no_capacity" | "price_above_cap" | "unknown_offer" => {
            "Take another offer: `sublet market`."
        }
        "device_in_use" => "Wait, or take another offer: `sublet market --device NAME`.",
        "no_answer" | "not_agreed" => "The host may be gone: take another offer: `sublet market`.",
        "clock_or_expired" => "Compare the clocks of both computers.",
        _ => "",
    }
}

impl From<VolumeError> for Error {
    fn from(error: VolumeError) -> Error {
        Error::Volume(error.to_string())
    }
}
