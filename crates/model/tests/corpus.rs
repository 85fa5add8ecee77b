//! The fuzzers' corpus, replayed as an ordinary test: what starts with `valid-` is read, what starts with `bad-` is
//! refused, and whatever else lies there (what a fuzzer has found) breaks nothing.
//!
//! The seeds come from the golden vectors. New ones are written by
//! `CORPUS=write cargo test -p sublet-model --test corpus seeds`.

#![allow(clippy::disallowed_methods, reason = "the vectors are files: the crate has no disk, its tests do")]

extern crate sublet_model as model;

mod decoders;
mod examples;

use decoders::{DECODERS, decode};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn seeds_are_what_the_golden_vectors_give() {
    for (decoder, _) in DECODERS {
        let seeds = seeds(decoder);
        if std::env::var_os("CORPUS").is_some_and(|wish| wish == "write") {
            write(decoder, &seeds);
        }
        let committed = corpus(decoder);
        let made = |name: &str| name.starts_with("valid-") || name.starts_with("bad-");
        let committed: Files = committed.into_iter().filter(|(name, _)| made(name)).collect();
        assert!(committed == seeds, "fuzz/corpus/{decoder} is not up to date: CORPUS=write writes it");
    }
}

#[test]
fn the_corpus_is_read_or_refused_as_its_names_say() {
    for (decoder, _) in DECODERS {
        for (name, bytes) in corpus(decoder) {
            let good = decode(decoder, &bytes);
            assert!(!name.starts_with("valid-") || good, "{decoder}/{name} is refused");
            assert!(!name.starts_with("bad-") || !good, "{decoder}/{name} is accepted");
        }
    }
}

#[test]
fn no_document_passes_for_another() {
    let documents = &DECODERS[1..15];
    for (decoder, _) in documents {
        for (other, _) in documents.iter().filter(|(other, _)| other != decoder) {
            for (name, bytes) in golden(&format!("document/{decoder}")) {
                assert!(!decode(other, &bytes), "{name} passes for {other}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, u8),
    Cut(Index),
    Drop(Index),
    Repeat(Index, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Change> {
        let at = any::<Index>;
        prop_oneof![
            (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            at().prop_map(Change::Cut),
            at().prop_map(Change::Drop),
            (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]
    #[test]
    fn altered_seeds_break_nothing(decoder in any::<Index>(), file in any::<Index>(), changes in prop::collection::vec(Change::any(), 1..6)) {
        let (decoder, _) = DECODERS[decoder.index(DECODERS.len())];
        let seeds = seeds(decoder);
        let mut bytes = seeds.values().nth(file.index(seeds.len())).cloned().unwrap_or_default();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        decode(decoder, &bytes);
    }
}

/// What the fuzzer of one decoder starts from.
fn seeds(decoder: &str) -> Files {
    let valid = match decoder {
        "envelope" => golden("document/"),
        "request" | "response" | "head" | "entry" => golden(&format!("{decoder}/")),
        document => golden(&format!("document/{document}")),
    };
    let first = valid.values().next().expect("each decoder has a golden vector").clone();
    let mut seeds: Files =
        valid.iter().map(|(name, bytes)| (format!("valid-{name}"), bytes.clone())).collect();
    seeds.insert("bad-cut".into(), first[..first.len() / 2].to_vec());
    seeds.insert("bad-rest".into(), [first.as_slice(), &[0]].concat());
    match decoder {
        "request" | "response" => {
            let standing = (valid["standing"].as_slice(), 2 + "standing".len());
            seeds.insert("valid-newer".into(), with_later_field(standing, 9));
            seeds.insert("bad-deep".into(), with_later_field(standing, 900));
        }
        "head" | "entry" | "envelope" => {}
        _ => {
            let payload = payload(&first);
            seeds.insert("valid-newer".into(), with_later_field((&payload, 0), 9));
            seeds.insert("bad-deep".into(), with_later_field((&payload, 0), 900));
            seeds.insert("valid-payload".into(), payload);
        }
    }
    seeds
}

fn payload(envelope: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    }
    model::from_bytes::<Envelope>(envelope).expect("a golden vector is an envelope").payload
}

/// A field of a later version, nested so deeply that reading past it may use up the stack. `header` is where the map
/// begins that gets it; it ends with the bytes.
fn with_later_field((bytes, header): (&[u8], usize), depth: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    assert!((0xa0..0xb7).contains(&bytes[header]), "a map of a few fields begins there");
    bytes[header] += 1;
    // Longer names come later in canonical form: this one comes last.
    bytes.extend([0x78, 30]);
    bytes.extend([b'z'; 30]);
    bytes.extend(std::iter::repeat_n(0x81, depth));
    bytes.push(0x80);
    bytes
}

/// The golden vectors whose name starts so, without their folder.
fn golden(start: &str) -> Files {
    let (folder, start) = start.split_once('/').expect("a folder");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let vectors = files(&folder).into_iter().filter_map(|(name, text)| {
        let name = name.strip_suffix(".hex").filter(|name| name.starts_with(start))?.to_owned();
        let digits: String = String::from_utf8(text).expect("text").split_whitespace().collect();
        Some((name, hex::decode(digits).expect("hexadecimal digits")))
    });
    vectors.collect()
}

fn corpus(decoder: &str) -> Files {
    files(&folder(decoder))
}

fn folder(decoder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(decoder)
}

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("plain names");
        (name, fs::read(entry.path()).expect("a file"))
    };
    entries.map(|entry| file(entry.expect("a file"))).collect()
}

fn write(decoder: &str, seeds: &Files) {
    fs::create_dir_all(folder(decoder)).expect("a folder");
    for name in corpus(decoder).keys().filter(|name| name.starts_with("valid-") || name.starts_with("bad-")) {
        fs::remove_file(folder(decoder).join(name)).expect("an old seed goes");
    }
    for (name, bytes) in seeds {
        fs::write(folder(decoder).join(name), bytes).expect("a file");
    }
}
