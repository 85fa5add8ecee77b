//! How nodes find each other, hold on to each other, and keep others away.

use crate::house::{self, Over, question};
use model::message::Response;
use net::{Config, NetError, Transport};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_peer_is_met_and_met_again_after_it_was_away() {
    let lender = house::start(house::config(1, Over::Tcp)).await;
    let address = lender.address().await;
    let mut node =
        house::start(Config { bootstrap: vec![address.clone()], ..house::config(2, Over::Tcp) }).await;
    node.up(lender.net.me()).await;
    let key = lender.net.me();
    drop(lender);
    node.down(key).await;
    let port = address.split('/').nth(4).unwrap();
    let again = Config { listen: vec![format!("/ip4/127.0.0.1/tcp/{port}")], ..house::config(1, Over::Tcp) };
    let _again = house::start_again(again).await;
    node.up(key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_kept_is_dialled_again_and_one_released_is_not() {
    let (mut one, mut other) = house::pair(Over::Quic).await;
    one.net.keep(other.net.me()).await.unwrap();
    let key = other.net.me();
    let port = other.address().await.split('/').nth(4).unwrap().to_owned();
    other.net.block(one.net.me()).await;
    one.down(key).await;
    other.net.unblock(one.net.me()).await;
    one.up(key).await;
    other.up(one.net.me()).await;
    one.net.release(key).await;
    drop(other);
    one.down(key).await;
    // A dial that was begun before the release may still knock: a QUIC handshake is given up after five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let again =
        Config { listen: vec![format!("/ip4/127.0.0.1/udp/{port}/quic-v1")], ..house::config(2, Over::Quic) };
    let mut again = house::start_again(again).await;
    // It was dialled at once above; nobody comes now.
    assert!(timeout(Duration::from_secs(4), again.up(one.net.me())).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_peer_is_refused_until_it_is_let_in_again() {
    let (mut one, mut other) = house::pair(Over::Tcp).await;
    let (blocked, address) = (other.net.me(), one.address().await);
    one.net.block(blocked).await;
    one.down(blocked).await;
    other.down(one.net.me()).await;
    assert!(matches!(one.net.request(blocked, question()).await, Err(NetError::Blocked { .. })));
    assert!(other.net.request(one.net.me(), question()).await.is_err());
    assert!(one.net.peers().await.is_empty());
    one.net.unblock(blocked).await;
    house::until("the end of the refused connection", async || other.net.peers().await.is_empty()).await;
    other.net.dial(&address).await.unwrap();
    one.up(blocked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_peer_can_be_seen() {
    for over in Over::BOTH {
        let (one, other) = house::pair(over).await;
        house::until("a round trip", async || {
            one.net.peers().await.iter().any(|peer| peer.round_trip.is_some())
        })
        .await;
        let peers = one.net.peers().await;
        let [seen] = peers.as_slice() else { panic!("{peers:?}") };
        assert_eq!(
            (seen.peer, seen.agent.as_str()),
            (other.net.me(), concat!("sublet/", env!("CARGO_PKG_VERSION")))
        );
        let [path] = seen.paths.as_slice() else { panic!("{seen:?}") };
        assert!(!path.relayed);
        assert_eq!(matches!(over, Over::Quic), path.transport == Transport::Quic, "{path:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_to_be() {
    let first = house::node(1, Over::Tcp).await;
    let taken = first.address().await.split("/p2p/").next().unwrap().to_owned();
    let error = net::start(Config { listen: vec![taken.clone()], ..house::config(2, Over::Tcp) })
        .await
        .err()
        .unwrap();
    assert!(matches!(&error, NetError::Listen { address, .. } if *address == taken), "{error}");
    let odd =
        net::start(Config { bootstrap: vec!["/ip4/127.0.0.1/tcp/1".into()], ..house::config(2, Over::Tcp) })
            .await;
    assert!(odd.err().unwrap().to_string().contains("/p2p/"));
}

/// Multicast on loopback is not everywhere; where it is missing, this says so and proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn neighbours_find_each_other_by_multicast() {
    let listen = || vec!["/ip4/0.0.0.0/tcp/0".to_owned()];
    let config = |seed| Config { mdns: true, listen: listen(), ..house::config(seed, Over::Tcp) };
    if !multicast_works() {
        eprintln!("no multicast on this machine: finding neighbours was not tried");
        return;
    }
    let mut one = house::start(config(11)).await;
    let other = house::start(config(12)).await;
    one.up(other.net.me()).await;
    let (to, _serving) = (other.net.me(), other.answer_everyone());
    assert_eq!(one.net.request(to, question()).await.unwrap(), Response::Done);
}

/// Whether a datagram to mDNS's group comes back to a socket of this machine that has joined it.
fn multicast_works() -> bool {
    use std::net::{Ipv4Addr, UdpSocket};
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let heard = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(b"?", (group, socket.local_addr()?.port()))?;
        Ok(socket.recv(&mut [0; 8]).is_ok())
    };
    heard().unwrap_or(false)
}
