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

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use super::ImageError;
use tree::Tree;

/// How much one layer may unfold to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Files, directories, links.
    pub(super) entries: u64,
    /// What it becomes.
    pub(super) style: Style,
}

/// What an archive becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A layer: readable by all guests, with whiteouts.
    Layer,
    /// Files of a volume: they belong to whom they belonged to, with the modes that they had, and `.wh.` is a name.
    Volume,
}

impl Limits {
    /// A full TeX Live has 250,000 files, the largest machine-learning layers some 20 GB.
    pub(super) const LAYER: Limits = Limits { bytes: 64 << 30, entries: 2_000_000, style: Style::Layer };
}

/// What may stand between two entries: long names and extended headers. GNU tar and Go write some 10 KiB at most.
const MAX_HEADERS: u64 = 1 << 20;
/// What may follow the last entry. Tools pad to a block of 10 KiB, some to 1 MiB.
const MAX_TRAILER: u64 = 16 << 20;

/// What a layer held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Bytes written.
    pub(super) bytes: u64,
    /// Entries seen.
    pub(super) entries: u64,
    /// Devices and FIFOs that were left out.
    pub(super) skipped: u64,
}

/// Unpacks the tar archive into `root`, which exists and is empty. Reads it to its last byte, so that a reader that
/// hashes has seen all of it. After an error, what is in `root` is worth nothing.
///
/// # Errors
/// `Hostile`, `TooLarge`, `Malformed`, `Full`, `Cancelled`, `Io`.
pub(super) fn unpack(
    archive: impl Read,
    root: &Path,
    limits: Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Unpacked, ImageError> {
    let allowance = Rc::new(Cell::new(0));
    let mut archive = tar::Archive::new(Rationed::new(archive, allowance.clone()));
    let mut tree = Tree::open(root, limits)?;
    read_entries(&mut archive, &allowance, &mut tree, cancelled)?;

    allowance.set(MAX_TRAILER);
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| match allowance.get() {
        0 => ImageError::TooLarge { what: "what follows a layer's end (bytes)", limit: MAX_TRAILER },
        _ => unreadable(error),
    })?;
    Ok(tree.unpacked)
}

fn read_entries(
    archive: &mut tar::Archive<impl Read>,
    allowance: &Cell<u64>,
    tree: &mut Tree<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), ImageError> {
    let mut entries = archive.entries().map_err(unreadable)?;
    loop {
        // The tar crate reads headers whole into memory: the reader's ration is what bounds them.
        allowance.set(MAX_HEADERS);
        let entry = entries.next().transpose().map_err(|error| match allowance.get() {
            0 => ImageError::TooLarge { what: "a header in a layer (bytes)", limit: MAX_HEADERS },
            _ => unreadable(error),
        })?;
        let Some(mut entry) = entry else { return Ok(()) };
        allowance.set(u64::MAX);
        tree.add(&mut entry, cancelled)?;
        // A directory or link may have a body too; nothing of it may be left for the next header's ration.
        tree.drain(&mut entry, cancelled)?;
    }
}

fn unreadable(error: io::Error) -> ImageError {
    ImageError::malformed("a layer", error)
}

/// A reader that hands out no more than it is allowed to.
pub(crate) struct Rationed<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R> Rationed<R> {
    /// `left` says how much it may hand out, and is set by whoever allows it.
    pub(crate) fn new(inner: R, left: Rc<Cell<u64>>) -> Rationed<R> {
        Rationed { inner, left }
    }
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("more than an honest archive has here"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
