//! Nodes that really talk, over TCP and QUIC on this machine.

extern crate sublet_net as net;

mod finding;
mod hostile;
mod house;
mod relayed;
mod requests;
mod streams;
mod syncing;
