//! What a guest reaches outside: what its lease names, and nothing else.

use sublet_machine::guest::GuestSpec;
use sublet_machine::network::Network;

use crate::house::House;

crate::truths![
    without_a_policy_there_is_no_way_out,
    a_listed_name_is_reached_through_the_proxy_and_no_other,
    a_program_that_knows_no_proxy_is_caught,
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

async fn a_listed_name_is_reached_through_the_proxy_and_no_other(mut house: House) {
    house.town.name("example.org", &[&["93.184.216.34"]]);
    house.town.name("other.org", &[&["93.184.216.34"]]);
    house.town.web(WEB, "the web").await;
    let script = "wget -q -O - http://example.org/page; wget -O - http://other.org/ 2>&1; wget -O - http://example.org:81/ 2>&1";
    let printed = output(&mut house, "allow:example.org:80", script).await;
    assert!(printed.contains("the web\nGET /page HTTP/1.1\r\nHost: example.org\r\n"), "{printed}");
    assert_eq!(printed.matches("403 Forbidden").count(), 2, "{printed}");
    assert_eq!(house.town.dialled(), [WEB.parse().expect("an address")]);
}

async fn a_program_that_knows_no_proxy_is_caught(mut house: House) {
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
