//! What can go wrong when a node remembers, in words that its owner can act on.

use crate::Holder;
use model::Invalid;
use rusqlite::{ErrorCode, ffi};
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be written down or read again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data directory.
    #[error("{} is in use by another Sublet{}", dir.display(), holder.as_ref().map(|h| format!(" (process {})", h.pid)).unwrap_or_default())]
    InUse {
        /// Which directory.
        dir: PathBuf,
        /// Who has it; none when it has only just begun to, or is about to end.
        holder: Option<Holder>,
    },
    /// A later Sublet has written here.
    #[error(
        "the data directory has version {found}, and this program knows versions up to {known}: update Sublet"
    )]
    Newer {
        /// The version of the data.
        found: u32,
        /// The highest that this program knows.
        known: u32,
    },
    /// No room on the disk. Nothing was written; what was there before is whole.
    #[error("the disk with the data directory is full: free some space")]
    Full,
    /// The record is not what was written.
    #[error("record {seq} is not as it was written: {how}; put a backup of the data directory back")]
    Broken {
        /// Which record.
        seq: u64,
        /// What is wrong with it.
        how: Break,
    },
    /// The file is no database any more.
    #[error("the database in the data directory is damaged ({0}): put a backup back")]
    Damaged(#[source] rusqlite::Error),
    /// A file of the data directory cannot be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite could not do it.
    #[error("the database in the data directory cannot be used: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

/// How a record can be broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// It is not there, though a later one or a snapshot is.
    #[error("it is missing")]
    Missing,
    /// Its hash is not that of the record before, its number, time and body.
    #[error("its bytes, or those of the record before, were changed")]
    Hash,
    /// The hash fits, but the body is nothing that this program can read.
    #[error("it cannot be read: {0}")]
    Body(Invalid),
    /// A table that is made from the record says that it is of another kind than it is.
    #[error("it is not what the tables say that it is")]
    Kind,
}

impl StoreError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| {
            let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full { StoreError::Full } else { StoreError::File { doing, path, source } }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        let Some(code) = error.sqlite_error() else { return StoreError::Sqlite(error) };
        match (code.code, code.extended_code) {
            // Growing the file that readers share fails in this way when there is no room for it.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => StoreError::Full,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => StoreError::Damaged(error),
            _ => StoreError::Sqlite(error),
        }
    }
}
