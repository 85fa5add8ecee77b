//! What this computer can do, measured: processor, memory, disk, in twenty seconds at most.
//!
//! Raw figures only, in whole SI units; what they are worth is decided elsewhere. They count only when the program was built
//! with optimisation. Each kernel of work is fixed for ever, as figures of different machines and years are compared:
//! a change of any of them is a new [`KERNEL`] version.
//!
//! | figure | what is done |
//! | --- | --- |
//! | `cpu_one`, `cpu_all` | events of a fixed mix: trial division, hashing, sorting, matrix product (`cpu`) |
//! | `memory` | the triad of STREAM over arrays that no cache holds, all cores, best pass (`memory`) |
//! | `disk_write`, `disk_read` | blocks of 1 MiB one after the other, past the page cache (`disk`) |
//! | `disk_write_iops`, `disk_read_iops` | blocks of 4 KiB at random places, four at a time |

mod cpu;
mod disk;
mod memory;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use cpu::count_primes;

/// The version of the work that is measured by.
pub const KERNEL: u32 = 1;

/// The longest that measuring should take: an owner waits for it.
pub const USUAL_BUDGET: Duration = Duration::from_secs(20);

/// Raw figures of one computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// By which work: only figures of one version can be compared.
    pub kernel: u32,
    /// Threads in the figures for all cores: as many as this process may use.
    pub threads: u32,
    /// Thousandths of an event per second, on one core.
    pub cpu_one: u64,
    /// Thousandths of an event per second, on all cores together.
    pub cpu_all: u64,
    /// Bytes per second between memory and all cores, counted as STREAM counts (24 for each element of the triad).
    pub memory: u64,
    /// Bytes per second.
    pub disk_write: u64,
    /// Bytes per second.
    pub disk_read: u64,
    /// Writes of 4 KiB per second.
    pub disk_write_iops: u64,
    /// Reads of 4 KiB per second.
    pub disk_read_iops: u64,
    /// Whether the page cache was left out. Where a file system cannot do that, the disk's figures are too good.
    pub disk_direct: bool,
}

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// One core.
    CpuOne,
    /// All cores.
    CpuAll,
    /// Bandwidth of memory.
    Memory,
    /// Writing in sequence.
    DiskWrite,
    /// Reading in sequence.
    DiskRead,
    /// Reading here and there.
    DiskRandomRead,
    /// Writing here and there.
    DiskRandomWrite,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Too little memory to get past the caches.
    #[error("measuring the memory needs {needed} bytes, and {free} are free")]
    NoMemory {
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// Too little disk to measure it.
    #[error("measuring the disk needs {needed} bytes, and {free} are free")]
    NoRoom {
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The same work gave another result than on every other machine.
    #[error(
        "this computer computes wrongly: {found:#018x} instead of {expected:#018x}. Its memory or processor is faulty"
    )]
    Miscomputed {
        /// What the work gives.
        expected: u64,
        /// What it gave here.
        found: u64,
    },
    /// A budget in which nothing can be measured.
    #[error("measuring takes at least {least:?}")]
    TooShort {
        /// The least.
        least: Duration,
    },
    /// The computer's answer to what we tried.
    #[error("cannot {doing} in {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Below this the stages become too short to mean anything.
const LEAST_BUDGET: Duration = Duration::from_millis(500);

/// The stages in their order, and which part of the budget is used up when each ends. What is left at the end is for
/// what cannot be cut short: the last sync of the disk.
const PLAN: [(Stage, f32); 7] = [
    (Stage::CpuOne, 0.20),
    (Stage::CpuAll, 0.40),
    (Stage::Memory, 0.53),
    (Stage::DiskWrite, 0.66),
    (Stage::DiskRead, 0.77),
    (Stage::DiskRandomRead, 0.86),
    (Stage::DiskRandomWrite, 0.94),
];

/// Measures this computer, the disk of `dir` among it, within `budget`. Uses all cores; leaves no file, whatever happens.
/// `progress` hears the fraction done of each stage, some fifty times a second, on the calling thread.
///
/// # Errors
/// `Cancelled` less than half a second after `cancel` was set; the others as they say.
pub fn measure(
    dir: &Path,
    budget: Duration,
    progress: &mut dyn FnMut(Stage, f32),
    cancel: &AtomicBool,
) -> Result<Measurement, MeasureError> {
    if budget < LEAST_BUDGET {
        return Err(MeasureError::TooShort { least: LEAST_BUDGET });
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut run = Run { started: Instant::now(), budget, progress, cancel };
    // Whether the disk can be measured is known before the owner has waited for the rest.
    let file = disk::Scratch::create(dir)?;

    let cpu_one = run.stage(Stage::CpuOne, |until| cpu::rate(1, until))?;
    let cpu_all = run.stage(Stage::CpuAll, |until| cpu::rate(threads, until))?;
    let memory = run.stage(Stage::Memory, |until| memory::bandwidth(threads, until))?;
    let disk_write = run.stage(Stage::DiskWrite, |until| file.write(until))?;
    let disk_read = run.stage(Stage::DiskRead, |until| file.read(until))?;
    let disk_read_iops = run.stage(Stage::DiskRandomRead, |until| file.read_randomly(until))?;
    let disk_write_iops = run.stage(Stage::DiskRandomWrite, |until| file.write_randomly(until))?;
    Ok(Measurement {
        kernel: KERNEL,
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        cpu_one,
        cpu_all,
        memory,
        disk_write,
        disk_read,
        disk_write_iops,
        disk_read_iops,
        disk_direct: file.is_direct(),
    })
}

struct Run<'a> {
    started: Instant,
    budget: Duration,
    progress: &'a mut dyn FnMut(Stage, f32),
    cancel: &'a AtomicBool,
}

impl Run<'_> {
    /// Does the work on a thread of its own, and tells from this one how far it has come.
    fn stage<T: Send>(
        &mut self,
        stage: Stage,
        work: impl FnOnce(&Until<'_>) -> Result<T, MeasureError> + Send,
    ) -> Result<T, MeasureError> {
        let share = PLAN.iter().find(|(planned, _)| *planned == stage).map_or(1.0, |(_, share)| *share);
        let begun = Instant::now();
        // A stage before may have taken longer than it should; this one still gets a moment.
        let end = (self.started + self.budget.mul_f32(share)).max(begun + self.budget / 50);
        let until = Until { end, cancel: self.cancel };
        let result = thread::scope(|scope| {
            let worker = scope.spawn(|| work(&until));
            while !worker.is_finished() {
                let fraction = begun.elapsed().as_secs_f32() / (end - begun).as_secs_f32();
                (self.progress)(stage, fraction.min(1.0));
                thread::sleep(Duration::from_millis(20));
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if until.is_cancelled() {
            return Err(MeasureError::Cancelled);
        }
        (self.progress)(stage, 1.0);
        result
    }
}

/// How long to go on.
struct Until<'a> {
    end: Instant,
    cancel: &'a AtomicBool,
}

impl Until<'_> {
    fn is_over(&self) -> bool {
        self.is_cancelled() || Instant::now() >= self.end
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// How many in a second.
fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(1e-9)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fs;

    fn is_empty(directory: &Path) -> bool {
        fs::read_dir(directory).expect("listed").next().is_none()
    }

    #[test]
    fn this_computer_can_be_measured_within_the_budget() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let budget = Duration::from_secs(3);
        let (mut stages, mut left_a_file) = (HashSet::new(), false);
        let begun = Instant::now();
        let mut progress = |stage, fraction| {
            stages.insert(stage);
            left_a_file |= !is_empty(directory.path());
            assert!((0.0..=1.0).contains(&fraction));
        };
        let measured =
            measure(directory.path(), budget, &mut progress, &AtomicBool::new(false)).expect("measured");
        // Unoptimised, and with other tests on the same cores, it may take longer; it must not run away.
        assert!(begun.elapsed() < 2 * budget, "took {:?}", begun.elapsed());
        assert_eq!(stages.len(), PLAN.len());
        assert!(!left_a_file, "the file has no name, so that not even a crash leaves it");
        let Measurement {
            cpu_one,
            cpu_all,
            memory,
            disk_write,
            disk_read,
            disk_write_iops,
            disk_read_iops,
            ..
        } = measured;
        assert!(cpu_one > 0 && cpu_all >= cpu_one / 2);
        // Slower than a floppy disk or faster than any memory would be an error of ours.
        for bytes in [memory, disk_write, disk_read] {
            assert!((100_000..100_000_000_000_000).contains(&bytes), "{measured:?}");
        }
        for operations in [disk_write_iops, disk_read_iops] {
            assert!((1..1_000_000_000).contains(&operations), "{measured:?}");
        }
    }

    #[test]
    fn no_stage_is_begun_after_the_one_that_is_cancelled() {
        for (stage, _) in PLAN {
            let directory = tempfile::tempdir().expect("a directory for the test");
            let cancel = AtomicBool::new(false);
            let mut last = None;
            let mut progress = |at, _| {
                last = Some(at);
                cancel.store(cancel.load(Ordering::Relaxed) || at == stage, Ordering::Relaxed);
            };
            let result = measure(directory.path(), Duration::from_secs(1), &mut progress, &cancel);
            assert!(matches!(result, Err(MeasureError::Cancelled)), "{stage:?}");
            assert_eq!(last, Some(stage));
            assert!(is_empty(directory.path()));
        }
    }

    #[test]
    fn what_cannot_be_measured_is_named() {
        let nowhere = Path::new("/no/such/directory");
        let go = |dir: &Path, budget| measure(dir, budget, &mut |_, _| {}, &AtomicBool::new(false));
        assert!(matches!(go(nowhere, Duration::from_secs(1)), Err(MeasureError::Io { .. })));
        assert!(matches!(go(nowhere, Duration::from_millis(1)), Err(MeasureError::TooShort { .. })));
    }
}
