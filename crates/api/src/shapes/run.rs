//! How a guest's program is run.

use super::basic::Seconds;
use super::health::HealthWish;
use node::model::document as model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How a guest's program is run. What is not said is as the image has it, or as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Instead of the image's entrypoint; the command follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// A user of the image, and perhaps a group: `NAME`, `NUMBER`, `NAME:GROUP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to start in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What the guest calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Bytes of shared memory, which count as memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// Directories that are kept in memory, and count as such.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether nothing can be written over the image.
    pub read_only: bool,
    /// Whether its input stays open, for whoever attaches.
    pub stdin: bool,
    /// Whether its input and output are a terminal.
    pub terminal: bool,
    /// Whether it is begun again when it ends. It is billed while it waits for that.
    pub restart: Restart,
    /// The signal that asks it to end, by its number on Linux; none: as the image says, or SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<u8>,
    /// How long it may take to end; none: 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_within: Option<Seconds>,
    /// How it is seen whether the guest is well; none: as its image says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthWish>,
    /// The tenant's own notes.
    pub labels: BTreeMap<String, String>,
}

/// A directory that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where: absolute.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
}

/// Whether a program that has ended is begun again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Its end is the guest's.
    #[default]
    No,
    /// When it failed.
    OnFailure {
        /// So often at the most; none: without a limit.
        most: Option<u32>,
    },
    /// Always, until it is stopped.
    Always,
}

impl From<RunOptions> for model::RunOptions {
    fn from(options: RunOptions) -> model::RunOptions {
        let tmpfs = |tmpfs: Tmpfs| model::Tmpfs { path: tmpfs.path, size: tmpfs.size_bytes };
        model::RunOptions {
            entrypoint: options.entrypoint,
            user: options.user,
            cwd: options.cwd,
            hostname: options.hostname,
            shm: options.shm_bytes,
            tmpfs: options.tmpfs.into_iter().map(tmpfs).collect(),
            read_only: options.read_only,
            stdin: options.stdin,
            terminal: options.terminal,
            restart: match options.restart {
                Restart::No => model::Restart::No,
                Restart::OnFailure { most } => model::Restart::OnFailure { most },
                Restart::Always => model::Restart::Always,
            },
            stop_signal: options.stop_signal,
            stop_within: options.stop_within.map(|within| within.0),
            health: options.health.map(Into::into),
            labels: options.labels,
        }
    }
}

impl From<&model::RunOptions> for RunOptions {
    fn from(options: &model::RunOptions) -> RunOptions {
        let options = options.clone();
        let tmpfs = |tmpfs: model::Tmpfs| Tmpfs { path: tmpfs.path, size_bytes: tmpfs.size };
        RunOptions {
            entrypoint: options.entrypoint,
            user: options.user,
            cwd: options.cwd,
            hostname: options.hostname,
            shm_bytes: options.shm,
            tmpfs: options.tmpfs.into_iter().map(tmpfs).collect(),
            read_only: options.read_only,
            stdin: options.stdin,
            terminal: options.terminal,
            restart: match options.restart {
                model::Restart::No => Restart::No,
                model::Restart::OnFailure { most } => Restart::OnFailure { most },
                model::Restart::Always => Restart::Always,
            },
            stop_signal: options.stop_signal,
            stop_within: options.stop_within.map(Seconds),
            health: options.health.as_ref().map(Into::into),
            labels: options.labels,
        }
    }
}
