//! The desktop app as people have it: its real window, its icon in a real panel, its texts in a real notification daemon.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, in the helpers of tests too")]

mod news;
mod session;
mod terminal;
mod tray;
mod window;
#[path = "../real/wish.rs"]
mod wish;
