//! What came of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One attempt, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name, such as `call.bpf`.
    pub probe: String,
    /// Whether the sandbox held.
    pub held: bool,
    /// What the guest, or the machine, saw.
    pub found: String,
}

impl Tried {
    pub(super) fn new(probe: &str, held: bool, found: impl Into<String>) -> Tried {
        Tried { probe: probe.into(), held, found: found.into() }
    }
}

/// The outcome of an isolation test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Each probe.
    pub probes: Vec<Tried>,
    /// The OCI runtime and its version.
    pub runtime: String,
    /// Whether the node was root: guests then have ids of their own each.
    pub root: bool,
    /// BLAKE3 of the hostile guest, in hex: which probes were tried.
    pub program: String,
    /// How long it took.
    pub milliseconds: u64,
}

impl Report {
    pub(super) fn new(probes: Vec<Tried>, runtime: String, program: &[u8], took: Duration) -> Report {
        Report {
            probes,
            runtime,
            root: rustix::process::geteuid().is_root(),
            program: blake3::hash(program).to_hex().to_string(),
            milliseconds: took.as_millis() as u64,
        }
    }

    /// How many probes the sandbox stood up to.
    pub fn passed(&self) -> usize {
        self.probes.iter().filter(|one| one.held).count()
    }

    /// Those that got through.
    pub fn failed(&self) -> impl Iterator<Item = &Tried> {
        self.probes.iter().filter(|one| !one.held)
    }
}
