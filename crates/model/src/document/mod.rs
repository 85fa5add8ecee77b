//! The documents that people sign with each other. Each says who may sign it, when it acts, and what it may contain.

mod deal;
mod device;
mod invite;
mod network;
mod offer;
mod person;
mod pieces;
mod rating;
mod release;
mod run;
mod secret;
mod settlement;
mod tested;
mod volume;
mod work;

pub use deal::{Ask, AskTerms, ImageDigest, Lease, Quote, Renewal, Workload};
pub use device::{LentDevice, MOST_DEVICES};
pub use invite::{Greeting, Invite, LONGEST_INVITE};
pub use network::{Destination, Host, Lack, MOST_DESTINATIONS, Name, NetworkPolicy, NotADestination, Whose};
pub use offer::{Audience, Feature, Mode, Offer, Prices, RenewalTerms, Sandbox, Share, Speed, Terms};
pub use person::{DeviceCertificate, Party, Person, Profile};
pub use pieces::{Pieces, want};
pub use rating::{Aspect, Rating};
pub use release::{
    ALL, Channel, LARGEST_PACKAGE, NotAVersion, Package, PackageKind, Release, Stage, Version,
};
pub use run::{HealthCheck, HealthWish, Restart, RunOptions, Tmpfs, is_hostname};
pub use secret::{Readers, SecretFile, Secrets};
pub use settlement::{LONGEST_SETTLEMENT, Settlement};
pub use tested::Tested;
pub use volume::{Volume, is_volume_name, volumes_room};
pub use work::{End, EndReason, Receipt, Side, Tick, Traffic, Usage};

use crate::envelope::Invalid;
use crate::id::DeviceId;
pub(crate) use crate::text::is_plain;

/// Refuses a value outside its range.
pub(crate) fn require(holds: bool, field: &'static str, why: &'static str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::Content { field, why }) }
}

fn signed_by(signer: DeviceId, expected: DeviceId) -> Result<(), Invalid> {
    if signer == expected { Ok(()) } else { Err(Invalid::Signer { expected, found: signer }) }
}
