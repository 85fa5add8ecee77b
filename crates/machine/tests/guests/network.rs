//! What a guest reaches outside: what its lease names, and nothing else.

use std::time::{Duration, Instant};

use model::Traffic;
use sublet_machine::guest::{GuestSpec, GuestState};
use sublet_machine::network::Network;
use tokio::time::sleep;

use crate::house::House;

crate::truths![
    without_a_policy_there_is_no_way_out,
    a_listed_name_is_reached_through_the_proxy_and_no_other,
    a_program_that_knows_no_proxy_is_caught,
    names_are_found_by_our_resolver_alone,
    datagrams_go_where_the_policy_allows,
    a_node_that_starts_again_takes_up_the_way_out,
    what_passes_is_counted_and_held_to_its_rate,
];

const WEB: &str = "93.184.216.34:80";

fn spec(house: &House, policy: &str, script: &str) -> GuestSpec {
    let network = Network { policy: policy.parse().expect("a policy"), rate: 0 };
    GuestSpec { network, ..house.spec(script) }
}

/// Runs a script under a policy to its end, and returns what it printed.
async fn output(house: &mut House, policy: &str, script: &str) -> String {
    let spec = spec(house, policy, script);
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    house.exit_code(spec.id).await;
    printed
}

async fn without_a_policy_there_is_no_way_out(mut house: House) {
    house.town.web(WEB, "the web").await;
    let script = "echo proxy=$HTTP_PROXY; nc -w 2 93.184.216.34 80 < /dev/null || echo unreachable";
    let printed = output(&mut house, "none", script).await;
    assert!(printed.starts_with("proxy=\n") && printed.contains("unreachable"), "{printed}");
    assert!(house.town.dialled().is_empty());
}

pub async fn a_listed_name_is_reached_through_the_proxy_and_no_other(mut house: House) {
    house.town.name("example.org", &[&["93.184.216.34"]]);
    house.town.name("other.org", &[&["93.184.216.34"]]);
    house.town.web(WEB, "the web").await;
    let script = "wget -q -O - http://example.org/page; wget -O - http://other.org/ 2>&1; wget -O - http://example.org:81/ 2>&1";
    let printed = output(&mut house, "allow:example.org:80", script).await;
    assert!(printed.contains("the web\nGET /page HTTP/1.1\r\nHost: example.org\r\n"), "{printed}");
    assert_eq!(printed.matches("403 Forbidden").count(), 2, "{printed}");
    assert_eq!(house.town.dialled(), [WEB.parse().expect("an address")]);
}

pub async fn a_program_that_knows_no_proxy_is_caught(mut house: House) {
    house.town.web(WEB, "the web").await;
    house.town.web("93.184.216.35:8080", "another").await;
    let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 93.184.216.34 80; \
                  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 93.184.216.35 8080; ip addr show dev lo; ip route";
    let printed = output(&mut house, "internet", script).await;
    assert!(printed.contains("the web\n") && printed.contains("another\n"), "{printed}");
    house.town.live_in("93.184.216.1", 24);
    let printed = output(&mut house, "internet", "nc 93.184.216.34 80 < /dev/null; echo over").await;
    assert_eq!(printed, "over\n");
    assert_eq!(house.town.dialled().len(), 2);
}

pub async fn names_are_found_by_our_resolver_alone(mut house: House) {
    house.town.name("example.org", &[&["93.184.216.34", "10.0.0.7", "2606:2800::1"]]);
    house.town.name("inside.org", &[&["192.168.1.1"]]);
    house.town.name("other.org", &[&["93.184.216.35"]]);
    house.town.web(WEB, "the web").await;
    house.write(&house.image().join("etc/resolv.conf"), "nameserver 10.0.0.1\n");
    let script = "cat /etc/resolv.conf; for name in example.org inside.org other.org localhost.localdomain; do \
                  nslookup $name; nslookup $name 8.8.8.8; done; unset http_proxy; wget -q -O - http://example.org/direct";
    let printed = output(&mut house, "allow:example.org:80,inside.org:80", script).await;
    assert!(printed.starts_with("nameserver 127.0.0.53\n"), "{printed}");
    // Found twice: by our resolver, and by ours under the name of another.
    assert_eq!(printed.matches("Address: 93.184.216.34").count(), 2, "{printed}");
    assert_eq!(printed.matches("NXDOMAIN").count(), 12, "{printed}");
    for unknown in ["10.0.0.7", "192.168.1.1", "93.184.216.35", "2606"] {
        assert!(!printed.contains(unknown), "{printed}");
    }
    assert!(printed.contains("the web\nGET /direct"), "{printed}");
    assert_eq!(
        house.town.lookups("other.org"),
        0,
        "nobody is asked about names that the lease does not hold"
    );
}

async fn datagrams_go_where_the_policy_allows(mut house: House) {
    house.town.name("clock.example.org", &[&["93.184.216.40"]]);
    house.town.files("93.184.216.40:4000").await;
    house.town.files("93.184.216.41:4000").await;
    let script = "nslookup clock.example.org > /dev/null; for host in 40 41; do \
                  timeout 2 tftp -g -r hello-$host -l - 93.184.216.$host 4000; done; echo over";
    let printed = output(&mut house, "allow:*.example.org:4000", script).await;
    assert!(printed.starts_with("hello-40\n") && printed.contains("over\n"), "{printed}");
    assert_eq!(house.town.dialled(), ["93.184.216.40:4000".parse().expect("an address")]);
}

async fn a_node_that_starts_again_takes_up_the_way_out(mut house: House) {
    house.town.name("example.org", &[&["93.184.216.34"]]);
    house.town.web(WEB, "the web").await;
    // The page that is asked for while there is no node waits for the next one.
    let script = "wget -q -O - http://example.org/one; echo asking; wget -q -O - http://example.org/two";
    let spec = spec(&house, "allow:example.org:80", script);
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "asking").await;
    let before = house.see(spec.id).await.usage.traffic;
    house.restart(sleep(Duration::from_millis(300))).await;
    house.see(spec.id).await;
    // A guest that was quicker than the restart has ended unseen: there is no event of it, but a state.
    while !matches!(house.see(spec.id).await.state, GuestState::Exited { .. }) {
        sleep(Duration::from_millis(20)).await;
    }
    let printed = house.printed(spec.id).await;
    assert!(printed.contains("GET /one") && printed.contains("GET /two"), "{printed}");
    let after = house.see(spec.id).await.usage.traffic;
    assert!(before.received > 0 && after.received >= before.received, "{before:?} {after:?}");
}

async fn what_passes_is_counted_and_held_to_its_rate(mut house: House) {
    house.town.echo("93.184.216.34:7").await;
    let mut spec = spec(&house, "internet", "head -c 3000000 /dev/zero | nc 93.184.216.34 7 | wc -c");
    spec.network.rate = 1_000_000;
    let begun = Instant::now();
    house.guests.start(&spec).await.expect("the guest starts");
    // nc hangs up when it has said all: what comes back until then is less than what went.
    house.exit_code(spec.id).await;
    let took = begun.elapsed();
    let Traffic { sent, received } = house.see(spec.id).await.usage.traffic;
    assert!(sent > 1_000_000 && received <= sent, "{sent} {received}");
    assert!(took.as_secs_f64() >= sent as f64 / 1_000_000.0 - 0.7, "{sent} bytes in {took:?}");
}
