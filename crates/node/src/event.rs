//! What the outside is told as it happens. Losing one loses nothing: state can always be asked for.

use engine::lease::choice::NOT_CHOSEN;
use model::health::HealthState;
use model::record::Record;
use model::{Amount, Id, Lease, ObjectId, PeerKey, Phase, Timestamp};
use serde::Serialize;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A lease stands somewhere else.
    Lease {
        /// Which.
        lease: Id<Lease>,
        /// Where.
        phase: Phase,
        /// What went wrong, in words, where it did.
        detail: String,
    },
    /// An image is being fetched for a lease.
    Fetching {
        /// Which.
        lease: Id<Lease>,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Whether a guest is well has changed.
    Health {
        /// Which lease.
        lease: Id<Lease>,
        /// How it is.
        state: HealthState,
    },
    /// A running total was signed by both.
    Receipt {
        /// Which lease.
        lease: Id<Lease>,
        /// One, two, three.
        number: u32,
        /// What is owed in all.
        amount: Amount,
    },
    /// An ask led to nothing.
    Refused {
        /// Which ask.
        ask: ObjectId,
        /// For programs.
        code: String,
        /// For people.
        sentence: String,
    },
    /// A lease is nearly over.
    Ending {
        /// Which.
        lease: Id<Lease>,
        /// When it is over, unless it is made longer.
        over: Timestamp,
    },
    /// More time was asked for, agreed or refused.
    Renewal {
        /// For which lease.
        lease: Id<Lease>,
        /// Which of them.
        stands: RenewalStands,
    },
    /// A party judged the other.
    Rated {
        /// Which lease.
        lease: Id<Lease>,
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
        /// Which.
        peer: PeerKey,
    },
    /// A peer went.
    PeerDown {
        /// Which.
        peer: PeerKey,
    },
}

/// Where the wish for more time stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStands {
    /// It waits for an answer; on the host's side, for the owner's.
    Asked,
    /// Both have signed.
    Agreed,
    /// There is no more time.
    Refused,
}

impl Event {
    /// What a record tells the outside; most tell nothing.
    pub fn of(record: &Record) -> Option<Event> {
        match record {
            Record::Agreed { lease, .. } => {
                Some(Event::Lease { lease: lease.id(), phase: Phase::Agreed, detail: String::new() })
            }
            Record::Moved { lease, phase, detail } => {
                Some(Event::Lease { lease: *lease, phase: *phase, detail: detail.clone() })
            }
            Record::Receipted { receipt } => {
                Some(Event::Receipt { lease: receipt.lease, number: receipt.number, amount: receipt.amount })
            }
            // That one of several hosts was not needed is no news.
            Record::Refused { code, .. } if code == NOT_CHOSEN => None,
            Record::Refused { ask, code, sentence } => {
                Some(Event::Refused { ask: ask.object(), code: code.clone(), sentence: sentence.clone() })
            }
            Record::Warned { lease, over } => Some(Event::Ending { lease: *lease, over: *over }),
            Record::RenewalAsked { renewal } => {
                Some(Event::Renewal { lease: renewal.lease, stands: RenewalStands::Asked })
            }
            Record::RenewalRefused { lease, .. } => {
                Some(Event::Renewal { lease: *lease, stands: RenewalStands::Refused })
            }
            Record::Renewed { renewal } => {
                Some(Event::Renewal { lease: renewal.lease, stands: RenewalStands::Agreed })
            }
            Record::Rated { rating, .. } => Some(Event::Rated { lease: rating.receipt.lease }),
            Record::Offered { .. } => Some(Event::Offered),
            Record::Ruled { .. } | Record::Powered { .. } | Record::Claimed { .. } => Some(Event::Owner),
            Record::Regarded { .. }
            | Record::Invited { .. }
            | Record::Withdrawn { .. }
            | Record::Greeted { .. }
            | Record::Accepting { .. }
            | Record::Answered { .. } => Some(Event::People),
            Record::Paid { .. } | Record::Settled { .. } | Record::Unsettled { .. } => Some(Event::Payment),
            Record::Measured { .. }
            | Record::Shared { .. }
            | Record::Profiled { .. }
            | Record::Quoted { .. }
            | Record::Lapsed { .. }
            | Record::Asked { .. }
            | Record::Heard { .. }
            | Record::Accepted { .. }
            | Record::Ticked { .. }
            | Record::Ended { .. }
            | Record::Posted { .. }
            | Record::SettlementTold { .. }
            | Record::Equivocated { .. } => None,
        }
    }
}
