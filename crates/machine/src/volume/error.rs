//! What can go wrong with a volume.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::ImageError;

/// Why something cannot be done with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// This machine cannot have volumes.
    #[error("this machine cannot have volumes: {why}")]
    Unsupported {
        /// Why not, and what to do.
        why: String,
    },
    /// No such volume.
    #[error("there is no volume {name} here")]
    Unknown {
        /// As it was asked for.
        name: String,
    },
    /// No such snapshot, or there is one already.
    #[error("{what}")]
    Snapshot {
        /// What is wrong with it.
        what: String,
    },
    /// A guest, or a copy, is at work with it.
    #[error("the volume {name} is in use: stop its guest first, or copy files with `sublet cp`")]
    Busy {
        /// Which.
        name: String,
    },
    /// It would become smaller.
    #[error("the volume {name} has {has} bytes and cannot shrink to {asked}")]
    Shrinks {
        /// Which.
        name: String,
        /// As it is.
        has: u64,
        /// As it was asked for.
        asked: u64,
    },
    /// It is encrypted, and this is not its key, or none; or it is not encrypted, and a key was given.
    #[error("the volume {name} {why}")]
    Key {
        /// Which.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// It does not fit on the disk.
    #[error("the disk of this machine has no room for {needed} bytes more")]
    Full {
        /// Bytes that would be needed.
        needed: u64,
    },
    /// A file that seems larger than the whole volume: it would be copied as what it seems.
    #[error(
        "the files of the volume seem to hold more than {limit} bytes; a file full of holes cannot be copied out"
    )]
    Sparse {
        /// The most that is copied.
        limit: u64,
    },
    /// An archive that cannot be taken in.
    #[error("the archive cannot be taken in: {0}")]
    Archive(#[source] ImageError),
    /// A program that is needed has failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last words.
        said: String,
    },
    /// The computer's answer to what we tried.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl VolumeError {
    /// For `map_err`: what was tried, and with what.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> VolumeError {
        let path = path.to_path_buf();
        move |source| match source.into() {
            full if matches!(full.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                VolumeError::Full { needed: 1 }
            }
            source => VolumeError::Io { doing, path, source },
        }
    }

    /// Whether the tenant's wish is at fault, and not this machine.
    pub fn is_wish(&self) -> bool {
        matches!(
            self,
            VolumeError::Unknown { .. }
                | VolumeError::Snapshot { .. }
                | VolumeError::Shrinks { .. }
                | VolumeError::Key { .. }
                | VolumeError::Archive(_)
                | VolumeError::Sparse { .. }
        )
    }
}
