//! The one loop: record first, then act.
//!
//! The node owns the four rooms below it, which do not know each other, and joins them in the language of `model`:
//! the engine decides, the store remembers, the net talks, the machine runs guests. Everything that comes in becomes
//! an [`engine::Input`]; what the engine decides is written down in one transaction; only then is it done. What is to
//! be done is not a queue that a crash could lose: it is asked of the state again each time ([`engine::Engine::wanted`]).
//!
//! Outside, the node is a [`NodeHandle`].

pub mod clock;
mod config;
mod core;
mod datagrams;
mod demand;
mod error;
mod event;
mod execute;
mod fetch;
mod file;
mod forward;
mod frames;
mod handle;
mod health;
mod identity;
mod isolation;
mod keys;
mod logs;
mod neighbours;
mod outbox;
mod people;
mod rent;
mod run;
mod secrets;
mod serve;
mod session;
mod settings;
mod settlement;
mod stats;
pub mod update;
mod vault;
mod volumes;

pub use config::Config;
pub use core::{Core, SNAPSHOT_VERSION};
pub use demand::{Demand, DemandOutcome, Demands};
pub use error::{Error, Fault};
pub use event::{Event, RenewalStands};
pub use file::write_private;
pub use forward::{Forward, Port, Protocol};
pub use handle::NodeHandle;
pub use logs::{LogReader, LogWish};
pub use rent::Rent;
pub use run::start;
pub use session::{Hear, Say, Session};
pub use settings::{Notice, Settings};
pub use stats::{Most, Sample, Stats};
pub use vault::{Kept, Vault, VaultError, stretch};
pub use volumes::{Hosted, Rented, VolumeState};

pub use engine;
pub use machine;
pub use model;
pub use net;
pub use store;

#[cfg(test)]
#[path = "../../engine/tests/world/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the engine's tests need more of it")]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test names the one case that it is about")]
mod world;
