//! Addresses of peers: which are worth keeping, which to tell others, what they say of a path.

use crate::error::NetError;
use crate::event::Transport;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The longest address that is read, in bytes of its text. A relayed one over DNS takes about 250.
const MAX_TEXT: usize = 400;

/// Reads an address that its owner or a peer gave us.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, NetError> {
    let wrong = |why| NetError::Address { address: text.chars().take(MAX_TEXT).collect(), why };
    if text.len() > MAX_TEXT {
        return Err(wrong("it is too long"));
    }
    let address: Multiaddr =
        text.parse().map_err(|_| wrong("it does not read like /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW.."))?;
    if transport(&address).is_none() {
        return Err(wrong("only TCP and QUIC (udp/../quic-v1) are spoken here"));
    }
    Ok(address)
}

/// The peer that an address leads to: the last one named.
pub(crate) fn peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) | None => None,
    }
}

/// The same address, ending with the peer that it leads to.
pub(crate) fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    address.clone().with_p2p(peer).unwrap_or_else(|same| same)
}

/// Whether a path leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// What carries the bytes of the first hop; none when we do not speak it.
pub(crate) fn transport(address: &Multiaddr) -> Option<Transport> {
    let mut parts = address.iter().skip(1);
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(_), None | Some(Protocol::P2p(_) | Protocol::P2pCircuit)) => Some(Transport::Tcp),
        (Protocol::Udp(_), Some(Protocol::QuicV1)) => Some(Transport::Quic),
        _ => None,
    }
}

/// The socket of the first hop, where it is named by numbers.
#[expect(clippy::wildcard_enum_match_arm, reason = "multiaddr names each protocol of the world")]
pub(crate) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Where an address leads, seen from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This very machine.
    Loopback,
    /// A network of its own: an office, a home.
    Local(IpAddr),
    /// Everywhere.
    Global,
}

/// How far the first hop of an address reaches; none when it leads nowhere.
#[expect(clippy::wildcard_enum_match_arm, reason = "multiaddr names each protocol of the world")]
pub(crate) fn reach(address: &Multiaddr) -> Option<Reach> {
    let mut parts = address.iter();
    let host = parts.next()?;
    if matches!(parts.next()?, Protocol::Tcp(0) | Protocol::Udp(0)) {
        return None;
    }
    let ip = match host {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => return Some(Reach::Global),
        _ => return None,
    };
    match ip {
        _ if ip.is_unspecified() || ip.is_multicast() => None,
        _ if ip.is_loopback() => Some(Reach::Loopback),
        IpAddr::V4(v4) if v4.is_broadcast() || v4.is_link_local() => None,
        IpAddr::V4(v4) if v4.is_private() || is_carrier_shared(v4.octets()) => Some(Reach::Local(ip)),
        IpAddr::V6(v6) if is_link_local(v6) => None,
        IpAddr::V6(v6) if v6.is_unique_local() => Some(Reach::Local(ip)),
        IpAddr::V4(_) | IpAddr::V6(_) => Some(Reach::Global),
    }
}

/// 100.64.0.0/10 (RFC 6598): behind the provider's NAT, and what overlay networks such as Tailscale use.
fn is_carrier_shared([a, b, ..]: [u8; 4]) -> bool {
    a == 100 && b & 0b1100_0000 == 64
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// Whether an address that a peer tells of itself or of another is worth keeping for `peer`, given ours.
///
/// Strangers name loopback and private addresses that mean another machine here, or lead us to knock on a
/// neighbour's door: those are kept only where we live in the same network ourselves.
pub(crate) fn fits(address: &Multiaddr, peer: PeerId, me: PeerId, ours: &[Multiaddr]) -> bool {
    let to_other = self::peer(address).is_some_and(|named| named != peer);
    let through_me = address.iter().any(|part| part == Protocol::P2p(me));
    if to_other || through_me || transport(address).is_none() || is_ours(address, ours) {
        return false;
    }
    match reach(address) {
        Some(Reach::Global) => true,
        Some(Reach::Loopback) => ours.iter().all(|own| reach(own) == Some(Reach::Loopback)),
        Some(Reach::Local(ip)) => {
            ours.iter().any(|own| matches!(reach(own), Some(Reach::Local(own)) if are_neighbours(ip, own)))
        }
        None => false,
    }
}

fn is_ours(address: &Multiaddr, ours: &[Multiaddr]) -> bool {
    !is_relayed(address) && ours.iter().any(|own| own.iter().take(2).eq(address.iter().take(2)))
}

/// Networks of homes and offices: a /16 holds the sites of one, a /48 is what a site gets (RFC 4193).
fn are_neighbours(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..2] == other.octets()[..2],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.segments()[..3] == other.segments()[..3],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Of the addresses that we listen on or are seen at, those to tell others, each ending with our id.
///
/// A loopback address means nothing to another machine; a node that has no other lives on one machine with its peers.
pub(crate) fn to_tell<'a>(ours: impl Iterator<Item = &'a Multiaddr>, me: PeerId) -> Vec<Multiaddr> {
    let (loopback, others): (Vec<_>, Vec<_>) = ours
        .filter(|own| reach(own).is_some())
        .partition(|own| reach(own) == Some(Reach::Loopback) && !is_relayed(own));
    let told = if others.iter().any(|own| !is_relayed(own)) { others } else { [loopback, others].concat() };
    let mut told: Vec<_> = told.into_iter().map(|own| with_peer(own, me)).collect();
    told.sort();
    told.dedup();
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> PeerId {
        crate::identity::keypair([n; 32]).public().to_peer_id()
    }

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_strangers_address_must_mean_the_same_machine_here() {
        let ours = [at("/ip4/127.0.0.1/tcp/9"), at("/ip4/192.168.1.7/tcp/9")];
        let fits = |text: &str| fits(&at(text), id(1), id(2), &ours);
        assert!(fits("/ip4/1.2.3.4/tcp/4001"));
        assert!(fits("/ip4/1.2.3.4/udp/4001/quic-v1"));
        assert!(fits("/dns4/peer.example/tcp/4001"));
        assert!(fits("/ip4/192.168.5.5/tcp/4001"));
        assert!(fits(&format!("/ip4/1.2.3.4/tcp/4001/p2p/{}/p2p-circuit/p2p/{}", id(3), id(1))));
        for nowhere in [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/10.0.0.1/tcp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/1.2.3.4/tcp/0",
            "/ip4/224.0.0.251/udp/5353/quic-v1",
            "/ip6/fe80::1/tcp/4001",
            "/ip4/192.168.1.7/tcp/9",
            "/ip4/1.2.3.4/udp/4001",
            "/ip4/1.2.3.4/tcp/80/ws",
            "/memory/4",
        ] {
            assert!(!fits(nowhere), "{nowhere}");
        }
        assert!(!fits(&format!("/ip4/1.2.3.4/tcp/4001/p2p/{}", id(3))), "leads to another");
        assert!(
            !fits(&format!("/ip4/1.2.3.4/tcp/4001/p2p/{}/p2p-circuit/p2p/{}", id(2), id(1))),
            "leads through us"
        );
    }

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_else() {
        let lan = at("/ip4/192.168.1.7/tcp/9");
        let own = at("/ip4/127.0.0.1/tcp/9");
        assert_eq!(to_tell([&lan, &own].into_iter(), id(1)), [with_peer(&lan, id(1))]);
        assert_eq!(to_tell([&own].into_iter(), id(1)), [with_peer(&own, id(1))]);
        assert!(fits(&own, id(2), id(1), &[at("/ip4/127.0.0.1/tcp/10")]));
    }

    #[test]
    fn an_address_that_nobody_can_dial_is_refused_with_the_reason() {
        for (text, why) in
            [("hello", "read like"), ("/ip4/1.2.3.4/tcp/1/ws", "only TCP"), (&"/".repeat(500), "too long")]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
