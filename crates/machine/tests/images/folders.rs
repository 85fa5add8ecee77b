//! Folders that become images, and what becomes of images here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sublet_machine::image::{BuildSpec, Digest, ImageError, Images, Platform, Progress, Stage};
use tokio_util::sync::CancellationToken;

use crate::Store;

#[tokio::test]
async fn the_same_folder_makes_the_same_image() {
    let files = [("bin/app", "program"), ("etc/conf", "x=1")];
    let (one, other) = (Store::new(), Store::new());
    let first = one.build("app", &files).await;
    std::thread::sleep(Duration::from_millis(20));
    let second = other.build("app", &files).await;
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.names, ["app:latest"]);
    let changed = other.build("app", &[("etc/conf", "x=2")]).await;
    assert_ne!(changed.digest, first.digest);
    assert_eq!(other.images.resolve("app").expect("resolved").expect("there").digest, changed.digest);
    let old = other.images.resolve(&second.digest.to_string()).expect("resolved").expect("still there");
    assert!(old.names.is_empty(), "the name has moved on");
}

#[tokio::test]
async fn a_folder_becomes_what_a_guest_sees() {
    let store = Store::new();
    let dir = store.folder("app", &[("bin/app", "program"), ("data/x", "x")]);
    fs::set_permissions(dir.join("bin/app"), fs::Permissions::from_mode(0o4700)).expect("set");
    symlink("app", dir.join("bin/link")).expect("linked");
    let spec = BuildSpec {
        dir,
        name: Some("app:1".into()),
        entrypoint: Some(vec!["/bin/app".into()]),
        cmd: Some(vec!["--help".into()]),
        env: vec!["A=1".into(), "B=2".into()],
        cwd: Some("/data".into()),
        user: Some("1000:1000".into()),
        ports: vec![8080, 80],
        base: None,
        health: None,
        stop_signal: None,
    };
    let image = store.images.build(spec).await.expect("built");
    assert_eq!(image.platform, Platform::here());

    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().expect("seen").push(progress);
    let prepared =
        store.images.prepare(&image.digest, &watch, &CancellationToken::new()).await.expect("prepared");
    let [layer] = &prepared.layers[..] else { panic!("{:?}", prepared.layers) };
    assert_eq!(fs::read_to_string(layer.join("bin/link")).expect("read"), "program");
    let stat = fs::metadata(layer.join("bin/app")).expect("there");
    assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o755, 0));
    assert_eq!(prepared.config.entrypoint, ["/bin/app"]);
    assert_eq!(prepared.config.cmd, ["--help"]);
    assert_eq!(prepared.config.env, ["A=1", "B=2"]);
    assert_eq!((prepared.config.cwd.as_str(), prepared.config.user.as_str()), ("/data", "1000:1000"));
    assert_eq!(prepared.config.ports, [80, 8080]);
    let last = *seen.lock().expect("seen").last().expect("it was watched");
    assert_eq!((last.stage, last.done), (Stage::Unpacking, last.total));

    // The second time there is nothing to do, and a new process finds it all again.
    let inode = fs::metadata(layer).expect("there").ino();
    let again = Images::open(store.path("images")).expect("opened again");
    let prepared = again.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await.expect("prepared");
    assert_eq!(fs::metadata(&prepared.layers[0]).expect("there").ino(), inode);
    assert_eq!(again.list(), [image]);
}

#[tokio::test]
async fn a_base_is_built_upon() {
    let store = Store::new();
    let dir = store.folder("base", &[("usr/bin/sh", "shell")]);
    symlink("usr/bin", dir.join("bin")).expect("linked");
    let spec = BuildSpec {
        dir,
        env: vec!["A=1".into(), "B=1".into()],
        cmd: Some(vec!["sh".into()]),
        ports: vec![22],
        ..BuildSpec::default()
    };
    let base = store.images.build(spec).await.expect("built");
    let spec = BuildSpec {
        dir: store.folder("app", &[("bin/app", "program")]),
        base: Some(base.digest),
        entrypoint: Some(vec!["app".into()]),
        env: vec!["B=2".into()],
        ports: vec![80],
        ..BuildSpec::default()
    };
    let image = store.images.build(spec).await.expect("built");
    let layers = store.layers(&image).await;
    assert_eq!(layers.len(), 2);
    assert!(layers[1].join("usr/bin/app").is_file(), "the base's link `bin` is followed");
    assert!(!layers[1].join("bin").exists(), "the base's link `bin` would be hidden, and its shell with it");
    let config = store.images.inspect(&image.digest).expect("there").config;
    assert_eq!((config.entrypoint, config.cmd), (vec!["app".to_owned()], vec![]));
    assert_eq!((config.env, config.ports), (vec!["A=1".to_owned(), "B=2".to_owned()], vec![22, 80]));

    let missing = BuildSpec { dir: store.path("app"), base: Some(Digest::of(b"x")), ..BuildSpec::default() };
    assert!(matches!(store.images.build(missing).await, Err(ImageError::Incomplete { .. })));
}

#[tokio::test]
async fn what_cannot_be_in_an_image_is_refused() {
    let store = Store::new();
    let dir = store.folder("app", &[(".wh.secret", "")]);
    let build = |dir: PathBuf| store.images.build(BuildSpec { dir, ..BuildSpec::default() });
    assert!(matches!(build(dir.clone()).await, Err(ImageError::Unsupported { .. })));
    fs::remove_file(dir.join(".wh.secret")).expect("removed");
    let socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("bound");
    assert!(matches!(build(dir.clone()).await, Err(ImageError::Unsupported { .. })));
    drop(socket);
    assert!(matches!(build(store.path("nothing")).await, Err(ImageError::Io { .. })));
    assert_eq!((store.count("blobs/sha256"), store.count("staging")), (0, 0), "nothing is left");
}

#[tokio::test]
async fn an_image_goes_and_takes_only_its_own() {
    let store = Store::new();
    let base = store.build("base", &[("base", "1")]).await;
    let dir = store.folder("app", &[("app", "1")]);
    let spec = BuildSpec { dir, base: Some(base.digest), name: Some("app".into()), ..BuildSpec::default() };
    let app = store.images.build(spec).await.expect("built");
    let layers = store.layers(&app).await;
    let parts = store.images.parts(&app.digest).expect("parts");
    assert_eq!(parts.iter().map(|part| part.size).sum::<u64>(), app.size);

    assert!(store.images.remove(&base.digest).expect("removed"));
    assert!(parts.iter().all(|part| store.images.has(&part.digest)), "app still needs the base's layer");
    assert!(layers.iter().all(|layer| layer.is_dir()));
    assert!(store.images.resolve("base").expect("resolved").is_none());

    assert!(store.images.remove(&app.digest).expect("removed"));
    assert!(!store.images.remove(&app.digest).expect("nothing to remove"));
    for directory in ["blobs/sha256", "layers", "staging"] {
        assert_eq!(store.count(directory), 0, "{directory}");
    }
    assert!(store.images.list().is_empty());
}

#[tokio::test]
async fn images_are_found_by_name_and_digits() {
    let store = Store::new();
    let image = store.build("app", &[("app", "1")]).await;
    let hex = image.digest.hex();
    for text in [
        "app",
        "app:latest",
        "docker.io/library/app",
        &hex,
        &hex[..6],
        &format!("sha256:{}", &hex[..9]),
        &format!("x@sha256:{hex}"),
    ] {
        assert_eq!(store.images.resolve(text).expect(text).as_ref(), Some(&image), "{text}");
    }
    for text in ["app:2", "nothing", "", "sha256:", "ffffffffffff"] {
        assert_eq!(store.images.resolve(text).expect(text), None, "{text}");
    }
    // Of seventeen images two begin with the same digit.
    for n in 0..16 {
        store.build(&format!("app{n}"), &[("n", &n.to_string())]).await;
    }
    let ambiguous = (0..16).map(|digit| store.images.resolve(&format!("sha256:{digit:x}")));
    assert!(
        ambiguous
            .into_iter()
            .any(|found| matches!(found, Err(ImageError::Ambiguous { count, .. }) if count > 1))
    );
}
