//! Unpacks one layer, written by a stranger, into a directory of its own, and nowhere else.
//!
//! The kernel keeps us inside: every path is opened by `openat2` with `RESOLVE_IN_ROOT`, so that a symbolic link,
//! absolute or climbing, means what it will mean to the guest. Each thing is then made in an open directory by
//! its bare name, never through a link. The root's own files are out of reach by construction, not by a check.
//!
//! **Ownership.** All files belong to whoever runs the node, and all can read them: guests of different uid ranges
//! share one layer, and a host without root can unpack. Modes are the image's, with set-uid and set-gid gone and
//! reading (for what is executable or a directory: entering) granted to all. An owner that an image names is
//! thereby lost; where a supervisor can, an id-mapped mount shows the layer as the guest root's.
//!
//! **Not made:** devices, FIFOs, extended attributes. Images carry them by accident of how they were made.
//! Whiteouts become what overlayfs (mounted with `userxattr`) understands: a character device 0:0, which any user
//! may make, and `user.overlay.opaque` on a directory.

mod tree;

use std::io::{self, Read};
use std::path::Path;

use super::ImageError;
use super::merged::Names;
use crate::tarball::{self, Fault, MAX_HEADERS, MAX_TRAILER};
use tree::Tree;

/// How much one layer may unfold to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories, links, those that stand only on the way to another among them.
    pub entries: u64,
    /// What it becomes.
    pub style: Style,
}

/// What an archive becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A layer: readable by all guests, with whiteouts.
    Layer,
    /// Files of a volume: they belong to whom they belonged to, with the modes that they had, and `.wh.` is a name.
    Volume,
}

impl Limits {
    /// A full TeX Live has 250,000 files, the largest machine-learning layers some 20 GB.
    pub(super) const LAYER: Limits = Limits { bytes: 64 << 30, entries: 2_000_000, style: Style::Layer };
}

/// What a layer held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes written.
    pub bytes: u64,
    /// Entries seen, and directories made on the way to them.
    pub entries: u64,
    /// Devices and FIFOs that were left out.
    pub skipped: u64,
}

/// Unpacks the tar archive into `root`, which exists and is empty, and reads it to its last byte. What `merged` names becomes
/// links into /usr. After an error, what is in `root` is worth nothing.
///
/// # Errors
/// `Hostile`, `TooLarge`, `Malformed`, `Full`, `Cancelled`, `Io`.
pub(super) fn unpack(
    archive: impl Read,
    root: &Path,
    limits: Limits,
    merged: &Names,
    cancelled: &dyn Fn() -> bool,
) -> Result<Unpacked, ImageError> {
    let mut tree = Tree::open(root, limits, merged)?;
    tarball::read(archive, |entry| {
        tree.add(entry, cancelled)?;
        // A directory or link may have a body too; nothing of it may be left for the next header's ration.
        tree.drain(entry, cancelled)
    })?;
    Ok(tree.unpacked)
}

impl From<Fault> for ImageError {
    fn from(fault: Fault) -> ImageError {
        match fault {
            Fault::Headers => {
                ImageError::TooLarge { what: "a header in a layer (bytes)", limit: MAX_HEADERS }
            }
            Fault::Trailer => {
                ImageError::TooLarge { what: "what follows a layer's end (bytes)", limit: MAX_TRAILER }
            }
            Fault::Unreadable(error) => ImageError::malformed("a layer", error),
            Fault::Size => ImageError::malformed("a layer", fault),
        }
    }
}

fn unreadable(error: io::Error) -> ImageError {
    Fault::Unreadable(error).into()
}

#[cfg(test)]
mod tests;
