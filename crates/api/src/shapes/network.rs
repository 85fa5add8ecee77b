//! What guests may reach outside, what passed, and ports that lead into guests.

use node::model::{self, Invalid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a guest may reach outside. Addresses that are not public are never reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// Nothing.
    #[default]
    None,
    /// A list.
    Only {
        /// `example.org:443`, `*.example.org:443`, `93.184.216.34:443`, `[2606:2800::1]:443`.
        destinations: Vec<String>,
    },
    /// Whatever is public.
    Internet,
}

impl From<&model::NetworkPolicy> for Network {
    fn from(policy: &model::NetworkPolicy) -> Network {
        match policy {
            model::NetworkPolicy::None => Network::None,
            model::NetworkPolicy::Only(list) => {
                Network::Only { destinations: list.iter().map(ToString::to_string).collect() }
            }
            model::NetworkPolicy::Internet => Network::Internet,
        }
    }
}

impl TryFrom<&Network> for model::NetworkPolicy {
    type Error = Invalid;

    fn try_from(network: &Network) -> Result<model::NetworkPolicy, Invalid> {
        match network {
            Network::None => Ok(model::NetworkPolicy::None),
            Network::Internet => Ok(model::NetworkPolicy::Internet),
            Network::Only { destinations } => {
                let why = "destinations are written example.org:443, *.example.org:443, 93.184.216.34:443 or [2606:2800::1]:443";
                let list = destinations.iter().map(|text| text.parse()).collect::<Result<_, _>>();
                list.map(model::NetworkPolicy::Only).map_err(|_| Invalid::Content { field: "network", why })
            }
        }
    }
}

/// Bytes that passed between a guest and the outside, other than through the tenant's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Bytes to the guest.
    pub received: u64,
    /// Bytes from the guest.
    pub sent: u64,
}

impl From<model::Traffic> for Traffic {
    fn from(traffic: model::Traffic) -> Traffic {
        Traffic { received: traffic.received, sent: traffic.sent }
    }
}

/// A port of this computer's loopback that leads to a port of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// The port here, on 127.0.0.1; nought takes a free one.
    #[serde(default)]
    pub local: u16,
    /// The port inside the guest.
    pub guest: u16,
    /// What it carries; connections when nobody says.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What a port carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl From<node::Port> for Port {
    fn from(port: node::Port) -> Port {
        let protocol = match port.protocol {
            node::Protocol::Tcp => Protocol::Tcp,
            node::Protocol::Udp => Protocol::Udp,
        };
        Port { local: port.local, guest: port.guest, protocol }
    }
}

impl From<Port> for node::Port {
    fn from(port: Port) -> node::Port {
        let protocol = match port.protocol {
            Protocol::Tcp => node::Protocol::Tcp,
            Protocol::Udp => node::Protocol::Udp,
        };
        node::Port { local: port.local, guest: port.guest, protocol }
    }
}
