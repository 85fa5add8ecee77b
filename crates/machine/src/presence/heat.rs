//! How hot the machine is, as the kernel's `hwmon` class tells it.

use super::{Fact, Source, Wants, word};
use model::ReasonKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Some sensors take milliseconds to read, and heat takes seconds to build up.
const EVERY: Duration = Duration::from_secs(3);

/// The kernel's sensors.
pub struct Hwmon {
    dir: PathBuf,
    last: Option<(Instant, Option<i16>)>,
}

impl Hwmon {
    /// The sensors in this directory.
    pub fn new(dir: PathBuf) -> Hwmon {
        Hwmon { dir, last: None }
    }
}

impl Source for Hwmon {
    fn name(&self) -> &str {
        "/sys/class/hwmon"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::Hot]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        let hottest = match self.last {
            Some((at, hottest)) if at.elapsed() < EVERY => hottest,
            Some(_) | None => hottest(&self.dir),
        };
        if self.last.is_none_or(|(at, _)| at.elapsed() >= EVERY) {
            self.last = Some((Instant::now(), hottest));
        }
        match hottest {
            Some(celsius) => Ok(vec![Fact::Celsius(celsius)]),
            None => Err("there is no sensor".to_owned()),
        }
    }
}

/// The hottest of what makes heat by computing: a disk or a battery has other bounds.
fn hottest(dir: &Path) -> Option<i16> {
    const COMPUTES: [&str; 12] = [
        "coretemp",
        "k10temp",
        "zenpower",
        "cpu_thermal",
        "acpitz",
        "amdgpu",
        "nouveau",
        "radeon",
        "xe",
        "i915",
        "thinkpad",
        "soc_thermal",
    ];
    let chips = std::fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let computes =
        |chip: &PathBuf| word(&chip.join("name")).is_some_and(|name| COMPUTES.contains(&name.as_str()));
    chips.filter(computes).flat_map(|chip| temperatures(&chip)).max()
}

fn temperatures(chip: &Path) -> Vec<i16> {
    let Ok(files) = std::fs::read_dir(chip) else { return Vec::new() };
    let inputs = files.filter_map(|file| file.ok().map(|file| file.path())).filter(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("temp") && name.ends_with("_input"))
    });
    let celsius = |path: PathBuf| {
        let thousandths: i64 = word(&path)?.parse().ok()?;
        // What no silicon survives is a sensor that is not connected.
        i16::try_from(thousandths / 1_000).ok().filter(|celsius| (-40..=150).contains(celsius))
    };
    inputs.filter_map(celsius).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn chip(sys: &Path, dir: &str, name: &str, temperatures: &[&str]) {
        let chip = sys.join(dir);
        fs::create_dir(&chip).unwrap();
        fs::write(chip.join("name"), name).unwrap();
        for (number, temperature) in temperatures.iter().enumerate() {
            fs::write(chip.join(format!("temp{}_input", number + 1)), temperature).unwrap();
        }
    }

    #[test]
    fn the_hottest_part_that_computes_counts() {
        let sys = tempfile::tempdir().unwrap();
        chip(sys.path(), "hwmon0", "nvme", &["99850"]);
        chip(sys.path(), "hwmon1", "coretemp", &["61000\n", "72500\n", "255000\n", "rubbish"]);
        chip(sys.path(), "hwmon2", "amdgpu", &["-1", "70000"]);
        let mut hwmon = Hwmon::new(sys.path().to_owned());
        assert_eq!(hwmon.look(&Wants::default()), Ok(vec![Fact::Celsius(72)]));
    }

    #[test]
    fn a_machine_without_sensors_says_so() {
        let sys = tempfile::tempdir().unwrap();
        chip(sys.path(), "hwmon0", "nvme", &["40000"]);
        let told = Hwmon::new(sys.path().to_owned()).look(&Wants::default());
        assert_eq!(told, Err("there is no sensor".to_owned()));
    }
}
