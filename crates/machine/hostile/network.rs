//! Everything that lies beyond a loopback device of one's own.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use crate::sys::number::{MSGGET, SHMGET};
use crate::sys::{self, call};
use crate::world::World;
use crate::{Probe, Verdict, all, failed, holds};

pub const PROBES: &[Probe] = &[
    Probe { name: "socket.raw", attempt: |_| no_socket(2, 3, 1) },
    Probe { name: "socket.raw_v6", attempt: |_| no_socket(10, 3, 58) },
    Probe { name: "socket.packet", attempt: |_| no_socket(17, 3, 0x0300) },
    Probe { name: "socket.vsock", attempt: |_| no_socket(40, 1, 0) },
    Probe { name: "socket.kernel_crypto", attempt: |_| no_socket(38, 5, 0) },
    Probe { name: "socket.bluetooth", attempt: |_| no_socket(31, 3, 1) },
    Probe { name: "socket.can", attempt: |_| no_socket(29, 3, 1) },
    Probe { name: "socket.tipc", attempt: |_| no_socket(30, 1, 0) },
    Probe { name: "socket.xdp", attempt: |_| no_socket(44, 3, 0) },
    Probe { name: "socket.netlink_audit", attempt: |_| no_socket(16, 3, 9) },
    Probe { name: "socket.netlink_netfilter", attempt: |_| no_socket(16, 3, 12) },
    Probe { name: "socket.netlink_uevent", attempt: |_| no_socket(16, 3, 15) },
    Probe { name: "network.devices", attempt: devices },
    Probe { name: "network.change_device", attempt: change_device },
    Probe {
        name: "network.host_loopback",
        attempt: |world| no_answer(Ipv4Addr::LOCALHOST.into(), world.port),
    },
    Probe {
        name: "network.host_loopback_v6",
        attempt: |world| no_answer(Ipv6Addr::LOCALHOST.into(), world.port),
    },
    Probe { name: "network.host_addresses", attempt: host_addresses },
    Probe { name: "network.metadata", attempt: metadata },
    Probe { name: "network.route", attempt: |_| no_route("192.0.2.1:9") },
    Probe { name: "network.route_v6", attempt: |_| no_route("[2001:db8::1]:9") },
    Probe { name: "network.broadcast", attempt: |_| no_route("224.0.0.251:5353") },
    Probe { name: "network.abstract_socket", attempt: abstract_socket },
    Probe {
        name: "network.tunnel",
        attempt: |_| failed(fs::File::options().write(true).open("/dev/net/tun")),
    },
    Probe {
        name: "ipc.shared_memory",
        attempt: |world| nothing_there(call(SHMGET, [world.key as usize, 0, 0])),
    },
    Probe { name: "ipc.queue", attempt: |world| nothing_there(call(MSGGET, [world.key as usize, 0])) },
];

fn no_socket(family: i32, kind: i32, protocol: i32) -> Verdict {
    failed(sys::socket(family, kind, protocol))
}

fn nothing_there(found: io::Result<usize>) -> Verdict {
    failed(found)
}

fn devices(_: &World) -> Verdict {
    // Without the file there are sockets to ask, which would need a name to ask for.
    let list = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> = list.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    holds(names.iter().all(|name| *name == "lo"), names.join(" "))
}

/// Reads the loopback device's flags, and sets them as they are.
fn change_device(_: &World) -> Verdict {
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    let at = request.as_mut_ptr() as usize;
    let outcome = sys::socket(2, 2, 0).and_then(|socket| {
        sys::ioctl(socket.as_raw_fd(), 0x8913, at)?;
        sys::ioctl(socket.as_raw_fd(), 0x8914, at)
    });
    failed(outcome)
}

fn no_answer(address: IpAddr, port: u16) -> Verdict {
    failed(TcpStream::connect_timeout(&SocketAddr::new(address, port), Duration::from_secs(1)))
}

fn host_addresses(world: &World) -> Verdict {
    all(world.addresses.iter().map(|address| no_answer(*address, world.port)))
}

/// Where clouds tell secrets to whoever asks from inside a machine.
fn metadata(world: &World) -> Verdict {
    let address = IpAddr::from([169, 254, 169, 254]);
    all([80, world.port].map(|port| no_answer(address, port)))
}

/// Connecting a datagram socket sends nothing: it only asks for the way.
fn no_route(to: &str) -> Verdict {
    let from = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    failed(UdpSocket::bind(from).and_then(|socket| socket.connect(to)))
}

fn abstract_socket(world: &World) -> Verdict {
    failed(UnixAddr::from_abstract_name(&world.socket).and_then(|address| UnixStream::connect_addr(&address)))
}
