//! Whether a guest is well: seen by its host in the guest itself, known to its tenant.

use crate::{Pair, busybox_with, detail, meet_again, rent, start, until};
use engine::owner::Command;
use machine::image::BuildSpec;
use model::document::{HealthCheck, HealthWish, RunOptions};
use model::health::{Health, HealthState};
use model::session::{ExecWish, Frame};
use model::{EndReason, Id, Lease, Phase, Span};
use node::{Event, NodeHandle, Rent};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Well while there is a file.
fn check(script: &str) -> HealthCheck {
    HealthCheck {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        interval: Some(Span::seconds(1)),
        retries: Some(2),
        ..HealthCheck::default()
    }
}

fn checked(wish: HealthWish, script: &str) -> Rent {
    let options = RunOptions { health: Some(wish), ..RunOptions::default() };
    Rent { options, ..rent(&["sh", "-c", script]) }
}

async fn health(node: &NodeHandle, lease: Id<Lease>) -> Option<Health> {
    node.look(move |core| core.health(lease).cloned()).await.expect("a look")
}

async fn until_it_is(node: &NodeHandle, lease: Id<Lease>, wanted: HealthState) -> Health {
    loop {
        if let Some(health) = health(node, lease).await.filter(|health| health.state == wanted) {
            return health;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Another program in the guest, to its end.
async fn does(pair: &Pair, lease: Id<Lease>, script: &str) {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let mut session = pair
        .tenant
        .exec(lease, ExecWish { command, env: Vec::new(), cwd: None, user: None, terminal: None })
        .await
        .expect("it begins");
    while let Some(frame) = session.hear.next().await {
        if let Frame::Ended(code) = frame {
            return assert_eq!(code, 0);
        }
    }
    panic!("the stream broke");
}

pub async fn a_tenant_knows_whether_its_guest_is_well() {
    let pair = Pair::meet().await;
    let mut events = pair.tenant.events();
    let wish = HealthWish::Check(check("echo looking; test -e /well"));
    let lease = pair
        .tenant
        .rent(checked(wish, "trap exit TERM; while :; do sleep 0.1; done"))
        .await
        .expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    until_it_is(&pair.tenant, lease, HealthState::Starting).await;
    let unwell = until_it_is(&pair.tenant, lease, HealthState::Unhealthy).await;
    let last = unwell.last.expect("it was checked");
    assert_eq!((unwell.failing, last.code, last.output.as_str()), (2, Some(1), "looking"));
    assert_eq!(until_it_is(&pair.host, lease, HealthState::Unhealthy).await.since, unwell.since);
    // It goes on, and may be well again.
    does(&pair, lease, "echo > /well").await;
    let well = until_it_is(&pair.tenant, lease, HealthState::Healthy).await;
    assert_eq!((well.failing, well.last.and_then(|last| last.code)), (0, Some(0)));
    let mut told = Vec::new();
    while let Ok(Ok(event)) = timeout(Duration::from_millis(200), events.recv()).await {
        if let Event::Health { lease: of, state } = event {
            assert_eq!(of, lease);
            told.push(state);
        }
    }
    assert_eq!(told, [HealthState::Starting, HealthState::Unhealthy, HealthState::Healthy]);

    // Who stands still is not asked, and not unwell for it.
    pair.host.first(Command::Pause { until: None }).await.expect("paused");
    until(&pair.tenant, lease, |phase| matches!(phase, Phase::Frozen(_))).await;
    sleep(Duration::from_millis(100)).await;
    let before = health(&pair.host, lease).await.expect("it is known");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(health(&pair.host, lease).await, Some(before), "not checked while it stands still");
    pair.host.first(Command::Resume).await.expect("resumed");
    until(&pair.tenant, lease, |phase| *phase == Phase::Running).await;
    does(&pair, lease, "busybox rm /well").await;
    until_it_is(&pair.tenant, lease, HealthState::Unhealthy).await;

    // A host that starts again looks again.
    let Pair { dir, host, tenant } = pair;
    host.shut_down().await;
    drop(host);
    let host = start(dir.path(), "host").await;
    meet_again(&tenant, &host).await;
    until_it_is(&host, lease, HealthState::Unhealthy).await;
    tenant.stop(lease).await.expect("stopped");
    until(&tenant, lease, Phase::is_ended).await;
    let forgotten = async {
        while health(&tenant, lease).await.is_some() || health(&host, lease).await.is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), forgotten).await.expect("what has ended is neither well nor unwell");
}

pub async fn an_image_says_how_it_is_checked() {
    let pair = Pair::meet().await;
    let spec = BuildSpec {
        health: Some(HealthWish::Check(check("echo checked by the image"))),
        ..BuildSpec::default()
    };
    busybox_with(&pair.tenant, pair.dir.path(), spec).await;
    let run = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"];
    let lease = pair.run(&run).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let well = until_it_is(&pair.tenant, lease, HealthState::Healthy).await;
    assert_eq!(well.last.expect("it was checked").output, "checked by the image");
    pair.tenant.stop(lease).await.expect("stopped");
    until(&pair.host, lease, Phase::is_ended).await;

    // One that takes too long, and one that is not there: both are failures that are told.
    let slow =
        HealthCheck { within: Some(Span::seconds(1)), retries: Some(1), ..check("echo slowly; sleep 60") };
    let missing = HealthCheck { command: vec!["/no/such/check".into()], retries: Some(1), ..check("") };
    for (check, said) in [(slow, "longer than 1 s\nslowly"), (missing, "/no/such/check")] {
        let lease = pair.tenant.rent(checked(HealthWish::Check(check), run[2])).await.expect("a lease");
        until(&pair.tenant, lease, Phase::is_live).await;
        let last =
            until_it_is(&pair.tenant, lease, HealthState::Unhealthy).await.last.expect("it was checked");
        assert!(last.output.contains(said), "{last:?}");
        pair.tenant.stop(lease).await.expect("stopped");
        until(&pair.host, lease, Phase::is_ended).await;
    }

    // None, if the tenant says so.
    let lease = pair.tenant.rent(checked(HealthWish::Off, "sleep 3; exit 8")).await.expect("a lease");
    assert!(!pair.tenant.is_checked(lease).await.expect("a lease"));
    let ended = until(&pair.tenant, lease, Phase::is_ended).await;
    assert_eq!(ended, Phase::Ended(EndReason::Exited { code: 8 }), "{}", detail(&pair.tenant, lease).await);
    assert!(health(&pair.host, lease).await.is_none());
    // And one that nobody says how to make is none.
    busybox_with(&pair.tenant, pair.dir.path(), BuildSpec::default()).await;
    let nothing = HealthWish::Check(HealthCheck { retries: Some(1), ..HealthCheck::default() });
    let refused = pair.tenant.rent(checked(nothing, "exit")).await.expect_err("nothing says how");
    assert_eq!(refused.code(), "no_health_check");
}
