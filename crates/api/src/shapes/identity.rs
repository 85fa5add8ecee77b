//! Who this node is, and where the person's key is kept.

use super::basic::Moment;
use node::Kept;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The person's key, hexadecimal.
    pub person: String,
    /// The device's key, hexadecimal.
    pub device: String,
    /// What the person calls the device.
    pub label: String,
    /// How peers reach it, hexadecimal.
    pub peer: String,
    /// Until when the person's word for the device stands. It is renewed by itself while the key is here.
    pub certified_until: Moment,
    /// Where the key that certifies devices is.
    pub key: KeyPlace,
    /// Whether the owner has proven to have its 24 words.
    pub words_confirmed: bool,
}

/// Where the person's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In a file that only the owner may read.
    Here,
    /// In a file that only a passphrase opens.
    Locked,
    /// Not on this computer: its words bring it back.
    Away,
}

impl From<Kept> for KeyPlace {
    fn from(kept: Kept) -> KeyPlace {
        match kept {
            Kept::Here => KeyPlace::Here,
            Kept::Locked => KeyPlace::Locked,
            Kept::Away => KeyPlace::Away,
        }
    }
}

/// A passphrase. It is never kept and never written to a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Passphrase {
    /// None where the key is not locked.
    #[serde(default)]
    pub passphrase: Option<String>,
}

/// The 24 words of a key, in their order. Who has them is the person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// From the English list of BIP-39.
    pub words: Vec<String>,
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({} of them)", self.words.len())
    }
}

/// What came of bringing a key back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// Whether the node becomes another person by it, when it starts again.
    pub restart_needed: bool,
}
