//! Why a deal or a step of a lease is refused.

use model::document::Lack;
use model::{
    Amount, Arithmetic, Feature, Id, Lease, NetworkPolicy, Offer, OwnerReason, Phase, Rate, Resources, Side,
    Span,
};

/// A decision against what was wanted, with the facts in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The offer is not, or no longer, ours.
    #[error("offer {} is not, or no longer, made here", .0.short())]
    UnknownOffer(Id<Offer>),
    /// The owner lends to others.
    #[error("the owner of this machine lends to people whom they know, or not to you")]
    NotForYou,
    /// The ask is for another host.
    #[error("this is meant for another host")]
    NotForUs,
    /// The one who sends it is not the one who signed it.
    #[error("the connection is not the signer's")]
    NotTheSender,
    /// A machine cannot rent from itself.
    #[error("this is an offer of this very machine")]
    OwnOffer,
    /// The machine is its owner's now.
    #[error("nothing new is lent now: {0}")]
    OwnerFirst(OwnerReason),
    /// Not enough is free.
    #[error("{asked} was asked, and {free} is free")]
    NoCapacity {
        /// What was asked.
        asked: Resources,
        /// What is free.
        free: Resources,
    },
    /// This person has many quotes already, or all persons together have.
    #[error("{open} quotes stand already, and each holds capacity")]
    TooManyQuotes {
        /// How many stand.
        open: usize,
    },
    /// This person has held capacity for nothing, and is not given much more of it for now.
    #[error(
        "quotes that were not used held capacity for {idle}; for now all quotes of one person may hold {most}, and {asked} was asked"
    )]
    HeldForNothing {
        /// For how long.
        idle: Span,
        /// What the person's quotes would hold.
        asked: Resources,
        /// What they may hold.
        most: Resources,
    },
    /// What this person has signed for and not paid is more than the credit.
    #[error("{owed} is owed in leases that run, and the credit is {credit}")]
    CreditUsedUp {
        /// In all open leases together.
        owed: Amount,
        /// What may be owed.
        credit: Amount,
    },
    /// More than the tenant would pay.
    #[error("an hour costs {rate}, and at most {cap} was to be paid")]
    PriceAboveCap {
        /// What it costs.
        rate: Rate,
        /// What was to be paid.
        cap: Rate,
    },
    /// Longer than the host lends.
    #[error("{asked} was asked, and {longest} is the longest")]
    TermTooLong {
        /// What was asked.
        asked: Span,
        /// The longest.
        longest: Span,
    },
    /// The guest would reach more than the host lets guests reach.
    #[error("{lack} is not among what guests may reach here: {offered}")]
    OutOfReach {
        /// What is missing.
        lack: Lack,
        /// What guests may reach.
        offered: NetworkPolicy,
    },
    /// The host does not lend such a device.
    #[error("no device {device} is lent here")]
    NoDevice {
        /// Its name.
        device: String,
    },
    /// One guest at a time.
    #[error("another guest has the device {device}")]
    DeviceInUse {
        /// Its name.
        device: String,
    },
    /// This host has no volumes.
    #[error("guests have no volumes here")]
    NoVolumes,
    /// This host has no secrets for its guests.
    #[error("guests have no secrets here")]
    NoSecrets,
    /// What runs guests on this host cannot give them that.
    #[error("{}", match .feature {
        Feature::Network => "guests have no ports here, and reach nothing outside",
        Feature::Devices => "guests have no devices here",
        Feature::Processes => "nothing is seen here of what goes on in guests",
        Feature::Writing => "guests cannot write over their images here",
        Feature::Volumes => "guests have no volumes here",
        Feature::Secrets => "guests have no secrets here",
        Feature::Copying => "no files are copied into guests here that run, nor out of them",
    })]
    Without {
        /// What.
        feature: Feature,
    },
    /// One guest at a time.
    #[error("the volume {volume} is in use by another lease of yours here")]
    VolumeInUse {
        /// Its name.
        volume: String,
    },
    /// The quote is not known: never given, expired, or used.
    #[error("the quote has expired or was never given")]
    UnknownQuote,
    /// The answer does not keep to what was asked.
    #[error("the host's answer differs from the ask in its {0}")]
    Differs(&'static str),
    /// No such lease between the two.
    #[error("there is no lease {} between us", .0.short())]
    UnknownLease(Id<Lease>),
    /// The lease stands where this cannot be done.
    #[error("the lease is {}, so this cannot be done", phase.word())]
    WrongPhase {
        /// Where it stands.
        phase: Phase,
    },
    /// Only the other side can do this.
    #[error("only the {0} can do this")]
    WrongSide(Side),
    /// The total claims more than was used.
    #[error("the total claims {claimed}, and {measured} was measured")]
    Overclaimed {
        /// Claimed time.
        claimed: Span,
        /// Measured time, with the allowance.
        measured: Span,
    },
    /// The total does not follow from time and price.
    #[error("the total is {claimed}, and price times time is {due}")]
    WrongAmount {
        /// Claimed amount.
        claimed: Amount,
        /// What is due.
        due: Amount,
    },
    /// An older total than is signed already.
    #[error("total {number} comes after total {signed} was signed")]
    OldTick {
        /// Its number.
        number: u32,
        /// The number signed.
        signed: u32,
    },
    /// Two different totals with one number.
    #[error("another total with number {0} was shown before: this is kept as a proof")]
    Equivocation(u32),
    /// The host's terms allow no renewal.
    #[error("the host's terms allow no renewal")]
    NoRenewal,
    /// The owner has yet to answer.
    #[error("the owner of the machine has not answered yet")]
    NotYetAnswered,
    /// The owner has said no.
    #[error("the owner of the machine grants no more time")]
    OwnerDenied,
    /// No renewal waits for the owner.
    #[error("nobody waits for more time in this lease")]
    NothingToAnswer,
    /// Longer in all than the host's terms allow.
    #[error("{asked} in all was asked, and {longest} in all is the longest")]
    RenewalTooLong {
        /// In all, with the renewal.
        asked: Span,
        /// The longest in all.
        longest: Span,
    },
    /// A renewal waits for its answer.
    #[error("a renewal was asked for already and waits for its answer")]
    RenewalPending,
    /// Nothing was signed by both, so there is nothing to judge by.
    #[error("no receipt was signed by both, so nothing proves that there was a lease")]
    NoReceipt,
    /// A lease is judged once by each side.
    #[error("this lease was rated already")]
    RatedAlready,
    /// Prices too large.
    #[error("{0}")]
    Arithmetic(#[from] Arithmetic),
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownOffer(_) => "unknown_offer",
            Refusal::NotForYou => "not_for_you",
            Refusal::NotForUs => "not_for_us",
            Refusal::NotTheSender => "not_the_sender",
            Refusal::OwnOffer => "own_offer",
            Refusal::OwnerFirst(_) => "owner_first",
            Refusal::NoCapacity { .. } => "no_capacity",
            Refusal::TooManyQuotes { .. } => "too_many_quotes",
            Refusal::HeldForNothing { .. } => "held_for_nothing",
            Refusal::CreditUsedUp { .. } => "credit_used_up",
            Refusal::PriceAboveCap { .. } => "price_above_cap",
            Refusal::TermTooLong { .. } => "term_too_long",
            Refusal::OutOfReach { .. } => "out_of_reach",
            Refusal::NoDevice { .. } => "no_device",
            Refusal::DeviceInUse { .. } => "device_in_use",
            Refusal::NoVolumes => "no_volumes",
            Refusal::NoSecrets => "no_secrets",
            Refusal::Without { .. } => "not_in_this_sandbox",
            Refusal::VolumeInUse { .. } => "volume_in_use",
            Refusal::UnknownQuote => "unknown_quote",
            Refusal::Differs(_) => "answer_differs",
            Refusal::UnknownLease(_) => "unknown_lease",
            Refusal::WrongPhase { .. } => "wrong_phase",
            Refusal::WrongSide(_) => "wrong_side",
            Refusal::Overclaimed { .. } => "overclaimed",
            Refusal::WrongAmount { .. } => "wrong_amount",
            Refusal::OldTick { .. } => "old_tick",
            Refusal::Equivocation(_) => "equivocation",
            Refusal::NoRenewal => "no_renewal",
            Refusal::NotYetAnswered => super::deal::NOT_YET,
            Refusal::OwnerDenied => "owner_denied",
            Refusal::NothingToAnswer => "nothing_to_answer",
            Refusal::RenewalTooLong { .. } => "renewal_too_long",
            Refusal::RenewalPending => "renewal_pending",
            Refusal::NoReceipt => "no_receipt",
            Refusal::RatedAlready => "rated_already",
            Refusal::Arithmetic(_) => "cannot_be_counted",
        }
    }

    /// What the asker can do about it; empty where there is nothing to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::UnknownOffer(_) => "Search again: `sublet market`.",
            Refusal::NoCapacity { .. } => "Ask for less, wait, or take another offer: `sublet market`.",
            Refusal::OwnerFirst(_) => "Wait, or take another offer: `sublet market`.",
            Refusal::TooManyQuotes { .. } => "Ask again in half a minute.",
            Refusal::HeldForNothing { .. } => "Ask for less, or again in a few minutes.",
            Refusal::CreditUsedUp { .. } => {
                "End a lease with this host, or settle what is owed: `sublet ledger`."
            }
            Refusal::PriceAboveCap { .. } => "Raise --max-price, or take another offer: `sublet market`.",
            Refusal::TermTooLong { .. } => "Ask for a shorter --time, and renew later.",
            Refusal::NoDevice { .. } => "`sublet market --device NAME` shows who lends it.",
            Refusal::DeviceInUse { .. } => "Wait, or take another offer: `sublet market --device NAME`.",
            Refusal::NoVolumes | Refusal::NoSecrets => {
                "Take an offer of a machine that has them: `sublet market`."
            }
            Refusal::Without { feature: Feature::Writing } => {
                "Ask with --read-only, and name what is to be written to with --tmpfs; or take another offer."
            }
            Refusal::Without { .. } => "Do without it, or take another offer: `sublet market`.",
            Refusal::VolumeInUse { .. } => "Stop that lease first: `sublet ps` shows it.",
            Refusal::OutOfReach { .. } => "Ask for less with --net, or take another offer: `sublet market`.",
            Refusal::UnknownQuote => "Ask again.",
            Refusal::UnknownLease(_) => "`sublet ps --all` lists the leases.",
            Refusal::NothingToAnswer => "`sublet renewals` lists who waits.",
            Refusal::NoRenewal | Refusal::OwnerDenied | Refusal::RenewalTooLong { .. } => {
                "Start another lease before this one ends."
            }
            Refusal::OwnOffer => "Run it here without Sublet.",
            Refusal::NotForYou => "Ask the owner for an invite: `sublet join LINK`.",
            Refusal::RenewalPending | Refusal::NotYetAnswered => "Wait for the answer: `sublet ps` shows it.",
            Refusal::NotForUs
            | Refusal::NotTheSender
            | Refusal::Differs(_)
            | Refusal::WrongPhase { .. }
            | Refusal::WrongSide(_)
            | Refusal::Overclaimed { .. }
            | Refusal::WrongAmount { .. }
            | Refusal::OldTick { .. }
            | Refusal::Equivocation(_)
            | Refusal::NoReceipt
            | Refusal::RatedAlready
            | Refusal::Arithmetic(_) => "",
        }
    }
}
