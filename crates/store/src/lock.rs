//! One node for one data directory: a lock of the operating system, which goes with the process however it ends.

use crate::StoreError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who holds a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Where its API listens, once it does.
    pub address: Option<String>,
}

/// Who holds `dir` now; none when nobody does. A second program becomes a client of the first by this.
///
/// # Errors
/// When the directory cannot be read.
pub fn holder(dir: &Path) -> Result<Option<Holder>, StoreError> {
    let path = lock_path(dir);
    if !path.exists() {
        return Ok(None);
    }
    let file = open(&path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(read_holder(dir)),
        Err(TryLockError::Error(error)) => Err(StoreError::file("lock", &path)(error)),
    }
}

/// Held for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    dir: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock on `dir`, which exists.
    pub(crate) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = lock_path(dir);
        let file = open(&path)?;
        // A predecessor that is just ending, or a client that only looks, holds it for a moment.
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    let lock = Lock { dir: dir.to_owned(), _file: file };
                    lock.announce(None)?;
                    return Ok(lock);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path)(error)),
            }
        }
        Err(StoreError::InUse { dir: dir.to_owned(), holder: read_holder(dir) })
    }

    /// Says who holds it, and where its API listens.
    pub(crate) fn announce(&self, address: Option<&str>) -> Result<(), StoreError> {
        let path = holder_path(&self.dir);
        let words = format!("{}\n{}\n", std::process::id(), address.unwrap_or_default());
        // Whole or not at all: whoever reads meanwhile sees the old words or the new ones.
        let beside = path.with_extension("new");
        fs::write(&beside, words).map_err(StoreError::file("write", &beside))?;
        fs::rename(&beside, &path).map_err(StoreError::file("write", &path))
    }
}

const TRIES: u32 = 15;
const PAUSE: Duration = Duration::from_millis(20);

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Beside the lock, not in it: on Windows nobody else can read a file that is locked.
fn holder_path(dir: &Path) -> PathBuf {
    dir.join("lock.holder")
}

fn open(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(StoreError::file("open", path))
}

fn read_holder(dir: &Path) -> Option<Holder> {
    let words = fs::read_to_string(holder_path(dir)).ok()?;
    let mut lines = words.lines();
    let pid = lines.next()?.parse().ok()?;
    Some(Holder { pid, address: lines.next().filter(|line| !line.is_empty()).map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        let lock = Lock::take(dir.path()).unwrap();
        let me = Holder { pid: std::process::id(), address: None };
        assert_eq!(holder(dir.path()).unwrap(), Some(me.clone()));

        lock.announce(Some("127.0.0.1:4711")).unwrap();
        let listening = Holder { address: Some("127.0.0.1:4711".into()), ..me };
        match Lock::take(dir.path()) {
            Err(StoreError::InUse { holder, .. }) => assert_eq!(holder, Some(listening)),
            other => panic!("taken twice: {other:?}"),
        }

        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
