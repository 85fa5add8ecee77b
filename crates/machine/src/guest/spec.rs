//! What a guest is to be: its layers, its program, its limits. Checked here, before anything is made.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use model::document::{SecretFile, is_hostname};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::mounts::Mount;
use super::secrets::Secret;
use super::settings::Settings;
use super::writable::Writable;

use crate::device::Devices;
use crate::network::Network;

/// Names a guest: the id of its lease. Written as 64 hex digits, also as the name of its directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GuestId([u8; 32]);

impl GuestId {
    /// The guest of the lease with this id.
    pub fn new(lease: [u8; 32]) -> GuestId {
        GuestId(lease)
    }

    /// The lease's id.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for GuestId {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<GuestId, SpecError> {
        let mut id = [0; 32];
        // One spelling only: the same guest must never have two directories.
        let lower_case = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if lower_case => Ok(GuestId(id)),
            Ok(()) | Err(_) => Err(SpecError::Id),
        }
    }
}

impl TryFrom<String> for GuestId {
    type Error = SpecError;

    fn try_from(text: String) -> Result<GuestId, SpecError> {
        text.parse()
    }
}

impl From<GuestId> for String {
    fn from(id: GuestId) -> String {
        id.to_string()
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestId({self})")
    }
}

/// A guest to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The lease's id.
    pub id: GuestId,
    /// Unpacked layers, lowest first. They are read and never written. Opaque directories are marked by the extended
    /// attribute `user.overlay.opaque`, removed files by a character device 0:0.
    pub layers: Vec<PathBuf>,
    /// The program and its arguments. A name without a slash is looked up in `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`. `PATH` and `HOME` are added where they lack.
    pub env: Vec<String>,
    /// The directory to start in, absolute; made where the image lacks it.
    pub cwd: String,
    /// As in an image's configuration: nothing (root), `uid`, `name`, `uid:gid` or `name:group`.
    pub user: String,
    /// What the guest calls itself.
    pub hostname: String,
    /// What it may take.
    pub limits: Limits,
    /// What it may reach outside.
    #[serde(default)]
    pub network: Network,
    /// Its volumes.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Devices of this machine that it has.
    #[serde(default)]
    pub devices: Devices,
    /// Files that it alone may read. Their values are handed over when it starts, and are not part of what is written down.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// What becomes of it when no node looks after it.
    pub grace: Grace,
    /// How its program is run.
    #[serde(default)]
    pub run: Settings,
}

/// The most that a guest may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of one core.
    pub cpu_millis: u32,
    /// Bytes of memory, swap included.
    pub memory: u64,
    /// Bytes that it may write over its image.
    pub disk: u64,
    /// Files that it may make over its image.
    pub inodes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Open files per process.
    pub open_files: u64,
    /// Bytes of output that are kept, the newest.
    pub log_bytes: u64,
    /// Bytes that it may read, and as many that it may write, on its disk in a second; nought: no limit.
    #[serde(default)]
    pub io_rate: u64,
}

impl Limits {
    /// Bytes of this machine's memory that the guest can fill. What it writes over its image is charged to it beside
    /// `memory` where it lives in memory, so that a full disk does not starve its programs. A host promises this sum.
    pub fn ram(&self, writable: Writable) -> u64 {
        match writable {
            Writable::Memory => self.memory.saturating_add(self.disk),
            Writable::Disk => self.memory,
        }
    }

    /// Files that it may make in /dev/shm.
    pub const SHARED_FILES: u64 = 1024;

    /// Bytes that it may put into /dev/shm. They count as its memory anyway; a quarter is what databases expect at most.
    pub fn shared_memory(&self) -> u64 {
        self.memory / 4
    }
}

/// How long a guest lives without a node: longer than an update of ours takes, shorter than a tenant would pay in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    /// Alone for so long: it is frozen.
    pub freeze: Duration,
    /// Frozen alone for so long: it is stopped.
    pub stop: Duration,
}

impl Default for Grace {
    fn default() -> Grace {
        Grace { freeze: Duration::from_secs(60), stop: Duration::from_secs(15 * 60) }
    }
}

/// Why a guest cannot be as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum SpecError {
    /// Not 64 hex digits.
    #[error("a guest's id is 64 hex digits in lower case")]
    Id,
    /// None, or more than an overlay takes.
    #[error("a guest has 1 to {MOST_LAYERS} layers, not {0}")]
    Layers(usize),
    /// Nothing to run.
    #[error("no program to run: give a command, or use an image that names one")]
    NoProgram,
    /// A nought byte, which ends a string for the kernel.
    #[error("arguments, environment and names must not hold a nought byte")]
    Nought,
    /// More than the kernel or the runtime takes.
    #[error("arguments and environment take {found} bytes; at most {MOST_TEXT} are possible")]
    TooMuchText {
        /// Bytes asked for.
        found: usize,
    },
    /// Not `NAME=value`.
    #[error("the environment entry {0:?} is not NAME=value")]
    Environment(String),
    /// A relative path.
    #[error("the working directory {0:?} is not an absolute path")]
    Cwd(String),
    /// Not a host name.
    #[error("{0:?} is not a host name: 1 to 63 letters, digits and hyphens")]
    Hostname(String),
    /// A name that leads elsewhere.
    #[error("{0:?} is no name of a secret")]
    Secret(String),
    /// Less than a guest needs to start at all.
    #[error("{asked} of {limit} is too little: a guest needs at least {least}")]
    TooLittle {
        /// Which limit.
        limit: LimitName,
        /// What was asked for, in the limit's unit.
        asked: u64,
        /// The least that works.
        least: u64,
    },
}

/// Names a limit in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it all
pub enum LimitName {
    Cpu,
    Memory,
    Disk,
    Inodes,
    Pids,
    OpenFiles,
    LogBytes,
    /// Reading and writing on the disk.
    Io,
    /// Not a limit of the lease: what a guest may open at all.
    Devices,
    /// Nor is this, but the owner's right to have the machine back at once.
    Freezing,
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitName::Cpu => "processor time (thousandths of a core)",
            LimitName::Memory => "memory (bytes)",
            LimitName::Disk => "disk (bytes)",
            LimitName::Inodes => "files on disk",
            LimitName::Pids => "processes",
            LimitName::OpenFiles => "open files",
            LimitName::LogBytes => "log (bytes)",
            LimitName::Io => "reading and writing (bytes a second)",
            LimitName::Devices => "devices",
            LimitName::Freezing => "freezing",
        })
    }
}

const MOST_LAYERS: usize = 128;
const MOST_TEXT: usize = 128 * 1024;

impl GuestSpec {
    /// Refuses what could not run, in words for who asked.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.layers.is_empty() || self.layers.len() > MOST_LAYERS {
            return Err(SpecError::Layers(self.layers.len()));
        }
        if self.args.first().is_none_or(String::is_empty) {
            return Err(SpecError::NoProgram);
        }
        let names = [&self.cwd, &self.user, &self.hostname];
        let texts = || self.args.iter().chain(&self.env).chain(names);
        if texts().any(|text| text.contains('\0')) {
            return Err(SpecError::Nought);
        }
        let found = texts().map(|text| text.len() + 1).sum();
        if found > MOST_TEXT {
            return Err(SpecError::TooMuchText { found });
        }
        if let Some(entry) = self.env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
            return Err(SpecError::Environment(entry.clone()));
        }
        if !self.cwd.starts_with('/') {
            return Err(SpecError::Cwd(self.cwd.clone()));
        }
        if !is_hostname(&self.hostname) {
            return Err(SpecError::Hostname(self.hostname.clone()));
        }
        let mut secrets = self.secrets.iter().map(|secret| &secret.file.name);
        if let Some(name) = secrets.find(|name| !SecretFile::is_name(name)) {
            return Err(SpecError::Secret(name.clone()));
        }
        self.limits.check()
    }
}

impl Limits {
    fn check(&self) -> Result<(), SpecError> {
        // The runtime runs under the guest's limits until the guest's program takes its place.
        let least = [
            (LimitName::Cpu, u64::from(self.cpu_millis), 10),
            (LimitName::Memory, self.memory, 16 << 20),
            (LimitName::Disk, self.disk, 64 << 10),
            (LimitName::Inodes, self.inodes, 64),
            (LimitName::Pids, u64::from(self.pids), 1),
            (LimitName::OpenFiles, self.open_files, 32),
            (LimitName::LogBytes, self.log_bytes, 64 << 10),
        ];
        match least.into_iter().find(|(_, asked, least)| asked < least) {
            Some((limit, asked, least)) => Err(SpecError::TooLittle { limit, asked, least }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> GuestSpec {
        GuestSpec {
            id: GuestId::new([7; 32]),
            layers: vec!["/layer".into()],
            args: vec!["true".into()],
            env: vec!["A=b".into()],
            cwd: "/".into(),
            user: String::new(),
            hostname: "guest".into(),
            limits: Limits {
                cpu_millis: 500,
                memory: 64 << 20,
                disk: 16 << 20,
                inodes: 1024,
                pids: 16,
                open_files: 256,
                log_bytes: 1 << 20,
                io_rate: 0,
            },
            network: Network::default(),
            mounts: Vec::new(),
            devices: Devices::default(),
            secrets: Vec::new(),
            grace: Grace::default(),
            run: Settings::default(),
        }
    }

    #[test]
    fn a_guest_id_has_one_spelling() {
        let id = GuestId::new([0xAB; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("AB".repeat(32).parse::<GuestId>(), Err(SpecError::Id));
        assert_eq!("../../etc".parse::<GuestId>(), Err(SpecError::Id));
        assert_eq!("".parse::<GuestId>(), Err(SpecError::Id));
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        let refusal = |change: fn(&mut GuestSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.check().unwrap_err()
        };
        assert_eq!(spec().check(), Ok(()));
        assert_eq!(refusal(|s| s.layers.clear()), SpecError::Layers(0));
        assert_eq!(refusal(|s| s.args.clear()), SpecError::NoProgram);
        assert_eq!(refusal(|s| s.args.push("a\0b".into())), SpecError::Nought);
        assert_eq!(refusal(|s| s.env.push("=x".into())), SpecError::Environment("=x".into()));
        assert_eq!(refusal(|s| s.cwd = "tmp".into()), SpecError::Cwd("tmp".into()));
        assert_eq!(refusal(|s| s.hostname = "a.b".into()), SpecError::Hostname("a.b".into()));
        let outside = |s: &mut GuestSpec| {
            let file = SecretFile { name: "../x".into(), readers: Default::default() };
            s.secrets.push(Secret { file, value: Default::default() });
        };
        assert_eq!(refusal(outside), SpecError::Secret("../x".into()));
        assert!(matches!(refusal(|s| s.args.push("x".repeat(1 << 20))), SpecError::TooMuchText { .. }));
        let tiny = refusal(|s| s.limits.memory = 1);
        assert_eq!(tiny, SpecError::TooLittle { limit: LimitName::Memory, asked: 1, least: 16 << 20 });
    }

    #[test]
    fn a_disk_in_memory_is_memory_that_the_host_must_have() {
        assert_eq!(spec().limits.ram(Writable::Memory), 80 << 20);
        assert_eq!(spec().limits.ram(Writable::Disk), 64 << 20);
    }
}
