//! Freezing, and the end.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::start::{has_begun, runtime_complaint};
use super::{Phase, Supervisor};
use crate::guest::error::StartError;
use crate::guest::record::Ending;
use crate::guest::wire::{self, Order};

/// A process in the middle of a disk access is frozen when that is over.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);

/// Who wants the guest frozen, and since when it is.
#[derive(Default)]
pub(super) struct Hold {
    pub(super) by_node: bool,
    pub(super) by_solitude: bool,
    pub(super) since: Option<Instant>,
    pub(super) before: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// It was asked to end; by then it is ended.
    By(Instant),
    Killed,
}

impl Supervisor<'_> {
    pub(super) fn set_hold(&mut self, change: impl FnOnce(&mut Hold)) -> io::Result<()> {
        if self.stop != Stop::No {
            return Err(io::Error::from_raw_os_error(libc::ESHUTDOWN));
        }
        change(&mut self.hold);
        self.apply_hold()
    }

    fn apply_hold(&mut self) -> io::Result<()> {
        match (self.hold.by_node || self.hold.by_solitude, self.hold.since) {
            (true, None) => {
                self.hold.since = Some(Instant::now());
                self.grip.set_frozen(true, FREEZE_WITHIN)
            }
            (false, Some(since)) => {
                let held = since.elapsed();
                self.hold.since = None;
                self.hold.before += held;
                self.start_by += held;
                self.grip.set_frozen(false, FREEZE_WITHIN)
            }
            (true, Some(_)) | (false, None) => Ok(()),
        }
    }

    /// Asks the guest to end, and ends it after `within`. A second call can only bring the end nearer.
    pub(super) fn begin_stop(&mut self, within: Duration) {
        let at = Instant::now() + within.min(Duration::from_secs(24 * 3600));
        match self.stop {
            Stop::Killed => return,
            Stop::By(earlier) => self.stop = Stop::By(at.min(earlier)),
            Stop::No => {
                // A frozen guest would not hear it.
                self.hold.by_node = false;
                self.hold.by_solitude = false;
                self.stop = Stop::By(at);
                if !within.is_zero() {
                    let _ = self.apply_hold();
                    let signal = self.orders.spec.run.stop_signal.unwrap_or(libc::SIGTERM);
                    let _ = wire::send(self.warden.as_fd(), &Order::Stop(signal), None);
                }
            }
        }
        if !matches!(self.phase, Phase::Running) {
            self.kill();
        }
    }

    pub(super) fn kill(&mut self) {
        self.stop = Stop::Killed;
        // Either is enough; fails if it has ended.
        let _ = pidfd_send_signal(&self.first.pidfd, Signal::KILL);
        let _ = self.grip.kill();
    }

    /// The first process has ended, and all others of the guest with it.
    pub(super) fn finish(&mut self) -> io::Result<Ending> {
        let status = waitid(WaitId::PidFd(self.first.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let code = status.map_or(-1, |status| {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            status.exit_status().or(signal).unwrap_or(-1)
        });
        self.take_rest();
        self.hear_last_words();
        // A short program can end before we learn that it began.
        if let Phase::Starting { scratch, .. } = &self.phase {
            if has_begun(scratch) {
                self.begin_running();
            } else if self.stop == Stop::No {
                let said = runtime_complaint(scratch).unwrap_or_else(|| format!("it ended with code {code}"));
                self.phase = Phase::Failed(self.without_a_word(&said));
            }
        }
        Ok(match &self.phase {
            Phase::Running => Ending::Exited(code),
            Phase::Failed(error) => Ending::NotStarted(error.clone()),
            Phase::Building | Phase::Starting { .. } if self.stop != Stop::No => {
                Ending::NotStarted(StartError::Stopped)
            }
            Phase::Building | Phase::Starting { .. } => {
                Ending::NotStarted(self.without_a_word(&format!("it ended with code {code}")))
            }
        })
    }

    pub(super) fn without_a_word(&self, said: &str) -> StartError {
        StartError::Runtime { runtime: self.orders.runtime.name(), said: said.to_owned() }
    }
}
