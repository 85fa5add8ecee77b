//! What is noted of the images beside their content: when each was used last, whether neighbours may have it, and what
//! the owner has decided about all of them. `notes.json`; without it, nothing but these notes is lost.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::catalog::replace_file;
use super::content::lock;
use super::{Digest, ImageError};

/// What the owner has decided about images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Bytes that images may take in all; none: as much as the disk has.
    pub limit: Option<u64>,
    /// Who may have open images from here.
    pub serve: Serve,
    /// Bytes a second to neighbours in all; nought: without limit. A lease's own host is not a neighbour.
    pub rate: u64,
    /// Neighbours that are served at a time.
    pub streams: u32,
    /// Whether images of leases may be fetched from the public registry that the tenant names. Off, unless the owner says
    /// otherwise: whom this computer connects to is not for strangers to say.
    pub registries: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { limit: None, serve: Serve::Everyone, rate: 32 << 20, streams: 8, registries: false }
    }
}

/// Who may have open images from here: always only who knows the image's digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serve {
    /// Nobody but the hosts of one's own leases.
    Nobody,
    /// Who knows the digest.
    #[default]
    Everyone,
}

/// What is noted of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When it came or was used last, in seconds since 1970.
    pub used: u64,
    /// Whether neighbours that know its digest may have it.
    pub open: bool,
    /// What a tenant calls it under whose lease it came. Never its name here: names are the owner's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub came_as: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Book {
    policy: Policy,
    images: BTreeMap<Digest, Note>,
}

/// All notes.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    book: Mutex<Book>,
}

/// Use is noted to the minute: what is started often is not written often.
const NOTED_EVERY: u64 = 60;

impl Notes {
    pub(super) fn open(path: PathBuf) -> Result<Notes, ImageError> {
        let book = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the notes about images cannot be read and are begun anew");
                Book::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::default(),
            Err(error) => return Err(ImageError::io("read", &path)(error)),
        };
        Ok(Notes { path, book: Mutex::new(book) })
    }

    pub(super) fn policy(&self) -> Policy {
        lock(&self.book).policy
    }

    pub(super) fn set_policy(&self, policy: Policy) -> Result<(), ImageError> {
        let mut book = lock(&self.book);
        book.policy = policy;
        self.save(&book)
    }

    pub(super) fn of(&self, image: &Digest) -> Note {
        lock(&self.book).images.get(image).cloned().unwrap_or_default()
    }

    /// Notes something of an image; what it was used for just now needs no word.
    pub(super) fn change(&self, image: &Digest, change: impl FnOnce(&mut Note)) -> Result<(), ImageError> {
        let mut book = lock(&self.book);
        let note = book.images.entry(*image).or_default();
        let before = note.clone();
        change(note);
        note.used = note.used.max(now());
        if note.open != before.open
            || note.came_as != before.came_as
            || note.used >= before.used + NOTED_EVERY
        {
            self.save(&book)?;
        }
        Ok(())
    }

    pub(super) fn forget(&self, image: &Digest) -> Result<(), ImageError> {
        let mut book = lock(&self.book);
        if book.images.remove(image).is_some() { self.save(&book) } else { Ok(()) }
    }

    fn save(&self, book: &Book) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(book).map_err(|error| ImageError::malformed("the notes", error))?;
        replace_file(&self.path, &bytes)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
