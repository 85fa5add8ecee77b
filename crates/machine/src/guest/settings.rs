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
    /// The signal that asks it to end; none: SIGTERM.
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
    fn who_fails_at_once_waits_longer_each_time_and_who_ran_well_does_not() {
        let mut pause = Pause::default();
        let pauses: Vec<u64> = (0..12).map(|_| pause.after(Duration::ZERO).as_millis() as u64).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
        assert_eq!(pause.after(STEADY), FIRST_PAUSE);
    }
}
