//! The only clock. It starts from the wall and goes on by itself, so that a clock that is set never moves a lease.

use model::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time as of the start, plus the time since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: i64,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    pub fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { wall: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX), started: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let since = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.wall.saturating_add(since))
    }

    /// How long from now until `at`.
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now()).into()
    }
}
