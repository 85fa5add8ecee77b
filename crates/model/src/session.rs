//! What travels on a stream to a program in a guest: one that a tenant begins there, or the guest's own.
//!
//! Each frame is its length as a big-endian u32, then its canonical bytes.

use crate::message::Denial;
use serde::{Deserialize, Serialize};

/// The largest frame, in bytes: arguments and environment take 128 KiB at the most.
pub const MAX_FRAME: usize = 192 * 1024;

/// The most bytes of input or output in one frame.
pub const MAX_PIECE: usize = 32 * 1024;

/// A program that a tenant begins in its guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecWish {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, besides or instead of the guest's.
    pub env: Vec<String>,
    /// The directory to start in; none: that of the guest's own program.
    pub cwd: Option<String>,
    /// A user of the image, and perhaps a group; none: that of the guest's own program.
    pub user: Option<String>,
    /// The size of its terminal, if it is to have one.
    pub terminal: Option<Size>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// Files that a tenant copies into its guest, or out of it: as a tar archive, which is input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyWish {
    /// Out of the guest.
    Out {
        /// A file or a directory in the guest, absolute; `/.` at its end means what is in it.
        path: String,
        /// Whether to copy what a link leads to, instead of the link.
        follow: bool,
        /// Bytes of all files at the most.
        limit: u64,
    },
    /// Into the guest.
    In {
        /// In the guest, absolute.
        path: String,
        /// Whether the archive holds one thing, which goes into the directory at `path`, or takes its place and name; else
        /// `path` is a directory, and all in the archive goes into it.
        place: bool,
        /// Whether files keep their owners; else they are root's.
        owners: bool,
    },
}

/// One thing said on such a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Tenant to host, first: begin this.
    Begin(ExecWish),
    /// Tenant to host, first: copy these files. It has ended well with [`Frame::Ended`] and nought, and else with
    /// [`Frame::Refused`].
    Copy(CopyWish),
    /// Tenant to host: input.
    Input(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Tenant to host: there is no more input.
    InputEnds,
    /// Tenant to host: the terminal has another size now.
    Resize(Size),
    /// Tenant to host: a signal for the program, by its number on Linux.
    Signal(i32),
    /// Host to tenant: it runs.
    Began,
    /// Host to tenant: it will not run, or cannot be spoken to.
    Refused(Denial),
    /// Host to tenant: standard output, or what a terminal shows.
    Out(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Host to tenant: standard error.
    Err(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Host to tenant: it has ended with this code; 128 and the number of the signal that killed it.
    Ended(i32),
    /// Either: still here. Whoever writes to nobody learns of it.
    Here,
}
