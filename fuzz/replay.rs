//! The corpus as ordinary tests replay it: what starts with `valid-` is read, what starts with `bad-` is refused, and
//! whatever else lies there (what a fuzzer has found) breaks nothing. Nor do altered copies of it.

use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Holds the committed seeds of a target against those that the tests make; `CORPUS=write` commits them.
pub fn are_committed(target: &str, seeds: &Files) {
    if std::env::var_os("CORPUS").is_some_and(|wish| wish == "write") {
        write(target, seeds);
    }
    let made = |name: &str| name.starts_with("valid-") || name.starts_with("bad-");
    let committed: Files = corpus(target).into_iter().filter(|(name, _)| made(name)).collect();
    assert!(committed == *seeds, "fuzz/corpus/{target} is not up to date: CORPUS=write writes it");
}

/// Reads all that is committed of a target, and holds it to its names.
pub fn is_as_named(target: &str, read: impl Fn(&[u8]) -> bool) {
    for (name, bytes) in corpus(target) {
        let good = read(&bytes);
        assert!(!name.starts_with("valid-") || good, "{target}/{name} is refused");
        assert!(!name.starts_with("bad-") || !good, "{target}/{name} is accepted");
    }
}

/// One change of some bytes.
#[derive(Clone, Debug)]
pub enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Cut(Index),
    Drop(Index),
    Repeat(Index, Index),
}

impl Change {
    /// A few of them.
    pub fn some() -> impl Strategy<Value = Vec<Change>> {
        let at = any::<Index>;
        let any = prop_oneof![
            (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            at().prop_map(Change::Cut),
            at().prop_map(Change::Drop),
            (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        ];
        prop::collection::vec(any, 1..6)
    }

    pub fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let place = |at: &Index| at.index(length);
        match self {
            Change::Flip(at, bit) => bytes[place(at)] ^= 1 << bit,
            Change::Set(at, byte) => bytes[place(at)] = *byte,
            Change::Insert(at, byte) => bytes.insert(place(at), *byte),
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Drop(at) => drop(bytes.remove(place(at))),
            Change::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let part = bytes[from.min(to)..=from.max(to)].to_vec();
                bytes.splice(to..to, part);
            }
        }
    }
}

fn corpus(target: &str) -> Files {
    files(&folder(target))
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// What lies in a folder.
pub fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("plain names");
        (name, fs::read(entry.path()).expect("a file"))
    };
    entries.map(|entry| file(entry.expect("a file"))).collect()
}

fn write(target: &str, seeds: &Files) {
    fs::create_dir_all(folder(target)).expect("a folder");
    for name in corpus(target).keys().filter(|name| name.starts_with("valid-") || name.starts_with("bad-")) {
        fs::remove_file(folder(target).join(name)).expect("an old seed goes");
    }
    for (name, bytes) in seeds {
        fs::write(folder(target).join(name), bytes).expect("a file");
    }
}
