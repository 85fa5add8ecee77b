//! OCI images on this machine: where they come from, where they are kept, and how they become directories.
//!
//! ```text
//!   registry --pull--\                                  /--parts, open_blob--> a neighbour
//!   archive --import--\                                /
//!   folder ----build----> blobs by sha256 + index.json ---prepare--> one directory per layer --> guests
//!   neighbour -receive-/                               (unpacked once, shared, read-only)
//! ```
//!
//! The store is an OCI image layout. Nothing in it is believed: each blob is hashed as it comes, each document is
//! checked, each layer is unpacked by [`unpack`](self) and compared with its diffID. Nothing in it is half: all is
//! written beside and renamed.

mod assembly;
mod build;
mod catalog;
mod collect;
mod content;
mod digest;
mod document;
mod error;
mod health;
mod import;
mod layers;
mod merged;
mod notes;
mod pieces;
mod public_registry;
mod pull;
mod reference;
mod registry;
pub(crate) mod rootfs;
mod unpack;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use assembly::{Assembly, Piece, SourceNo};
pub use build::BuildSpec;
pub use catalog::Image;
pub use collect::{Collected, Room};
pub use content::BlobWriter;
pub use digest::{Digest, NotADigest};
pub use document::{Part, PartKind, Platform, RunConfig};
pub use error::{ImageError, Trick};
pub use notes::{Note, Policy, Serve};
pub use pieces::{MAX_LIST, PIECE, PieceList};
pub use public_registry::{Reach, RegistrySource};
pub use unpack::{Limits, Style, Unpacked};

use catalog::{Catalog, Entry};
use content::Content;
use merged::Names;
use notes::Notes;
use reference::Reference;
use rootfs::Rootfs;

/// The images of one node. Clones share one store.
#[derive(Debug, Clone)]
pub struct Images {
    content: Arc<Content>,
    catalog: Arc<Catalog>,
    notes: Arc<Notes>,
}

/// How far a transfer or the unpacking has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done, as they travel (compressed).
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What is being done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its parts come from elsewhere.
    Fetching,
    /// Its layers become directories.
    Unpacking,
}

/// Somebody who wants to know how far it has come.
pub type Watch<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Who asks a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Anybody.
    #[default]
    Anonymous,
    /// A user with a password or an access token.
    Basic {
        /// Name.
        user: String,
        /// Password or token.
        password: String,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Auth::Anonymous => write!(f, "Anonymous"),
            Auth::Basic { user, .. } => write!(f, "Basic({user}, ..)"), // no password in any log
        }
    }
}

/// What there is to know about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Name, size, platform.
    pub image: Image,
    /// Its blobs, the manifest first.
    pub parts: Vec<Part>,
    /// How it wants to be run.
    pub config: RunConfig,
    /// What its maker noted.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// An image that a guest can be started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Read-only directories, lowest first, for an overlay mounted with `userxattr`. Absolute. They belong to the
    /// node's user, lie below a directory that only that user may enter, and stay until the image is removed.
    pub layers: Vec<PathBuf>,
    /// How it wants to be run.
    pub config: RunConfig,
}

/// How many layers are unpacked at a time: one is bound by a core, four by the disk.
const UNPACKED_AT_ONCE: usize = 4;

/// How often somebody who watches hears of it.
const REPORT_EVERY: Duration = Duration::from_millis(100);

impl Images {
    /// Opens the store at `root`, making it where it is missing. Clears what a crash left there; a node opens its
    /// store once.
    ///
    /// # Errors
    /// `Io` when the directory cannot be used, `Malformed` when its index cannot be read.
    pub fn open(root: PathBuf) -> Result<Images, ImageError> {
        let content = Content::open(root)?;
        let catalog = Catalog::open(&content)?;
        let notes = Notes::open(content.root.join("notes.json"))?;
        Ok(Images { content: Arc::new(content), catalog: Arc::new(catalog), notes: Arc::new(notes) })
    }

    /// Fetches an image by its name at a registry. Registries on this machine are asked over plain HTTP, all others
    /// over TLS.
    ///
    /// # Errors
    /// `BadReference`, `UnknownImage`, `Denied`, `Unreachable`, `Silent`, `Registry`; `NoPlatform`, `Malformed`, `Unsupported`,
    /// `TooLarge`, `DigestMismatch`, `SizeMismatch` for what is not to be used; `Full`, `Cancelled`, `Io`. What has come
    /// by then stays, and is not fetched again.
    pub async fn pull(
        &self,
        reference: &str,
        auth: Auth,
        watch: Watch<'_>,
        cancel: &CancellationToken,
    ) -> Result<Image, ImageError> {
        let parsed: Reference = reference.parse()?;
        let name = catalog::full_name(reference)?;
        // What anybody can have from a public registry is no secret between neighbours either.
        let open = auth == Auth::Anonymous && !registry::is_loopback(parsed.host());
        let pull = async {
            let digest = pull::fetch(&self.content, parsed, auth, watch).await?;
            let image = self.adopt(&digest, name.as_deref()).await?;
            self.notes.change(&digest, |note| note.open |= open)?;
            Ok(image)
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ImageError::Cancelled),
            image = pull => image,
        }
    }

    /// Takes an image from an OCI layout in a directory, or from an archive (plain, gzip or zstd) of an OCI layout or
    /// by `docker save`. `name` chooses one of several, and is what a single one is called here.
    ///
    /// # Errors
    /// `ChooseOne`, `NoPlatform`, `Malformed`, `Unsupported`, `Hostile`, `TooLarge`, `DigestMismatch`, `SizeMismatch`,
    /// `BadReference`, `Full`, `Io`.
    pub async fn import(&self, path: &Path, name: Option<&str>) -> Result<Image, ImageError> {
        name.map(catalog::full_name).transpose()?; // before the work, not after
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        let (images, path, name) = (self.clone(), path.to_path_buf(), name.map(str::to_owned));
        blocking(move || {
            let imported = import::import(&images.content, &path, name.as_deref(), &|| cancel.is_cancelled());
            let (digest, called) = imported?;
            images.catalog.add(&images.content, &digest, name.or(called).as_deref())
        })
        .await
    }

    /// Makes an image of a folder.
    ///
    /// # Errors
    /// `Incomplete` when the base is not here, `Unsupported` for sockets or devices in the folder, `Full`, `Io`.
    pub async fn build(&self, spec: BuildSpec) -> Result<Image, ImageError> {
        let base = match &spec.base {
            Some(digest) => {
                Some((self.entry(digest)?, self.prepare(digest, &|_| {}, &CancellationToken::new()).await?))
            }
            None => None,
        };
        let images = self.clone();
        blocking(move || {
            let base = match &base {
                Some((entry, prepared)) => Some((entry, Rootfs::open(&prepared.layers)?)),
                None => None,
            };
            let digest = build::build(&images.content, &spec, base)?;
            images.catalog.add(&images.content, &digest, spec.name.as_deref())
        })
        .await
    }

    /// All images, as they came.
    pub fn list(&self) -> Vec<Image> {
        self.catalog.list()
    }

    /// What there is to know about an image.
    ///
    /// # Errors
    /// `Incomplete` when it is not here.
    pub fn inspect(&self, manifest: &Digest) -> Result<Inspection, ImageError> {
        let entry = self.entry(manifest)?;
        let parts = entry.parts();
        Ok(Inspection { image: entry.image, parts, config: entry.config.run, labels: entry.config.labels })
    }

    /// The image of this name (`debian` is `debian:latest`), digest, or first digits of one.
    ///
    /// # Errors
    /// `Ambiguous` when the digits fit several.
    pub fn resolve(&self, name_or_digest: &str) -> Result<Option<Image>, ImageError> {
        self.catalog.resolve(name_or_digest)
    }

    /// Removes an image with all that no other image needs. No guest of it may be running: its files would go.
    /// Says whether it was here.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, manifest: &Digest) -> Result<bool, ImageError> {
        let removed = self.catalog.remove(&self.content, manifest)?.is_some();
        self.notes.forget(manifest)?;
        Ok(removed)
    }

    /// The list of an image's pieces, and its BLAKE3 hash. It is made when it is first asked for, which takes a second for
    /// each GiB or two: call it where that may block.
    ///
    /// # Errors
    /// `Incomplete` when the image is not here; `Io`.
    pub fn pieces(&self, manifest: &Digest) -> Result<(Vec<u8>, [u8; 32]), ImageError> {
        pieces::of(&self.content, &self.entry(manifest)?)
    }

    /// Whether so many bytes more fit on the disk, beside what is kept free for the owner.
    ///
    /// # Errors
    /// `Full` when they do not, `Io`.
    pub fn has_room(&self, needed: u64) -> Result<(), ImageError> {
        content::require_room(&self.content.root, needed)
    }

    /// Begins, or goes on with, an image that comes in pieces. Reads what is here of it: call it where that may block.
    ///
    /// # Errors
    /// `Full`, `Io`.
    pub fn assemble(&self, list: PieceList) -> Result<Assembly, ImageError> {
        Assembly::begin(&self.content, list)
    }

    /// Compares a list of pieces with what is here of its image by now: the sooner a list that lies, or an image that is
    /// not for this machine, is found out, the less of it has come for nothing.
    ///
    /// # Errors
    /// `Malformed`, `Unsupported`, `TooLarge`, `NoPlatform`.
    pub fn check_list(&self, list: &PieceList, manifest: &Digest) -> Result<(), ImageError> {
        let lies = || ImageError::malformed("the image's list of pieces", "it is another image's");
        if list.parts.first().is_none_or(|first| first.digest != *manifest) {
            return Err(lies());
        }
        if !self.has(manifest) {
            return Ok(());
        }
        let bytes = self.content.read(manifest, "the image's manifest")?;
        let document = document::Manifest::parse(&bytes)?;
        if !list.fits(&document) {
            return Err(lies());
        }
        if self.has(&document.config.digest) {
            let config = self.content.read(&document.config.digest, "the image's configuration")?;
            document::Config::parse(&config, &document)?;
        }
        Ok(())
    }

    /// What is noted of an image.
    pub fn note(&self, manifest: &Digest) -> Note {
        self.notes.of(manifest)
    }

    /// Says whether neighbours that know its digest may have this image.
    ///
    /// # Errors
    /// `Incomplete` when it is not here; `Io`.
    pub fn set_open(&self, manifest: &Digest, open: bool) -> Result<(), ImageError> {
        self.entry(manifest)?;
        self.notes.change(manifest, |note| note.open = open)
    }

    /// What a neighbour must fetch to have this image, the manifest first.
    ///
    /// # Errors
    /// `Incomplete` when it is not here.
    pub fn parts(&self, manifest: &Digest) -> Result<Vec<Part>, ImageError> {
        Ok(self.entry(manifest)?.parts())
    }

    /// What else belongs to the image whose manifest has been received: so that a neighbour who knows only the
    /// digest asks for the manifest, then for these, then adopts.
    ///
    /// # Errors
    /// `Incomplete` when the manifest is not here; `Malformed`, `Unsupported`, `TooLarge` when it is not to be used.
    pub fn parts_named_by(&self, manifest: &Digest) -> Result<Vec<Part>, ImageError> {
        if !self.has(manifest) {
            return Err(ImageError::Incomplete { image: *manifest, missing: vec![*manifest] });
        }
        let bytes = self.content.read(manifest, "the image's manifest")?;
        Ok(document::Manifest::parse(&bytes)?.blobs().copied().collect())
    }

    /// Whether this blob is here, whole.
    pub fn has(&self, blob: &Digest) -> bool {
        self.content.has(blob)
    }

    /// A blob to send to a neighbour, and its size in bytes.
    ///
    /// # Errors
    /// `Io` when it is not here.
    pub fn open_blob(&self, blob: &Digest) -> Result<(File, u64), ImageError> {
        self.content.open_blob(blob)
    }

    /// Begins or resumes the receipt of a blob of `size` bytes; `None` when it is here already. Reads what is here of
    /// it, so that a large part takes a second: call it where that may block.
    ///
    /// # Errors
    /// `Busy` when somebody else receives it now, `TooLarge`, `Full`, `Io`.
    pub fn receive(&self, blob: &Digest, size: u64) -> Result<Option<BlobWriter>, ImageError> {
        self.content.receive(blob, size)
    }

    /// Takes an image whose parts have all been received into the list.
    ///
    /// # Errors
    /// `Incomplete` with what is missing; `Malformed`, `Unsupported`, `TooLarge`, `SizeMismatch` or `NoPlatform` when it
    /// is not an image for this machine.
    pub async fn adopt(&self, manifest: &Digest, name: Option<&str>) -> Result<Image, ImageError> {
        let (images, digest, name) = (self.clone(), *manifest, name.map(str::to_owned));
        blocking(move || images.catalog.add(&images.content, &digest, name.as_deref())).await
    }

    /// Takes an image that came under a lease into the list. It gets no name: names are the owner's, and what a stranger
    /// calls an image must not become what the owner runs by that name.
    ///
    /// # Errors
    /// As [`Images::adopt`].
    pub async fn take_in(&self, manifest: &Digest, came_as: &str, open: bool) -> Result<Image, ImageError> {
        let image = self.adopt(manifest, None).await?;
        self.notes.change(manifest, |note| {
            note.open = open;
            note.came_as = came_as.to_owned();
        })?;
        Ok(image)
    }

    /// Makes sure that all layers lie unpacked, and says where, and how the image wants to be run.
    ///
    /// # Errors
    /// `Incomplete` when the image is not here; `Hostile`, `TooLarge`, `DigestMismatch` or `Malformed` for layers that are
    /// not to be used; `Full`, `Cancelled`, `Io`.
    pub async fn prepare(
        &self,
        manifest: &Digest,
        watch: Watch<'_>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, ImageError> {
        let entry = self.entry(manifest)?;
        self.notes.change(manifest, |_| {})?;
        // Unpacking runs on threads of its own: who drops this future stops them too.
        let cancel = cancel.child_token();
        let _stop = cancel.clone().drop_guard();
        let plain = vec![Names::new(); entry.config.diff_ids.len()];
        let layers = self.unpack_all(&entry, plain, watch, &cancel).await?;
        let crossings = blocking(move || merged::crossings(&layers)).await?;
        let layers = self.unpack_all(&entry, crossings, watch, &cancel).await?;
        Ok(Prepared { layers, config: entry.config.run })
    }

    /// Unpacks what does not lie unpacked yet, each layer with these links of a merged /usr, and says where.
    async fn unpack_all(
        &self,
        entry: &Entry,
        merged: Vec<Names>,
        watch: Watch<'_>,
        cancel: &CancellationToken,
    ) -> Result<Vec<PathBuf>, ImageError> {
        let diff_ids = entry.config.diff_ids.iter().zip(merged);
        let layers = entry.manifest.layers.iter().zip(diff_ids);
        let layers: Vec<(Part, Digest, Names, PathBuf)> = layers
            .map(|(layer, (diff_id, merged))| {
                let path = self.content.unpacked(diff_id, &merged);
                (*layer, *diff_id, merged, path)
            })
            .collect();
        let paths = layers.iter().map(|(.., path)| path.clone()).collect();
        let missing: Vec<_> = layers.into_iter().filter(|(.., path)| !path.is_dir()).collect();
        if missing.is_empty() {
            return Ok(paths);
        }
        let total = missing.iter().map(|(layer, ..)| layer.size).sum();
        let read = Arc::new(AtomicU64::new(0));
        let report =
            || watch(Progress { stage: Stage::Unpacking, done: read.load(Ordering::Relaxed), total });
        let mut unpacking = Vec::with_capacity(missing.len());
        for (layer, diff_id, merged, _) in missing {
            let (content, read, cancel) = (self.content.clone(), read.clone(), cancel.clone());
            unpacking.push(layers::provide(content, layer.digest, diff_id, merged, read, cancel));
        }
        let unpacking = futures::stream::iter(unpacking).buffer_unordered(UNPACKED_AT_ONCE);
        watched(unpacking.try_collect::<()>(), report).await?;
        report();
        Ok(paths)
    }

    fn entry(&self, manifest: &Digest) -> Result<Entry, ImageError> {
        let missing = || ImageError::Incomplete { image: *manifest, missing: vec![*manifest] };
        self.catalog.get(manifest).ok_or_else(missing)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.content.root
    }
}

/// Whether so many bytes more fit on the disk of this directory, beside what is kept free for the owner.
pub(crate) fn has_room(directory: &Path, needed: u64) -> Result<(), ImageError> {
    content::require_room(directory, needed)
}

/// Unpacks an archive (plain, gzip or zstd) into a directory: an empty one, or, of a volume, one that others may have
/// filled before. After an error, what came of a layer is worth nothing.
///
/// # Errors
/// `Hostile`, `TooLarge`, `Malformed`, `Full`, `Cancelled`, `Io`.
pub fn unpack(
    archive: impl std::io::Read,
    root: &Path,
    limits: Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Unpacked, ImageError> {
    unpack::unpack(layers::decompress(archive)?, root, limits, &Names::new(), cancelled)
}

/// Does the work, and says from time to time how far it has come.
async fn watched<T>(work: impl Future<Output = T>, report: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = ticks.tick() => report(),
        }
    }
}

/// Work that waits for the disk, off the threads that wait for the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ImageError::Cancelled), // the runtime is shutting down
        },
    }
}
