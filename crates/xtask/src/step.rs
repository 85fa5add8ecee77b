//! One step of a job, announced and timed on standard error: standard output is for results.

use std::time::Instant;

use anyhow::{Context as _, Result};

/// Does `work` under a heading, and says how long it took.
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {title}");
    let started = Instant::now();
    let done = work().with_context(|| title.to_owned())?;
    eprintln!("    {title}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}
