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
use std::path::PathBuf;
use std::process::Command;

use sublet_machine::image::{Auth, BuildSpec, Digest, Image, ImageError, Images, Platform};
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
