//! The program as people run it: real nodes as processes, real peers, real guests, killed and starved and cut off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in the helpers of tests too")]

use api::node::machine::image::{Digest, Platform};

mod devices;
mod faults;
mod fetching;
mod health;
mod house;
mod inside;
mod kills;
mod people;
mod refusals;
#[path = "../../crates/machine/tests/images/registry.rs"]
mod registry;
mod secrets;
mod updates;
mod watching;
mod wish;
