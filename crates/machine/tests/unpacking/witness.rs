//! A place to unpack in, next to one that must stay as it is.

#![allow(dead_code, reason = "each of its users needs a part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `root`, to unpack into, and `outside`, which an archive would like to reach.
pub struct House {
    directory: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl House {
    pub fn new() -> House {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let outside = directory.path().join("outside");
        fs::create_dir_all(outside.join("dir")).expect("made");
        fs::create_dir(directory.path().join("root")).expect("made");
        fs::write(outside.join("witness"), "untouched").expect("written");
        fs::write(outside.join("dir/inner"), "untouched").expect("written");
        let before = snapshot(&outside);
        House { directory, before }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn outside(&self) -> String {
        self.directory.path().join("outside").display().to_string()
    }

    /// Panics if anything but what is in `root` has changed.
    pub fn is_untouched(&self) {
        assert_eq!(snapshot(Path::new(&self.outside())), self.before, "it reached outside");
        let names: Vec<_> = fs::read_dir(self.directory.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name())
            .collect();
        assert_eq!(names.len(), 2, "it left something beside its root: {names:?}");
    }

    /// What lies in `root`, at any depth, with what is known of it.
    pub fn found(&self) -> BTreeMap<PathBuf, fs::Metadata> {
        let mut all = below(&self.root());
        all.remove(&self.root());
        all
    }
}

/// The directory and all in it; no link is followed.
fn below(directory: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![directory.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let stat = fs::symlink_metadata(&path).expect("it is there");
        if stat.is_dir() {
            ahead.extend(fs::read_dir(&path).expect("listed").map(|entry| entry.expect("listed").path()));
        }
        all.insert(path, stat);
    }
    all
}

/// Names, kinds, modes, sizes, link counts, times of change, contents.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let line = |(path, stat): (PathBuf, fs::Metadata)| {
        let content = if stat.is_file() { fs::read_to_string(&path).expect("read") } else { String::new() };
        let line =
            format!("{:o} {} {} {} {content}", stat.mode(), stat.size(), stat.nlink(), stat.ctime_nsec());
        (path, line)
    };
    below(directory).into_iter().map(line).collect()
}
