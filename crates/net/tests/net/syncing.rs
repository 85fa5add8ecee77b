//! The shared set: a newcomer gets all of it, then only what is new; news spreads.

use crate::house::{self, Over, object};
use model::envelope::Claim;
use net::{Limits, MAX_OBJECT, NetEvent};
use std::time::{Duration, Instant};

fn objects(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(object).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_everything_and_later_the_difference_only() {
    for over in Over::BOTH {
        let (mut old, mut new) = (house::node(1, over).await, house::node(2, over).await);
        assert_eq!(old.net.share(objects(0..1_000)).added, 1_000);
        new.net.share(objects(990..1_005));
        house::join(&mut new, &mut old).await;
        new.gather(1_005).await;
        old.gather(1_005).await;

        // They part, the old one learns more, and they meet again.
        let (gone, address) = (new.net.me(), old.address().await);
        drop(new);
        old.down(gone).await;
        old.net.share(objects(2_000..2_003));
        let mut new = house::node(3, over).await;
        new.net.share(objects(0..1_005));
        new.net.dial(&address).await.unwrap();
        assert_eq!(new.objects().await.len(), 3, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_spreads_along_a_row_of_nodes() {
    let mut row = Vec::new();
    for seed in 1..=4 {
        row.push(house::node(seed, Over::Tcp).await);
    }
    for at in 1..row.len() {
        let (left, right) = row.split_at_mut(at);
        house::join(&mut right[0], &mut left[at - 1]).await;
    }
    let nets: Vec<_> = row.into_iter().map(house::Node::answer_everyone).collect();
    let since = Instant::now();
    assert_eq!(nets[0].share(vec![object(1)]).added, 1);
    house::until("the news at the end of the row", async || nets[3].shared() == 1).await;
    // Three pushes of 100 ms each; far less than the minutes until sets are compared.
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_push_brought_the_next_comparison_brings() {
    let limits = Limits { objects: 5, sync_every: Duration::from_secs(1), ..Limits::default() };
    let (mut one, mut other) =
        (house::node(1, Over::Tcp).await, house::node_with(2, Over::Tcp, limits).await);
    one.net.share(objects(0..20));
    house::join(&mut one, &mut other).await;
    let first = other.objects().await;
    assert_eq!(other.net.share(first.clone()).added, 5);
    // There is room again, and nobody pushes what is long known.
    other.net.withdraw(first.iter().map(|object| Claim::of(object).unwrap().id));
    let second = other.objects().await;
    assert!(second.iter().all(|object| !first.contains(object)), "the first five were seen a moment ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_did_not_keep_is_not_brought_again_at_once() {
    let limits = Limits { sync_every: Duration::from_secs(1), ..Limits::default() };
    let (mut one, mut other) =
        (house::node(1, Over::Tcp).await, house::node_with(2, Over::Tcp, limits).await);
    house::join(&mut one, &mut other).await;
    one.net.share(vec![object(1)]);
    assert_eq!(other.objects().await, [object(1)]);
    one.net.share(vec![object(2)]);
    assert_eq!(other.objects().await, [object(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_and_oversized_objects_do_not_travel() {
    let (mut one, mut other) = (house::node(1, Over::Tcp).await, house::node(2, Over::Tcp).await);
    one.net.share(objects(0..10));
    one.net.withdraw(objects(0..9).iter().map(|object| Claim::of(object).unwrap().id));
    assert_eq!(one.net.share(vec![vec![0; MAX_OBJECT + 1], b"no envelope".to_vec()]).left_out, 2);
    house::join(&mut one, &mut other).await;
    assert_eq!(other.objects().await, [object(9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_set_takes_no_more() {
    let limits = Limits { objects: 20, ..Limits::default() };
    let (mut one, mut other) =
        (house::node(1, Over::Tcp).await, house::node_with(2, Over::Tcp, limits).await);
    one.net.share(objects(0..500));
    house::join(&mut one, &mut other).await;
    other.gather(20).await;
    assert_eq!(other.net.share(vec![object(9_999)]).left_out, 1);
    assert_eq!(other.net.shared(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_several_offer_comes_once() {
    let mut hub = house::node(1, Over::Tcp).await;
    let mut others = Vec::new();
    for seed in 2..6 {
        let mut node = house::node(seed, Over::Tcp).await;
        house::join(&mut node, &mut hub).await;
        others.push(node);
    }
    for node in &others {
        node.net.share(objects(0..50));
    }
    hub.gather(50).await;
    // Whatever came twice would be here still, or on its way: the next news comes after it.
    others[0].net.share(vec![object(60)]);
    let late = hub.wait("the next news", |event| match event {
        NetEvent::Objects { objects, .. } => Ok(objects),
        other => Err(other),
    });
    assert_eq!(late.await, [object(60)]);
}
