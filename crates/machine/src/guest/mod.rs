//! Guests: other people's containers on this machine, each held by a supervisor of its own.
//!
//! [`Guests`] is the node's side. It decides what a guest gets (ids, groups, runtime), writes that down, runs this
//! program again as the guest's supervisor ([`supervise`]), and from then on only talks to it. A node that starts again
//! finds its guests by their directories, and itself in charge of them as before.

mod cgroup;
mod connection;
mod copy;
mod defences;
mod engine;
mod error;
mod exec;
mod grip;
mod guests;
mod ids;
mod image_users;
mod log;
mod mounts;
mod nodes;
mod oci;
mod own_kernel;
mod processes;
mod record;
mod runtime;
mod sandbox;
mod seccomp;
mod secrets;
mod settings;
mod spec;
mod supervisor;
pub(crate) mod sys;
mod warden;
mod watch;
mod wire;
mod writable;

pub(crate) use self::cgroup::{Hierarchy, guests_cpu};
pub use self::copy::{CopySpec, why};
pub use self::engine::{Engine, EngineError};
pub use self::error::{ExecRefusal, GuestError, IdsError, LimitError, Os, Remedy, StartError};
pub use self::exec::{Exec, ExecOutput, ExecSpec, Input, Said, Size};
pub use self::guests::Guests;
pub(crate) use self::ids::Ids;
pub use self::log::{LogChunk, LogPiece, Stream};
pub use self::mounts::Mount;
pub use self::processes::{Process, Processes};
pub use self::record::{Loss, Usage};
pub(crate) use self::runtime::find_in_path;
pub use self::runtime::{Keep, Runtime};
pub use self::secrets::Secret;
pub use self::settings::{Restart, Settings, Tmpfs, signal_number};
pub use self::spec::{Grace, GuestId, GuestSpec, LimitName, Limits, SpecError};
pub use self::supervisor::{supervise, supervise_without};
pub use self::writable::Writable;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use self::record::Ending;
use self::wire::LiveState;

/// What happened to a guest by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// Its program ended.
    Exited {
        /// Which guest.
        id: GuestId,
        /// The program's exit code; 128 + n if signal n ended it.
        code: i32,
    },
    /// It is gone, and nobody saw it end.
    Lost {
        /// Which guest.
        id: GuestId,
        /// What is known.
        why: Loss,
    },
}

/// A guest as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSeen {
    /// Which.
    pub id: GuestId,
    /// Where it stands.
    pub state: GuestState,
    /// What it has used until now, or until its end.
    pub usage: Usage,
}

/// Where a guest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// Its sandbox is being made.
    Starting,
    /// Its program runs.
    Running,
    /// Its program is held.
    Frozen,
    /// Its program ended.
    Exited {
        /// 128 + n if signal n ended it.
        code: i32,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// Its program never began.
    Failed {
        /// Why.
        error: StartError,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// It is gone, and nobody saw it end.
    Lost {
        /// What is known.
        why: Loss,
    },
}

const DISK_GONE_WITHIN: Duration = Duration::from_secs(10);

/// What is left on this machine of a guest that was removed: a directory, a control group, a mount.
pub(crate) fn remains(root: &Path, id: &GuestId) -> Option<String> {
    let dir = root.join(id.to_string());
    // The kernel writes out what a guest left before it lets go of the disk.
    let begun = Instant::now();
    while writable::left(&dir).is_some() && begun.elapsed() < DISK_GONE_WITHIN {
        std::thread::sleep(Duration::from_millis(20));
    }
    let disk = writable::left(&dir);
    let group = Hierarchy::find().ok().and_then(|hierarchy| hierarchy.group(id).left());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find(|line| line.contains(&id.to_string())).map(str::to_owned);
    let dir = Some(dir).filter(|dir| dir.exists());
    dir.or(group).or(disk).map(|path| path.display().to_string()).or(mount)
}

impl Ending {
    fn into_state(self, at: u64) -> GuestState {
        match self {
            Ending::Exited(code) => GuestState::Exited { code, at },
            Ending::NotStarted(error) => GuestState::Failed { error, at },
            Ending::Lost(why) => GuestState::Lost { why },
        }
    }
}

impl From<LiveState> for GuestState {
    fn from(state: LiveState) -> GuestState {
        match state {
            LiveState::Starting => GuestState::Starting,
            LiveState::Running => GuestState::Running,
            LiveState::Frozen => GuestState::Frozen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_guest_is_seen() {
        let (root, id) = (tempfile::tempdir().unwrap(), GuestId::new([3; 32]));
        assert_eq!(remains(root.path(), &id), None);
        fs::create_dir(root.path().join(id.to_string())).unwrap();
        assert!(remains(root.path(), &id).is_some());
    }
}
