//! Writes a file or a directory into an archive.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    self as sys, AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2,
};
use tar::{Builder, EntryType, Header};

use super::place::{ends_in_slash, open_directory};
use super::{ArchiveError, MOST_ENTRIES, shown};
use crate::tarball::header;

/// Deeper trees are of no honest use, and each level is an open directory.
const DEEPEST: usize = 128;

/// What is to be copied: the directory in which it is, and its name there; no name: all that is in the directory.
pub type Source = (OwnedFd, Option<OsString>);

/// Finds what `path` names. `dir/.` means what is in it; a link is itself, unless it is to be followed. With a root, links
/// lead nowhere out of it.
pub fn source(root: Option<BorrowedFd<'_>>, path: &Path, follow: bool) -> Result<Source, ArchiveError> {
    let failed = |errno| ArchiveError::system("open", path, errno);
    let content = path.as_os_str().as_bytes().ends_with(b"/.") || path.file_name().is_none();
    if content || path.as_os_str() == "." {
        return Ok((open_directory(root, path).map_err(failed)?, None));
    }
    let name = path.file_name().unwrap_or_default();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = open_directory(root, parent).map_err(failed)?;
    let stat = sys::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink && (follow || ends_in_slash(path)) {
        return followed(root, path);
    }
    if ends_in_slash(path) && kind != FileType::Directory {
        return Err(ArchiveError::NotADirectory(shown(path)));
    }
    Ok((directory, Some(name.to_owned())))
}

/// Where a link leads in the end.
fn followed(root: Option<BorrowedFd<'_>>, path: &Path) -> Result<Source, ArchiveError> {
    let failed = |errno| ArchiveError::system("open", path, errno);
    let mut at = path.to_path_buf();
    for _ in 0..40 {
        let Some(name) = at.file_name().map(OsStr::to_owned) else { break };
        let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open_directory(root, parent).map_err(failed)?;
        let stat = sys::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok((directory, Some(name)));
        }
        let link = sys::readlinkat(&directory, &name, Vec::new()).map_err(failed)?;
        // An absolute one begins at the root again.
        at = parent.join(OsStr::from_bytes(link.to_bytes()));
    }
    Ok((open_directory(root, &at).map_err(failed)?, None))
}

/// Writes it, and no more than `limit` bytes of files: one full of holes seems to hold as much as it likes. Returns the
/// bytes of all files.
pub fn pack(
    source: &Source,
    limit: u64,
    to: impl Write,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, ArchiveError> {
    let failed = Cell::new(false);
    let tar = Builder::new(Mutable { inner: to, failed: &failed });
    let mut packer = Packer { tar, limit, bytes: 0, entries: 0, seen: HashMap::new(), cancelled };
    let (directory, name) = source;
    let packed = match name {
        Some(name) => packer.entry(directory.as_fd(), name, Path::new(name), true, 0),
        None => packer.content(directory.as_fd(), Path::new("."), 0),
    };
    failed.set(packed.is_err());
    packed?;
    let bytes = packer.bytes;
    let finished = packer.tar.into_inner().and_then(|mut to| to.flush());
    finished.map_err(|error| ArchiveError::system("write", Path::new("the archive"), error))?;
    Ok(bytes)
}

/// The tar crate ends an archive that it drops, and half of one would look whole.
struct Mutable<'a, W> {
    inner: W,
    failed: &'a Cell<bool>,
}

impl<W: Write> Write for Mutable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.get() { Ok(bytes.len()) } else { self.inner.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Packer<'a, W: Write> {
    tar: Builder<W>,
    limit: u64,
    bytes: u64,
    entries: u64,
    /// Files with several names.
    seen: HashMap<(u64, u64), PathBuf>,
    cancelled: &'a dyn Fn() -> bool,
}

impl<W: Write> Packer<'_, W> {
    /// A directory that is open, and all in it.
    fn content(&mut self, directory: BorrowedFd<'_>, path: &Path, deep: usize) -> Result<(), ArchiveError> {
        let failed = |errno| ArchiveError::system("read", path, errno);
        // The kernel's own files have no end, and are of no use elsewhere.
        if fstatfs(directory).map_err(failed)?.f_type == PROC_SUPER_MAGIC {
            return if deep == 0 { Err(ArchiveError::NotAFile(shown(path))) } else { Ok(()) };
        }
        if deep > DEEPEST {
            return Err(ArchiveError::TooLarge {
                limit: DEEPEST as u64,
                unit: "directories deep".to_owned(),
            });
        }
        let stat = sys::fstat(directory).map_err(failed)?;
        let mut header = header(&stat, EntryType::Directory);
        self.append(&mut header, path, io::empty())?;
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
            if names.len() as u64 > MOST_ENTRIES {
                return Err(ArchiveError::TooLarge { limit: MOST_ENTRIES, unit: "files".to_owned() });
            }
        }
        names.sort();
        for name in names {
            let name = OsStr::from_bytes(&name);
            match self.entry(directory, name, &path.join(name), false, deep) {
                // It has gone since it was listed.
                Err(ArchiveError::Missing(_)) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        asked_for: bool,
        deep: usize,
    ) -> Result<(), ArchiveError> {
        let failed = |errno| ArchiveError::system("read", path, errno);
        if (self.cancelled)() {
            return Err(ArchiveError::Cancelled);
        }
        let stat = sys::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = open(parent, name, flags).map_err(failed)?;
                let deep = if asked_for { 0 } else { deep + 1 };
                self.content(directory.as_fd(), path, deep)
            }
            FileType::Symlink => {
                let target = sys::readlinkat(parent, name, Vec::new()).map_err(failed)?;
                let mut header = header(&stat, EntryType::Symlink);
                self.count(0)?;
                let target = OsStr::from_bytes(target.to_bytes());
                self.tar.append_link(&mut header, path, target).map_err(broken)
            }
            FileType::RegularFile => self.file(parent, name, path),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => match asked_for {
                true => Err(ArchiveError::NotAFile(shown(path))),
                false => Ok(()),
            },
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
        let failed = |errno| ArchiveError::system("read", path, errno);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(parent, name, flags).map_err(failed)?;
        // Another may have taken its place since it was looked at.
        let stat = sys::fstat(&file).map_err(failed)?;
        let own = fstatfs(&file).map_err(failed)?.f_type == PROC_SUPER_MAGIC;
        if own || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ArchiveError::NotAFile(shown(path)));
        }
        let inode = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.seen.get(&inode)
        {
            let first = first.clone();
            let mut header = header(&stat, EntryType::Link);
            self.count(0)?;
            return self.tar.append_link(&mut header, path, first).map_err(broken);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.count(size)?;
        let mut header = header(&stat, EntryType::Regular);
        header.set_size(size);
        // One that shrinks meanwhile is filled up: the archive has promised its size.
        let content = File::from(file).take(size).chain(io::repeat(0)).take(size);
        let content = Stoppable { inner: content, cancelled: self.cancelled };
        self.tar.append_data(&mut header, path, content).map_err(broken)?;
        if stat.st_nlink > 1 {
            self.seen.insert(inode, path.to_path_buf());
        }
        Ok(())
    }

    fn append(&mut self, header: &mut Header, path: &Path, content: impl Read) -> Result<(), ArchiveError> {
        self.count(0)?;
        self.tar.append_data(header, path, content).map_err(broken)
    }

    fn count(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(ArchiveError::TooLarge { limit: MOST_ENTRIES, unit: "files".to_owned() });
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limit {
            return Err(ArchiveError::TooLarge { limit: self.limit, unit: "bytes".to_owned() });
        }
        Ok(())
    }
}

fn open(parent: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(parent, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn broken(error: io::Error) -> ArchiveError {
    if error.kind() == io::ErrorKind::Interrupted {
        return ArchiveError::Cancelled;
    }
    ArchiveError::system("write", Path::new("the archive"), error)
}

struct Stoppable<'a, R> {
    inner: R,
    cancelled: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}
