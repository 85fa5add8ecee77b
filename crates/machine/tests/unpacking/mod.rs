//! Everything that unpacks a stranger's archive, and what must hold of it whatever the bytes are. The fuzzers run these,
//! and so does an ordinary test over the corpus: see `fuzz/README.md`.

#![allow(dead_code, reason = "a fuzz target needs one of them")]

pub mod layer;
pub mod witness;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use machine::archive::{self, Rules};
use machine::image::{self, Limits, Style};
use rustix::process::geteuid;
use witness::House;

/// Unpacks, panics when something does not hold, and says whether the archive was taken.
pub type Unpacker = fn(&[u8]) -> bool;

/// Each unpacker by the name of its fuzz target and of its corpus.
pub const UNPACKERS: [(&str, Unpacker); 3] = [("layer", layer), ("volume", volume), ("copy", copy)];

const BYTES: u64 = 1 << 20;
const ENTRIES: u64 = 200;
/// The deepest tree that any of them makes.
const DEPTH: usize = 128;
/// Ids from here on are nobody's in a guest.
const NOBODY: u32 = 65_534;
const BLOCK: usize = 512;

/// Unpacks the bytes by the unpacker of that name: as they are; and, as no fuzzer finds a check sum, with those of all
/// headers put right.
pub fn unpack(name: &str, bytes: &[u8]) -> bool {
    let (_, unpacker) = UNPACKERS.iter().find(|(known, _)| *known == name).expect("an unpacker of that name");
    unpacker(bytes) | unpacker(&with_check_sums(bytes))
}

/// A layer of an image, plain or compressed.
fn layer(bytes: &[u8]) -> bool {
    let house = House::new();
    let limits = Limits { bytes: BYTES, entries: ENTRIES, style: Style::Layer };
    let unpacked = image::unpack(bytes, &house.root(), limits, &|| false);
    let found = seen(&house, &BTreeMap::new());
    for (path, stat) in &found {
        let kind = stat.file_type();
        assert!(!kind.is_char_device() || stat.rdev() == 0, "{path:?} is a device");
        assert_eq!(stat.uid(), geteuid().as_raw(), "{path:?} is somebody else's");
        let readable = if kind.is_dir() { 0o555 } else { 0o444 };
        // What was not written to its end stays the node's own, and goes.
        let for_all = unpacked.is_err()
            || kind.is_symlink()
            || kind.is_char_device()
            || stat.mode() & readable == readable;
        assert!(for_all, "{path:?} is not for all guests: {:o}", stat.mode());
        for (name, value) in attributes(path) {
            let hides = name == "user.overlay.opaque" && value == b"y" && kind.is_dir();
            assert!(hides, "{path:?} has the attribute {name}");
        }
    }
    if let Ok(unpacked) = &unpacked {
        assert!(unpacked.bytes <= BYTES && unpacked.entries <= ENTRIES, "{unpacked:?}");
        assert!(unpacked.entries >= found.len() as u64, "{unpacked:?}, and {} were made", found.len());
    }
    unpacked.is_ok()
}

/// Files for a volume in which a guest has left links that lead out.
fn volume(bytes: &[u8]) -> bool {
    let house = House::new();
    let before = traps(&house);
    let limits = Limits { bytes: BYTES, entries: ENTRIES, style: Style::Volume };
    let unpacked = image::unpack(bytes, &house.root(), limits, &|| false);
    for (path, stat) in seen(&house, &before) {
        assert!(!stat.file_type().is_char_device(), "{path:?} is a device");
        assert!(stat.uid() < NOBODY && stat.gid() < NOBODY, "{path:?} is nobody's");
        assert_eq!(attributes(&path), [], "{path:?} has attributes");
    }
    unpacked.is_ok()
}

/// Files out of a guest, into a directory of a tenant in which links lead elsewhere.
fn copy(bytes: &[u8]) -> bool {
    let house = House::new();
    let before = traps(&house);
    let rules = Rules { bytes: BYTES, entries: ENTRIES, owners: None, links_out: false };
    let (directory, place) = archive::target(None, &house.root()).expect("the directory opens");
    let copied = archive::unpack(bytes, &directory, &place, rules, &|| false);
    let found = seen(&house, &before);
    for trap in before.keys().filter(|path| path.is_symlink()) {
        fs::remove_file(trap).expect("it goes");
    }
    for (path, stat) in &found {
        assert!(!stat.file_type().is_char_device(), "{path:?} is a device");
        let leads_to = path.canonicalize().unwrap_or_else(|_| house.root());
        assert!(leads_to.starts_with(house.root()), "{path:?} leads to {leads_to:?}");
    }
    if let Ok(copied) = &copied {
        assert!(copied.bytes <= BYTES && copied.entries <= ENTRIES, "{copied:?}");
    }
    copied.is_ok()
}

/// What lies in a house's root before anything is unpacked there.
fn traps(house: &House) -> BTreeMap<PathBuf, Metadata> {
    let root = house.root();
    symlink(house.outside(), root.join("out")).expect("a link");
    symlink("../outside", root.join("up")).expect("a link");
    symlink("/proc/self/cwd", root.join("magic")).expect("a link");
    fs::create_dir(root.join("mine")).expect("a directory");
    symlink("../../outside/witness", root.join("mine/witness")).expect("a link");
    fs::write(root.join("mine/file"), "old").expect("a file");
    house.found()
}

/// What was made, whoever made it: nothing outside, nothing beyond the bounds, nothing but files, directories, links and
/// whiteouts. What was there `before`, and is still, is left out.
fn seen(house: &House, before: &BTreeMap<PathBuf, Metadata>) -> BTreeMap<PathBuf, Metadata> {
    house.is_untouched();
    let found = house.found();
    let same = |path: &PathBuf, stat: &Metadata| before.get(path).is_some_and(|old| old.ino() == stat.ino());
    let mut names: HashMap<(u64, u64), (u64, u64)> = HashMap::new();
    let (mut bytes, mut made) = (0, 0);
    for (path, stat) in &found {
        let kind = stat.file_type();
        assert!(!kind.is_fifo() && !kind.is_socket() && !kind.is_block_device(), "{path:?} is a {kind:?}");
        assert_eq!(stat.mode() & 0o6000, 0, "{path:?} is set-uid or set-gid");
        let depth = path.strip_prefix(house.root()).expect("it is below").components().count();
        assert!(depth <= DEPTH, "{path:?} lies {depth} deep");
        made += u64::from(!before.contains_key(path));
        if kind.is_dir() {
            continue;
        }
        let (_, of_it) = names.entry((stat.dev(), stat.ino())).or_insert((stat.nlink(), 0));
        *of_it += 1;
        bytes += if *of_it == 1 && kind.is_file() && !same(path, stat) { stat.size() } else { 0 };
    }
    // A name outside, or of something outside, would show in the number of names.
    for (links, found) in names.into_values() {
        assert_eq!(links, found, "a file has names elsewhere");
    }
    assert!(bytes <= BYTES, "{bytes} bytes lie there");
    assert!(made <= ENTRIES, "{made} files lie there");
    found.into_iter().filter(|(path, stat)| !same(path, stat)).collect()
}

/// The extended attributes of a file, none of a link's.
fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = [0; 1024];
    let length = rustix::fs::llistxattr(path, &mut names).expect("they can be listed");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, name, &mut value).expect("it can be read");
        (String::from_utf8_lossy(name).into_owned(), value[..length].to_vec())
    };
    names.map(value).collect()
}

/// The same archive, with the check sum of each header put right: one is where the body of the one before ends.
fn with_check_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        // Blocks of nothing are the end.
        if block.iter().any(|byte| *byte != 0) {
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let blocks = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(usize::MAX).div_ceil(BLOCK);
        at = at.saturating_add(blocks.saturating_add(1).saturating_mul(BLOCK)).min(bytes.len());
    }
    bytes
}
