//! The image store against the real world: Debian's `docker-registry`, archives by `skopeo`, folders, a full disk.

mod disks;
mod folders;
mod impostors;
mod merged;
mod registries;
mod registry;
mod room;
#[path = "../unpacking/stack.rs"]
mod stack;
mod strangers;
#[path = "../unpacking/layer.rs"]
mod tarball;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sublet_machine::image::{Auth, BuildSpec, Image, ImageError, Images};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A node's store in a directory of its own.
struct Store {
    images: Images,
    directory: TempDir,
}

impl Store {
    fn new() -> Store {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let images = Images::open(directory.path().join("images")).expect("the store opens");
        Store { images, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A folder with these files in it.
    fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        for (path, content) in files {
            let path = self.path(name).join(path);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        self.path(name)
    }

    async fn build(&self, name: &str, files: &[(&str, &str)]) -> Image {
        let dir = self.folder(name, files);
        let spec = BuildSpec { dir, name: Some(name.to_owned()), ..BuildSpec::default() };
        self.images.build(spec).await.expect("the folder becomes an image")
    }

    async fn pull(&self, reference: &str) -> Result<Image, ImageError> {
        self.images.pull(reference, Auth::Anonymous, &|_| {}, &CancellationToken::new()).await
    }

    async fn layers(&self, image: &Image) -> Vec<PathBuf> {
        let prepared = self.images.prepare(&image.digest, &|_| {}, &CancellationToken::new()).await;
        prepared.expect("it can be prepared").layers
    }

    /// Entries of a directory of the store, by which one sees what is left behind.
    fn count(&self, directory: &str) -> usize {
        fs::read_dir(self.images.root().join(directory)).expect("listed").count()
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): apt-get install {program}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A gzip archive of these files.
fn gzip(files: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let plain = archive(files);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).expect("written to memory");
    (encoder.finish().expect("written to memory"), plain)
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, Path::new(path), content.as_bytes()).expect("written to memory");
    }
    archive.into_inner().expect("written to memory")
}
