//! What somebody is sent who is to find out what goes wrong.

use super::basic::{Moment, Seconds, Side};
use super::lease::LeaseState;
use super::machine::{Doctor, Inventory};
use super::offer::MyOffer;
use super::owner::Owner;
use super::settings::Settings;
use super::status::Status;
use super::update::Updates;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a node goes, in one file. No key, passphrase, token, secret or output of a guest is in it; of addresses only their kind,
/// and no name of a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostics {
    /// When it was made.
    pub made: Moment,
    /// How the node goes.
    pub status: Status,
    /// What works on this computer.
    pub doctor: Doctor,
    /// What this computer has.
    pub inventory: Inventory,
    /// What is set.
    pub settings: Settings,
    /// What is lent.
    pub offer: MyOffer,
    /// What the owner wants, and what holds now.
    pub owner: Owner,
    /// What is known of releases.
    pub updates: Updates,
    /// To whom there is a connection.
    pub peers: Vec<PeerSketch>,
    /// The last leases, the newest first.
    pub leases: Vec<LeaseSketch>,
    /// The last messages of this program, the oldest first.
    pub messages: Vec<String>,
}

/// A connection, without where it leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeerSketch {
    /// Its program and version, as it says.
    pub agent: String,
    /// The shortest round trip measured lately.
    pub round_trip: Option<Seconds>,
    /// The ways to it, the best first: `quic`, `tcp`, `quic by a relay`.
    pub ways: Vec<String>,
}

/// A lease, without whom it is with or what runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseSketch {
    /// Its id, hexadecimal.
    pub id: String,
    /// Which side this node is on.
    pub side: Side,
    /// When it was agreed.
    pub agreed: Moment,
    /// Where it stands.
    pub state: LeaseState,
    /// Why it is frozen, closing or ended: for programs.
    pub reason: Option<String>,
    /// What went wrong, in words, where it did.
    pub detail: String,
}
