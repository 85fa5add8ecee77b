//! What the owner has set for this node.

use node::Settings as Set;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the owner has set for this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// What the person calls themselves; everybody sees it.
    pub name: String,
    /// Multiaddresses to listen on; empty: all interfaces, on ports that are free.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to meet first.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to ask the router for a port.
    pub upnp: bool,
    /// Whether to carry others' connections.
    pub relay: bool,
    /// Whether some of it counts only when the node starts again. The name counts at once.
    pub restart_needed: bool,
}

impl Settings {
    /// As they are set.
    pub fn of(set: Set, restart_needed: bool) -> Settings {
        let Set { name, listen, bootstrap, mdns, upnp, relay } = set;
        Settings { name, listen, bootstrap, mdns, upnp, relay, restart_needed }
    }
}

/// What to set. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsWish {
    /// What the person calls themselves.
    pub name: Option<String>,
    /// Multiaddresses to listen on.
    pub listen: Option<Vec<String>>,
    /// Multiaddresses of peers to meet first.
    pub bootstrap: Option<Vec<String>>,
    /// Whether to look for peers on the local network.
    pub mdns: Option<bool>,
    /// Whether to ask the router for a port.
    pub upnp: Option<bool>,
    /// Whether to carry others' connections.
    pub relay: Option<bool>,
}

impl SettingsWish {
    /// The settings, changed as wished.
    pub fn onto(self, set: Set) -> Set {
        Set {
            name: self.name.unwrap_or(set.name),
            listen: self.listen.unwrap_or(set.listen),
            bootstrap: self.bootstrap.unwrap_or(set.bootstrap),
            mdns: self.mdns.unwrap_or(set.mdns),
            upnp: self.upnp.unwrap_or(set.upnp),
            relay: self.relay.unwrap_or(set.relay),
        }
    }
}
