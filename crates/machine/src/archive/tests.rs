use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tar::{EntryType, Header};

use super::*;

const RULES: Rules = Rules { bytes: 1 << 20, entries: 1_000, owners: None, links_out: false };

/// An archive of raw entries: the tar crate itself would write none of the bad ones.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        let is_link = kind.is_symlink() || kind.is_hard_link();
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        header.set_cksum();
        tar.append(&header, if is_link { &[][..] } else { content.as_bytes() }).unwrap();
    }
    tar.into_inner().unwrap()
}

fn unpacked(archive: &[u8], to: &Path) -> Result<Copied, ArchiveError> {
    let (directory, place) = target(None, to)?;
    unpack(archive, &directory, &place, RULES, &|| false)
}

use EntryType::{Directory, Fifo, Link, Regular, Symlink};

#[test]
fn a_hostile_archive_writes_nothing_outside() {
    let dir = tempfile::tempdir().unwrap();
    let (out, victim) = (dir.path().join("out"), dir.path().join("victim"));
    fs::create_dir(&out).unwrap();
    fs::write(&victim, "safe").unwrap();
    let abs = victim.to_str().unwrap();
    symlink(dir.path(), out.join("mine")).unwrap();
    let through: &[&[(EntryType, &str, &str)]] = &[
        &[(Regular, "../victim", "bad")],
        &[(Regular, "a/../../victim", "bad")],
        &[(Regular, "/victim", "bad")],
        &[(Regular, "mine/victim", "bad")],
        &[(Link, "x", "../victim")],
        &[(Link, "x", "mine/victim")],
        &[(Link, "x", abs)],
        &[(EntryType::new(b'Z'), "x", "bad")],
    ];
    for entries in through {
        let error = unpacked(&archive(entries), &out).unwrap_err();
        assert_eq!(error.code(), "hostile_archive", "{entries:?}: {error}");
    }
    // Links that lead out are left out; what then goes through their names goes into directories.
    let left_out = archive(&[
        (Directory, "t", ""),
        (Symlink, "t/a", abs),
        (Symlink, "t/b", "../../victim"),
        (Symlink, "t/c", "d/../../victim"),
        (Fifo, "t/e", ""),
        (Symlink, "t/ok", "f"),
        (Regular, "t/f", "fine"),
        (Link, "t/g", "t/f"),
        (Regular, "t/a/victim", "mine"),
    ]);
    let copied = unpacked(&left_out, &out).unwrap();
    assert_eq!((copied.left_out, copied.bytes), (4, 8));
    assert_eq!(fs::read_to_string(out.join("t/ok")).unwrap(), "fine");
    assert_eq!(fs::read_to_string(out.join("t/g")).unwrap(), "fine");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(out.join("t/f")).unwrap().permissions().mode() & 0o7777, 0o755, "no set-uid");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
    // A link that is there is replaced, and not followed.
    symlink(&victim, out.join("t/over")).unwrap();
    unpacked(&archive(&[(Regular, "t/over", "new")]), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("t/over")).unwrap(), "new");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
    // A name that was asked for stands alone.
    let beside = archive(&[(Regular, "one", "1"), (Regular, "two", "2")]);
    assert_eq!(unpacked(&beside, &out.join("new")).unwrap_err().code(), "hostile_archive");
    assert!(!out.join("two").exists());
}

#[test]
fn what_is_too_large_broken_or_unwanted_leaves_no_half_file() {
    let dir = tempfile::tempdir().unwrap();
    let large = archive(&[(Regular, "large", &"x".repeat(2 << 20))]);
    assert_eq!(unpacked(&large, dir.path()).unwrap_err().code(), "too_large");
    let whole = archive(&[(Regular, "file", &"x".repeat(10_000))]);
    assert_eq!(unpacked(&whole[..6_000], dir.path()).unwrap_err().code(), "bad_archive");
    assert_eq!(unpacked(&[], dir.path()).unwrap_err().code(), "bad_archive");
    assert_eq!(unpacked(b"rubbish", dir.path()).unwrap_err().code(), "bad_archive");
    let (directory, place) = target(None, dir.path()).unwrap();
    let stopped = unpack(whole.as_slice(), &directory, &place, RULES, &|| true).unwrap_err();
    assert_eq!(stopped, ArchiveError::Cancelled);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn names_are_given_as_cp_gives_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("src/sub")).unwrap();
    fs::write(at("src/sub/file"), "1").unwrap();
    fs::write(at("plain"), "2").unwrap();
    symlink("plain", at("link")).unwrap();
    fs::create_dir(at("into")).unwrap();
    let copy = |from: &str, follow: bool, to: &str| {
        let mut archive = Vec::new();
        pack(&source(None, &at(from), follow)?, 1 << 20, &mut archive, &|| false)?;
        unpacked(&archive, &at(to))
    };
    copy("src", false, "into").unwrap();
    assert!(at("into/src/sub/file").exists());
    copy("src", false, "new").unwrap();
    assert!(at("new/sub/file").exists());
    copy("src/.", false, "into").unwrap();
    assert!(at("into/sub/file").exists());
    copy("src/.", false, "newer/").unwrap();
    assert!(at("newer/sub/file").exists());
    copy("plain", false, "into").unwrap();
    copy("plain", false, "other").unwrap();
    assert!(at("into/plain").exists() && at("other").is_file());
    copy("src/sub/file", false, "other").unwrap();
    assert_eq!(fs::read_to_string(at("other")).unwrap(), "1", "a file is overwritten");
    copy("link", false, "as-link").unwrap();
    copy("link", true, "as-file").unwrap();
    assert!(at("as-link").is_symlink() && !at("as-file").is_symlink());
    assert_eq!(copy("plain", false, "missing/").unwrap_err().code(), "no_such_file");
    assert_eq!(copy("plain", false, "missing/x").unwrap_err().code(), "no_such_file");
    assert_eq!(copy("src", false, "plain").unwrap_err().code(), "kind_differs");
    assert_eq!(copy("plain", false, "plain/").unwrap_err().code(), "not_a_directory");
    assert_eq!(copy("nothing", false, "x").unwrap_err().code(), "no_such_file");
    assert_eq!(copy("plain/", false, "x").unwrap_err().code(), "not_a_directory");
    assert_eq!(
        pack(&source(None, &at("src"), false).unwrap(), 0, io::sink(), &|| false).unwrap_err().code(),
        "too_large"
    );
}

#[test]
fn a_time_before_1970_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(86_400);
    fs::File::create(&from).unwrap().set_modified(before).unwrap();
    let mut archive = Vec::new();
    pack(&source(None, &from, false).unwrap(), 1 << 20, &mut archive, &|| false).unwrap();
    // As GNU tar writes it: ones up to the first bit.
    assert_eq!(archive[136..148], [&[0xff; 4][..], &(-86_400_i64).to_be_bytes()].concat());
    unpacked(&archive, &to).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), before);
}

#[test]
fn a_size_that_others_read_otherwise_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for size in ["x", "-1", "1.5", "99999999999999999999999"] {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_pax_extensions([("size", size.as_bytes())]).unwrap();
        let odd = [tar.into_inner().unwrap()[..1024].to_vec(), archive(&[(Regular, "f", "x")])].concat();
        assert_eq!(unpacked(&odd, dir.path()).unwrap_err().code(), "bad_archive", "{size}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
