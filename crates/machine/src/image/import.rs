//! Images that come as files: an OCI layout in a directory, or an archive of one, or what `docker save` writes. Archives
//! are strangers' work: they are unpacked by the same code that unpacks layers, and read without leaving them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::image::MediaType;
use rustix::fs::{self as sys, FileType, Mode, OFlags, ResolveFlags};
use serde::Deserialize;

use super::build::{compress_layer, descriptor, write_manifest};
use super::catalog::full_name;
use super::content::{Content, MAX_BLOB, read_limited};
use super::document::{self, Candidate, Config, MAX_DOCUMENT, Manifest, Part};
use super::layers::decompress;
use super::merged::Names;
use super::unpack::{Limits, unpack};
use super::{Digest, ImageError};

/// An archive holds layers and a few documents.
const ARCHIVE: Limits = Limits { bytes: 2 * MAX_BLOB, entries: 10_000, style: super::unpack::Style::Layer };

/// Brings the image at `path` into the store; says its manifest's digest, and what it is called there. Of several, `name`
/// chooses.
pub(super) fn import(
    content: &Content,
    path: &Path,
    name: Option<&str>,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Digest, Option<String>), ImageError> {
    if path.is_dir() {
        return import_directory(content, &Source::open(path)?, name);
    }
    let file = File::open(path).map_err(ImageError::io("open", path))?;
    let staged = content.stage()?;
    unpack(decompress(file)?, &staged.0, ARCHIVE, &Names::new(), cancelled)?;
    import_directory(content, &Source::open(&staged.0)?, name)
}

fn import_directory(
    content: &Content,
    source: &Source,
    name: Option<&str>,
) -> Result<(Digest, Option<String>), ImageError> {
    if let Some((index, _)) = source.find("index.json")? {
        return import_layout(content, source, index, name);
    }
    if let Some((manifest, _)) = source.find("manifest.json")? {
        return import_docker(content, source, manifest, name);
    }
    let found = source.path.display().to_string();
    Err(ImageError::Unsupported { what: "an archive without index.json or manifest.json", found })
}

fn import_layout(
    content: &Content,
    source: &Source,
    index: File,
    name: Option<&str>,
) -> Result<(Digest, Option<String>), ImageError> {
    let index = read_limited(index, MAX_DOCUMENT, "the layout's index (bytes)", &source.path)?;
    let candidates = document::parse_index(&index)?;
    let names: Vec<Vec<String>> =
        candidates.iter().map(|candidate| candidate.name.iter().cloned().collect()).collect();
    let chosen: Vec<Candidate> = choose(&names, name)?.into_iter().map(|at| candidates[at].clone()).collect();
    let called = chosen.first().and_then(|candidate| candidate.name.clone());

    let mut candidate = document::for_this_machine(&chosen)?.clone();
    if candidate.is_index {
        let bytes = source.read_blob(&candidate)?;
        candidate = document::for_this_machine(&document::parse_index(&bytes)?)?.clone();
    }
    let bytes = source.read_blob(&candidate)?;
    let manifest = Manifest::parse(&bytes)?;
    for part in manifest.blobs() {
        source.copy_blob(content, part)?;
    }
    Ok((content.put(&bytes)?, called.filter(|name| is_full(name))))
}

/// One image of what `docker save` wrote before it wrote OCI layouts, and of what skopeo and podman write by default.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn import_docker(
    content: &Content,
    source: &Source,
    manifest: File,
    name: Option<&str>,
) -> Result<(Digest, Option<String>), ImageError> {
    let manifest = read_limited(manifest, MAX_DOCUMENT, "the archive's manifest (bytes)", &source.path)?;
    let saved: Vec<Saved> = serde_json::from_slice(&manifest)
        .map_err(|error| ImageError::malformed("the archive's manifest", error))?;
    let names: Vec<Vec<String>> =
        saved.iter().map(|image| image.repo_tags.clone().unwrap_or_default()).collect();
    let Some(image) = choose(&names, name)?.first().map(|at| &saved[*at]) else {
        return Err(ImageError::ChooseOne { names: Vec::new() });
    };
    let (file, _) = source.require(&image.config)?;
    let config = read_limited(file, MAX_DOCUMENT, "the image's configuration (bytes)", &source.path)?;
    // Its own platform and number of layers are checked before any layer is compressed.
    let diff_ids = Config::parse_alone(&config, image.layers.len())?.diff_ids;

    let mut layers = Vec::new();
    for (path, diff_id) in image.layers.iter().zip(diff_ids) {
        let (file, _) = source.require(path)?;
        let layer = compress_layer(content, |archive| {
            let copied = io::copy(&mut decompress(file)?, archive);
            copied.map(drop).map_err(ImageError::io("copy", &source.path.join(path)))
        })?;
        if layer.diff_id != diff_id {
            return Err(ImageError::DigestMismatch { expected: diff_id, found: layer.diff_id });
        }
        layers.push(descriptor(MediaType::ImageLayerZstd, layer.digest, layer.size)?);
    }
    let digest = write_manifest(content, &config, layers)?;
    Ok((digest, image.repo_tags.iter().flatten().next().cloned()))
}

/// Which of several images, each with its names, is meant: the only one, or those that are called `wanted`.
fn choose(images: &[Vec<String>], wanted: Option<&str>) -> Result<Vec<usize>, ImageError> {
    let is_called = |name: &String| wanted.is_some_and(|wanted| name == wanted || same_image(name, wanted));
    let called: Vec<usize> = (0..images.len()).filter(|at| images[*at].iter().any(is_called)).collect();
    if !called.is_empty() {
        return Ok(called);
    }
    // Several without a choice are one image if they share their names: then they differ by platform.
    match images.iter().find(|names| **names != images[0]) {
        None => Ok((0..images.len()).collect()),
        Some(_) => Err(ImageError::ChooseOne { names: images.iter().flatten().cloned().collect() }),
    }
}

fn same_image(one: &str, other: &str) -> bool {
    matches!((full_name(one), full_name(other)), (Ok(Some(one)), Ok(Some(other))) if one == other)
}

/// Whether a layout's name for an image says which image it is: some tools write the tag alone.
fn is_full(name: &str) -> bool {
    name.contains([':', '/']) && full_name(name).is_ok()
}

/// A directory whose links lead nowhere else.
struct Source {
    root: OwnedFd,
    path: PathBuf,
}

impl Source {
    fn open(path: &Path) -> Result<Source, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            sys::open(path, flags, Mode::empty()).map_err(|e| ImageError::io("open", path)(e.into()))?;
        Ok(Source { root, path: path.to_path_buf() })
    }

    fn find(&self, path: &str) -> Result<Option<(File, u64)>, ImageError> {
        match self.require(path) {
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// A regular file, and its size.
    fn require(&self, path: &str) -> Result<(File, u64), ImageError> {
        let at = self.path.join(path);
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Without NONBLOCK, opening a FIFO would wait for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = sys::openat2(&self.root, path, flags, Mode::empty(), inside);
        let file = file.map_err(|errno| ImageError::io("open", &at)(errno.into()))?;
        let stat = sys::fstat(&file).map_err(|errno| ImageError::io("look at", &at)(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ImageError::Unsupported {
                what: "something else than a file",
                found: at.display().to_string(),
            });
        }
        Ok((File::from(file), stat.st_size.cast_unsigned()))
    }

    fn read_blob(&self, candidate: &Candidate) -> Result<Vec<u8>, ImageError> {
        let (file, size) = self.require(&blob_path(&candidate.digest))?;
        candidate.check_size(size)?;
        let bytes = read_limited(file, MAX_DOCUMENT, "the image's manifest (bytes)", &self.path)?;
        let found = Digest::of(&bytes);
        if found != candidate.digest {
            return Err(ImageError::DigestMismatch { expected: candidate.digest, found });
        }
        Ok(bytes)
    }

    fn copy_blob(&self, content: &Content, part: &Part) -> Result<(), ImageError> {
        let Some(mut writer) = content.receive(&part.digest, part.size)? else { return Ok(()) };
        let (mut file, _) = self.require(&blob_path(&part.digest))?;
        // What an earlier transfer left is not worth the difference here.
        writer.restart()?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match io::Read::read(&mut file, &mut buffer).map_err(ImageError::io("read", &self.path))? {
                0 => return writer.finish(),
                n => writer.write(&buffer[..n])?,
            }
        }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_images_one_is_chosen_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let two = [names(&["debian:12", "debian:latest"]), names(&["busybox:1"])];
        assert_eq!(choose(&two, Some("debian")).expect("chosen"), [0]);
        assert_eq!(choose(&two, Some("docker.io/library/busybox:1")).expect("chosen"), [1]);
        assert!(matches!(choose(&two, None), Err(ImageError::ChooseOne { names }) if names.len() == 3));
        assert!(matches!(choose(&two, Some("other")), Err(ImageError::ChooseOne { .. })));
        assert_eq!(choose(&two[..1], Some("my-own-name")).expect("the only one"), [0]);
        let platforms = [names(&["app:1"]), names(&["app:1"])];
        assert_eq!(choose(&platforms, None).expect("one image"), [0, 1]);
        assert!(choose(&[], None).expect("none").is_empty());
    }
}
