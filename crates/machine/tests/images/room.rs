//! Room for images: what goes when there is too little, and what never does. And pieces of them from a registry.

use std::collections::BTreeSet;

use sublet_machine::image::{Digest, ImageError, PieceList, Policy, Reach, RegistrySource, Serve};

use super::Store;
use super::registry::Registry;

/// An image without a name, as one that came under a lease is.
async fn came(store: &Store, other: &Store, name: &str) -> Digest {
    let noise: String = (0..100_000u32).map(|n| format!("{name}{}", n.wrapping_mul(2_654_435_761))).collect();
    let image = other.build(name, &[("data", &noise)]).await;
    let (bytes, _) = other.images.pieces(&image.digest).expect("a list");
    let list = PieceList::parse(&bytes).expect("a list");
    let assembly = store.images.assemble(list).expect("it begins");
    while let Some(piece) = assembly.take(0, |_| false) {
        let (part, offset) = assembly.place(piece).expect("a place");
        let blob = std::fs::read(other.images.root().join("blobs/sha256").join(part.hex())).expect("a blob");
        let from = offset as usize;
        assembly.put(piece, &blob[from..from + assembly.length(piece)]).expect("good");
    }
    assembly.follow(|| Ok(())).expect("whole");
    store.images.take_in(&image.digest, "somebody/s:1", false).await.expect("taken in");
    image.digest
}

#[tokio::test]
async fn the_least_recently_used_goes_first_and_names_and_leases_keep_what_they_need() {
    let (store, other) = (Store::new(), Store::new());
    let named = store.build("mine", &[("x", "y")]).await.digest;
    let mut images = Vec::new();
    for name in ["one", "two", "three"] {
        images.push(came(&store, &other, name).await);
    }
    let [one, two, three] = images[..] else { panic!("three") };
    let here = |store: &Store| store.images.list().iter().map(|image| image.digest).collect::<BTreeSet<_>>();
    let before = store.images.room().expect("room");
    assert_eq!(before.unfinished, 0);
    assert!(before.own[&one] > 100_000, "{before:?}");

    // A part of a transfer that nobody goes on with goes before any image.
    std::fs::write(store.images.root().join("incoming").join("ab".repeat(32)), vec![1; 500_000])
        .expect("written");
    let collected = store.images.collect(before.used, |_| false).expect("collected");
    assert!(collected.images.is_empty() && collected.freed >= 500_000, "{collected:?}");

    // One is needed; two was used before three.
    let collected = store.images.collect(before.used - 1, |digest| *digest == one).expect("collected");
    assert_eq!(collected.images.iter().map(|image| image.digest).collect::<Vec<_>>(), [two]);
    assert_eq!(here(&store), BTreeSet::from([named, one, three]));
    assert!(store.images.note(&two).came_as.is_empty(), "nothing is noted of what is gone");

    let collected = store.images.collect(0, |digest| *digest == one).expect("collected");
    assert_eq!(collected.images.len(), 1);
    assert_eq!(here(&store), BTreeSet::from([named, one]));
    assert_eq!(store.count("pieces"), 0);
}

#[tokio::test]
async fn a_fetch_that_the_owner_s_limit_has_no_room_for_is_refused_with_both_figures() {
    let (store, other) = (Store::new(), Store::new());
    let one = came(&store, &other, "one").await;
    let used = store.images.room().expect("room").used;
    let policy = Policy { limit: Some(used + 1_000), serve: Serve::Nobody, ..Policy::default() };
    store.images.set_policy(policy).expect("kept");
    store.images.make_room(500, |_| true).expect("it fits");
    let refused = store.images.make_room(2_000, |digest| *digest == one);
    assert!(matches!(refused, Err(ImageError::OverLimit { needed: 2_000, .. })), "{refused:?}");
    store.images.make_room(2_000, |_| false).expect("what nobody needs makes room");
    assert!(store.images.list().is_empty());
    // It is still so after a restart.
    let again = sublet_machine::image::Images::open(store.images.root().to_path_buf()).expect("opened");
    assert_eq!(again.policy(), policy);
}

#[tokio::test]
async fn a_registry_gives_any_bytes_of_a_part() {
    let registry = Registry::start();
    let pushed = registry.push("app:1", &[&[("a", "hello")]]).await;
    let whole = registry.read_blob(&pushed.layers[0]);
    let source = RegistrySource::new(&registry.reference("app:1"), Reach::Any).expect("a source");
    let layer: Digest = pushed.layers[0].parse().expect("a digest");
    for (offset, length) in [(0, whole.len()), (3, 5), (whole.len() - 2, 2)] {
        let bytes = source.bytes(&layer, false, offset as u64, length).await.expect("bytes");
        assert_eq!(bytes, whole[offset..offset + length]);
    }
    let manifest: Digest = pushed.digest.parse().expect("a digest");
    let bytes = source.bytes(&manifest, true, 0, pushed.size).await.expect("bytes");
    assert_eq!(Digest::of(&bytes), manifest);
    let public = RegistrySource::new(&registry.reference("app:1"), Reach::Public).map(|_| ());
    assert!(matches!(public, Err(ImageError::NotPublic { .. })), "{public:?}");
}
