//! The door in the wall: a port of the loopback and a Unix socket, both of which lead to the same routes.

use crate::dashboard::{Dashboard, Lan, tls};
use crate::door::Door;
use crate::guard::{Guard, Token};
use crate::router::with_door;
use crate::socket::{self, socket_path};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use node::{NodeHandle, write_private};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the API listens when nobody says, and nobody else does.
pub const USUAL_PORT: u16 = 7391;

/// Connections at once, for each of the two.
const CONNECTIONS: usize = 128;

/// How long a client may take to say what it wants.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// How long answers that are under way may take once the node stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a client finds the API: the file `api.json` in the data directory, as long as the node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Where it listens: `127.0.0.1:7391`.
    pub address: SocketAddr,
    /// The node's process.
    pub pid: u32,
}

/// The file with the token in a data directory.
pub fn token_path(data: &Path) -> PathBuf {
    data.join("token")
}

fn announcement_path(data: &Path) -> PathBuf {
    data.join("api.json")
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port that was wanted is taken.
    #[error("port {port} of this computer cannot be used: {source}")]
    Port {
        /// Which.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or socket in the data directory.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The API of a running node.
pub struct Serving {
    /// Where it listens, besides the Unix socket.
    pub address: SocketAddr,
    data: PathBuf,
    door: Door,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// Which doors to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doors {
    /// The port of the loopback; none: the usual one, or one that is free.
    pub port: Option<u16>,
    /// Whether browsers of this computer see the pages there.
    pub dashboard: bool,
    /// Where browsers of the local network see them, by TLS and a passphrase.
    pub lan: Option<SocketAddr>,
}

/// Serves a node's API on a port of the loopback and on a Unix socket in its data directory. Without a port: the usual
/// one, or one that is free.
///
/// # Errors
/// When the port is taken, or the data directory cannot be used.
pub async fn serve(node: NodeHandle, data: &Path, port: Option<u16>) -> Result<Serving, ServeError> {
    serve_at(node, data, Doors { port, ..Doors::default() }).await
}

/// The same, with the doors that are wished for.
///
/// # Errors
/// When a port is taken, or the data directory cannot be used.
pub async fn serve_at(node: NodeHandle, data: &Path, doors: Doors) -> Result<Serving, ServeError> {
    let token = Token::load(&token_path(data)).map_err(file("use the token in", &token_path(data)))?;
    let tcp = listen(doors.port).await?;
    let address =
        tcp.local_addr().map_err(|source| ServeError::Port { port: doors.port.unwrap_or(0), source })?;
    let unix = socket::listen(data).map_err(file("listen at", &socket_path(data)))?;
    let door = Door::new(node);
    let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
    let serving = Serving { address, data: data.to_owned(), door: door.clone(), stop, connections };
    let browsers = |port, secure| {
        let guard = Guard::Browser { token: token.clone(), dashboard: door.dashboard.clone(), port, secure };
        with_door(door.clone(), guard)
    };
    let local = if doors.dashboard {
        door.dashboard.open_loopback(address);
        browsers(address.port(), false)
    } else {
        with_door(door.clone(), Guard::Token { token: token.clone(), port: address.port() })
    };
    serving.connections.spawn(accept_tcp(serving.host(local), tcp));
    if let Some(lan) = doors.lan {
        let wanted = |source| ServeError::Port { port: lan.port(), source };
        let listener = TcpListener::bind(lan).await.map_err(wanted)?;
        let address = listener.local_addr().map_err(wanted)?;
        let (acceptor, fingerprint) =
            tls::acceptor(data).map_err(file("use the certificate in", &data.join("tls")))?;
        door.dashboard.open_lan(Lan { address, fingerprint });
        let host = serving.host(browsers(address.port(), true));
        serving.connections.spawn(accept_tls(host, listener, acceptor));
    }
    serving.connections.spawn(accept_unix(serving.host(with_door(door, Guard::Owner)), unix));
    announce(data, address)?;
    Ok(serving)
}

async fn listen(port: Option<u16>) -> Result<TcpListener, ServeError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let bound = match port {
        Some(port) => bind(port).await,
        None => match bind(USUAL_PORT).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse => bind(0).await,
            other => other,
        },
    };
    bound.map_err(|source| ServeError::Port { port: port.unwrap_or(USUAL_PORT), source })
}

fn announce(data: &Path, address: SocketAddr) -> Result<(), ServeError> {
    let path = announcement_path(data);
    let words =
        serde_json::to_vec(&Announcement { address, pid: std::process::id() }).map_err(io::Error::other);
    words.and_then(|words| write_private(&path, &words)).map_err(file("write", &path))
}

fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServeError {
    let path = path.to_owned();
    move |source| ServeError::File { doing, path, source }
}

impl Serving {
    /// The pages in a browser.
    pub fn dashboard(&self) -> &Dashboard {
        &self.door.dashboard
    }

    /// Returns once the node was shut down through the API.
    pub async fn closed(&self) {
        self.door.closed.cancelled().await;
    }

    /// Serves no more: what is under way has a moment to end.
    pub async fn stop(self) {
        for path in [announcement_path(&self.data), socket_path(&self.data)] {
            // It may be gone with the directory.
            let _ = fs::remove_file(path);
        }
        self.door.closed.cancel();
        self.stop.cancel();
        self.connections.close();
        let _ = timeout(LAST_WORDS, self.connections.wait()).await;
    }

    fn host(&self, router: Router) -> Host {
        Host {
            router,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            stop: self.stop.clone(),
            connections: self.connections.clone(),
        }
    }
}

/// What receives connections.
#[derive(Clone)]
struct Host {
    router: Router,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    connections: TaskTracker,
}

async fn accept_tcp(host: Host, listener: TcpListener) {
    while let Some(((stream, _), place)) = host.next(|| listener.accept()).await {
        // Without it only small answers wait longer.
        let _ = stream.set_nodelay(true);
        host.serve(stream, place);
    }
}

/// As over TCP, once the two speak TLS. Who does not begin in time loses the place.
async fn accept_tls(host: Host, listener: TcpListener, acceptor: TlsAcceptor) {
    while let Some(((stream, _), place)) = host.next(|| listener.accept()).await {
        let (acceptor, host) = (acceptor.clone(), host.clone());
        tokio::spawn(async move {
            match timeout(HEADER_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => host.serve(stream, place),
                Ok(Err(error)) => tracing::debug!(%error, "a client speaks no TLS"),
                Err(_) => tracing::debug!("a client said nothing"),
            }
        });
    }
}

async fn accept_unix(host: Host, listener: UnixListener) {
    while let Some(((stream, _), place)) = host.next(|| listener.accept()).await {
        // The mode of the socket says the same; a file system without modes does not.
        if stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw()) {
            host.serve(stream, place);
        } else {
            tracing::warn!("another user was turned away at the socket");
        }
    }
}

impl Host {
    /// The next connection, and its place among those that are open; none once no more are wanted.
    async fn next<T, F>(&self, accept: impl Fn() -> F) -> Option<(T, OwnedSemaphorePermit)>
    where
        F: Future<Output = io::Result<T>>,
    {
        let place = tokio::select! {
            place = self.places.clone().acquire_owned() => place.ok()?,
            () = self.stop.cancelled() => return None,
        };
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.stop.cancelled() => return None,
            };
            match accepted {
                Ok(connection) => return Some((connection, place)),
                // Too many open files, say: it passes.
                Err(error) => {
                    tracing::warn!(%error, "a client was not let in");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        place: OwnedSemaphorePermit,
    ) {
        let (service, stop) = (TowerToHyperService::new(self.router.clone()), self.stop.clone());
        self.connections.spawn(async move {
            let _place = place;
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let served = tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
}
