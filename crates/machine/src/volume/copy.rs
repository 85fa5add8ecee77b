//! Files of a volume as a tar archive. The volume is a stranger's work: each directory is opened from the volume's root without
//! following any link, and what is no file, directory or link is left out.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use tar::{Builder, EntryType};

use super::VolumeError;
use crate::tarball::header;

/// Writes all that is in the directory `root`. No more than `limit` bytes of files: one full of holes seems to hold as much as
/// it likes.
pub fn write_archive(root: &Path, limit: u64, to: impl Write) -> Result<(), VolumeError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = sys::open(root, flags, Mode::empty()).map_err(VolumeError::io("open", root))?;
    let mut writer = Writer {
        root: directory,
        path: root,
        limit,
        left: limit,
        seen: HashMap::new(),
        tar: Builder::new(to),
    };
    let mut ahead = vec![PathBuf::new()];
    while let Some(next) = ahead.pop() {
        writer.directory(&next, &mut ahead)?;
    }
    let finished = writer.tar.into_inner().and_then(|mut to| to.flush());
    finished.map_err(VolumeError::io("write the archive of", root))
}

struct Writer<'a, W: Write> {
    root: OwnedFd,
    path: &'a Path,
    limit: u64,
    left: u64,
    /// Files with several names, by their inode.
    seen: HashMap<u64, PathBuf>,
    tar: Builder<W>,
}

impl<W: Write> Writer<'_, W> {
    fn directory(&mut self, relative: &Path, ahead: &mut Vec<PathBuf>) -> Result<(), VolumeError> {
        let here = self.path.join(relative);
        let failed = || VolumeError::io("read", &here);
        let opened = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let directory = match sys::openat2(&self.root, opened, flags, Mode::empty(), resolve) {
            Ok(directory) => directory,
            // It has gone, or was replaced, since it was listed.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Ok(());
            }
            Err(errno) => return Err(failed()(errno)),
        };
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&directory).map_err(|errno| failed()(errno))? {
            let name = entry.map_err(|errno| failed()(errno))?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let path = relative.join(name);
            let Ok(stat) = sys::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let write = self.entry(&directory, name, &path, &stat);
            write.map_err(|error| match error {
                Failed::Sparse => VolumeError::Sparse { limit: self.limit },
                Failed::Io(error) => VolumeError::io("copy", &self.path.join(&path))(error),
            })?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                ahead.push(path);
            }
        }
        Ok(())
    }

    fn entry(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path, stat: &sys::Stat) -> Result<(), Failed> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                let mut header = header(stat, EntryType::Directory);
                self.tar.append_data(&mut header, path, io::empty())?;
            }
            FileType::Symlink => {
                let target = sys::readlinkat(parent, name, Vec::new()).map_err(io::Error::from)?;
                let mut header = header(stat, EntryType::Symlink);
                self.tar.append_link(&mut header, path, OsStr::from_bytes(target.to_bytes()))?;
            }
            FileType::RegularFile => {
                if stat.st_nlink > 1
                    && let Some(first) = self.seen.get(&stat.st_ino)
                {
                    let mut header = header(stat, EntryType::Link);
                    self.tar.append_link(&mut header, path, first)?;
                    return Ok(());
                }
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file =
                    sys::openat(parent.as_fd(), name, flags, Mode::empty()).map_err(io::Error::from)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.left = self.left.checked_sub(size).ok_or(Failed::Sparse)?;
                let mut header = header(stat, EntryType::Regular);
                header.set_size(size);
                // A file that shrinks meanwhile is filled up: the archive has promised its size.
                let content = File::from(file).take(size).chain(io::repeat(0)).take(size);
                self.tar.append_data(&mut header, path, content)?;
                if stat.st_nlink > 1 {
                    self.seen.insert(stat.st_ino, path.to_path_buf());
                }
            }
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
        Ok(())
    }
}

enum Failed {
    Sparse,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}
