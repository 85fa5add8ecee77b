//! The fuzzers' corpus of what decodes, replayed as an ordinary test. The seeds come from the golden vectors. New ones are written by
//! `CORPUS=write cargo test -p sublet-model --test corpus seeds`.

#![allow(clippy::disallowed_methods, reason = "the vectors are files: the crate has no disk, its tests do")]

extern crate sublet_model as model;

mod decoders;
mod examples;
#[path = "../../../fuzz/replay.rs"]
mod replay;

use decoders::{DECODERS, decode};
use proptest::prelude::*;
use proptest::sample::Index;
use replay::{Change, Files, files};
use serde::Deserialize;
use std::path::Path;

#[test]
fn seeds_are_what_the_golden_vectors_give() {
    for (decoder, _) in DECODERS {
        replay::are_committed(decoder, &seeds(decoder));
    }
}

#[test]
fn the_corpus_is_read_or_refused_as_its_names_say() {
    for (decoder, _) in DECODERS {
        replay::is_as_named(decoder, |bytes| decode(decoder, bytes));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]
    #[test]
    fn altered_seeds_break_nothing(decoder in any::<Index>(), file in any::<Index>(), changes in Change::some()) {
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
