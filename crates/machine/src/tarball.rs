//! Tar archives that strangers wrote: what is true of each of them, whether it becomes an image's layer, a volume or files
//! that are copied. What an entry may do where it is unpacked is for whoever unpacks it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Gid, Stat, Timespec, Timestamps, Uid};
use tar::{EntryType, Header};

/// The longest path, in bytes: the kernel's own limit.
pub const MAX_PATH: usize = 4096;
/// The longest name of a file, in bytes.
const MAX_NAME: usize = 255;
/// The deepest tree: deep enough for `node_modules` (40), and shallow enough that removing it, with two open directories a
/// level, stays below the usual limit of 1,024 open files.
pub const MAX_DEPTH: usize = 128;
/// What may stand between two entries: long names and extended headers. GNU tar and Go write some 10 KiB at most.
pub const MAX_HEADERS: u64 = 1 << 20;
/// What may follow the last entry. Tools pad to a block of 10 KiB, some to 1 MiB.
pub const MAX_TRAILER: u64 = 16 << 20;

/// Why an archive is not one that we read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not an archive, or half of one; or whoever it comes from is gone.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// More than [`MAX_HEADERS`].
    #[error("more than {MAX_HEADERS} bytes stand between two entries")]
    Headers,
    /// More than [`MAX_TRAILER`].
    #[error("more than {MAX_TRAILER} bytes follow its end")]
    Trailer,
    /// Other tools would see other entries than we.
    #[error("a size in an extended header is no number")]
    Size,
}

/// Why no file gets this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// It has a `..`.
    Climbs,
    /// It has a byte that no name has.
    ZeroByte,
    /// One of its names is too long.
    LongName,
    /// All of it is, or it has too many steps.
    TooLong,
}

/// Reads an archive to its last byte, so that a reader that hashes has seen all of it, and hands out each entry.
pub fn read<R: Read, E: From<Fault>>(
    archive: R,
    mut each: impl FnMut(&mut tar::Entry<'_, Rationed<R>>) -> Result<(), E>,
) -> Result<(), E> {
    let allowance = Rc::new(Cell::new(0));
    let beyond = |error, fault| if allowance.get() == 0 { fault } else { Fault::Unreadable(error) };
    let mut archive = tar::Archive::new(Rationed { inner: archive, left: allowance.clone() });
    let mut entries = archive.entries().map_err(Fault::Unreadable)?;
    loop {
        // The tar crate reads headers whole into memory: the reader's ration is what bounds them.
        allowance.set(MAX_HEADERS);
        let entry = entries.next().transpose().map_err(|error| beyond(error, Fault::Headers))?;
        let Some(mut entry) = entry else { break };
        allowance.set(u64::MAX);
        require_a_size(&mut entry)?;
        each(&mut entry)?;
    }
    allowance.set(MAX_TRAILER);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| beyond(error, Fault::Trailer))?;
    Ok(())
}

/// The tar crate passes over a size in an extended header that is no number, and goes by the plain one. Other tools
/// do not, and would see other entries than we.
fn require_a_size(entry: &mut tar::Entry<'_, impl Read>) -> Result<(), Fault> {
    // What such an entry says of all that follow is a comment to us, and may be long: it is not read into memory.
    if entry.header().entry_type().is_pax_global_extensions() {
        return Ok(());
    }
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    let is_number = |value: &str| value.parse::<u64>().is_ok();
    // What is no text is an attribute, in which nobody looks for a size.
    match extensions
        .flatten()
        .any(|field| field.key_bytes() == b"size" && !field.value().is_ok_and(is_number))
    {
        true => Err(Fault::Size),
        false => Ok(()),
    }
}

/// Whether an entry is a directory: in the oldest archives that is a file whose name ends in a slash.
pub fn is_directory(entry: &tar::Entry<'_, impl Read>) -> bool {
    let kind = entry.header().entry_type();
    kind.is_dir() || kind.is_file() && entry.path_bytes().ends_with(b"/")
}

/// Whether it has a file's content.
pub fn is_file(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()
}

/// Whether it is nothing that is made of a stranger's word.
pub fn is_device(kind: EntryType) -> bool {
    kind.is_character_special() || kind.is_block_special() || kind.is_fifo()
}

/// A path of the archive as a path below a directory. A leading slash means that directory, as to every other tool.
pub fn name(raw: &[u8]) -> Result<PathBuf, BadName> {
    if raw.contains(&0) {
        return Err(BadName::ZeroByte);
    }
    let mut clean = PathBuf::new();
    let mut depth = 0;
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME => return Err(BadName::LongName),
            Component::Normal(name) => {
                clean.push(name);
                depth += 1;
            }
            Component::ParentDir => return Err(BadName::Climbs),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if raw.len() > MAX_PATH || depth > MAX_DEPTH {
        return Err(BadName::TooLong);
    }
    Ok(clean)
}

/// When the file was changed.
pub fn modified(header: &Header) -> Result<Timestamps, Fault> {
    // A time before 1970 comes as the two's complement that GNU tar writes. Past the year 9999, and long before
    // 1901, file systems disagree about what can be kept.
    let seconds = header.mtime()?.cast_signed().clamp(-(1 << 31), 253_402_300_799);
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}

/// Whose the file is. From the id `nobody` on there are none: such a file is root's.
pub fn owner(header: &Header, nobody: u32) -> Result<(Uid, Gid), Fault> {
    let id = |number: u64| u32::try_from(number).ok().filter(|id| *id < nobody).unwrap_or(0);
    Ok((Uid::from_raw(id(header.uid()?)), Gid::from_raw(id(header.gid()?))))
}

/// The header of a file that is written into an archive; its size is none yet.
pub fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_size(0);
    match u64::try_from(stat.st_mtime) {
        Ok(seconds) => header.set_mtime(seconds),
        // The tar crate would fill the field up with noughts, and GNU tar see a time in a distant future.
        Err(_) => {
            let field = &mut header.as_old_mut().mtime;
            field.fill(0xff);
            field[4..].copy_from_slice(&stat.st_mtime.to_be_bytes());
        }
    }
    header
}

/// A reader that hands out no more than it is allowed to.
pub struct Rationed<R> {
    inner: R,
    /// Set by whoever allows it.
    left: Rc<Cell<u64>>,
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
