//! Layers as hostile as we could think of, and honest ones that look alike. Each is unpacked next to a witness
//! directory, which must be the same afterwards whatever the layer did.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use proptest::prelude::*;
use rustix::fs as sys;
use tar::{EntryType, Header};

use super::*;
use crate::image::Trick;
use crate::tarball::{MAX_DEPTH, MAX_PATH};

#[path = "../../../tests/unpacking/layer.rs"]
mod layer;
#[path = "../../../tests/unpacking/witness.rs"]
mod witness;

use layer::Layer;
use witness::House;

impl House {
    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, ImageError> {
        let limits = Limits { bytes: 1 << 20, entries: 1_000, style: Style::Layer };
        let result = unpack(archive, &self.root(), limits, &Names::new(), &|| false);
        self.is_untouched();
        result
    }

    fn refuses(&self, layer: Layer, wanted: Trick) {
        match self.unpack(&layer.bytes()) {
            Err(ImageError::Hostile { trick, .. }) => assert_eq!(trick, wanted),
            other => panic!("not refused as {wanted:?}: {other:?}"),
        }
    }

    fn takes(&self, layer: Layer) -> Unpacked {
        self.unpack(&layer.bytes()).expect("the layer is fine")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).expect(path)
    }

    fn stat(&self, path: &str) -> fs::Metadata {
        fs::symlink_metadata(self.root().join(path)).expect(path)
    }

    fn mode(&self, path: &str) -> u32 {
        self.stat(path).mode() & 0o7777
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let stat = self.stat(path);
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    fn is_opaque(&self, path: &str) -> bool {
        let mut value = [0; 8];
        sys::getxattr(self.root().join(path), "user.overlay.opaque", &mut value) == Ok(1) && value[0] == b'y'
    }
}

#[test]
fn an_honest_layer_is_unpacked_as_it_is() {
    let house = House::new();
    let long = format!("opt/{}/{}", "long".repeat(30), "name".repeat(20));
    let unpacked = house.takes(
        Layer::new()
            .dir("./")
            .entry(EntryType::Directory, b"tmp", b"", 0o1777, b"")
            .entry(EntryType::Regular, b"bin/tool", b"", 0o700, b"#!")
            .entry(EntryType::Regular, b"etc/shadow", b"", 0o640, b"secret")
            .file("etc/conf", "x=1")
            .hard("etc/same", "etc/conf")
            .link("etc/link", "conf")
            .file(&long, "long")
            .pax("path", b"pax-name")
            .file("ignored", "by pax"),
    );
    // And four directories on the way.
    assert_eq!((unpacked.entries, unpacked.skipped), (9 + 4, 0));
    assert_eq!(unpacked.bytes, 2 + 6 + 3 + 4 + 6);
    assert_eq!(house.mode("tmp"), 0o1777);
    assert_eq!(house.mode("bin"), 0o755);
    assert_eq!(house.mode("bin/tool"), 0o755);
    assert_eq!(house.mode("etc/shadow"), 0o644);
    assert_eq!(house.read("etc/link"), "x=1");
    assert_eq!(house.stat("etc/same").ino(), house.stat("etc/conf").ino());
    assert_eq!(house.stat("etc/conf").mtime(), 1_000_000_000);
    assert_eq!(house.stat("etc/link").mtime(), 1_000_000_000);
    assert_eq!(house.read(&long), "long");
    assert_eq!(house.read("pax-name"), "by pax");
}

#[test]
fn a_merged_usr_is_followed() {
    let house = House::new();
    house.takes(
        Layer::new()
            .dir("usr/lib")
            .link("lib", "usr/lib")
            .link("lib64", "/usr/lib")
            .dir("lib/modules")
            .file("lib64/libc.so", "libc"),
    );
    assert!(house.stat("lib").file_type().is_symlink());
    assert!(house.stat("usr/lib/modules").is_dir());
    assert_eq!(house.read("usr/lib/libc.so"), "libc");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let house = House::new();
    house.takes(
        Layer::new()
            .file("a/deep/file", "1")
            .file("a", "now a file")
            .file("b", "1")
            .dir("b")
            .file("b/c", "2")
            .link("d", "b")
            .file("d", "no link")
            .file("e", "first")
            .file("e", "second")
            .hard("e", "e")
            .hard("b/c", "e"),
    );
    assert_eq!(house.read("a"), "now a file");
    assert_eq!(house.read("b/c"), "second");
    assert_eq!(house.read("d"), "no link");
    assert_eq!(house.read("e"), "second");
}

#[test]
fn whiteouts_become_what_overlayfs_knows() {
    let house = House::new();
    house.takes(
        Layer::new()
            .file("etc/.wh.gone", "")
            .file("usr/share/.wh..wh..opq", "")
            .file("usr/share/new", "kept")
            .file("kept", "of this layer")
            .file(".wh.kept", "")
            .file(".wh.reborn", "")
            .file("reborn/child", "new")
            .file(".wh.renewed", "")
            .dir("renewed")
            .dir("dir")
            .file(".wh.dir", "")
            .file(".wh..wh.plnk", "")
            .file(".wh.replaced", "")
            .file("replaced", "new"),
    );
    assert!(house.is_whiteout("etc/gone"));
    assert!(house.is_opaque("usr/share") && !house.is_opaque("usr"));
    assert_eq!(house.read("usr/share/new"), "kept");
    assert_eq!(house.read("kept"), "of this layer");
    assert!(house.is_opaque("reborn") && house.is_opaque("renewed") && house.is_opaque("dir"));
    assert_eq!(house.read("reborn/child"), "new");
    assert_eq!(house.read("replaced"), "new");
    assert!(!house.root().join(".wh.plnk").exists() && !house.root().join(".wh..wh.plnk").exists());
}

#[test]
fn nothing_climbs_out() {
    let house = House::new();
    house.refuses(Layer::new().file("../escape", ""), Trick::Climbs);
    house.refuses(Layer::new().file("a/b/../../../escape", ""), Trick::Climbs);
    house.refuses(Layer::new().dir("../outside"), Trick::Climbs);
    house.refuses(Layer::new().link("../escape", "x"), Trick::Climbs);
    house.refuses(Layer::new().file("../outside/.wh.witness", ""), Trick::Climbs);
    house.refuses(Layer::new().hard("h", "../outside/witness"), Trick::Climbs);
    house.refuses(Layer::new().hard("h", "a/../../outside/witness"), Trick::Climbs);
}

#[test]
fn an_absolute_path_starts_at_the_images_root() {
    let house = House::new();
    let witness = format!("{}/witness", house.outside());
    house.takes(Layer::new().file(&witness, "mine").file("///etc/x", "x"));
    assert_eq!(house.read(witness.trim_start_matches('/')), "mine");
    assert_eq!(house.read("etc/x"), "x");
}

#[test]
fn no_link_leads_out() {
    for target in [
        "{outside}",
        "../outside",
        "../../../../../../../../{outside}",
        "/proc/self/root/{outside}",
        "/proc/self/cwd",
    ] {
        let house = House::new();
        let target = target.replace("{outside}", &house.outside());
        let through = |name: &str| Layer::new().link("s", &target).file(&format!("s/{name}"), "evil");
        house.refuses(through("escape"), Trick::NotADirectory);
        house.refuses(through("dir/inner"), Trick::NotADirectory);
        house.refuses(through(".wh.witness"), Trick::NotADirectory);
        house.refuses(through(".wh..wh..opq"), Trick::NotADirectory);
        house.refuses(Layer::new().link("s", &target).dir("s/dir"), Trick::NotADirectory);
        house.refuses(Layer::new().link("s", &target).hard("h", "s/witness"), Trick::LinkToNothing);
    }
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let house = House::new();
    let (outside, witness) = (house.outside(), format!("{}/witness", house.outside()));
    house.takes(
        Layer::new()
            .link("file", &witness)
            .file("file", "mine")
            .link("dir", &outside)
            .entry(EntryType::Directory, b"dir", b"", 0o777, b"")
            .file("dir/witness", "mine")
            .link("first", &witness)
            .hard("second", "first")
            .file("second", "mine")
            .link("white", &witness)
            .file(".wh.white", ""),
    );
    assert_eq!(house.read("file"), "mine");
    assert_eq!(house.read("dir/witness"), "mine");
    assert_eq!(house.read("second"), "mine");
    assert!(house.stat("first").file_type().is_symlink());
}

#[test]
fn hard_links_lead_to_files_of_the_layer() {
    let house = House::new();
    let witness = format!("{}/witness", house.outside());
    house.refuses(Layer::new().hard("h", &witness), Trick::LinkToNothing);
    house.refuses(Layer::new().hard("h", "missing"), Trick::LinkToNothing);
    house.refuses(Layer::new().dir("d").hard("h", "d"), Trick::LinkToDirectory);
    house.refuses(Layer::new().hard("h", "/"), Trick::LinkToDirectory);
    house.refuses(Layer::new().file(".wh.w", "").hard("h", "w"), Trick::LinkToNothing);
    house.refuses(Layer::new().file("d/f", "").hard("d", "d/f"), Trick::LinkToNothing);
}

#[test]
fn no_device_no_fifo_no_setuid_no_attribute() {
    let house = House::new();
    let unpacked = house.takes(
        Layer::new()
            .entry(EntryType::Char, b"dev/mem", b"", 0o666, b"")
            .entry(EntryType::Block, b"dev/sda", b"", 0o666, b"")
            .entry(EntryType::Fifo, b"run/pipe", b"", 0o666, b"")
            .entry(EntryType::Regular, b"su", b"", 0o6755, b"su")
            .entry(EntryType::Directory, b"sgid", b"", 0o3777, b"")
            .pax("SCHILY.xattr.user.overlay.opaque", b"y")
            .dir("d")
            .pax("SCHILY.xattr.security.capability", b"x")
            .file("f", ""),
    );
    assert_eq!(unpacked.skipped, 3);
    assert!(!house.root().join("dev/mem").exists() && !house.root().join("run").exists());
    assert_eq!(house.mode("su"), 0o755);
    assert_eq!(house.mode("sgid"), 0o1777);
    assert!(!house.is_opaque("d"));
    let mut names = [0; 256];
    assert_eq!(sys::listxattr(house.root().join("f"), &mut names), Ok(0));
}

#[test]
fn whiteouts_have_something_to_hide() {
    let house = House::new();
    for bad in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        house.refuses(Layer::new().file(bad, ""), Trick::BadWhiteout);
    }
}

#[test]
fn the_root_stays_a_directory() {
    let house = House::new();
    house.refuses(Layer::new().file(".", "x"), Trick::ReplacesRoot);
    house.refuses(Layer::new().link("./", "/"), Trick::ReplacesRoot);
    house.refuses(Layer::new().link("/", "/"), Trick::ReplacesRoot);
    house.takes(Layer::new().entry(EntryType::Directory, b"/", b"", 0o700, b""));
    assert_eq!(house.mode(""), 0o755);
}

#[test]
fn names_have_limits() {
    let house = House::new();
    house.refuses(Layer::new().pax("path", b"a\0b").file("x", ""), Trick::ZeroByte);
    house.refuses(Layer::new().pax("linkpath", b"a\0b").link("x", "y"), Trick::ZeroByte);
    house.refuses(Layer::new().file(&"n".repeat(256), ""), Trick::TooLong);
    house.refuses(Layer::new().file(&"d/".repeat(MAX_DEPTH + 1), ""), Trick::TooLong);
    house.refuses(Layer::new().file(&"name/".repeat(1000), ""), Trick::TooLong);
    house.refuses(Layer::new().link("x", &"t".repeat(MAX_PATH + 1)), Trick::TooLong);
    house.takes(Layer::new().file(&format!("{}f", "d/".repeat(MAX_DEPTH - 1)), ""));
}

#[test]
fn a_ladder_of_links_is_not_climbed() {
    // Each link leads to the bottom of the tree before, so that short paths make a tree without end.
    let house = House::new();
    let hundred = "d/".repeat(100);
    let mut layer = Layer::new().dir(&hundred).link("s0", &hundred);
    for step in 0..5 {
        let path = format!("s{step}/{hundred}");
        layer = layer.dir(&path).link(&format!("s{}", step + 1), &path);
    }
    house.refuses(layer, Trick::TooLong);
}

#[test]
fn links_in_a_circle_are_left() {
    let house = House::new();
    house.refuses(Layer::new().link("a", "b").link("b", "a").file("a/x", ""), Trick::NotADirectory);
}

#[test]
fn a_file_is_no_directory() {
    let house = House::new();
    house.refuses(Layer::new().file("f", "").file("f/x", ""), Trick::NotADirectory);
}

#[test]
fn bombs_are_cut_short() {
    let house = House::new();
    let too_large = |archive: &[u8]| {
        let result = house.unpack(archive);
        assert!(matches!(result, Err(ImageError::TooLarge { .. })), "{result:?}");
    };
    // More bytes, also of entries whose bodies nobody wants, than the layer may have.
    let body = vec![b'x'; (1 << 20) + 1];
    too_large(&Layer::new().entry(EntryType::Regular, b"f", b"", 0o644, &body).bytes());
    too_large(&Layer::new().entry(EntryType::Directory, b"d", b"", 0o755, &body).bytes());
    // A header that would be read whole into memory.
    too_large(&Layer::new().extension(EntryType::GNULongName, &vec![b'n'; 4 << 20]).file("x", "").bytes());
    // Files without end.
    let many = (0..1_001).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), ""));
    too_large(&many.bytes());
    // Directories that no entry names.
    let implied = (0..11).fold(Layer::new(), |layer, n| layer.file(&format!("{n}/{}f", "d/".repeat(99)), ""));
    too_large(&implied.bytes());
    // Something after the end.
    let mut tail = Layer::new().file("f", "").bytes();
    tail.resize(tail.len() + (17 << 20), b'x');
    too_large(&tail);
}

#[test]
fn a_sparse_file_counts_as_it_unfolds() {
    let house = House::new();
    let result = house.unpack(&Layer::new().sparse("sparse", 2 << 30).bytes());
    assert!(matches!(result, Err(ImageError::TooLarge { .. })), "{result:?}");
}

#[test]
fn a_compressed_bomb_is_cut_short() {
    // 256 MiB of nothing in one file, of which no more than the limit may ever be written.
    let zeros = 256 << 20;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path("zeros").expect("short");
    header.set_mode(0o644);
    header.set_size(zeros);
    header.set_cksum();
    let plain = || io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(0).take(zeros + 1024));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::copy(&mut plain().take(32 << 20), &mut gzip).expect("written to memory");
    let gzip = gzip.finish().expect("written to memory");
    let zstd = zstd::encode_all(plain(), 1).expect("written to memory");
    for bomb in [gzip, zstd] {
        assert!(bomb.len() < 1 << 20, "{} bytes as it travels", bomb.len());
        let house = House::new();
        let limits = Limits { bytes: 1 << 20, entries: 10, style: Style::Layer };
        let archive = crate::image::layers::decompress(bomb.as_slice()).expect("its kind is known");
        let refused = unpack(archive, &house.root(), limits, &Names::new(), &|| false);
        assert!(matches!(refused, Err(ImageError::TooLarge { limit: 1_048_576, .. })), "{refused:?}");
        assert!(house.stat("zeros").size() <= 1 << 20);
    }
}

#[test]
fn a_name_need_not_be_text() {
    let house = House::new();
    let name = b"caf\xe9\xff";
    house.takes(
        Layer::new()
            .entry(EntryType::Regular, name, b"", 0o644, b"latin")
            .entry(EntryType::Symlink, b"link", name, 0o777, b"")
            .entry(EntryType::Link, b"hard", name, 0o644, b"")
            .entry(EntryType::Regular, b".wh.\xff", b"", 0o644, b""),
    );
    assert_eq!(house.read("link"), "latin");
    assert_eq!(house.read("hard"), "latin");
    let whiteout = std::ffi::OsStr::from_bytes(b"\xff");
    assert!(fs::symlink_metadata(house.root().join(whiteout)).expect("made").file_type().is_char_device());
    house.refuses(Layer::new().entry(EntryType::Regular, b"../\xff", b"", 0o644, b""), Trick::Climbs);
}

#[test]
fn an_extended_header_is_judged_like_a_plain_one() {
    let house = House::new();
    let witness = format!("{}/witness", house.outside());
    house.refuses(Layer::new().pax("path", b"../outside/escape").file("x", ""), Trick::Climbs);
    house.refuses(Layer::new().pax("path", b".").file("x", ""), Trick::ReplacesRoot);
    house.refuses(Layer::new().pax("path", b".wh..").file("x", ""), Trick::BadWhiteout);
    house.refuses(Layer::new().pax("linkpath", b"../outside/witness").hard("h", "x"), Trick::Climbs);
    house.refuses(Layer::new().pax("linkpath", witness.as_bytes()).hard("h", "x"), Trick::LinkToNothing);
    house.refuses(
        Layer::new().extension(EntryType::GNULongName, b"../outside/escape").file("x", ""),
        Trick::Climbs,
    );
    house.refuses(
        Layer::new().extension(EntryType::GNULongLink, b"../outside/witness").hard("h", "x"),
        Trick::Climbs,
    );
}

#[test]
fn a_size_in_an_extended_header_hides_no_entry() {
    // Who believed the plain header's size would see a second entry in the first one's body.
    let hidden = Layer::new().file("hidden", "evil").bytes();
    let house = House::new();
    let mut layer = Layer::new().pax("size", hidden.len().to_string().as_bytes());
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_path("shown").expect("short");
    header.set_mode(0o644);
    header.set_size(512);
    header.set_cksum();
    layer.0.append(&header, hidden.as_slice()).expect("written to memory");
    house.takes(layer.file("after", "honest"));
    assert_eq!(house.stat("shown").size(), hidden.len() as u64);
    assert_eq!(house.read("after"), "honest");
    assert!(!house.root().join("hidden").exists());

    // A size that nothing stands behind, or that no number holds.
    for size in ["9223372036854775807", "18446744073709551615", "99999999999999999999999", "-1"] {
        let refused = House::new().unpack(&Layer::new().pax("size", size.as_bytes()).file("f", "x").bytes());
        assert!(
            matches!(refused, Err(ImageError::Malformed { .. } | ImageError::TooLarge { .. })),
            "{size}: {refused:?}"
        );
    }
}

#[test]
fn times_and_owners_beyond_measure_are_brought_back() {
    let house = House::new();
    let dated = |layer: Layer, name: &str, mtime: [u8; 12]| {
        let mut layer = layer;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_path(name).expect("short");
        header.set_mode(0o644);
        header.set_size(0);
        let fields = header.as_old_mut();
        fields.mtime = mtime;
        fields.uid = [0xff; 8];
        fields.gid = *b"7777777\0";
        header.set_cksum();
        layer.0.append(&header, io::empty()).expect("written to memory");
        layer
    };
    let mut distant = [0x7f; 12];
    distant[0] = 0x80;
    let mut lowest = [0; 12];
    lowest[0] = 0xff;
    lowest[4] = 0x80;
    let mut layer = dated(Layer::new(), "before", [0xff; 12]);
    layer = dated(layer, "distant", distant);
    layer = dated(layer, "lowest", lowest);
    house.takes(dated(layer, "octal", *b"77777777777\0"));
    assert_eq!(house.stat("before").mtime(), -1);
    assert_eq!(house.stat("octal").mtime(), 0o77_777_777_777);
    // What the file system keeps of the rest is its own; files there are, and they are the node's.
    let me = rustix::process::geteuid().as_raw();
    for name in ["before", "distant", "lowest", "octal"] {
        assert_eq!(house.stat(name).uid(), me, "{name}");
    }
}

#[test]
fn a_layer_knows_nothing_of_the_one_below() {
    // What one layer leads out by, the next one does not follow: each has a root of its own.
    let (below, above) = (House::new(), House::new());
    let outside = above.outside();
    below.takes(Layer::new().link("s", &outside).file("f", "below").link("w", &outside));
    above.refuses(Layer::new().hard("h", "f"), Trick::LinkToNothing);
    above.refuses(Layer::new().hard("h", "s/witness"), Trick::LinkToNothing);
    above.takes(Layer::new().file("s/witness", "mine").file("w/.wh.witness", "").file("w/.wh..wh..opq", ""));
    assert_eq!(above.read("s/witness"), "mine");
    assert!(above.is_whiteout("w/witness") && above.is_opaque("w"));
}

#[test]
fn a_broken_archive_is_malformed() {
    let house = House::new();
    let whole = Layer::new().file("f", &"x".repeat(5_000)).bytes();
    let malformed = |bytes: &[u8]| matches!(house.unpack(bytes), Err(ImageError::Malformed { .. }));
    assert!(malformed(&whole[..3_000]), "cut in a file");
    assert!(malformed(&whole[..300]), "cut in a header");
    let mut damaged = whole.clone();
    damaged[0] ^= 1;
    assert!(malformed(&damaged), "a wrong check sum");
    let strange = Layer::new().entry(EntryType::new(b'Z'), b"x", b"y", 0o644, b"").bytes();
    assert!(matches!(house.unpack(&strange), Err(ImageError::Hostile { trick: Trick::UnknownKind, .. })));
}

#[test]
fn a_cancelled_layer_stops() {
    let house = House::new();
    let layer = Layer::new().file("a", "a").file("b", "b").bytes();
    let result = unpack(layer.as_slice(), &house.root(), Limits::LAYER, &Names::new(), &|| true);
    assert!(matches!(result, Err(ImageError::Cancelled)));
}

fn a_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[abc]",
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => "\\.wh\\.[abc]",
        1 => Just(".wh..wh..opq".to_owned()),
        1 => Just(String::new()),
        1 => Just("outside".to_owned()),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn an_entry() -> impl Strategy<Value = (u8, String, String, u32)> {
    let kind = prop::sample::select(b"0000555222111734S7xgLKZ".to_vec());
    (kind, a_path(), a_path(), 0_u32..0o10000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_layer_reaches_outside(entries in prop::collection::vec(an_entry(), 1..24)) {
        let house = House::new();
        let layer = entries.iter().fold(Layer::new(), |layer, (kind, path, link, mode)| {
            layer.entry(EntryType::new(*kind), path.as_bytes(), link.as_bytes(), *mode, b"body")
        });
        // Whether it is taken does not matter: `unpack` compares what is outside.
        let _ = house.unpack(&layer.bytes());
    }

    #[test]
    fn no_bytes_reach_outside(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = House::new().unpack(&bytes);
    }

    #[test]
    fn no_damage_reaches_outside(at in 0_usize..4096, with in any::<u8>()) {
        let mut bytes = Layer::new().dir("a").file("a/f", "x").link("l", "a").hard("h", "a/f").file("l/.wh.w", "").bytes();
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = House::new().unpack(&bytes);
    }
}
