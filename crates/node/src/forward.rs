//! Ports of this computer that lead into a guest. They are this computer's own business: no record, a small file.

use crate::execute::Hands;
use crate::serve::BUFFER;
use crate::{Error, keys};
use model::message::StreamHead;
use model::{Id, Lease, PeerKey};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A port of this computer's loopback that leads to a port of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Into which lease's guest.
    pub lease: Id<Lease>,
    /// The port here, on 127.0.0.1.
    pub local: u16,
    /// The port inside the guest.
    pub guest: u16,
}

/// All forwards of this node.
pub struct Forwards {
    file: PathBuf,
    running: Mutex<Vec<(Forward, AbortHandle)>>,
}

/// A port that is taken for us, and leads nowhere yet.
pub struct Reserved {
    listener: TcpListener,
    guest: u16,
}

impl Reserved {
    /// Takes a port of the loopback, before anything is agreed that would be of no use without it.
    ///
    /// # Errors
    /// When another program has it.
    pub async fn take(local: u16, guest: u16) -> Result<Reserved, Error> {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await;
        Ok(Reserved { listener: taken.map_err(|reason| Error::Port { port: local, reason })?, guest })
    }

    fn local(&self) -> u16 {
        self.listener.local_addr().map_or(0, |address: SocketAddr| address.port())
    }
}

impl Forwards {
    /// Forwards that are written to `file`.
    pub fn open(file: PathBuf) -> Forwards {
        Forwards { file, running: Mutex::default() }
    }

    /// What was open when the node stopped.
    pub fn kept(&self) -> Vec<Forward> {
        std::fs::read(&self.file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// All that are open.
    pub fn list(&self) -> Vec<Forward> {
        self.locked().iter().map(|(forward, _)| *forward).collect()
    }

    /// Lets a taken port lead into a guest.
    pub fn open_port(&self, hands: &Hands, lease: Id<Lease>, host: PeerKey, port: Reserved) -> Forward {
        let forward = Forward { lease, local: port.local(), guest: port.guest };
        let task = tokio::spawn(accept(hands.clone(), host, forward, port.listener));
        self.locked().push((forward, task.abort_handle()));
        self.keep();
        forward
    }

    /// Closes those of leases that have ended.
    pub fn close(&self, is_over: impl Fn(Id<Lease>) -> bool) {
        let mut running = self.locked();
        let before = running.len();
        running.retain(|(forward, task)| {
            let over = is_over(forward.lease);
            if over {
                task.abort();
            }
            !over
        });
        let changed = running.len() != before;
        drop(running);
        if changed {
            self.keep();
        }
    }

    fn keep(&self) {
        let written = serde_json::to_vec(&self.list()).map_err(|error| error.to_string());
        let written =
            written.and_then(|bytes| keys::write_new(&self.file, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(%error, "open ports will not be opened again after a restart");
        }
    }

    /// The data stays whole if a thread panics while it holds the lock: each change is one call.
    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<(Forward, AbortHandle)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(hands: Hands, host: PeerKey, forward: Forward, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((local, _)) => {
                tokio::spawn(carry(hands.clone(), host, forward, local));
            }
            Err(error) => {
                // Too many open files, say: it passes.
                tracing::warn!(port = forward.local, %error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

async fn carry(hands: Hands, host: PeerKey, forward: Forward, mut local: TcpStream) {
    let _ = local.set_nodelay(true);
    let head = StreamHead::Port { lease: forward.lease, port: forward.guest };
    let mut stream = match hands.net.open(host, head).await {
        Ok(stream) => stream,
        Err(error) => return tracing::info!(port = forward.local, %error, "no way into the guest"),
    };
    if let Err(error) = copy_bidirectional_with_sizes(&mut local, &mut stream, BUFFER, BUFFER).await {
        tracing::debug!(port = forward.local, %error, "a connection into the guest broke");
    }
}
