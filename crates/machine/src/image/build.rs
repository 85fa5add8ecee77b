//! `sublet image build DIR`: a folder becomes a layer, on a base or on nothing. The same folder makes the same digest,
//! on every machine and at every time: entries are sorted, belong to root, and were made in 1970.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::document::HealthWish;
use oci_spec::image::{
    Config, DescriptorBuilder, HistoryBuilder, ImageConfiguration, ImageManifestBuilder, MediaType,
};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::catalog::Entry;
use super::content::Content;
use super::document::oci_layer_type;
use super::rootfs::Rootfs;
use super::{Digest, ImageError, Platform, health};

/// What to make an image of, and how it shall be run. What is left out comes from the base.
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    /// The folder whose content becomes the new layer.
    pub dir: PathBuf,
    /// The image to build upon; none for a folder that is complete in itself.
    pub base: Option<Digest>,
    /// What to call it.
    pub name: Option<String>,
    /// The program. A new one drops the base's `cmd`, as that was written for the old one.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, or the program where there is no entrypoint.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`, in addition to the base's.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// `user`, `user:group`, or numbers.
    pub user: Option<String>,
    /// TCP ports that it listens on, in addition to the base's.
    pub ports: Vec<u16>,
    /// The signal that asks the program to end: a name or a number.
    pub stop_signal: Option<String>,
    /// How to see whether it is well.
    pub health: Option<HealthWish>,
}

/// Fast, and within a tenth of the best for programs. The level is part of what makes a digest reproducible.
const ZSTD_LEVEL: i32 = 3;

/// Writes the layer, configuration and manifest of the image into the store; says the manifest's digest.
///
/// # Errors
/// `Unsupported` for a folder with sockets or devices in it, `Io`, `Full`.
pub(super) fn build(
    content: &Content,
    spec: &BuildSpec,
    base: Option<(&Entry, Rootfs)>,
) -> Result<Digest, ImageError> {
    let (entry, rootfs) = base.unzip();
    let layer = write_layer(content, &spec.dir, rootfs.as_ref())?;
    let config = configuration(spec, entry.map(|entry| &entry.config.document), &layer)?;
    let unwritable = |error| ImageError::malformed("a configuration of ours", error);
    let mut config = serde_json::to_value(config).map_err(unwritable)?;
    if let Some(wish) = spec.health.as_ref().or(entry.and_then(|entry| entry.config.run.health.as_ref())) {
        health::write(&mut config, wish);
    }
    let mut layers = Vec::new();
    for below in entry.iter().flat_map(|entry| entry.manifest.document.layers()) {
        // Docker's names for layers may not stand in an OCI manifest.
        let media = oci_layer_type(below.media_type())?;
        layers.push(descriptor(media, below.digest().to_string().parse()?, below.size())?);
    }
    layers.push(descriptor(MediaType::ImageLayerZstd, layer.digest, layer.size)?);
    write_manifest(content, &canonical(&config)?, layers)
}

/// A layer that is in the store.
pub(super) struct NewLayer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) diff_id: Digest,
}

/// Compresses a tar archive, written by `write`, into the store.
pub(super) fn compress_layer(
    content: &Content,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
) -> Result<NewLayer, ImageError> {
    let blob = content.create()?;
    let path = blob.path.clone();
    let failed = || ImageError::io("compress into", &path);
    let encoder =
        zstd::Encoder::new(BufWriter::with_capacity(128 << 10, blob), ZSTD_LEVEL).map_err(failed())?;
    let mut archive = Hashing { inner: encoder, hasher: Sha256::new() };
    write(&mut archive)?;
    let diff_id = Digest::from_hasher(archive.hasher);
    let buffered = archive.inner.finish().map_err(failed())?;
    let blob = buffered.into_inner().map_err(|error| failed()(error.into_error()))?;
    let (digest, size) = blob.finish()?;
    Ok(NewLayer { digest, size, diff_id })
}

/// Writes configuration and manifest around layers that are in the store; says the manifest's digest.
pub(super) fn write_manifest(
    content: &Content,
    config: &[u8],
    layers: Vec<oci_spec::image::Descriptor>,
) -> Result<Digest, ImageError> {
    let digest = content.put(config)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, digest, config.len() as u64)?)
        .layers(layers)
        .build()
        .map_err(|error| ImageError::malformed("a manifest of ours", error))?;
    content.put(&canonical(&manifest)?)
}

pub(super) fn descriptor(
    media: MediaType,
    digest: Digest,
    size: u64,
) -> Result<oci_spec::image::Descriptor, ImageError> {
    let unwritable = |error| ImageError::malformed("a descriptor of ours", error);
    let digest: oci_spec::image::Digest = digest.to_string().parse().map_err(unwritable)?;
    DescriptorBuilder::default().media_type(media).digest(digest).size(size).build().map_err(unwritable)
}

/// One form per document: maps are sorted on their way through `Value`.
fn canonical(document: &impl serde::Serialize) -> Result<Vec<u8>, ImageError> {
    let value = serde_json::to_value(document);
    value
        .and_then(|value| serde_json::to_vec(&value))
        .map_err(|e| ImageError::malformed("a document of ours", e))
}

fn configuration(
    spec: &BuildSpec,
    base: Option<&ImageConfiguration>,
    layer: &NewLayer,
) -> Result<ImageConfiguration, ImageError> {
    let mut image = base.cloned().unwrap_or_default();
    image.set_created(None); // nothing that depends on when
    if base.is_none() {
        let here = Platform::here();
        image.set_os(here.os.as_str().into());
        image.set_architecture(here.architecture.as_str().into());
    }
    image.rootfs_mut().set_typ("layers".to_owned());
    let mut diff_ids = image.rootfs().diff_ids().clone();
    diff_ids.push(layer.diff_id.to_string());
    image.rootfs_mut().set_diff_ids(diff_ids);
    if let Some(history) = image.history_mut() {
        let step = HistoryBuilder::default().created_by("a folder").build();
        history.push(step.map_err(|error| ImageError::malformed("a history of ours", error))?);
    }
    let config = image.config().clone().unwrap_or_default();
    image.set_config(Some(run_settings(spec, config)));
    Ok(image)
}

fn run_settings(spec: &BuildSpec, mut config: Config) -> Config {
    if let Some(entrypoint) = &spec.entrypoint {
        config.set_entrypoint(Some(entrypoint.clone()));
        config.set_cmd(None);
    }
    if let Some(cmd) = &spec.cmd {
        config.set_cmd(Some(cmd.clone()));
    }
    if let Some(cwd) = &spec.cwd {
        config.set_working_dir(Some(cwd.clone()));
    }
    if let Some(user) = &spec.user {
        config.set_user(Some(user.clone()));
    }
    if let Some(signal) = &spec.stop_signal {
        config.set_stop_signal(Some(signal.clone()));
    }
    let mut env = config.env().clone().unwrap_or_default();
    for setting in &spec.env {
        let name = |setting: &str| setting.split('=').next().map(str::to_owned);
        env.retain(|old| name(old) != name(setting));
        env.push(setting.clone());
    }
    config.set_env(Some(env).filter(|env| !env.is_empty()));
    let mut ports = config.exposed_ports().clone().unwrap_or_default();
    ports.extend(spec.ports.iter().map(|port| format!("{port}/tcp")));
    ports.sort_unstable();
    ports.dedup();
    config.set_exposed_ports(Some(ports).filter(|ports| !ports.is_empty()));
    config
}

fn write_layer(content: &Content, dir: &Path, base: Option<&Rootfs>) -> Result<NewLayer, ImageError> {
    compress_layer(content, |archive| {
        let mut archive = tar::Builder::new(archive);
        append_folder(&mut archive, dir, Path::new(""), base)?;
        archive.finish().map_err(ImageError::io("write the layer of", dir))
    })
}

/// Appends what is in `dir`, as what is in `inside` of the image.
fn append_folder(
    archive: &mut tar::Builder<&mut dyn Write>,
    dir: &Path,
    inside: &Path,
    base: Option<&Rootfs>,
) -> Result<(), ImageError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(ImageError::io("list", dir))? {
        names.push(entry.map_err(ImageError::io("list", dir))?.file_name());
    }
    names.sort_unstable();
    for name in names {
        let path = dir.join(&name);
        if name.as_bytes().starts_with(b".wh.") {
            // In a layer such a name hides a file of the base: never what a folder means.
            return Err(ImageError::Unsupported {
                what: "a file name that starts with .wh.",
                found: path.display().to_string(),
            });
        }
        let metadata = fs::symlink_metadata(&path).map_err(ImageError::io("look at", &path))?;
        let kind = metadata.file_type();
        let place = inside.join(&name);
        if kind.is_dir() {
            // In a base with a merged /usr, a directory `bin` would hide the link to `usr/bin` and all below it.
            let real = base.map(|base| base.resolve(&place)).transpose()?.unwrap_or_else(|| place.clone());
            if real == place {
                let mut header = header(EntryType::Directory, metadata.permissions().mode(), 0);
                archive
                    .append_data(&mut header, &place, io::empty())
                    .map_err(ImageError::io("pack", &path))?;
            }
            append_folder(archive, &path, &real, base)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(ImageError::io("read the link", &path))?;
            let mut header = header(EntryType::Symlink, 0o777, 0);
            archive.append_link(&mut header, &place, target).map_err(ImageError::io("pack", &path))?;
        } else if kind.is_file() {
            append_file(archive, &path, &place)?;
        } else if place.starts_with("dev") && (kind.is_char_device() || kind.is_block_device()) {
            // Whoever makes a system in a folder, as debootstrap does, makes these; a guest has a /dev of its own.
        } else {
            let what =
                if kind.is_socket() { "a socket in the folder" } else { "a device or FIFO in the folder" };
            return Err(ImageError::Unsupported { what, found: path.display().to_string() });
        }
    }
    Ok(())
}

fn append_file(
    archive: &mut tar::Builder<&mut dyn Write>,
    path: &Path,
    place: &Path,
) -> Result<(), ImageError> {
    let failed = || ImageError::io("pack", path);
    let file = File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    let mut header = header(EntryType::Regular, metadata.permissions().mode(), metadata.len());
    let exactly = Exactly { inner: file, left: metadata.len() };
    archive.append_data(&mut header, place, exactly).map_err(failed())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o1777);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A file that must have as many bytes as it had when its header was written.
struct Exactly {
    inner: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (&mut self.inner).take(self.left).read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
