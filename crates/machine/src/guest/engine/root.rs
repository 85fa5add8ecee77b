//! The layers of an image as the one archive that engines import: what a guest by an overlay would see of them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tar::{Builder, EntryType, Header};

use crate::image::rootfs::is_opaque;

/// Our own directory in a guest's root.
pub const OWN: &str = ".sublet";

/// The keeper, linked statically by build.rs.
pub static KEEPER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keeper"));

/// Names what an import of these layers would be: layers are never written to, and their places are never used again for
/// others without being made anew.
pub fn key(layers: &[PathBuf]) -> io::Result<String> {
    let mut hash = blake3::Hasher::new();
    hash.update(blake3::hash(KEEPER).as_bytes());
    for layer in layers {
        let found = fs::metadata(layer)?;
        hash.update(layer.as_os_str().as_encoded_bytes());
        for number in [found.dev(), found.ino(), found.mtime() as u64, found.mtime_nsec() as u64] {
            hash.update(&number.to_le_bytes());
        }
    }
    Ok(hash.finalize().to_hex()[..32].to_owned())
}

/// Writes the archive. The lowest layer is the first.
pub fn write(layers: &[PathBuf], to: impl Write) -> io::Result<()> {
    let mut archive = Archive { builder: Builder::new(to), linked: HashMap::new() };
    let upper_first: Vec<PathBuf> = layers.iter().rev().cloned().collect();
    archive.directory(Path::new(""), &upper_first)?;
    archive.own()?;
    archive.builder.finish()
}

struct Archive<W: Write> {
    builder: Builder<W>,
    /// Files with more than one name: the first of them, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// What the layers have of one name.
#[derive(Default)]
struct Found {
    /// The uppermost first; more than one only of directories.
    places: Vec<PathBuf>,
    /// What is further down is hidden.
    closed: bool,
}

impl<W: Write> Archive<W> {
    /// All that is in a directory, which is the same in these layers.
    fn directory(&mut self, path: &Path, places: &[PathBuf]) -> io::Result<()> {
        let mut names: BTreeMap<OsString, Found> = BTreeMap::new();
        for place in places {
            for entry in fs::read_dir(place)? {
                let entry = entry?;
                let found = names.entry(entry.file_name()).or_default();
                if !found.closed {
                    found.add(entry.path())?;
                }
            }
        }
        for (name, found) in names {
            let path = path.join(name);
            let Some(uppermost) = found.places.first().filter(|_| path != Path::new(OWN)) else { continue };
            self.entry(&path, uppermost)?;
            if fs::symlink_metadata(uppermost)?.is_dir() {
                self.directory(&path, &found.places)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, place: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(place)?;
        let kind = found.file_type();
        let mut header = header(&found);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.builder.append_data(&mut header, path, io::empty())
        } else if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            self.builder.append_link(&mut header, path, fs::read_link(place)?)
        } else if !kind.is_file() {
            // Unpacking made none, and an engine must not.
            Ok(())
        } else if let Some(first) = self.linked.get(&(found.dev(), found.ino())) {
            header.set_entry_type(EntryType::Link);
            self.builder.append_link(&mut header, path, first)
        } else {
            if found.nlink() > 1 {
                self.linked.insert((found.dev(), found.ino()), path.to_owned());
            }
            header.set_entry_type(EntryType::Regular);
            header.set_size(found.len());
            self.builder.append_data(&mut header, path, File::open(place)?)
        }
    }

    /// What every guest has besides: the keeper, and the place where it finds its envoy.
    fn own(&mut self) -> io::Result<()> {
        let own = Path::new(OWN);
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        let nought = [Header::set_uid, Header::set_gid, Header::set_size, Header::set_mtime];
        nought.iter().for_each(|set| set(&mut header, 0));
        for directory in [own.to_owned(), own.join("in")] {
            header.set_entry_type(EntryType::Directory);
            self.builder.append_data(&mut header, directory, io::empty())?;
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(KEEPER.len() as u64);
        self.builder.append_data(&mut header, own.join("keeper"), KEEPER)
    }
}

impl Found {
    fn add(&mut self, place: PathBuf) -> io::Result<()> {
        let found = fs::symlink_metadata(&place)?;
        let is_removal = found.file_type().is_char_device() && found.rdev() == 0;
        if found.is_dir() {
            self.closed = is_opaque(&File::open(&place)?);
            self.places.push(place);
        } else {
            self.closed = true;
            // Below a directory a file of the same name is hidden, as all is by a removal.
            if !is_removal && self.places.is_empty() {
                self.places.push(place);
            }
        }
        Ok(())
    }
}

fn header(found: &fs::Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(found.mode() & 0o1777);
    // Whoever is not root has unpacked all as their own.
    let owner = |id: u32| if geteuid().is_root() { id.into() } else { 0 };
    header.set_uid(owner(found.uid()));
    header.set_gid(owner(found.gid()));
    header.set_mtime(found.mtime().max(0) as u64);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn listed(layers: &[PathBuf]) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        write(layers, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            if entry.path().unwrap().starts_with(OWN) {
                text = "ours".into();
            } else if let Some(target) = entry.link_name().unwrap() {
                text = format!("{:?} {}", entry.header().entry_type(), target.display());
            } else {
                entry.read_to_string(&mut text).unwrap();
            }
            (entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned(), text)
        });
        entries.collect()
    }

    #[test]
    fn an_archive_has_what_an_overlay_would_show() {
        let dir = tempfile::tempdir().unwrap();
        let [below, above] = ["below", "above"].map(|name| dir.path().join(name));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in [
            ("etc/a", "below"),
            ("etc/b", "below"),
            ("hidden/x", "below"),
            ("replaced", "below"),
            ("gone", "below"),
            (".sublet/keeper", "the tenant's"),
        ] {
            write(below.join(path), text);
        }
        fs::hard_link(below.join("etc/b"), below.join("etc/c")).unwrap();
        write(above.join("etc/a"), "above");
        write(above.join("replaced/now"), "above");
        symlink("/etc/a", above.join("link")).unwrap();
        write(above.join("hidden/y"), "above");
        let mark = std::process::Command::new("setfattr")
            .args(["-n", "user.overlay.opaque", "-v", "y"])
            .arg(above.join("hidden"))
            .status();
        let has_marks = mark.is_ok_and(|status| status.success());
        let found = listed(&[below.clone(), above.clone()]);
        let get = |path: &str| found.get(path).map(String::as_str);
        assert_eq!((get("etc/a"), get("etc/b")), (Some("above"), Some("below")));
        assert_eq!(get("etc/c"), Some("Link etc/b"));
        assert_eq!((get("replaced/now"), get("link")), (Some("above"), Some("Symlink /etc/a")));
        assert_eq!(get("hidden/y"), Some("above"));
        assert!(!has_marks || get("hidden/x").is_none(), "{found:?}");
        assert_eq!(get(".sublet/keeper"), Some("ours"));
        assert!(found.contains_key("gone"));
        if geteuid().is_root() {
            let gone = rustix::fs::mknodat(
                rustix::fs::CWD,
                above.join("gone"),
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::empty(),
                0,
            );
            gone.unwrap();
            assert!(!listed(&[below, above]).contains_key("gone"));
        }
    }

    #[test]
    fn an_import_is_named_by_its_layers() {
        let dir = tempfile::tempdir().unwrap();
        let layers = ["a", "b"].map(|name| dir.path().join(name));
        layers.iter().for_each(|layer| fs::create_dir(layer).unwrap());
        let [a, b] = layers;
        let both = key(&[a.clone(), b.clone()]).unwrap();
        assert_eq!(both, key(&[a.clone(), b.clone()]).unwrap());
        assert_ne!(both, key(&[b.clone(), a.clone()]).unwrap());
        fs::remove_dir(&a).unwrap();
        assert!(key(&[a, b]).is_err());
    }
}
