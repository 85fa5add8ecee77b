//! What power the machine runs on, as the kernel's `power_supply` class tells it.

use super::{Fact, Source, Wants, word};
use model::ReasonKind;
use std::path::{Path, PathBuf};

/// The kernel's list of batteries and mains adapters.
pub struct PowerSupply {
    dir: PathBuf,
}

impl PowerSupply {
    /// The list in this directory.
    pub fn new(dir: PathBuf) -> PowerSupply {
        PowerSupply { dir }
    }
}

impl Source for PowerSupply {
    fn name(&self) -> &str {
        "/sys/class/power_supply"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::OnBattery, ReasonKind::LowCharge]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        let supplies = supplies(&self.dir);
        let mains = supplies.iter().filter(|supply| supply.kind != "Battery" && supply.kind != "UPS");
        let on_mains =
            mains.fold(None, |any: Option<bool>, supply| Some(any.unwrap_or(false) || supply.online));
        let batteries: Vec<&Supply> = supplies.iter().filter(|supply| supply.kind == "Battery").collect();
        if batteries.is_empty() {
            // A machine without a battery runs from the mains, whatever it tells of them.
            return Ok(vec![Fact::OnBattery(false)]);
        }
        let discharging = batteries.iter().any(|battery| battery.status == "Discharging");
        let on_battery = match on_mains {
            Some(on_mains) => !on_mains && batteries.iter().all(|battery| battery.status != "Charging"),
            None => discharging,
        };
        let mut facts = vec![Fact::OnBattery(on_battery)];
        let charges: Vec<u32> = batteries.iter().filter_map(|battery| battery.percent).collect();
        if let Some(count) = u32::try_from(charges.len()).ok().filter(|count| *count > 0) {
            let mean = charges.iter().sum::<u32>() / count;
            facts.push(Fact::Charge(u8::try_from(mean.min(100)).unwrap_or(100)));
        }
        Ok(facts)
    }
}

struct Supply {
    kind: String,
    online: bool,
    status: String,
    percent: Option<u32>,
}

/// What powers the whole machine: not the mouse, whose battery is in the list, too.
fn supplies(dir: &Path) -> Vec<Supply> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let of_machine = |path: &Path| word(&path.join("scope")).as_deref() != Some("Device");
    let paths =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| of_machine(path));
    let supply = |path: PathBuf| {
        Some(Supply {
            kind: word(&path.join("type"))?,
            online: word(&path.join("online")).is_some_and(|online| online != "0"),
            status: word(&path.join("status")).unwrap_or_default(),
            percent: word(&path.join("capacity")).and_then(|percent| percent.parse().ok()),
        })
    };
    paths.filter_map(supply).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn told(supplies: &[(&str, &[(&str, &str)])]) -> Vec<Fact> {
        let sys = tempfile::tempdir().unwrap();
        for (name, files) in supplies {
            let dir = sys.path().join(name);
            fs::create_dir(&dir).unwrap();
            for (file, text) in *files {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
            }
        }
        PowerSupply::new(sys.path().to_owned()).look(&Wants::default()).unwrap()
    }

    const AWAY: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "0")]);
    const MAINS: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "1")]);
    const MOUSE: (&str, &[(&str, &str)]) =
        ("hid", &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging"), ("capacity", "3")]);

    #[test]
    fn a_laptop_that_is_unplugged_says_so() {
        let full = ("BAT0", &[("type", "Battery"), ("status", "Discharging"), ("capacity", "80")][..]);
        let half = ("BAT1", &[("type", "Battery"), ("status", "Not charging"), ("capacity", "50")][..]);
        assert_eq!(told(&[AWAY, full, half, MOUSE]), [Fact::OnBattery(true), Fact::Charge(65)]);
        assert_eq!(told(&[full]), [Fact::OnBattery(true), Fact::Charge(80)]);
    }

    #[test]
    fn a_laptop_that_is_plugged_in_says_so() {
        let charging = ("BAT0", &[("type", "Battery"), ("status", "Charging"), ("capacity", "7")][..]);
        assert_eq!(told(&[MAINS, charging]), [Fact::OnBattery(false), Fact::Charge(7)]);
        let usb = ("ucsi", &[("type", "USB"), ("online", "1")][..]);
        assert_eq!(told(&[AWAY, usb, charging]), [Fact::OnBattery(false), Fact::Charge(7)]);
    }

    #[test]
    fn a_machine_without_a_battery_runs_from_the_mains() {
        assert_eq!(told(&[]), [Fact::OnBattery(false)]);
        assert_eq!(told(&[AWAY, MOUSE]), [Fact::OnBattery(false)]);
        let missing = PowerSupply::new("/nowhere".into()).look(&Wants::default());
        assert_eq!(missing, Ok(vec![Fact::OnBattery(false)]));
    }
}
