//! What should be going on outside, as it follows from state.

use model::document::LentDevice;
use model::message::Request;
use model::{
    Id, Invite, Lease, ObjectId, PeerKey, Rating, Renewal, Resources, Settlement, Span, Tick, Workload,
};

/// One thing to do. Doing it twice is doing it once: see [`Effect::key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say something to a peer and bring back the answer.
    Send {
        /// To whom.
        to: PeerKey,
        /// What it is about; comes back with the answer.
        topic: Topic,
        /// What.
        request: Request,
    },
    /// Have the image of a lease here.
    Fetch {
        /// Which lease.
        lease: Id<Lease>,
        /// What runs.
        workload: Workload,
        /// Who has the image.
        tenant: PeerKey,
    },
    /// Have the guest of a lease running.
    Start(Start),
    /// Have it standing still.
    Freeze(Id<Lease>, u64),
    /// Have it moving again.
    Thaw(Id<Lease>, u64),
    /// Have it run with so many thousandths of a core.
    Pace(Id<Lease>, u64, u32),
    /// Have it stopped.
    Stop(Id<Lease>),
    /// Have nothing left of it.
    Remove(Id<Lease>),
    /// Tell what it has used, for the tick of this number.
    Meter(Id<Lease>, u32),
    /// Let all peers have a signed object of ours.
    Share(ObjectId, Vec<u8>),
}

/// A guest to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Under which lease.
    pub lease: Id<Lease>,
    /// What runs.
    pub workload: Workload,
    /// With how much.
    pub resources: Resources,
    /// The most bytes between it and the outside in a second, each way; nought: no limit.
    pub network_rate: u64,
    /// The most bytes that it may read, and write, on its disk in a second; nought: no limit.
    pub io_rate: u64,
    /// Devices that it has: those of its lease that are lent still.
    pub devices: Vec<LentDevice>,
    /// Who has the values of its secrets.
    pub tenant: PeerKey,
    /// How long the guest goes on when this node does not.
    pub grace: Span,
}

/// What was sent, to match the answer with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// An ask.
    Ask(Id<model::Ask>),
    /// That an ask is no longer of use; said again a little later, as it may have overtaken the ask.
    Release(Id<model::Ask>, u8),
    /// The tenant's signature of a lease.
    Lease(Id<Lease>),
    /// A tick to sign.
    Tick(Id<Lease>, Id<Tick>),
    /// A renewal to sign.
    Renewal(Id<Lease>, Id<Renewal>),
    /// That it is over.
    End(Id<Lease>),
    /// A rating.
    Rating(Id<Lease>, Id<Rating>),
    /// Where a lease stands, as of the record of this number.
    Standing(Id<Lease>, u64),
    /// Where does a lease stand? The number counts the times of asking.
    Where(Id<Lease>, i64),
    /// An answer to an invite.
    Greet(Id<Invite>),
    /// Where a payment stands.
    Settlement(Id<Settlement>),
}

/// By which an effect is known while it goes on, and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Something said.
    Send(Topic),
    /// A lease's image.
    Fetch(Id<Lease>),
    /// A lease's guest.
    Start(Id<Lease>),
    /// The freeze or thaw that the record of this number asked for.
    Still(Id<Lease>, u64),
    /// The pace that the record of this number asked for.
    Pace(Id<Lease>, u64),
    /// A stop.
    Stop(Id<Lease>),
    /// A removal.
    Remove(Id<Lease>),
    /// The measuring for a tick.
    Meter(Id<Lease>, u32),
    /// An object of ours.
    Share(ObjectId),
}

impl Effect {
    /// By which it is known.
    pub fn key(&self) -> Key {
        match self {
            Effect::Send { topic, .. } => Key::Send(*topic),
            Effect::Fetch { lease, .. } => Key::Fetch(*lease),
            Effect::Start(start) => Key::Start(start.lease),
            Effect::Freeze(lease, generation) | Effect::Thaw(lease, generation) => {
                Key::Still(*lease, *generation)
            }
            Effect::Pace(lease, generation, _) => Key::Pace(*lease, *generation),
            Effect::Stop(lease) => Key::Stop(*lease),
            Effect::Remove(lease) => Key::Remove(*lease),
            Effect::Meter(lease, number) => Key::Meter(*lease, *number),
            Effect::Share(object, _) => Key::Share(*object),
        }
    }
}
