//! The fuzzers' corpus of what is unpacked, replayed as an ordinary test. The seeds are made below, and written by
//! `CORPUS=write cargo test -p sublet-machine --test corpus seeds`.

extern crate sublet_machine as machine;

#[path = "../../../fuzz/replay.rs"]
mod replay;
mod unpacking;

use proptest::prelude::*;
use proptest::sample::Index;
use replay::{Change, Files};
use std::io::Write;
use tar::EntryType;
use unpacking::layer::Layer;
use unpacking::{UNPACKERS, unpack};

#[test]
fn seeds_are_what_is_made_here() {
    for (unpacker, _) in UNPACKERS {
        replay::are_committed(unpacker, &seeds(unpacker));
    }
}

#[test]
fn the_corpus_is_unpacked_or_refused_as_its_names_say() {
    // Only root can give a volume's files to whom they belong.
    let may = |unpacker: &str| unpacker != "volume" || rustix::process::geteuid().is_root();
    for (unpacker, _) in UNPACKERS.iter().filter(|(unpacker, _)| may(unpacker)) {
        replay::is_as_named(unpacker, |bytes| unpack(unpacker, bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn altered_seeds_reach_nothing(unpacker in any::<Index>(), file in any::<Index>(), changes in Change::some()) {
        let (unpacker, _) = UNPACKERS[unpacker.index(UNPACKERS.len())];
        let seeds = seeds(unpacker);
        let mut bytes = seeds.values().nth(file.index(seeds.len())).cloned().unwrap_or_default();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        unpack(unpacker, &bytes);
    }
}

/// What the fuzzer of one unpacker starts from.
fn seeds(unpacker: &str) -> Files {
    let valid = valid(unpacker).bytes();
    let mut seeds: Files = [
        ("bad-climbs", Layer::new().file("a/../../outside/witness", "mine")),
        ("bad-second-name", Layer::new().hard("h", "../outside/witness")),
        ("bad-name-of-nothing", Layer::new().hard("h", "out/witness")),
        ("bad-zero", Layer::new().pax("path", b"a\0b").file("x", "")),
        ("bad-kind", Layer::new().entry(EntryType::new(b'Z'), b"x", b"", 0o644, b"")),
        // More than the tests allow, in directories that no entry names.
        ("bad-deep", (0..3).fold(Layer::new(), |l, n| l.file(&format!("{n}/{}f", "d/".repeat(99)), ""))),
        ("bad-long", Layer::new().file(&"name/".repeat(900), "")),
    ]
    .map(|(name, layer)| (name.to_owned(), layer.bytes()))
    .into();
    // Within a header: some tools leave out the end, and one that is missing is no harm.
    seeds.insert("bad-cut".to_owned(), valid[..valid.len() / 1024 * 512 + 100].to_vec());
    seeds.insert("bad-bomb".to_owned(), Layer::new().sparse("bomb", 2 << 30).bytes());
    seeds.insert("valid-sparse".to_owned(), Layer::new().sparse("sparse", 4_096).bytes());
    if unpacker != "layer" {
        // Through a link that was there before.
        seeds.insert("bad-trap".to_owned(), Layer::new().file("up/witness", "mine").bytes());
    }
    if unpacker != "copy" {
        let led_out = Layer::new().link("s", "/proc/self/cwd").file("s/witness", "mine");
        seeds.insert("bad-way".to_owned(), led_out.bytes());
        seeds.insert("valid-gzip".to_owned(), gzip(&valid));
        seeds.insert("valid-zstd".to_owned(), zstd(&valid, 0));
        // What follows the end, shortened to a hundred bytes.
        seeds.insert("bad-trailer".to_owned(), zstd(&valid, 17 << 20));
    }
    seeds.insert("valid-plain".to_owned(), valid);
    seeds
}

/// Something of all that there is.
fn valid(unpacker: &str) -> Layer {
    let long = format!("opt/{}/{}", "long".repeat(30), "name".repeat(20));
    let tree = Layer::new()
        .dir("./")
        .dir("usr/bin")
        .entry(EntryType::Directory, b"tmp", b"", 0o1777, b"")
        .entry(EntryType::Regular, b"usr/bin/su", b"", 0o4755, b"#!")
        .file("usr/bin/tool", "first")
        .file("usr/bin/tool", "second")
        .hard("usr/bin/same", "usr/bin/tool")
        .link("bin", "usr/bin")
        .entry(EntryType::Char, b"dev/mem", b"", 0o666, b"")
        .entry(EntryType::Fifo, b"run/pipe", b"", 0o666, b"")
        .pax("SCHILY.xattr.security.capability", b"x")
        .file("etc/caf\u{e9}", "")
        .file(&long, "long")
        .pax("path", b"by-another-name")
        .file("ignored", "body")
        .pax("size", b"4")
        .file("sized", "body");
    match unpacker {
        "layer" => tree
            .file("bin/merged", "through a link")
            .dir("usr/lib")
            .link("lib", "/usr/lib")
            .dir("lib/modules")
            .file("etc/.wh.gone", "")
            .file("srv/.wh..wh..opq", "")
            .file(".wh.reborn", "")
            .file("reborn/child", "new")
            .link("bin/leads-out", "../../../outside/witness"),
        "volume" => tree
            .file("bin/merged", "through a link")
            .file("mine/witness", "in the link's place")
            .file(".wh.name", "a name like any other"),
        _ => tree.link("left-out", "../outside").file("mine/witness", "in the link's place"),
    }
}

/// As compressors write what they cannot shorten: the same bytes, whatever their version.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(bytes).expect("written to memory");
    gzip.finish().expect("written to memory")
}

/// A frame by the words of RFC 8878: the bytes as they are, and so many of nothing, which take no room.
fn zstd(bytes: &[u8], zeros: u32) -> Vec<u8> {
    const LARGEST: u32 = 128 << 10;
    let (raw, repeated) = (0, 1);
    let block =
        |last: bool, kind: u32, length: u32| (length << 3 | kind << 1 | u32::from(last)).to_le_bytes();
    // A window of 128 KiB, of no known length and without a check sum.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let length = u32::try_from(bytes.len()).expect("a seed is short");
    frame.extend(&block(zeros == 0, raw, length)[..3]);
    frame.extend(bytes);
    for left in (1..=zeros / LARGEST).rev() {
        frame.extend(&block(left == 1, repeated, LARGEST)[..3]);
        frame.push(0);
    }
    frame
}
