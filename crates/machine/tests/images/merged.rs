//! A merged /usr, and layers above it that know nothing of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sublet_machine::image::{Digest, Image, Images};

use crate::tarball::Layer;
use crate::{Store, stack};

fn base() -> Vec<u8> {
    Layer::new()
        .dir("usr/bin")
        .dir("usr/lib")
        .file("usr/bin/sh", "shell")
        .file("usr/lib/libc", "library")
        .link("bin", "usr/bin")
        .link("lib", "/usr/lib")
        .link("opt", "usr/opt")
        .bytes()
}

async fn image(store: &Store, layers: &[&[u8]]) -> Image {
    let layers: Vec<(&[u8], Digest)> = layers.iter().map(|bytes| (*bytes, Digest::of(bytes))).collect();
    stack::adopt(&store.images, &layers).await.expect("adopted")
}

fn read(layer: &Path, path: &str) -> Option<String> {
    fs::read_to_string(layer.join(path)).ok()
}

#[tokio::test]
async fn what_a_layer_has_beside_a_merged_usr_is_put_into_it() {
    let store = Store::new();
    // Of one directory there is an entry, of the other there is none; some of it replaces, some is taken away.
    let above = Layer::new()
        .dir("bin")
        .file("bin/sh", "another shell")
        .file("lib/x", "more")
        .file("lib/.wh.libc", "")
        .hard("bin/same", "lib/x")
        .file("usr/lib/y", "in its place")
        .file("opt/x", "no part of a merged /usr")
        .bytes();
    let top = Layer::new().file("sbin/x", "there is no link for it").file("bin/z", "at the top");
    let merged = image(&store, &[&base(), &above, &top.bytes()]).await;
    let layers = store.layers(&merged).await;
    let [_, middle, top] = &layers[..] else { panic!("{layers:?}") };
    assert_eq!(fs::read_link(middle.join("bin")).expect("a link"), Path::new("usr/bin"));
    assert_eq!(read(middle, "usr/bin/sh").as_deref(), Some("another shell"));
    assert_eq!(read(middle, "usr/bin/same").as_deref(), Some("more"));
    assert_eq!(read(middle, "usr/lib/y").as_deref(), Some("in its place"));
    assert!(fs::symlink_metadata(middle.join("usr/lib/libc")).is_ok(), "it hides the one below");
    assert!(middle.join("opt").is_dir(), "as in every other engine");
    assert_eq!(read(top, "usr/bin/z").as_deref(), Some("at the top"));
    assert!(fs::symlink_metadata(top.join("sbin")).expect("there").is_dir());

    // The same layer alone is what it is, and both forms go with the last image that has it.
    let alone = image(&store, &[&above]).await;
    let [plain] = &store.layers(&alone).await[..] else { panic!("one layer") };
    assert!(plain != middle && fs::symlink_metadata(plain.join("bin")).expect("there").is_dir());
    let room = store.images.room().expect("room");
    assert!(room.unfinished == 0 && room.own[&merged.digest] > 0, "{room:?}");
    let again = Images::open(store.images.root().to_path_buf()).expect("opened again");
    assert_eq!(store.layers(&merged).await, layers, "nothing of it was swept away");
    drop(again);
    store.images.remove(&merged.digest).expect("removed");
    assert!(plain.is_dir() && middle.is_dir(), "the other image has this layer");
    store.images.remove(&alone.digest).expect("removed");
    assert_eq!(store.count("layers"), 0);
}

#[tokio::test]
async fn who_takes_a_link_away_means_it() {
    let store = Store::new();
    for (what, above) in [
        ("a whiteout before it", Layer::new().file(".wh.bin", "").file("bin/x", "new")),
        ("an opaque directory", Layer::new().file("bin/.wh..wh..opq", "").file("bin/x", "new")),
    ] {
        let image = image(&store, &[&base(), &above.bytes()]).await;
        let layers = store.layers(&image).await;
        assert!(fs::symlink_metadata(layers[1].join("bin")).expect("there").is_dir(), "{what}");
    }
    // And a link that leads elsewhere is no merged /usr.
    let elsewhere = Layer::new().link("bin", "opt/bin");
    let above = Layer::new().file("bin/x", "new");
    let image = image(&store, &[&elsewhere.bytes(), &above.bytes()]).await;
    let names: BTreeSet<_> = store.layers(&image).await.into_iter().collect();
    assert!(names.iter().all(|path| path.extension().is_none()), "{names:?}");
}
