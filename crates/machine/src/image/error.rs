//! What can go wrong with an image, with the facts that a caller decides by or shows.

use std::io;
use std::path::{Path, PathBuf};

use super::content::disk_full;
use super::{Digest, NotADigest, Platform};

/// Why an image could not be fetched, imported, built, kept or prepared.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image of this name, here or at its registry.
    #[error(
        "there is no image `{reference}`: check its name and tag, and whether the registry wants a login"
    )]
    UnknownImage {
        /// The name as asked for.
        reference: String,
    },
    /// Not a name that an image can have.
    #[error("`{reference}` is not an image reference such as debian:12 or registry.example/app@sha256:..")]
    BadReference {
        /// The name as given.
        reference: String,
    },
    /// A prefix that names more than one image.
    #[error("`{prefix}` fits {count} images: give more digits of the digest")]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// A layout or archive holds several images, and none of them was chosen.
    #[error("it holds {} images; choose one by name: {}", names.len(), names.join(", "))]
    ChooseOne {
        /// The names that it offers.
        names: Vec<String>,
    },
    /// The registry wants a login, or another one.
    #[error("the registry {registry} refuses access to `{reference}`: log in to it, or check the password")]
    Denied {
        /// Host and port.
        registry: String,
        /// The image asked for.
        reference: String,
    },
    /// The registry cannot be reached, or the connection broke.
    #[error("the registry {registry} cannot be reached")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// What the HTTP client says.
        source: reqwest::Error,
    },
    /// The registry answered with something else than what the protocol promises.
    #[error("the registry {registry} answered {status} to {url}")]
    Registry {
        /// Host and port.
        registry: String,
        /// HTTP status code.
        status: u16,
        /// What was asked for.
        url: String,
    },
    /// The registry went silent, or was too slow with a small document.
    #[error("the registry {registry} took longer than {seconds} s to answer")]
    Silent {
        /// Host and port.
        registry: String,
        /// The limit.
        seconds: u64,
    },
    /// The image exists, but not for this kind of machine.
    #[error("the image is not made for {wanted}, only for {}", list(offered))]
    NoPlatform {
        /// This machine's.
        wanted: Platform,
        /// Those that the image has.
        offered: Vec<Platform>,
    },
    /// Content that is not what its digest promised.
    #[error("content should have been {expected} but is {found}: it was altered or damaged on the way")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A registry that a tenant names, and that is not on the public internet.
    #[error("the registry {registry} is not asked: {why}")]
    NotPublic {
        /// Host and port.
        registry: String,
        /// Why not.
        why: String,
    },
    /// A piece that is not what the image's list of pieces says.
    #[error("piece {piece} of {part} is not what it should be")]
    WrongPiece {
        /// Of which part.
        part: Digest,
        /// Its number in that part.
        piece: u32,
    },
    /// More than the owner wants to keep of images.
    #[error(
        "images may take {limit} bytes of this computer, and {needed} bytes more do not fit beside those in use"
    )]
    OverLimit {
        /// The owner's limit.
        limit: u64,
        /// Bytes that would be needed.
        needed: u64,
    },
    /// Content of another length than its description says.
    #[error("{digest} should have {expected} bytes but has {found}")]
    SizeMismatch {
        /// Of the content.
        digest: Digest,
        /// Bytes, by the description.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// Larger than we are willing to take.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large, with the unit of the limit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Not written as the OCI specification says.
    #[error("{what} cannot be read")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// What the parser says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Well-formed, but not something that we can run.
    #[error("{what} is not supported: {found}")]
    Unsupported {
        /// What kind of thing.
        what: &'static str,
        /// The one that was found.
        found: String,
    },
    /// A layer or folder that tries what no honest one needs.
    #[error("the layer's entry `{entry}` {trick}")]
    Hostile {
        /// Path in the layer, shortened.
        entry: String,
        /// What it tries.
        trick: Trick,
    },
    /// Parts of the image are not in the store.
    #[error("{} parts of {image} are not here; fetch it again", missing.len())]
    Incomplete {
        /// The image's manifest.
        image: Digest,
        /// What has to be fetched.
        missing: Vec<Digest>,
    },
    /// Somebody else is receiving this blob now.
    #[error("{digest} is being received already")]
    Busy {
        /// The blob.
        digest: Digest,
    },
    /// No room on the disk. What was begun has been removed or can be resumed.
    #[error("the disk of {} is full: {needed} bytes needed, {free} free", path.display())]
    Full {
        /// Bytes, at least.
        needed: u64,
        /// Bytes that we may use: the rest is kept free for the owner.
        free: u64,
        /// Where.
        path: PathBuf,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The computer's answer to what we tried.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What a hostile or broken layer tries. Such a layer is refused whole: a part of an image is not that image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trick {
    /// `..` in a path or in a hard link's target.
    #[error("climbs out of the image with `..`")]
    Climbs,
    /// A NUL byte in a path.
    #[error("has a zero byte in its name")]
    ZeroByte,
    /// A longer path, a longer name or a deeper tree than any honest image has.
    #[error("is too long or too deep")]
    TooLong,
    /// A path that leads through a file, or through a link that leads nowhere.
    #[error("lies below something that is not a directory")]
    NotADirectory,
    /// A hard link to something that this layer does not hold.
    #[error("is a hard link to nothing")]
    LinkToNothing,
    /// A hard link to a directory.
    #[error("is a hard link to a directory")]
    LinkToDirectory,
    /// A whiteout for `.`, `..` or nothing.
    #[error("removes what cannot be removed")]
    BadWhiteout,
    /// A kind of entry that tar has but that images do not.
    #[error("is of an unknown kind")]
    UnknownKind,
    /// A second thing in the place of the image's root.
    #[error("replaces the root of the image")]
    ReplacesRoot,
}

impl From<NotADigest> for ImageError {
    fn from(not: NotADigest) -> ImageError {
        ImageError::Unsupported { what: "this digest", found: not.text }
    }
}

impl ImageError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            ImageError::UnknownImage { .. } => "unknown_image",
            ImageError::BadReference { .. } => "bad_reference",
            ImageError::Ambiguous { .. } => "ambiguous_image",
            ImageError::ChooseOne { .. } => "several_images",
            ImageError::Denied { .. } => "registry_denied",
            ImageError::Unreachable { .. } => "registry_unreachable",
            ImageError::Registry { .. } => "registry_fault",
            ImageError::Silent { .. } => "registry_silent",
            ImageError::NotPublic { .. } => "registry_not_public",
            ImageError::NoPlatform { .. } => "no_platform",
            ImageError::DigestMismatch { .. }
            | ImageError::WrongPiece { .. }
            | ImageError::SizeMismatch { .. } => "wrong_digest",
            ImageError::TooLarge { .. } => "image_too_large",
            ImageError::Malformed { .. } | ImageError::Unsupported { .. } => "bad_image",
            ImageError::Hostile { .. } => "hostile_image",
            ImageError::OverLimit { .. } => "image_limit",
            ImageError::Incomplete { .. } => "incomplete_image",
            ImageError::Busy { .. } => "image_busy",
            ImageError::Full { .. } => "disk_full",
            ImageError::Cancelled => "cancelled",
            ImageError::Io { .. } => "image",
        }
    }

    /// What to do about it; empty where its sentence says all.
    pub fn hint(&self) -> &'static str {
        match self {
            ImageError::UnknownImage { .. } => {
                "Its page at the registry lists the tags; to log in: `sublet image pull --login USER NAME < token`."
            }
            ImageError::Denied { .. } => {
                "`sublet image pull --login USER NAME < token`, with an access token or the password."
            }
            ImageError::Unreachable { .. } | ImageError::Silent { .. } => {
                "Try again: what has come is kept. An image can also come as a file: `sublet image import`."
            }
            ImageError::Registry { .. } => {
                "Try again later: the registry is at fault, and what has come is kept."
            }
            ImageError::NoPlatform { .. } => {
                "Look for a tag that is made for this kind of computer, or build one: `sublet image build`."
            }
            ImageError::DigestMismatch { .. }
            | ImageError::WrongPiece { .. }
            | ImageError::SizeMismatch { .. } => {
                "Fetch it again; if it is so once more, whoever gives it has something else than they say."
            }
            ImageError::Hostile { .. } => {
                "Do not trust who made it. An image that was built by accident so is mended by building it anew."
            }
            ImageError::OverLimit { .. } => {
                "`sublet image room` shows what each takes; `sublet image rm` and `sublet image limit` make room."
            }
            ImageError::Full { .. } => {
                "Make room on that disk: `sublet image room` shows what images take, `sublet image gc` clears up."
            }
            ImageError::Busy { .. } => "Wait for the other to end: `sublet image ls` shows the image then.",
            ImageError::BadReference { .. }
            | ImageError::Ambiguous { .. }
            | ImageError::ChooseOne { .. }
            | ImageError::NotPublic { .. }
            | ImageError::TooLarge { .. }
            | ImageError::Malformed { .. }
            | ImageError::Unsupported { .. }
            | ImageError::Incomplete { .. }
            | ImageError::Cancelled
            | ImageError::Io { .. } => "",
        }
    }

    /// For `map_err`: what was tried, and with what.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.to_path_buf();
        move |source| {
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return disk_full(&path);
            }
            ImageError::Io { doing, path, source }
        }
    }

    pub(super) fn malformed(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ImageError {
        ImageError::Malformed { what, source: source.into() }
    }
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    if names.is_empty() { "nothing that it names".to_owned() } else { names.join(", ") }
}
