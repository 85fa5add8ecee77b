//! The image store against the real world: Debian's `docker-registry`, archives by `skopeo`, folders, a full disk.

mod registry;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, ImageIndexEntry, OciImageIndex, OciManifest, Platform as OciPlatform,
};
use registry::{Pushed, Registry};
use sublet_machine::image::{
    Auth, BuildSpec, Digest, Image, ImageError, Images, PartKind, Platform, Progress, Stage, Trick,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A node's store in a directory of its own.
struct Store {
    images: Images,
    directory: TempDir,
}

impl Store {
    fn new() -> Store {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let images = Images::open(directory.path().join("images")).expect("the store opens");
        Store { images, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A folder with these files in it.
    fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        for (path, content) in files {
            let path = self.path(name).join(path);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        self.path(name)
    }

    async fn build(&self, name: &str, files: &[(&str, &str)]) -> Image {
        let dir = self.folder(name, files);
        let spec = BuildSpec { dir, name: Some(name.to_owned()), ..BuildSpec::default() };
        self.images.build(spec).await.expect("the folder becomes an image")
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        self.images.pull(reference, Auth::Anonymous, &|_| {}, &CancellationToken::new()).await
    }

    async fn layers(&self, image: &Image) -> Vec<PathBuf> {
        let prepared = self.images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await;
        prepared.expect("it can be prepared").layers
    }

    /// Entries of a directory of the store, by which one sees what is left behind.
    fn count(&self, directory: &str) -> usize {
        fs::read_dir(self.images.root().join(directory)).expect("listed").count()
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): apt-get install {program}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

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
    };
    let image = store.images.build(spec).await.expect("built");
    assert_eq!(image.platform, Platform::here());

    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().expect("seen").push(progress);
    let prepared = store.images.prepare(&image.digest, &watch, &CancellationToken::new()).await.expect("prepared");
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
    for text in ["app", "app:latest", "docker.io/library/app", &hex, &hex[..6], &format!("sha256:{}", &hex[..9]), &format!("x@sha256:{hex}")] {
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
    assert!(ambiguous.into_iter().any(|found| matches!(found, Err(ImageError::Ambiguous { count, .. }) if count > 1)));
}

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
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            if let Some(mut writer) = store.images.receive(&digest, bytes.len() as u64).expect("received") {
                writer.write(bytes).expect("written");
                writer.finish().expect("verified");
            }
            (digest, bytes.len())
        };
        let (layer, layer_size) = put(bytes);
        let platform = Platform::here();
        let config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os,
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let (config, config_size) = put(config.to_string().as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": { "mediaType": IMAGE_CONFIG_MEDIA_TYPE, "digest": config, "size": config_size },
            "layers": [{ "mediaType": IMAGE_LAYER_GZIP_MEDIA_TYPE, "digest": layer, "size": layer_size }],
        });
        let (manifest, _) = put(manifest.to_string().as_bytes());
        let image = store.images.adopt(&manifest, None).await.expect("adopted");
        store.images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await
    };
    let mut blob = Vec::new();
    let (mut file, _) = store.images.open_blob(&layer.digest).expect("opened");
    std::io::Read::read_to_end(&mut file, &mut blob).expect("read");
    let other = Digest::of(b"something else");
    let lied = adopt(&blob, other).await;
    assert!(matches!(lied, Err(ImageError::DigestMismatch { expected, .. }) if expected == other), "{lied:?}");

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
    run("skopeo", &["copy", "-q", "--src-tls-verify=false", &remote, &format!("docker-archive:{}:app:1", at("docker.tar"))]);
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
    fs::write(store.path("text.tar"), "not a tar at all, but long enough to be looked at ".repeat(20)).expect("written");
    assert!(matches!(import("text.tar").await, Err(ImageError::Malformed { .. })));

    // A manifest of `docker save` that would like to have a file of ours.
    let manifest = r#"[{"Config":"../../../../../../etc/hostname","RepoTags":null,"Layers":["/etc/passwd"]}]"#;
    store.folder("thief", &[("manifest.json", manifest)]);
    assert!(matches!(import("thief").await, Err(ImageError::Io { .. })));
    symlink("/etc/hostname", store.path("thief/index.json")).expect("linked");
    assert!(matches!(import("thief").await, Err(ImageError::Io { .. })));

    // A layout whose blob was altered.
    store.build("app", &[("app", "1")]).await;
    run("skopeo", &["copy", "-q", &format!("oci:{}:app:latest", store.images.root().display()), &format!("oci:{}:a", store.path("bad").display())]);
    let largest = fs::read_dir(store.path("bad/blobs/sha256")).expect("listed").map(|e| e.expect("listed").path());
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

#[tokio::test]
async fn what_is_pushed_is_what_is_pulled() {
    let registry = Registry::start();
    let pushed = registry.push("team/app:1", &[&[("bin/app", "program")], &[("etc/conf", "x=1")]]).await;
    let store = Store::new();
    let seen = Mutex::new(Vec::new());
    let watch = |progress: Progress| seen.lock().expect("seen").push(progress);
    let reference = registry.reference("team/app:1");
    let image = store.images.pull(&reference, Auth::Anonymous, &watch, &CancellationToken::new()).await.expect("pulled");
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
    assert!(matches!(truncated, Err(ImageError::SizeMismatch { found, .. }) if found == half), "{truncated:?}");
    // What came stays, and only the rest is fetched when the registry is well again.
    registry.write_blob(&pushed.layers[0], &whole);
    assert_eq!(store.images.receive(&layer, whole.len() as u64).expect("received").expect("new").offset(), half);
    store.pull(&registry.reference("app:1")).await.expect("resumed");

    let store = Store::new();
    let mut altered = whole.clone();
    altered[half as usize] ^= 1;
    registry.write_blob(&pushed.layers[0], &altered);
    let refused = store.pull(&registry.reference("app:1")).await;
    assert!(matches!(refused, Err(ImageError::DigestMismatch { expected, .. }) if expected == layer), "{refused:?}");
    registry.write_blob(&pushed.layers[0], &[&whole[..], b"more"].concat());
    let longer = store.pull(&registry.reference("app:1")).await;
    assert!(matches!(longer, Err(ImageError::SizeMismatch { .. })), "{longer:?}");
    assert!(store.images.list().is_empty() && !store.images.has(&layer));
}

#[tokio::test]
async fn a_manifest_that_is_not_its_digest_is_refused() {
    let registry = Registry::start();
    let pushed = registry.push("app:1", &[&[("app", "1")]]).await;
    let mut bytes = registry.read_blob(&pushed.digest);
    bytes.push(b' ');
    registry.write_blob(&pushed.digest, &bytes);
    let refused = Store::new().pull(&registry.reference(&format!("app@{}", pushed.digest))).await;
    // The registry itself may notice first: then it answers with a fault of its own.
    assert!(
        matches!(refused, Err(ImageError::DigestMismatch { .. } | ImageError::Registry { status: 500.., .. })),
        "{refused:?}"
    );
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

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_broken() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a small disk can only be mounted as root");
        return;
    }
    let disk = SmallDisk::mount("4m");
    let registry = Registry::start();
    let noise: String = (0..2_000_000_u64).map(|n| char::from(b'a' + (n.wrapping_mul(n) % 25 + n / 7 % 2) as u8)).collect();
    let pushed = registry.push_plain("big:1", &[("noise", &noise.repeat(3))]).await;
    let images = Images::open(disk.0.path().join("images")).expect("opened");
    let full = images.pull(&registry.reference("big:1"), Auth::Anonymous, &|_| {}, &CancellationToken::new()).await;
    let Err(ImageError::Full { needed, free, .. }) = full else { panic!("{full:?}") };
    assert!(needed > free && needed == pushed.layer_sizes[0], "{needed} {free}");

    // Small as it travels, too large as it unfolds.
    let bomb = registry.push("bomb:1", &[&[("zeros", &"0".repeat(16 << 20))]]).await;
    let image = images.pull(&registry.reference("bomb:1"), Auth::Anonymous, &|_| {}, &CancellationToken::new()).await;
    let image = image.expect("it fits as it travels");
    assert_eq!(image.digest.to_string(), bomb.digest);
    let full = images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await;
    assert!(matches!(full, Err(ImageError::Full { .. })), "{full:?}");
    assert_eq!(fs::read_dir(images.root().join("staging")).expect("listed").count(), 0, "the room is given back");

    // The disk is usable again at once.
    let dir = disk.0.path().join("folder");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("f"), "small").expect("written");
    let built = images.build(BuildSpec { dir, ..BuildSpec::default() }).await.expect("built");
    images.prepare(&built.digest, &|_| {}, &CancellationToken::new()).await.expect("prepared");
}

/// A file system of a few megabytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> SmallDisk {
        let directory = tempfile::tempdir().expect("a directory for the test");
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "none", &directory.path().display().to_string()]);
        SmallDisk(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[&self.0.path().display().to_string()]);
    }
}

#[tokio::test]
async fn layers_stack_as_overlayfs_reads_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: an overlay can only be mounted as root");
        return;
    }
    let registry = Registry::start();
    let lower: &[(&str, &str)] = &[("etc/gone", "1"), ("etc/kept", "1"), ("opt/a/old", "1"), ("usr/x", "1")];
    let upper: &[(&str, &str)] = &[("etc/.wh.gone", ""), ("opt/a/.wh..wh..opq", ""), ("opt/a/new", "2"), (".wh.usr", "")];
    registry.push("app:1", &[lower, upper]).await;
    let store = Store::new();
    let image = store.pull(&registry.reference("app:1")).await.expect("pulled");
    let layers = store.layers(&image).await;
    assert!(fs::symlink_metadata(layers[1].join("usr")).expect("there").file_type().is_char_device());

    let merged = store.path("merged");
    fs::create_dir(&merged).expect("made");
    let options = format!("userxattr,lowerdir={}:{}", layers[1].display(), layers[0].display());
    let at = merged.display().to_string();
    run("mount", &["-t", "overlay", "-o", &options, "overlay", &at]);
    let names = |path: &str| -> Vec<String> {
        let names = fs::read_dir(merged.join(path)).expect("listed");
        let mut names: Vec<String> = names.map(|e| e.expect("listed").file_name().display().to_string()).collect();
        names.sort();
        names
    };
    let seen = (names(""), names("etc"), names("opt/a"));
    run("umount", &[&at]);
    let expect = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(seen, (expect(&["etc", "opt"]), expect(&["kept"]), expect(&["new"])));
}

/// A gzip archive of these files.
fn gzip(files: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let plain = archive(files);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).expect("written to memory");
    (encoder.finish().expect("written to memory"), plain)
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, Path::new(path), content.as_bytes()).expect("written to memory");
    }
    archive.into_inner().expect("written to memory")
}
