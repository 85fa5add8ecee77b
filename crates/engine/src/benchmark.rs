//! Rating units: measured figures relative to the reference machine, which counts as 1000 in each.
//!
//! The reference is a plain office computer of 2020 (four cores at about 3.5 GHz, two channels of DDR4-2666, a SATA
//! solid-state disk). Its figures are fixed here for ever: a new reference would be a new unit.

use model::Speed;

/// What a benchmark measures, in plain units per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Thousandths of an event of the CPU kernel a second, one thread.
    pub core_events: u64,
    /// The same, a thread on each logical core.
    pub cores_events: u64,
    /// Bytes moved by the triad kernel of STREAM, as STREAM counts them.
    pub memory_bytes: u64,
    /// Bytes read in sequence.
    pub disk_read_bytes: u64,
    /// Bytes written in sequence.
    pub disk_write_bytes: u64,
    /// Random reads of 4 KiB.
    pub disk_read_ops: u64,
    /// Random writes of 4 KiB.
    pub disk_write_ops: u64,
}

/// The reference machine's figures.
pub const REFERENCE: Figures = Figures {
    core_events: 400_000,
    cores_events: 1_600_000,
    memory_bytes: 25_000_000_000,
    disk_read_bytes: 500_000_000,
    disk_write_bytes: 400_000_000,
    disk_read_ops: 40_000,
    disk_write_ops: 40_000,
};

/// Rating units of measured figures.
pub fn speed(figures: &Figures) -> Speed {
    let disk = [
        units(figures.disk_read_bytes, REFERENCE.disk_read_bytes),
        units(figures.disk_write_bytes, REFERENCE.disk_write_bytes),
        units(figures.disk_read_ops, REFERENCE.disk_read_ops),
        units(figures.disk_write_ops, REFERENCE.disk_write_ops),
    ];
    Speed {
        core: units(figures.core_events, REFERENCE.core_events),
        cores: units(figures.cores_events, REFERENCE.cores_events),
        memory: units(figures.memory_bytes, REFERENCE.memory_bytes),
        disk: geometric_mean(disk),
    }
}

fn units(measured: u64, reference: u64) -> u32 {
    let units = u128::from(measured) * 1_000 / u128::from(reference);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The fourth root of the product, in whole numbers: a disk that is fast in one way only is not fast.
fn geometric_mean(values: [u32; 4]) -> u32 {
    let product = |a: u32, b: u32| (u64::from(a) * u64::from(b)).isqrt();
    let (one, other) = (product(values[0], values[1]), product(values[2], values[3]));
    u32::try_from((u128::from(one) * u128::from(other)).isqrt()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_a_thousand_in_each() {
        assert_eq!(speed(&REFERENCE), Speed { core: 1_000, cores: 1_000, memory: 1_000, disk: 1_000 });
    }

    #[test]
    fn a_disk_that_is_fast_in_one_way_only_is_not_fast() {
        let lopsided = Figures {
            disk_read_bytes: 16 * REFERENCE.disk_read_bytes,
            disk_write_ops: REFERENCE.disk_write_ops / 16,
            ..REFERENCE
        };
        assert_eq!(speed(&lopsided).disk, 995);
    }

    #[test]
    fn no_figure_is_too_large() {
        let figures = Figures { core_events: u64::MAX, disk_read_bytes: u64::MAX, ..REFERENCE };
        assert_eq!(speed(&figures).core, u32::MAX);
    }
}
