//! The sockets inside a guest's network at which the outside begins. Made by the supervisor while it has power over
//! that network, and kept by it for as long as the guest lives.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4OrigDstAddr, Ipv6OrigDstAddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use super::{Network, netlink};
use crate::guest::sys;

/// Where the proxy listens.
pub(super) const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 17_080);

/// Where the resolver listens: an address that systemd's has, too, so that tools know it for what it is.
pub(super) const RESOLVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 53), 53);

/// The guest's own address besides loopback: the dummy address of RFC 7600. Without one that is not loopback, C
/// libraries believe that there is no IPv4 and ask for no such address.
pub(super) const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// The same for IPv6: a private address of a prefix that was drawn by lot.
pub(super) const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x1c57, 0x9a0e, 0, 0, 0, 0, 8);

/// Where what is caught arrives.
const CAUGHT: u16 = 17_081;

/// A socket inside the guest's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Door {
    /// TCP: HTTP and SOCKS.
    Proxy,
    /// TCP: DNS.
    Resolver,
    /// UDP: DNS.
    ResolverDatagrams,
    /// TCP to all addresses of IPv4.
    CaughtV4,
    /// TCP to all addresses of IPv6.
    CaughtV6,
    /// UDP to all addresses of IPv4.
    CaughtDatagramsV4,
    /// UDP to all addresses of IPv6.
    CaughtDatagramsV6,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Doors(Vec<(Door, OwnedFd)>);

impl Doors {
    /// Makes them, in the network in which the caller is and over which it has power.
    ///
    /// # Errors
    /// When the proxy cannot listen. What only some kernels can do is done without where it is missing.
    pub(crate) fn open(network: &Network) -> io::Result<Doors> {
        if network.policy.is_none() {
            return Ok(Doors::default());
        }
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        sys::raise_loopback(socket.as_fd())?;
        let mut doors = vec![
            (Door::Proxy, listen(PROXY.into(), false)?),
            (Door::Resolver, listen(RESOLVER.into(), false)?),
            (Door::ResolverDatagrams, make(RESOLVER.into(), Type::DGRAM, false)?.into()),
        ];
        for (family, caught) in [("IPv4", catch_v4()), ("IPv6", catch_v6())] {
            match caught {
                Ok(caught) => doors.extend(caught),
                Err(error) => eprintln!("sublet supervisor: {family} is reached by the proxy only: {error}"),
            }
        }
        Ok(Doors(doors))
    }

    /// One of them, if it is there.
    pub(crate) fn get(&self, door: Door) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|(name, _)| *name == door).map(|(_, socket)| socket.as_fd())
    }
}

/// The sockets first, the rule next, and the route that brings anything to them last.
fn catch_v4() -> io::Result<Vec<(Door, OwnedFd)>> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, CAUGHT));
    let (listener, datagrams) = (listen(here, true)?, make(here, Type::DGRAM, true)?);
    setsockopt(&datagrams, Ipv4OrigDstAddr, &true)?;
    netlink::catch(Ipv4Addr::LOCALHOST, CAUGHT, &[OWN_V4])?;
    netlink::add_address(OWN_V4)?;
    netlink::route_all(OWN_V4)?;
    Ok(vec![(Door::CaughtV4, listener), (Door::CaughtDatagramsV4, datagrams.into())])
}

fn catch_v6() -> io::Result<Vec<(Door, OwnedFd)>> {
    let here = SocketAddr::from((Ipv6Addr::LOCALHOST, CAUGHT));
    let (listener, datagrams) = (listen(here, true)?, make(here, Type::DGRAM, true)?);
    setsockopt(&datagrams, Ipv6OrigDstAddr, &true)?;
    netlink::catch(Ipv6Addr::LOCALHOST, CAUGHT, &[Ipv6Addr::LOCALHOST, OWN_V6])?;
    netlink::add_address(OWN_V6)?;
    netlink::route_all(OWN_V6)?;
    Ok(vec![(Door::CaughtV6, listener), (Door::CaughtDatagramsV6, datagrams.into())])
}

/// Connections that wait while the node is busy, or starts again.
const WAITING: i32 = 128;

fn listen(address: SocketAddr, catches: bool) -> io::Result<OwnedFd> {
    let socket = make(address, Type::STREAM, catches)?;
    socket.listen(WAITING)?;
    Ok(socket.into())
}

/// A socket that catches takes what is meant for other addresses, when a rule hands it over.
fn make(address: SocketAddr, kind: Type, catches: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) if catches => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) if catches => socket.set_ip_transparent_v6(true)?,
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use model::NetworkPolicy;
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::*;

    /// Does something in a network of its own, as root can with one thread.
    fn in_a_network(check: fn()) {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED: only root can give a network to one thread");
        }
        let checked = thread::spawn(move || {
            #[allow(unsafe_code)] // no file descriptor is unshared
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            check();
        });
        checked.join().unwrap();
    }

    #[test]
    fn what_goes_to_any_address_arrives_with_that_address() {
        in_a_network(|| {
            let doors = Doors::open(&Network { policy: NetworkPolicy::Internet, rate: 0 }).unwrap();
            for (door, address) in
                [(Door::CaughtV4, "93.184.216.34:80"), (Door::CaughtV6, "[2606:2800::1]:443")]
            {
                let address: SocketAddr = address.parse().unwrap();
                let listener: TcpListener = doors.get(door).unwrap().try_clone_to_owned().unwrap().into();
                listener.set_nonblocking(false).unwrap();
                let client = TcpStream::connect(address).unwrap();
                let (caught, from) = listener.accept().unwrap();
                assert_eq!((caught.local_addr().unwrap(), from), (address, client.local_addr().unwrap()));
                assert!(!from.ip().is_loopback());
            }
        });
    }

    #[test]
    fn without_a_policy_there_is_no_door() {
        in_a_network(|| {
            let doors = Doors::open(&Network::default()).unwrap();
            assert!(doors.get(Door::Proxy).is_none() && doors.get(Door::CaughtV4).is_none());
            assert!(TcpStream::connect("93.184.216.34:80").is_err());
        });
    }
}
