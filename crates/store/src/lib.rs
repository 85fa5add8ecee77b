//! What a node remembers: the only SQLite in the house, one file in the data directory, one writer.
//!
//! - [The record](record): what this node did and agreed to, append-only, each row bound to the one before by its
//!   hash. It is on the disk, whole, before [`Store::append`] returns.
//! - Tables made from it, in the same transaction: [leases](lease), [postings](posting), [ratings](rating), and
//!   [which records speak of what](mention). [`Store::rebuild`] makes them again.
//! - What can be had again: [snapshots](snapshot) of the state, and [objects](object) that others have signed.
//!
//! One file per table. Nothing here decides: the rules are the engine's.

mod earning;
mod error;
pub mod lease;
mod lock;
pub mod mention;
mod migrations;
pub mod object;
pub mod posting;
pub mod rating;
pub mod record;
pub mod snapshot;
mod statement;

pub use earning::{Earned, QUARTER};
pub use error::{Break, StoreError};
pub use lease::{LeaseFilter, LeaseRow};
pub use lock::{Holder, holder};
pub use object::{Object, Put};
pub use posting::Booked;
pub use rating::Rated;
pub use record::Report;
pub use statement::Dealt;

use lock::Lock;
use rusqlite::Connection;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The memory of one node. While it lives, no other process opens the same directory.
#[derive(Debug)]
pub struct Store {
    /// For what must never be lost: each commit is on the disk when it returns.
    record: Connection,
    /// For what can be had again: a power cut may take the last of it.
    cache: Connection,
    head: record::Head,
    /// How many objects there are: counting them at each new one would take longer than keeping it.
    objects: usize,
    // Last, so that it is let go when the connections are closed.
    lock: Lock,
}

impl Store {
    /// Opens the data directory, makes it where there is none, and brings an older one to the present version.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Newer`], [`StoreError::Full`], [`StoreError::Damaged`], or whatever the
    /// system has against it.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        private_directory(dir)?;
        let lock = Lock::take(dir)?;
        let path = dir.join("sublet.db");
        private_file(&path)?;
        let mut record = connect(&path, "FULL")?;
        let is_older = migrations::run(&mut record)?;
        let cache = connect(&path, "NORMAL")?;
        let head = record::head(&record)?;
        let objects = object::count(&cache)?;
        let mut store = Store { record, cache, head, objects, lock };
        if is_older {
            store.rebuild()?;
        }
        Ok(store)
    }

    /// Tells other programs where the API of this node listens; see [`holder`].
    ///
    /// # Errors
    /// When the file beside the lock cannot be written.
    pub fn announce(&self, address: &str) -> Result<(), StoreError> {
        self.lock.announce(Some(address))
    }
}

/// A directory for the owner's eyes only. One that is there already keeps the mode that the owner gave it.
fn private_directory(dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(StoreError::file("make the directory", dir))
}

/// SQLite gives the files beside the database the mode of the database.
fn private_file(path: &PathBuf) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(StoreError::file("open", path))
}

fn connect(path: &Path, synchronous: &str) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    // The owner may look with another program: it is waited for, but not for ever.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    Ok(connection)
}

/// A bound that somebody asks for. One larger than SQLite counts is as good as none.
fn bound(asked: impl TryInto<i64>) -> i64 {
    asked.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "../../model/tests/examples/mod.rs"]
mod examples;

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let path = dir.path().join("sublet.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 7, known: migrations::KNOWN }), "{error}");
        let left: u32 = Connection::open(&path)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(left, 7);
    }

    #[test]
    fn what_is_no_database_is_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sublet.db"), [7; 4096]).unwrap();
        assert!(matches!(Store::open(dir.path()).unwrap_err(), StoreError::Damaged(_)));
    }

    #[cfg(unix)]
    #[test]
    fn the_owner_alone_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let mut store = Store::open(&dir).unwrap();
        store.append(model::Timestamp(1), &[model::record::Record::Shared { share: None }]).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.clone()), 0o700);
        for name in ["sublet.db", "sublet.db-wal", "sublet.db-shm"] {
            assert_eq!(mode(dir.join(name)), 0o600, "{name}");
        }
    }
}
