//! What a guest takes, and what goes on in it.

use super::{Moment, Seconds};
use node::model::stats::{Process, Processes, STEP};
use node::{Most, Sample};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a guest takes: now, and in the last ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The lease's id, hexadecimal.
    pub lease: String,
    /// What it may take at the most.
    pub limits: StatsLimits,
    /// The newest; none while it does not run.
    pub now: Option<StatsSample>,
    /// Those before it, the oldest first: one each `step`, as far back as its host remembers.
    pub history: Vec<StatsSample>,
    /// From one sample of the history to the next.
    pub step: Seconds,
}

/// What a guest may take at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsLimits {
    /// Thousandths of a logical core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that it may write over its image. Its volumes come on top.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

impl From<Most> for StatsLimits {
    fn from(most: Most) -> StatsLimits {
        StatsLimits {
            cpu_millis: most.cpu_millis,
            memory_bytes: most.memory,
            disk_bytes: most.disk,
            pids: most.pids,
        }
    }
}

/// What a guest takes at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsSample {
    /// When, by the host's clock.
    pub at: Moment,
    /// Thousandths of a logical core: the mean since the sample before.
    pub cpu_millis: u32,
    /// Bytes of memory that its processes hold; what it wrote over its image is not among them.
    pub memory_bytes: u64,
    /// Bytes that it wrote over its image and that are still there.
    pub disk_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes from outside since it began, other than through the tenant's ports.
    pub received_bytes: u64,
    /// Bytes to the outside since it began.
    pub sent_bytes: u64,
    /// Bytes from outside in a second: the mean since the sample before.
    pub received_per_second: u64,
    /// Bytes to the outside in a second.
    pub sent_per_second: u64,
    /// Whether it is held.
    pub frozen: bool,
}

impl From<Sample> for StatsSample {
    fn from(sample: Sample) -> StatsSample {
        let reading = sample.reading;
        StatsSample {
            at: Moment(reading.at),
            cpu_millis: sample.cpu_millis,
            memory_bytes: reading.memory,
            disk_bytes: reading.disk,
            pids: reading.pids,
            received_bytes: reading.traffic.received,
            sent_bytes: reading.traffic.sent,
            received_per_second: sample.receiving,
            sent_per_second: sample.sending,
            frozen: reading.frozen,
        }
    }
}

impl Stats {
    /// What a node knows of a guest.
    pub fn of(lease: String, stats: &node::Stats) -> Stats {
        let mut history: Vec<StatsSample> = stats.samples.iter().copied().map(StatsSample::from).collect();
        let now = history.pop();
        Stats { lease, limits: stats.most.into(), now, history, step: Seconds(STEP) }
    }
}

/// What goes on in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestProcesses {
    /// By their numbers; at most 256.
    pub processes: Vec<GuestProcess>,
    /// How many more there are.
    pub left_out: u32,
}

impl From<Processes> for GuestProcesses {
    fn from(seen: Processes) -> GuestProcesses {
        let processes = seen.listed.into_iter().map(GuestProcess::from).collect();
        GuestProcesses { processes, left_out: seen.left_out }
    }
}

/// One process of a guest, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestProcess {
    /// Its number.
    pub pid: u32,
    /// That of the process that began it; 0: none of the guest's.
    pub parent: u32,
    /// Its user's number.
    pub user: u32,
    /// `R` runs, `S` sleeps, `D` waits for a disk, `T` is stopped, `Z` has ended.
    pub state: String,
    /// Processor time of one core.
    pub cpu: Seconds,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Its command and arguments; at most 256 characters.
    pub command: String,
}

impl From<Process> for GuestProcess {
    fn from(process: Process) -> GuestProcess {
        GuestProcess {
            pid: process.pid,
            parent: process.parent,
            user: process.user,
            state: process.state.to_string(),
            cpu: Seconds(process.cpu),
            memory_bytes: process.memory,
            command: process.command,
        }
    }
}
