//! The pages in a browser.

use super::basic::Moment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the pages are served, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dashboard {
    /// Where this computer's browsers reach them; none: `sublet host --dashboard` serves them.
    pub address: Option<String>,
    /// Where those of the local network do; none: `sublet host --lan` lets them.
    pub lan: Option<LanDoor>,
    /// Whether there is a passphrase for the local network.
    pub passphrase_set: bool,
    /// Browsers that were let in.
    pub browsers: Vec<Browser>,
}

/// The door to the local network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LanDoor {
    /// Where it listens.
    pub address: String,
    /// SHA-256 of its certificate, to be compared once with what the browser shows.
    pub fingerprint: String,
}

/// A browser that was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Browser {
    /// How it calls itself.
    pub agent: String,
    /// When it was let in.
    pub since: Moment,
    /// When it was last here, to the hour.
    pub last: Moment,
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// It works once, within ten minutes.
    pub url: String,
}

/// A new passphrase for the local network.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassphrase {
    /// At least ten characters.
    pub passphrase: String,
}
