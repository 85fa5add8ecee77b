//! How a guest's program is run, where it differs from the usual and from what the image says.

use super::{is_plain, require};
use crate::envelope::Invalid;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How a guest's program is run. What is not said is as the image has it, or as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunOptions {
    /// Instead of the image's entrypoint; the command follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// A user of the image, and perhaps a group: `NAME`, `NUMBER`, `NAME:GROUP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to start in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What the guest calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Bytes of shared memory, which count as memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm: Option<u64>,
    /// Directories that are kept in memory, and count as such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<Tmpfs>,
    /// Whether nothing can be written over the image.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether its input stays open, for whoever attaches.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin: bool,
    /// Whether its input and output are a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// Whether it is begun again when it ends. It is billed while it waits for that.
    #[serde(default, skip_serializing_if = "Restart::is_no")]
    pub restart: Restart,
    /// The signal that asks it to end, by its number on Linux; none: as the image says, or SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<u8>,
    /// How long it may take to end; none: 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_within: Option<Span>,
    /// How it is seen whether the guest is well; none: as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthWish>,
    /// The tenant's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A directory that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where: absolute.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// Whether a program that has ended is begun again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl Restart {
    fn is_no(&self) -> bool {
        *self == Restart::No
    }
}

/// What is wanted of health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthWish {
    /// None, whatever the image says.
    Off,
    /// This one. What it leaves out is as the image says, or as usual.
    Check(HealthCheck),
}

/// How to see whether a guest is well: a command that is run in it, and ends with 0 if so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command and its arguments; none: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// From the end of one to the beginning of the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// One that takes longer has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// So many failures in a row make it unwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// In its first time failures do not count, until it was well for once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Span>,
    /// The interval in its first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Span>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl RunOptions {
    /// Whether nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == RunOptions::default()
    }

    /// Refuses what no host could do.
    ///
    /// # Errors
    /// Which option, and what it may be.
    pub fn check(&self) -> Result<(), Invalid> {
        let words = |words: &[String]| words.len() <= 128 && !words.iter().any(|word| word.contains('\0'));
        let absolute = |path: &str| {
            path.starts_with('/') && path.len() <= 1_024 && !path.contains('\0') && !path.contains("/../")
        };
        require(
            self.entrypoint.as_deref().is_none_or(words),
            "entrypoint",
            "at most 128 words, without a zero byte",
        )?;
        let user = |user: &str| is_plain(user, 128);
        require(self.user.as_deref().is_none_or(user), "user", "at most 128 bytes of plain text")?;
        require(self.cwd.as_deref().is_none_or(absolute), "cwd", "an absolute path")?;
        require(
            self.hostname.as_deref().is_none_or(is_hostname),
            "hostname",
            "1 to 63 letters, digits and hyphens",
        )?;
        require(self.shm.is_none_or(|shm| shm <= 1 << 50), "shm", "less than a machine has")?;
        let fits = |tmpfs: &Tmpfs| {
            absolute(&tmpfs.path) && tmpfs.path.len() > 1 && (4_096..=1 << 50).contains(&tmpfs.size)
        };
        require(
            self.tmpfs.len() <= 16 && self.tmpfs.iter().all(fits),
            "tmpfs",
            "at most 16, each an absolute path and a size from 4 KiB",
        )?;
        require(
            self.stop_signal.is_none_or(|signal| (1..=31).contains(&signal)),
            "stop_signal",
            "from 1 to 31",
        )?;
        require(
            self.stop_within.is_none_or(|within| within <= Span::minutes(5)),
            "stop_within",
            "at most 5 minutes",
        )?;
        let label = |(name, value): (&String, &String)| {
            !name.is_empty() && is_plain(name, 128) && is_plain(value, 512)
        };
        require(
            self.labels.len() <= 64 && self.labels.iter().all(label),
            "labels",
            "at most 64, of plain text",
        )?;
        match &self.health {
            Some(HealthWish::Check(check)) => check.check(),
            Some(HealthWish::Off) | None => Ok(()),
        }
    }
}

impl HealthCheck {
    /// From one check to the next: a check is a program of its own.
    pub const INTERVALS: RangeInclusive<Span> = Span::seconds(1)..=Span::hours(24);

    /// The longest that one may take.
    pub const WITHIN: RangeInclusive<Span> = Span::seconds(1)..=Span::hours(1);

    /// The most failures in a row.
    pub const RETRIES: RangeInclusive<u32> = 1..=1_000;

    /// The longest first time.
    pub const LONGEST_START: Span = Span::hours(24);

    fn check(&self) -> Result<(), Invalid> {
        let command = self.command.len() <= 128
            && self.command.iter().map(|word| word.len() + 1).sum::<usize>() <= 16 * 1_024
            && !self.command.iter().any(|word| word.contains('\0'))
            && self.command.first().is_none_or(|program| !program.is_empty());
        require(command, "health command", "at most 128 words, of 16 KiB in all")?;
        let is_in =
            |span: Option<Span>, range: RangeInclusive<Span>| span.is_none_or(|span| range.contains(&span));
        require(
            is_in(self.interval, HealthCheck::INTERVALS)
                && is_in(self.start_interval, HealthCheck::INTERVALS),
            "health interval",
            "from 1 s to 24 h",
        )?;
        require(is_in(self.within, HealthCheck::WITHIN), "health timeout", "from 1 s to 1 h")?;
        require(
            self.retries.is_none_or(|retries| HealthCheck::RETRIES.contains(&retries)),
            "health retries",
            "from 1 to 1000",
        )?;
        require(
            is_in(self.start_period, Span::ZERO..=HealthCheck::LONGEST_START),
            "health start period",
            "at most 24 h",
        )
    }
}

/// Whether this is one label of a host's name: 1 to 63 letters, digits and hyphens (RFC 1123, 2.1).
pub fn is_hostname(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_leaves_no_bytes() {
        assert_eq!(crate::to_bytes(&RunOptions::default()), [0xA0]);
        assert!(RunOptions::default().is_usual() && RunOptions::default().check().is_ok());
    }

    #[test]
    fn what_no_host_could_do_is_refused() {
        let refused = |change: fn(&mut RunOptions)| {
            let mut options = RunOptions::default();
            change(&mut options);
            assert!(options.check().is_err(), "{options:?}");
        };
        refused(|options| options.cwd = Some("tmp".into()));
        refused(|options| options.hostname = Some("a.b".into()));
        refused(|options| options.user = Some("a\nb".into()));
        refused(|options| options.entrypoint = Some(vec!["a\0".into()]));
        refused(|options| options.tmpfs = vec![Tmpfs { path: "/a/../b".into(), size: 1 << 20 }]);
        refused(|options| options.tmpfs = vec![Tmpfs { path: "/".into(), size: 1 << 20 }]);
        refused(|options| options.tmpfs = vec![Tmpfs { path: "/tmp".into(), size: 1 }]);
        refused(|options| options.stop_signal = Some(0));
        refused(|options| options.stop_within = Some(Span::hours(1)));
        refused(|options| drop(options.labels.insert("a\x1b[".into(), String::new())));
        let unwell = |change: fn(&mut HealthCheck)| {
            let mut check = HealthCheck { command: vec!["true".into()], ..HealthCheck::default() };
            assert!(check.check().is_ok());
            change(&mut check);
            assert!(check.check().is_err(), "{check:?}");
        };
        unwell(|check| check.command = vec![String::new()]);
        unwell(|check| check.command = vec!["a\0".into()]);
        unwell(|check| check.command = vec!["x".repeat(16 << 10)]);
        unwell(|check| check.interval = Some(Span(999)));
        unwell(|check| check.start_interval = Some(Span::hours(25)));
        unwell(|check| check.within = Some(Span::ZERO));
        unwell(|check| check.retries = Some(0));
        unwell(|check| check.start_period = Some(Span::hours(25)));
    }
}
