//! An image's file system as its guest will see it, read through the unpacked layers without mounting anything: where
//! `/bin` really is.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::ImageError;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

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
            sys::open(path, flags, Mode::empty())
                .map_err(|errno| ImageError::io("open the layer", path)(errno.into()))
        };
        Ok(Rootfs { layers: layers.iter().rev().map(open).collect::<Result<_, _>>()? })
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
}

/// The names on a path, `..` among them.
fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

pub(crate) fn is_opaque(directory: &impl AsFd) -> bool {
    let mut value = [0; 2];
    sys::fgetxattr(directory, "user.overlay.opaque", &mut value) == Ok(1) && value[0] == b'y'
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
        layers.write(0, "etc/passwd", "x");
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
        let sees = |path: &str| rootfs.look(Path::new(path)).expect("looked").is_some();
        assert!(sees("etc") && !sees("etc/passwd") && !sees("etc/passwd/x"));
        assert!(sees("opt/old/y") && !sees("opt/old/x"));
    }
}
