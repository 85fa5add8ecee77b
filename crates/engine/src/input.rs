//! What can come in: from the owner, the tenant at this computer, its machine, and peers.

use crate::effect::Topic;
use crate::owner;
use model::{AskTerms, Id, Lease, Nonce, Offer, PeerKey, Share, Signed, Span, Speed, Timestamp, Traffic};
use model::{Request, Response};

/// One thing to decide about.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Time,
    /// The owner of this machine wants something.
    Owner(Owner),
    /// The tenant at this computer wants something.
    Tenant(Tenant),
    /// Whoever sits here wants something about other people.
    People(crate::people::Command),
    /// Whoever sits here says what was paid, or has come.
    Settle(crate::settlement::Command),
    /// This machine has something to tell.
    Machine(Machine),
    /// A peer asks.
    Request {
        /// Who, as the connection proves.
        from: PeerKey,
        /// What.
        request: Request,
    },
    /// A peer has answered what we sent.
    Answer {
        /// What we sent.
        topic: Topic,
        /// The answer.
        response: Response,
    },
    /// The host of a lease could not be reached since a time.
    Unreachable {
        /// Which lease.
        lease: Id<Lease>,
        /// The first attempt that failed after the last that did not.
        since: Timestamp,
    },
}

/// What an owner can want.
#[derive(Clone, Debug)]
pub enum Owner {
    /// The machine was measured.
    Measured(Speed),
    /// To lend this, or nothing.
    Share(Option<Share>),
    /// To publish what is lent, and who we are: asked again when addresses change and before the last word expires.
    Publish {
        /// Multiaddresses at which we are reached.
        addresses: Vec<String>,
        /// What guests are kept with.
        sandbox: model::Sandbox,
        /// What the person calls themselves.
        name: String,
    },
    /// To end a lease: the machine is needed.
    Stop(Id<Lease>),
    /// To come first on their machine.
    First(owner::Command),
    /// To answer a tenant who asks for more time, where the terms leave it to the owner.
    Answer {
        /// In which lease.
        lease: Id<Lease>,
        /// Whether more time is granted.
        grant: bool,
    },
}

/// What a tenant can want.
#[derive(Clone, Debug)]
pub enum Tenant {
    /// A quote of one host, and to accept it when it keeps to the ask.
    Ask {
        /// Which offer.
        offer: Box<Signed<Offer>>,
        /// What is wanted.
        terms: Box<AskTerms>,
        /// Sixteen random bytes.
        nonce: Nonce,
    },
    /// Quotes of several hosts at once, the one that is liked best first, and to accept the best that answers.
    AskAll(Vec<Candidate>),
    /// No longer to wait for an ask, nor for those that were made with it.
    GiveUp(Id<model::Ask>),
    /// To end a lease.
    Stop(Id<Lease>),
    /// More time.
    Renew {
        /// For which lease.
        lease: Id<Lease>,
        /// How much.
        more: Span,
    },
    /// To judge the other party; hosts can, too.
    Rate {
        /// In which lease.
        lease: Id<Lease>,
        /// 1 to 5: kept, quality, manners.
        marks: [u8; 3],
        /// A few words.
        text: String,
    },
}

/// A host to be asked among others.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which offer.
    pub offer: Signed<Offer>,
    /// What is wanted.
    pub terms: AskTerms,
    /// Sixteen random bytes.
    pub nonce: Nonce,
}

/// What a machine can tell.
#[derive(Clone, Debug)]
pub enum Machine {
    /// The image is here.
    Fetched(Id<Lease>),
    /// The guest runs.
    Started(Id<Lease>),
    /// The image is not here yet, and goes on being fetched.
    Hindered {
        /// Which lease.
        lease: Id<Lease>,
        /// What stands in the way, in words.
        detail: String,
    },
    /// It cannot be fetched or started.
    Failed {
        /// Which lease.
        lease: Id<Lease>,
        /// Whether another host could not do it either.
        workload: bool,
        /// In words.
        detail: String,
    },
    /// What a running guest has used.
    Metered {
        /// Which lease.
        lease: Id<Lease>,
        /// How much.
        meter: Meter,
    },
    /// The guest's program has ended, by itself or because it was stopped.
    Exited {
        /// Which lease.
        lease: Id<Lease>,
        /// Its exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// What it had used.
        meter: Meter,
    },
    /// There is no guest under this lease: never started, or lost with its supervisor.
    Gone {
        /// Which lease.
        lease: Id<Lease>,
        /// In words.
        detail: String,
    },
}

/// What a machine measures of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// CPU time used.
    pub cpu: Span,
    /// The most memory held, in bytes.
    pub memory_peak: u64,
    /// Time in which the guest stood still.
    pub frozen: Span,
    /// What passed between it and the outside.
    pub traffic: Traffic,
}
