//! What passes between a guest and the outside: counted, and held to a rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Traffic;
use tokio::time::{Instant, sleep_until};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the guest to the outside.
    Out,
    /// From the outside to the guest.
    In,
}

/// The meter of one guest.
pub struct Meter {
    sent: Lane,
    received: Lane,
}

struct Lane {
    counted: AtomicU64,
    /// Bytes in a second; nought: no limit.
    rate: u64,
    /// When all that was let through so far will have been paid for by time.
    paid: Mutex<Instant>,
}

/// So much may pass at once after a pause, in time at the rate: enough that pages come at once, too little to fill a
/// line for long.
const BURST: Duration = Duration::from_millis(250);

impl Meter {
    /// A meter that goes on from `before`, and lets `rate` bytes a second pass each way; nought: all of them.
    pub fn new(before: Traffic, rate: u64) -> Meter {
        Meter { sent: Lane::new(before.sent, rate), received: Lane::new(before.received, rate) }
    }

    /// What has passed.
    pub fn read(&self) -> Traffic {
        Traffic {
            sent: self.sent.counted.load(Ordering::Relaxed),
            received: self.received.counted.load(Ordering::Relaxed),
        }
    }

    /// Counts bytes that have passed, and waits until more may.
    pub async fn pass(&self, way: Way, bytes: usize) {
        let lane = self.lane(way);
        lane.counted.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(until) = lane.take(bytes, Instant::now()) {
            sleep_until(until).await;
        }
    }

    /// Counts bytes if they may pass at once; else they are to be dropped.
    pub fn pass_now(&self, way: Way, bytes: usize) -> bool {
        let lane = self.lane(way);
        let passes = lane.take_now(bytes, Instant::now());
        if passes {
            lane.counted.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        passes
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Out => &self.sent,
            Way::In => &self.received,
        }
    }
}

impl Lane {
    fn new(counted: u64, rate: u64) -> Lane {
        Lane { counted: AtomicU64::new(counted), rate, paid: Mutex::new(Instant::now()) }
    }

    /// Takes what has passed; returns until when nothing more may, if that is not now.
    fn take(&self, bytes: usize, now: Instant) -> Option<Instant> {
        if self.rate == 0 {
            return None;
        }
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now - BURST) + self.time_of(bytes);
        (*paid > now).then_some(*paid)
    }

    fn take_now(&self, bytes: usize, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if *paid > now {
            return false;
        }
        *paid = (*paid).max(now - BURST) + self.time_of(bytes);
        true
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }
}

/// How often something may happen in a second, with one burst of as many.
pub struct Pace {
    between: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// So often in a second.
    pub fn new(in_a_second: u32) -> Pace {
        Pace { between: Duration::from_secs(1) / in_a_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Whether it may happen now.
    pub fn allows(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = *next <= now;
        if allowed {
            *next = (*next).max(now - Duration::from_secs(1)) + self.between;
        }
        allowed
    }

    /// Waits until it may.
    pub async fn wait(&self) {
        while !self.allows() {
            tokio::time::sleep(self.between.max(Duration::from_millis(1))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_each_way_and_on_from_before() {
        let meter = Meter::new(Traffic { received: 10, sent: 1 }, 0);
        meter.pass(Way::In, 5).await;
        assert!(meter.pass_now(Way::Out, 2));
        assert_eq!(meter.read(), Traffic { received: 15, sent: 3 });
    }

    #[tokio::test]
    async fn no_more_passes_in_a_second_than_the_rate_and_one_burst() {
        let lane = Lane::new(0, 1_000_000);
        let begun = Instant::now();
        let (mut now, mut passed) = (begun, 0);
        while now < begun + Duration::from_secs(1) {
            passed += 10_000;
            now = lane.take(10_000, now).unwrap_or(now);
        }
        assert!((1_000_000..=1_260_000).contains(&passed), "{passed}");
        // A pause saves up one burst, however long it is.
        let later = begun + Duration::from_secs(3_600);
        let at_once = (0..100).filter(|_| lane.take_now(10_000, later)).count();
        assert!((25..=26).contains(&at_once), "{at_once}");
    }
}
