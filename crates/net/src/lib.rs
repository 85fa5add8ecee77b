//! Peers: found on the LAN and by address, connected directly or through a relay, asked, streamed with, and kept alike.
//!
//! The only crate that knows libp2p. [`start`] gives a [`Net`], the handle by which the node acts, and the
//! [`NetEvent`]s that tell it what happens; the language of both is `model`.
//!
//! Four protocols of our own run on streams of one small behaviour (`swarm::streams`):
//!
//! | protocol | what |
//! | --- | --- |
//! | `/sublet/deal/1` | one request, one response (`deal`) |
//! | `/sublet/stream/1` | a head, one byte of answer, then bytes both ways (`stream`) |
//! | `/sublet/sync/1` | the sets of signed objects are made alike (`sync`) |
//! | `/sublet/push/1` | new objects are offered (`sync`) |
//!
//! **Everything from outside is limited** in size, number and time: [`Limits`], and the constants at the top of each
//! file. A peer that asks too much waits, then is turned away, then is sent off for some minutes.

mod address;
mod common;
mod config;
mod deal;
mod driver;
mod error;
mod event;
mod handle;
mod identity;
mod stream;
mod swarm;
mod sync;
mod wire;

pub use config::{Config, Limits};
pub use deal::ANSWER_TIME;
pub use error::NetError;
pub use event::{NetEvent, Path, PeerSeen, RequestId, Transport};
pub use handle::{Net, OPEN_TIME};
pub use stream::{IncomingStream, Stream};
pub use sync::set::{MAX_OBJECT, Sharing};

use common::Common;
use driver::Driver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Events that wait for the node. Streams and requests past it are told that we are busy; sync waits.
/// A frame of objects is the largest of them: 16 MiB in all.
const MAX_EVENTS: usize = 64;

/// Commands that wait for the driver, which is quick.
const MAX_COMMANDS: usize = 256;

/// Whether an address makes sense, before anybody is told to use it.
///
/// # Errors
/// [`NetError::Address`] says why not.
pub fn check_address(text: &str) -> Result<(), NetError> {
    address::parse(text).map(drop)
}

/// Starts the network of a node, and returns once it listens.
///
/// # Errors
/// [`NetError::Listen`] when a port is taken or nothing can listen, [`NetError::Address`] for an address of the
/// configuration that makes no sense, [`NetError::Start`] for what the system refuses.
pub async fn start(config: Config) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let (events, received) = mpsc::channel(MAX_EVENTS);
    let (commands, obeyed) = mpsc::channel(MAX_COMMANDS);
    let (started, listening) = oneshot::channel();
    let common = Arc::new(Common::new(&config.limits, events));
    let driver = Driver::new(&config, common.clone(), obeyed, started)?;
    let key = identity::keypair(config.key_seed).public().to_peer_id();
    let me = identity::key_of(&key).expect("our own key is an ed25519 one");
    tokio::spawn(driver.run());
    // An interface that never comes up must not hold up the rest.
    let _ = tokio::time::timeout(Duration::from_secs(3), listening).await;
    Ok((Net::new(me, common, commands), received))
}
