//! What the owner has set for this node.

use node::model::DeviceId;
use node::{Notice as Told, Settings as Set};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
    /// Where releases of Sublet are: a file, or an https:// address; empty: nothing looks for them.
    pub releases: String,
    /// Keys whose word on releases counts, hexadecimal; none: those that this program was built with.
    #[schema(value_type = Vec<String>)]
    pub release_keys: Vec<DeviceId>,
    /// Whether previews are taken too.
    pub previews: bool,
    /// Of what the desktop app does not tell its owner outside of its window.
    pub silent: BTreeSet<Notice>,
    /// Whether some of it counts only when the node starts again. The name, where releases are, and of what there is silence, count
    /// at once.
    pub restart_needed: bool,
}

impl Settings {
    /// As they are set.
    pub fn of(set: Set, restart_needed: bool) -> Settings {
        let Set { name, listen, bootstrap, mdns, upnp, relay, releases, release_keys, previews, silent } =
            set;
        let silent = silent.into_iter().map(Notice::from).collect();
        Settings {
            name,
            listen,
            bootstrap,
            mdns,
            upnp,
            relay,
            releases,
            release_keys,
            previews,
            silent,
            restart_needed,
        }
    }
}

/// What the desktop app tells its owner outside of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A guest of somebody has begun to run here.
    GuestArrived,
    /// Guests make room for the owner.
    GuestPaused,
    /// A rental is nearly over.
    LeaseEnding,
    /// A guest of ours is not well.
    GuestUnwell,
    /// Something was paid, or a payment of ours was answered.
    Paid,
    /// A lease comes to an end that will count against us.
    ScoreFalling,
    /// No peer reaches this computer.
    Unreachable,
    /// The disk is nearly full.
    DiskLow,
    /// A new version can be had.
    Update,
}

impl From<Told> for Notice {
    fn from(notice: Told) -> Notice {
        match notice {
            Told::GuestArrived => Notice::GuestArrived,
            Told::GuestPaused => Notice::GuestPaused,
            Told::LeaseEnding => Notice::LeaseEnding,
            Told::GuestUnwell => Notice::GuestUnwell,
            Told::Paid => Notice::Paid,
            Told::ScoreFalling => Notice::ScoreFalling,
            Told::Unreachable => Notice::Unreachable,
            Told::DiskLow => Notice::DiskLow,
            Told::Update => Notice::Update,
        }
    }
}

impl From<Notice> for Told {
    fn from(notice: Notice) -> Told {
        match notice {
            Notice::GuestArrived => Told::GuestArrived,
            Notice::GuestPaused => Told::GuestPaused,
            Notice::LeaseEnding => Told::LeaseEnding,
            Notice::GuestUnwell => Told::GuestUnwell,
            Notice::Paid => Told::Paid,
            Notice::ScoreFalling => Told::ScoreFalling,
            Notice::Unreachable => Told::Unreachable,
            Notice::DiskLow => Told::DiskLow,
            Notice::Update => Told::Update,
        }
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
    /// Where releases of Sublet are: a file, or an https:// address; empty: nothing looks for them.
    pub releases: Option<String>,
    /// Keys whose word on releases counts, hexadecimal; none: those that this program was built with.
    #[schema(value_type = Option<Vec<String>>)]
    pub release_keys: Option<Vec<DeviceId>>,
    /// Whether previews are taken too.
    pub previews: Option<bool>,
    /// Of what the desktop app does not tell its owner outside of its window.
    pub silent: Option<BTreeSet<Notice>>,
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
            releases: self.releases.unwrap_or(set.releases),
            release_keys: self.release_keys.unwrap_or(set.release_keys),
            previews: self.previews.unwrap_or(set.previews),
            silent: self.silent.map_or(set.silent, |kinds| kinds.into_iter().map(Told::from).collect()),
        }
    }
}
