//! The program as people run it: real nodes as processes, real peers, real guests, killed and starved and cut off.

mod faults;
mod house;
mod kills;
mod refusals;
