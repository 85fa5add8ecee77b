//! Whole systems as guests: one with a merged /usr, and layers above it that know nothing of it; and Debian itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use sublet_machine::guest::GuestSpec;
use sublet_machine::image::{BuildSpec, Digest, Image, Images};
use tokio_util::sync::CancellationToken;

use crate::house::{House, needed_by};
use crate::layer::Layer;
use crate::stack;

crate::truths![a_layer_beside_a_merged_usr_leaves_the_guest_its_loader];

/// Fetches a whole Debian: a minute or two, and only where it is asked for.
pub fn slow() -> Trial {
    Trial::test("debian_runs_as_a_guest", || {
        let made = debootstrap()?;
        crate::run_within(Duration::from_secs(300), |house| debian(house, made.path().into()))
    })
    .with_ignored_flag(true)
}

/// A guest of this image.
async fn spec_of(house: &House, images: &Images, image: &Image, script: &str) -> GuestSpec {
    let prepared = images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await;
    GuestSpec { layers: prepared.expect("it can be prepared").layers, ..house.spec(script) }
}

async fn output(house: &mut House, spec: GuestSpec) -> (String, i32) {
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    (printed, house.exit_code(spec.id).await)
}

async fn a_layer_beside_a_merged_usr_leaves_the_guest_its_loader(mut house: House) {
    let images = Images::open(house.place("images")).expect("the store opens");
    let system = house.place("system");
    // A shell that needs a loader and a library, each by the path that is a link here.
    for file in needed_by("/bin/dash") {
        let copy =
            system.join("usr").join(file.strip_prefix("/usr").or(file.strip_prefix("/")).expect("absolute"));
        fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
        fs::copy(&file, &copy).expect("a copy");
    }
    fs::rename(system.join("usr/bin/dash"), system.join("usr/bin/sh")).expect("renamed");
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(system.join("usr").join(name)).expect("a directory");
        symlink(Path::new("usr").join(name), system.join(name)).expect("a link");
    }
    let base = images.build(BuildSpec { dir: system, ..BuildSpec::default() }).await.expect("built");
    let alone = spec_of(&house, &images, &base, "echo base").await;
    assert_eq!(output(&mut house, alone).await, ("base\n".into(), 0));

    // As a tool writes it that does not look at the base: directories where the base has links.
    let above = Layer::new()
        .dir("bin")
        .entry(
            tar::EntryType::Regular,
            b"bin/hello",
            b"",
            0o755,
            b"#!/bin/sh\nread -r words < /lib/words; echo \"$words\"\n",
        )
        .dir("lib")
        .file("lib/words", "from both sides\n")
        .file("lib64/unused", "")
        .bytes();
    let mut layers: Vec<(Vec<u8>, Digest)> = vec![];
    for part in images.parts(&base.digest).expect("parts") {
        if part.kind == sublet_machine::image::PartKind::Layer {
            let blob = fs::read(images.root().join("blobs/sha256").join(part.digest.hex())).expect("a blob");
            let plain = zstd::decode_all(blob.as_slice()).expect("our own layers are zstd");
            layers.push((blob, Digest::of(&plain)));
        }
    }
    layers.push((above.clone(), Digest::of(&above)));
    let layers: Vec<(&[u8], Digest)> = layers.iter().map(|(bytes, diff_id)| (&bytes[..], *diff_id)).collect();
    let image = stack::adopt(&images, &layers).await.expect("adopted");
    let spec =
        spec_of(&house, &images, &image, "hello && read -r words < /usr/lib/words && echo \"$words\"").await;
    assert_eq!(output(&mut house, spec).await, ("from both sides\nfrom both sides\n".into(), 0));
}

/// A Debian in a folder, as Debian's own tool makes it.
fn debootstrap() -> Result<tempfile::TempDir, Failed> {
    let made = tempfile::tempdir()?;
    let run = Command::new("debootstrap").args(["--variant=minbase", "stable"]).arg(made.path()).output()?;
    match run.status.success() {
        true => Ok(made),
        false => Err(format!("debootstrap: {}", String::from_utf8_lossy(&run.stdout)).into()),
    }
}

async fn debian(mut house: House, folder: PathBuf) {
    let images = Images::open(house.place("images")).expect("the store opens");
    let built = std::time::Instant::now();
    let image = images.build(BuildSpec { dir: folder, ..BuildSpec::default() }).await.expect("built");
    let building = built.elapsed();
    let unpacked = std::time::Instant::now();
    let mut spec = spec_of(&house, &images, &image, SCRIPT).await;
    let unpacking = unpacked.elapsed();
    (spec.limits.memory, spec.limits.disk, spec.limits.inodes) = (256 << 20, 128 << 20, 8 << 10);
    let started = std::time::Instant::now();
    let (printed, code) = output(&mut house, spec.clone()).await;
    eprintln!(
        "{} MB compressed; made in {building:?}, unpacked in {unpacking:?}, ran for {:?}",
        image.size / 1_000_000,
        started.elapsed()
    );
    assert_eq!(code, 0, "{printed}");
    for words in
        ["apt ", "PRETTY_NAME=\"Debian", "merged usr/bin", "dpkg is whole", "perl 42", "anna", "installed 7"]
    {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    // Nobody in particular, who has nothing in it.
    let mut spec = spec_of(
        &house,
        &images,
        &image,
        "id -un; apt --version; touch /etc/x; echo mine > /tmp/x; cat /tmp/x",
    )
    .await;
    (spec.user, spec.limits.memory) = ("www-data".into(), 128 << 20);
    let (printed, _) = output(&mut house, spec).await;
    for words in ["www-data\n", "apt ", "Permission denied", "mine"] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
}

/// Things that a small system hardly does: a merged /usr, a package database, users, and a package that is put in.
const SCRIPT: &str = r#"set -e
apt --version
cat /etc/os-release
echo merged $(readlink /bin)
dpkg --audit && dpkg --verify coreutils && echo dpkg is whole
perl -e 'print "perl ", 6 * 7, "\n"'
mkdir -p /tmp/p/DEBIAN /tmp/p/bin
printf 'Package: seven\nVersion: 7\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: seven\n' > /tmp/p/DEBIAN/control
printf '#!/bin/sh\necho installed 7\n' > /tmp/p/bin/seven
chmod 755 /tmp/p/bin/seven
dpkg-deb --build /tmp/p /tmp/seven.deb
dpkg -i /tmp/seven.deb
useradd -m anna
su anna -c 'id -un; seven'
"#;
