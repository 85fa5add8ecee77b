//! What a guest takes at a moment, and what goes on in it: the answers of a host to its tenant.
//!
//! Each frame is its length as a big-endian u32, then its canonical bytes.

use crate::document::Traffic;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// The largest frame, in bytes.
pub const MAX_FRAME: usize = 256 * 1024;

/// The most readings in one frame.
pub const MOST_READINGS: usize = 256;

/// The most processes in one frame.
pub const MOST_PROCESSES: usize = 256;

/// From one reading that is kept to the next.
pub const STEP: Span = Span::seconds(5);

/// What a guest takes, as its host read it at a moment. On a stream, the first frame is those that are kept and the
/// newest, the oldest first; each frame after it is one more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// Processor time of one core, since the guest began.
    pub cpu: Span,
    /// Bytes of memory that its processes hold.
    pub memory: u64,
    /// Bytes that it wrote over its image.
    pub disk: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes that passed between it and the outside, since it began.
    pub traffic: Traffic,
    /// Whether it is held.
    pub frozen: bool,
}

/// What goes on in a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// At most [`MOST_PROCESSES`], by their numbers.
    pub listed: Vec<Process>,
    /// How many more there are.
    pub left_out: u32,
}

/// One process of a guest, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// That of the process that began it; nought: none of the guest's.
    pub parent: u32,
    /// Its user's number.
    pub user: u32,
    /// `R`, `S`, `D`, `Z`, `T`, as ps(1) has it.
    pub state: char,
    /// Processor time of one core.
    pub cpu: Span,
    /// Bytes of memory.
    pub memory: u64,
    /// Its command and arguments; at most 256 characters.
    pub command: String,
}
