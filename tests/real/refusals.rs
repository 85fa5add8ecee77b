//! What cannot be has a sentence, a hint, and the right exit code; and nothing is left behind.

use crate::house::{House, euro, shell, terms};
use api::shapes::{Network, RentWish, ShareWish};

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_wish_is_answered_in_words() {
    let house = House::open().await;
    let run = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["run", "--cpus", "0.5", "--disk", "8M"].iter().chain(arguments).copied().collect();
        house.tenant.sublet(&arguments)
    };
    run(&["--memory", "64M", "--max-price", "0.01 EUR", "busybox", "true"])
        .is_refusal(1, &["raise the cap", "hint:"]);
    run(&["--memory", "64M", "--max-price", "5 USD", "busybox", "true"]).is_refusal(1, &["currency"]);
    run(&["--memory", "64M", "--time", "90d", "busybox", "true"]).is_refusal(1, &["shorter time"]);
    run(&["--memory", "64M", "--on", "00000000", "busybox", "true"]).is_refusal(1, &["00000000"]);
    run(&["--memory", "64M", "--net", "internet", "busybox", "true"])
        .is_refusal(1, &["guests reach nothing outside"]);
    run(&["--memory", "900G", "busybox", "true"]).is_refusal(1, &["ask for less"]);
    run(&["127.0.0.1:1/no/such:image", "true"]).is_refusal(1, &["127.0.0.1:1"]);
    run(&["busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"])
        .is_refusal(1, &["sha256:0000"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    run(&["--memory", "64M", "-p", &format!("{port}:80"), "busybox", "true"])
        .is_refusal(1, &[&port.to_string(), "hint:"]);
    let misuse = house.tenant.sublet(&["run", "--memory", "lots", "busybox"]);
    assert_eq!(misuse.code, Some(2), "{}", misuse.err);
    for wrong in ["everything", "allow:example.org", "allow:127.1:80", "allow:localhost:80"] {
        let misuse = house.tenant.sublet(&["run", "--net", wrong, "busybox"]);
        assert_eq!(misuse.code, Some(2), "{wrong}: {}", misuse.err);
    }
    house.tenant.sublet(&["stop", "ffffffff"]).is_refusal(1, &["ffffffff", "sublet ps"]);
    assert!(house.tenant.client.leases(true, None).await.unwrap().leases.is_empty(), "nothing was agreed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_costs_nothing() {
    let house = House::open().await;
    let wish = RentWish { command: vec!["/bin/nothing".into()], ..shell("") };
    let lease = house.tenant.client.rent(&wish).await.unwrap();
    let over = house.ended_alike(&lease).await;
    assert_eq!(over.standing.reason.as_deref(), Some("bad_workload"));
    assert!(over.standing.detail.contains("/bin/nothing"), "{:?}", over.standing);
    assert_eq!(over.receipt, None);
    house.books_agree(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_passes_on_output_and_exit_code() {
    let house = House::open().await;
    let said = house.tenant.sublet(&[
        "run",
        "--cpus",
        "0.5",
        "--memory",
        "64M",
        "--disk",
        "8M",
        "-e",
        "WORD=hello",
        "busybox",
        "sh",
        "-c",
        "echo $WORD; exit 42",
    ]);
    assert_eq!((said.code, said.out.as_str()), (Some(42), "hello\n"), "{}", said.err);
    let leases = house.tenant.client.leases(true, None).await.unwrap().leases;
    let lease = house.ended_alike(leases.first().unwrap()).await;
    house.books_agree(lease.receipt.unwrap().amount.micros).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_may_reach_the_internet_does_not_reach_this_computer() {
    let house = House::lending(ShareWish { network: Some(Network::Internet), ..terms() }).await;
    let here = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = here.local_addr().unwrap().port();
    // The address by which this computer is seen in its network, if it is in one.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let lan = probe.connect("192.0.2.254:9").and_then(|()| probe.local_addr());
    let lan = lan.map_or("127.0.0.2".to_owned(), |address| address.ip().to_string());
    let script = format!(
        "for host in 127.0.0.1 {lan} 169.254.169.254; do wget -O - http://$host:{port}/ 2>&1; \
         nc -w 3 $host {port} < /dev/null; done; nslookup localhost.localdomain; cat /etc/resolv.conf"
    );
    let run =
        ["run", "--cpus", "0.5", "--memory", "64M", "--disk", "8M", "--net", "internet", "busybox", "sh"];
    let said = house.tenant.sublet(&[&run[..], &["-c", &script]].concat());
    assert_eq!(said.out.matches("403 Forbidden").count(), 3, "{} {}", said.out, said.err);
    assert!(said.out.contains("NXDOMAIN") && said.out.contains("nameserver 127.0.0.53"), "{}", said.out);
    here.set_nonblocking(true).unwrap();
    assert!(here.accept().is_err(), "a guest was here");
    let listed = house.tenant.sublet(&["ps", "--all"]);
    assert!(listed.out.contains("internet: 0 B in, 0 B out"), "{}", listed.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_hold_offline_and_not_when_altered() {
    let house = House::open().await;
    let lease = house.rent("sleep 1.2").await;
    house.ended_alike(&lease).await;
    let file = house.path().join("pack");
    let file = file.to_str().unwrap();
    assert_eq!(house.tenant.sublet(&["pack", &lease.id[..8], "-o", file]).code, Some(0));
    assert_eq!(house.tenant.sublet(&["verify", file]).code, Some(0));
    assert_eq!(house.tenant.sublet(&["verify"]).code, Some(0), "and the node's own record");
    let pack = std::fs::read_to_string(file).unwrap();
    // One digit inside the longest envelope.
    let at = pack.rfind("a1").or_else(|| pack.rfind('7')).unwrap();
    let altered =
        format!("{}{}{}", &pack[..at], if &pack[at..=at] == "0" { "1" } else { "0" }, &pack[at + 1..]);
    std::fs::write(file, altered).unwrap();
    assert_eq!(house.tenant.sublet(&["verify", file]).code, Some(1));
    let cap = RentWish { max_price: Some(euro(1)), ..shell("exit 0") };
    assert!(house.tenant.client.rent(&cap).await.is_err());
}
