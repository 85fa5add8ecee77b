//! A disk that is full, and layers that the kernel itself stacks.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use sublet_machine::image::{Auth, BuildSpec, ImageError, Images};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;
use crate::{Store, run};

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_broken() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a small disk can only be mounted as root");
        return;
    }
    let disk = SmallDisk::mount("4m");
    let registry = Registry::start();
    let noise: String =
        (0..2_000_000_u64).map(|n| char::from(b'a' + (n.wrapping_mul(n) % 25 + n / 7 % 2) as u8)).collect();
    let pushed = registry.push_plain("big:1", &[("noise", &noise.repeat(3))]).await;
    let images = Images::open(disk.0.path().join("images")).expect("opened");
    let full =
        images.pull(&registry.reference("big:1"), Auth::Anonymous, &|_| {}, &CancellationToken::new()).await;
    let Err(ImageError::Full { needed, free, .. }) = full else { panic!("{full:?}") };
    assert!(needed > free && needed == pushed.layer_sizes[0], "{needed} {free}");

    // Small as it travels, too large as it unfolds.
    let bomb = registry.push("bomb:1", &[&[("zeros", &"0".repeat(16 << 20))]]).await;
    let image =
        images.pull(&registry.reference("bomb:1"), Auth::Anonymous, &|_| {}, &CancellationToken::new()).await;
    let image = image.expect("it fits as it travels");
    assert_eq!(image.digest.to_string(), bomb.digest);
    let full = images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await;
    assert!(matches!(full, Err(ImageError::Full { .. })), "{full:?}");
    assert_eq!(
        fs::read_dir(images.root().join("staging")).expect("listed").count(),
        0,
        "the room is given back"
    );

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
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "none", &directory.path().display().to_string()],
        );
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
    let upper: &[(&str, &str)] =
        &[("etc/.wh.gone", ""), ("opt/a/.wh..wh..opq", ""), ("opt/a/new", "2"), (".wh.usr", "")];
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
        let mut names: Vec<String> =
            names.map(|e| e.expect("listed").file_name().display().to_string()).collect();
        names.sort();
        names
    };
    let seen = (names(""), names("etc"), names("opt/a"));
    run("umount", &[&at]);
    let expect = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(seen, (expect(&["etc", "opt"]), expect(&["kept"]), expect(&["new"])));
}
