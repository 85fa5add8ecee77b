//! Ctrl-C, and a kind kill.

use crate::fail::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks a program to stop.
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Listens from now on: neither signal ends the program by itself any more, and none is lost.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> Result<Interrupt, Failure> {
        Ok(Interrupt {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns when somebody asks to stop.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
