//! What happens, as it happens.

use super::basic::{Moment, Money};
use super::bounds::RenewalStands;
use super::health::HealthState;
use super::lease::Standing;
use node::Event as Happened;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened. Losing one loses nothing: state can always be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A lease stands somewhere else.
    Lease {
        /// Which.
        lease: String,
        /// Where.
        standing: Standing,
    },
    /// An image is being fetched for a lease.
    Fetching {
        /// Which.
        lease: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Whether a guest is well has changed.
    Health {
        /// Which lease.
        lease: String,
        /// How it is.
        state: HealthState,
    },
    /// A running total was signed by both.
    Receipt {
        /// Which lease.
        lease: String,
        /// One, two, three.
        number: u32,
        /// What is owed in all.
        amount: Money,
    },
    /// An ask led to nothing.
    Refused {
        /// Which ask.
        ask: String,
        /// For programs.
        code: String,
        /// For people.
        sentence: String,
    },
    /// A lease is nearly over.
    Ending {
        /// Which.
        lease: String,
        /// When it is over, unless it is made longer.
        over: Moment,
    },
    /// More time was asked for, agreed or refused.
    Renewal {
        /// For which lease.
        lease: String,
        /// Which of them.
        stands: RenewalStands,
    },
    /// A party judged the other.
    Rated {
        /// Which lease.
        lease: String,
    },
    /// This machine's offer changed.
    Offered,
    /// The owner's policy, or a reason for which guests make room, changed.
    Owner,
    /// The market changed.
    Market,
    /// Somebody came to be known, blocked or forgotten, or an invite has changed.
    People,
    /// Something was paid, received or missed.
    Payment,
    /// Something is new of a release of Sublet.
    Update,
    /// A peer came.
    PeerUp {
        /// Which, hexadecimal.
        peer: String,
    },
    /// A peer went.
    PeerDown {
        /// Which, hexadecimal.
        peer: String,
    },
    /// Events were lost, as they were read too slowly: look at state.
    Missed {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// The name by which a stream tells it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Lease { .. } => "lease",
            Event::Fetching { .. } => "fetching",
            Event::Health { .. } => "health",
            Event::Receipt { .. } => "receipt",
            Event::Refused { .. } => "refused",
            Event::Ending { .. } => "ending",
            Event::Renewal { .. } => "renewal",
            Event::Rated { .. } => "rated",
            Event::Offered => "offered",
            Event::Owner => "owner",
            Event::Market => "market",
            Event::People => "people",
            Event::Payment => "payment",
            Event::Update => "update",
            Event::PeerUp { .. } => "peer_up",
            Event::PeerDown { .. } => "peer_down",
            Event::Missed { .. } => "missed",
        }
    }
}

impl From<Happened> for Event {
    fn from(event: Happened) -> Event {
        match event {
            Happened::Lease { lease, phase, detail } => {
                Event::Lease { lease: lease.to_string(), standing: Standing::of(phase, &detail) }
            }
            Happened::Fetching { lease, done, total } => {
                Event::Fetching { lease: lease.to_string(), done, total }
            }
            Happened::Health { lease, state } => {
                Event::Health { lease: lease.to_string(), state: state.into() }
            }
            Happened::Receipt { lease, number, amount } => {
                Event::Receipt { lease: lease.to_string(), number, amount: amount.into() }
            }
            Happened::Refused { ask, code, sentence } => {
                Event::Refused { ask: ask.to_string(), code, sentence }
            }
            Happened::Ending { lease, over } => {
                Event::Ending { lease: lease.to_string(), over: Moment(over) }
            }
            Happened::Renewal { lease, stands } => {
                Event::Renewal { lease: lease.to_string(), stands: stands.into() }
            }
            Happened::Rated { lease } => Event::Rated { lease: lease.to_string() },
            Happened::Offered => Event::Offered,
            Happened::Owner => Event::Owner,
            Happened::Market => Event::Market,
            Happened::People => Event::People,
            Happened::Payment => Event::Payment,
            Happened::Update => Event::Update,
            Happened::PeerUp { peer } => Event::PeerUp { peer: peer.to_string() },
            Happened::PeerDown { peer } => Event::PeerDown { peer: peer.to_string() },
        }
    }
}
