//! How much of the processor the owner's own programs use: all that is used, less what guests use.

use super::{Fact, Source, Wants};
use crate::guest::{Hierarchy, guests_cpu};
use model::ReasonKind;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Over how long use is averaged: a start of a program is not work yet.
const OVER: Duration = Duration::from_secs(4);

/// The kernel's count of processor time.
pub struct ProcStat {
    file: PathBuf,
    guests: Option<Hierarchy>,
    found: bool,
    before: VecDeque<(Instant, Count)>,
}

/// Processor time since the machine was started, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    /// Of all programs, of those of low priority too.
    used: u64,
    /// Used and unused.
    total: u64,
    /// Of guests.
    guests: u64,
}

impl ProcStat {
    /// The count in this file.
    pub fn new(file: PathBuf) -> ProcStat {
        ProcStat { file, guests: None, found: false, before: VecDeque::new() }
    }
}

impl Source for ProcStat {
    fn name(&self) -> &str {
        "/proc/stat less guests"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::Busy]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        if !self.found {
            self.found = true;
            // Without groups there are no guests to count.
            self.guests = Hierarchy::find().ok();
        }
        let text = std::fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
        let (used, total) = read(&text).ok_or("it has no line of all processors")?;
        let guests = self.guests.as_ref().map_or(0, guests_cpu);
        let now = (Instant::now(), Count { used, total, guests });
        while self.before.len() > 1 && self.before.get(1).is_some_and(|(at, _)| now.0 - *at >= OVER) {
            self.before.pop_front();
        }
        let before = self.before.front().copied();
        self.before.push_back(now);
        match before {
            Some((_, before)) => Ok(vec![Fact::Busy(owner_s(before, now.1))]),
            // The first look has nothing to compare with.
            None => Ok(vec![Fact::Busy(0)]),
        }
    }
}

fn owner_s(before: Count, now: Count) -> u8 {
    let total = now.total.saturating_sub(before.total);
    let used = now.used.saturating_sub(before.used);
    // Guests that were removed in between make their count fall; then all is the owner's for a moment.
    let guests = now.guests.saturating_sub(before.guests);
    let percent = (used.saturating_sub(guests) * 100).checked_div(total).unwrap_or(0);
    u8::try_from(percent.min(100)).unwrap_or(100)
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal, in hundredths of a second.
fn read(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let total: u64 = numbers.iter().sum();
    let unused = numbers.get(3)? + numbers.get(4).unwrap_or(&0) + numbers.get(7).unwrap_or(&0);
    Some((total.saturating_sub(unused) * 10_000, total * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_use_is_not_the_owner_s() {
        let (used, total) = read("cpu  100 50 25 800 20 5 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!((used, total), (1_800_000, 10_000_000));
        let before = Count { used, total, guests: 0 };
        let now = Count { used: used + 6_000_000, total: total + 10_000_000, guests: 4_000_000 };
        assert_eq!(owner_s(before, now), 20);
        let gone = Count { guests: 0, ..now };
        assert_eq!(owner_s(now, gone), 0, "nothing has passed");
        assert_eq!(read("rubbish"), None);
    }

    #[test]
    fn a_busy_loop_is_seen() {
        let mut source = ProcStat::new("/proc/stat".into());
        source.look(&Wants::default()).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(600) {
            std::hint::spin_loop();
        }
        let told = source.look(&Wants::default()).unwrap();
        let [Fact::Busy(percent)] = told[..] else { panic!("it tells one thing") };
        let cores = std::thread::available_parallelism().unwrap().get();
        assert!(usize::from(percent) * cores >= 30, "{percent} % of {cores} cores, one of which spins");
    }
}
