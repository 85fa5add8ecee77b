//! Guests by a container engine: Podman or Docker, spoken to over the Engine API at a socket. For machines on which no OCI
//! runtime is installed, or whose owner wants guests where all other containers are.
//!
//! ```text
//!  node ── socket ── supervisor ── orders, words ── envoy ── API ──── engine
//!                                                     └──── socket ── keeper ── guest's program      (in the container)
//! ```
//!
//! The guest's supervisor is the same. In the place of the warden is an envoy, which has the engine make a container of the
//! image (imported once, as one layer) and start our keeper as its first process; the keeper calls the envoy, and does in
//! the guest what it is told. When that connection ends, whoever was killed, the keeper ends, and the guest with it.
//!
//! The engine's part is to hold the guest: namespaces, limits, system calls, powers. What it cannot hold is said by
//! [`Runtime::without`](super::Runtime::without), and refused.

mod container;
mod envoy;
mod root;

use std::env;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use bollard::{ClientVersion, Docker};
use rustix::process::{geteuid, getuid};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::timeout;

pub(super) use self::container::Container;
pub(super) use self::envoy::{keeper_in, keeper_of, serve};

/// A container engine of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    socket: PathBuf,
    kind: Kind,
    version: String,
    /// The OCI runtime that it calls itself.
    by: String,
}

/// Whose engine it is: they differ where Docker's API leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Podman,
    Docker,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Podman => "podman",
            Kind::Docker => "docker",
        })
    }
}

/// Why an engine cannot hold guests.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("no container engine answers at {}: {said}", .socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What was said.
        said: String,
    },
    /// It does not listen at any of the usual places.
    #[error(
        "no socket of {kind} is at any of the usual places; start it (`systemctl start {kind}.socket`), or name it: --runtime unix:///path.sock"
    )]
    NoSocket {
        /// Which engine.
        kind: String,
    },
    /// The guest's root would be the machine's.
    #[error(
        "root in its containers is {who} outside of them, too: set \"userns-remap\": \"default\" in /etc/docker/daemon.json, and start it anew"
    )]
    NoUsers {
        /// Who.
        who: &'static str,
    },
    /// It could not keep guests to their limits.
    #[error("it cannot limit {what}: see `docker info` or `podman info` for what this machine lacks")]
    NoLimit {
        /// What.
        what: &'static str,
    },
}

/// What gives Podman ids for its containers, where it runs as root.
const GIVE_IDS: &str =
    "echo containers:2147483647:2147483648 | sudo tee -a /etc/subuid /etc/subgid gives it ranges of ids";

/// The oldest version of the API that has all we use; the engines of Debian 12 speak it.
const API: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// An engine that takes longer for one answer hangs. Removing may take as long as killing does.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long an engine may take to say what it is.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// The one that is named `podman` or `docker`, or listens at `unix:///path`.
    ///
    /// # Errors
    /// When it is not there, or cannot hold guests.
    pub fn named(name: &str) -> Result<Engine, EngineError> {
        if let Some(path) = name.strip_prefix("unix://") {
            return Engine::at(Path::new(path));
        }
        let places = usual_places(name);
        let there = places.iter().find(|place| place.exists());
        Engine::at(there.ok_or_else(|| EngineError::NoSocket { kind: name.to_owned() })?)
    }

    /// The first that is there and can hold guests.
    pub fn find() -> Option<Engine> {
        ["podman", "docker"].into_iter().find_map(|name| Engine::named(name).ok())
    }

    /// The one that listens at this socket.
    ///
    /// # Errors
    /// When nobody does, or it cannot hold guests.
    pub fn at(socket: &Path) -> Result<Engine, EngineError> {
        let asked = socket.to_owned();
        // Not in this thread: it may be one of an asynchronous runtime, which must not wait.
        let answer = std::thread::spawn(move || block_on(look(&asked)));
        let answer = answer.join().unwrap_or_else(|_| Err("it was not asked".to_owned()));
        let unreachable = |said| EngineError::Unreachable { socket: socket.to_owned(), said };
        let (version, info) = answer.map_err(unreachable)?;
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|one| one.name.starts_with("Podman"));
        let kind = if is_podman { Kind::Podman } else { Kind::Docker };
        may_hold(kind, &info)?;
        let by = info.default_runtime.unwrap_or_default();
        Ok(Engine { socket: socket.to_owned(), kind, version: version.version.unwrap_or_default(), by })
    }

    /// `podman` or `docker`.
    pub fn name(&self) -> String {
        self.kind.to_string()
    }

    /// Its name and version, and by what it runs containers itself: `podman 4.3.1 by runc`.
    pub fn description(&self) -> String {
        let by = if self.by.is_empty() { String::new() } else { format!(" by {}", self.by) };
        format!("{} {}{by}", self.kind, self.version)
    }

    /// What it lacks of this machine's administrator, as far as can be seen before it holds a guest.
    pub fn lacks(&self) -> Option<&'static str> {
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
        let has_none = !ranges.lines().any(|line| line.starts_with("containers:"));
        (self.kind == Kind::Podman && geteuid().is_root() && has_none).then_some(GIVE_IDS)
    }

    /// Whether it takes a number of files as an option of a directory in memory.
    pub fn counts_files(&self) -> bool {
        self.kind == Kind::Docker
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn connect(&self) -> Result<Docker, String> {
        connect(&self.socket)
    }
}

async fn look(socket: &Path) -> Result<(SystemVersion, SystemInfo), String> {
    let api = connect(socket)?;
    let asked = async { Ok::<_, bollard::errors::Error>((api.version().await?, api.info().await?)) };
    let answer = timeout(LOOK_WITHIN, asked).await;
    answer.map_err(|_| "it does not answer".to_owned())?.map_err(said)
}

fn connect(socket: &Path) -> Result<Docker, String> {
    let path = socket.to_str().ok_or("its path is not text")?;
    Docker::connect_with_unix(path, ANSWER_WITHIN.as_secs(), &API).map_err(said)
}

/// What an engine, or the way to it, said.
fn said(error: bollard::errors::Error) -> String {
    let said = if let bollard::errors::Error::DockerResponseServerError { message, .. } = error {
        message
    } else {
        error.to_string()
    };
    said.trim().chars().take(500).collect()
}

/// Holds the engine to what every guest is promised.
fn may_hold(kind: Kind, info: &SystemInfo) -> Result<(), EngineError> {
    let options = info.security_options.as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option.split(',').any(|part| part == name));
    // Podman gives each container a range of ids for itself, if it is asked to.
    if kind == Kind::Docker && !has("name=userns") {
        let who = if has("name=rootless") { "its user" } else { "root" };
        return Err(EngineError::NoUsers { who });
    }
    let limits = [
        ("memory", info.memory_limit),
        ("processor time", info.cpu_cfs_quota),
        ("processes", info.pids_limit),
    ];
    match limits.into_iter().find(|(_, can)| *can != Some(true)) {
        Some((what, _)) => Err(EngineError::NoLimit { what }),
        None => Ok(()),
    }
}

/// Where an engine listens that was started as distributions do: root's own first, if we may speak to it.
fn usual_places(name: &str) -> Vec<PathBuf> {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.unwrap_or_else(|| format!("/run/user/{}", getuid().as_raw()).into());
    let socket = format!("{name}.sock");
    let (of_root, of_user) = match name {
        "podman" => (Path::new("/run/podman").join(&socket), own.join("podman").join(&socket)),
        _ => (Path::new("/run").join(&socket), own.join(&socket)),
    };
    if geteuid().is_root() { vec![of_root] } else { vec![of_user, of_root] }
}

/// Waits for it, in a thread that does nothing else meanwhile.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error: io::Error| error.to_string())?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_cannot_hold_guests_is_refused() {
        let able = SystemInfo {
            memory_limit: Some(true),
            cpu_cfs_quota: Some(true),
            pids_limit: Some(true),
            security_options: Some(vec!["name=seccomp,profile=default".into(), "name=userns".into()]),
            ..SystemInfo::default()
        };
        assert!(may_hold(Kind::Docker, &able).is_ok());
        let plain = SystemInfo { security_options: Some(vec!["name=seccomp".into()]), ..able.clone() };
        assert!(matches!(may_hold(Kind::Docker, &plain), Err(EngineError::NoUsers { who: "root" })));
        assert!(may_hold(Kind::Podman, &plain).is_ok());
        let rootless = SystemInfo { security_options: Some(vec!["name=rootless".into()]), ..able.clone() };
        assert!(matches!(may_hold(Kind::Docker, &rootless), Err(EngineError::NoUsers { who: "its user" })));
        let limitless = SystemInfo { pids_limit: Some(false), ..able };
        assert!(matches!(
            may_hold(Kind::Podman, &limitless),
            Err(EngineError::NoLimit { what: "processes" })
        ));
    }

    #[test]
    fn nobody_at_a_socket_is_said_so() {
        let nowhere = Engine::named("unix:///nonexistent/engine.sock");
        assert!(matches!(nowhere, Err(EngineError::Unreachable { .. })), "{nowhere:?}");
    }
}
