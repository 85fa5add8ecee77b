//! Why not: each subject's refusals under one roof, with a code for programs and a hint for people.

use crate::{lease, ledger, market, owner, people, settlement};
use model::Invalid;
use model::message::Denial;

/// A decision against what was wanted, with the facts in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// About offers.
    #[error(transparent)]
    Market(#[from] market::Refusal),
    /// About deals and leases.
    #[error(transparent)]
    Lease(#[from] lease::Refusal),
    /// About amounts.
    #[error(transparent)]
    Ledger(#[from] ledger::Refusal),
    /// About people.
    #[error(transparent)]
    People(#[from] people::Refusal),
    /// About payments.
    #[error(transparent)]
    Settlement(#[from] settlement::Refusal),
    /// About the owner's policy.
    #[error(transparent)]
    Owner(#[from] owner::Refusal),
    /// A document that proves nothing.
    #[error("{0}")]
    Invalid(#[from] Invalid),
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Market(refusal) => refusal.code(),
            Refusal::Lease(refusal) => refusal.code(),
            Refusal::Ledger(refusal) => refusal.code(),
            Refusal::People(refusal) => refusal.code(),
            Refusal::Settlement(refusal) => refusal.code(),
            Refusal::Owner(refusal) => refusal.code(),
            Refusal::Invalid(Invalid::Early(_) | Invalid::Expired(_)) => "clock_or_expired",
            Refusal::Invalid(_) => "invalid_document",
        }
    }

    /// What the asker can do about it; empty where there is nothing to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Market(refusal) => refusal.hint(),
            Refusal::Lease(refusal) => refusal.hint(),
            Refusal::Ledger(_) => "",
            Refusal::People(refusal) => refusal.hint(),
            Refusal::Settlement(refusal) => refusal.hint(),
            Refusal::Owner(refusal) => refusal.hint(),
            Refusal::Invalid(Invalid::Early(_) | Invalid::Expired(_)) => {
                "Compare the clocks of both computers."
            }
            Refusal::Invalid(_) => "",
        }
    }

    /// As it travels to a peer.
    pub fn denial(&self) -> Denial {
        Denial { code: self.code().to_owned(), sentence: self.to_string().chars().take(400).collect() }
    }
}
