//! The memory: the triad of STREAM (McCalpin), `a[i] = b[i] + s * c[i]`, by all cores at once.
//!
//! Counted as STREAM counts: 24 bytes an element, two read and one written, though most processors also read what they are
//! about to overwrite. The arrays are four times the largest cache, as STREAM asks. The best pass counts: what is
//! wanted is what the memory can do, not what others left of it.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::{MeasureError, Until};

/// Bytes of an array where no cache is known: four times the largest of an ordinary desktop computer.
const USUAL_ARRAY: u64 = 128 << 20;
/// The largest array: filling three larger ones would take the time for measuring.
const LARGEST_ARRAY: u64 = 512 << 20;
/// The smallest array that says anything about memory on any machine in use.
const SMALLEST_ARRAY: u64 = 16 << 20;
/// Elements between two looks at the clock: half a millisecond's work.
const BLOCK: usize = 256 << 10;

/// Bytes per second.
pub(super) fn bandwidth(threads: usize, until: &Until<'_>) -> Result<u64, MeasureError> {
    let elements = array_bytes(until)? as usize / size_of::<f64>();
    let (mut a, mut b, mut c) = (vec![0.0_f64; elements], vec![0.0_f64; elements], vec![0.0_f64; elements]);
    let share = elements.div_ceil(threads);
    // Not `threads`: rounding up may leave the last one nothing, and all wait for all.
    let passes = Passes::new(elements.div_ceil(share));
    thread::scope(|scope| {
        let parts = a.chunks_mut(share).zip(b.chunks_mut(share)).zip(c.chunks_mut(share));
        for (n, ((a, b), c)) in parts.enumerate() {
            let passes = &passes;
            scope.spawn(move || work(passes, n == 0, a, b, c, until));
        }
    });
    let nanoseconds = passes.best.into_inner();
    if nanoseconds == u64::MAX {
        return Err(MeasureError::Cancelled); // not one pass was whole
    }
    let bytes = 3 * size_of::<f64>() as u64 * elements as u64;
    Ok((bytes as f64 * 1e9 / nanoseconds as f64) as u64)
}

/// What the threads agree by. Times are nanoseconds since `epoch`.
struct Passes {
    barrier: Barrier,
    epoch: Instant,
    over: AtomicBool,
    /// When the first thread began this pass. The one that leads may itself have been woken last.
    begun: AtomicU64,
    /// When the last thread ended it.
    ended: AtomicU64,
    /// The shortest pass.
    best: AtomicU64,
}

impl Passes {
    fn new(workers: usize) -> Passes {
        Passes {
            barrier: Barrier::new(workers),
            epoch: Instant::now(),
            over: AtomicBool::new(false),
            begun: AtomicU64::new(u64::MAX),
            ended: AtomicU64::new(0),
            best: AtomicU64::new(u64::MAX),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What the last pass took; makes ready for the next one.
    fn take_duration(&self) -> u64 {
        let begun = self.begun.swap(u64::MAX, Ordering::Relaxed);
        self.ended.swap(0, Ordering::Relaxed).saturating_sub(begun)
    }
}

fn work(passes: &Passes, leads: bool, a: &mut [f64], b: &mut [f64], c: &mut [f64], until: &Until<'_>) {
    // Each thread writes its own part first: the system gives it the memory nearest to its core.
    for array in [&mut *a, b, c] {
        for block in array.chunks_mut(BLOCK) {
            if until.is_cancelled() {
                break;
            }
            block.fill(1.0);
        }
    }
    // At least two passes: the first one finds the caches and tables cold, and does not count.
    for pass in 0.. {
        passes.barrier.wait();
        if passes.over.load(Ordering::Relaxed) {
            return;
        }
        passes.begun.fetch_min(passes.now(), Ordering::Relaxed);
        let whole = triad(a, b, c, until);
        passes.ended.fetch_max(passes.now(), Ordering::Relaxed);
        passes.barrier.wait();
        if !leads {
            continue;
        }
        // The others wait at the barrier above until this is done.
        let took = passes.take_duration();
        if pass > 0 && whole {
            passes.best.fetch_min(took, Ordering::Relaxed);
        }
        passes.over.store(until.is_cancelled() || (pass > 0 && until.is_over()), Ordering::Relaxed);
    }
}

/// One pass; false when it was cancelled.
#[inline(never)]
fn triad(a: &mut [f64], b: &[f64], c: &[f64], until: &Until<'_>) -> bool {
    let scale = std::hint::black_box(3.0);
    for ((a, b), c) in a.chunks_mut(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)) {
        if until.is_cancelled() {
            return false;
        }
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            *a = b + scale * c;
        }
    }
    std::hint::black_box(a);
    true
}

/// How large each of the three arrays shall be: larger than the caches, but no larger than the time allows to pass over
/// some ten times, and no more than what is free.
fn array_bytes(until: &Until<'_>) -> Result<u64, MeasureError> {
    let wanted = largest_cache().map_or(USUAL_ARRAY, |cache| 4 * cache).clamp(SMALLEST_ARRAY, LARGEST_ARRAY);
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let free = System::new_with_specifics(kind).map_or(u64::MAX, |system| system.available_memory());
    // A quarter of what is free: the owner is at work.
    let allowed = free / 4 / 3;
    if allowed < SMALLEST_ARRAY {
        return Err(MeasureError::NoMemory { needed: 3 * 4 * SMALLEST_ARRAY, free });
    }
    let begun = Instant::now();
    let elements = SMALLEST_ARRAY as usize / size_of::<f64>();
    triad(&mut vec![0.0; elements], &vec![1.0; elements], &vec![1.0; elements], until);
    let took = begun.elapsed().as_secs_f64();
    let left = until.end.saturating_duration_since(Instant::now()).as_secs_f64();
    let affordable = (SMALLEST_ARRAY as f64 * left / (10.0 * took)) as u64;
    Ok(wanted.min(allowed).min(affordable).max(SMALLEST_ARRAY))
}

/// Bytes of the largest cache, as Linux tells.
fn largest_cache() -> Option<u64> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    caches
        .flatten()
        .filter_map(|cache| parse_size(&fs::read_to_string(cache.path().join("size")).ok()?))
        .max()
}

/// `32768K`, `8M`.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches_are_read() {
        assert_eq!(
            ["32768K", "8M\n", "512", "x", ""].map(parse_size),
            [Some(32 << 20), Some(8 << 20), Some(512), None, None]
        );
    }

    #[test]
    fn arrays_fit_the_time_that_there_is() {
        let cancel = AtomicBool::new(false);
        let in_time = |seconds| {
            let until =
                Until { end: Instant::now() + std::time::Duration::from_secs(seconds), cancel: &cancel };
            array_bytes(&until).expect("enough memory")
        };
        assert_eq!(in_time(0), SMALLEST_ARRAY);
        assert!((SMALLEST_ARRAY..=LARGEST_ARRAY).contains(&in_time(60)));
    }

    #[test]
    fn the_triad_is_computed() {
        let (mut a, b, c) = (vec![0.0; BLOCK + 1], vec![1.0; BLOCK + 1], vec![2.0; BLOCK + 1]);
        let cancel = AtomicBool::new(false);
        let until = Until { end: Instant::now(), cancel: &cancel };
        assert!(triad(&mut a, &b, &c, &until));
        assert!(a.iter().all(|value| *value == 7.0));
        cancel.store(true, Ordering::Relaxed);
        assert!(!triad(&mut a, &b, &c, &until));
    }
}
