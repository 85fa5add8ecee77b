//! Looking after guests: who is there, how are they, and how did they end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::BoxFuture;
use model::Traffic;
use tokio::process::Child;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::connection::Connection;
use super::error::{Doing, GuestError};
use super::record::{End, Ending, GuestDir, Loss, Orders, Usage};
use super::spec::GuestId;
use super::supervisor::CONTROL;
use super::wire::{Family, LiveState, Reply, Request};
use super::{GuestEvent, GuestSeen, GuestState};
use crate::network::{Door, Gateway, Outside, Porter, kept_traffic};

/// A supervisor has one thread, which at most waits for a freeze.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What the node's calls and the tasks that watch guests have in common.
pub(super) struct Shared {
    root: PathBuf,
    events: mpsc::Sender<GuestEvent>,
    watches: Mutex<HashMap<GuestId, AbortHandle>>,
    starting: Mutex<HashMap<GuestId, Arc<tokio::sync::Mutex<()>>>>,
    gateways: Mutex<HashMap<GuestId, Gateway>>,
    pub(super) outside: Arc<dyn Outside>,
}

/// A guest that is being started: others who would start it wait, and nobody calls it lost.
pub(super) struct Starting<'a> {
    shared: &'a Shared,
    id: GuestId,
    _turn: OwnedMutexGuard<()>,
}

impl Starting<'_> {
    pub(super) async fn begin(shared: &Shared, id: GuestId) -> Starting<'_> {
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
    pub(super) fn new(root: PathBuf, events: mpsc::Sender<GuestEvent>, outside: Arc<dyn Outside>) -> Shared {
        let (watches, starting, gateways) = (Mutex::default(), Mutex::default(), Mutex::default());
        Shared { root, events, watches, starting, gateways, outside }
    }

    pub(super) fn stop_watching(&self) {
        for (_, watch) in locked(&self.watches).drain() {
            watch.abort();
        }
        for (_, gateway) in locked(&self.gateways).drain() {
            gateway.traffic();
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn dir(&self, id: &GuestId) -> GuestDir {
        GuestDir::of(&self.root, id)
    }

    /// The guests that have a directory.
    pub(super) fn ids(&self) -> Result<Vec<GuestId>, GuestError> {
        let entries = fs::read_dir(&self.root).doing("list the guests")?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// A guest that has a directory, as it is now.
    pub(super) async fn find(self: &Arc<Shared>, id: &GuestId) -> Result<GuestSeen, GuestError> {
        let dir = self.dir(id);
        let seen = |state, usage| {
            Ok(GuestSeen { id: *id, state, usage: Usage { traffic: self.traffic(id), ..usage } })
        };
        if let Some(end) = dir.end().doing("read how the guest ended")? {
            return seen(end.how.into_state(end.at), end.usage);
        }
        match self.status(id).await {
            Ok(Some((state, usage))) => return seen(state.into(), usage),
            Ok(None) => {}
            // It lives, and one that hangs must not hide the others.
            Err(error @ GuestError::Unresponsive { .. }) => {
                tracing::warn!(%id, %error, "the guest's state is not known");
                return seen(GuestState::Running, group_usage(&dir));
            }
            Err(error) => return Err(error),
        }
        // It may have ended, or be about to have a supervisor.
        if let Some(end) = dir.end().doing("read how the guest ended")? {
            return seen(end.how.into_state(end.at), end.usage);
        }
        if locked(&self.starting).contains_key(id) || self.is_attended(id).await? {
            return seen(GuestState::Starting, Usage::default());
        }
        let end = self.write_off(&dir).await?;
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

    /// Ends what is left of a lost guest, and records that it is lost.
    async fn write_off(&self, dir: &GuestDir) -> Result<End, GuestError> {
        let loss = if dir.path().join(CONTROL).exists() { Loss::Supervisor } else { Loss::NeverStarted };
        if let Ok(orders) = dir.orders() {
            clear_group(&orders).await?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let end = End { how: Ending::Lost(loss), at: now, usage: group_usage(dir) };
        dir.set_end(&end).doing("record that the guest is lost")?;
        Ok(end)
    }

    /// Removes a guest without a supervisor.
    pub(super) async fn clear(&self, dir: &GuestDir, orders: &Orders) -> Result<(), GuestError> {
        clear_group(orders).await?;
        let grip = orders.held_by.grip(&orders.spec.id);
        let removed = tokio::task::spawn_blocking(move || grip.remove()).await;
        removed.map_err(io::Error::other).and_then(|removed| removed).doing("remove what held the guest")?;
        fs::remove_dir_all(dir.path()).doing("remove the guest's directory")
    }

    /// Whether a guest has a supervisor. One that no longer answers is about to be gone: then we wait until it is.
    pub(super) async fn is_attended(&self, id: &GuestId) -> Result<bool, GuestError> {
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
    pub(super) fn call(&self, id: &GuestId) -> Result<Option<Connection>, GuestError> {
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

    pub(super) async fn ask(
        &self,
        id: &GuestId,
        request: Request,
        doing: &'static str,
    ) -> Result<(Reply, Option<OwnedFd>), GuestError> {
        let line = self.call(id)?.ok_or(GuestError::NotRunning(*id))?;
        ask(*id, &line, request, doing).await?.ok_or(GuestError::NotRunning(*id))
    }

    /// Stays with a guest until it ends, unless somebody of ours does so already.
    pub(super) fn watch(self: &Arc<Shared>, id: GuestId, line: Option<Connection>, mut child: Option<Child>) {
        let mut watches = locked(&self.watches);
        if watches.contains_key(&id) {
            return;
        }
        if line.is_some() {
            self.open_gateway(id);
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
            shared.close_gateway(id);
            shared.tell_end(id).await;
            if let Some(mut child) = child {
                let _ = child.wait().await;
            }
        });
        watches.insert(id, task.abort_handle());
    }

    /// Opens the guest's way out, if its lease gives it one.
    fn open_gateway(self: &Arc<Shared>, id: GuestId) {
        let dir = self.dir(&id);
        let network = match dir.orders() {
            Ok(orders) => orders.spec.network,
            Err(error) => return tracing::warn!(%id, %error, "what the guest may reach is not known"),
        };
        if network.policy.is_none() {
            return;
        }
        let porter = Arc::new(AtDoor { shared: self.clone(), id });
        let gateway = Gateway::open(&network, dir.path(), self.outside.clone(), porter);
        locked(&self.gateways).insert(id, gateway);
    }

    fn close_gateway(&self, id: GuestId) {
        if let Some(gateway) = locked(&self.gateways).remove(&id) {
            gateway.traffic();
        }
    }

    /// What passed between a guest and the outside until now.
    fn traffic(&self, id: &GuestId) -> Traffic {
        let open = locked(&self.gateways).get(id).map(Gateway::traffic);
        open.unwrap_or_else(|| kept_traffic(self.dir(id).path()))
    }

    async fn tell_end(&self, id: GuestId) {
        let dir = self.dir(&id);
        let end = match dir.end() {
            Ok(Some(end)) => Ok(end),
            Ok(None) | Err(_) => self.write_off(&dir).await,
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

/// Brings a gateway what its guest's supervisor has for it.
struct AtDoor {
    shared: Arc<Shared>,
    id: GuestId,
}

impl Porter for AtDoor {
    fn door(&self, door: Door) -> BoxFuture<'static, io::Result<Option<OwnedFd>>> {
        let (shared, id) = (self.shared.clone(), self.id);
        async move {
            match shared.ask(&id, Request::Door(door), "open a way out").await {
                Ok((_, socket)) => Ok(socket),
                Err(GuestError::Io { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                Err(error) => Err(io::Error::other(error)),
            }
        }
        .boxed()
    }

    fn datagrams(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<OwnedFd>> {
        let (shared, id) = (self.shared.clone(), self.id);
        let family = if at.is_ipv4() { Family::V4 } else { Family::V6 };
        async move {
            let asked = shared.ask(&id, Request::Datagrams(family), "make a socket").await;
            let (_, socket) = asked.map_err(io::Error::other)?;
            socket.ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
        .boxed()
    }
}

/// Ends what lives of a guest without a supervisor.
async fn clear_group(orders: &Orders) -> Result<(), GuestError> {
    let grip = orders.held_by.grip(&orders.spec.id);
    let cleared = tokio::task::spawn_blocking(move || grip.clear(ANSWER_WITHIN)).await;
    cleared.map_err(io::Error::other).and_then(|cleared| cleared).doing("end what is left of the guest")
}

/// What the kernel knows of a guest whose supervisor does not speak.
fn group_usage(dir: &GuestDir) -> Usage {
    dir.orders().map_or(Usage::default(), |orders| orders.held_by.grip(&orders.spec.id).usage())
}

/// Asks a supervisor; `None` if it ended while we spoke.
pub(super) async fn ask(
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

/// The data stays whole if a thread panics while it holds the lock: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
