//! What happened under a lease: the running total, and how it ended.

use super::{require, signed_by};
use crate::Lease;
use crate::amount::Amount;
use crate::envelope::{Cosigned, Document, Invalid, Parties};
use crate::id::{DeviceId, Id};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What was used since the guest started. Cumulative, so that a lost tick is covered by the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Time since the guest started.
    pub elapsed: Span,
    /// The part of it in which the owner, or a missing signature, had frozen the guest: free.
    pub frozen: Span,
    /// The part of it in which the owner let the guest run with less than was promised: free.
    #[serde(default, skip_serializing_if = "Span::is_zero")]
    pub throttled: Span,
    /// CPU time that the guest used.
    pub cpu: Span,
    /// The most memory that it held, in bytes.
    pub memory_peak: u64,
    /// What passed between the guest and the outside.
    #[serde(default, skip_serializing_if = "Traffic::is_none")]
    pub traffic: Traffic,
}

/// Bytes that passed between a guest and the outside, other than through the tenant's ports: the host's word, a fact
/// that changes no amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// To the guest.
    pub received: u64,
    /// From the guest.
    pub sent: u64,
}

impl Traffic {
    /// The larger of each.
    pub fn max(self, other: Traffic) -> Traffic {
        Traffic { received: self.received.max(other.received), sent: self.sent.max(other.sent) }
    }

    /// Whether nothing passed.
    pub fn is_none(&self) -> bool {
        *self == Traffic::default()
    }
}

impl Usage {
    /// The time that is paid for.
    pub fn billed(&self) -> Span {
        self.elapsed.less(self.frozen).less(self.throttled)
    }
}

/// The host's running total. Signed by the host it is a tick; signed by the tenant too, a [`Receipt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Which lease.
    pub lease: Id<Lease>,
    /// Who lends, and signs first.
    pub host: DeviceId,
    /// Who uses, and signs the same words.
    pub tenant: DeviceId,
    /// One, two, three: only the highest counts; two different ones of one number prove a cheat.
    pub number: u32,
    /// What was used in all.
    pub usage: Usage,
    /// What is owed in all.
    pub amount: Amount,
    /// Whether the lease has ended with it.
    pub last: bool,
    /// When the host signed.
    pub issued: Timestamp,
}

/// A tick that both have signed.
pub type Receipt = Cosigned<Tick>;

impl Parties for Tick {
    fn first(&self) -> DeviceId {
        self.host
    }

    fn second(&self) -> DeviceId {
        self.tenant
    }
}

impl Document for Tick {
    const DOMAIN: &'static str = "sublet/tick/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        None
    }

    fn check(&self, signer: DeviceId) -> Result<(), Invalid> {
        if signer != self.host {
            signed_by(signer, self.tenant)?;
        }
        require(self.number >= 1, "number", "counts from one")?;
        require(
            self.usage.frozen + self.usage.throttled <= self.usage.elapsed,
            "frozen",
            "longer than it ran",
        )?;
        require(self.amount.micros >= 0, "amount", "not below nought")
    }
}

/// One of the two parties of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who lends.
    Host,
    /// Who uses.
    Tenant,
}

impl Side {
    /// The counterparty.
    pub fn other(self) -> Side {
        match self {
            Side::Host => Side::Tenant,
            Side::Tenant => Side::Host,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Host => "host",
            Side::Tenant => "tenant",
        })
    }
}

/// Why a lease ended, who ended it, and whether it counts against anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The guest's own program ended.
    Exited {
        /// Its exit code; 128 and the number of the signal that killed it.
        code: i32,
    },
    /// The term was over.
    TermOver,
    /// The tenant asked for it.
    TenantStopped,
    /// The owner wanted the machine back.
    OwnerStopped,
    /// Ticks stayed unsigned for longer than the lease allows.
    Unsigned,
    /// What was owed passed the credit and was not settled in time.
    CreditUsedUp,
    /// The image could not be had in time.
    FetchFailed,
    /// The guest could not be started in time: the host's fault.
    StartFailed,
    /// The image or its command cannot run: the tenant's.
    BadWorkload,
    /// The guest's supervisor died under it.
    GuestLost,
    /// The host could not be reached for longer than the lease's grace.
    HostGone,
    /// The host never signed: the deal was not made.
    NotAgreed,
}

impl EndReason {
    /// Who ended it; none where it ended by itself.
    pub fn by(self) -> Option<Side> {
        match self {
            EndReason::Exited { .. } | EndReason::TermOver => None,
            EndReason::TenantStopped | EndReason::HostGone | EndReason::NotAgreed => Some(Side::Tenant),
            EndReason::OwnerStopped
            | EndReason::Unsigned
            | EndReason::CreditUsedUp
            | EndReason::FetchFailed
            | EndReason::StartFailed
            | EndReason::BadWorkload
            | EndReason::GuestLost => Some(Side::Host),
        }
    }

    /// Against whom it counts; none where nobody is to blame.
    pub fn against(self) -> Option<Side> {
        match self {
            EndReason::Exited { .. }
            | EndReason::TermOver
            | EndReason::TenantStopped
            | EndReason::FetchFailed
            | EndReason::NotAgreed => None,
            EndReason::OwnerStopped | EndReason::StartFailed | EndReason::GuestLost | EndReason::HostGone => {
                Some(Side::Host)
            }
            EndReason::Unsigned | EndReason::CreditUsedUp | EndReason::BadWorkload => Some(Side::Tenant),
        }
    }
}

/// A sentence without its full stop.
impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::Exited { code } => write!(f, "the guest's program ended with exit code {code}"),
            EndReason::TermOver => f.write_str("its term was over"),
            EndReason::TenantStopped => f.write_str("the tenant stopped it"),
            EndReason::OwnerStopped => f.write_str("the owner wanted the machine back"),
            EndReason::Unsigned => f.write_str("the tenant signed no receipt in time"),
            EndReason::CreditUsedUp => f.write_str("the agreed credit was used up"),
            EndReason::FetchFailed => f.write_str("the image could not be had in time"),
            EndReason::StartFailed => f.write_str("the host could not start the guest"),
            EndReason::BadWorkload => f.write_str("the image or its command cannot run"),
            EndReason::GuestLost => f.write_str("the guest was lost on the host"),
            EndReason::HostGone => f.write_str("the host could not be reached any more"),
            EndReason::NotAgreed => f.write_str("the host never signed"),
        }
    }
}

/// A party's word that a lease has ended, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which lease.
    pub lease: Id<Lease>,
    /// Who says so.
    pub side: Side,
    /// Why.
    pub reason: EndReason,
    /// With which exit code the guest's program ended that did not end by itself, where that is known; 128 and the number of the signal
    /// that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// When it was signed.
    pub issued: Timestamp,
}

impl Document for End {
    const DOMAIN: &'static str = "sublet/end/1";

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        None
    }

    fn check(&self, _signer: DeviceId) -> Result<(), Invalid> {
        // Who is a party stands in the lease: the engine compares.
        Ok(())
    }
}
