//! How much more a busy core takes than an idle one: read off the processor's own counter of energy (RAPL), or off the
//! battery while it powers the machine.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Thousandths of a watt that a busy core takes more than an idle one.
    pub milliwatts: u32,
    /// What was read.
    pub source: &'static str,
}

/// Why it cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDraw {
    /// Neither counter is there, or may be read.
    #[error("this machine tells nothing of the power it takes: {0}")]
    Untold(String),
    /// Busy cores took no more than idle ones: a counter that stands still, or a machine that is busy anyway.
    #[error("busy cores took no more power than idle ones: measure when the machine is at rest")]
    NoDifference,
}

/// How long each of the two states is measured. A battery's gauge needs seconds to follow.
const RAPL_FOR: Duration = Duration::from_secs(2);
const BATTERY_FOR: Duration = Duration::from_secs(12);

/// Measures this machine, in seconds: at rest, and with all cores busy.
///
/// # Errors
/// When it tells nothing of the power that it takes.
pub fn measure(sys: &Path) -> Result<Draw, NoDraw> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (gauge, long) = Gauge::find(sys)?;
    let rest = gauge.watts(long)?;
    let busy = with_busy_cores(cores, || gauge.watts(long))?;
    let more = (busy - rest) * 1_000.0 / cores as f64;
    if more < 1.0 {
        return Err(NoDraw::NoDifference);
    }
    Ok(Draw { milliwatts: more.round().min(1_000_000.0) as u32, source: gauge.name() })
}

/// Something that tells of power.
enum Gauge {
    /// Files that count microjoules, and where each begins anew.
    Rapl(Vec<(PathBuf, f64)>),
    /// A file of microwatts.
    Battery(PathBuf),
}

impl Gauge {
    fn find(sys: &Path) -> Result<(Gauge, Duration), NoDraw> {
        let zones = packages(&sys.join("class/powercap"));
        let readable: Vec<_> = zones.into_iter().filter(|(path, _)| number(path).is_some()).collect();
        if !readable.is_empty() {
            return Ok((Gauge::Rapl(readable), RAPL_FOR));
        }
        match discharging(&sys.join("class/power_supply")) {
            Some(battery) => Ok((Gauge::Battery(battery), BATTERY_FOR)),
            None => Err(NoDraw::Untold(
                "the processor's counter (/sys/class/powercap) is missing or for root alone, and no battery discharges"
                    .to_owned(),
            )),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Gauge::Rapl(_) => "RAPL",
            Gauge::Battery(_) => "the battery",
        }
    }

    /// The mean over a while.
    fn watts(&self, long: Duration) -> Result<f64, NoDraw> {
        let gone = || NoDraw::Untold("its counter has gone".to_owned());
        match self {
            Gauge::Rapl(zones) => {
                let read = || zones.iter().map(|(path, _)| number(path)).collect::<Option<Vec<f64>>>();
                let (begun, before) = (Instant::now(), read().ok_or_else(gone)?);
                thread::sleep(long);
                let (took, after) = (begun.elapsed(), read().ok_or_else(gone)?);
                let used: f64 = zones
                    .iter()
                    .zip(before.iter().zip(&after))
                    .map(
                        |((_, range), (before, after))| {
                            if after < before { after + range - before } else { after - before }
                        },
                    )
                    .sum();
                Ok(used / 1e6 / took.as_secs_f64())
            }
            Gauge::Battery(path) => {
                // The first half is for the gauge to follow.
                thread::sleep(long / 2);
                let reads = (0..6).map(|_| {
                    thread::sleep(long / 12);
                    number(path)
                });
                let reads = reads.collect::<Option<Vec<f64>>>().ok_or_else(gone)?;
                Ok(reads.iter().sum::<f64>() / reads.len() as f64 / 1e6)
            }
        }
    }
}

/// The counters of whole processors: their parts would be counted twice.
fn packages(dir: &Path) -> Vec<(PathBuf, f64)> {
    let zones =
        fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_package = |zone: &PathBuf| {
        let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
        name.trim().starts_with("package-")
    };
    let counter = |zone: PathBuf| Some((zone.join("energy_uj"), number(&zone.join("max_energy_range_uj"))?));
    zones.filter(is_package).filter_map(counter).collect()
}

fn discharging(dir: &Path) -> Option<PathBuf> {
    let supplies = fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let word = |path: PathBuf| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let batteries = supplies.filter(|supply| {
        word(supply.join("type")) == "Battery" && word(supply.join("status")) == "Discharging"
    });
    batteries
        .map(|battery| battery.join("power_now"))
        .find(|power| number(power).is_some_and(|power| power > 0.0))
}

fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Does something while every core computes.
fn with_busy_cores<T>(cores: usize, work: impl FnOnce() -> T) -> T {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut value = 1u64;
                while !enough.load(Ordering::Relaxed) {
                    for _ in 0..10_000 {
                        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                    }
                }
            });
        }
        let done = work();
        enough.store(true, Ordering::Relaxed);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_machine_that_tells_nothing_says_so() {
        let sys = tempfile::tempdir().unwrap();
        file(sys.path().join("class/powercap/intel-rapl:0:0/name"), "core\n");
        file(sys.path().join("class/power_supply/BAT0/type"), "Battery\n");
        file(sys.path().join("class/power_supply/BAT0/status"), "Charging\n");
        assert!(matches!(measure(sys.path()), Err(NoDraw::Untold(_))));
    }

    #[test]
    fn the_processor_s_counter_is_read_past_its_end() {
        let sys = tempfile::tempdir().unwrap();
        let zone = sys.path().join("class/powercap/intel-rapl:0");
        file(zone.join("name"), "package-0\n");
        file(zone.join("max_energy_range_uj"), "262143328850\n");
        let counter = zone.join("energy_uj");
        file(counter.clone(), "262143328800\n");
        let (gauge, _) = Gauge::find(sys.path()).unwrap();
        // It turns over, and comes to two joules.
        let turn = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            fs::write(counter, "1999950\n").unwrap();
        });
        let begun = Instant::now();
        let watts = gauge.watts(Duration::from_millis(200)).unwrap();
        turn.join().unwrap();
        let joules = watts * 0.2;
        assert!((1.0..=2.05).contains(&joules), "{joules} J within {:?}", begun.elapsed());
        assert_eq!(measure(sys.path()).unwrap_err(), NoDraw::NoDifference, "it stands still");
    }
}
