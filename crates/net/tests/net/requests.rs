//! Requests: answered, refused, too large, and cut short.

use crate::house::{self, Over, question};
use model::message::{Denial, MAX_MESSAGE, Response};
use net::NetError;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_its_answer() {
    for over in Over::BOTH {
        let (one, mut other) = house::pair(over).await;
        let asking = tokio::spawn({
            let (net, to) = (one.net.clone(), other.net.me());
            async move { net.request(to, question()).await }
        });
        let (id, from, request) = other.request().await;
        assert_eq!((from, request), (one.net.me(), question()));
        let denial = Response::Denied(Denial { code: "no_lease".into(), sentence: "none".into() });
        assert!(other.net.respond(id, denial.clone()));
        assert_eq!(asking.await.unwrap().unwrap(), denial, "{over:?}");
        assert!(!other.net.respond(id, Response::Done), "it has been answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_not_confused() {
    let (one, other) = house::pair(Over::Tcp).await;
    let (to, _serving) = (other.net.me(), other.answer_everyone());
    let asked = (0..100).map(|_| one.net.request(to, question()));
    // More than one peer may have under way: the rest is told so at once, and nothing is lost.
    let answers = futures::future::join_all(asked).await;
    let done = answers.iter().filter(|answer| matches!(answer, Ok(Response::Done))).count();
    let busy =
        answers.iter().filter(|answer| matches!(answer, Err(NetError::Busy { limit: 32, .. }))).count();
    assert_eq!(done + busy, 100, "{answers:?}");
    assert!(done >= 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_would_read_is_not_sent() {
    let (one, other) = house::pair(Over::Tcp).await;
    let huge = model::message::Request::Standing(model::message::Standing {
        lease: model::Id::of(model::ObjectId([0; 32])),
        phase: model::Phase::Running,
        started: None,
        fetched: None,
        detail: "x".repeat(MAX_MESSAGE),
        health: None,
    });
    let error = one.net.request(other.net.me(), huge).await.unwrap_err();
    assert!(matches!(error, NetError::TooLarge { limit: MAX_MESSAGE, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_vanishes_is_noticed_in_bounded_time() {
    for over in Over::BOTH {
        let (mut one, mut other) = house::pair(over).await;
        let asking = tokio::spawn({
            let (net, to) = (one.net.clone(), other.net.me());
            async move { net.request(to, question()).await }
        });
        other.request().await;
        let (gone, since) = (other.net.me(), Instant::now());
        drop(other);
        let error = asking.await.unwrap().unwrap_err();
        assert!(matches!(error, NetError::Gone { .. } | NetError::Timeout { .. }), "{over:?}: {error}");
        assert!(since.elapsed() < net::ANSWER_TIME + Duration::from_secs(3), "{over:?}");
        one.down(gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_is_named() {
    let one = house::node(1, Over::Tcp).await;
    let stranger = house::node(2, Over::Tcp).await;
    let address = stranger.address().await;
    let error = one.net.request(stranger.net.me(), question()).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "no address is known: {error}");
    let error = one.net.request(one.net.me(), question()).await.unwrap_err();
    assert!(matches!(error, NetError::NoPeer(_)), "{error}");

    let elsewhere = address.replace(&net::Net::peer_id(stranger.net.me()), &net::Net::peer_id(one.net.me()));
    let error = one.net.dial(&elsewhere).await.unwrap_err();
    assert!(matches!(error, NetError::NotThere { .. }), "somebody else answers there: {error}");
    drop(stranger);
    let error = one.net.dial("/ip4/127.0.0.1/tcp/1").await.unwrap_err();
    assert!(matches!(error, NetError::NotThere { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_told_is_dialled_when_it_is_needed() {
    let (one, other) = (house::node(1, Over::Quic).await, house::node(2, Over::Quic).await);
    let (to, addresses) = (other.net.me(), other.net.addresses().await);
    let _serving = other.answer_everyone();
    one.net.know(to, addresses);
    assert_eq!(one.net.request(to, question()).await.unwrap(), Response::Done);
}
