//! Volumes: disks of tenants that outlive their guests.
//!
//! ```text
//! DATA/volumes/<id>/volume.json    whose, by which name, how large
//!                   disk           a file with an ext4 file system: exactly so many bytes, so many files
//!                   snapshots/..   copies of it
//!                   mnt/           where it is mounted while something is done with it
//! ```
//!
//! The id is made of the tenant's person and the name, so that one tenant's volumes are never another's. A volume is mounted
//! only for as long as a guest is started: the guest has a mount of its own then, with its own ids, and the kernel takes the
//! loop device away with the last of them. So nothing is left when a node is killed, and a guest goes on.

mod copy;
mod crypt;
pub(crate) mod disk;
mod error;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use crypt::{KEY_BYTES, VolumeSecret};
pub(crate) use disk::leave_behind;
pub use error::VolumeError;

use crate::image::{self, Limits, Style};
use disk::{Mounted, attach, is_attached};

/// Files: one for each so many bytes, as ext4 has it by default.
const BYTES_PER_FILE: u64 = 16_384;

/// The kernel lets go of a disk a moment after it was unmounted.
const LET_GO: Duration = Duration::from_secs(3);

/// Names a volume on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(String);

impl VolumeId {
    /// The volume that this person calls so.
    pub fn of(person: &[u8; 32], name: &str) -> VolumeId {
        let mut hasher = blake3::Hasher::new_derive_key("sublet 2026 volume of a person");
        hasher.update(person).update(name.as_bytes());
        VolumeId(hex::encode(&hasher.finalize().as_bytes()[..16]))
    }
}

impl std::fmt::Display for VolumeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a guest is to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose it is.
    pub person: [u8; 32],
    /// What they call it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The key of one that is encrypted; none: it is not.
    pub secret: Option<VolumeSecret>,
}

/// A volume that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSeen {
    /// Whose it is.
    #[serde(with = "hex::serde")]
    pub person: [u8; 32],
    /// What they call it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its snapshots.
    #[serde(default)]
    pub snapshots: Vec<String>,
    /// Whether a guest or a copy is at work with it.
    #[serde(default)]
    pub in_use: bool,
}

impl VolumeSeen {
    /// Its id.
    pub fn id(&self) -> VolumeId {
        VolumeId::of(&self.person, &self.name)
    }
}

/// All volumes of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
    /// What something is being done with now.
    held: Arc<Mutex<HashSet<VolumeId>>>,
}

/// A volume that is mounted until this is dropped. Who has cloned the mount meanwhile keeps it.
#[derive(Debug)]
pub struct Ready {
    mounted: Mounted,
    _hold: Hold,
}

impl Ready {
    /// The directory of its files.
    pub fn path(&self) -> PathBuf {
        self.mounted.at.join(DATA)
    }
}

/// The files are in a directory of their own: a file system's root cannot be encrypted, and has `lost+found` in it.
const DATA: &str = "data";

impl Volumes {
    /// Opens the volumes in the directory `root`, and clears what a node left that was killed in the middle of something.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(root: PathBuf) -> Result<Volumes, VolumeError> {
        private(&root)?;
        let root = root.canonicalize().map_err(VolumeError::io("find", &root))?;
        if disk::possible().is_ok() {
            disk::unmount_below(&root).map_err(VolumeError::io("unmount what was left in", &root))?;
        }
        for path in list(&root)? {
            if path.extension().is_some() {
                fs::remove_dir_all(&path).map_err(VolumeError::io("remove", &path))?;
                continue;
            }
            for copy in list(&path.join("snapshots")).unwrap_or_default() {
                if copy.extension().is_some_and(|extension| extension == NEW) {
                    fs::remove_file(&copy).map_err(VolumeError::io("remove", &copy))?;
                }
            }
        }
        Ok(Volumes { root, held: Arc::default() })
    }

    /// Whether this machine can have volumes.
    ///
    /// # Errors
    /// `Unsupported` says why not.
    pub fn possible() -> Result<(), VolumeError> {
        disk::possible().map_err(|why| VolumeError::Unsupported { why })
    }

    /// Whether it can encrypt them.
    pub fn can_encrypt() -> bool {
        crypt::possible()
    }

    /// Makes sure that there is such a volume, at least so large, and mounts it.
    ///
    /// # Errors
    /// Why not. A volume that is new is there whole, or not at all.
    pub fn provide(&self, wanted: &Wanted) -> Result<Ready, VolumeError> {
        Volumes::possible()?;
        if wanted.secret.is_some() && !crypt::possible() {
            return Err(VolumeError::Unsupported { why: "its kernel cannot encrypt ext4".to_owned() });
        }
        let id = VolumeId::of(&wanted.person, &wanted.name);
        let hold = self.hold(&id, &wanted.name)?;
        let directory = self.directory(&id);
        if !directory.exists() {
            self.make(&directory, wanted)?;
        }
        let mut seen = self.read(&directory)?;
        if seen.encrypted != wanted.secret.is_some() {
            let why = if seen.encrypted { "is encrypted: give its key" } else { "is not encrypted" };
            return Err(VolumeError::Key { name: seen.name, why });
        }
        if wanted.size < seen.size {
            return Err(VolumeError::Shrinks { name: seen.name, has: seen.size, asked: wanted.size });
        }
        self.wait_until_free(&id, &seen.name)?;
        if wanted.size > seen.size {
            disk::grow(&directory.join(DISK), wanted.size)?;
            seen.size = wanted.size;
            write(&directory, &seen)?;
        }
        let mounted =
            self.mount(&directory.join(DISK), &directory.join(MOUNT), &seen, wanted.secret.as_ref())?;
        Ok(Ready { mounted, _hold: hold })
    }

    /// All that are here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<VolumeSeen>, VolumeError> {
        let directories = list(&self.root)?.into_iter().filter(|path| path.extension().is_none());
        Ok(directories.filter_map(|path| self.read(&path).ok()).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn get(&self, id: &VolumeId) -> Result<VolumeSeen, VolumeError> {
        self.read(&self.directory(id)).map_err(|_| VolumeError::Unknown { name: id.to_string() })
    }

    /// Removes a volume with its snapshots. Says whether it was here. It is gone for good, but what once lay on a disk may be
    /// found there by who has the disk, unless it was encrypted.
    ///
    /// # Errors
    /// `Busy`, `Io`.
    pub fn remove(&self, id: &VolumeId) -> Result<bool, VolumeError> {
        let directory = self.directory(id);
        let Ok(seen) = self.read(&directory) else { return Ok(false) };
        let _hold = self.hold(id, &seen.name)?;
        self.wait_until_free(id, &seen.name)?;
        // Once renamed it is no volume, whatever happens in the middle of removing.
        let gone = directory.with_extension("gone");
        fs::rename(&directory, &gone).map_err(VolumeError::io("remove", &directory))?;
        sync(&self.root)?;
        fs::remove_dir_all(&gone).map_err(VolumeError::io("remove", &gone))?;
        Ok(true)
    }

    /// Keeps the volume as it is now by this name.
    ///
    /// # Errors
    /// `Busy` while a guest has it, `Snapshot` when the name is taken or there are `most` of them, `Full`, `Io`.
    pub fn snapshot(&self, id: &VolumeId, name: &str, most: usize) -> Result<(), VolumeError> {
        let seen = self.get(id)?;
        let wrong = |what: String| Err(VolumeError::Snapshot { what });
        if !model::document::is_volume_name(name) {
            return wrong(format!(
                "`{name}` is no name of a snapshot: 1 to 32 small letters, digits, `.`, `_`, `-`"
            ));
        }
        if seen.snapshots.iter().any(|known| known == name) {
            return wrong(format!("there is a snapshot {name} of {} already", seen.name));
        }
        if seen.snapshots.len() >= most {
            return wrong(format!(
                "{most} snapshots of {} were rented and are there: remove one first",
                seen.name
            ));
        }
        let _hold = self.hold(id, &seen.name)?;
        self.wait_until_free(id, &seen.name)?;
        let directory = self.directory(id);
        let target = directory.join(SNAPSHOTS).join(format!("{name}{SUFFIX}"));
        let beside = target.with_extension(NEW);
        disk::copy(&directory.join(DISK), &beside).inspect_err(|_| {
            // What cannot be removed now is at the next start.
            let _ = fs::remove_file(&beside);
        })?;
        fs::rename(&beside, &target).map_err(VolumeError::io("keep", &target))?;
        sync(&directory.join(SNAPSHOTS))
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// `Snapshot` when there is none by this name; `Busy`, `Io`.
    pub fn remove_snapshot(&self, id: &VolumeId, name: &str) -> Result<(), VolumeError> {
        let seen = self.get(id)?;
        let path = self.snapshot_path(id, &seen, name)?;
        let _hold = self.hold(id, &seen.name)?;
        fs::remove_file(&path).map_err(VolumeError::io("remove", &path))
    }

    /// Writes the files of a volume, or of a snapshot of it, as a tar archive.
    ///
    /// # Errors
    /// `Busy` while a guest has it, `Key`, `Snapshot`, `Sparse`, `Io`.
    pub fn export(
        &self,
        id: &VolumeId,
        snapshot: Option<&str>,
        secret: Option<&VolumeSecret>,
        to: impl Write,
    ) -> Result<(), VolumeError> {
        let seen = self.get(id)?;
        let _hold = self.hold(id, &seen.name)?;
        let directory = self.directory(id);
        let disk = match snapshot {
            Some(name) => self.snapshot_path(id, &seen, name)?,
            None => {
                self.wait_until_free(id, &seen.name)?;
                directory.join(DISK)
            }
        };
        let mounted = self.mount(&disk, &directory.join(MOUNT), &seen, secret)?;
        copy::write_archive(&mounted.at.join(DATA), seen.size.saturating_mul(4), to)
    }

    /// Puts files from a tar archive (plain, gzip or zstd) into a volume, over those that are there.
    ///
    /// # Errors
    /// `Busy` while a guest has it, `Key`, `Archive`, `Io`.
    pub fn import(
        &self,
        id: &VolumeId,
        secret: Option<&VolumeSecret>,
        from: impl Read,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), VolumeError> {
        let seen = self.get(id)?;
        let _hold = self.hold(id, &seen.name)?;
        self.wait_until_free(id, &seen.name)?;
        let directory = self.directory(id);
        let mounted = self.mount(&directory.join(DISK), &directory.join(MOUNT), &seen, secret)?;
        let data = mounted.at.join(DATA);
        let entries = seen.size / BYTES_PER_FILE + 64;
        let limits = Limits { bytes: seen.size, entries, style: Style::Volume };
        image::unpack(from, &data, limits, cancelled).map_err(VolumeError::Archive)?;
        let file = File::open(&data).map_err(VolumeError::io("open", &data))?;
        rustix::fs::syncfs(&file).map_err(VolumeError::io("sync", &data))
    }

    fn directory(&self, id: &VolumeId) -> PathBuf {
        self.root.join(&id.0)
    }

    /// Beside, and renamed when it is whole.
    fn make(&self, directory: &Path, wanted: &Wanted) -> Result<(), VolumeError> {
        image::has_room(&self.root, wanted.size).map_err(|_| VolumeError::Full { needed: wanted.size })?;
        let beside = directory.with_extension(NEW);
        let made = self.make_in(&beside, wanted);
        let kept = made.and_then(|()| {
            fs::rename(&beside, directory).map_err(VolumeError::io("keep", directory))?;
            sync(&self.root)
        });
        kept.inspect_err(|_| {
            // What cannot be removed now is at the next start.
            let _ = fs::remove_dir_all(&beside);
        })
    }

    fn make_in(&self, directory: &Path, wanted: &Wanted) -> Result<(), VolumeError> {
        private(directory)?;
        private(&directory.join(SNAPSHOTS))?;
        let inodes = wanted.size / BYTES_PER_FILE + 64;
        disk::make(&directory.join(DISK), wanted.size, inodes, wanted.secret.is_some())?;
        let seen = VolumeSeen {
            person: wanted.person,
            name: wanted.name.clone(),
            size: wanted.size,
            encrypted: wanted.secret.is_some(),
            snapshots: Vec::new(),
            in_use: false,
        };
        write(directory, &seen)?;
        let at = directory.join(MOUNT);
        let mounted = attach(&directory.join(DISK), &at)?;
        let data = mounted.at.join(DATA);
        fs::create_dir(&data).map_err(VolumeError::io("make the directory", &data))?;
        let open_to_all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&data, open_to_all).map_err(VolumeError::io("set the mode of", &data))?;
        if let Some(secret) = &wanted.secret {
            let key =
                crypt::unlock(&at, secret).map_err(VolumeError::io("give the kernel the key of", &data))?;
            crypt::encrypt(&data, key).map_err(VolumeError::io("encrypt", &data))?;
        }
        Ok(())
    }

    /// Mounts a disk, and gives the kernel its key.
    fn mount(
        &self,
        disk: &Path,
        at: &Path,
        seen: &VolumeSeen,
        secret: Option<&VolumeSecret>,
    ) -> Result<Mounted, VolumeError> {
        let mounted = attach(disk, at)?;
        let wrong = |why| Err(VolumeError::Key { name: seen.name.clone(), why });
        match (seen.encrypted, secret) {
            (false, _) => {}
            (true, None) => return wrong("is encrypted: give its key"),
            (true, Some(secret)) => {
                let ours =
                    crypt::unlock(at, secret).map_err(VolumeError::io("give the kernel the key of", at))?;
                let data = mounted.at.join(DATA);
                let theirs = crypt::encrypted_with(&data).map_err(VolumeError::io("look at", &data))?;
                if theirs != Some(ours) {
                    return wrong("is encrypted with another key");
                }
            }
        }
        Ok(mounted)
    }

    fn snapshot_path(&self, id: &VolumeId, seen: &VolumeSeen, name: &str) -> Result<PathBuf, VolumeError> {
        if !seen.snapshots.iter().any(|known| known == name) {
            return Err(VolumeError::Snapshot {
                what: format!("there is no snapshot {name} of {}", seen.name),
            });
        }
        Ok(self.directory(id).join(SNAPSHOTS).join(format!("{name}{SUFFIX}")))
    }

    fn read(&self, directory: &Path) -> Result<VolumeSeen, VolumeError> {
        let path = directory.join("volume.json");
        let bytes = fs::read(&path).map_err(VolumeError::io("read", &path))?;
        let mut seen: VolumeSeen = serde_json::from_slice(&bytes)
            .map_err(|error| VolumeError::io("read", &path)(io::Error::other(error)))?;
        let copies = list(&directory.join(SNAPSHOTS)).unwrap_or_default();
        let names = copies.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(SUFFIX));
        seen.snapshots = names.map(str::to_owned).collect();
        seen.snapshots.sort();
        seen.in_use = lock(&self.held).contains(&seen.id()) || is_attached(&directory.join(DISK));
        Ok(seen)
    }

    fn hold(&self, id: &VolumeId, name: &str) -> Result<Hold, VolumeError> {
        if lock(&self.held).insert(id.clone()) {
            Ok(Hold { held: self.held.clone(), id: id.clone() })
        } else {
            Err(VolumeError::Busy { name: name.to_owned() })
        }
    }

    fn wait_until_free(&self, id: &VolumeId, name: &str) -> Result<(), VolumeError> {
        let disk = self.directory(id).join(DISK);
        let begun = Instant::now();
        while is_attached(&disk) {
            if begun.elapsed() > LET_GO {
                return Err(VolumeError::Busy { name: name.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

const DISK: &str = "disk";
const MOUNT: &str = "mnt";
/// The directory of a node in which they all are.
pub const VOLUMES: &str = "volumes";
const SNAPSHOTS: &str = "snapshots";
/// Ends the name of what is not whole yet.
const NEW: &str = "new";
/// Ends the name of a snapshot, whose own name may have dots.
const SUFFIX: &str = ".disk";

/// The right to do something with a volume.
#[derive(Debug)]
struct Hold {
    held: Arc<Mutex<HashSet<VolumeId>>>,
    id: VolumeId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn private(path: &Path) -> Result<(), VolumeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(VolumeError::io("make the directory", path))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, VolumeError> {
    let entries = fs::read_dir(directory).map_err(VolumeError::io("list", directory))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    paths.map_err(VolumeError::io("list", directory))
}

fn write(directory: &Path, seen: &VolumeSeen) -> Result<(), VolumeError> {
    let path = directory.join("volume.json");
    let beside = directory.join("volume.json.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(seen)?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().map_err(VolumeError::io("write", &path))
}

fn sync(directory: &Path) -> Result<(), VolumeError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(VolumeError::io("sync", directory))
}
