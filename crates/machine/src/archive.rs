//! Files that are copied between a guest and its tenant, as a tar archive.
//!
//! Neither side trusts the other. Whoever unpacks goes into directories only by names that are no links, makes each thing
//! by its bare name in a directory that is open, and puts a file under its name only when it is whole. Whoever packs
//! opens nothing but files and directories, and follows no link but on the way that was asked for.

mod pack;
mod place;
mod unpack;

use std::io;
use std::path::Path;

use model::plain;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::pack::{pack, source};
pub use self::place::{Place, target};
pub use self::unpack::{Copied, Rules, unpack};

/// Files, directories and links in one archive.
pub const MOST_ENTRIES: u64 = 1_000_000;

/// Why files were not copied. It crosses from guest to host, and from there to the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ArchiveError {
    /// There is no such file or directory.
    #[error("there is no {0:?}")]
    Missing(String),
    /// A directory was needed.
    #[error("{0:?} is not a directory")]
    NotADirectory(String),
    /// A directory stands where a file is to go, or the other way round.
    #[error("{0:?} is a directory, and what is to take its place is none, or the other way round")]
    KindDiffers(String),
    /// Neither a file, nor a directory, nor a link; or of the kernel's own.
    #[error("{0:?} is neither a file nor a directory that can be copied")]
    NotAFile(String),
    /// It cannot be an honest archive, or leads out of the place that it is for.
    #[error("the archive's entry {entry:?} {why}, and is refused")]
    Hostile {
        /// Which.
        entry: String,
        /// What it does.
        why: String,
    },
    /// Not an archive, or half of one.
    #[error("the archive cannot be read: {0}")]
    Malformed(String),
    /// More than was allowed.
    #[error("there is more to copy than {limit} {unit}")]
    TooLarge {
        /// How much was allowed.
        limit: u64,
        /// Of what.
        unit: String,
    },
    /// The disk is full.
    #[error("there is no room for {0:?}")]
    NoRoom(String),
    /// It may only be read.
    #[error("{0:?} can only be read")]
    ReadOnly(String),
    /// Somebody no longer wants it.
    #[error("stopped")]
    Cancelled,
    /// The system's trouble.
    #[error("cannot {doing} {path:?}: {said}")]
    Io {
        /// What was tried.
        doing: String,
        /// With what.
        path: String,
        /// What the system said.
        said: String,
    },
}

impl ArchiveError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            ArchiveError::Missing(_) => "no_such_file",
            ArchiveError::NotADirectory(_) => "not_a_directory",
            ArchiveError::KindDiffers(_) => "kind_differs",
            ArchiveError::NotAFile(_) => "not_a_file",
            ArchiveError::Hostile { .. } => "hostile_archive",
            ArchiveError::Malformed(_) => "bad_archive",
            ArchiveError::TooLarge { .. } => "too_large",
            ArchiveError::NoRoom(_) => "no_room",
            ArchiveError::ReadOnly(_) => "read_only",
            ArchiveError::Cancelled => "cancelled",
            ArchiveError::Io { .. } => "not_copied",
        }
    }

    fn hostile(entry: &Path, why: &str) -> ArchiveError {
        ArchiveError::Hostile { entry: shown(entry), why: why.to_owned() }
    }

    fn system(doing: &str, path: &Path, error: impl Into<io::Error>) -> ArchiveError {
        let error: io::Error = error.into();
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            Some(Errno::NOENT) => ArchiveError::Missing(shown(path)),
            Some(Errno::NOTDIR | Errno::LOOP) => ArchiveError::NotADirectory(shown(path)),
            Some(Errno::NOSPC | Errno::DQUOT) => ArchiveError::NoRoom(shown(path)),
            Some(Errno::ROFS) => ArchiveError::ReadOnly(shown(path)),
            Some(_) | None => {
                ArchiveError::Io { doing: doing.to_owned(), path: shown(path), said: error.to_string() }
            }
        }
    }
}

/// A stranger's path, for people.
fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy(), 200)
}

#[cfg(test)]
mod tests;
