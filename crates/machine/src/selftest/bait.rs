//! What there is to be reached on the machine while the hostile guest runs: it must reach none of it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use super::messages::Messages;
use crate::network::{Internet, Outside};

/// Gone when dropped.
pub struct Bait {
    secret: PathBuf,
    socket: String,
    port: u16,
    messages: Messages,
    // Nobody accepts: that a connection is made at all is what counts.
    _listeners: (TcpListener, UnixListener),
}

impl Bait {
    pub fn lay(dir: &Path) -> io::Result<Bait> {
        let secret = dir.join("secret");
        fs::write(&secret, "of the owner\n")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644))?;
        let socket = format!("sublet-selftest-{}", std::process::id());
        // Takes both families, where there are two.
        let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
        let port = tcp.local_addr()?.port();
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&socket)?)?;
        let messages = Messages::make()?;
        Ok(Bait { secret, socket, port, messages, _listeners: (tcp, unix) })
    }

    /// For the guest's command line.
    pub fn words(&self) -> Vec<String> {
        let addresses: Vec<String> =
            Internet::default().own().iter().map(|own| own.address.to_string()).collect();
        vec![
            format!("secret={}", self.secret.display()),
            format!("socket={}", self.socket),
            format!("port={}", self.port),
            format!("key={}", self.messages.key()),
            format!("addresses={}", addresses.join(",")),
        ]
    }
}
