//! The directory that a layer becomes: each entry is made in an open directory, by its bare name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use model::plain;
use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{Limits, Style, Unpacked, unreadable};
use crate::image::content::require_room;
use crate::image::merged::Names;
use crate::image::{ImageError, Trick};
use crate::tarball::{self, BadName, MAX_DEPTH, MAX_PATH};

/// Ids from here on are nobody's in a guest.
const NOBODY: u32 = 65_534;
/// How often to look whether the disk still has room for the owner.
const LOOK_EVERY: u64 = 64 << 20;
/// What a directory takes of a usual file system, and an empty file at the most: a block and its inode.
const ENTRY: u64 = 4096 + 256;

/// The tree under construction.
pub(super) struct Tree<'a> {
    root: OwnedFd,
    path: &'a Path,
    /// What the kernel calls the root: other directories are measured from it.
    real: PathBuf,
    limits: Limits,
    merged: &'a Names,
    pub(super) unpacked: Unpacked,
    /// The directory of the entry before: most entries follow a sibling.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
}

impl<'a> Tree<'a> {
    /// Begins in a directory that exists and is empty.
    pub(super) fn open(path: &'a Path, limits: Limits, merged: &'a Names) -> Result<Tree<'a>, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            sys::open(path, flags, Mode::empty()).map_err(|e| ImageError::io("open", path)(e.into()))?;
        let real = real_path(root.as_fd()).map_err(ImageError::io("find", path))?;
        let mut tree = Tree { root, path, real, limits, merged, unpacked: Unpacked::default(), last: None };
        tree.set_directory_mode(tree.root.as_fd(), OsStr::new("."), 0o755)?;
        for name in merged {
            let target = Path::new("usr").join(name);
            tree.open_or_make(&target)?;
            sys::symlinkat(&target, &tree.root, *name)
                .map_err(|errno| tree.failed("link", Path::new(name), errno))?;
        }
        Ok(tree)
    }

    /// Makes what this entry stands for.
    pub(super) fn add(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ImageError> {
        self.count_entry()?;
        if cancelled() {
            return Err(ImageError::Cancelled);
        }
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(()); // comments, as `git archive` writes them
        }
        let path = inside(&entry.path_bytes())?;
        let mode = entry.header().mode().map_err(unreadable)? & 0o1777;
        let is_directory = tarball::is_directory(entry);
        let Some(name) = path.file_name() else {
            return match is_directory {
                true => self.set_directory_mode(self.root.as_fd(), OsStr::new("."), mode),
                false => Err(hostile(&path, Trick::ReplacesRoot)),
            };
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        if tarball::is_device(kind) {
            self.unpacked.skipped += 1;
            return Ok(());
        }
        let directory = self.directory(parent)?;
        let directory = directory.as_fd();
        if let Some(hidden) =
            name.as_bytes().strip_prefix(b".wh.").filter(|_| self.limits.style == Style::Layer)
        {
            return self.white_out(directory, OsStr::from_bytes(hidden), &path);
        }
        let in_root = parent.as_os_str().is_empty();
        if is_directory && in_root && name.to_str().is_some_and(|name| self.merged.contains(name)) {
            return Ok(()); // it gives way to the link
        }
        if is_directory {
            self.make_directory(directory, name, &path, true)?;
            if self.limits.style == Style::Volume {
                self.give(&self.open_to_change(directory, name, &path)?, &path, entry)?;
            }
            return self.set_directory_mode(directory, name, mode);
        }
        if tarball::is_file(kind) {
            return self.write_file(directory, name, &path, entry, mode, cancelled);
        }
        let Some(target) = entry.link_name_bytes() else {
            return Err(hostile(&path, Trick::UnknownKind));
        };
        if kind.is_symlink() {
            return self.link_symbolically(
                directory,
                name,
                &path,
                &target,
                tarball::modified(entry.header())?,
            );
        }
        if kind.is_hard_link() {
            return self.link_hard(directory, name, &path, &target);
        }
        Err(hostile(&path, Trick::UnknownKind))
    }

    /// The directory at `path`, made where it is missing. Links on the way are followed inside the root.
    fn directory(&mut self, path: &Path) -> Result<Rc<OwnedFd>, ImageError> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let directory = Rc::new(self.open_or_make(path)?);
        self.last = Some((path.to_path_buf(), directory.clone()));
        Ok(directory)
    }

    fn open_or_make(&mut self, path: &Path) -> Result<OwnedFd, ImageError> {
        match self.open_directory(path) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(self.failed("open", path, errno)),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.failed("open", path, Errno::NOENT));
        };
        let above = self.open_or_make(parent)?;
        // One short entry can ask for a hundred of them.
        self.count_entry()?;
        self.make_directory(above.as_fd(), name, path, false)?;
        self.open_directory(path).map_err(|errno| self.failed("open", path, errno))
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        sys::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Makes the directory `name`. What stands there already stays if it is a directory, and, unless the layer
    /// asks for a directory by name, if it is anything else: whoever goes through it will see what it is.
    fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        replace: bool,
    ) -> Result<(), ImageError> {
        // A ladder of links makes a tree deeper than any of its paths is long: measure where we really are.
        let depth = real_path(parent)
            .ok()
            .and_then(|real| real.strip_prefix(&self.real).map(|below| below.components().count()).ok());
        if depth.is_none_or(|depth| depth >= MAX_DEPTH) {
            return Err(hostile(path, Trick::TooLong));
        }
        let mode = Mode::from_raw_mode(0o755);
        match sys::mkdirat(parent, name, mode) {
            Ok(()) => return self.set_directory_mode(parent, name, 0o755),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("make the directory", path, errno)),
        }
        let there = self.look(parent, name, path)?;
        match there {
            Thing::Directory => Ok(()),
            Thing::Other if !replace => Ok(()),
            Thing::Whiteout | Thing::Other => {
                self.clear(parent, name, path)?;
                sys::mkdirat(parent, name, mode).map_err(|e| self.failed("make the directory", path, e))?;
                self.set_directory_mode(parent, name, 0o755)?;
                // Removed below and made anew here: nothing of the old one may shine through.
                if matches!(there, Thing::Whiteout) { self.make_opaque(parent, name, path) } else { Ok(()) }
            }
        }
    }

    fn write_file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        entry: &mut tar::Entry<'_, impl Read>,
        mode: u32,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ImageError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || sys::openat(directory, name, flags, Mode::from_raw_mode(0o600));
        let mut file = create();
        if matches!(file, Err(Errno::EXIST)) {
            self.clear(directory, name, path)?;
            file = create();
        }
        let mut file = File::from(file.map_err(|errno| self.failed("create", path, errno))?);
        self.copy(entry, &mut file, path, cancelled)?;
        let executable = if mode & 0o111 == 0 { 0 } else { 0o111 };
        let readable = if self.limits.style == Style::Layer { 0o444 | executable } else { 0 };
        self.give(&file, path, entry)?;
        sys::fchmod(&file, Mode::from_raw_mode(mode & 0o777 | readable))
            .map_err(|errno| self.failed("set the mode of", path, errno))?;
        // Python, make and others compare the times of files with what they remember.
        sys::futimens(&file, &tarball::modified(entry.header())?)
            .map_err(|errno| self.failed("set the time of", path, errno))
    }

    /// In a volume a file belongs to whom it belonged to; in a layer, to whoever runs the node.
    fn give(
        &self,
        file: &impl AsFd,
        path: &Path,
        entry: &tar::Entry<'_, impl Read>,
    ) -> Result<(), ImageError> {
        if self.limits.style == Style::Layer {
            return Ok(());
        }
        let (user, group) = tarball::owner(entry.header(), NOBODY)?;
        sys::fchown(file, Some(user), Some(group)).map_err(|errno| self.failed("give away", path, errno))
    }

    fn copy(
        &mut self,
        from: &mut impl Read,
        to: &mut File,
        path: &Path,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ImageError> {
        let mut buffer = [0; 16 << 10];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            if cancelled() {
                return Err(ImageError::Cancelled);
            }
            self.count(n as u64)?;
            to.write_all(&buffer[..n])
                .map_err(|error| ImageError::io("write", &self.path.join(path))(error))?;
        }
    }

    /// Reads what is left of an entry, and counts it.
    pub(super) fn drain(
        &mut self,
        from: &mut impl Read,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), ImageError> {
        let mut buffer = [0; 4096];
        loop {
            match from.read(&mut buffer).map_err(unreadable)? {
                0 => return Ok(()),
                _ if cancelled() => return Err(ImageError::Cancelled),
                n => self.count(n as u64)?,
            }
        }
    }

    fn count_entry(&mut self) -> Result<(), ImageError> {
        self.unpacked.entries += 1;
        if self.unpacked.entries > self.limits.entries {
            return Err(ImageError::TooLarge {
                what: "the number of files in a layer",
                limit: self.limits.entries,
            });
        }
        if self.unpacked.entries.is_multiple_of(LOOK_EVERY / ENTRY) {
            require_room(self.path, LOOK_EVERY)?;
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), ImageError> {
        let before = self.unpacked.bytes;
        self.unpacked.bytes += bytes;
        if self.unpacked.bytes > self.limits.bytes {
            return Err(ImageError::TooLarge { what: "an unpacked layer (bytes)", limit: self.limits.bytes });
        }
        if before / LOOK_EVERY != self.unpacked.bytes / LOOK_EVERY {
            require_room(self.path, LOOK_EVERY)?;
        }
        Ok(())
    }

    /// The target is kept as it is written: here nobody follows it, and in the guest it ends in the guest's root.
    fn link_symbolically(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        target: &[u8],
        times: Timestamps,
    ) -> Result<(), ImageError> {
        if target.is_empty() || target.len() > MAX_PATH {
            return Err(hostile(path, Trick::TooLong));
        }
        if target.contains(&0) {
            return Err(hostile(path, Trick::ZeroByte));
        }
        let link = || sys::symlinkat(OsStr::from_bytes(target), directory, name);
        let mut linked = link();
        if linked == Err(Errno::EXIST) {
            self.clear(directory, name, path)?;
            linked = link();
        }
        linked.map_err(|errno| self.failed("link", path, errno))?;
        sys::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("set the time of", path, errno))
    }

    fn link_hard(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        target: &[u8],
    ) -> Result<(), ImageError> {
        let target = inside(target)?;
        let Some(target_name) = target.file_name() else {
            return Err(hostile(path, Trick::LinkToDirectory));
        };
        let nothing = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => hostile(path, Trick::LinkToNothing),
            errno => self.failed("link", path, errno),
        };
        let from = self.open_directory(target.parent().unwrap_or(Path::new(""))).map_err(nothing)?;
        let stat = sys::statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(nothing)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink => {}
            FileType::Directory => return Err(hostile(path, Trick::LinkToDirectory)),
            FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket
            | FileType::Unknown => {
                return Err(hostile(path, Trick::LinkToNothing)); // a whiteout; we make none of the others
            }
        }
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is a second name of that link.
        let link = || sys::linkat(&from, target_name, directory, name, AtFlags::empty());
        let mut linked = link();
        if linked == Err(Errno::EXIST) {
            let there = sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(nothing)?;
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(()); // the two are one already; clearing one could remove the last
            }
            self.clear(directory, name, path)?;
            linked = link();
        }
        linked.map_err(|errno| match errno {
            Errno::NOENT => hostile(path, Trick::LinkToNothing),
            errno => self.failed("link", path, errno),
        })
    }

    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all that they have in this directory.
    /// Neither touches what this layer itself brings, whichever comes first.
    fn white_out(
        &mut self,
        directory: BorrowedFd<'_>,
        hidden: &OsStr,
        path: &Path,
    ) -> Result<(), ImageError> {
        match hidden.as_bytes() {
            b".wh..opq" => return self.make_opaque(directory, OsStr::new("."), path),
            b"" | b"." | b".." => return Err(hostile(path, Trick::BadWhiteout)),
            name if name.starts_with(b".wh.") => return Ok(()), // bookkeeping of the old aufs driver
            _ => {}
        }
        let device = rustix::fs::makedev(0, 0);
        match sys::mknodat(directory, hidden, FileType::CharacterDevice, Mode::empty(), device) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed("white out", path, errno)),
        }
        match self.look(directory, hidden, path)? {
            Thing::Directory => self.make_opaque(directory, hidden, path),
            Thing::Whiteout | Thing::Other => Ok(()), // it hides what is below by being there
        }
    }

    fn make_opaque(&self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        let directory = self.open_to_change(parent, name, path)?;
        sys::fsetxattr(&directory, "user.overlay.opaque", b"y", XattrFlags::empty())
            .map_err(|errno| self.failed("hide the layers below", path, errno))
    }

    fn set_directory_mode(&self, parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<(), ImageError> {
        let path = Path::new(name);
        let directory = self.open_to_change(parent, name, path)?;
        let enterable = if self.limits.style == Style::Layer { 0o755 } else { 0 };
        sys::fchmod(&directory, Mode::from_raw_mode(mode | enterable))
            .map_err(|errno| self.failed("set the mode of", path, errno))
    }

    /// A directory that is known to be one, by its own name: a link is refused by the kernel.
    fn open_to_change(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
    ) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        sys::openat(parent, name, flags, Mode::empty()).map_err(|errno| self.failed("open", path, errno))
    }

    fn look(&self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<Thing, ImageError> {
        let stat = sys::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("look at", path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(Thing::Directory);
        }
        // We make no other device.
        Ok(if kind == FileType::CharacterDevice { Thing::Whiteout } else { Thing::Other })
    }

    /// Removes what an earlier entry of this layer put where a new one goes.
    fn clear(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ImageError> {
        self.last = None; // it may be what goes
        remove_tree(parent, name, 2 * MAX_DEPTH).map_err(|errno| self.failed("replace", path, errno))
    }

    fn failed(&self, doing: &'static str, path: &Path, errno: Errno) -> ImageError {
        match errno {
            Errno::NOTDIR | Errno::LOOP | Errno::NOENT => hostile(path, Trick::NotADirectory),
            Errno::NAMETOOLONG => hostile(path, Trick::TooLong),
            errno => ImageError::io(doing, &self.path.join(path))(errno.into()),
        }
    }
}

enum Thing {
    Directory,
    Whiteout,
    Other,
}

fn inside(raw: &[u8]) -> Result<PathBuf, ImageError> {
    tarball::name(raw).map_err(|bad| {
        let trick = match bad {
            BadName::Climbs => Trick::Climbs,
            BadName::ZeroByte => Trick::ZeroByte,
            BadName::LongName | BadName::TooLong => Trick::TooLong,
        };
        hostile(Path::new(OsStr::from_bytes(raw)), trick)
    })
}

fn hostile(path: &Path, trick: Trick) -> ImageError {
    ImageError::Hostile { entry: plain(&path.to_string_lossy(), 200), trick }
}

/// Where an open directory really is.
fn real_path(directory: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Removes a file, a link (not what it leads to), or a directory with all in it. It is never deeper than
/// `MAX_DEPTH`, as nothing deeper is made.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr, deep: usize) -> Result<(), Errno> {
    match sys::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // In a volume others may have made a deeper one.
    if deep == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    let directory = sys::openat(parent, name, flags, Mode::empty())?;
    for entry in sys::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove_tree(directory.as_fd(), OsStr::from_bytes(name), deep - 1)?;
        }
    }
    sys::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
