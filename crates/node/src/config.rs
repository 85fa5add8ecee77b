//! What a node has to be told.

use machine::guest::Runtime;
use machine::presence::Eyes;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a node has to be told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory: one node in each.
    pub data: PathBuf,
    /// Multiaddresses to listen on; empty: QUIC and TCP on all interfaces, on ports that are free.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to meet first.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to ask the router for a port.
    pub upnp: bool,
    /// Whether to carry others' connections.
    pub relay: bool,
    /// What the person calls themselves at the start: see [`crate::NodeHandle::name`].
    pub name: String,
    /// How this program is run again as a guest's supervisor.
    pub supervisor: Vec<OsString>,
    /// What runs guests; the best that is installed if none is named.
    pub runtime: Option<Runtime>,
    /// Where it sees what its owner does.
    pub eyes: Eyes,
}

impl Config {
    /// What most people need, with data in `data`.
    pub fn new(data: PathBuf) -> Config {
        Config {
            data,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            upnp: false,
            relay: false,
            name: String::new(),
            supervisor: vec!["/proc/self/exe".into(), "supervise".into()],
            runtime: None,
            eyes: Eyes::default(),
        }
    }
}
