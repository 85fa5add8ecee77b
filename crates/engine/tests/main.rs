//! Proof of the engine: what is true of deals, leases, money and judgements, told by real engines that talk to each
//! other in a pretended world.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one case that it is about")]

extern crate sublet_engine as engine;

mod world;

mod choice;
mod deal;
mod ending;
mod invariants;
mod market;
mod owner;
mod people;
mod running;
mod settlement;
