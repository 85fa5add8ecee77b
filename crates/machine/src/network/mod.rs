//! What a guest reaches outside, and how: by a gateway of ours, and by nothing else.
//!
//! ```text
//!  guest's network (lo only)              │ node, in this machine's network
//!                                         │
//!  HTTP_PROXY, ALL_PROXY ─▶ 127.0.0.1:.. ─┤
//!  /etc/resolv.conf ──▶ 127.0.0.53:53 ────┤─▶ Gateway ─▶ Gate: name and port allowed? ─▶ Outside: look up,
//!  any other address ──▶ lo ──▶ caught ───┤              every address judged            connect to the very
//!                                         │                                              address that was judged
//! ```
//!
//! The supervisor makes listening sockets inside while it has the power to ([`doors`]), keeps them for as long as the
//! guest lives, and hands copies to the node: a node that starts again goes on where the last one stopped, and what
//! guests asked for meanwhile waits. The guest's network has its loopback device and nothing else, so that without the
//! node, or without these sockets, there is no way out at all.
//!
//! Programs that know no proxy are caught: all addresses are made local to the guest's network (a route to `lo`), and
//! one rule per family hands what goes to them to our socket, with the address it was meant for. Where the kernel lacks
//! that rule (nf_tables with tproxy), the proxy and the resolver remain.

mod address;
mod datagrams;
mod dns;
mod doors;
mod gate;
mod gateway;
mod netlink;
mod outside;
mod proxy;
mod pump;
mod socks;
mod traffic;

pub use self::address::{NotPublic, Own, public};
pub use self::doors::Door;
pub(crate) use self::doors::Doors;
pub(crate) use self::gateway::{Gateway, Porter, kept_traffic};
pub use self::outside::{Internet, Outside};

use model::NetworkPolicy;
use serde::{Deserialize, Serialize};

/// What a guest is to reach outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// By the lease.
    pub policy: NetworkPolicy,
    /// The most bytes in a second, each way; nought: no limit.
    pub rate: u64,
}

/// The guest's /etc/resolv.conf, if it has a resolver.
pub(crate) fn resolv_conf(network: &Network) -> Option<String> {
    (!network.policy.is_none()).then(|| format!("nameserver {}\noptions edns0\n", doors::RESOLVER.ip()))
}

/// Programs that know a proxy find it by these. What the tenant or the image says goes before.
pub(crate) fn environment(network: &Network) -> Vec<(&'static str, String)> {
    if network.policy.is_none() {
        return Vec::new();
    }
    let (http, socks) = (format!("http://{}", doors::PROXY), format!("socks5h://{}", doors::PROXY));
    let here = "localhost,127.0.0.1,::1".to_owned();
    // Some programs read the one spelling, some the other.
    vec![
        ("HTTP_PROXY", http.clone()),
        ("http_proxy", http.clone()),
        ("HTTPS_PROXY", http.clone()),
        ("https_proxy", http),
        ("ALL_PROXY", socks.clone()),
        ("all_proxy", socks),
        ("NO_PROXY", here.clone()),
        ("no_proxy", here),
    ]
}
