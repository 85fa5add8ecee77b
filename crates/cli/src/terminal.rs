//! The terminal of whoever types: made raw while it belongs to a program elsewhere, and put back on every way out.

use crate::fail::Failure;
use api::shapes::TerminalSize;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::Read;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Whether what is typed comes from a terminal, and what is said goes to one.
pub fn is_here() -> bool {
    isatty(stdin()) && isatty(stdout())
}

/// Its size; what is usual where it does not say.
pub fn size() -> TerminalSize {
    let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(TerminalSize { columns: 80, rows: 24 }, |size| TerminalSize {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// A terminal that passes on what is typed as it is, until this is dropped.
pub struct Raw {
    before: Termios,
    resized: Signal,
}

impl Raw {
    /// Makes it raw.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin() -> Result<Raw, Failure> {
        let resized = signal(SignalKind::window_change())?;
        let before = tcgetattr(stdin()).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Raw { before, resized })
    }

    /// Returns when its size has changed.
    pub async fn resized(&mut self) {
        self.resized.recv().await;
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If it is gone, nobody minds.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// What is typed, piece by piece; nothing more at the end. A thread of its own reads it, which nobody waits for: a read
/// of a terminal cannot be given up.
pub fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, typed) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut piece = [0; 8 * 1024];
        while let Ok(length) = input.read(&mut piece)
            && length > 0
            && let Some(bytes) = piece.get(..length)
        {
            if sender.blocking_send(bytes.to_vec()).is_err() {
                return;
            }
        }
    });
    typed
}

/// Keys that leave a program alone: Ctrl-P, then Ctrl-Q, as docker has them.
#[derive(Debug, Default)]
pub struct Detach {
    first: bool,
}

impl Detach {
    /// What of it is for the program, and whether to leave.
    pub fn keys(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (self.first, key) {
                (true, 0x11) => return (passed, true),
                (true, 0x10) => passed.push(0x10),
                (false, 0x10) => self.first = true,
                (first, key) => {
                    if first {
                        passed.push(0x10);
                    }
                    self.first = false;
                    passed.push(*key);
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_leave_and_each_alone_is_passed_on() {
        let mut detach = Detach::default();
        assert_eq!(detach.keys(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(detach.keys(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(detach.keys(b"b\x11"), (b"\x10b\x11".to_vec(), false));
        assert_eq!(detach.keys(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
    }
}
