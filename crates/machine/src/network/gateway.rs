//! The node's side of a guest's network: takes what comes in at the doors, and lets it out or not.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
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

use super::datagrams::{self, Flows};
use super::doors::Door;
use super::gate::Gate;
use super::outside::Outside;
use super::traffic::{Meter, Pace};
use super::{Network, dns, proxy, pump};

/// Brings what the guest's supervisor has for the gateway.
pub(crate) trait Porter: Send + Sync + 'static {
    /// One of the doors; none if the supervisor has no such door.
    fn door(&self, door: Door) -> BoxFuture<'static, io::Result<Option<OwnedFd>>>;

    /// A socket for datagrams in the guest's network, of the family of an address.
    fn datagrams(&self, at: SocketAddr) -> BoxFuture<'static, io::Result<OwnedFd>>;
}

/// Connections of one guest at once. Beyond, the guest's next ones wait in its own network.
const CONNECTIONS: usize = 256;

/// New connections of one guest in a second. Beyond, they wait.
const CONNECTIONS_A_SECOND: u32 = 500;

/// Questions of one guest to its resolver in a second. Beyond, they are dropped, as a busy resolver does.
const QUESTIONS_A_SECOND: u32 = 500;

/// Connections of all guests at once.
pub(super) static ALL_CONNECTIONS: Semaphore = Semaphore::const_new(2_048);

const DOORS: [Door; 7] = [
    Door::Proxy,
    Door::Resolver,
    Door::ResolverDatagrams,
    Door::CaughtV4,
    Door::CaughtV6,
    Door::CaughtDatagramsV4,
    Door::CaughtDatagramsV6,
];

/// A guest's way out, for as long as it is kept.
pub(crate) struct Gateway {
    meter: Arc<Meter>,
    file: PathBuf,
    _open: DropGuard,
}

impl Gateway {
    /// Opens a guest's way out. What has passed is kept in the guest's directory `dir`.
    pub(crate) fn open(
        network: &Network,
        dir: &Path,
        outside: Arc<dyn Outside>,
        porter: Arc<dyn Porter>,
    ) -> Gateway {
        let file = dir.join("traffic.json");
        let meter = Arc::new(Meter::new(read(&file), network.rate));
        let closed = CancellationToken::new();
        let way = Way {
            gate: Arc::new(Gate::new(network.policy.clone(), outside)),
            meter: meter.clone(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            pace: Arc::new(Pace::new(CONNECTIONS_A_SECOND)),
            questions: Arc::new(Pace::new(QUESTIONS_A_SECOND)),
            flows: Arc::default(),
            porter: porter.clone(),
            closed: closed.clone(),
        };
        tokio::spawn(async move {
            for door in DOORS {
                match porter.door(door).await {
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
pub(super) struct Way {
    pub(super) gate: Arc<Gate>,
    pub(super) meter: Arc<Meter>,
    connections: Arc<Semaphore>,
    pace: Arc<Pace>,
    pub(super) questions: Arc<Pace>,
    pub(super) flows: Arc<Flows>,
    pub(super) porter: Arc<dyn Porter>,
    pub(super) closed: CancellationToken,
}

impl Way {
    fn serve(self, door: Door, socket: OwnedFd) {
        let closed = self.closed.clone();
        tokio::spawn(async move {
            let served = closed.run_until_cancelled(async {
                match door {
                    Door::ResolverDatagrams => datagrams::resolve(&self, socket).await,
                    Door::CaughtDatagramsV4 | Door::CaughtDatagramsV6 => {
                        datagrams::catch(&self, socket).await
                    }
                    Door::Proxy | Door::Resolver | Door::CaughtV4 | Door::CaughtV6 => {
                        self.listen(door, socket).await
                    }
                }
            });
            let served = served.await;
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
            self.pace.wait().await;
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
            Door::Resolver => dns::serve(stream, &self.gate, &self.questions).await,
            Door::CaughtV4 | Door::CaughtV6 => self.caught(stream).await,
            // They are no streams.
            Door::ResolverDatagrams | Door::CaughtDatagramsV4 | Door::CaughtDatagramsV6 => Ok(()),
        }
    }

    /// A connection to an address outside, of a program that knows no proxy.
    async fn caught(&self, stream: TcpStream) -> io::Result<()> {
        let to = stream.local_addr()?;
        if to.port() == dns::PORT {
            // Whichever resolver a program insists on, it speaks to ours.
            return dns::serve(stream, &self.gate, &self.questions).await;
        }
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
