//! Shapes of the isolation test.

use super::{Moment, Seconds};
use node::machine::selftest::{Report, Tried};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An attempt of the hostile guest, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probe {
    /// Its name, such as `call.bpf`.
    pub probe: String,
    /// Whether the sandbox held.
    pub held: bool,
    /// What was seen.
    pub found: String,
}

impl From<&Tried> for Probe {
    fn from(tried: &Tried) -> Probe {
        Probe { probe: tried.probe.clone(), held: tried.held, found: tried.found.clone() }
    }
}

/// What came of the isolation test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Isolation {
    /// Probes that the sandbox stood up to.
    pub passed: usize,
    /// Probes that got through.
    pub failed: usize,
    /// What runs guests, with its version.
    pub runtime: String,
    /// Whether the node is root: then each guest has user ids of its own.
    pub root: bool,
    /// BLAKE3 of the hostile guest: which probes these were.
    pub program: String,
    /// How long it took.
    pub took: Seconds,
    /// Each of them.
    pub probes: Vec<Probe>,
}

impl From<Report> for Isolation {
    fn from(report: Report) -> Isolation {
        Isolation {
            passed: report.passed(),
            failed: report.failed().count(),
            took: Seconds(std::time::Duration::from_millis(report.milliseconds).into()),
            probes: report.probes.iter().map(Probe::from).collect(),
            runtime: report.runtime,
            root: report.root,
            program: report.program,
        }
    }
}

/// What a host says of its isolation test. It stands in the signed offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// When.
    pub at: Moment,
    /// Probes that the sandbox stood up to.
    pub passed: u32,
    /// Probes that got through.
    pub failed: u32,
    /// Whether the node was root.
    pub root: bool,
    /// BLAKE3 of the hostile guest: which probes these were.
    pub program: String,
}

impl From<&node::model::Tested> for Tested {
    fn from(tested: &node::model::Tested) -> Tested {
        Tested {
            at: Moment(tested.at),
            passed: tested.passed,
            failed: tested.failed,
            root: tested.root,
            program: tested.program.clone(),
        }
    }
}
