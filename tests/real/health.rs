//! Whether guests are well, and how those ended that were stopped, as people ask for it.

use crate::house::{House, Said, eventually};
use api::shapes::{ExecWish, HealthState, HealthWish, LeaseState};

/// Rents a guest that goes on until it is stopped, and is well while there is a file.
fn rented(house: &House, options: &[&str]) -> String {
    let run = ["run", "-d", "--cpus", "0.5", "--memory", "64M", "--disk", "8M"];
    let guest = ["busybox", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"];
    let said = house.tenant.sublet(&[&run, options, &guest].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out.trim().to_owned()
}

const CHECK: [&str; 6] =
    ["--health-cmd", "echo looking; test -e /well", "--health-interval", "1s", "--health-retries", "2"];

async fn touch(house: &House, lease: &str) {
    let command = ["sh", "-c", "echo > /well"].map(str::to_owned).to_vec();
    let wish = ExecWish { command, ..ExecWish::default() };
    eventually("another program to begin", async || house.tenant.client.exec(lease, &wish).await.is_ok())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_listed_and_waited_for_by_its_health() {
    let mut house = House::open().await;
    let lease = rented(&house, &CHECK);
    let ps = |house: &House, filter: &str| house.tenant.sublet(&["ps", "--filter", filter]).out;
    let unwell = house.tenant.sublet(&["wait", "--healthy", &lease]);
    unwell.is_refusal(1, &["is not well", "its last 2 checks failed: looking"]);
    assert!(
        ps(&house, "health=unhealthy").contains("running (unhealthy)"),
        "{}",
        ps(&house, "state=running")
    );
    assert!(!ps(&house, "health=healthy").contains("running"));
    touch(&house, &lease).await;
    eventually("the guest to be well", async || {
        let health = house.tenant.client.lease(&lease).await.unwrap().health;
        health.is_some_and(|health| health.state == HealthState::Healthy)
    })
    .await;
    let well = house.tenant.sublet(&["wait", "--healthy", &lease]);
    assert_eq!(
        (well.code, well.out.trim()),
        (Some(0), format!("{} is healthy", &lease[..8]).as_str()),
        "{}",
        well.err
    );
    let shown = house.host.sublet(&["inspect", &lease]).out;
    assert!(shown.contains("\"state\": \"healthy\"") && shown.contains("\"output\": \"looking\""), "{shown}");

    // Whoever is killed and started again sees it again.
    for node in [&mut house.tenant, &mut house.host] {
        node.kill();
        node.start().await;
    }
    house.meet().await;
    eventually("both to know it again", async || {
        let mut known = 0;
        for node in [&house.tenant, &house.host] {
            let health = node.client.lease(&lease).await.ok().and_then(|lease| lease.health);
            known += usize::from(health.is_some_and(|health| health.state == HealthState::Healthy));
        }
        known == 2
    })
    .await;
    let stopped = house.tenant.client.stop(&lease).await.unwrap();
    assert!(house.ended_alike(&stopped).await.health.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_checked_is_not_waited_for() {
    let house = House::open().await;
    let lease = rented(&house, &["--no-healthcheck"]);
    house
        .tenant
        .sublet(&["wait", "--healthy", &lease])
        .is_refusal(1, &["nothing tells whether", "--health-cmd"]);
    assert_eq!(
        house.tenant.client.lease(&lease).await.unwrap().workload.options.health,
        Some(HealthWish::Off)
    );
    house.tenant.sublet(&["run", "--health-retries", "2", "busybox"]).is_refusal(2, &["--health-cmd"]);
    for wrong in [["--health-interval", "0s"], ["--health-retries", "0"], ["--health-timeout", "soon"]] {
        let said: Said = house.tenant.sublet(&["run", wrong[0], wrong[1], "busybox"]);
        assert_eq!(said.code, Some(2), "{}", said.err);
    }
    house
        .tenant
        .sublet(&["run", "--health-cmd", "true", "--health-interval", "25h", "busybox"])
        .is_refusal(2, &["24 h"]);

    // The exit code of one that was stopped is passed on: to whoever waits, to both sides, and in the list.
    let waiting =
        house.tenant.command(&["wait", &lease]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let running = house.tenant.client.lease(&lease).await.unwrap();
    house.tenant.reaches(&running, LeaseState::Running).await;
    house.tenant.client.stop(&lease).await.unwrap();
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!((waited.status.code(), waited.stdout.as_slice()), (Some(9), b"9\n".as_slice()));
    let over = house.ended_alike(&running).await;
    assert_eq!((over.standing.reason.as_deref(), over.standing.exit_code), (Some("tenant_stopped"), Some(9)));
    assert_eq!(house.host.lease(&running).await.unwrap().standing.exit_code, Some(9));
    let listed = house.tenant.sublet(&["ps", "--all"]).out;
    assert!(listed.contains("the tenant stopped it, exit code 9"), "{listed}");
}
