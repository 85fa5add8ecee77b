//! The pages of the desktop app in a browser: on the loopback by a link that works once, on the local network with TLS
//! and a passphrase. Either leads to a session, which a cookie shows that no script can read.

mod pages;
mod secret;
mod sessions;
pub(crate) mod tls;

pub use pages::pages;
pub(crate) use secret::Secret;
pub(crate) use sessions::Sessions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What browsers may see, shared by all doors.
#[derive(Clone)]
pub struct Dashboard(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    secret: Secret,
    loopback: OnceLock<SocketAddr>,
    lan: OnceLock<Lan>,
}

/// Where the local network reaches the pages.
#[derive(Clone, Debug)]
pub struct Lan {
    /// Where it listens.
    pub address: SocketAddr,
    /// SHA-256 of the certificate, as browsers show it: `AB:CD:..`.
    pub fingerprint: String,
}

impl Dashboard {
    /// The dashboard of a data directory; closed until a door is opened to it.
    pub fn of(data: &Path) -> Dashboard {
        Dashboard(Arc::new(Inner {
            sessions: Sessions::load(data.join("sessions.json")),
            secret: Secret::of(data),
            loopback: OnceLock::new(),
            lan: OnceLock::new(),
        }))
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0.secret
    }

    pub(crate) fn open_loopback(&self, address: SocketAddr) {
        // A door is opened once.
        let _ = self.0.loopback.set(address);
    }

    pub(crate) fn open_lan(&self, lan: Lan) {
        let _ = self.0.lan.set(lan);
    }

    /// Where the loopback reaches the pages; none: they are not served.
    pub fn loopback(&self) -> Option<SocketAddr> {
        self.0.loopback.get().copied()
    }

    /// Where the local network does.
    pub fn lan(&self) -> Option<&Lan> {
        self.0.lan.get()
    }

    /// A link that opens the pages once, within ten minutes; none where they are not served.
    pub fn link(&self) -> Option<String> {
        let address = self.loopback()?;
        Some(format!("http://{address}/login/{}", self.sessions().link()?))
    }
}
