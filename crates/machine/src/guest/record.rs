//! What is written in a guest's directory: the orders that its supervisor follows, and how it ended.
//!
//! ```text
//! DATA/guests/<id>/orders.json   what the node decided; never changed
//!                  disk          what it may write, until its supervisor has it
//!                  lock          held by the supervisor for as long as it lives, from before it was born
//!                  control       the supervisor's socket
//!                  log.<offset>  what the guest printed, the newest two pieces
//!                  end.json      how it ended; written once, and whole
//!                  supervisor.log  only if the supervisor itself is in trouble
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::Traffic;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::defences::Defences;
use super::error::StartError;
use super::grip::HeldBy;
use super::ids::Ids;
use super::runtime::Runtime;
use super::spec::{GuestId, GuestSpec};
use super::writable::Writable;

/// All that a supervisor needs to know, decided beforehand by the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What was asked for.
    pub spec: GuestSpec,
    /// Whom the guest's users are on this machine.
    pub ids: Ids,
    /// Where its limits are set.
    #[serde(rename = "hierarchy")]
    pub held_by: HeldBy,
    /// What runs it.
    pub runtime: Runtime,
    /// Where it writes.
    #[serde(default)]
    pub writable: Writable,
    /// Never written down: see [`Defences`].
    #[serde(skip)]
    pub defences: Defences,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub how: Ending,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// All that it used.
    pub usage: Usage,
}

/// The ways in which a guest ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Its program ended, or was ended, with this code (128 + n for signal n).
    Exited(i32),
    /// Its program never ran.
    NotStarted(StartError),
    /// Nobody saw it end.
    Lost(Loss),
}

/// Why nobody saw a guest end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Loss {
    /// The supervisor is gone without a word.
    #[error("its supervisor was killed, or the machine was restarted")]
    Supervisor,
    /// The node stopped before the supervisor was started.
    #[error("the node stopped while it was being started")]
    NeverStarted,
}

/// What a guest has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time, in milliseconds of one core.
    pub cpu_ms: u64,
    /// Bytes of memory in use, what it wrote over its image included.
    pub memory_bytes: u64,
    /// The most of them at any time.
    pub memory_peak: u64,
    /// Times that the kernel killed one of its processes for want of memory.
    pub oom_kills: u64,
    /// When its program began, milliseconds since 1970; 0 before that.
    pub started_at: u64,
    /// Milliseconds for which it was frozen.
    pub frozen_ms: u64,
    /// Bytes that it printed, also those that are no longer kept.
    pub log_bytes: u64,
    /// What passed between it and the outside. The node counts it, not the supervisor.
    #[serde(default)]
    pub traffic: Traffic,
    /// Times that its program was begun again.
    #[serde(default)]
    pub restarts: u32,
    /// Bytes of that memory that no process holds: what the kernel would take back at once, pages of files that nobody used
    /// lately; and its disk, where that is in memory.
    #[serde(default)]
    pub cache_bytes: u64,
    /// Bytes that it wrote over its image and that are still there.
    #[serde(default)]
    pub disk_bytes: u64,
    /// Processes and threads that it has.
    #[serde(default)]
    pub pids: u64,
}

impl Usage {
    /// Bytes of memory that its processes hold: without its disk, and what the kernel would take back at once.
    pub fn working_memory(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.cache_bytes)
    }
}

/// A guest's directory.
#[derive(Clone, Debug)]
pub struct GuestDir(PathBuf);

/// The ending of a directory's name while it is being made.
const UNFINISHED: &str = "new";

/// Larger than any honest record, smaller than what would hurt to read.
const LARGEST_RECORD: u64 = 1 << 20;

impl GuestDir {
    /// The directory of `id` below `root`; it need not be there.
    pub fn of(root: &Path, id: &GuestId) -> GuestDir {
        GuestDir(root.join(id.to_string()))
    }

    /// The one that this process stands in, as a supervisor does.
    pub fn here() -> GuestDir {
        GuestDir(PathBuf::from("."))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether there is such a guest.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Makes it, for the owner alone, with its orders in it. Returns its lock, already taken, which says "somebody sees
    /// to this guest" until all copies of the file are closed.
    pub fn create(&self, orders: &Orders) -> io::Result<File> {
        let unfinished = GuestDir(self.0.with_extension(UNFINISHED));
        DirBuilder::new().mode(0o700).create(unfinished.path())?;
        unfinished.write_whole("orders.json", orders)?;
        let lock = unfinished.lock_file()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(unfinished.path(), &self.0)?;
        Ok(lock)
    }

    /// Removes what a node left that stopped in the middle of [`GuestDir::create`].
    pub fn clear_unfinished(root: &Path) -> io::Result<()> {
        let entries = fs::read_dir(root)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut unfinished =
            entries.filter(|path| path.extension().is_some_and(|extension| extension == UNFINISHED));
        unfinished.try_for_each(fs::remove_dir_all)
    }

    /// What its supervisor was told.
    pub fn orders(&self) -> io::Result<Orders> {
        self.read("orders.json")
    }

    /// How it ended, if it has and somebody saw it.
    pub fn end(&self) -> io::Result<Option<End>> {
        match self.read("end.json") {
            Ok(end) => Ok(Some(end)),
            // An unreadable record (a disk that was full, a power cut) is no record: the guest counts as lost.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Records how it ended, whole or not at all. It survives a power cut after [`GuestDir::sync`].
    pub fn set_end(&self, end: &End) -> io::Result<()> {
        self.write_whole("end.json", end)
    }

    /// Waits until the end's record is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        File::open(self.0.join("end.json"))?.sync_all()?;
        File::open(&self.0)?.sync_all()
    }

    /// Whether a supervisor lives.
    pub fn is_attended(&self) -> io::Result<bool> {
        match flock(self.lock_file()?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until none does.
    pub fn wait_unattended(&self) -> io::Result<()> {
        Ok(flock(self.lock_file()?, FlockOperation::LockExclusive)?)
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.0.join("lock"))
    }

    /// Where a supervisor's own last words go.
    pub fn supervisor_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.0.join("supervisor.log"))
    }

    fn write_whole(&self, name: &str, record: &impl Serialize) -> io::Result<()> {
        let unfinished = self.0.join(format!("{name}.new"));
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs::rename(unfinished, self.0.join(name))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        let mut bytes = Vec::new();
        File::open(self.0.join(name))?.take(LARGEST_RECORD).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cut_short_is_no_record() {
        let root = tempfile::tempdir().unwrap();
        let dir = GuestDir(root.path().to_owned());
        assert_eq!(dir.end().unwrap(), None);
        let end = End { how: Ending::Exited(7), at: 1, usage: Usage::default() };
        dir.set_end(&end).unwrap();
        assert_eq!(dir.end().unwrap(), Some(end));
        fs::write(root.path().join("end.json"), b"{\"how\":{\"Exi").unwrap();
        assert_eq!(dir.end().unwrap(), None);
    }

    #[test]
    fn the_lock_is_held_by_every_copy_of_its_file() {
        let root = tempfile::tempdir().unwrap();
        let dir = GuestDir(root.path().to_owned());
        let lock = dir.lock_file().unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let copy = lock.try_clone().unwrap();
        drop(lock);
        assert!(dir.is_attended().unwrap());
        drop(copy);
        assert!(!dir.is_attended().unwrap());
    }
}
