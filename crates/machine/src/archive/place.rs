//! Where something copied goes, by the rules of `cp`.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

use super::ArchiveError;

/// Where the one thing goes that an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the directory, under the names that it has.
    Into,
    /// Under this name instead of its own.
    As {
        /// The name.
        name: OsString,
        /// Whether it must be a directory: the name was written with a slash.
        directory: bool,
        /// Whether it must not be one: a file has the name already.
        file: bool,
    },
}

/// The directory in which `path` is or shall be, open, and what the thing is called there: into a directory that is there,
/// and in place of anything else. With a root, links lead nowhere out of it.
pub fn target(root: Option<BorrowedFd<'_>>, path: &Path) -> Result<(OwnedFd, Place), ArchiveError> {
    let open = |path: &Path| open_directory(root, path);
    match open(path) {
        Ok(directory) => return Ok((directory, Place::Into)),
        Err(Errno::NOENT | Errno::NOTDIR) => {}
        Err(errno) => return Err(ArchiveError::system("open", path, errno)),
    }
    let slash = ends_in_slash(path);
    let Some(name) = path.file_name() else { return Err(ArchiveError::Missing(super::shown(path))) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = open(parent).map_err(|errno| ArchiveError::system("open", parent, errno))?;
    let there = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let file = there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory);
    if file && slash {
        return Err(ArchiveError::NotADirectory(super::shown(path)));
    }
    Ok((directory, Place::As { name: name.to_owned(), directory: slash, file }))
}

pub(super) fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

pub(super) fn open_directory(root: Option<BorrowedFd<'_>>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match root {
        None => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        Some(root) => {
            let inside = path.strip_prefix("/").unwrap_or(path);
            let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            openat2(root, inside, flags, Mode::empty(), resolve)
        }
    }
}
