//! Guests that try to reach what is none of their business, and to wear out the gateway on the way.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sublet_machine::guest::{GuestId, GuestSpec};
use sublet_machine::network::{Network, public};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::house::{House, PATIENCE};

crate::truths![
    no_spelling_of_an_address_leads_inside,
    a_name_that_answers_differently_each_time_gains_nothing,
    no_request_is_hidden_in_another,
    a_head_without_an_end_is_cut_off,
    clients_that_say_nothing_hinder_only_their_own_guest,
    ten_thousand_connections_take_no_more_than_their_share,
    datagrams_to_everywhere_take_no_more_than_their_share,
    guests_do_not_reach_each_other,
];

/// Where the proxy listens inside.
const PROXY: u16 = 17_080;

async fn idle_guest(house: &House, policy: &str) -> GuestId {
    let network = Network { policy: policy.parse().expect("a policy"), rate: 0 };
    let spec = GuestSpec { network, ..house.spec("sleep 100") };
    house.guests.start(&spec).await.expect("the guest starts");
    spec.id
}

/// Says something to a guest's proxy, and hears its answer to the end.
async fn say(house: &House, guest: GuestId, said: &[u8]) -> Vec<u8> {
    let mut proxy = house.guests.connect(guest, PROXY).await.expect("a proxy");
    let mut answer = Vec::new();
    // Cut off in the middle, what was heard until then is the answer.
    let _ = proxy.write_all(said).await;
    let _ = proxy.shutdown().await;
    let _ = timeout(PATIENCE, proxy.read_to_end(&mut answer)).await.expect("an answer in time");
    answer
}

async fn say_text(house: &House, guest: GuestId, said: &str) -> String {
    String::from_utf8_lossy(&say(house, guest, said.as_bytes()).await).into_owned()
}

/// SOCKS: no password; connect to a name.
fn socks_to(name: &str) -> Vec<u8> {
    [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8], name.as_bytes(), &[0, 80]].concat()
}

async fn no_spelling_of_an_address_leads_inside(house: House) {
    house.town.live_in("93.184.216.1", 24);
    house.town.name("inside.org", &[&["192.168.1.1", "fd00::1", "169.254.169.254"]]);
    house.town.name("mapped.org", &[&["::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"]]);
    house.town.name("neighbour.org", &[&["93.184.216.34"]]);
    let guest = idle_guest(&house, "internet").await;
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "192.168.257",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "metadata",
        "168.63.129.16",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "93.184.216.34",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1%25lo]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[fd00:ec2::254]",
        "::1",
        "inside.org",
        "mapped.org",
        "neighbour.org",
        "unknown.org",
        "127.0.0.1%00.example.org",
        "example.org@127.0.0.1",
        "127.0.0.1#.example.org",
        "127.0.0.1\\.example.org",
        "127.0.0.1\t",
        "１２７.0.0.1",
        "127。0。0。1",
        "inside.org.",
        "INSIDE.org",
    ];
    for spelling in spellings {
        let tunnel = say_text(&house, guest, &format!("CONNECT {spelling}:80 HTTP/1.1\r\n\r\n")).await;
        let page = say_text(&house, guest, &format!("GET http://{spelling}/ HTTP/1.1\r\n\r\n")).await;
        for answer in [tunnel, page] {
            assert!(
                answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502"),
                "{spelling}: {answer}"
            );
        }
        let plain = spelling.trim_matches(['[', ']']);
        let answer = say(&house, guest, &socks_to(plain)).await;
        assert!(
            matches!(answer.as_slice(), [5, 0, 5, refused, ..] if *refused != 0),
            "{spelling}: {answer:?}"
        );
    }
    let mail = say_text(&house, guest, "CONNECT 8.8.8.8:25 HTTP/1.1\r\n\r\n").await;
    assert!(mail.starts_with("HTTP/1.1 403"), "{mail}");
    let v4 = say(&house, guest, &[5, 1, 0, 5, 1, 0, 1, 169, 254, 169, 254, 0, 80]).await;
    let mapped = [&[5, 1, 0, 5, 1, 0, 4][..], &[0; 10], &[255, 255, 127, 0, 0, 1, 0, 80]].concat();
    let v6 = say(&house, guest, &mapped).await;
    assert_eq!((v4.get(3), v6.get(3)), (Some(&2), Some(&2)), "forbidden");
    assert!(house.town.dialled().is_empty(), "{:?}", house.town.dialled());
}

async fn a_name_that_answers_differently_each_time_gains_nothing(mut house: House) {
    let answers: [&[&str]; 4] =
        [&["93.184.216.34"], &["127.0.0.1"], &["10.0.0.1", "93.184.216.34"], &["::1"]];
    for first in 0..8 {
        let mut turned = answers;
        turned.rotate_left(first % 4);
        house.town.name(&format!("r{first}.example.org"), &turned);
    }
    house.town.web("93.184.216.34:80", "the web").await;
    let script = "for turn in 1 2 3; do for name in 0 1 2 3 4 5 6 7; do \
                  nslookup r$name.example.org; wget -q -O - http://r$name.example.org/; \
                  http_proxy= wget -q -O - http://r$name.example.org/; done; done; \
                  for host in 127.0.0.1 10.0.0.1; do nc -w 1 $host 80 < /dev/null; done; echo over";
    let network = Network { policy: "allow:*.example.org:80".parse().expect("a policy"), rate: 0 };
    let spec = GuestSpec { network, ..house.spec(script) };
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    house.exit_code(spec.id).await;
    assert!(printed.contains("the web") && printed.contains("over\n"), "{printed}");
    for inside in ["10.0.0.1", "::1"] {
        assert!(!printed.contains(&format!("Address: {inside}")), "{printed}");
    }
    let dialled = house.town.dialled();
    let web: SocketAddr = "93.184.216.34:80".parse().expect("an address");
    assert!(!dialled.is_empty() && dialled.iter().all(|to| *to == web), "{dialled:?}");
}

async fn no_request_is_hidden_in_another(house: House) {
    house.town.name("example.org", &[&["93.184.216.34"]]);
    house.town.name("secret.org", &[&["93.184.216.35"]]);
    house.town.web("93.184.216.34:80", "the web").await;
    house.town.web("93.184.216.35:80", "a secret").await;
    let guest = idle_guest(&house, "allow:example.org:80").await;
    let second = "GET http://secret.org/ HTTP/1.1\r\nHost: secret.org\r\n\r\n";
    for first in [
        "GET http://example.org/ HTTP/1.1\r\nHost: secret.org\r\n\r\n".to_owned(),
        "GET http://example.org/ HTTP/1.1\r\nConnection: keep-alive, upgrade\r\nUpgrade: h2c\r\n\r\n"
            .to_owned(),
        format!(
            "POST http://example.org/ HTTP/1.1\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            5
        ),
        "CONNECT example.org:80 HTTP/1.1\r\nHost: secret.org:80\r\nContent-Length: 100\r\n\r\n".to_owned(),
    ] {
        let answer = say_text(&house, guest, &format!("{first}{second}")).await;
        assert!(answer.contains("the web") && !answer.contains("a secret"), "{answer}");
    }
    for refused in [
        "GET http://example.org/ HTTP/1.1\r\nA: b\r\n GET http://secret.org/ HTTP/1.1\r\n\r\n",
        "GET http://example.org\r\n@secret.org/ HTTP/1.1\r\n\r\n",
        "GET http://example.org:80:80/ HTTP/1.1\r\n\r\n",
        "GET http://secret.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "CONNECT secret.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
    ] {
        let answer = say_text(&house, guest, refused).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{refused}: {answer}");
    }
    let web: SocketAddr = "93.184.216.34:80".parse().expect("an address");
    assert!(house.town.dialled().iter().all(|to| *to == web));
}

async fn a_head_without_an_end_is_cut_off(house: House) {
    let guest = idle_guest(&house, "internet").await;
    let endless = format!("GET http://example.org/ HTTP/1.1\r\nA: {}", "a".repeat(10 << 20));
    let answer = say_text(&house, guest, &endless).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET http://example.org/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert!(say_text(&house, guest, &many).await.starts_with("HTTP/1.1 431"));
    let half = say_text(&house, guest, "CONNECT example.org").await;
    assert!(half.starts_with("HTTP/1.1 400"), "{half}");
    let answer = say(&house, guest, &[5, 255, 1, 2]).await;
    assert!(answer.is_empty(), "a greeting cut short: {answer:?}");
    assert_eq!(say(&house, guest, &[5, 1, 2]).await, [5, 255], "a password");
    let udp = say(&house, guest, &[5, 1, 0, 5, 3, 0, 1, 8, 8, 8, 8, 0, 53]).await;
    assert_eq!(udp.get(3), Some(&7), "another command than connect");
}

async fn clients_that_say_nothing_hinder_only_their_own_guest(house: House) {
    house.town.name("example.org", &[&["93.184.216.34"]]);
    house.town.web("93.184.216.34:80", "the web").await;
    let (hostile, other) = (idle_guest(&house, "internet").await, idle_guest(&house, "internet").await);
    let page = "GET http://example.org/ HTTP/1.1\r\n\r\n";
    let mut silent = Vec::new();
    for i in 0..300 {
        let mut stream: TcpStream = house.guests.connect(hostile, PROXY).await.expect("a proxy");
        // Some say a little, and then no more.
        if i % 2 == 0 {
            stream.write_all(b"GET http://exa").await.expect("written");
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    assert!(say_text(&house, other, page).await.contains("the web"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(say_text(&house, hostile, page).await.contains("the web"), "in its turn");
    drop(silent);
}

async fn ten_thousand_connections_take_no_more_than_their_share(mut house: House) {
    house.perl();
    let script = "my @held; for my $i (1..10000) { \
                  socket(my $s, PF_INET, SOCK_STREAM | 2048, 0) or last; push @held, $s; \
                  connect($s, sockaddr_in($i % 2 ? 17080 : 80, inet_aton($i % 2 ? '127.0.0.1' : '93.184.216.34'))); } \
                  print scalar(@held), qq( held\\n); $| = 1; print qq(now\\n); sleep 2;";
    let network = Network { policy: "internet".parse().expect("a policy"), rate: 0 };
    let mut spec = GuestSpec { network, ..house.spec("") };
    spec.args = ["/usr/bin/perl", "-e", &format!("{PERL_SOCKETS}{script}")].map(String::from).to_vec();
    spec.limits.open_files = 10_100;
    // Control groups of version 2 count what the kernel keeps for sockets.
    spec.limits.memory = 512 << 20;
    spec.limits.cpu_millis = 2_000;
    let held = house.town.hold("93.184.216.34:80").await;
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "now").await;
    assert_eq!(house.exit_code(spec.id).await, 0);
    assert!(house.printed(spec.id).await.starts_with("10000 held"));
    let most = held.most.load(Ordering::Relaxed);
    assert!((1..=256).contains(&most), "{most} connections at once");
    for _ in 0..200 {
        if held.now.load(Ordering::Relaxed) == 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("connections stay open when the guest has ended");
}

async fn datagrams_to_everywhere_take_no_more_than_their_share(mut house: House) {
    house.perl();
    let script = "socket(my $s, PF_INET, SOCK_DGRAM, 0) or die; for my $i (0..9999) { \
                  send($s, 'x', 0, sockaddr_in(1000 + $i % 5000, pack('C4', 93, 184, $i / 256, $i % 256))); } \
                  for my $i (0..2000) { send($s, pack('C*', map { int rand 256 } 1..($i % 600)), 0, \
                  sockaddr_in(53, pack('C4', 127, 0, 0, 53))); } sleep 1;";
    let network = Network { policy: "internet".parse().expect("a policy"), rate: 0 };
    let mut spec = GuestSpec { network, ..house.spec("") };
    spec.args = ["/usr/bin/perl", "-e", &format!("{PERL_SOCKETS}{script}")].map(String::from).to_vec();
    house.guests.start(&spec).await.expect("the guest starts");
    assert_eq!(house.exit_code(spec.id).await, 0);
    let dialled = house.town.dialled();
    assert!(dialled.iter().all(|to| public(to.ip()).is_ok()) && dialled.len() <= 2_000, "{}", dialled.len());
}

/// What perl's own modules would bring, without them.
const PERL_SOCKETS: &str = "sub PF_INET { 2 } sub SOCK_STREAM { 1 } sub SOCK_DGRAM { 2 } \
    sub inet_aton { pack('C4', split(/\\./, $_[0])) } sub sockaddr_in { pack('S n a4 x8', 2, $_[0], $_[1]) } ";

async fn guests_do_not_reach_each_other(mut house: House) {
    let outside = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = outside.local_addr().expect("an address").port();
    let network = || Network { policy: "internet".parse().expect("a policy"), rate: 0 };
    let serve = GuestSpec { network: network(), ..house.spec("echo up; nc -ll -p 8080 -e echo secret") };
    house.guests.start(&serve).await.expect("the guest starts");
    house.printed_until(serve.id, "up").await;
    let script = format!(
        "for host in 127.0.0.1 192.0.0.8 127.0.0.53 192.0.0.9; do for port in 8080 {port}; do \
         nc -w 1 $host $port < /dev/null; done; done; nc -w 1 fd6b:1c57:9a0e::8 8080 < /dev/null; echo over"
    );
    let guest = GuestSpec { network: network(), ..house.spec(&script) };
    house.guests.start(&guest).await.expect("the guest starts");
    let printed = house.printed(guest.id).await;
    assert!(!printed.contains("secret") && printed.contains("over\n"), "{printed}");
    assert!(house.town.dialled().is_empty());
    outside.set_nonblocking(true).expect("set");
    assert!(outside.accept().is_err(), "a guest reached this machine");
    house.guests.stop(serve.id, Duration::ZERO).await.expect("it stops");
    house.exit_code(guest.id).await;
}
