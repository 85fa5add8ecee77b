//! The program as people run it: real nodes as processes, real peers, real guests, killed and starved and cut off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in the helpers of tests too")]

mod faults;
mod house;
mod inside;
mod kills;
mod people;
mod refusals;
mod secrets;
mod updates;
mod watching;
mod wish;
