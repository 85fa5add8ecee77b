//! An image's file system as its guest will see it, read through the unpacked layers without mounting anything:
//! whom `USER app` means, and where `/bin` really is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::ImageError;
use super::content::read_limited;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// The largest `/etc/passwd` that we read.
const MAX_PASSWD: u64 = 1 << 20;
/// The most groups that a user can be in: the kernel's `NGROUPS_MAX` of old.
const MAX_GROUPS: usize = 32;

/// The numbers that a guest's first process runs under, inside its user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User, below 65536: as many as a guest's range has.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Unpacked layers, one upon the other.
pub(super) struct Rootfs {
    /// Highest first.
    layers: Vec<OwnedFd>,
}

struct Found {
    kind: FileType,
    parent: OwnedFd,
    name: OsString,
}

impl Rootfs {
    /// `layers`: lowest first.
    pub(super) fn open(layers: &[PathBuf]) -> Result<Rootfs, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| {
            sys::open(path, flags, Mode::empty()).map_err(|errno| ImageError::io("open the layer", path)(errno.into()))
        };
        Ok(Rootfs { layers: layers.iter().rev().map(open).collect::<Result<_, _>>()? })
    }

    /// The numbers behind `user`, `user:group`, `uid` or `uid:gid`, by Docker's rules: a user's own group and
    /// groups count only where none is named, and a number needs no entry in `/etc/passwd`.
    pub(super) fn user(&self, written: &str) -> Result<User, ImageError> {
        if written.is_empty() {
            return Ok(User::default());
        }
        let unknown = || ImageError::UnknownUser { user: written.to_owned() };
        let (user, group) = written.split_once(':').map_or((written, None), |(user, group)| (user, Some(group)));
        let passwd = self.read_lines("etc/passwd")?;
        let groups = self.read_lines("etc/group")?;

        let account = entry(&passwd, user, 2);
        let uid = user.parse().ok().or_else(|| number(account?.get(2)?)).filter(in_range).ok_or_else(unknown)?;
        let Some(group) = group else {
            let gid = account.and_then(|account| number(account.get(3)?)).unwrap_or(0);
            let gid = Some(gid).filter(in_range).ok_or_else(unknown)?;
            let name = account.and_then(|account| account.first()).map_or("", String::as_str);
            return Ok(User { uid, gid, groups: memberships(&groups, name) });
        };
        let gid = group.parse().ok().or_else(|| number(entry(&groups, group, 2)?.get(2)?));
        Ok(User { uid, gid: gid.filter(in_range).ok_or_else(unknown)?, groups: Vec::new() })
    }

    /// Where this path leads when each link on the way is followed. What does not exist yet is kept as it is.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, ImageError> {
        let mut ahead: VecDeque<OsString> = steps(path).collect();
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            if step == ".." {
                here.pop();
                continue;
            }
            here.push(&step);
            let Some(found) = self.look(&here)? else { continue };
            if found.kind != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(ImageError::io("follow the links of", path)(Errno::LOOP.into()));
            }
            let target = sys::readlinkat(&found.parent, &found.name, Vec::new())
                .map_err(|errno| ImageError::io("follow the link", &here)(errno.into()))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            here.pop();
            if target.is_absolute() {
                here.clear();
            }
            for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(step);
            }
        }
        Ok(here)
    }

    /// What stands at this path, which leads through no link: the highest layer that has it, unless one above
    /// hides it.
    fn look(&self, path: &Path) -> Result<Option<Found>, ImageError> {
        let failed = |errno: Errno| ImageError::io("look at", path)(errno.into());
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let names: Vec<OsString> = steps(path).collect();
        let Some((last, parents)) = names.split_last() else { return Ok(None) };
        'layers: for layer in &self.layers {
            let mut here = layer.as_fd().try_clone_to_owned().map_err(ImageError::io("open", path))?;
            let mut opaque = false;
            for name in parents {
                match sys::openat(&here, name, directory, Mode::empty()) {
                    Ok(below) => here = below,
                    Err(Errno::NOENT) if opaque => return Ok(None),
                    Err(Errno::NOENT) => continue 'layers,
                    Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None), // hidden by a whiteout, file or link
                    Err(errno) => return Err(failed(errno)),
                }
                opaque |= is_opaque(&here);
            }
            match sys::statat(&here, last, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    let found = Found { kind, parent: here, name: last.clone() };
                    return Ok(Some(found).filter(|_| kind != FileType::CharacterDevice));
                }
                Err(Errno::NOENT) if opaque => return Ok(None),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(None)
    }

    /// The lines of a small file, each split at its colons; none when there is no such file.
    fn read_lines(&self, path: &str) -> Result<Vec<Vec<String>>, ImageError> {
        let path = self.resolve(Path::new(path))?;
        let Some(found) = self.look(&path)?.filter(|found| found.kind == FileType::RegularFile) else {
            return Ok(Vec::new());
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = sys::openat(&found.parent, &found.name, flags, Mode::empty())
            .map_err(|errno| ImageError::io("open", &path)(errno.into()))?;
        let bytes = read_limited(File::from(file), MAX_PASSWD, "the image's /etc/passwd (bytes)", &path)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect())
    }
}

/// The names on a path, `..` among them.
fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 2];
    sys::fgetxattr(directory, "user.overlay.opaque", &mut value) == Ok(1) && value[0] == b'y'
}

/// The line of this name, else the one of this number.
fn entry<'a>(lines: &'a [Vec<String>], key: &str, number_at: usize) -> Option<&'a Vec<String>> {
    let named = lines.iter().find(|line| line.first().is_some_and(|name| name == key));
    named.or_else(|| lines.iter().find(|line| line.get(number_at).is_some_and(|number| number == key)))
}

fn memberships(groups: &[Vec<String>], name: &str) -> Vec<u32> {
    let member = |line: &&Vec<String>| {
        !name.is_empty() && line.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    let numbers = groups.iter().filter(member).filter_map(|line| number(line.get(2)?)).filter(in_range);
    numbers.take(MAX_GROUPS).collect()
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn in_range(id: &u32) -> bool {
    *id < 65536
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Layers(#[expect(dead_code, reason = "keeps the directory")] tempfile::TempDir, Vec<PathBuf>);

    impl Layers {
        fn new(count: usize) -> Layers {
            let directory = tempfile::tempdir().expect("a directory for the test");
            let layers: Vec<PathBuf> = (0..count).map(|n| directory.path().join(n.to_string())).collect();
            layers.iter().for_each(|layer| fs::create_dir(layer).expect("a layer"));
            Layers(directory, layers)
        }

        fn write(&self, layer: usize, path: &str, content: &str) {
            let path = self.1[layer].join(path);
            fs::create_dir_all(path.parent().expect("below the layer")).expect("its directory");
            fs::write(path, content).expect("a file");
        }

        fn open(&self) -> Rootfs {
            Rootfs::open(&self.1).expect("the layers open")
        }
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let layers = Layers::new(2);
        layers.write(0, "etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbig:x:70000:1::/:\n");
        layers.write(0, "etc/group", "app:x:1001:\nvideo:x:44:root,app\nhuge:x:70000:app\n");
        layers.write(1, "etc/hostname", "upper");
        let rootfs = layers.open();
        let user = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
        for (written, expected) in [
            ("", user(0, 0, &[])),
            ("root", user(0, 0, &[44])),
            ("app", user(1000, 1001, &[44])),
            ("1000", user(1000, 1001, &[44])),
            ("1000:video", user(1000, 44, &[])),
            ("app:7", user(1000, 7, &[])),
            ("4000", user(4000, 0, &[])),
            ("4000:4001", user(4000, 4001, &[])),
        ] {
            assert_eq!(rootfs.user(written).expect(written), expected, "{written}");
        }
        for unknown in ["nobody", "app:nobody", "70000", "big", "app:huge", "-1", ":", "app:"] {
            assert!(matches!(rootfs.user(unknown), Err(ImageError::UnknownUser { .. })), "{unknown}");
        }
    }

    #[test]
    fn links_are_followed_across_layers_and_never_out() {
        let layers = Layers::new(2);
        layers.write(0, "usr/bin/sh", "shell");
        symlink("usr/bin", layers.1[0].join("bin")).expect("a link");
        symlink("/usr/../../../bin", layers.1[1].join("tools")).expect("a link");
        symlink("loop", layers.1[1].join("loop")).expect("a link");
        let rootfs = layers.open();
        let resolve = |path: &str| rootfs.resolve(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(resolve("bin/new").expect("resolves"), "usr/bin/new");
        assert_eq!(resolve("/tools/sh").expect("resolves"), "usr/bin/sh");
        assert_eq!(resolve("new/dir").expect("resolves"), "new/dir");
        assert!(matches!(resolve("loop/x"), Err(ImageError::Io { .. })));
    }

    #[test]
    fn what_a_layer_hides_is_hidden() {
        let layers = Layers::new(2);
        layers.write(0, "etc/passwd", "ghost:x:5:5::/:\n");
        layers.write(0, "opt/old/x", "x");
        layers.write(1, "opt/old/y", "y");
        let device = sys::makedev(0, 0);
        let mode = Mode::empty();
        fs::create_dir(layers.1[1].join("etc")).expect("a directory");
        let whiteout = layers.1[1].join("etc/passwd");
        sys::mknodat(sys::CWD, &whiteout, FileType::CharacterDevice, mode, device).expect("a whiteout");
        let opaque = layers.1[1].join("opt/old");
        sys::setxattr(&opaque, "user.overlay.opaque", b"y", sys::XattrFlags::empty()).expect("an attribute");
        let rootfs = layers.open();
        assert!(rootfs.user("ghost").is_err());
        assert!(rootfs.look(Path::new("opt/old/x")).expect("look").is_none());
        assert!(rootfs.look(Path::new("opt/old/y")).expect("look").is_some());
    }

    #[test]
    fn a_link_to_the_hosts_passwd_reads_the_images() {
        let layers = Layers::new(1);
        layers.write(0, "x/passwd", "inner:x:9:9::/:\n");
        fs::create_dir(layers.1[0].join("etc")).expect("a directory");
        symlink("../../../../../../x/passwd", layers.1[0].join("etc/passwd")).expect("a link");
        assert_eq!(layers.open().user("inner").expect("inner").uid, 9);
    }
}
