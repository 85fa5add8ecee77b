//! Nodes that really talk, over TCP and QUIC on this machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::result_large_err,
    reason = "a test picks one event and gives back the rest"
)]

extern crate sublet_net as net;

mod finding;
mod hostile;
mod house;
mod relayed;
mod requests;
mod streams;
mod syncing;
