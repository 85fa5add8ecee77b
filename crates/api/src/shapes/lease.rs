//! Leases, and what is asked for them.

use super::basic::{Mode, Moment, Money, Party, Resources, Seconds, Side};
use super::bounds::{Loss, Renewing};
use super::health::Health;
use super::network::{Network, Port, Traffic};
use super::offer::Terms;
use super::owner::Reason;
use super::run::RunOptions;
use super::secret::{SecretName, SecretWish, unseen};
use super::volume::Volume;
use node::engine::lease::{Lease as Stands, blame_ahead};
use node::model::{self, EndReason, FreezeReason, Phase, Receipt, Tick};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a tenant wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RentWish {
    /// A name or digest of an image of this computer.
    pub image: String,
    /// The command and its arguments; empty for the image's own.
    #[serde(default)]
    pub command: Vec<String>,
    /// `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Thousandths of a logical core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
    /// For how long.
    pub term: Seconds,
    /// The most that an hour may cost; none: whatever it costs.
    #[serde(default)]
    pub max_price: Option<Money>,
    /// Only this way of paying.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Only this host: the first digits of its device, person or peer, its peer id, or its name.
    #[serde(default)]
    pub on: Option<String>,
    /// The least score, in thousandths.
    #[serde(default)]
    pub min_trust: u32,
    /// How its program is run.
    #[serde(default)]
    pub options: RunOptions,
    /// Disks that outlive the guest; they come on top of the disk.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Devices of the host that the guest is to have, by the names in its offer.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Files that the guest alone may read, in /run/secrets.
    #[serde(default, deserialize_with = "unseen", skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretWish>,
    /// Ports of this computer that shall lead into the guest.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// What the guest is to reach outside; nothing when nobody says.
    #[serde(default)]
    pub network: Network,
}

/// The open ports of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ports {
    /// By the time of their opening.
    pub ports: Vec<Port>,
}

/// A lease, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its id, hexadecimal.
    pub id: String,
    /// Which of the two parties this node is.
    pub side: Side,
    /// The other party.
    pub other: Party,
    /// Where the other party is, hexadecimal.
    pub peer: String,
    /// Where it stands.
    pub standing: Standing,
    /// What runs.
    pub workload: Workload,
    /// What is promised.
    pub resources: Resources,
    /// What an hour costs.
    pub hourly: Money,
    /// Gift, barter or rent.
    pub mode: Mode,
    /// What the whole term costs at the most.
    pub at_most: Money,
    /// What keeping its volumes after it costs in all; none where nothing is kept.
    pub keeping: Option<Money>,
    /// How long it runs in all, with all renewals.
    pub term: Seconds,
    /// By which rules.
    pub rules: Terms,
    /// When it was agreed.
    pub agreed: Moment,
    /// When the guest started to run.
    pub started: Option<Moment>,
    /// When its term is over.
    pub over: Option<Moment>,
    /// When it ended.
    pub ended: Option<Moment>,
    /// How far the image is, while it is fetched.
    pub fetching: Option<Fetching>,
    /// Whether the guest is well; none where that is not looked after, and while it does not run.
    pub health: Option<Health>,
    /// The host's last running total.
    pub tick: Option<Total>,
    /// The last running total that both have signed: what is owed.
    pub receipt: Option<Total>,
    /// The most that each side can lose by the other.
    pub loss: Option<Loss>,
    /// How often it was made longer.
    pub renewals: usize,
    /// A wish for more time that waits for its answer.
    pub renewing: Option<Renewing>,
    /// Whether its time is nearly over.
    pub ending: bool,
    /// The end that will count against this node, if nothing changes.
    pub blame: Option<Blame>,
    /// The host's judgement of the tenant.
    pub rated_by_host: Option<Marks>,
    /// The tenant's judgement of the host.
    pub rated_by_tenant: Option<Marks>,
    /// Ports of this computer that lead into the guest.
    pub ports: Vec<Port>,
}

/// What of a lease its state does not hold.
pub struct Beside<'a> {
    /// What the other party calls itself.
    pub name: Option<&'a str>,
    /// Bytes of the image that are there, and bytes in all.
    pub fetching: Option<(u64, u64)>,
    /// Whether the guest is well.
    pub health: Option<&'a node::model::health::Health>,
    /// Open ports.
    pub ports: Vec<Port>,
}

impl Lease {
    /// A lease as it stands.
    pub fn of(lease: &Stands, beside: Beside<'_>) -> Lease {
        let contract = &lease.contract;
        let (rate, other) = (contract.rate, lease.other());
        let marks = |side| lease.ratings.get(&side).map(|rating| Marks::from(&**rating));
        Lease {
            id: lease.id().to_string(),
            side: lease.side.into(),
            other: Party {
                person: other.person.to_string(),
                device: other.device.to_string(),
                name: beside.name.map(str::to_owned),
            },
            peer: lease.peer.to_string(),
            standing: Standing {
                since: Some(Moment(lease.moved)),
                exit_code: lease.exit_code(),
                ..Standing::of(lease.phase, &lease.detail)
            },
            workload: (&contract.workload).into(),
            resources: contract.resources.into(),
            hourly: rate.hourly.into(),
            mode: contract.mode.into(),
            // Agreed amounts were counted before; should one not fit, the hourly price is what can be said.
            at_most: contract
                .keeping
                .map_or_else(|| rate.over(lease.term), |keeping| rate.over(lease.term)?.plus(keeping))
                .unwrap_or(rate.hourly)
                .into(),
            keeping: contract.keeping.map(Into::into),
            term: Seconds(lease.term),
            rules: Terms::of(&contract.rules, rate.hourly.currency),
            agreed: Moment(lease.agreed),
            started: lease.started.map(Moment),
            over: lease.over().map(Moment),
            ended: lease.ended().map(Moment),
            fetching: beside.fetching.map(|(done, total)| Fetching { done, total }),
            health: beside.health.map(Into::into),
            tick: lease.tick.as_ref().map(|tick| Total::from(&**tick)),
            receipt: lease.receipt.as_ref().map(|receipt: &Receipt| Total::from(&**receipt)),
            loss: Loss::of(contract, lease.term),
            renewals: lease.renewals.len(),
            renewing: lease.renewing.as_ref().map(|wish| Renewing::of(wish, contract.rules.renewal)),
            blame: blame_ahead(lease)
                .map(|(at, reason)| Blame { at: Moment(at), reason: end_code(reason).to_owned() }),
            ending: lease.phase.is_live() && lease.warned.is_some() && lease.warned == lease.over(),
            rated_by_host: marks(model::Side::Host),
            rated_by_tenant: marks(model::Side::Tenant),
            ports: beside.ports,
        }
    }
}

/// An end that will count against this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blame {
    /// When it comes.
    pub at: Moment,
    /// For which reason, for programs: `owner_stopped`, `unsigned`, `credit_used_up`.
    pub reason: String,
}

/// Where a lease stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// In a word.
    pub state: LeaseState,
    /// Why it is frozen, closing or ended: for programs.
    pub reason: Option<String>,
    /// The same, in words.
    pub sentence: Option<String>,
    /// The exit code of the guest's program, also of one that was stopped; 128 and the number of the signal that killed it. In
    /// events, of one that ended by itself.
    pub exit_code: Option<i32>,
    /// Who ended it; none where it ended by itself.
    pub ended_by: Option<Side>,
    /// Against whom the end counts; none where nobody is to blame.
    pub counts_against: Option<Side>,
    /// What went wrong, in words, where it did.
    pub detail: String,
    /// For which of the owner's reasons it is frozen or throttled; none where it is not the owner's.
    pub owner: Option<Reason>,
    /// How much of what was promised the guest gets, in per cent, while it is throttled.
    pub percent: Option<u8>,
    /// Since when it stands there; none in events.
    pub since: Option<Moment>,
}

/// Where a lease stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Both have signed.
    Agreed,
    /// The host fetches the image; not billed.
    Fetching,
    /// The host starts the guest; not billed.
    Starting,
    /// The guest runs; billed.
    Running,
    /// The guest runs with less than was promised; not billed.
    Throttled,
    /// The guest stands still; not billed.
    Frozen,
    /// The guest is being stopped.
    Closing,
    /// Over.
    Ended,
}

impl Standing {
    /// A phase, with its detail.
    pub fn of(phase: Phase, detail: &str) -> Standing {
        let (state, frozen, end) = match phase {
            Phase::Agreed => (LeaseState::Agreed, None, None),
            Phase::Fetching => (LeaseState::Fetching, None, None),
            Phase::Starting => (LeaseState::Starting, None, None),
            Phase::Running => (LeaseState::Running, None, None),
            Phase::Throttled { reason, .. } => {
                (LeaseState::Throttled, Some(FreezeReason::Owner(reason)), None)
            }
            Phase::Frozen(reason) => (LeaseState::Frozen, Some(reason), None),
            Phase::Closing(reason) => (LeaseState::Closing, None, Some(reason)),
            Phase::Ended(reason) => (LeaseState::Ended, None, Some(reason)),
        };
        Standing {
            state,
            reason: frozen.map(freeze_code).or(end.map(end_code)).map(str::to_owned),
            sentence: frozen.map(|reason| reason.to_string()).or(end.map(|reason| reason.to_string())),
            exit_code: end.and_then(exit_code),
            ended_by: end.and_then(EndReason::by).map(Side::from),
            counts_against: end.and_then(EndReason::against).map(Side::from),
            detail: detail.to_owned(),
            owner: phase.owner().map(|reason| Reason::of(reason, None)),
            percent: match phase {
                Phase::Throttled { percent, .. } => Some(percent),
                Phase::Agreed
                | Phase::Fetching
                | Phase::Starting
                | Phase::Running
                | Phase::Frozen(_)
                | Phase::Closing(_)
                | Phase::Ended(_) => None,
            },
            since: None,
        }
    }
}

fn freeze_code(reason: FreezeReason) -> &'static str {
    match reason {
        FreezeReason::Owner(reason) => reason.kind().code(),
        FreezeReason::Unsigned => "unsigned",
        FreezeReason::CreditUsedUp => "credit_used_up",
    }
}

fn end_code(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Exited { .. } => "exited",
        EndReason::TermOver => "term_over",
        EndReason::TenantStopped => "tenant_stopped",
        EndReason::OwnerStopped => "owner_stopped",
        EndReason::Unsigned => "unsigned",
        EndReason::CreditUsedUp => "credit_used_up",
        EndReason::FetchFailed => "fetch_failed",
        EndReason::StartFailed => "start_failed",
        EndReason::BadWorkload => "bad_workload",
        EndReason::GuestLost => "guest_lost",
        EndReason::HostGone => "host_gone",
        EndReason::NotAgreed => "not_agreed",
    }
}

fn exit_code(reason: EndReason) -> Option<i32> {
    match reason {
        EndReason::Exited { code } => Some(code),
        EndReason::TermOver
        | EndReason::TenantStopped
        | EndReason::OwnerStopped
        | EndReason::Unsigned
        | EndReason::CreditUsedUp
        | EndReason::FetchFailed
        | EndReason::StartFailed
        | EndReason::BadWorkload
        | EndReason::GuestLost
        | EndReason::HostGone
        | EndReason::NotAgreed => None,
    }
}

/// What a guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    /// The image's digest.
    pub image: String,
    /// The image's name; empty where it has none.
    pub reference: String,
    /// The command; empty for the image's own.
    pub command: Vec<String>,
    /// Guest ports that the tenant may reach.
    pub ports: Vec<u16>,
    /// The same for UDP.
    pub udp_ports: Vec<u16>,
    /// How it is run.
    #[serde(default)]
    pub options: RunOptions,
    /// What the guest may reach outside.
    pub network: Network,
    /// Disks that outlive the guest.
    pub volumes: Vec<Volume>,
    /// Devices of the host, by the names in its offer.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Files that the guest alone may read, in /run/secrets: their names, and nothing more.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
}

impl From<&model::Workload> for Workload {
    fn from(workload: &model::Workload) -> Workload {
        Workload {
            image: workload.image.to_string(),
            reference: workload.reference.clone(),
            command: workload.command.clone(),
            // The environment often holds secrets, and nobody has to be shown their own.
            ports: workload.ports.clone(),
            udp_ports: workload.udp_ports.clone(),
            options: (&workload.options).into(),
            network: (&workload.network).into(),
            volumes: workload.volumes.iter().map(Volume::from).collect(),
            devices: workload.devices.clone(),
            secrets: workload.secrets.iter().flat_map(|secrets| &secrets.named).map(Into::into).collect(),
        }
    }
}

/// Bytes that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fetching {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A running total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Total {
    /// One, two, three.
    pub number: u32,
    /// What is owed in all.
    pub amount: Money,
    /// Time since the guest started.
    pub elapsed: Seconds,
    /// The part of it in which the guest stood still: free.
    pub frozen: Seconds,
    /// The part of it in which it ran with less than was promised: free.
    pub throttled: Seconds,
    /// The time that is paid for.
    pub billed: Seconds,
    /// CPU time that the guest used.
    pub cpu: Seconds,
    /// The most memory that it held, in bytes.
    pub memory_peak_bytes: u64,
    /// What passed between the guest and the outside, as its host says. It changes no amount.
    pub traffic: Traffic,
    /// Whether the lease has ended with it.
    pub last: bool,
    /// When the host signed.
    pub issued: Moment,
}

impl From<&Tick> for Total {
    fn from(tick: &Tick) -> Total {
        let usage = &tick.usage;
        Total {
            number: tick.number,
            amount: tick.amount.into(),
            elapsed: Seconds(usage.elapsed),
            frozen: Seconds(usage.frozen),
            throttled: Seconds(usage.throttled),
            billed: Seconds(usage.billed()),
            cpu: Seconds(usage.cpu),
            memory_peak_bytes: usage.memory_peak,
            traffic: usage.traffic.into(),
            last: tick.last,
            issued: Moment(tick.issued),
        }
    }
}

/// A party's judgement of the other: from 1, bad, to 5, good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Kept what was agreed.
    pub kept: u8,
    /// As fast as offered, or as gentle as asked.
    pub quality: u8,
    /// Signed, answered and settled in time.
    pub manners: u8,
    /// A few words.
    #[serde(default)]
    pub text: String,
}

impl From<&model::Rating> for Marks {
    fn from(rating: &model::Rating) -> Marks {
        Marks {
            kept: rating.kept,
            quality: rating.quality,
            manners: rating.manners,
            text: rating.text.clone(),
        }
    }
}

/// A page of leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leases {
    /// The newest first.
    pub leases: Vec<Lease>,
    /// To be given as `after` for the page that follows; none on the last.
    pub next: Option<String>,
}

/// More time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct More {
    /// How much is added.
    pub more: Seconds,
}
