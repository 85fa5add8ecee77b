//! The list of an image's pieces: what lets each be held to its hash on its own, whoever sent it.
//!
//! ```text
//! "SPL1", number of parts as a big-endian u32; for each part, the manifest first: its sha256 digest, its size as a
//! big-endian u64, and the BLAKE3 hash of each piece of 1 MiB (the last is shorter)
//! ```
//!
//! One form for one image, so that its BLAKE3 hash, which a lease binds, names it.

use std::io::Read;
use std::path::PathBuf;

use super::catalog::Entry;
use super::content::{Content, MAX_BLOB};
use super::document::{Manifest, Part};
use super::{Digest, ImageError};

/// Bytes of a piece.
pub const PIECE: u64 = 1 << 20;

const MAGIC: &[u8; 4] = b"SPL1";

/// An image has 127 layers at most, a configuration, and a manifest.
const MAX_PARTS: usize = 129;

/// The largest list in bytes: of the largest image that is taken.
pub const MAX_LIST: usize = 8 << 20;

/// Of which pieces the parts of an image are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceList {
    /// The manifest first.
    pub parts: Vec<PartPieces>,
}

/// Of which pieces one part is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPieces {
    /// What the whole must be.
    pub digest: Digest,
    /// How long it is.
    pub size: u64,
    /// What each piece must be.
    pub hashes: Vec<[u8; 32]>,
}

impl PartPieces {
    /// Where a piece begins, and how long it is.
    pub fn range(&self, piece: usize) -> (u64, usize) {
        let begin = piece as u64 * PIECE;
        (begin, self.size.saturating_sub(begin).min(PIECE) as usize)
    }
}

impl PieceList {
    /// Reads a list.
    ///
    /// # Errors
    /// `Malformed` when it is none, `TooLarge` when it is one of an image that is larger than any that is taken.
    pub fn parse(bytes: &[u8]) -> Result<PieceList, ImageError> {
        let malformed = |why: &'static str| ImageError::malformed("the image's list of pieces", why);
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("it does not begin as one"))?;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count).ok_or_else(|| malformed("it ends early"))?;
            rest = left;
            Ok::<_, ImageError>(taken)
        };
        let count = take(4)?.try_into().map_or(0, u32::from_be_bytes) as usize;
        if !(2..=MAX_PARTS).contains(&count) {
            return Err(malformed("no image has so many parts"));
        }
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let digest = Digest::from_bytes(take(32)?.try_into().unwrap_or_default());
            let size = take(8)?.try_into().map_or(0, u64::from_be_bytes);
            if size > MAX_BLOB {
                return Err(ImageError::TooLarge { what: "a part of the image (bytes)", limit: MAX_BLOB });
            }
            let hashes = take(size.div_ceil(PIECE) as usize * 32)?;
            let hashes = hashes.chunks_exact(32).map(|hash| hash.try_into().unwrap_or_default()).collect();
            parts.push(PartPieces { digest, size, hashes });
        }
        if rest.is_empty() { Ok(PieceList { parts }) } else { Err(malformed("something follows it")) }
    }

    /// The one form that it has.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.parts.len() as u32).to_be_bytes());
        for part in &self.parts {
            bytes.extend(part.digest.as_bytes());
            bytes.extend(part.size.to_be_bytes());
            bytes.extend(part.hashes.iter().flatten());
        }
        bytes
    }

    /// Bytes of all parts.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Whether it names the parts that the manifest names, and no others: who made it may have been mistaken or worse.
    pub(super) fn fits(&self, manifest: &Manifest) -> bool {
        let named = |part: &Part| (part.digest, part.size);
        self.parts.iter().skip(1).map(|part| (part.digest, part.size)).eq(manifest.blobs().map(named))
    }
}

/// The list of an image that is here, and its hash; made at the first time, and kept.
pub(super) fn of(content: &Content, entry: &Entry) -> Result<(Vec<u8>, [u8; 32]), ImageError> {
    let path = path(content, &entry.image.digest);
    if let Ok(bytes) = std::fs::read(&path)
        && PieceList::parse(&bytes).is_ok_and(|list| list.fits(&entry.manifest))
    {
        let hash = blake3::hash(&bytes).into();
        return Ok((bytes, hash));
    }
    let parts = entry.parts();
    let parts = parts.iter().map(|part| pieces(content, part)).collect::<Result<Vec<_>, _>>()?;
    let bytes = PieceList { parts }.to_bytes();
    // Two may make it at once: each in a place of its own.
    let staged = content.stage()?;
    let beside = staged.0.join("pieces");
    std::fs::write(&beside, &bytes).map_err(ImageError::io("write", &beside))?;
    std::fs::rename(&beside, &path).map_err(ImageError::io("rename", &beside))?;
    let hash = blake3::hash(&bytes).into();
    Ok((bytes, hash))
}

/// Where an image's list is kept.
pub(super) fn path(content: &Content, manifest: &Digest) -> PathBuf {
    content.root.join("pieces").join(manifest.hex())
}

fn pieces(content: &Content, part: &Part) -> Result<PartPieces, ImageError> {
    let (mut file, size) = content.open_blob(&part.digest)?;
    let mut hashes = Vec::with_capacity(size.div_ceil(PIECE) as usize);
    let mut piece = Vec::with_capacity(PIECE as usize);
    loop {
        piece.clear();
        let read = (&mut file).take(PIECE).read_to_end(&mut piece);
        if read.map_err(ImageError::io("read", &content.blob(&part.digest)))? == 0 {
            break;
        }
        hashes.push(blake3::hash(&piece).into());
    }
    Ok(PartPieces { digest: part.digest, size, hashes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> PieceList {
        let part = |n: u8, size: u64| PartPieces {
            digest: Digest::from_bytes([n; 32]),
            size,
            hashes: vec![[n; 32]; size.div_ceil(PIECE) as usize],
        };
        PieceList { parts: vec![part(1, 700), part(2, PIECE), part(3, 3 * PIECE + 1), part(4, 0)] }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let bytes = list().to_bytes();
        assert_eq!(PieceList::parse(&bytes).expect("a list"), list());
        assert_eq!(list().parts[2].range(3), (3 * PIECE, 1));
        assert_eq!(list().total(), 701 + 4 * PIECE);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let bytes = list().to_bytes();
        for end in 0..bytes.len() {
            assert!(PieceList::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(PieceList::parse(&[bytes.as_slice(), b"x"].concat()).is_err());
        let mut huge = bytes.clone();
        huge[40..48].fill(0xff); // the first part's size: nothing is allocated for it
        assert!(matches!(PieceList::parse(&huge), Err(ImageError::TooLarge { .. })));
        let mut many = bytes;
        many[4..8].fill(0xff);
        assert!(matches!(PieceList::parse(&many), Err(ImageError::Malformed { .. })));
    }
}
