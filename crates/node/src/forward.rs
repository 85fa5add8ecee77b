//! Ports of this computer that lead into a guest. They are this computer's own business: no record, a small file.

use crate::execute::Hands;
use crate::serve::BUFFER;
use crate::{Error, datagrams, keys};
use model::message::StreamHead;
use model::{Id, Lease, PeerKey, Workload};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;

/// A port of this computer's loopback that leads to a port of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Into which lease's guest.
    pub lease: Id<Lease>,
    /// Which ports.
    #[serde(flatten)]
    pub port: Port,
}

/// A port here, and one in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The port here, on 127.0.0.1; nought takes a free one.
    pub local: u16,
    /// The port inside the guest.
    pub guest: u16,
    /// What is carried.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What a port carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "port {}", self.guest),
            Protocol::Udp => write!(f, "UDP port {}", self.guest),
        }
    }
}

impl Port {
    /// Whether a workload names it.
    pub fn is_named(&self, workload: &Workload) -> bool {
        match self.protocol {
            Protocol::Tcp => workload.ports.contains(&self.guest),
            Protocol::Udp => workload.udp_ports.contains(&self.guest),
        }
    }
}

/// All forwards of this node.
pub struct Forwards {
    file: PathBuf,
    running: Mutex<Vec<(Forward, AbortHandle)>>,
}

/// A port that is taken for us, and leads nowhere yet.
pub struct Reserved {
    port: Port,
    taken: Taken,
}

enum Taken {
    Listener(TcpListener),
    Datagrams(UdpSocket),
}

impl Reserved {
    /// Takes a port of the loopback, before anything is agreed that would be of no use without it.
    ///
    /// # Errors
    /// When another program has it.
    pub async fn take(wanted: Port) -> Result<Reserved, Error> {
        let refused = |reason| Error::Port { port: wanted.local, reason };
        let here = (Ipv4Addr::LOCALHOST, wanted.local);
        let (taken, local) = match wanted.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(here).await.map_err(refused)?;
                let local = listener.local_addr().map_err(refused)?;
                (Taken::Listener(listener), local)
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(here).await.map_err(refused)?;
                let local = socket.local_addr().map_err(refused)?;
                (Taken::Datagrams(socket), local)
            }
        };
        Ok(Reserved { port: Port { local: local.port(), ..wanted }, taken })
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
        let forward = Forward { lease, port: port.port };
        let task = match port.taken {
            Taken::Listener(listener) => tokio::spawn(accept(hands.clone(), host, forward, listener)),
            Taken::Datagrams(socket) => tokio::spawn(datagrams::send(hands.clone(), host, forward, socket)),
        };
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
                tracing::warn!(port = forward.port.local, %error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

async fn carry(hands: Hands, host: PeerKey, forward: Forward, mut local: TcpStream) {
    let _ = local.set_nodelay(true);
    let head = StreamHead::Port { lease: forward.lease, port: forward.port.guest };
    let mut stream = match hands.net.open(host, head).await {
        Ok(stream) => stream,
        Err(error) => return tracing::info!(port = forward.port.local, %error, "no way into the guest"),
    };
    if let Err(error) = copy_bidirectional_with_sizes(&mut local, &mut stream, BUFFER, BUFFER).await {
        tracing::debug!(port = forward.port.local, %error, "a connection into the guest broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_an_older_version_kept_are_read() {
        let lease = "07".repeat(32);
        let kept = format!(r#"[{{"lease":"{lease}","local":8080,"guest":80}}]"#);
        let forwards: Vec<Forward> = serde_json::from_str(&kept).unwrap();
        assert_eq!(forwards[0].port, Port { local: 8080, guest: 80, protocol: Protocol::Tcp });
        assert_eq!(
            serde_json::from_str::<Vec<Forward>>(&serde_json::to_string(&forwards).unwrap()).unwrap(),
            forwards
        );
    }
}
