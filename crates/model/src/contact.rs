//! What I make of a person, for myself alone: it stays on this computer.

use crate::document::{is_plain, require};
use crate::envelope::Invalid;
use serde::{Deserialize, Serialize};

/// A person in my own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// What I call them; empty: what they call themselves.
    pub name: String,
    /// What I want to remember.
    pub note: String,
    /// Whether I deal with them.
    pub regard: Regard,
}

/// Whether I deal with a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regard {
    /// I know them: what I lend to people I know is for them.
    Known,
    /// I make no new deals with them, and do not look at what they lend.
    Blocked,
}

impl Contact {
    /// Whether each value lies in its range.
    ///
    /// # Errors
    /// [`Invalid::Content`] names the first that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        require(is_plain(&self.name, 64), "name", "at most 64 bytes of plain text")?;
        require(is_plain(&self.note, 500), "note", "at most 500 bytes of plain text")
    }
}
