//! The node's side of a guest's network: takes what comes in at the doors, and lets it out or not.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use model::Traffic;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::doors::Door;
use super::gate::Gate;
use super::outside::Outside;
use super::traffic::Meter;
use super::{Network, proxy, pump};

/// Asks the supervisor for a door; none if it has no such door.
pub(crate) type Knock = Box<dyn Fn(Door) -> BoxFuture<'static, io::Result<Option<OwnedFd>>> + Send + Sync>;

/// Connections of one guest at once. Beyond, the guest's next ones wait in its own network.
const CONNECTIONS: usize = 256;

/// Connections of all guests at once.
static ALL_CONNECTIONS: Semaphore = Semaphore::const_new(2_048);

/// A guest's way out, for as long as it is kept.
pub(crate) struct Gateway {
    meter: Arc<Meter>,
    file: PathBuf,
    _open: DropGuard,
}

impl Gateway {
    /// Opens a guest's way out. What has passed is kept in the guest's directory `dir`.
    pub(crate) fn open(network: &Network, dir: &Path, outside: Arc<dyn Outside>, knock: Knock) -> Gateway {
        let file = dir.join("traffic.json");
        let meter = Arc::new(Meter::new(read(&file), network.rate));
        let closed = CancellationToken::new();
        let way = Way {
            gate: Arc::new(Gate::new(network.policy.clone(), outside)),
            meter: meter.clone(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            closed: closed.clone(),
        };
        tokio::spawn(async move {
            for door in [Door::Proxy, Door::CaughtV4, Door::CaughtV6] {
                match knock(door).await {
                    Ok(Some(socket)) => way.clone().serve(door, socket),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(?door, %error, "a guest's way out stays closed"),
                }
            }
        });
        Gateway { meter, file, _open: closed.drop_guard() }
    }

    /// What has passed, of which a copy is kept.
    pub(crate) fn traffic(&self) -> Traffic {
        let now = self.meter.read();
        if now != read(&self.file)
            && let Err(error) = write(&self.file, now)
        {
            tracing::warn!(%error, "a guest's traffic was not kept");
        }
        now
    }
}

/// What had passed when it was last kept.
pub(crate) fn kept_traffic(dir: &Path) -> Traffic {
    read(&dir.join("traffic.json"))
}

fn read(file: &Path) -> Traffic {
    fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Whole or not at all.
fn write(file: &Path, traffic: Traffic) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let mut opened =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    opened.write_all(&serde_json::to_vec(&traffic)?)?;
    fs::rename(unfinished, file)
}

/// What each task of a gateway works with.
#[derive(Clone)]
struct Way {
    gate: Arc<Gate>,
    meter: Arc<Meter>,
    connections: Arc<Semaphore>,
    closed: CancellationToken,
}

impl Way {
    fn serve(self, door: Door, socket: OwnedFd) {
        let closed = self.closed.clone();
        tokio::spawn(async move {
            let served = closed.run_until_cancelled(self.listen(door, socket)).await;
            if let Some(Err(error)) = served {
                tracing::warn!(?door, %error, "a guest's way out is closed");
            }
        });
    }

    async fn listen(&self, door: Door, socket: OwnedFd) -> io::Result<()> {
        let listener = TcpListener::from_std(socket.into())?;
        loop {
            // Never closed.
            let (Ok(of_guest), Ok(of_all)) =
                (self.connections.clone().acquire_owned().await, ALL_CONNECTIONS.acquire().await)
            else {
                return Ok(());
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, say: it passes.
                    tracing::debug!(%error, "a guest's connection was not accepted");
                    sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let way = self.clone();
            tokio::spawn(async move {
                let served = way.closed.run_until_cancelled(way.connection(door, stream)).await;
                if let Some(Err(error)) = served {
                    tracing::trace!(%error, "a guest's connection broke");
                }
                drop((of_guest, of_all));
            });
        }
    }

    async fn connection(&self, door: Door, stream: TcpStream) -> io::Result<()> {
        match door {
            Door::Proxy => proxy::serve(stream, &self.gate, &self.meter).await,
            Door::CaughtV4 | Door::CaughtV6 => self.caught(stream).await,
        }
    }

    /// A connection to an address outside, of a program that knows no proxy.
    async fn caught(&self, stream: TcpStream) -> io::Result<()> {
        let to = stream.local_addr()?;
        match self.gate.connect_address(to).await {
            Ok(outside) => pump::carry(stream, outside, &[], &self.meter).await,
            Err(barred) => {
                tracing::debug!(%to, %barred, "a guest was not let out");
                // Reset, as by a host that does not listen.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))
            }
        }
    }
}
