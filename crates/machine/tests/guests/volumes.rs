//! Volumes in real guests: what is in them outlives guest, node and kill, and hurts nobody.

use std::fs;
use std::io::Write;
use std::path::Path;

use sublet_machine::guest::{GuestId, GuestState, Mount};
use sublet_machine::volume::{KEY_BYTES, VOLUMES, VolumeError, VolumeId, VolumeSecret, Volumes, Wanted};

use super::house::House;

crate::truths![
    a_volume_outlives_its_guests_and_has_its_size,
    a_read_only_volume_is_not_written,
    an_encrypted_volume_opens_with_its_key_alone,
    a_volume_in_use_is_let_alone_and_free_when_its_guest_is_killed,
    no_guest_holds_on_to_a_volume_that_was_mounted_when_it_started,
    snapshots_keep_what_was,
    files_come_out_and_go_in_and_none_leads_elsewhere,
    what_a_killed_node_left_is_cleared,
];

/// More than the image has.
const TOOLS: &str = "for tool in stat grep df awk sync readlink ln mkfifo truncate test; do busybox ln -sf busybox /bin/$tool; done; ";

const MIB: u64 = 1 << 20;
const PERSON: [u8; 32] = [7; 32];

fn wanted(name: &str, size: u64) -> Wanted {
    Wanted { person: PERSON, name: name.into(), size, secret: None }
}

fn id(name: &str) -> VolumeId {
    VolumeId::of(&PERSON, name)
}

fn volumes(house: &House) -> Volumes {
    Volumes::open(house.guest_root().join(VOLUMES)).expect("opened")
}

/// Starts a guest with a volume on /data.
async fn start(house: &House, volumes: &Volumes, wanted: &Wanted, script: &str, read_only: bool) -> GuestId {
    let ready = volumes.provide(wanted).expect("a volume");
    let mut spec = house.spec(&format!("{TOOLS}{script}"));
    spec.mounts = vec![Mount { source: ready.path(), target: "/data".into(), read_only }];
    house.guests.start(&spec).await.expect("it starts");
    spec.id
}

async fn output(house: &mut House, volumes: &Volumes, wanted: &Wanted, script: &str) -> String {
    let id = start(house, volumes, wanted, script, false).await;
    house.exit_code(id).await;
    house.printed(id).await
}

pub async fn a_volume_outlives_its_guests_and_has_its_size(mut house: House) {
    let volumes = volumes(&house);
    let small = wanted("db", 16 * MIB);
    let said = output(&mut house, &volumes, &small, "echo kept > /data/x; chmod 600 /data/x; stat -c '%u %a' /data; mount | grep -c /data; busybox dd if=/dev/zero of=/data/big bs=1M count=64 2> /dev/null; test $(stat -c %s /data/big) -lt 16777216 && echo short; rm /data/big; i=0; while echo > /data/f$i; do i=$((i+1)); done 2>/dev/null; test $i -lt 1200 && echo full; rm /data/f*").await;
    assert!(said.contains("0 755\n1\n"), "{said}");
    assert!(said.contains("short"), "{said}");
    assert!(said.contains("full"), "{said}");
    let seen = volumes.get(&id("db")).expect("it is here");
    assert_eq!((seen.size, seen.encrypted), (16 * MIB, false));

    // Another guest has other ids on this machine, and the same files.
    let said = output(&mut house, &volumes, &small, "cat /data/x; stat -c '%u %a' /data/x").await;
    assert_eq!(said, "kept\n0 600\n");
    let larger = output(
        &mut house,
        &volumes,
        &wanted("db", 32 * MIB),
        "df -m /data | tail -1 | awk '{print ($2 > 24)}'; cat /data/x",
    )
    .await;
    assert_eq!(larger, "1\nkept\n");
    assert!(matches!(volumes.provide(&small), Err(VolumeError::Shrinks { .. })));
    assert!(volumes.remove(&id("db")).expect("removed"));
    assert!(!volumes.remove(&id("db")).expect("nothing to remove"));
    assert_eq!(volumes.list().expect("listed"), []);
}

async fn a_read_only_volume_is_not_written(mut house: House) {
    let volumes = volumes(&house);
    let volume = wanted("lib", 16 * MIB);
    output(&mut house, &volumes, &volume, "echo a > /data/a").await;
    let reader = start(
        &house,
        &volumes,
        &volume,
        "cat /data/a; echo b > /data/b || echo no; mount -o remount,rw /data || echo no",
        true,
    )
    .await;
    house.exit_code(reader).await;
    let said = house.printed(reader).await;
    assert!(said.starts_with("a\n") && said.matches("no\n").count() == 2, "{said}");
}

async fn an_encrypted_volume_opens_with_its_key_alone(mut house: House) {
    if !Volumes::can_encrypt() {
        eprintln!("not tried: this kernel cannot encrypt ext4");
        return;
    }
    let volumes = volumes(&house);
    let secret = |n| Some(VolumeSecret([n; KEY_BYTES]));
    let mut volume = Wanted { secret: secret(1), ..wanted("safe", 16 * MIB) };
    output(&mut house, &volumes, &volume, "echo the-secret-word > /data/secret-name; sync").await;
    let said = output(&mut house, &volumes, &volume, "cat /data/secret-name").await;
    assert_eq!(said, "the-secret-word\n");
    volume.secret = secret(2);
    assert!(matches!(volumes.provide(&volume), Err(VolumeError::Key { .. })));
    volume.secret = None;
    assert!(matches!(volumes.provide(&volume), Err(VolumeError::Key { .. })));
    // Neither is on the disk in clear, and the key is nowhere.
    let root = house.guest_root();
    let found = grep(&root, &[b"the-secret-word", b"secret-name", &[1; KEY_BYTES]]);
    assert!(found.is_empty(), "{found:?}");
}

async fn no_guest_holds_on_to_a_volume_that_was_mounted_when_it_started(house: House) {
    let volumes = volumes(&house);
    let mounted = volumes.provide(&wanted("db", 16 * MIB)).expect("a volume");
    let other = house.start("sleep 60").await;
    drop(mounted);
    volumes.provide(&wanted("db", 16 * MIB)).expect("it is free, and the other guest goes on");
    assert_eq!(house.see(other).await.state, GuestState::Running);
}

/// Files below `root`, but for the guests' own, that hold one of the words.
fn grep(root: &Path, words: &[&[u8]]) -> Vec<String> {
    let mut found = Vec::new();
    let mut ahead = vec![root.join(VOLUMES)];
    ahead.push(root.join("guests"));
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                ahead.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                // What the guest was told to print and run is the test's own doing.
                let ours = path
                    .file_name()
                    .is_some_and(|name| name == "orders.json" || name.to_string_lossy().starts_with("log."));
                let sought = &words[if ours { 2 } else { 0 }..];
                if sought.iter().any(|word| bytes.windows(word.len()).any(|part| part == *word)) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    found
}

async fn a_volume_in_use_is_let_alone_and_free_when_its_guest_is_killed(house: House) {
    let volumes = volumes(&house);
    let volume = wanted("db", 16 * MIB);
    let guest = start(&house, &volumes, &volume, "echo x > /data/x; echo on; sleep 60", false).await;
    house.printed_until(guest, "on").await;
    assert!(volumes.get(&id("db")).expect("here").in_use);
    let busy = |result: Result<(), VolumeError>| {
        assert!(matches!(result, Err(VolumeError::Busy { .. })), "{result:?}")
    };
    busy(volumes.provide(&volume).map(|_| ()));
    busy(volumes.remove(&id("db")).map(|_| ()));
    busy(volumes.snapshot(&id("db"), "s", 1));
    busy(volumes.export(&id("db"), None, None, std::io::sink()));
    // The node starts again: the guest keeps its volume.
    let again = Volumes::open(house.guest_root().join(VOLUMES)).expect("opened");
    assert!(again.get(&id("db")).expect("here").in_use);
    house.guests.stop(guest, std::time::Duration::ZERO).await.expect("killed");
    let mut archive = Vec::new();
    again.export(&id("db"), None, None, &mut archive).expect("free again");
    assert!(archive.windows(2).any(|two| two == b"x\n"));
}

async fn snapshots_keep_what_was(mut house: House) {
    let volumes = volumes(&house);
    let volume = wanted("db", 16 * MIB);
    output(&mut house, &volumes, &volume, "echo old > /data/x").await;
    volumes.snapshot(&id("db"), "monday", 1).expect("kept");
    assert!(matches!(volumes.snapshot(&id("db"), "monday", 2), Err(VolumeError::Snapshot { .. })));
    assert!(matches!(volumes.snapshot(&id("db"), "tuesday", 1), Err(VolumeError::Snapshot { .. })));
    assert!(matches!(volumes.snapshot(&id("db"), "../x", 9), Err(VolumeError::Snapshot { .. })));
    output(&mut house, &volumes, &volume, "echo new > /data/x").await;
    let holds = |snapshot: Option<&str>, word: &str| {
        let mut archive = Vec::new();
        volumes.export(&id("db"), snapshot, None, &mut archive).expect("exported");
        archive.windows(word.len()).any(|part| part == word.as_bytes())
    };
    assert!(holds(Some("monday"), "old\n") && !holds(Some("monday"), "new\n"));
    assert!(holds(None, "new\n"));
    assert_eq!(volumes.get(&id("db")).expect("here").snapshots, ["monday"]);
    volumes.remove_snapshot(&id("db"), "monday").expect("removed");
    assert!(matches!(volumes.remove_snapshot(&id("db"), "monday"), Err(VolumeError::Snapshot { .. })));
}

async fn files_come_out_and_go_in_and_none_leads_elsewhere(mut house: House) {
    let volumes = volumes(&house);
    let trap = wanted("trap", 16 * MIB);
    let secret = house.guest_root().join("host-secret");
    fs::write(&secret, "host-only").expect("written");
    // Links to the host's files and directories, a pipe that would block a reader, and a file that is all hole.
    let script = format!(
        "cd /data; ln -s {0} link; ln -s / root; ln -s root/etc/passwd p; busybox mkfifo pipe; mkdir d; echo in > d/f; ln d/f hard; chmod 4755 d/f; ln -s {1} out",
        secret.display(),
        house.guest_root().display()
    );
    output(&mut house, &volumes, &trap, &script).await;
    let mut archive = Vec::new();
    volumes.export(&id("trap"), None, None, &mut archive).expect("exported");
    assert!(!archive.windows(9).any(|part| part == b"host-only"));
    let mut names = tar::Archive::new(archive.as_slice());
    let names: Vec<String> = names
        .entries()
        .expect("entries")
        .map(|e| e.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(names.contains(&"d/f".to_owned()) && !names.contains(&"pipe".to_owned()), "{names:?}");

    // Into a volume in which `out` leads to the host: what goes through it stays inside.
    let mut attack = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o600);
    attack.append_data(&mut header, "out/planted", &b"bad"[..]).expect("appended");
    let attack = attack.into_inner().expect("an archive");
    let taken = volumes.import(&id("trap"), None, attack.as_slice(), &|| false);
    assert!(!house.guest_root().join("planted").exists(), "{taken:?}");

    let fresh = wanted("fresh", 16 * MIB);
    drop(volumes.provide(&fresh).expect("a volume"));
    volumes.import(&id("fresh"), None, archive.as_slice(), &|| false).expect("taken in");
    let said = output(
        &mut house,
        &volumes,
        &fresh,
        "cd /data; cat d/f hard; stat -c %a d/f; readlink link; test -e link || echo dangling",
    )
    .await;
    assert_eq!(said, format!("in\nin\n755\n{}\ndangling\n", secret.display()));

    let hole = wanted("hole", 16 * MIB);
    output(&mut house, &volumes, &hole, "busybox truncate -s 1T /data/hole || busybox dd if=/dev/zero of=/data/hole bs=1 count=1 seek=900000000").await;
    let sparse = volumes.export(&id("hole"), None, None, std::io::sink());
    assert!(matches!(sparse, Err(VolumeError::Sparse { .. })), "{sparse:?}");

    for bad in [&b"no archive at all, but long enough to be looked at as if it were one"[..], b""] {
        let _ = volumes.import(&id("fresh"), None, bad, &|| false);
    }
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let mut header = tar::Header::new_gnu();
        header.set_path("bomb").expect("a name");
        header.set_size(1 << 40);
        header.set_cksum();
        encoder.write_all(header.as_bytes()).expect("written");
        (0..64).for_each(|_| encoder.write_all(&vec![0; 1 << 20]).expect("written"));
        encoder.finish().expect("an archive")
    };
    let burst = volumes.import(&id("fresh"), None, bomb.as_slice(), &|| false);
    assert!(matches!(burst, Err(VolumeError::Archive(_))), "{burst:?}");
}

async fn what_a_killed_node_left_is_cleared(house: House) {
    let volumes = volumes(&house);
    let root = house.guest_root().join(VOLUMES);
    let ready = volumes.provide(&wanted("db", 16 * MIB)).expect("a volume");
    let path = ready.path();
    std::mem::forget(ready); // as a kill would
    for half in ["aa.new", "bb.gone"] {
        fs::create_dir_all(root.join(half).join("snapshots")).expect("made");
    }
    fs::write(root.join(id("db").to_string()).join("snapshots/x.new"), "half").expect("written");
    let again = Volumes::open(root.clone()).expect("opened");
    assert!(!path.exists(), "it is mounted no longer");
    assert_eq!(fs::read_dir(&root).expect("listed").count(), 1);
    assert_eq!(again.get(&id("db")).expect("here").snapshots.len(), 0);
    drop(again.provide(&wanted("db", 16 * MIB)).expect("it can be used"));
}
