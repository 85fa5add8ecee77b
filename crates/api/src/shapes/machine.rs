//! This computer: what it has, what it can do, what works.

use super::basic::{Moment, Seconds};
use super::offer::Speed;
use node::machine::benchmark::{Measurement as Raw, Stage};
use node::machine::{doctor, inventory};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A computer's parts. What cannot be told is nought or empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    /// Name and version of the operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Version of the kernel.
    pub kernel: String,
    /// What the processor calls itself.
    pub cpu_model: String,
    /// Cores that do the work.
    pub cores_physical: u32,
    /// Cores that the system shows.
    pub cores_logical: u32,
    /// Cores that this process may use.
    pub cores_usable: u32,
    /// Memory that this process can see, in bytes.
    pub memory_bytes: u64,
    /// Of this, what programs can get without swapping.
    pub memory_free_bytes: u64,
    /// Size of the file system that holds the data directory, in bytes.
    pub disk_bytes: u64,
    /// Of this, what may still be written.
    pub disk_free_bytes: u64,
    /// Processors for graphics and computing, by name.
    pub gpus: Vec<String>,
    /// Whether it can run from a battery.
    pub battery: bool,
}

impl From<inventory::Inventory> for Inventory {
    fn from(found: inventory::Inventory) -> Inventory {
        Inventory {
            os: found.os,
            arch: found.arch,
            kernel: found.kernel,
            cpu_model: found.cpu_model,
            cores_physical: found.cores_physical,
            cores_logical: found.cores_logical,
            cores_usable: found.cores_usable,
            memory_bytes: found.memory_total,
            memory_free_bytes: found.memory_free,
            disk_bytes: found.disk_total,
            disk_free_bytes: found.disk_free,
            gpus: found.gpus.into_iter().map(|gpu| gpu.name).collect(),
            battery: found.battery,
        }
    }
}

/// How far measuring has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BenchmarkProgress {
    /// What is being measured: `cpu_one`, `cpu_all`, `memory`, `disk_write`, `disk_read`, `disk_random_read`,
    /// `disk_random_write`.
    pub stage: String,
    /// The part of this stage that is done, from 0 to 1.
    pub fraction: f32,
}

impl BenchmarkProgress {
    /// A stage, and the part of it that is done.
    pub fn of(stage: Stage, fraction: f32) -> BenchmarkProgress {
        let stage = match stage {
            Stage::CpuOne => "cpu_one",
            Stage::CpuAll => "cpu_all",
            Stage::Memory => "memory",
            Stage::DiskWrite => "disk_write",
            Stage::DiskRead => "disk_read",
            Stage::DiskRandomRead => "disk_random_read",
            Stage::DiskRandomWrite => "disk_random_write",
        };
        BenchmarkProgress { stage: stage.to_owned(), fraction }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// In rating units: what offers say.
    pub speed: Speed,
    /// In plain units.
    pub figures: Figures,
    /// How long it took.
    pub took: Seconds,
}

/// Measurements of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Benchmarks {
    /// The newest first; at most 100.
    pub measurements: Vec<Measurement>,
}

/// How fast this computer was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Measurement {
    /// When.
    pub at: Moment,
    /// In rating units.
    pub speed: Speed,
}

/// Raw figures of a computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// The version of the work: only figures of one version can be compared.
    pub kernel: u32,
    /// Threads in the figures for all cores.
    pub threads: u32,
    /// Thousandths of an event per second, on one core.
    pub cpu_one: u64,
    /// Thousandths of an event per second, on all cores together.
    pub cpu_all: u64,
    /// Bytes per second between memory and all cores, as STREAM counts them.
    pub memory: u64,
    /// Bytes per second.
    pub disk_write: u64,
    /// Bytes per second.
    pub disk_read: u64,
    /// Writes of 4 KiB per second.
    pub disk_write_iops: u64,
    /// Reads of 4 KiB per second.
    pub disk_read_iops: u64,
    /// Whether the page cache was left out. Where it could not be, the disk's figures are too good.
    pub disk_direct: bool,
}

impl From<&Raw> for Figures {
    fn from(measured: &Raw) -> Figures {
        Figures {
            kernel: measured.kernel,
            threads: measured.threads,
            cpu_one: measured.cpu_one,
            cpu_all: measured.cpu_all,
            memory: measured.memory,
            disk_write: measured.disk_write,
            disk_read: measured.disk_read,
            disk_write_iops: measured.disk_write_iops,
            disk_read_iops: measured.disk_read_iops,
            disk_direct: measured.disk_direct,
        }
    }
}

/// What works on this machine, what does not, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// Whether nothing that guests need is missing.
    pub well: bool,
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
}

impl From<Vec<doctor::Finding>> for Doctor {
    fn from(findings: Vec<doctor::Finding>) -> Doctor {
        Doctor {
            well: doctor::can_host(&findings),
            findings: findings.into_iter().map(Finding::from).collect(),
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What.
    pub name: String,
    /// How it is.
    pub state: FindingState,
    /// What was found, in words.
    pub detail: String,
    /// A command that mends it, or a sentence where none does.
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It works.
    Works,
    /// It works in part.
    Limited,
    /// It does not work, and guests cannot run without it.
    Missing,
}

impl From<doctor::Finding> for Finding {
    fn from(finding: doctor::Finding) -> Finding {
        let state = match finding.state {
            doctor::Health::Works => FindingState::Works,
            doctor::Health::Limited => FindingState::Limited,
            doctor::Health::Missing => FindingState::Missing,
        };
        Finding { name: finding.name.to_string(), state, detail: finding.detail, remedy: finding.remedy }
    }
}
