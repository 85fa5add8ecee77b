//! People: what the owner makes of them, and invites.

use super::basic::{Moment, Money, Seconds};
use node::model;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether the owner deals with a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Regard {
    /// Known: what is lent to people whom the owner knows is for them.
    Known,
    /// No new deals with them.
    Blocked,
}

impl From<model::Regard> for Regard {
    fn from(regard: model::Regard) -> Regard {
        match regard {
            model::Regard::Known => Regard::Known,
            model::Regard::Blocked => Regard::Blocked,
        }
    }
}

impl From<Regard> for model::Regard {
    fn from(regard: Regard) -> model::Regard {
        match regard {
            Regard::Known => model::Regard::Known,
            Regard::Blocked => model::Regard::Blocked,
        }
    }
}

/// A person of whom something is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// Their key, hexadecimal.
    pub person: String,
    /// What the owner calls them, else what they call themselves.
    pub name: Option<String>,
    /// What they call themselves; proves nothing.
    pub calls_themselves: Option<String>,
    /// What the owner wants to remember.
    pub note: String,
    /// Whether the owner deals with them; none: a stranger.
    pub regard: Option<Regard>,
    /// The number that offers are ranked by, in thousandths; 500 of a stranger.
    pub trust: u32,
    /// Leases that have ended.
    pub leases: u32,
    /// Leases that ended badly by this person's doing.
    pub broken: u32,
    /// Caught signing two different things where only one may be.
    pub cheated: bool,
    /// What they owe, by currency; negative: what is owed to them.
    pub balances: Vec<Money>,
    /// Their devices, as far as known.
    pub devices: Vec<Device>,
}

/// A device of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its key, hexadecimal.
    pub device: String,
    /// What its owner calls it.
    pub label: String,
    /// Where it is, hexadecimal.
    pub peer: String,
    /// Whether there is a connection now.
    pub connected: bool,
    /// Whether it offers something now.
    pub offers: bool,
}

/// Everyone of whom something is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct People {
    /// Those whom the owner knows first, then by name.
    pub people: Vec<Person>,
}

/// What the owner makes of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Regarding {
    /// Whether to deal with them.
    pub regard: Regard,
    /// What to call them; none: as before, empty: what they call themselves.
    #[serde(default)]
    pub name: Option<String>,
    /// What to remember; none: as before.
    #[serde(default)]
    pub note: Option<String>,
}

/// An invite that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteWish {
    /// For how long: a week when nobody says, 30 days at the most.
    #[serde(default = "week")]
    pub stands: Seconds,
    /// How many people may answer it: one when nobody says.
    #[serde(default = "one")]
    pub uses: u32,
}

fn week() -> Seconds {
    Seconds(model::Span::days(7))
}

fn one() -> u32 {
    1
}

impl Default for InviteWish {
    fn default() -> InviteWish {
        InviteWish { stands: week(), uses: one() }
    }
}

/// An invite that stands. It is a secret between who gives it and who gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// Its id, hexadecimal.
    pub id: String,
    /// The link to be handed over.
    pub link: String,
    /// The link as a QR code: for each row a text of `1` (dark) and `0`; without the quiet zone around it.
    pub picture: Vec<String>,
    /// Until when it can be answered.
    pub expires: Moment,
    /// How many people may answer it.
    pub uses: u32,
    /// How many have.
    pub used: usize,
}

/// Invites that stand, and those of others that were accepted lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invites {
    /// Ours.
    pub invites: Vec<Invite>,
    /// Those of others.
    pub accepted: Vec<Accepted>,
}

/// An invite of another, accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The invite's id, hexadecimal.
    pub id: String,
    /// Who has invited, hexadecimal.
    pub person: String,
    /// What they call themselves.
    pub name: String,
    /// Whether they know by now.
    pub state: AcceptedState,
    /// Why they did not let us in, if so.
    pub why: Option<String>,
}

/// What became of an accepted invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedState {
    /// They were not reached yet; it is tried again until the invite is over.
    Waiting,
    /// They know us now.
    Heard,
    /// The invite was no longer good.
    Refused,
}

/// An invite of another, to be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The link.
    pub link: String,
}
