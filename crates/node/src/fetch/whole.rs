//! An image as a whole, part by part, from a tenant whose lease binds no list of pieces.

use super::{FetchError, digest};
use machine::image::{BlobWriter, Digest, ImageError, Images};
use model::message::StreamHead;
use model::{Id, ImageDigest, Lease, PeerKey, Workload};
use net::Net;
use tokio::io::AsyncReadExt;

/// The largest manifest that is read.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// How much is read at once.
const PIECE: usize = 256 * 1024;

/// Fetches what is missing of an image. `progress` is told bytes done, and in all.
///
/// # Errors
/// Why it is not here. What came is kept, and the next try goes on from there.
pub async fn fetch(
    images: &Images,
    net: &Net,
    lease: Id<Lease>,
    workload: &Workload,
    tenant: PeerKey,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<(), FetchError> {
    let manifest = digest(&workload.image);
    let source = Source { images, net, lease, tenant };
    if !images.has(&manifest) {
        source.part(manifest, LARGEST_MANIFEST, &|_| {}).await?;
    }
    let parts = images.parts_named_by(&manifest)?;
    let total: u64 = parts.iter().map(|part| part.size).sum();
    let mut done = 0;
    for part in &parts {
        progress(done, total);
        if !images.has(&part.digest) {
            source.part(part.digest, part.size, &|here| progress(done + here, total)).await?;
        }
        done += part.size;
    }
    progress(total, total);
    Ok(())
}

struct Source<'a> {
    images: &'a Images,
    net: &'a Net,
    lease: Id<Lease>,
    tenant: PeerKey,
}

impl Source<'_> {
    /// One part, from where an earlier try broke off.
    async fn part(&self, part: Digest, most: u64, progress: &(dyn Fn(u64) + Sync)) -> Result<(), FetchError> {
        // The size of a manifest is not known before it comes; of other parts the manifest has told it.
        let known = (most != LARGEST_MANIFEST).then_some(most);
        let mut writer = match known {
            Some(size) => match self.receive(part, size).await? {
                Some(writer) => Some(writer),
                None => return Ok(()),
            },
            None => None,
        };
        let from = writer.as_ref().map_or(0, BlobWriter::offset);
        let head = StreamHead::Blob { lease: self.lease, digest: ImageDigest(*part.as_bytes()), from };
        let mut stream = self.net.open(self.tenant, head).await?;
        let broken = |source| FetchError::Broken { part, source };
        let size = stream.read_u64().await.map_err(broken)?;
        if size > most {
            return Err(ImageError::TooLarge { what: "a part of the image (bytes)", limit: most }.into());
        }
        if writer.is_none() {
            writer = self.receive(part, size).await?;
        }
        let Some(mut writer) = writer else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        let mut here = from;
        while here < size {
            let length = stream.read(&mut piece).await.map_err(broken)?;
            if length == 0 {
                return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let bytes = piece.get(..length).unwrap_or_default();
            tokio::task::block_in_place(|| writer.write(bytes))?;
            here += length as u64;
            progress(here);
        }
        tokio::task::block_in_place(|| writer.finish())?;
        Ok(())
    }

    async fn receive(&self, part: Digest, size: u64) -> Result<Option<BlobWriter>, ImageError> {
        tokio::task::block_in_place(|| self.images.receive(&part, size))
    }
}
