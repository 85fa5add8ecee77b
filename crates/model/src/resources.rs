//! What a machine can lend and a guest can ask for.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount of each resource. Used alike for what is offered, promised, asked and free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a logical core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk that a guest may write.
    pub disk: u64,
}

impl Resources {
    /// Whether all of `asked` fits in this.
    pub fn holds(&self, asked: &Resources) -> bool {
        self.minus(asked).is_some()
    }

    /// The sum, or none when it cannot be counted.
    pub fn plus(&self, other: &Resources) -> Option<Resources> {
        Some(Resources {
            cpu_millis: self.cpu_millis.checked_add(other.cpu_millis)?,
            memory: self.memory.checked_add(other.memory)?,
            disk: self.disk.checked_add(other.disk)?,
        })
    }

    /// What is left, or none when `other` does not fit.
    pub fn minus(&self, other: &Resources) -> Option<Resources> {
        Some(Resources {
            cpu_millis: self.cpu_millis.checked_sub(other.cpu_millis)?,
            memory: self.memory.checked_sub(other.memory)?,
            disk: self.disk.checked_sub(other.disk)?,
        })
    }
}

/// `1.5 cores, 512 MiB memory, 1.0 GiB disk`.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = f64::from(self.cpu_millis) / 1_000.0;
        let plural = if self.cpu_millis == 1_000 { "" } else { "s" };
        write!(f, "{cores} core{plural}, {} memory, {} disk", bytes(self.memory), bytes(self.disk))
    }
}

/// A number of bytes as people read it, in binary units.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..UNITS.len() - 1).find(|power| count < 1 << (10 * (power + 1))).unwrap_or(UNITS.len() - 1);
    let scaled = count as f64 / (1u64 << (10 * unit)) as f64;
    if unit == 0 || scaled >= 10.0 {
        format!("{scaled:.0} {}", UNITS[unit])
    } else {
        format!("{scaled:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_fits_that_is_too_large_in_one_part() {
        let free = Resources { cpu_millis: 2_000, memory: 1 << 30, disk: 1 << 30 };
        assert!(free.holds(&free));
        assert!(!free.holds(&Resources { memory: (1 << 30) + 1, ..free }));
        assert!(free.plus(&Resources { disk: u64::MAX, ..free }).is_none());
    }

    #[test]
    fn resources_read_as_people_write_them() {
        let asked = Resources { cpu_millis: 1_500, memory: 512 << 20, disk: 1 << 30 };
        assert_eq!(asked.to_string(), "1.5 cores, 512 MiB memory, 1.0 GiB disk");
    }
}
