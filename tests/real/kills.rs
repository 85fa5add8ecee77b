//! `kill -9` at any point: a lease goes on, or ends with a reason, and nothing is paid twice or lost.

use crate::house::{House, eventually, image, shell, some_of_it_came};
use api::shapes::{LeaseState, Port, Protocol, RentWish};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_under_its_guest_takes_it_up_again() {
    let mut house = House::open().await;
    let lease = house.rent("sleep 5; exit 9").await;
    house.tenant.reaches(&lease, LeaseState::Running).await;
    house.host.kill();
    assert!(!house.host.guests().is_empty(), "the guest goes on without its node");
    house.host.start().await;
    house.meet().await;
    let lease = house.ended_alike(&lease).await;
    assert_eq!((lease.standing.reason.as_deref(), lease.standing.exit_code), (Some("exited"), Some(9)));
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_ends_while_its_node_is_dead_is_paid_until_its_end() {
    let mut house = House::open().await;
    let lease = house.rent("sleep 2; exit 4").await;
    house.tenant.reaches(&lease, LeaseState::Running).await;
    house.host.kill();
    eventually("the guest to end", async || house.host.guests().is_empty()).await;
    sleep(Duration::from_secs(2)).await;
    house.host.start().await;
    house.meet().await;
    let lease = house.ended_alike(&lease).await;
    assert_eq!(lease.standing.exit_code, Some(4));
    let billed = lease.receipt.as_ref().unwrap().billed.0.0;
    assert!((1_900..3_900).contains(&billed), "{billed} ms: the time without a guest is not paid");
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_killed_and_started_again_still_has_its_guest_and_its_port() {
    let mut house = House::open().await;
    let serve = "mkdir /www; echo inside > /www/index.html; exec httpd -f -p 8080 -h /www";
    let wish =
        RentWish { ports: vec![Port { local: 0, guest: 8080, protocol: Protocol::Tcp }], ..shell(serve) };
    let lease = house.tenant.client.rent(&wish).await.unwrap();
    house.tenant.reaches(&lease, LeaseState::Running).await;
    let port = lease.ports.first().unwrap().local;
    house.tenant.kill();
    house.tenant.start().await;
    house.meet().await;
    eventually("the port to lead inside again", async || {
        reads(port).await.is_some_and(|page| page.ends_with("inside\n"))
    })
    .await;
    house.tenant.client.stop(&lease.id).await.unwrap();
    let lease = house.ended_alike(&lease).await;
    assert_eq!(lease.standing.reason.as_deref(), Some("tenant_stopped"));
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
}

async fn reads(port: u16) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_killed_while_the_image_travels_go_on_from_there() {
    let mut house = House::open().await;
    image(&house.tenant, house.path(), "large", 192 << 20).await;
    let lease =
        house.tenant.client.rent(&RentWish { image: "large".into(), ..shell("exit 0") }).await.unwrap();
    some_of_it_came(&house.host, &lease).await;
    house.host.kill();
    house.tenant.kill();
    house.tenant.start().await;
    house.host.start().await;
    house.meet().await;
    let lease = house.ended_alike(&lease).await;
    assert_eq!(lease.standing.exit_code, Some(0), "{:?}", lease.standing);
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
}

/// Both roles, killed again and again at whatever moment comes, while leases are made and end.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nothing_is_lost_or_invented() {
    let mut house = House::open().await;
    let mut owed = 0;
    for round in 0..4_u64 {
        let lease = house.rent("sleep 1.5; exit 5").await;
        // Moments spread over the whole of a short lease, and each is a time after the deal.
        sleep(Duration::from_millis(120 + round * 430)).await;
        let node = if round % 2 == 0 { &mut house.host } else { &mut house.tenant };
        node.kill();
        node.start().await;
        house.meet().await;
        let lease = house.ended_alike(&lease).await;
        owed += lease.receipt.map_or(0, |receipt| receipt.amount.micros);
        house.books_agree(owed).await;
    }
}
