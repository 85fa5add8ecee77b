//! How a guest's program is run, beyond what it is and what it may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a guest's program is run. What is not said is as the image has it, or as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether its input stays open, for whoever attaches.
    pub stdin: bool,
    /// Whether its input and output are a terminal.
    pub terminal: bool,
    /// Whether it is begun again when it ends.
    pub restart: Restart,
    /// The signal that asks it to end, by its number; none: SIGTERM.
    pub stop_signal: Option<i32>,
    /// How long it may take to end; none: as long as whoever stops it says.
    pub stop_within: Option<Duration>,
    /// Bytes of shared memory; none: a quarter of its memory.
    pub shm: Option<u64>,
    /// Directories that are kept in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether nothing can be written over the image.
    pub read_only: bool,
}

/// A directory that is kept in memory, and counted as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where: absolute.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

impl Tmpfs {
    /// How many files one of this size may hold: one for each 4 KiB, since more would only fill the machine's memory with names.
    pub fn files(size: u64) -> u64 {
        size / 4_096 + 16
    }
}

/// Whether a program that has ended is begun again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Its end is the guest's.
    #[default]
    No,
    /// When it failed; so often at the most.
    OnFailure(Option<u32>),
    /// Always, until it is asked to end.
    Always,
}

/// The signals of Linux, from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// What libc leaves to programs of the real-time signals.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The number of a signal as images name it: `SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`.
pub fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.get(1..)?.parse::<i32>().ok() };
    let (first, last) = (*REAL_TIME.start(), *REAL_TIME.end());
    if let Some(rest) = name.strip_prefix("RTMIN").filter(|rest| rest.is_empty() || rest.starts_with('+')) {
        return first.checked_add(offset(rest)?).filter(|number| REAL_TIME.contains(number));
    }
    if let Some(rest) = name.strip_prefix("RTMAX").filter(|rest| rest.is_empty() || rest.starts_with('-')) {
        return last.checked_sub(offset(rest)?).filter(|number| REAL_TIME.contains(number));
    }
    let named = SIGNALS.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok());
    named.or_else(|| {
        name.parse().ok().filter(|number| (1..=31).contains(number) || REAL_TIME.contains(number))
    })
}

/// Who has run for so long has not failed at once: the next pause is a short one again.
const STEADY: Duration = Duration::from_secs(10);

/// The pause before the first new beginning.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: the guest is billed while it waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Restart {
    /// Whether a program that ended with this code, and was begun again so often, is to be begun again.
    pub fn again(self, code: i32, restarts: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
            Restart::Always => true,
        }
    }
}

/// How long to wait before a program is begun again: doubled each time it ends at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    quick: u32,
}

impl Pause {
    /// The pause after a run of this length.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STEADY {
            self.quick = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.quick.min(16)).min(LONGEST_PAUSE);
        self.quick += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_begun_again_as_was_agreed() {
        assert!(!Restart::No.again(1, 0));
        assert!(Restart::Always.again(0, 1_000));
        assert!(!Restart::OnFailure(None).again(0, 0));
        assert!(Restart::OnFailure(None).again(137, 1_000));
        assert!(Restart::OnFailure(Some(2)).again(1, 1) && !Restart::OnFailure(Some(2)).again(1, 2));
    }

    #[test]
    fn signals_are_known_by_the_names_that_images_give_them() {
        let known = [("SIGQUIT", 3), ("quit", 3), ("9", 9), ("SIGTERM", 15), ("WINCH", 28), ("SIGSYS", 31)];
        for (name, number) in
            known.into_iter().chain([("SIGRTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("64", 64)])
        {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        for name in [
            "",
            "SIG",
            "SIGNOTHING",
            "0",
            "32",
            "65",
            "-9",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN+-1",
            "RTMAX-99",
            "SIGRTMIN+2147483647",
        ] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }

    #[test]
    fn who_fails_at_once_waits_longer_each_time_and_who_ran_well_does_not() {
        let mut pause = Pause::default();
        let pauses: Vec<u64> = (0..12).map(|_| pause.after(Duration::ZERO).as_millis() as u64).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
        assert_eq!(pause.after(STEADY), FIRST_PAUSE);
    }
}
