//! The node's side: decides what a guest gets, starts its supervisor, and talks to it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as StdSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use model::Feature;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixStream};
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::cgroup::Hierarchy;
use super::copy::{self, CopySpec};
use super::defences::Defences;
use super::engine;
use super::error::{Doing, GuestError, StartError};
use super::exec::{self, Exec, ExecSpec, Input};
use super::grip::HeldBy;
use super::ids::Ids;
use super::log::{self, LogChunk};
use super::processes::{self, Processes};
use super::record::{Ending, GuestDir, Loss, Orders, Usage};
use super::runtime::Runtime;
use super::secrets;
use super::spec::{GuestId, GuestSpec, Limits};
use super::supervisor::RUNNING;
use super::watch::{ANSWER_WITHIN, Shared, Starting, ask};
use super::wire::{Family, Request};
use super::writable::{self, Writable};
use super::{GuestEvent, GuestSeen, GuestState};
use crate::network::Outside;

/// All guests of this node.
pub struct Guests {
    shared: Arc<Shared>,
    /// How to run this program as a supervisor.
    supervisor: Vec<OsString>,
    runtime: Option<Runtime>,
    /// Where guests write, whatever their size.
    writable: Option<Writable>,
    preparing: Mutex<()>,
}

/// Setting up takes tens of milliseconds; a supervisor gives up by itself before this.
const START_WITHIN: Duration = Duration::from_secs(30);

/// The guest's network is in this machine: who listens answers at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

impl Guests {
    /// Opens the guests in the directory `root`. `supervisor` is the command that runs this program's [`supervise`];
    /// `/proc/self/exe` as its first word stays right when the program is replaced on disk. Events are sent to
    /// `events`; while it is full they wait. What guests may reach, they reach through `outside`.
    ///
    /// Call [`Guests::seen`] next: it takes charge of guests that an earlier node left running.
    pub fn open(
        root: PathBuf,
        supervisor: Vec<OsString>,
        events: mpsc::Sender<GuestEvent>,
        outside: Arc<dyn Outside>,
    ) -> Result<Guests, GuestError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&root).doing("make the directory of guests")?;
        GuestDir::clear_unfinished(&root).doing("clear the directory of guests")?;
        Ok(Guests {
            shared: Arc::new(Shared::new(root, events, outside)),
            supervisor,
            runtime: Runtime::find(),
            writable: None,
            preparing: Mutex::default(),
        })
    }

    /// Runs guests with this OCI runtime instead of the best one in `PATH`.
    pub fn with_runtime(mut self, runtime: Runtime) -> Guests {
        self.runtime = Some(runtime);
        self
    }

    /// Keeps what guests write here instead of in the best place.
    pub fn with_writable(mut self, writable: Writable) -> Guests {
        self.writable = Some(writable);
        self
    }

    /// Where a guest with these limits writes.
    pub fn writable(&self, limits: &Limits) -> Writable {
        if self.runtime.as_ref().is_some_and(|runtime| runtime.engine().is_some()) {
            return Writable::Memory;
        }
        self.writable.unwrap_or_else(|| Writable::here().for_guest(limits))
    }

    /// What runs guests, if there is anything that can.
    pub fn runtime(&self) -> Option<&Runtime> {
        self.runtime.as_ref()
    }

    /// What a guest has used until now, or until its end.
    pub async fn usage(&self, id: GuestId) -> Result<Usage, GuestError> {
        Ok(self.shared.find(&id).await?.usage)
    }

    /// A guest as it is now.
    ///
    /// # Errors
    /// [`GuestError::NotRunning`] if there is none by this id.
    pub async fn look(&self, id: GuestId) -> Result<GuestSeen, GuestError> {
        if !self.shared.dir(&id).exists() {
            return Err(GuestError::NotRunning(id));
        }
        self.shared.find(&id).await
    }

    /// What goes on in a guest: its processes, as it sees them itself.
    ///
    /// # Errors
    /// [`GuestError::NotRunning`] if nothing does; [`GuestError::Without`] where its runtime shows none.
    pub async fn processes(&self, id: GuestId) -> Result<Processes, GuestError> {
        let dir = self.shared.dir(&id);
        if !dir.exists() || !dir.is_attended().doing("look for the guest's supervisor")? {
            return Err(GuestError::NotRunning(id));
        }
        let orders = dir.orders().doing("read what the guest was given")?;
        if orders.runtime.without().contains(&Feature::Processes) {
            return Err(GuestError::Without { feature: Feature::Processes, runtime: orders.runtime.name() });
        }
        let list = move || match orders.held_by {
            HeldBy::Groups(hierarchy) => processes::list(&hierarchy.group(&id), orders.ids),
            HeldBy::Engine(_) => {
                let keeper = engine::keeper_of(dir.path()).ok_or(io::ErrorKind::NotFound)?;
                processes::list_behind(keeper)
            }
        };
        let listed = tokio::task::spawn_blocking(list).await.map_err(io::Error::other);
        match listed.and_then(|listed| listed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(GuestError::NotRunning(id)),
            listed => listed.doing("list the guest's processes"),
        }
    }

    /// Bytes of a guest's log on the owner's disk.
    pub fn log_kept(&self, id: GuestId) -> u64 {
        log::kept(self.shared.dir(&id).path())
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
        let (orders, lock) = self.prepare(spec, &dir).await?;
        let started = match self.make_ready(&dir, &orders).await {
            Ok(()) => self.launch(&dir, &orders, lock).await,
            Err(error) => Err(error),
        };
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

    /// How long a guest may take to end, if that was agreed.
    pub fn stop_time(&self, id: GuestId) -> Option<Duration> {
        self.shared.dir(&id).orders().ok()?.spec.run.stop_within
    }

    /// Holds all processes of a guest where they are.
    pub async fn freeze(&self, id: GuestId) -> Result<(), GuestError> {
        self.shared.ask(&id, Request::Freeze, "freeze it").await.map(drop)
    }

    /// Lets them go on.
    pub async fn thaw(&self, id: GuestId) -> Result<(), GuestError> {
        self.shared.ask(&id, Request::Thaw, "thaw it").await.map(drop)
    }

    /// Gives a guest so many thousandths of a core from now on, whatever it was started with.
    pub async fn pace(&self, id: GuestId, cpu_millis: u32) -> Result<(), GuestError> {
        self.shared.ask(&id, Request::Pace(cpu_millis), "pace it").await.map(drop)
    }

    /// All guests of this node, running or not, until they are removed. Takes charge of those that run without us, and
    /// clears up behind those that were lost.
    pub async fn seen(&self) -> Result<Vec<GuestSeen>, GuestError> {
        let ids = self.shared.ids()?;
        // A few at a time: each is a conversation with another process.
        // Made beforehand: a stream that makes them as it goes is not `Send` (rust-lang/rust#102211).
        let finds: Vec<_> = ids.iter().map(|id| self.shared.find(id)).collect();
        let finds = futures::stream::iter(finds).buffered(16);
        finds.try_collect().await
    }

    /// Connects to a TCP port of a guest's loopback device.
    pub async fn connect(&self, id: GuestId, port: u16) -> Result<TcpStream, GuestError> {
        self.has(id, Feature::Network)?;
        let v4 = (Family::V4, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let v6 = (Family::V6, SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        match self.connect_to(id, v4).await {
            Err(GuestError::Connect { source, .. }) if source.kind() == io::ErrorKind::ConnectionRefused => {
                self.connect_to(id, v6).await
            }
            other => other,
        }
    }

    /// Refuses what a guest cannot have.
    fn has(&self, id: GuestId, feature: Feature) -> Result<(), GuestError> {
        let orders = self.shared.dir(&id).orders().map_err(|_| GuestError::NotRunning(id))?;
        if orders.runtime.without().contains(&feature) {
            return Err(GuestError::Without { feature, runtime: orders.runtime.name() });
        }
        Ok(())
    }

    /// A socket for datagrams to and from a UDP port of a guest's loopback device, of IPv6 if that is asked for.
    pub async fn datagrams(&self, id: GuestId, port: u16, is_v6: bool) -> Result<UdpSocket, GuestError> {
        self.has(id, Feature::Network)?;
        let (family, here) = match is_v6 {
            false => (Family::V4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            true => (Family::V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let (_, socket) = self.shared.ask(&id, Request::Datagrams(family), "make a socket").await?;
        let refused = |source| GuestError::Connect { id, port, source };
        let socket: OwnedFd = socket.ok_or_else(|| refused(io::ErrorKind::InvalidData.into()))?;
        let socket = UdpSocket::from_std(socket.into()).map_err(refused)?;
        socket.connect((here, port)).await.map_err(refused)?;
        Ok(socket)
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

    /// Begins another program in a guest that runs, in all of its namespaces and under all of its limits.
    ///
    /// # Errors
    /// [`GuestError::Exec`] says why it did not begin.
    pub async fn exec(&self, id: GuestId, spec: &ExecSpec) -> Result<Exec, GuestError> {
        exec::exec(&self.shared, id, spec).await
    }

    /// Copies files into a guest that runs, or out of it: the archive is the input or the output of what is returned.
    ///
    /// # Errors
    /// [`GuestError::Exec`] says why it did not begin; see [`why`](super::why) for its end.
    pub async fn copy(&self, id: GuestId, spec: &CopySpec) -> Result<Exec, GuestError> {
        self.has(id, Feature::Copying)?;
        copy::copy(&self.shared, id, spec).await
    }

    /// The input of a guest's own program; what it says is in its log.
    ///
    /// # Errors
    /// [`ExecRefusal::NoInput`](super::ExecRefusal::NoInput) if it was begun without one.
    pub async fn input(&self, id: GuestId) -> Result<Input, GuestError> {
        exec::input(&self.shared, id).await
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

    /// Decides what the guest gets, and writes it down in a directory of its own.
    async fn prepare(&self, spec: &GuestSpec, dir: &GuestDir) -> Result<(Orders, File), GuestError> {
        // One at a time, or two guests could be given the same ids.
        let _turn = self.preparing.lock().await;
        let runtime = self.runtime.clone().ok_or(GuestError::NoRuntime)?;
        let lacks = |feature| runtime.without().contains(&feature);
        let wanted = [
            (Feature::Devices, !spec.devices.nodes.is_empty()),
            (Feature::Network, !spec.network.policy.is_none()),
            (Feature::Writing, !spec.run.read_only),
            (Feature::Volumes, !spec.mounts.is_empty()),
            (Feature::Secrets, !spec.secrets.is_empty()),
        ];
        if let Some((feature, _)) = wanted.into_iter().find(|(feature, wanted)| *wanted && lacks(*feature)) {
            return Err(GuestError::Without { feature, runtime: runtime.name() });
        }
        let held_by = match runtime.engine() {
            Some(engine) => HeldBy::Engine(engine.clone()),
            None => HeldBy::Groups(Hierarchy::find()?),
        };
        let mut taken = HashSet::new();
        for id in self.shared.ids()? {
            let other = self.shared.dir(&id);
            let Ok(orders) = other.orders() else { continue };
            taken.insert(orders.ids);
            // Whatever name its owner lends it under.
            let shared = spec.devices.nodes.iter().find(|node| orders.spec.devices.has(node.device));
            if let Some(node) = shared
                && other.end().doing("look after another guest")?.is_none()
            {
                return Err(GuestError::DeviceInUse { path: node.path.clone() });
            }
        }
        let ids = match &held_by {
            HeldBy::Groups(_) => Ids::for_guest(&spec.id, &taken)?,
            HeldBy::Engine(_) => Ids::OfEngine,
        };
        let orders = Orders {
            spec: spec.clone(),
            ids,
            held_by,
            writable: self.writable(&spec.limits),
            runtime,
            defences: Defences::default(),
        };
        let lock = dir.create(&orders).doing("make the guest's directory")?;
        Ok((orders, lock))
    }

    /// Makes ready what takes longer than a start may: its disk, its image where an engine wants it.
    async fn make_ready(&self, dir: &GuestDir, orders: &Orders) -> Result<(), GuestError> {
        if let Some(engine) = orders.runtime.engine() {
            // One at a time: the next guest of the same image finds it there.
            let _turn = self.preparing.lock().await;
            let import = engine.import(&orders.spec.layers).await;
            let refused = |said| StartError::Runtime { runtime: engine.name(), said };
            return Ok(import.map_err(refused)?);
        }
        if orders.writable == Writable::Memory {
            return Ok(());
        }
        // One at a time, or two would make the same blank one.
        let _turn = self.preparing.lock().await;
        let (root, dir, limits) = (self.shared.root().to_owned(), dir.path().to_owned(), orders.spec.limits);
        let made = tokio::task::spawn_blocking(move || writable::make(&root, &dir, &limits)).await;
        made.map_err(io::Error::other).doing("make the guest's disk")?.map_err(GuestError::Disk)
    }

    async fn launch(&self, dir: &GuestDir, orders: &Orders, lock: File) -> Result<(), GuestError> {
        let (id, secrets) = (orders.spec.id, &orders.spec.secrets);
        let log = dir.supervisor_log().doing("open the supervisor's log")?;
        let [program, arguments @ ..] = self.supervisor.as_slice() else { return Err(GuestError::NoRuntime) };
        let (ours, theirs) = StdSocket::pair().doing("make a socket to the guest's supervisor")?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(id.to_string()) // for people who look at the list of processes
            .current_dir(dir.path())
            .env_clear()
            .stdin(lock)
            .stdout(OwnedFd::from(theirs))
            .stderr(log)
            .spawn()
            .doing("start the guest's supervisor")?;
        let talk = async {
            ours.set_nonblocking(true)?;
            let mut socket = UnixStream::from_std(ours)?;
            // A supervisor that is gone says why in its directory.
            let _ = socket.write_all(secrets::handed_over(secrets).bytes()).await;
            let mut said = Vec::new();
            socket.take(RUNNING.len() as u64).read_to_end(&mut said).await?;
            Ok::<_, io::Error>(said)
        };
        let Ok(said) = timeout(START_WITHIN, talk).await else {
            let _ = child.kill().await;
            return Err(GuestError::Unresponsive { id, doing: "start it", within: START_WITHIN });
        };
        // A socket that was closed before all was read from it breaks, where a pipe would only end.
        if said.is_ok_and(|said| said == RUNNING) {
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
        self.shared.stop_watching();
    }
}
