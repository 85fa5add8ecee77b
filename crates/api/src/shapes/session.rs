//! Programs in guests, as somebody speaks to them over a WebSocket.
//!
//! What a client sends: first, to begin a program, an [`ExecWish`] as text; then its input as binary messages, and
//! [`SessionOrder`]s as text. What it gets: [`SessionNews`] as text, and output as binary messages, whose first byte is 1
//! for standard output (or what a terminal shows) and 2 for standard error. The socket is closed after the last.

use crate::problem::Document;
use node::model::session;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A program to be begun in a guest: the first message on its WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecWish {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, besides or instead of the guest's.
    #[serde(default)]
    pub env: Vec<String>,
    /// The directory to start in; none: that of the guest's own program.
    #[serde(default)]
    pub cwd: Option<String>,
    /// A user of the image, and perhaps a group; none: that of the guest's own program.
    #[serde(default)]
    pub user: Option<String>,
    /// The size of its terminal, if it is to have one.
    #[serde(default)]
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What a client of a program's WebSocket asks for, besides giving input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionOrder {
    /// The terminal has another size now.
    Resize(TerminalSize),
    /// A signal for the program, by its number on Linux.
    Signal(i32),
    /// There is no more input.
    InputEnds,
}

/// What a program's WebSocket tells, besides its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionNews {
    /// It runs; what is sent from now on reaches it.
    Began,
    /// It has ended with this code; 128 and the number of the signal that killed it.
    Ended(i32),
    /// It did not begin, or nothing more can be known of it.
    Problem(Document),
}

impl From<ExecWish> for session::ExecWish {
    fn from(wish: ExecWish) -> session::ExecWish {
        let ExecWish { command, env, cwd, user, terminal } = wish;
        session::ExecWish { command, env, cwd, user, terminal: terminal.map(Into::into) }
    }
}

impl From<TerminalSize> for session::Size {
    fn from(size: TerminalSize) -> session::Size {
        session::Size { columns: size.columns, rows: size.rows }
    }
}
