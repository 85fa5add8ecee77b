//! Images that others bring: neighbours, archives, and some who lie.

use std::fs;
use std::os::unix::fs::symlink;

use sublet_machine::image::{Digest, ImageError, PartKind, Trick};
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;
use crate::{Store, run, stack};

#[tokio::test]
async fn a_neighbour_takes_an_image_over() {
    let (host, tenant) = (Store::new(), Store::new());
    let image = tenant.build("app", &[("app", &"program ".repeat(50_000))]).await;
    let parts = tenant.images.parts(&image.digest).expect("parts");
    assert_eq!(parts[0].kind, PartKind::Manifest);

    let early = host.images.adopt(&image.digest, None).await;
    assert!(matches!(early, Err(ImageError::Incomplete { missing, .. }) if missing == [image.digest]));
    for part in &parts {
        let (mut from, size) = tenant.images.open_blob(&part.digest).expect("opened");
        assert_eq!(size, part.size);
        let mut to = host.images.receive(&part.digest, size).expect("received").expect("new");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut from, &mut bytes).expect("read");
        let (first, second) = bytes.split_at(bytes.len() / 2);
        to.write(first).expect("written");
        drop(to); // the connection breaks, and the transfer is resumed
        let mut to = host.images.receive(&part.digest, size).expect("received").expect("unfinished");
        assert_eq!(to.offset(), first.len() as u64);
        to.write(second).expect("written");
        to.finish().expect("verified");
        if part.kind == PartKind::Manifest {
            assert_eq!(host.images.parts_named_by(&part.digest).expect("named"), parts[1..]);
            let missing: Vec<Digest> = parts[1..].iter().map(|part| part.digest).collect();
            let adopted = host.images.adopt(&image.digest, None).await;
            assert!(matches!(adopted, Err(ImageError::Incomplete { missing: m, .. }) if m == missing));
        }
    }
    let adopted = host.images.adopt(&image.digest, Some("from-tenant")).await.expect("adopted");
    assert_eq!((adopted.digest, adopted.size), (image.digest, image.size));
    assert_eq!(host.layers(&adopted).await.len(), 1);
}

#[tokio::test]
async fn a_lying_layer_is_not_prepared() {
    // Its diffID is that of something else, and its blob is what a hostile tenant would send.
    let store = Store::new();
    let image = store.build("app", &[("app", "1")]).await;
    let honest = store.images.inspect(&image.digest).expect("there");
    let layer = honest.parts.iter().find(|part| part.kind == PartKind::Layer).expect("a layer");
    let adopt = async |bytes: &[u8], diff_id: Digest| {
        let image = stack::adopt(&store.images, &[(bytes, diff_id)]).await.expect("adopted");
        store.images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await
    };
    let mut blob = Vec::new();
    let (mut file, _) = store.images.open_blob(&layer.digest).expect("opened");
    std::io::Read::read_to_end(&mut file, &mut blob).expect("read");
    let other = Digest::of(b"something else");
    let lied = adopt(&blob, other).await;
    assert!(
        matches!(lied, Err(ImageError::DigestMismatch { expected, .. }) if expected == other),
        "{lied:?}"
    );

    let mut climber = tar::Header::new_gnu();
    climber.as_old_mut().name[..9].copy_from_slice(b"../escape");
    climber.set_mode(0o644);
    climber.set_size(0);
    climber.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&climber, std::io::empty()).expect("written to memory");
    let archive = archive.into_inner().expect("written to memory");
    let hostile = adopt(&archive, Digest::of(&archive)).await;
    assert!(matches!(hostile, Err(ImageError::Hostile { trick: Trick::Climbs, .. })), "{hostile:?}");
    let garbage = adopt(b"\x1f\x8b garbage", other).await;
    assert!(matches!(garbage, Err(ImageError::Malformed { .. })), "{garbage:?}");
    assert_eq!((store.count("layers"), store.count("staging")), (0, 0), "nothing is left");
}

#[tokio::test]
async fn archives_of_all_kinds_are_taken() {
    let store = Store::new();
    let image = store.build("app:1", &[("bin/app", "program")]).await;
    let layout = format!("oci:{}:app:1", store.images.root().display());
    let at = |name: &str| store.path(name).display().to_string();
    run("skopeo", &["copy", "-q", &layout, &format!("oci:{}:app:1", at("layout"))]);
    run("skopeo", &["copy", "-q", &layout, &format!("oci-archive:{}:app:1", at("oci.tar"))]);
    // What `docker save` writes knows no zstd, so that this one takes the way over a registry.
    let registry = Registry::start();
    registry.push("app:1", &[&[("bin/app", "program")]]).await;
    let remote = format!("docker://{}", registry.reference("app:1"));
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            "--src-tls-verify=false",
            &remote,
            &format!("docker-archive:{}:app:1", at("docker.tar")),
        ],
    );
    run("gzip", &["-k", &at("oci.tar")]);

    for name in ["layout", "oci.tar", "oci.tar.gz", "docker.tar"] {
        let other = Store::new();
        let imported = other.images.import(&store.path(name), None).await.expect(name);
        assert_eq!(imported.names, ["app:1"], "{name}");
        let layers = other.layers(&imported).await;
        assert_eq!(fs::read_to_string(layers[0].join("bin/app")).expect("read"), "program", "{name}");
        if name != "docker.tar" {
            assert_eq!(imported.digest, image.digest, "{name}");
        }
        let renamed = other.images.import(&store.path(name), Some("mine")).await.expect(name);
        assert_eq!(renamed.names.last().expect("named"), "mine:latest");
        assert_eq!(other.count("staging"), 0);
    }
}

#[tokio::test]
async fn a_bad_archive_is_refused() {
    let store = Store::new();
    let import = |name: &str| {
        let path = store.path(name);
        async { store.images.import(&{ path }, None).await }
    };
    assert!(matches!(import("missing.tar").await, Err(ImageError::Io { .. })));
    store.folder("empty", &[("readme", "nothing here")]);
    assert!(matches!(import("empty").await, Err(ImageError::Unsupported { .. })));
    fs::write(store.path("text.tar"), "not a tar at all, but long enough to be looked at ".repeat(20))
        .expect("written");
    assert!(matches!(import("text.tar").await, Err(ImageError::Malformed { .. })));

    // A manifest of `docker save` that would like to have a file of ours.
    let manifest =
        r#"[{"Config":"../../../../../../etc/hostname","RepoTags":null,"Layers":["/etc/passwd"]}]"#;
    store.folder("thief", &[("manifest.json", manifest)]);
    assert!(matches!(import("thief").await, Err(ImageError::Io { .. })));
    symlink("/etc/hostname", store.path("thief/index.json")).expect("linked");
    assert!(matches!(import("thief").await, Err(ImageError::Io { .. })));

    // A layout whose blob was altered.
    store.build("app", &[("app", "1")]).await;
    run(
        "skopeo",
        &[
            "copy",
            "-q",
            &format!("oci:{}:app:latest", store.images.root().display()),
            &format!("oci:{}:a", store.path("bad").display()),
        ],
    );
    let largest =
        fs::read_dir(store.path("bad/blobs/sha256")).expect("listed").map(|e| e.expect("listed").path());
    for blob in largest {
        let mut bytes = fs::read(&blob).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(blob, bytes).expect("written");
    }
    let fresh = Store::new();
    let altered = fresh.images.import(&store.path("bad"), None).await;
    assert!(matches!(altered, Err(ImageError::DigestMismatch { .. })), "{altered:?}");
    assert!(fresh.images.list().is_empty());
}
