//! The guest's output, from its pipes into its log.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::{Supervisor, now};
use crate::guest::log::{LARGEST_PIECE, LogWriter, Stream};

/// Bytes of output per second that are taken from a guest. Whoever prints faster waits: taking it costs time that no
/// limit of the guest accounts for.
const RATE: u64 = 8 << 20;

/// How much output may still be taken, filled up at [`RATE`].
pub(super) struct Allowance {
    bytes: u64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { bytes: RATE, at: now }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.bytes == 0
    }

    /// When there will be more.
    pub(super) fn renewed_at(&self) -> Instant {
        self.at + Duration::from_millis(50)
    }

    pub(super) fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_millis() as u64;
        // Rounded down, shorter times would add up to nothing.
        if since >= 20 {
            self.bytes = self.bytes.saturating_add(since * RATE / 1000).min(RATE);
            self.at = now;
        }
    }
}

/// What a pipe had.
#[derive(PartialEq, Eq)]
enum Pumped {
    Bytes(u64),
    Nothing,
    End,
}

impl Supervisor<'_> {
    /// Takes a piece from each pipe that has one.
    pub(super) fn take_output(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        let (log, allowance) = (&mut self.log, &mut self.allowance);
        self.output.retain_mut(|(stream, pipe)| {
            if ready.next() != Some(&true) {
                return true;
            }
            let pumped = pump(*stream, pipe, log);
            if let Pumped::Bytes(count) = pumped {
                allowance.bytes = allowance.bytes.saturating_sub(count);
            }
            pumped != Pumped::End
        });
        self.tell_of_output();
    }

    /// Takes all that is left when nobody writes any more; a pipe holds 64 KiB.
    pub(super) fn take_rest(&mut self) {
        for (stream, pipe) in &mut self.output {
            while let Pumped::Bytes(_) = pump(*stream, pipe, &mut self.log) {}
        }
        self.tell_of_output();
    }
}

fn pump(stream: Stream, pipe: &mut File, log: &mut LogWriter) -> Pumped {
    let mut buffer = [0; LARGEST_PIECE];
    match pipe.read(&mut buffer) {
        Ok(0) => Pumped::End,
        Ok(length) => {
            // If the owner's disk is full, the guest goes on and its words are lost.
            let _ = log.append(stream, now(), &buffer[..length]);
            Pumped::Bytes(length as u64)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Pumped::Nothing
        }
        Err(_) => Pumped::End,
    }
}
