//! Streams: both ways, half closed, many at once, refused.

use crate::house::{self, Over, head};
use model::message::StreamAnswer;
use net::{Limits, NetError};
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that differ at each place, so that nothing can be lost or swapped unseen.
fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[4] ^ seed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_megabytes_arrive_as_they_were_sent() {
    for over in Over::BOTH {
        let (one, mut other) = house::pair(over).await;
        let opening = tokio::spawn({
            let (net, to) = (one.net.clone(), other.net.me());
            async move { net.open(to, head(80)).await }
        });
        let (from, named, incoming) = other.stream().await;
        assert_eq!((from, named), (one.net.me(), head(80)));
        let mut there = incoming.accept().await.unwrap();
        let mut here = opening.await.unwrap().unwrap();

        let sent = content(64 << 20, 1);
        let sending = tokio::spawn({
            let sent = sent.clone();
            async move {
                here.write_all(&sent).await.unwrap();
                here.shutdown().await.unwrap();
                // Our direction is closed; theirs is not.
                let mut answer = Vec::new();
                here.read_to_end(&mut answer).await.unwrap();
                answer
            }
        });
        let mut received = Vec::new();
        there.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "{over:?}: {} bytes came", received.len());
        let answer = content(1 << 20, 2);
        there.write_all(&answer).await.unwrap();
        there.shutdown().await.unwrap();
        assert!(sending.await.unwrap() == answer, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why() {
    let (one, mut other) = house::pair(Over::Tcp).await;
    for why in [StreamAnswer::NotYours, StreamAnswer::Closed, StreamAnswer::Missing, StreamAnswer::Busy] {
        let opening = tokio::spawn({
            let (net, to) = (one.net.clone(), other.net.me());
            async move { net.open(to, head(81)).await }
        });
        other.stream().await.2.refuse(why).await.unwrap();
        let error = opening.await.unwrap().unwrap_err();
        assert!(matches!(error, NetError::Refused { answer, .. } if answer == why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_burst_each_stream_is_opened_or_told_that_there_is_no_room() {
    for over in Over::BOTH {
        let (one, mut other) = house::pair(over).await;
        let to = other.net.me();
        // Nobody looks at the events meanwhile: 64 of them fit.
        let burst = (0..100_u16).map(|port| {
            let net = one.net.clone();
            tokio::spawn(async move { net.open(to, head(port)).await })
        });
        let burst: Vec<_> = burst.collect();
        let mut ports = BTreeSet::new();
        let mut open = Vec::new();
        while ports.len() < 40 {
            let (_, head, stream) = other.stream().await;
            assert!(ports.insert(format!("{head:?}")));
            open.push(stream.accept().await.unwrap());
        }
        let serving = tokio::spawn(async move {
            loop {
                let (_, _, stream) = other.stream().await;
                open.push(stream.accept().await.unwrap());
            }
        });
        let mut outcomes = [0, 0];
        for opening in burst {
            match opening.await.unwrap() {
                Ok(_) => outcomes[0] += 1,
                Err(NetError::Refused { answer: StreamAnswer::Busy, .. }) => outcomes[1] += 1,
                Err(error) => panic!("{over:?}: lost without a word: {error}"),
            }
        }
        serving.abort();
        assert_eq!(outcomes[0] + outcomes[1], 100, "{over:?}");
        assert!(outcomes[0] >= 64, "{over:?}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_has_only_so_many_streams_and_gets_new_ones_when_old_ones_end() {
    let limits = Limits { streams_per_peer: 3, ..Limits::default() };
    let mut host = house::node_with(1, Over::Tcp, limits).await;
    let mut tenant = house::node(2, Over::Tcp).await;
    house::join(&mut tenant, &mut host).await;
    let (net, to) = (tenant.net.clone(), host.net.me());
    let mut open = Vec::new();
    for port in 0..3 {
        let (here, there) =
            tokio::join!(net.open(to, head(port)), async { host.stream().await.2.accept().await });
        open.push((here.unwrap(), there.unwrap()));
    }
    let error = net.open(to, head(4)).await.unwrap_err();
    assert!(matches!(error, NetError::Refused { answer: StreamAnswer::Busy, .. }), "{error}");
    open.pop();
    let (here, there) = tokio::join!(net.open(to, head(5)), async { host.stream().await.2.accept().await });
    here.unwrap();
    there.unwrap();
}
