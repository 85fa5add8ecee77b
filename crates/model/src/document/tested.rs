//! What a host says of the hostile guest that it last ran in its own sandbox. It stands in the offer, and so is signed
//! by the host: one that lies does so over its name.

use super::require;
use crate::envelope::Invalid;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The outcome of the isolation test.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tested {
    /// When.
    pub at: Timestamp,
    /// Probes that the sandbox stood up to.
    pub passed: u32,
    /// Probes that got through.
    pub failed: u32,
    /// Whether the node was root: then each guest has ids of its own.
    pub root: bool,
    /// BLAKE3 of the hostile guest, in hex: which probes these were.
    pub program: String,
}

impl Tested {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let is_hash = self.program.len() == 64 && self.program.bytes().all(|byte| byte.is_ascii_hexdigit());
        require(is_hash, "tested", "the program is 64 hexadecimal digits")?;
        require(self.passed <= 100_000 && self.failed <= 100_000, "tested", "at most 100000 probes")
    }
}
