//! What people read while it happens: each line with the time since the start.

use crate::desk::Out;
use std::time::Instant;

/// Tells the story; to programs, nothing.
pub struct Story<'a> {
    started: Instant,
    out: &'a Out,
}

impl<'a> Story<'a> {
    /// Starts the clock.
    pub fn new(out: &'a Out) -> Story<'a> {
        Story { started: Instant::now(), out }
    }

    /// One line.
    pub fn tell(&self, what: impl AsRef<str>) {
        if !self.out.is_json() {
            // Who reads no more does not end the demo: its exit code is asked for, too.
            let _ = self.out.line(format_args!(
                "{:6.1} s  {}",
                self.started.elapsed().as_secs_f64(),
                what.as_ref()
            ));
        }
    }
}
