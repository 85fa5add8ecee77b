//! What can go wrong with a guest.

use std::fmt;
use std::io;
use std::path::PathBuf;

use model::Feature;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::Loss;
use super::spec::{GuestId, LimitName, SpecError};
use crate::volume::VolumeError;

/// Why a guest cannot be had, or cannot be spoken to.
#[derive(Debug, Error)]
pub enum GuestError {
    /// It cannot be as it was asked for.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its limits cannot be enforced here; without them nobody's guest may run.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Nothing here runs containers.
    #[error(
        "no OCI runtime in PATH, and no container engine that can hold guests: install crun (Debian, Ubuntu, Fedora: package `crun`)"
    )]
    NoRuntime,
    /// No ids of their own for the users inside the guest.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// It was prepared, and its program did not begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ended without a witness, and an id is used once.
    #[error("guest {id} is lost: {loss}")]
    Lost {
        /// Which.
        id: GuestId,
        /// Why.
        loss: Loss,
    },
    /// There is no such guest, or it has ended.
    #[error("guest {0} does not run")]
    NotRunning(GuestId),
    /// It must be stopped first.
    #[error("guest {0} still runs")]
    StillRunning(GuestId),
    /// Its supervisor does not answer.
    #[error("the supervisor of guest {id} did not {doing} within {} s", .within.as_secs())]
    Unresponsive {
        /// Which.
        id: GuestId,
        /// What it was asked.
        doing: &'static str,
        /// How long we waited.
        within: std::time::Duration,
    },
    /// What runs it, or would, cannot give a guest that.
    #[error("{}", lacking(*.feature, .runtime))]
    Without {
        /// What.
        feature: Feature,
        /// What runs guests.
        runtime: String,
    },
    /// Nobody listens there, inside the guest.
    #[error("nothing in guest {id} answers on port {port}: {source}")]
    Connect {
        /// Which.
        id: GuestId,
        /// On the guest's loopback device.
        port: u16,
        /// What the guest's network said.
        source: io::Error,
    },
    /// Its disk could not be made.
    #[error("the guest's disk: {0}")]
    Disk(VolumeError),
    /// One guest at a time.
    #[error("another guest has the device {path}")]
    DeviceInUse {
        /// In the guest.
        path: String,
    },
    /// Another program could not be begun in it.
    #[error(transparent)]
    Exec(#[from] ExecRefusal),
    /// This machine's own trouble.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn lacking(feature: Feature, runtime: &str) -> String {
    match feature {
        Feature::Network => format!("guests by {runtime} have no ports, and reach nothing outside"),
        Feature::Devices => format!("guests by {runtime} have no devices of this machine"),
        Feature::Processes => format!("{runtime} shows nothing of what goes on in its guests"),
        Feature::Writing => format!("guests by {runtime} cannot write over their images"),
        Feature::Volumes => format!("guests by {runtime} have no volumes"),
        Feature::Secrets => format!("guests by {runtime} have no secrets"),
        Feature::Copying => format!("no files are copied into guests by {runtime} that run, nor out of them"),
    }
}

/// Why another program was not begun in a guest that runs.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ExecRefusal {
    /// Nothing moves in it.
    #[error("the guest stands still; what is begun in it would not run either")]
    Frozen,
    /// Its own program has not begun, or has ended.
    #[error("the guest's program does not run")]
    NotRunning,
    /// Each takes a place.
    #[error("{most} programs and transfers go on in the guest already, and more are not possible at once")]
    TooMany {
        /// How many are possible.
        most: usize,
    },
    /// More than the kernel or the runtime takes, or not what we write.
    #[error("what is to be run cannot be read: {0}")]
    Unreadable(String),
    /// Its own program was begun without an input.
    #[error("the guest's program reads no input: it was not asked for when the guest was rented")]
    NoInput,
    /// It did not begin.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Attaches what was tried to an error of the system.
pub trait Doing<T> {
    /// `doing` completes the sentence "could not ..".
    fn doing(self, doing: &'static str) -> Result<T, GuestError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, GuestError> {
        self.map_err(|error| GuestError::Io { doing, source: error.into() })
    }
}

/// Why a guest's program did not begin. It crosses from supervisor to node, and is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum StartError {
    /// Its limits could not be set.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A layer of its image is not there.
    #[error("the image's layer {} cannot be opened: {os}", .path.display())]
    Layer {
        /// Which.
        path: PathBuf,
        /// What the system said.
        os: Os,
    },
    /// Neither a path in the image, nor a name in `PATH`.
    #[error("the image has no program {program:?}; it was looked for in {searched}")]
    NoProgram {
        /// As it was asked for.
        program: String,
        /// The directories.
        searched: String,
    },
    /// Not in the image's /etc/passwd or /etc/group.
    #[error("the image knows no user {user:?}")]
    NoUser {
        /// As it was asked for.
        user: String,
    },
    /// The runtime refused.
    #[error("{runtime} could not start the program: {said}")]
    Runtime {
        /// Which.
        runtime: String,
        /// Its own words.
        said: String,
    },
    /// The sandbox could not be made.
    #[error("could not {doing}: {os}")]
    Sandbox {
        /// What was tried.
        doing: String,
        /// What the system said.
        os: Os,
    },
    /// Something hangs, and the guest was given up.
    #[error("the guest was not ready after {seconds} s")]
    TooSlow {
        /// How long it had.
        seconds: u64,
    },
    /// It was told to stop before its program began.
    #[error("the guest was stopped before its program began")]
    Stopped,
}

impl StartError {
    /// `doing` completes the sentence "could not ..".
    pub fn sandbox<E: Into<Os>>(doing: impl Into<String>) -> impl FnOnce(E) -> StartError {
        move |error| StartError::Sandbox { doing: doing.into(), os: error.into() }
    }
}

/// Why a limit cannot be enforced here.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum LimitError {
    /// The kernel, or whoever started us, gives us no such control group.
    #[error(
        "{limit} cannot be limited here: there is no control group `{controller}` that we may divide; {remedy}"
    )]
    NoController {
        /// What would be without a limit.
        limit: LimitName,
        /// The kernel's name for what enforces it.
        controller: String,
        /// What helps.
        remedy: Remedy,
    },
    /// The kernel refused another group.
    #[error("{limit} cannot be limited here: the control group {} cannot be made: {os}", .dir.display())]
    NoGroup {
        /// What would be without a limit.
        limit: LimitName,
        /// The group.
        dir: PathBuf,
        /// What the system said.
        os: Os,
    },
    /// The kernel refused the value.
    #[error("{limit} cannot be limited here: {} does not take {value:?}: {os}", .file.display())]
    Refused {
        /// What would be without a limit.
        limit: LimitName,
        /// The kernel's interface.
        file: PathBuf,
        /// What was written.
        value: String,
        /// What the system said.
        os: Os,
    },
}

impl LimitError {
    /// What would help, if that is known.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            LimitError::NoController { remedy, .. } => Some(*remedy),
            LimitError::NoGroup { .. } | LimitError::Refused { .. } => None,
        }
    }
}

/// What helps against a missing control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// A unit of systemd that hands its group to us.
    Delegate,
    /// Control groups of version 1 can be divided by root alone.
    Root,
    /// The second hierarchy, which can freeze, is not mounted.
    MountUnified,
    /// The kernel was built, or booted, without it.
    Kernel,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::Delegate => "start sublet with `systemd-run --user --scope -p Delegate=yes`, or as a service with Delegate=yes",
            Remedy::Root => "run sublet as root, or boot with systemd.unified_cgroup_hierarchy=1",
            Remedy::MountUnified => "mount it: `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`",
            Remedy::Kernel => "boot a kernel that has it enabled",
        })
    }
}

/// Why the users inside a guest can have no ids of their own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdsError {
    /// Every range is taken.
    #[error("no range of user ids is free for another guest")]
    Exhausted,
    /// Not root, and no subordinate ids.
    #[error(
        "user {uid} has no subordinate ids in {file}: `usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 <user>`"
    )]
    NoSubordinate {
        /// Who we are.
        uid: u32,
        /// Where they would stand.
        file: &'static str,
    },
}

/// An error number of the system, which can cross to another process.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os(pub i32);

impl From<io::Error> for Os {
    fn from(error: io::Error) -> Os {
        Os(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<rustix::io::Errno> for Os {
    fn from(error: rustix::io::Errno) -> Os {
        Os(error.raw_os_error())
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Os({self})")
    }
}
