//! Files copied into a guest that runs, or out of it, as the guest itself sees them: its image, its volumes, what it
//! keeps in memory.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{ExecRefusal, GuestError};
use super::exec::{self, Exec};
use super::spec::GuestId;
use super::watch::Shared;
use super::wire::Request;
use crate::archive::ArchiveError;

/// What to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopySpec {
    /// Out of the guest: a file, or a directory with all in it; what is in it for a path that ends in `/.`.
    Out {
        /// In the guest, absolute.
        path: PathBuf,
        /// Whether to copy what a link leads to, instead of the link.
        follow: bool,
        /// Bytes of all files at the most.
        limit: u64,
    },
    /// Into the guest.
    In {
        /// In the guest, absolute.
        path: PathBuf,
        /// Whether the archive holds one thing, which goes into the directory at `path`, or takes its place and name; else
        /// `path` is a directory, and all in the archive goes into it.
        place: bool,
        /// Whether files keep their owners; else they are root's.
        owners: bool,
    },
}

impl CopySpec {
    fn check(&self) -> Result<(), ExecRefusal> {
        let (CopySpec::Out { path, .. } | CopySpec::In { path, .. }) = self;
        let bytes = path.as_os_str().as_encoded_bytes();
        if !path.is_absolute() || bytes.contains(&0) || bytes.len() > 4_095 {
            return Err(ExecRefusal::Unreadable("a path in the guest must be absolute".to_owned()));
        }
        Ok(())
    }
}

/// Begins a transfer: the archive is its input, or its output. It has ended well with code 0; else its standard error says
/// why, for [`why`].
pub(super) async fn copy(shared: &Arc<Shared>, id: GuestId, spec: &CopySpec) -> Result<Exec, GuestError> {
    spec.check()?;
    exec::begin(shared, id, Request::Copy, spec).await
}

/// Why a transfer ended with this code, by what it said.
pub fn why(code: i32, said: &[u8]) -> ArchiveError {
    serde_json::from_slice(said).unwrap_or_else(|_| ArchiveError::Io {
        doing: "copy".to_owned(),
        path: String::new(),
        // 137 is what ends a process whose guest has no memory left.
        said: format!("the transfer was ended in the guest (code {code})"),
    })
}
