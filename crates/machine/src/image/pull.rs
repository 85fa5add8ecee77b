//! Fetching an image from a registry: what is here is not fetched again, what breaks off is resumed, and every byte is
//! hashed on its way to the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};

use super::content::{BlobWriter, Content};
use super::document::{self, Config, Manifest, Part};
use super::reference::Reference;
use super::registry::Registry;
use super::{Auth, Digest, ImageError, Progress, Stage, Watch, watched};

/// Layers that come at a time: as many as other clients take without being throttled.
const FETCHED_AT_ONCE: usize = 3;
/// How often a broken transfer is taken up again, if it got any further the last time.
const RESUMED: usize = 5;

/// An index may point to an index, but no honest one does so twice.
const MAX_INDEXES: usize = 2;

/// Brings all parts of the image into the store; says the manifest's digest.
pub(super) async fn fetch(
    content: &Arc<Content>,
    reference: Reference,
    auth: Auth,
    watch: Watch<'_>,
) -> Result<Digest, ImageError> {
    let registry = Registry::new(reference.clone(), auth)?;
    let (bytes, manifest) = choose_manifest(&registry, &reference).await?;

    let total = manifest.blobs().map(|part| part.size).sum();
    let done = AtomicU64::new(0);
    let report = || watch(Progress { stage: Stage::Fetching, done: done.load(Ordering::Relaxed), total });
    // The configuration first: it may say that the image is not for this machine.
    fetch_blob(content, &registry, &manifest.config, &done).await?;
    Config::parse(&content.read(&manifest.config.digest, "the image's configuration")?, &manifest)?;
    // Made beforehand: a stream that makes them as it goes is not `Send` (rust-lang/rust#102211).
    let transfers: Vec<_> =
        manifest.layers.iter().map(|layer| fetch_blob(content, &registry, layer, &done)).collect();
    let layers = futures::stream::iter(transfers).buffer_unordered(FETCHED_AT_ONCE).try_collect::<()>();
    watched(layers, report).await?;
    report();

    let content = content.clone();
    super::blocking(move || content.put(&bytes)).await
}

/// The manifest for this machine, through an index where there is one.
async fn choose_manifest(
    registry: &Registry,
    reference: &Reference,
) -> Result<(Vec<u8>, Manifest), ImageError> {
    let mut bytes = match reference.digest() {
        Some(digest) => verified(registry, digest).await?,
        None => registry.manifest(reference.tag().unwrap_or("latest")).await?,
    };
    for _ in 0..MAX_INDEXES {
        if !document::is_index(&bytes)? {
            let manifest = Manifest::parse(&bytes)?;
            return Ok((bytes, manifest));
        }
        let candidates = document::parse_index(&bytes)?;
        let chosen = document::for_this_machine(&candidates)?;
        bytes = verified(registry, &chosen.digest).await?;
        chosen.check_size(bytes.len() as u64)?;
    }
    let manifest = Manifest::parse(&bytes)?;
    Ok((bytes, manifest))
}

async fn verified(registry: &Registry, digest: &Digest) -> Result<Vec<u8>, ImageError> {
    let bytes = registry.manifest(&digest.to_string()).await?;
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(ImageError::DigestMismatch { expected: *digest, found });
    }
    Ok(bytes)
}

async fn fetch_blob(
    content: &Arc<Content>,
    registry: &Registry,
    part: &Part,
    done: &AtomicU64,
) -> Result<(), ImageError> {
    let Some(mut writer) = content.receive_in_turn(&part.digest, part.size).await? else {
        done.fetch_add(part.size, Ordering::Relaxed);
        return Ok(());
    };
    done.fetch_add(writer.offset(), Ordering::Relaxed);
    for attempt in 1.. {
        let before = writer.offset();
        let result = fetch_rest(registry, part, &mut writer, done).await;
        if let Err(error) = &result
            && !is_passing(error)
        {
            return result;
        }
        if writer.offset() == part.size {
            break;
        }
        if attempt == RESUMED || writer.offset() <= before {
            result?;
            break; // `finish` says how much is missing
        }
        tracing::info!(blob = %part.digest, offset = writer.offset(), "the transfer is resumed");
    }
    super::blocking(move || writer.finish()).await
}

/// Fetches until the end of the blob or of the registry's patience.
async fn fetch_rest(
    registry: &Registry,
    part: &Part,
    writer: &mut BlobWriter,
    done: &AtomicU64,
) -> Result<(), ImageError> {
    if writer.offset() == part.size {
        return Ok(());
    }
    let Some(mut rest) = registry.blob(&part.digest, writer.offset()).await? else { return Ok(()) };
    if !rest.from_offset {
        done.fetch_sub(writer.offset(), Ordering::Relaxed);
        writer.restart()?;
    }
    while let Some(chunk) = registry.chunk(&mut rest.body).await? {
        // A chunk has some 16 KiB: it goes to the page cache in less time than handing it to another thread takes.
        writer.write(&chunk)?;
        done.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether trying again may help.
fn is_passing(error: &ImageError) -> bool {
    matches!(error, ImageError::Unreachable { .. } | ImageError::Silent { .. })
}
