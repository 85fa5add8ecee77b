//! The outside as a guest's gateway sees it: names are looked up, and public addresses connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::document::Name;
use sysinfo::Networks;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::address::Own;

/// What a gateway needs of the outside. This computer's own is [`Internet`]; tests have one of theirs, since no server
/// of a test has a public address.
pub trait Outside: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, name: &Name) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;

    /// A connection to an address that was judged.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>>;

    /// A socket for datagrams to and from an address that was judged.
    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<UdpSocket>>;

    /// The networks that this machine is in, and its own addresses outside of them.
    fn own(&self) -> Arc<[Own]>;

    /// Whether there is a way out for IPv6.
    fn has_ipv6(&self) -> bool {
        self.own().iter().any(|own| own.address.is_ipv6() && super::address::public(own.address).is_ok())
    }
}

/// The network of this computer.
#[derive(Default)]
pub struct Internet {
    seen: Mutex<Option<(Instant, Arc<[Own]>)>>,
    known: Mutex<Vec<IpAddr>>,
}

/// A resolver of the system tries its servers for longer than anybody waits.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);

/// Lookups at once, for all guests: each takes a thread, of which the node needs others.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// Longer than a round trip to the other side of the earth, and two lost packets.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A machine that moves to another network is in it for so long before we know.
const SEEN_FOR: Duration = Duration::from_secs(5);

impl Internet {
    /// Tells addresses by which this machine is known outside, such as that of its router.
    pub fn know(&self, addresses: Vec<IpAddr>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Outside for Internet {
    fn resolve(&self, name: &Name) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        // The dot keeps the domains of this network from being tried.
        let name = format!("{name}.");
        // A lookup that nobody waits for any more still has its thread, and its turn.
        let lookup = tokio::spawn(async move {
            // Never closed.
            let _turn = LOOKUPS.acquire().await;
            lookup_host((name, 0)).await.map(|found| found.map(|address| address.ip()).collect())
        });
        async move { timeout(RESOLVE_WITHIN, lookup).await.map_err(|_| io::ErrorKind::TimedOut)?? }.boxed()
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> {
        async move { timeout(CONNECT_WITHIN, TcpStream::connect(to)).await.map_err(|_| io::ErrorKind::TimedOut)? }
            .boxed()
    }

    fn datagrams(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<UdpSocket>> {
        let any: SocketAddr =
            if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
        async move {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(to).await?;
            Ok(socket)
        }
        .boxed()
    }

    fn own(&self) -> Arc<[Own]> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, own)) = &*seen
            && at.elapsed() < SEEN_FOR
        {
            return own.clone();
        }
        // A machine that does not know its own network takes all addresses for its own.
        let interfaces = interfaces().unwrap_or_else(|error| {
            tracing::warn!(%error, "the networks of this machine are not known: no guest is let out");
            vec![Own { address: [0; 4].into(), bits: 0 }, Own { address: [0; 16].into(), bits: 0 }]
        });
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.iter().map(|address| Own { address: *address, bits: 128 });
        let own: Arc<[Own]> = interfaces.into_iter().chain(known).collect();
        *seen = Some((Instant::now(), own.clone()));
        own
    }
}

fn interfaces() -> Result<Vec<Own>, sysinfo::Error> {
    let networks = Networks::new_with_refreshed_list()?;
    let networks = networks.values().flat_map(|network| network.ip_networks());
    Ok(networks.map(|network| Own { address: network.addr, bits: network.prefix }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_computer_knows_its_own_networks() {
        let internet = Internet::default();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(internet.own().iter().any(|own| own.holds(loopback)));
        let router: IpAddr = "93.184.216.34".parse().unwrap();
        assert!(!internet.own().iter().any(|own| own.holds(router)));
        internet.know(vec![router]);
        assert!(internet.own().iter().any(|own| own.holds(router)));
    }
}
