//! Which addresses are public. All others are somebody's own network, and no guest's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {0}")]
pub struct NotPublic(pub &'static str);

/// Whether an address is public by what standards say of its range.
///
/// # Errors
/// What it is instead.
pub fn public(address: IpAddr) -> Result<(), NotPublic> {
    let range = match address {
        IpAddr::V4(address) => V4.iter().find(|range| range.holds(address)).map(|range| range.what),
        IpAddr::V6(address) => special_v6(address),
    };
    range.map_or(Ok(()), |what| Err(NotPublic(what)))
}

/// A range of addresses that are not public.
struct Range {
    first: Ipv4Addr,
    bits: u32,
    what: &'static str,
}

impl Range {
    const fn of(a: u8, b: u8, c: u8, d: u8, bits: u32, what: &'static str) -> Range {
        Range { first: Ipv4Addr::new(a, b, c, d), bits, what }
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.first.to_bits()) >> (32 - self.bits) == 0
    }
}

/// The IANA registry of special-purpose addresses, what is multicast or reserved, and a service that a cloud hides
/// among public addresses.
const V4: [Range; 17] = [
    Range::of(0, 0, 0, 0, 8, "an address of this network"),
    Range::of(10, 0, 0, 0, 8, "a private address"),
    Range::of(100, 64, 0, 0, 10, "an address behind a carrier's NAT"),
    Range::of(127, 0, 0, 0, 8, "a loopback address"),
    Range::of(168, 63, 129, 16, 32, "a cloud's own service"),
    Range::of(169, 254, 0, 0, 16, "a link-local address"),
    Range::of(172, 16, 0, 0, 12, "a private address"),
    Range::of(192, 0, 0, 0, 24, "a protocol's own address"),
    Range::of(192, 0, 2, 0, 24, "an address for documentation"),
    Range::of(192, 31, 196, 0, 24, "a protocol's own address"),
    Range::of(192, 52, 193, 0, 24, "a protocol's own address"),
    Range::of(192, 88, 99, 0, 24, "a 6to4 relay"),
    Range::of(192, 168, 0, 0, 16, "a private address"),
    Range::of(198, 18, 0, 0, 15, "an address for measurements"),
    Range::of(198, 51, 100, 0, 24, "an address for documentation"),
    Range::of(203, 0, 113, 0, 24, "an address for documentation"),
    // Multicast, reserved, broadcast.
    Range::of(224, 0, 0, 0, 3, "a multicast or reserved address"),
];

/// Only 2000::/3 is given out. What wraps an IPv4 address (mapped, translated, 6to4, Teredo) is never reached: there
/// is another spelling of it, which is judged by itself.
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, ..] = address.segments();
    match (a, b, c) {
        (0, 0, 0) if address.is_loopback() => Some("a loopback address"),
        (0, 0, 0) if address.to_ipv4_mapped().is_some() => Some("an IPv4 address in disguise"),
        (0x64, 0xff9b, _) => Some("an IPv4 address in disguise"),
        (0xfc00..=0xfdff, ..) => Some("a private address"),
        (0xfe80..=0xfebf, ..) => Some("a link-local address"),
        (0xff00..=0xffff, ..) => Some("a multicast address"),
        // Protocols (Teredo, benchmarking, ORCHID among them), but not anycast and drones in 2001:1 to 2001:4.
        (0x2001, 0..=0x1ff, _) => Some("a protocol's own address"),
        (0x2001, 0xdb8, _) | (0x3fff, 0..=0xfff, _) => Some("an address for documentation"),
        (0x2002, ..) => Some("an IPv4 address in disguise"),
        (0x2000..=0x3fff, ..) => None,
        _ => Some("a reserved address"),
    }
}

/// A network that this machine is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// An address in it.
    pub address: IpAddr,
    /// How many bits all addresses in it share.
    pub bits: u8,
}

impl Own {
    /// Whether an address is in this network.
    pub fn holds(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.checked_shr(32 - u32::from(self.bits.min(32))).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let apart = ours.to_bits() ^ theirs.to_bits();
                apart.checked_shr(128 - u32::from(self.bits.min(128))).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known_by_its_range() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.251",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:93.184.216.34",
            "::127.0.0.1",
            "::93.184.216.34",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::fb",
            "4000::1",
        ] {
            assert!(public(address.parse().unwrap()).is_err(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "126.1.1.1",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:2800::1",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "2620:fe::fe",
        ] {
            assert_eq!(public(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_neighbours_of_this_machine_are_in_its_network() {
        let own = |address: &str, bits| Own { address: address.parse().unwrap(), bits };
        let holds = |own: Own, address: &str| own.holds(address.parse().unwrap());
        assert!(
            holds(own("93.184.216.34", 24), "93.184.216.1")
                && !holds(own("93.184.216.34", 24), "93.184.217.1")
        );
        assert!(
            holds(own("93.184.216.34", 32), "93.184.216.34")
                && !holds(own("93.184.216.34", 32), "93.184.216.35")
        );
        assert!(holds(own("2a00::1", 64), "2a00::2") && !holds(own("2a00::1", 64), "2a00:0:0:1::2"));
        assert!(holds(own("1.2.3.4", 0), "9.9.9.9") && !holds(own("1.2.3.4", 0), "2a00::1"));
    }
}
