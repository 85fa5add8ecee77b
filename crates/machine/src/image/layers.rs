//! From compressed layers to directories: each layer is unpacked once, beside, checked against its diffID, renamed,
//! and then shared by all guests of all images that have it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::content::{Content, sync_directory};
use super::merged::Names;
use super::unpack::{Limits, unpack};
use super::{Digest, ImageError};

/// Makes sure that this layer lies unpacked, with the links of a merged /usr in it that are named. `read` counts the compressed bytes as they are read.
///
/// # Errors
/// Those of `unpack`; `DigestMismatch` when the content is not the diffID's.
pub(super) async fn provide(
    content: Arc<Content>,
    blob: Digest,
    diff_id: Digest,
    merged: Names,
    read: Arc<AtomicU64>,
    cancel: CancellationToken,
) -> Result<(), ImageError> {
    let claim = tokio::select! {
        claim = content.unpacking.take(&diff_id) => claim,
        () = cancel.cancelled() => return Err(ImageError::Cancelled),
    };
    super::blocking(move || {
        let _claim = claim;
        if content.unpacked(&diff_id, &merged).is_dir() {
            return Ok(());
        }
        unpack_blob(&content, &blob, &diff_id, &merged, &read, &cancel)
    })
    .await
}

fn unpack_blob(
    content: &Content,
    blob: &Digest,
    diff_id: &Digest,
    merged: &Names,
    read: &AtomicU64,
    cancel: &CancellationToken,
) -> Result<(), ImageError> {
    let staged = content.stage()?;
    let tree = staged.0.join("layer");
    fs::create_dir(&tree).map_err(ImageError::io("make the directory", &tree))?;

    let (file, _) = content.open_blob(blob)?;
    let mut archive = Hashing { inner: decompress(Counting { inner: file, read })?, hasher: Sha256::new() };
    unpack(&mut archive, &tree, Limits::LAYER, merged, &|| cancel.is_cancelled())?;
    let found = Digest::from_hasher(archive.hasher);
    if found != *diff_id {
        return Err(ImageError::DigestMismatch { expected: *diff_id, found });
    }

    // The name in `layers` promises a whole layer, also after a power cut: files first, then the name.
    let directory = File::open(&tree).map_err(ImageError::io("open", &tree))?;
    rustix::fs::syncfs(&directory).map_err(|errno| ImageError::io("sync", &tree)(errno.into()))?;
    let target = content.unpacked(diff_id, merged);
    fs::rename(&tree, &target).map_err(ImageError::io("rename", &tree))?;
    sync_directory(&content.layers())
}

/// Gzip, zstd or neither, as the first bytes say: labels are often wrong.
pub(super) fn decompress<'a>(reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ImageError> {
    let unreadable = |error: io::Error| ImageError::malformed("a compressed archive", error);
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let start = reader.fill_buf().map_err(unreadable)?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(128 << 10, MultiGzDecoder::new(reader))));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::Decoder::with_buffer(reader).map_err(unreadable)?));
    }
    Ok(Box::new(reader))
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

struct Counting<'a, R> {
    inner: R,
    read: &'a AtomicU64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
