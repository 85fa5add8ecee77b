//! A new version goes out in stages: who signs it, whose turn it is, and what is fetched, with a node and without one.

use crate::house::{House, Node, Said};
use api::node::model::document::{Channel, Package, PackageKind, Release, Stage, Version};
use api::node::model::{Key, ObjectId, Span, Timestamp};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the package holds, and its SHA-256.
const BYTES: &[u8] = b"a package";
const SHA256: &str = "c0cd5ccfdb563a59366e33e73001b78fdb8cca5a6c48e2f90fffcde44b81f1f6";

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// Of these tests only.
fn makers() -> Key {
    Key::from_seed([9; 32])
}

fn release(cursor: u16) -> Release {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Release {
        version: Version { major: 9, minor: 0, patch: 0 },
        channel: Channel::Stable,
        minimum: Version { major: 0, minor: 0, patch: 0 },
        packages: vec![Package {
            name: "sublet-desktop".into(),
            kind: PackageKind::AppImage,
            arch: arch.into(),
            url: "https://example.org/sublet.AppImage".into(),
            size: BYTES.len() as u64,
            sha256: SHA256.parse::<ObjectId>().unwrap(),
        }],
        rollout: vec![Stage { at: now() - Span::hours(1), cursor }],
        issued: now() - Span::minutes(1),
        expires: now() + Span::days(1),
    }
}

fn write(place: &Path, name: &str, release: &Release) -> String {
    let path = place.join(name);
    fs::write(&path, makers().sign(release).unwrap().bytes()).unwrap();
    path.display().to_string()
}

fn update(node: &Node, arguments: &[&str]) -> Said {
    let key = makers().id().to_string();
    let all = [&["update"], arguments, &["--kind", "appimage", "--trust", &key]].concat();
    node.sublet(&all)
}

fn says(said: &Said, code: i32, words: &[&str]) {
    let all = words.iter().all(|word| said.out.contains(word));
    assert!(said.code == Some(code) && all, "{:?}, {}{}", said.code, said.out, said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_taken_when_its_turn_has_come_and_from_its_makers_only() {
    let place = House::empty();
    let place = place.path();
    let mut node = Node::new(place, "updated");
    let open = write(place, "open", &release(10_000));
    update(&node, &["check", &open]).is_refusal(1, &["no node", "sublet host"]);

    node.start().await;
    node.sublet(&["update", "check", &open]).is_refusal(1, &["updates are off", "--trust"]);
    let stranger = Key::from_seed([8; 32]).id().to_string();
    let strange = ["update", "check", &open, "--kind", "appimage", "--trust", &stranger];
    node.sublet(&strange).is_refusal(1, &["signed by", "not a key"]);
    let mut altered = fs::read(&open).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(place.join("altered"), altered).unwrap();
    let altered = place.join("altered").display().to_string();
    update(&node, &["check", &altered]).is_refusal(1, &["no valid release"]);
    update(&node, &["check", "http://example.org/release"]).is_refusal(2, &["https://"]);

    let closed = write(place, "closed", &release(0));
    says(&update(&node, &["check", &closed]), 1, &["wait", "has not come"]);
    says(&update(&node, &["fetch", &closed]), 1, &["wait", "has not come"]);
    let older = Release { version: Version { major: 0, minor: 0, patch: 1 }, ..release(10_000) };
    let older = write(place, "older", &older);
    let other = Node::new(place, "other");
    // A node that knows nothing newer is offered something older than it runs.
    fs::create_dir_all(other.data.join("keys")).unwrap();
    fs::copy(node.data.join("keys/certificate"), other.data.join("keys/certificate")).unwrap();
    says(&update(&other, &["check", &older, "--early"]), 1, &["nothing", "never goes back"]);

    let folder = place.join("mirror");
    fs::create_dir(&folder).unwrap();
    let name = format!("sublet-desktop_{}.AppImage", release(0).packages[0].arch);
    let mirror = folder.display().to_string();
    fs::write(folder.join(&name), b"b package").unwrap();
    let early = ["fetch", &closed, "--early", "--from", &mirror];
    update(&node, &early).is_refusal(1, &["not what was signed", "hint:"]);
    let staged = node.data.join("updates").join(&name);
    assert!(!staged.exists());
    fs::write(folder.join(&name), BYTES).unwrap();

    // Whose turn it is does not depend on whether the node runs.
    node.kill();
    says(&update(&node, &early), 0, &["install: install -m 755", &staged.display().to_string()]);
    assert_eq!(fs::read(&staged).unwrap(), BYTES);
    fs::write(&staged, b"c package").unwrap();
    says(&update(&node, &["check", &closed, "--early"]), 0, &["fetch: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_was_stopped_stays_stopped() {
    let place = House::empty();
    let place = place.path();
    let mut node = Node::new(place, "updated");
    node.start().await;
    let open = release(10_000);
    let stopped = Release { issued: open.issued + Span::seconds(1), ..release(0) };
    let (open, stopped) = (write(place, "open", &open), write(place, "stopped", &stopped));
    says(&update(&node, &["check", &open]), 0, &["fetch: "]);
    says(&update(&node, &["check", &stopped]), 1, &["wait"]);
    says(&update(&node, &["check", &open]), 1, &["wait"]);
}
