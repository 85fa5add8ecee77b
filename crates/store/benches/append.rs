//! How long it takes until a record is on the disk, against a bare write and fsync of the same bytes in the same run.
//!
//! `cargo bench -p sublet-store --bench append [-- --json]`

use model::Timestamp;
use model::record::Record;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};
use sublet_store::Store;

#[path = "../../model/tests/examples/mod.rs"]
mod examples;

const ROUNDS: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // On the disk that is built on: /tmp may be memory, where nothing takes time.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut store = Store::open(dir.path())?;
    let mut bare = File::create(dir.path().join("bare"))?;
    let record = Record::Receipted { receipt: examples::receipt(1) };
    let bytes = model::to_bytes(&record);

    let (mut appends, mut writes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        appends.push(timed(|| store.append(Timestamp(round as i64), std::slice::from_ref(&record)))?);
        writes.push(timed(|| bare.write_all(&bytes).and_then(|()| bare.sync_data()))?);
    }
    let verified = timed(|| store.verify())?;
    let entries = timed(|| store.entries(0, ROUNDS))?;

    let [append_p50, append_p99] = percentiles(&mut appends);
    let [write_p50, write_p99] = percentiles(&mut writes);
    let figures = serde_json::json!({
        "record_bytes": bytes.len(),
        "append_us": { "p50": append_p50, "p99": append_p99 },
        "write_and_fsync_us": { "p50": write_p50, "p99": write_p99 },
        "ratio_p50": append_p50 / write_p50,
        "verify_us_per_record": micros(verified) / ROUNDS as f64,
        "read_us_per_record": micros(entries) / ROUNDS as f64,
    });
    if std::env::args().any(|argument| argument == "--json") {
        writeln!(std::io::stdout(), "{figures}")?;
    } else {
        writeln!(std::io::stdout(), "{figures:#}")?;
    }
    Ok(())
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let start = Instant::now();
    work().map(|_| start.elapsed())
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort();
    [times.len() / 2, times.len() * 99 / 100].map(|at| micros(times[at]))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
