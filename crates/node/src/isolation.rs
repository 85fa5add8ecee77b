//! The isolation test of this machine's sandbox: run at the owner's wish, kept beside the record, said in the offer.
//!
//! It is a fact about this machine and its runtime, not a decision: with another runtime it no longer counts.

use crate::run::Command;
use crate::{Error, NodeHandle};
use machine::guest::Runtime;
use machine::selftest::{Report, Setup, Tried, isolation};
use model::Tested;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    runtime: String,
    tested: Tested,
}

fn file(data: &Path) -> PathBuf {
    data.join("isolation.json")
}

/// The last outcome, if it was with this runtime.
pub fn last(data: &Path, runtime: &str) -> Option<Tested> {
    let kept: Kept = serde_json::from_slice(&fs::read(file(data)).ok()?).ok()?;
    (kept.runtime == runtime).then_some(kept.tested)
}

fn keep(data: &Path, kept: &Kept) -> io::Result<()> {
    let unfinished = data.join("isolation.json.new");
    fs::write(&unfinished, serde_json::to_vec(kept)?)?;
    fs::rename(unfinished, file(data))
}

impl NodeHandle {
    /// Runs a hostile guest in this machine's sandbox, and says the outcome in the offer. One at a time.
    ///
    /// # Errors
    /// When it could not be run. A sandbox that does not hold is no error: it is in the report.
    pub async fn try_isolation(&self, told: impl FnMut(&Tried) + Send) -> Result<Report, Error> {
        let config = self.config();
        let runtime = self.runtime().cloned();
        let setup = Setup {
            dir: config.data.join("isolation"),
            supervisor: config.supervisor.clone(),
            runtime: runtime.clone(),
            only: String::new(),
        };
        let report = isolation(setup, told).await?;
        let tested = Tested {
            at: self.look(|core| core.now()).await?,
            passed: report.passed() as u32,
            failed: report.failed().count() as u32,
            root: report.root,
            program: report.program.clone(),
        };
        let kept = Kept { runtime: runtime.as_ref().map(Runtime::description).unwrap_or_default(), tested };
        if let Err(error) = keep(&config.data, &kept) {
            // It is said all the same, until the node ends.
            tracing::warn!(%error, "the outcome of the isolation test is not kept");
        }
        self.command(Command::Tested(kept.tested)).await?;
        Ok(report)
    }
}
