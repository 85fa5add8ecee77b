//! Images on their way: nodes that are killed at each step, disks that are full, and registries that are of no use.

use crate::Platform;
use crate::faults::Small;
use crate::house::{House, Node, eventually, image, shell, terms};
use crate::registry::{PASSWORD, Registry, USER};
use api::shapes::{Lease, LeaseState, RentWish, ShareWish};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How far an image has come on the host, by what lies in its directory.
#[derive(Clone, Copy, Debug)]
enum Step {
    Agreed,
    Arriving,
    Unpacking,
    Unpacked,
}

impl Step {
    fn is_reached(self, images: &Path, layers_before: usize) -> bool {
        match self {
            Step::Agreed => true,
            Step::Arriving => arrived(images) >= 2 << 20,
            Step::Unpacking => {
                let staged = fs::read_dir(images.join("staging")).into_iter().flatten().flatten();
                staged.map(|entry| entry.path().join("layer/files")).any(|files| files.is_dir())
            }
            Step::Unpacked => count(&images.join("layers")) > layers_before,
        }
    }
}

/// Bytes of parts that are not whole.
fn arrived(images: &Path) -> u64 {
    let parts = fs::read_dir(images.join("incoming")).into_iter().flatten().flatten();
    parts.filter_map(|part| Some(part.metadata().ok()?.blocks() * 512)).sum()
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, |entries| entries.count())
}

/// Waits closely, so that nothing passes by unseen.
async fn until(step: Step, host: &Node, layers_before: usize, lease: &Lease) {
    let (since, images) = (Instant::now(), host.data.join("images"));
    while !step.is_reached(&images, layers_before) {
        assert!(since.elapsed() < Duration::from_secs(60), "{step:?} is never reached");
        if let Ok(found) = host.lease(lease).await {
            assert_ne!(found.standing.state, LeaseState::Ended, "{:?} before {step:?}", found.standing);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Of all that an image leaves on its way there is nothing.
async fn nothing_is_left(host: &Node) {
    let images = host.data.join("images");
    eventually("what is on its way to be gone", async || {
        count(&images.join("incoming")) == 0 && count(&images.join("staging")) == 0
    })
    .await;
}

/// Kills one of the two at each of these steps; each time the lease goes on to the same end.
async fn killed_at(steps: &[Step], of: impl Fn(&mut House) -> &mut Node) {
    let mut house = House::open().await;
    let mut owed = 0;
    for (number, step) in steps.iter().enumerate() {
        let name = format!("image{number}");
        image(&house.tenant, house.path(), &name, 24 << 20).await;
        let before = count(&house.host.data.join("images/layers"));
        let lease = house.tenant.client.rent(&RentWish { image: name, ..shell("exit 7") }).await.unwrap();
        until(*step, &house.host, before, &lease).await;
        let node = of(&mut house);
        node.kill();
        node.start().await;
        house.meet().await;
        let over = house.ended_alike(&lease).await;
        assert_eq!(over.standing.exit_code, Some(7), "{step:?}: {:?}", over.standing);
        let receipt = over.receipt.unwrap();
        assert!(receipt.billed.0.0 < 5_000, "{step:?}: only what the guest ran is billed: {receipt:?}");
        owed += receipt.amount.micros;
        house.books_agree(owed).await;
        nothing_is_left(&house.host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_at_any_step_of_a_fetch_goes_on_from_there() {
    killed_at(&[Step::Agreed, Step::Arriving, Step::Unpacking, Step::Unpacked], |house| &mut house.host)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_killed_at_any_step_of_a_fetch_is_waited_for() {
    killed_at(&[Step::Agreed, Step::Arriving, Step::Unpacking], |house| &mut house.tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_disk_is_full_says_so_and_owes_and_keeps_nothing() {
    let house = House::empty();
    let _small = Small::mount(&house.host.data, "320m");
    let house = house.furnished(ShareWish { disk_bytes: Some(64 << 20), ..terms() }).await;
    let ballast = house.host.data.join("ballast");
    image(&house.tenant, house.path(), "large", 128 << 20).await;
    let wish = || RentWish { image: "large".into(), ..shell("exit 0") };

    // Too little from the first.
    fs::write(&ballast, vec![1; 200 << 20]).unwrap();
    let lease = house.tenant.client.rent(&wish()).await.unwrap();
    is_for_want_of_room(&house, &lease, &["fetch_failed"]).await;

    // And in the middle; or at the end, where that is reached before the disk is full.
    fs::remove_file(&ballast).unwrap();
    let lease = house.tenant.client.rent(&wish()).await.unwrap();
    until(Step::Arriving, &house.host, usize::MAX, &lease).await;
    fs::write(&ballast, vec![1; 320 << 20]).unwrap_err();
    is_for_want_of_room(&house, &lease, &["fetch_failed", "start_failed"]).await;

    fs::remove_file(&ballast).unwrap();
    let lease = house.tenant.client.rent(&RentWish { image: "busybox".into(), ..wish() }).await.unwrap();
    let over = house.ended_alike(&lease).await;
    assert_eq!(over.standing.exit_code, Some(0), "with room it goes on: {:?}", over.standing);
}

async fn is_for_want_of_room(house: &House, lease: &Lease, reasons: &[&str]) {
    let over = house.ended_alike(lease).await;
    assert!(
        over.standing.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)),
        "{:?}",
        over.standing
    );
    let detail = &over.standing.detail;
    assert!(detail.contains("the host's disk is full"), "{detail}");
    assert!(!detail.contains(house.path().to_str().unwrap()), "no path of the owner's: {detail}");
    assert_eq!(over.receipt, None);
    house.books_agree(0).await;
    nothing_is_left(&house.host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_gone_is_named_when_time_is_up() {
    let fetch_within = Some(api::shapes::Seconds(api::node::model::Span::seconds(4)));
    let mut house = House::lending(ShareWish { fetch_within, ..terms() }).await;
    image(&house.tenant, house.path(), "large", 192 << 20).await;
    let lease =
        house.tenant.client.rent(&RentWish { image: "large".into(), ..shell("exit 0") }).await.unwrap();
    until(Step::Arriving, &house.host, usize::MAX, &lease).await;
    house.tenant.kill();
    let over = house.host.reaches(&lease, LeaseState::Ended).await;
    assert_eq!(over.standing.reason.as_deref(), Some("fetch_failed"));
    assert!(over.standing.detail.starts_with("it took too long: "), "{:?}", over.standing);
    assert_eq!(over.tick, None, "nothing is billed");
    house.tenant.start().await;
    house.meet().await;
    house.ended_alike(&lease).await;
    house.books_agree(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_of_no_use_is_named_with_what_to_do() {
    let mut house = House::empty();
    house.tenant.start().await;
    let tenant = &house.tenant;
    let pull = |reference: &str| tenant.sublet(&["image", "pull", reference]);

    let mut closed = Registry::with_login();
    closed.push("app:1", &[&[("bin/app", "program")]]).await;
    let reference = closed.reference("app:1");
    pull(&reference).is_refusal(1, &["refuses access", "hint:", "--login"]);
    let login = ["image", "pull", "--login", USER, &reference];
    tenant.typed(&login, "wrong").is_refusal(1, &["refuses access", "check the password"]);
    assert!(tenant.client.images().await.unwrap().images.is_empty(), "nothing came");

    closed.push_for("s390x", "app:alien", &[&[("bin/app", "program")]]).await;
    let alien = ["image", "pull", "--login", USER, &closed.reference("app:alien")];
    tenant.typed(&alien, PASSWORD).is_refusal(1, &["linux/s390x", &Platform::here().to_string(), "hint:"]);
    let missing = ["image", "pull", "--login", USER, &closed.reference("app:2")];
    tenant.typed(&missing, PASSWORD).is_refusal(1, &["app:2", "hint:"]);
    assert!(tenant.client.images().await.unwrap().images.is_empty(), "nor of these");

    assert_eq!(tenant.typed(&login, PASSWORD).code, Some(0), "with its password it comes");
    closed.stop();
    pull(&closed.reference("app:3")).is_refusal(1, &["cannot be reached", "hint:", "image import"]);
    let images = tenant.data.join("images");
    assert_eq!((count(&images.join("incoming")), count(&images.join("staging"))), (0, 0));
}
