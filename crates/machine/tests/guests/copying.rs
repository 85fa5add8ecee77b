//! Files copied into a guest that runs, and out of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read;
use std::path::{Path, PathBuf};

use sublet_machine::archive::{ArchiveError, Rules, pack, source, target, unpack};
use sublet_machine::guest::{CopySpec, ExecRefusal, GuestError, GuestId, Said, Tmpfs, why};
use tokio::time::timeout;

use crate::house::{House, PATIENCE};

crate::truths![
    what_is_copied_in_is_there_for_the_guest_and_comes_out_again,
    a_transfer_that_breaks_off_leaves_no_half_file,
    what_cannot_be_copied_says_why,
];

const MUCH: u64 = 1 << 30;

pub fn out(path: &str) -> CopySpec {
    CopySpec::Out { path: path.into(), follow: false, limit: MUCH }
}

pub fn into(path: &str) -> CopySpec {
    CopySpec::In { path: path.into(), place: true, owners: false }
}

/// All that comes of a transfer: its output, or why there is none.
pub async fn copy(
    house: &House,
    id: GuestId,
    spec: &CopySpec,
    archive: &[u8],
) -> Result<Vec<u8>, ArchiveError> {
    let mut exec = house.guests.copy(id, spec).await.expect("it begins");
    if !archive.is_empty() {
        // One that has failed takes no more, and says why.
        let _ = exec.input.write(archive).await;
        exec.input.close().await.expect("it is open");
    }
    let (mut came, mut said) = (Vec::new(), Vec::new());
    loop {
        match timeout(PATIENCE, exec.output.next()).await.expect("in time").expect("a guest that runs") {
            Said::Out(bytes) => came.extend(bytes),
            Said::Err(bytes) => said.extend(bytes),
            Said::Ended(0) => return Ok(came),
            Said::Ended(code) => return Err(why(code, &said)),
        }
    }
}

pub fn packed(path: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    pack(&source(None, path, false).unwrap(), MUCH, &mut archive, &|| false).unwrap();
    archive
}

fn unpacked(archive: &[u8], to: &Path) {
    let (directory, place) = target(None, to).unwrap();
    let rules = Rules { bytes: MUCH, entries: MUCH, owners: None, links_out: false };
    unpack(archive, &directory, &place, rules, &|| false).unwrap();
}

pub async fn what_is_copied_in_is_there_for_the_guest_and_comes_out_again(house: House) {
    let mut spec = house.spec("sleep 600");
    spec.run.tmpfs = vec![Tmpfs { path: "/scratch".into(), size: 4 << 20 }];
    house.guests.start(&spec).await.expect("the guest starts");
    let id = spec.id;
    let here: PathBuf = house.place("here");
    house.write(&here.join("a/deep/file"), "hello");
    house.write(&here.join("one"), &"x".repeat(200_000));

    // Into the image's disk, and into what the guest keeps in memory: both belong to its root.
    for place in ["/tmp", "/scratch"] {
        copy(&house, id, &into(place), &packed(&here.join("a"))).await.expect("a directory is copied");
        copy(&house, id, &into(&format!("{place}/two")), &packed(&here.join("one")))
            .await
            .expect("a file is");
        let script =
            format!("cat {place}/a/deep/file; wc -c < {place}/two; ls -ln {place}/two {place}/a/deep/file");
        let (text, _) = house.exec_output(id, &script).await;
        assert!(text.starts_with("hello200000\n"), "{text}");
        assert_eq!(text.matches(" 0        0 ").count(), 2, "they are root's: {text}");
    }

    // Out again, with links as they are, and by way of a link.
    house
        .exec_output(id, "ln -s deep/file /tmp/a/link; ln -s /tmp/a /way; echo more > /scratch/a/more")
        .await;
    unpacked(&copy(&house, id, &out("/way/"), &[]).await.expect("a link is followed"), &house.place("back"));
    assert_eq!(std::fs::read_to_string(house.place("back/link")).unwrap(), "hello");
    unpacked(&copy(&house, id, &out("/scratch/a/."), &[]).await.expect("copied"), &house.place("back"));
    assert_eq!(std::fs::read_to_string(house.place("back/more")).unwrap(), "more\n");
    // A link of the guest's ends in the guest, and never on this machine.
    house.exec_output(id, "ln -s ../../../../../../../../etc /tmp/etc; echo mine > /etc/motd").await;
    let archive = copy(&house, id, &out("/tmp/etc/motd"), &[]).await.expect("copied");
    let mut archive = tar::Archive::new(archive.as_slice());
    let mut text = String::new();
    archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine\n");
}

pub async fn a_transfer_that_breaks_off_leaves_no_half_file(house: House) {
    let id = house.start("sleep 600").await;
    house.write(&house.place("big"), &"y".repeat(1 << 20));
    let archive = packed(&house.place("big"));
    let exec = house.guests.copy(id, &into("/tmp/big")).await.expect("it begins");
    exec.input.write(&archive[..700_000]).await.expect("it reads");
    drop(exec);
    let begun = tokio::time::Instant::now();
    loop {
        let (text, _) = house.exec_output(id, "ls -A /tmp").await;
        if text.is_empty() {
            break;
        }
        assert!(!text.lines().any(|name| name == "big"), "half a file: {text}");
        assert!(begun.elapsed() < PATIENCE, "it leaves something: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // The same, told.
    let failed = copy(&house, id, &into("/tmp/big"), &archive[..700_000]).await.unwrap_err();
    assert!(matches!(failed, ArchiveError::Malformed(_)), "{failed}");
    assert_eq!(house.exec_output(id, "ls -A /tmp").await.0, "");
}

pub async fn what_cannot_be_copied_says_why(house: House) {
    let id = house.start("sleep 600").await;
    house.write(&house.place("one"), "1");
    house.write(&house.place("dir/one"), "1");
    house.write(&house.place("big"), &"z".repeat(12 << 20));
    let (one, dir) = (packed(&house.place("one")), packed(&house.place("dir")));
    let failed =
        async |spec: CopySpec, archive: &[u8]| copy(&house, id, &spec, archive).await.unwrap_err().code();
    assert_eq!(failed(out("/nothing"), &[]).await, "no_such_file");
    assert_eq!(failed(out("/proc"), &[]).await, "not_a_file");
    assert_eq!(failed(out("/proc/cmdline"), &[]).await, "not_a_file");
    assert_eq!(failed(out("/dev/zero"), &[]).await, "not_a_file");
    assert_eq!(failed(out("/etc/passwd/"), &[]).await, "not_a_directory");
    assert_eq!(failed(into("/nowhere/one"), &one).await, "no_such_file");
    assert_eq!(failed(into("/nowhere/"), &one).await, "no_such_file");
    assert_eq!(failed(into("/etc/passwd"), &dir).await, "kind_differs");
    assert_eq!(failed(into("/tmp/big"), &packed(&house.place("big"))).await, "no_room");
    let small = CopySpec::Out { path: "/bin/busybox".into(), follow: false, limit: 1_000 };
    assert_eq!(failed(small, &[]).await, "too_large");
    assert_eq!(house.exec_output(id, "ls -A /tmp").await.0, "");

    let relative = house.guests.copy(id, &out("tmp")).await.err().expect("a refusal");
    assert!(matches!(relative, GuestError::Exec(ExecRefusal::Unreadable(_))), "{relative}");
    house.guests.freeze(id).await.expect("it freezes");
    let frozen = house.guests.copy(id, &out("/tmp")).await.err().expect("a refusal");
    assert!(matches!(frozen, GuestError::Exec(ExecRefusal::Frozen)), "{frozen}");
}
