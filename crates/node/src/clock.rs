//! The only clock that decides. It starts from the wall and goes on by itself, so that a clock that is set never moves a
//! lease. Beside it, moments as the system and people write them.

use model::Timestamp;
use std::fmt::Display;
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
        Clock { wall: timestamp(SystemTime::now()).0, started: Instant::now() }
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

/// A moment of the system's. Before 1970 there is none.
pub fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `2026-07-31T12:00:00.000Z`.
pub fn rfc3339(at: Timestamp) -> impl Display {
    // The last moment that the format can name is that of 9999.
    const LAST: u64 = 253_402_300_799_999;
    let since = u64::try_from(at.0).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_can_be_written() {
        assert_eq!(rfc3339(Timestamp(i64::MIN)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(1_500)).to_string(), "1970-01-01T00:00:01.500Z");
        assert_eq!(rfc3339(Timestamp(i64::MAX)).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0));
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(1_500)), Timestamp(1_500));
    }
}
