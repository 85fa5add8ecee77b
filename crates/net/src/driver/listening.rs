//! Where this node listens, and which of its addresses others were told.

use crate::address::{self, Reach};
use crate::error::NetError;
use crate::event::Transport;
use crate::swarm::Behaviour;
use libp2p::core::transport::ListenerId;
use libp2p::{Multiaddr, PeerId, Swarm};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;
use tokio::sync::oneshot;

/// Our own addresses.
pub(super) struct Listening {
    addresses: BTreeSet<Multiaddr>,
    told: Vec<Multiaddr>,
    /// Listeners that have not said yet where they listen, and who waits for that.
    starting: HashSet<ListenerId>,
    started: Option<oneshot::Sender<()>>,
}

impl Listening {
    /// Starts to listen. `started` hears when each listener has its address.
    ///
    /// # Errors
    /// When a port is taken, or nothing can listen.
    pub(super) fn start(
        swarm: &mut Swarm<Behaviour>,
        addresses: &[String],
        started: oneshot::Sender<()>,
    ) -> Result<Listening, NetError> {
        let mut starting = HashSet::new();
        let mut failed = None;
        for text in addresses {
            match listen_on(swarm, &address::parse(text)?) {
                Ok(listener) => {
                    starting.insert(listener);
                }
                Err(source) => {
                    let taken = source.kind() == io::ErrorKind::AddrInUse;
                    let error = NetError::Listen { address: text.clone(), source };
                    if taken {
                        return Err(error);
                    }
                    // A machine without IPv6 is no reason to stop, as long as something else listens.
                    tracing::warn!(%error, "not listening");
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed.filter(|_| starting.is_empty()) {
            return Err(error);
        }
        let mut listening =
            Listening { addresses: BTreeSet::new(), told: Vec::new(), starting, started: Some(started) };
        listening.announce();
        Ok(listening)
    }

    /// A listener has an address.
    pub(super) fn add(&mut self, listener: ListenerId, address: Multiaddr) {
        self.addresses.insert(address);
        self.starting.remove(&listener);
        self.announce();
    }

    /// An address is no longer ours.
    pub(super) fn remove(&mut self, address: &Multiaddr) {
        self.addresses.remove(address);
    }

    /// A listener has ended.
    pub(super) fn ended(&mut self, listener: ListenerId, addresses: &[Multiaddr]) {
        addresses.iter().for_each(|address| self.remove(address));
        self.starting.remove(&listener);
        self.announce();
    }

    /// Addresses of our own sockets.
    pub(super) fn direct(&self) -> Vec<Multiaddr> {
        self.addresses.iter().filter(|own| !address::is_relayed(own)).cloned().collect()
    }

    /// The addresses that a relay's owner vouches for, and those that count no more: loopback counts only for a relay
    /// that has nothing else.
    pub(super) fn vouched(&self) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
        let (loopback, others): (Vec<_>, Vec<_>) =
            self.direct().into_iter().partition(|own| address::reach(own) == Some(Reach::Loopback));
        if others.is_empty() { (loopback, others) } else { (others, loopback) }
    }

    /// What to tell others now, given what is `confirmed` from outside; none when they know.
    pub(super) fn news<'a>(
        &'a mut self,
        confirmed: impl Iterator<Item = &'a Multiaddr>,
        me: PeerId,
    ) -> Option<Vec<String>> {
        let told = address::to_tell(self.addresses.iter().chain(confirmed), me);
        if told == self.told {
            return None;
        }
        self.told = told;
        Some(self.told())
    }

    /// What others were told.
    pub(super) fn told(&self) -> Vec<String> {
        self.told.iter().map(Multiaddr::to_string).collect()
    }

    fn announce(&mut self) {
        if self.starting.is_empty()
            && let Some(started) = self.started.take()
        {
            let _ = started.send(());
        }
    }
}

/// libp2p shares a port with whoever else of this user listens there, and each would get some of the other's calls.
/// So the port is tried first, alone.
fn listen_on(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> io::Result<ListenerId> {
    if let (Some(socket), Some(transport)) = (address::socket(address), address::transport(address)) {
        try_alone(socket, transport)?;
    }
    swarm.listen_on(address.clone()).map_err(io::Error::other)
}

fn try_alone(address: SocketAddr, transport: Transport) -> io::Result<()> {
    let kind = match transport {
        Transport::Tcp => Type::STREAM,
        Transport::Quic => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a node that has just ended linger for a minute on its port.
    #[cfg(unix)]
    socket.set_reuse_address(transport == Transport::Tcp)?;
    socket.bind(&address.into())?;
    if transport == Transport::Tcp { socket.listen(1) } else { Ok(()) }
}
