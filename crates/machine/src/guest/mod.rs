//! Guests: other people's containers on this machine, each held by a supervisor of its own.
//!
//! [`Guests`] is the node's side. It decides what a guest gets (ids, groups, runtime), writes that down, runs this
//! program again as the guest's supervisor ([`supervise`]), and from then on only talks to it. A node that starts again
//! finds its guests by their directories, and itself in charge of them as before.

mod cgroup;
mod connection;
mod error;
mod ids;
mod image_users;
mod log;
mod oci;
mod record;
mod runtime;
mod sandbox;
mod seccomp;
mod spec;
mod supervisor;
mod sys;
mod wire;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub(crate) use self::cgroup::Hierarchy;
pub use self::error::{GuestError, IdsError, LimitError, Os, Remedy, StartError};
pub use self::log::{LogChunk, LogPiece, Stream};
pub use self::record::{Loss, Usage};
pub use self::runtime::Runtime;
pub(crate) use self::runtime::find_in_path;
pub use self::spec::{Grace, GuestId, GuestSpec, LimitName, Limits, SpecError};
pub use self::supervisor::supervise;

use self::connection::Connection;
use self::error::Doing;
use self::ids::Ids;
use self::record::{End, Ending, GuestDir, Orders};
use self::supervisor::CONTROL;
use self::wire::{Family, LiveState, Reply, Request};

/// All guests of this node.
pub struct Guests {
    shared: Arc<Shared>,
    /// How to run this program as a supervisor.
    supervisor: Vec<OsString>,
    runtime: Option<Runtime>,
}

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

/// Setting up takes tens of milliseconds; a supervisor gives up by itself before this.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A supervisor has one thread, which at most waits for a freeze.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The guest's network is in this machine: who listens answers at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

impl Guests {
    /// Opens the guests in the directory `root`. `supervisor` is the command that runs this program's [`supervise`];
    /// `/proc/self/exe` as its first word stays right when the program is replaced on disk. Events are sent to
    /// `events`; while it is full they wait.
    ///
    /// Call [`Guests::seen`] next: it takes charge of guests that an earlier node left running.
    pub fn open(
        root: PathBuf,
        supervisor: Vec<OsString>,
        events: mpsc::Sender<GuestEvent>,
    ) -> Result<Guests, GuestError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&root).doing("make the directory of guests")?;
        let shared = Shared { root, events, watches: Mutex::default(), starting: Mutex::default() };
        Ok(Guests { shared: Arc::new(shared), supervisor, runtime: Runtime::find() })
    }

    /// Runs guests with this OCI runtime instead of the best one in `PATH`.
    pub fn with_runtime(mut self, runtime: Runtime) -> Guests {
        self.runtime = Some(runtime);
        self
    }

    /// Starts a guest, and returns when its program runs. If it runs already, or has run, nothing is done: an id is
    /// used once.
    ///
    /// # Errors
    /// If the program did not begin; then nothing is left of the guest, and the same id can be tried again.
    pub async fn start(&self, spec: &GuestSpec) -> Result<(), GuestError> {
        spec.check()?;
        let starting = Starting::begin(&self.shared, spec.id).await;
        let dir = self.shared.dir(&spec.id);
        if dir.exists() {
            return match self.shared.find(&spec.id).await?.state {
                GuestState::Lost { why } => Err(GuestError::Lost { id: spec.id, loss: why }),
                GuestState::Starting
                | GuestState::Running
                | GuestState::Frozen
                | GuestState::Exited { .. }
                | GuestState::Failed { .. } => Ok(()),
            };
        }
        let orders = self.decide(spec)?;
        let started = self.launch(&dir, &orders).await;
        if started.is_err() {
            // The first error tells; what could not be removed is found by the next `seen`.
            let _ = self.shared.clear(&dir, &orders).await;
        }
        drop(starting);
        started
    }

    /// Ends a guest: asks its program (SIGTERM), and after `within` ends it by force. Returns when it has ended. An
    /// unknown guest, and one that has ended, is left alone.
    pub async fn stop(&self, id: GuestId, within: Duration) -> Result<(), GuestError> {
        let Some(line) = self.shared.call(&id)? else { return Ok(()) };
        let patience = within + ANSWER_WITHIN;
        let asked = async {
            line.ask(Request::Stop(within)).await?;
            line.closed().await;
            Ok::<(), io::Error>(())
        };
        if let Ok(Ok(())) = timeout(patience, asked).await {
            return Ok(());
        }
        // A supervisor that does not do as it is told. The guest dies with it.
        let kill = || {
            let supervisor = pidfd_open(line.supervisor()?, PidfdFlags::empty())?;
            Ok::<(), io::Error>(pidfd_send_signal(supervisor, Signal::KILL)?)
        };
        tracing::warn!(%id, "supervisor does not stop its guest; killing both");
        if let Err(error) = kill() {
            tracing::warn!(%id, %error, "supervisor not killed");
        }
        timeout(ANSWER_WITHIN, line.closed()).await.map_err(|_| GuestError::Unresponsive {
            id,
            doing: "stop",
            within: patience,
        })
    }

    /// Holds all processes of a guest where they are.
    pub async fn freeze(&self, id: GuestId) -> Result<(), GuestError> {
        self.shared.ask(&id, Request::Freeze, "freeze it").await.map(drop)
    }

    /// Lets them go on.
    pub async fn thaw(&self, id: GuestId) -> Result<(), GuestError> {
        self.shared.ask(&id, Request::Thaw, "thaw it").await.map(drop)
    }

    /// All guests of this node, running or not, until they are removed. Takes charge of those that run without us, and
    /// clears up behind those that were lost.
    pub async fn seen(&self) -> Result<Vec<GuestSeen>, GuestError> {
        let mut seen = Vec::new();
        for id in self.shared.ids()? {
            seen.push(self.shared.find(&id).await?);
        }
        Ok(seen)
    }

    /// Connects to a TCP port of a guest's loopback device.
    pub async fn connect(&self, id: GuestId, port: u16) -> Result<TcpStream, GuestError> {
        let v4 = (Family::V4, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let v6 = (Family::V6, SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        match self.connect_to(id, v4).await {
            Err(GuestError::Connect { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => {
                self.connect_to(id, v6).await
            }
            other => other,
        }
    }

    async fn connect_to(&self, id: GuestId, to: (Family, SocketAddr)) -> Result<TcpStream, GuestError> {
        let (family, address) = to;
        let (_, socket) = self.shared.ask(&id, Request::Socket(family), "make a socket").await?;
        let refused = |source| GuestError::Connect { id, port: address.port(), source };
        let socket: OwnedFd = socket.ok_or_else(|| refused(io::ErrorKind::InvalidData.into()))?;
        // The socket stays in the network in which it was made, whoever connects it.
        let socket = TcpSocket::from_std_stream(socket.into());
        let stream = timeout(CONNECT_WITHIN, socket.connect(address))
            .await
            .map_err(|_| refused(io::ErrorKind::TimedOut.into()))?
            .map_err(refused)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// What a guest has printed from `offset` on. If there is nothing yet, waits for something, or for the guest's end,
    /// up to `patience`.
    pub async fn logs(&self, id: GuestId, offset: u64, patience: Duration) -> Result<LogChunk, GuestError> {
        let dir = self.shared.dir(&id);
        if !dir.exists() {
            return Err(GuestError::NotRunning(id));
        }
        let read = || log::read(dir.path(), offset).doing("read the guest's log");
        // Asked before reading: what is printed in between is read, and not waited for.
        let ended = !dir.is_attended().doing("look after the guest")?;
        let chunk = read()?;
        let has_news = !chunk.pieces.is_empty() || chunk.lost > 0;
        if ended || has_news || patience.is_zero() {
            return Ok(LogChunk { ended: ended && !has_news, ..chunk });
        }
        if let Some(line) = self.shared.call(&id)? {
            // News, the end and lost patience are alike: we look again.
            let _ = timeout(patience, line.ask(Request::LogPast(chunk.next))).await;
        }
        read()
    }

    /// Removes what is left of a guest that has ended: directory, log, groups. Its id can then be used again. An
    /// unknown guest is left alone.
    pub async fn remove(&self, id: GuestId) -> Result<(), GuestError> {
        let dir = self.shared.dir(&id);
        if !dir.exists() {
            return Ok(());
        }
        if self.shared.is_attended(&id).await? {
            return Err(GuestError::StillRunning(id));
        }
        match dir.orders() {
            Ok(orders) => self.shared.clear(&dir, &orders).await,
            // Without orders nothing was ever started.
            Err(_) => fs::remove_dir_all(dir.path()).doing("remove the guest's directory"),
        }
    }

    fn decide(&self, spec: &GuestSpec) -> Result<Orders, GuestError> {
        let runtime = self.runtime.clone().ok_or(GuestError::NoRuntime)?;
        let hierarchy = Hierarchy::find()?;
        let others = self.shared.ids()?.into_iter().filter_map(|id| self.shared.dir(&id).orders().ok());
        let taken: HashSet<Ids> = others.map(|orders| orders.ids).collect();
        let ids = Ids::for_guest(&spec.id, &taken)?;
        Ok(Orders { spec: spec.clone(), ids, hierarchy, runtime })
    }

    async fn launch(&self, dir: &GuestDir, orders: &Orders) -> Result<(), GuestError> {
        let id = orders.spec.id;
        let lock = dir.create(orders).doing("make the guest's directory")?;
        let log = dir.supervisor_log().doing("open the supervisor's log")?;
        let [program, arguments @ ..] = self.supervisor.as_slice() else { return Err(GuestError::NoRuntime) };
        let mut child = Command::new(program)
            .args(arguments)
            .arg(id.to_string()) // for people who look at the list of processes
            .current_dir(dir.path())
            .env_clear()
            .stdin(lock)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .doing("start the guest's supervisor")?;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = stdout.take(supervisor::RUNNING.len() as u64);
            let within = timeout(START_WITHIN, stdout.read_to_end(&mut said)).await;
            if within.is_err() {
                let _ = child.kill().await;
                return Err(GuestError::Unresponsive { id, doing: "start it", within: START_WITHIN });
            }
        }
        if said == supervisor::RUNNING {
            // A short guest may be gone already; then its supervisor's end says so.
            let line = match self.shared.call(&id)? {
                Some(line) => ask(id, &line, Request::Watch, "accept us").await?.map(|_| line),
                None => None,
            };
            self.shared.watch(id, line, Some(child));
            return Ok(());
        }
        child.wait().await.doing("wait for the guest's supervisor")?;
        match dir.end().doing("read how the guest ended")?.map(|end| end.how) {
            Some(Ending::NotStarted(error)) => Err(error.into()),
            Some(Ending::Lost(loss)) => Err(GuestError::Lost { id, loss }),
            Some(Ending::Exited(_)) => Ok(()),
            None => Err(GuestError::Lost { id, loss: Loss::Supervisor }),
        }
    }
}

impl Drop for Guests {
    /// The guests go on, until a node takes charge of them again or their grace is over.
    fn drop(&mut self) {
        for (_, watch) in locked(&self.shared.watches).drain() {
            watch.abort();
        }
    }
}

/// What the tasks that watch guests need.
struct Shared {
    root: PathBuf,
    events: mpsc::Sender<GuestEvent>,
    watches: Mutex<HashMap<GuestId, AbortHandle>>,
    starting: Mutex<HashMap<GuestId, Arc<tokio::sync::Mutex<()>>>>,
}

/// A guest that is being started: others who would start it wait, and nobody calls it lost.
struct Starting<'a> {
    shared: &'a Shared,
    id: GuestId,
    _turn: OwnedMutexGuard<()>,
}

impl Starting<'_> {
    async fn begin(shared: &Shared, id: GuestId) -> Starting<'_> {
        let queue = locked(&shared.starting).entry(id).or_default().clone();
        Starting { shared, id, _turn: queue.lock_owned().await }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let mut starting = locked(&self.shared.starting);
        // The map's own, and this one: nobody waits.
        if starting.get(&self.id).is_some_and(|queue| Arc::strong_count(queue) <= 2) {
            starting.remove(&self.id);
        }
    }
}

impl Shared {
    fn dir(&self, id: &GuestId) -> GuestDir {
        GuestDir::of(&self.root, id)
    }

    /// The guests that have a directory.
    fn ids(&self) -> Result<Vec<GuestId>, GuestError> {
        let entries = fs::read_dir(&self.root).doing("list the guests")?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// A guest that has a directory, as it is now.
    async fn find(self: &Arc<Shared>, id: &GuestId) -> Result<GuestSeen, GuestError> {
        let dir = self.dir(id);
        let seen = |state, usage| Ok(GuestSeen { id: *id, state, usage });
        if let Some(end) = dir.end().doing("read how the guest ended")? {
            return seen(end.how.into_state(end.at), end.usage);
        }
        if let Some((state, usage)) = self.status(id).await? {
            return seen(state.into(), usage);
        }
        // It may have ended, or be about to have a supervisor.
        if let Some(end) = dir.end().doing("read how the guest ended")? {
            return seen(end.how.into_state(end.at), end.usage);
        }
        if locked(&self.starting).contains_key(id) || self.is_attended(id).await? {
            return seen(GuestState::Starting, Usage::default());
        }
        let end = self.write_off(&dir)?;
        seen(end.how.into_state(end.at), end.usage)
    }

    /// How a living guest is. From then on it has us to look after it, if it had nobody.
    async fn status(self: &Arc<Shared>, id: &GuestId) -> Result<Option<(LiveState, Usage)>, GuestError> {
        let Some(line) = self.call(id)? else { return Ok(None) };
        let is_watched = locked(&self.watches).contains_key(id);
        if !is_watched && ask(*id, &line, Request::Watch, "accept us").await?.is_none() {
            return Ok(None);
        }
        let Some((Reply::Status { state, usage }, _)) =
            ask(*id, &line, Request::Status, "say how it is").await?
        else {
            return Ok(None);
        };
        if !is_watched {
            self.watch(*id, Some(line), None);
        }
        Ok(Some((state, usage)))
    }

    /// Records that a guest is lost, and ends what is left of it.
    fn write_off(&self, dir: &GuestDir) -> Result<End, GuestError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let loss = if dir.path().join(CONTROL).exists() { Loss::Supervisor } else { Loss::NeverStarted };
        let usage = dir.orders().map_or(Usage::default(), |orders| {
            let group = orders.hierarchy.group(&orders.spec.id);
            // It may be gone already; if not, `remove` says so.
            let _ = group.kill();
            group.usage()
        });
        let end = End { how: Ending::Lost(loss), at: now, usage };
        dir.set_end(&end).doing("record that the guest is lost")?;
        Ok(end)
    }

    /// Removes a guest without a supervisor.
    async fn clear(&self, dir: &GuestDir, orders: &Orders) -> Result<(), GuestError> {
        let group = orders.hierarchy.group(&orders.spec.id);
        let path = dir.path().to_owned();
        let cleared = tokio::task::spawn_blocking(move || {
            group.kill_and_remove(ANSWER_WITHIN).doing("remove the guest's control groups")?;
            fs::remove_dir_all(path).doing("remove the guest's directory")
        });
        cleared.await.map_err(io::Error::other).doing("clear up behind the guest")?
    }

    /// Whether a guest has a supervisor. One that no longer answers is about to be gone: then we wait until it is.
    async fn is_attended(&self, id: &GuestId) -> Result<bool, GuestError> {
        let dir = self.dir(id);
        if !dir.is_attended().doing("look for the guest's supervisor")? {
            return Ok(false);
        }
        if let Some(line) = self.call(id)?
            && ask(*id, &line, Request::Status, "say how it is").await?.is_some()
        {
            return Ok(true);
        }
        let gone = timeout(ANSWER_WITHIN, tokio::task::spawn_blocking(move || dir.wait_unattended())).await;
        Ok(!matches!(gone, Ok(Ok(Ok(())))))
    }

    /// A connection to a guest's supervisor, if it has one.
    fn call(&self, id: &GuestId) -> Result<Option<Connection>, GuestError> {
        match Connection::open(&self.dir(id)) {
            Ok(connection) => Ok(Some(connection)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(source) => Err(GuestError::Io { doing: "call the guest's supervisor", source }),
        }
    }

    async fn ask(
        &self,
        id: &GuestId,
        request: Request,
        doing: &'static str,
    ) -> Result<(Reply, Option<OwnedFd>), GuestError> {
        let line = self.call(id)?.ok_or(GuestError::NotRunning(*id))?;
        ask(*id, &line, request, doing).await?.ok_or(GuestError::NotRunning(*id))
    }

    /// Stays with a guest until it ends, unless somebody of ours does so already.
    fn watch(self: &Arc<Shared>, id: GuestId, line: Option<Connection>, mut child: Option<Child>) {
        let mut watches = locked(&self.watches);
        if watches.contains_key(&id) {
            return;
        }
        let shared = self.clone();
        let task = tokio::spawn(async move {
            match (&line, &mut child) {
                (Some(line), _) => line.closed().await,
                // It was gone before we could call it.
                (None, Some(child)) => drop(child.wait().await),
                (None, None) => {}
            }
            locked(&shared.watches).remove(&id);
            shared.tell_end(id).await;
            if let Some(mut child) = child {
                let _ = child.wait().await;
            }
        });
        watches.insert(id, task.abort_handle());
    }

    async fn tell_end(&self, id: GuestId) {
        let dir = self.dir(&id);
        let end = match dir.end() {
            Ok(Some(end)) => Ok(end),
            Ok(None) | Err(_) => self.write_off(&dir),
        };
        let event = match end.map(|end| end.how) {
            Ok(Ending::Exited(code)) => GuestEvent::Exited { id, code },
            Ok(Ending::Lost(why)) => GuestEvent::Lost { id, why },
            // Whoever started it was told.
            Ok(Ending::NotStarted(_)) => return,
            Err(error) => {
                tracing::error!(%id, %error, "how the guest ended is not known");
                GuestEvent::Lost { id, why: Loss::Supervisor }
            }
        };
        let _ = self.events.send(event).await;
    }
}

/// Asks a supervisor; `None` if it ended while we spoke.
async fn ask(
    id: GuestId,
    line: &Connection,
    request: Request,
    doing: &'static str,
) -> Result<Option<(Reply, Option<OwnedFd>)>, GuestError> {
    let answer = timeout(ANSWER_WITHIN, line.ask(request)).await;
    match answer.map_err(|_| GuestError::Unresponsive { id, doing, within: ANSWER_WITHIN })? {
        Ok((Reply::Failed(os), _)) => Err(GuestError::Io { doing, source: io::Error::from_raw_os_error(os) }),
        Ok(answer) => Ok(Some(answer)),
        Err(_) => Ok(None),
    }
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

/// The data stays whole if a thread panics while it holds the lock: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
