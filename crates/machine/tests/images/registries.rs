//! Images from a real registry, well and unwell.

use std::fs;
use std::sync::Mutex;

use oci_client::manifest::{ImageIndexEntry, OciImageIndex, OciManifest, Platform as OciPlatform};
use sublet_machine::image::{Auth, Digest, ImageError, Platform, Progress, Stage};
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::registry::{self, Pushed, Registry};

#[tokio::test]
async fn what_is_pushed_is_what_is_pulled() {
    let registry = Registry::start();
    let pushed = registry.push("team/app:1", &[&[("bin/app", "program")], &[("etc/conf", "x=1")]]).await;
    let store = Store::new();
    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().expect("seen").push(progress);
    let reference = registry.reference("team/app:1");
    let image = store
        .images
        .pull(&reference, Auth::Anonymous, &watch, &CancellationToken::new())
        .await
        .expect("pulled");
    assert_eq!(image.digest.to_string(), pushed.digest);
    assert_eq!(image.names, [reference.as_str()]);
    let last = *seen.lock().expect("seen").last().expect("it was watched");
    assert_eq!((last.stage, last.done), (Stage::Fetching, last.total));
    let layers = store.layers(&image).await;
    assert_eq!(fs::read_to_string(layers[0].join("bin/app")).expect("read"), "program");
    assert_eq!(fs::read_to_string(layers[1].join("etc/conf")).expect("read"), "x=1");

    let by_digest = registry.reference(&format!("team/app@{}", image.digest));
    assert_eq!(store.pull(&by_digest).await.expect("pulled").names, [reference.as_str()]);
    registry.forget_blobs(&pushed);
    assert_eq!(store.pull(&reference).await.expect("nothing has to be fetched twice").digest, image.digest);
}

#[tokio::test]
async fn this_machines_image_is_chosen_from_an_index() {
    let registry = Registry::start();
    let ours = registry.push("app:ours", &[&[("app", "ours")]]).await;
    let theirs = registry.push("app:theirs", &[&[("app", "theirs")]]).await;
    let entry = |pushed: &Pushed, architecture: &str| ImageIndexEntry {
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest: pushed.digest.clone(),
        size: pushed.size as i64,
        artifact_type: None,
        annotations: None,
        platform: Some(OciPlatform {
            architecture: architecture.into(),
            os: "linux".into(),
            os_version: None,
            os_features: None,
            variant: None,
            features: None,
        }),
    };
    let here = Platform::here().architecture;
    let index = |manifests| OciImageIndex {
        schema_version: 2,
        media_type: Some("application/vnd.oci.image.index.v1+json".into()),
        manifests,
        artifact_type: None,
        annotations: None,
    };
    let both = index(vec![entry(&theirs, "s390x"), entry(&ours, &here)]);
    registry.push_manifest("app:both", OciManifest::ImageIndex(both)).await;
    let store = Store::new();
    let image = store.pull(&registry.reference("app:both")).await.expect("pulled");
    assert_eq!(image.digest.to_string(), ours.digest);

    let alien = index(vec![entry(&theirs, "s390x")]);
    registry.push_manifest("app:alien", OciManifest::ImageIndex(alien)).await;
    let refused = store.pull(&registry.reference("app:alien")).await;
    let Err(ImageError::NoPlatform { wanted, offered }) = refused else { panic!("{refused:?}") };
    assert_eq!((wanted, offered[0].to_string().as_str()), (Platform::here(), "linux/s390x"));
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_before_its_layers_come() {
    let registry = Registry::start();
    let pushed = registry.push_for("s390x", "app:1", &[&[("app", "1")]]).await;
    let store = Store::new();
    let refused = store.pull(&registry.reference("app:1")).await;
    assert!(matches!(refused, Err(ImageError::NoPlatform { .. })), "{refused:?}");
    assert!(pushed.layers.iter().all(|layer| !store.images.has(&layer.parse().expect("a digest"))));
}

#[tokio::test]
async fn what_a_registry_does_not_have_is_unknown() {
    let registry = Registry::start();
    registry.push("app:1", &[&[("app", "1")]]).await;
    let store = Store::new();
    let absent = Digest::of(b"absent");
    for reference in ["app:2", "nothing:1", &format!("app@{absent}")] {
        let reference = registry.reference(reference);
        let unknown = store.pull(&reference).await;
        assert!(matches!(unknown, Err(ImageError::UnknownImage { .. })), "{reference}: {unknown:?}");
    }
    assert!(matches!(store.pull("Not A Reference").await, Err(ImageError::BadReference { .. })));
}

#[tokio::test]
async fn a_registry_that_is_down_is_unreachable() {
    let mut registry = Registry::start();
    let reference = registry.reference("app:1");
    registry.stop();
    let unreachable = Store::new().pull(&reference).await;
    assert!(matches!(unreachable, Err(ImageError::Unreachable { .. })), "{unreachable:?}");
}

#[tokio::test]
async fn a_login_is_asked_for_and_given() {
    let registry = Registry::with_login();
    registry.push("app:1", &[&[("app", "1")]]).await;
    let store = Store::new();
    let reference = registry.reference("app:1");
    assert!(matches!(store.pull(&reference).await, Err(ImageError::Denied { .. })));
    let auth = |password: &str| Auth::Basic { user: registry::USER.into(), password: password.into() };
    let cancel = CancellationToken::new();
    let wrong = store.images.pull(&reference, auth("wrong"), &|_| {}, &cancel).await;
    assert!(matches!(wrong, Err(ImageError::Denied { .. })), "{wrong:?}");
    store.images.pull(&reference, auth(registry::PASSWORD), &|_| {}, &cancel).await.expect("pulled");
    assert!(!format!("{:?}", auth(registry::PASSWORD)).contains(registry::PASSWORD));
}

#[tokio::test]
async fn altered_and_truncated_blobs_are_refused() {
    let registry = Registry::start();
    let pushed = registry.push("app:1", &[&[("app", &"program ".repeat(100_000))]]).await;
    let layer: Digest = pushed.layers[0].parse().expect("a digest");
    let whole = registry.read_blob(&pushed.layers[0]);

    let store = Store::new();
    registry.write_blob(&pushed.layers[0], &whole[..whole.len() / 2]);
    let truncated = store.pull(&registry.reference("app:1")).await;
    let half = whole.len() as u64 / 2;
    assert!(
        matches!(truncated, Err(ImageError::SizeMismatch { found, .. }) if found == half),
        "{truncated:?}"
    );
    // What came stays, and only the rest is fetched when the registry is well again.
    registry.write_blob(&pushed.layers[0], &whole);
    assert_eq!(
        store.images.receive(&layer, whole.len() as u64).expect("received").expect("new").offset(),
        half
    );
    store.pull(&registry.reference("app:1")).await.expect("resumed");

    let store = Store::new();
    let mut altered = whole.clone();
    altered[half as usize] ^= 1;
    registry.write_blob(&pushed.layers[0], &altered);
    let refused = store.pull(&registry.reference("app:1")).await;
    assert!(
        matches!(refused, Err(ImageError::DigestMismatch { expected, .. }) if expected == layer),
        "{refused:?}"
    );
    registry.write_blob(&pushed.layers[0], &[&whole[..], b"more"].concat());
    let longer = store.pull(&registry.reference("app:1")).await;
    assert!(matches!(longer, Err(ImageError::SizeMismatch { .. })), "{longer:?}");
    assert!(store.images.list().is_empty() && !store.images.has(&layer));
}

#[tokio::test]
async fn a_cancelled_pull_stops() {
    let registry = Registry::start();
    registry.push("app:1", &[&[("app", "1")]]).await;
    let store = Store::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let cancelled = store.images.pull(&registry.reference("app:1"), Auth::Anonymous, &|_| {}, &cancel).await;
    assert!(matches!(cancelled, Err(ImageError::Cancelled)));
    let image = store.build("app", &[("app", "1")]).await;
    let cancelled = store.images.prepare(&image.digest, &|_| {}, &cancel).await;
    assert!(matches!(cancelled, Err(ImageError::Cancelled)));
}
