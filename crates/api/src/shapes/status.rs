//! The node itself.

use super::basic::{Moment, Party, Seconds};
use super::owner::Reason;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// Who this node is, and how it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of this program.
    pub version: String,
    /// Who this node is.
    pub me: Party,
    /// How peers reach it, hexadecimal.
    pub peer: String,
    /// The same, as it stands in addresses: `12D3KooW..`.
    pub peer_id: String,
    /// Its data directory.
    #[schema(value_type = String)]
    pub data: PathBuf,
    /// Its process.
    pub pid: u32,
    /// By its clock.
    pub now: Moment,
    /// How long it has been up.
    pub up_for: Seconds,
    /// Where peers reach it.
    pub addresses: Vec<String>,
    /// The processor's architecture, as OCI names it.
    pub arch: String,
    /// The OCI runtime that keeps guests; none: this machine cannot lend.
    pub runtime: Option<String>,
    /// Whether the machine was measured.
    pub measured: bool,
    /// Whether it lends.
    pub lends: bool,
    /// Why the owner comes first now; none: the machine is fully for others.
    pub owner: Option<Reason>,
    /// Leases of others on this machine that have not ended.
    pub hosting: usize,
    /// Leases of this node on other machines that have not ended.
    pub renting: usize,
    /// Peers to which there is a connection.
    pub peers: usize,
    /// Offers of others that stand.
    pub offers: usize,
    /// Images here.
    pub images: usize,
}

/// The record that all of a node's state adds up to, after each link of its chain was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordChecked {
    /// How many records there are.
    pub records: u64,
    /// The hash of the last, which holds the hash of the one before, and so on.
    pub head: String,
}
