//! Reads an archive that a stranger may have written, and makes what is in it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use model::plain;
use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::place::Place;
use super::{ArchiveError, shown};
use crate::tarball::{self, BadName, Fault, MAX_PATH};

/// What an archive may do where it is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links, directories on the way to another among them: usually [`MOST_ENTRIES`].
    ///
    /// [`MOST_ENTRIES`]: super::MOST_ENTRIES
    pub entries: u64,
    /// Whether files keep their owners, and which id is the first that is nobody's.
    pub owners: Option<u32>,
    /// Whether links may lead out of what is copied. On a tenant's disk they may not.
    pub links_out: bool,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links, and directories made on the way to them.
    pub entries: u64,
    /// Devices, FIFOs, and links that would have led out: they were left out.
    pub left_out: u64,
}

/// Unpacks an archive into a directory that is open. What is whole stays when something goes wrong; what is not was never
/// there under its name.
///
/// # Errors
/// Why not all of it was copied.
pub fn unpack(
    archive: impl Read,
    directory: &OwnedFd,
    place: &Place,
    rules: Rules,
    cancelled: &dyn Fn() -> bool,
) -> Result<Copied, ArchiveError> {
    let mut tree = Tree {
        root: directory,
        place,
        rules,
        top: None,
        content: false,
        copied: Copied::default(),
        made: HashSet::new(),
        cancelled,
    };
    tarball::read(archive, |entry| tree.add(entry))?;
    if tree.copied.entries == 0 {
        return Err(ArchiveError::Malformed("it is empty, or broke off".to_owned()));
    }
    Ok(tree.copied)
}

struct Tree<'a> {
    root: &'a OwnedFd,
    place: &'a Place,
    rules: Rules,
    /// The name that all entries begin with, where it is replaced; an empty one if they begin with none.
    top: Option<OsString>,
    /// Whether the archive holds what is in a directory, and not the directory.
    content: bool,
    copied: Copied,
    /// The files that were made here: no link is made to any other.
    made: HashSet<(u64, u64)>,
    cancelled: &'a dyn Fn() -> bool,
}

impl Tree<'_> {
    fn add(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(()); // comments
        }
        if (self.cancelled)() {
            return Err(ArchiveError::Cancelled);
        }
        self.count_entry()?;
        let is_directory = tarball::is_directory(entry);
        let path = inside(&entry.path_bytes())?;
        self.content |= self.copied.entries == 1 && path.as_os_str().is_empty();
        let path = self.placed(&path, is_directory)?;
        let Some(name) = path.file_name() else {
            // The directory itself, which is there.
            return if is_directory { Ok(()) } else { Err(ArchiveError::hostile(&path, "has no name")) };
        };
        let directory = self.parent(&path)?;
        let directory = directory.as_fd();
        if is_directory {
            return self.directory(directory, name, &path, entry);
        }
        if tarball::is_file(kind) {
            return self.file(directory, name, &path, entry);
        }
        if tarball::is_device(kind) {
            self.copied.left_out += 1;
            return Ok(());
        }
        let target = entry.link_name_bytes().map(|target| target.into_owned());
        match target {
            Some(target) if kind.is_symlink() => self.symlink(directory, name, &path, &target),
            Some(target) if kind.is_hard_link() => self.hard_link(directory, name, &path, &target),
            Some(_) | None => Err(ArchiveError::hostile(&path, "is of no known kind")),
        }
    }

    fn count_entry(&mut self) -> Result<(), ArchiveError> {
        self.copied.entries += 1;
        if self.copied.entries > self.rules.entries {
            return Err(ArchiveError::TooLarge { limit: self.rules.entries, unit: "files".to_owned() });
        }
        Ok(())
    }

    /// Where an entry goes, below the directory.
    fn placed(&mut self, path: &Path, is_directory: bool) -> Result<PathBuf, ArchiveError> {
        let Place::As { name, directory, file } = self.place else { return Ok(path.to_path_buf()) };
        let mut parts = path.components();
        let first = parts.next().map(|first| first.as_os_str().to_owned()).unwrap_or_default();
        match &self.top {
            None => {
                let wrong = match is_directory {
                    true => *file,
                    false => *directory,
                };
                if wrong {
                    return Err(match is_directory {
                        true => ArchiveError::KindDiffers(shown(Path::new(name))),
                        false => ArchiveError::Missing(format!("{}/", shown(Path::new(name)))),
                    });
                }
                self.top = Some(first.clone());
            }
            Some(top) if top.is_empty() => {}
            Some(top) if *top == first => {}
            Some(_) => return Err(ArchiveError::hostile(path, "lies beside what was asked for")),
        }
        let all = self.top.as_ref().is_some_and(|top| top.is_empty());
        Ok(if all { Path::new(name).join(path) } else { Path::new(name).join(parts.as_path()) })
    }

    /// The directory in which an entry goes: there, or made, and never through a link.
    fn parent(&mut self, path: &Path) -> Result<OwnedFd, ArchiveError> {
        let mut at = self.root.try_clone().map_err(|error| ArchiveError::system("open", path, error))?;
        let Some(parent) = path.parent() else { return Ok(at) };
        for name in parent.components() {
            let name = name.as_os_str();
            at = match open_directory(at.as_fd(), name) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => {
                    // One short entry can ask for a hundred of them.
                    self.count_entry()?;
                    sys::mkdirat(&at, name, Mode::from_raw_mode(0o755))
                        .and_then(|()| open_directory(at.as_fd(), name))
                        .map_err(|errno| ArchiveError::system("make the directory", parent, errno))?
                }
                // A link, or a file.
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(ArchiveError::hostile(path, "goes through what is no directory"));
                }
                Err(errno) => return Err(ArchiveError::system("open", parent, errno)),
            };
        }
        Ok(at)
    }

    fn directory(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        entry: &tar::Entry<'_, impl Read>,
    ) -> Result<(), ArchiveError> {
        let failed = |errno| ArchiveError::system("make the directory", path, errno);
        match sys::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                // One that is there keeps its mode and its owner.
                return match open_directory(parent, name) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(ArchiveError::KindDiffers(shown(path))),
                };
            }
            Err(errno) => return Err(failed(errno)),
        }
        let directory = open_directory(parent, name).map_err(failed)?;
        self.own(&directory, path, entry)?;
        // Its owner can always go on in it: more is to come.
        let mode = entry.header().mode().map_err(unreadable)? & 0o1777 | 0o700;
        sys::fchmod(&directory, Mode::from_raw_mode(mode)).map_err(failed)
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<(), ArchiveError> {
        let failed = |errno: Errno| ArchiveError::system("write", path, errno);
        if self.is_directory(parent, name) {
            return Err(ArchiveError::KindDiffers(shown(path)));
        }
        let mut half = Half::create(parent, self.copied.entries).map_err(failed)?;
        let wanted = entry.size();
        let came = self.copy(entry, &mut half.file, path)?;
        if came != wanted {
            return Err(ArchiveError::Malformed(format!("it broke off within {:?}", shown(path))));
        }
        self.own(&half.file, path, entry)?;
        let mode = entry.header().mode().map_err(unreadable)? & 0o777;
        sys::fchmod(&half.file, Mode::from_raw_mode(mode)).map_err(failed)?;
        sys::futimens(&half.file, &tarball::modified(entry.header())?).map_err(failed)?;
        let stat = sys::fstat(&half.file).map_err(failed)?;
        half.keep(name).map_err(failed)?;
        self.made.insert((stat.st_dev, stat.st_ino));
        Ok(())
    }

    fn copy(&mut self, from: &mut impl Read, to: &mut File, path: &Path) -> Result<u64, ArchiveError> {
        let (mut buffer, mut came) = (vec![0; 64 << 10], 0);
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => return Ok(came),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            if (self.cancelled)() {
                return Err(ArchiveError::Cancelled);
            }
            came += n as u64;
            self.copied.bytes += n as u64;
            if self.copied.bytes > self.rules.bytes {
                return Err(ArchiveError::TooLarge { limit: self.rules.bytes, unit: "bytes".to_owned() });
            }
            to.write_all(buffer.get(..n).unwrap_or_default())
                .map_err(|error| ArchiveError::system("write", path, error))?;
        }
    }

    /// Otherwise it belongs to whoever unpacks.
    fn own(
        &self,
        file: &impl AsFd,
        path: &Path,
        entry: &tar::Entry<'_, impl Read>,
    ) -> Result<(), ArchiveError> {
        let Some(nobody) = self.rules.owners else { return Ok(()) };
        let (user, group) = tarball::owner(entry.header(), nobody)?;
        sys::fchown(file, Some(user), Some(group))
            .map_err(|errno| ArchiveError::system("give away", path, errno))
    }

    fn symlink(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        target: &[u8],
    ) -> Result<(), ArchiveError> {
        if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
            return Err(ArchiveError::hostile(path, "leads nowhere"));
        }
        if !self.rules.links_out && !self.stays_inside(path, target) {
            self.copied.left_out += 1;
            return Ok(());
        }
        self.replace(parent, name, path, || sys::symlinkat(OsStr::from_bytes(target), parent, name))
    }

    /// Whether a link at `path` leads to something within what is copied. It may climb first, no higher than its
    /// directories that are no links, and then go down: whatever link it meets there was judged alike.
    fn stays_inside(&self, path: &Path, target: &[u8]) -> bool {
        let top = if self.content && *self.place == Place::Into { 0 } else { 1 };
        let mut above = path.components().count().saturating_sub(1 + top);
        let mut down = false;
        for component in Path::new(OsStr::from_bytes(target)).components() {
            match component {
                Component::ParentDir if down || above == 0 => return false,
                Component::ParentDir => above -= 1,
                Component::Normal(_) => down = true,
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
            }
        }
        true
    }

    fn hard_link(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        target: &[u8],
    ) -> Result<(), ArchiveError> {
        let nothing = || ArchiveError::hostile(path, "is another name of a file that is not in the archive");
        let target = self.placed(&inside(target)?, false)?;
        let target_name = target.file_name().ok_or_else(nothing)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let above = target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = openat2(self.root, above, flags, Mode::empty(), resolve).map_err(|_| nothing())?;
        let stat = sys::statat(&above, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| nothing())?;
        if !self.made.contains(&(stat.st_dev, stat.st_ino)) {
            return Err(nothing());
        }
        self.replace(parent, name, path, || {
            match sys::linkat(&above, target_name, parent, name, AtFlags::empty()) {
                Err(Errno::EXIST) if same(parent, name, &stat) => Ok(()),
                other => other,
            }
        })
    }

    /// Makes a link, in place of a file or a link that is there.
    fn replace(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        make: impl Fn() -> rustix::io::Result<()>,
    ) -> Result<(), ArchiveError> {
        let mut made = make();
        if made == Err(Errno::EXIST) {
            if self.is_directory(parent, name) {
                return Err(ArchiveError::KindDiffers(shown(path)));
            }
            made = sys::unlinkat(parent, name, AtFlags::empty()).and_then(|()| make());
        }
        made.map_err(|errno| ArchiveError::system("link", path, errno))
    }

    fn is_directory(&self, parent: BorrowedFd<'_>, name: &OsStr) -> bool {
        sys::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }
}

fn same(parent: BorrowedFd<'_>, name: &OsStr, stat: &sys::Stat) -> bool {
    sys::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
}

/// A file that is not whole yet: removed unless it is kept.
struct Half<'a> {
    parent: BorrowedFd<'a>,
    name: OsString,
    file: File,
    kept: bool,
}

impl<'a> Half<'a> {
    fn create(parent: BorrowedFd<'a>, number: u64) -> rustix::io::Result<Half<'a>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let process = std::process::id();
        let mut tried = 0;
        loop {
            let name = OsString::from(format!(".sublet-{process}-{number}-{tried}.part"));
            match sys::openat(parent, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(file) => return Ok(Half { parent, name, file: file.into(), kept: false }),
                Err(Errno::EXIST) if tried < 100 => tried += 1,
                Err(errno) => return Err(errno),
            }
        }
    }

    fn keep(mut self, name: &OsStr) -> rustix::io::Result<()> {
        sys::renameat(self.parent, &self.name, self.parent, name)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // It bears a name that nobody asked for.
            let _ = sys::unlinkat(self.parent, &self.name, AtFlags::empty());
        }
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(parent, name, flags, Mode::empty(), resolve)
}

/// What is copied names no place on this machine: one that begins at the root is meant for another.
fn inside(raw: &[u8]) -> Result<PathBuf, ArchiveError> {
    let path = Path::new(OsStr::from_bytes(raw));
    if path.has_root() {
        return Err(ArchiveError::hostile(path, "begins at the root"));
    }
    tarball::name(raw).map_err(|bad| {
        let why = match bad {
            BadName::Climbs => "climbs out with `..`",
            BadName::ZeroByte => "holds a nought byte",
            BadName::LongName => "has too long a name",
            BadName::TooLong => "is too long or too deep",
        };
        ArchiveError::hostile(path, why)
    })
}

impl From<Fault> for ArchiveError {
    fn from(fault: Fault) -> ArchiveError {
        ArchiveError::Malformed(plain(&fault.to_string(), 200))
    }
}

fn unreadable(error: io::Error) -> ArchiveError {
    Fault::Unreadable(error).into()
}
