//! What images take of the disk, and making room: the least recently used goes first, and never what has a name or is in
//! use.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalog::Entry;
use super::content::Content;
use super::notes::Policy;
use super::{Digest, Image, ImageError, Images};

/// What images take of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes in all: as they travelled, unpacked, and on their way.
    pub used: u64,
    /// Bytes of transfers that have not ended, and of parts that belong to no image.
    pub unfinished: u64,
    /// By image: what would be free without it.
    pub own: BTreeMap<Digest, u64>,
}

/// What was removed to make room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Images.
    pub images: Vec<Image>,
    /// Bytes that are free now.
    pub freed: u64,
    /// Bytes that images take still.
    pub left: u64,
}

impl Images {
    /// What images take of the disk. Looks at each file: call it where that may block.
    ///
    /// # Errors
    /// `Io`.
    pub fn room(&self) -> Result<Room, ImageError> {
        room(&self.content, &self.catalog.entries())
    }

    /// Removes images until they take at most `most` bytes. Stays: what has a name, and what `in_use` says.
    ///
    /// Unfinished transfers that nobody goes on with go first.
    ///
    /// # Errors
    /// `Io`.
    pub fn collect(&self, most: u64, in_use: impl Fn(&Digest) -> bool) -> Result<Collected, ImageError> {
        let mut collected = Collected::default();
        let before = self.room()?;
        collected.left = before.used;
        if collected.left > most && before.unfinished > 0 {
            self.drop_unfinished()?;
            collected.left = self.room()?.used;
        }
        let mut candidates: Vec<Image> = self.list();
        candidates.retain(|image| image.names.is_empty() && !in_use(&image.digest));
        candidates.sort_by_key(|image| self.notes.of(&image.digest).used);
        for image in candidates {
            if collected.left <= most {
                break;
            }
            self.remove(&image.digest)?;
            tracing::info!(image = %image.digest, "an image was removed to make room");
            collected.images.push(image);
            collected.left = self.room()?.used;
        }
        collected.freed = before.used.saturating_sub(collected.left);
        Ok(collected)
    }

    /// Makes room for so many bytes more, as far as the owner's limit asks for it.
    ///
    /// # Errors
    /// `OverLimit` when it cannot be made, `Io`.
    pub fn make_room(&self, needed: u64, in_use: impl Fn(&Digest) -> bool) -> Result<(), ImageError> {
        let Some(limit) = self.policy().limit else { return Ok(()) };
        let over = ImageError::OverLimit { limit, needed };
        let Some(most) = limit.checked_sub(needed) else { return Err(over) };
        if self.collect(most, in_use)?.left > most { Err(over) } else { Ok(()) }
    }

    fn drop_unfinished(&self) -> Result<(), ImageError> {
        let partials = self.content.partials();
        for (path, _) in files(&partials)? {
            let digest = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            // Whoever is at work with it has claimed it.
            let claim = format!("sha256:{digest}").parse().ok().map(|digest| self.content.claim(&digest));
            if let Some(None) = claim {
                continue;
            }
            fs::remove_file(&path).map_err(ImageError::io("remove", &path))?;
        }
        Ok(())
    }
}

fn room(content: &Content, entries: &[Entry]) -> Result<Room, ImageError> {
    let blobs: BTreeMap<String, u64> = by_name(files(&content.blobs())?);
    let mut layers: BTreeMap<String, u64> = BTreeMap::new();
    for directory in directories(&content.layers())? {
        let layer = Content::layer_of(&name(&directory)).to_owned();
        *layers.entry(layer).or_default() += size_of_tree(&directory)?;
    }
    let partials: u64 = files(&content.partials())?.into_iter().map(|(_, size)| size).sum();
    let lists: u64 = files(&content.root.join("pieces"))?.into_iter().map(|(_, size)| size).sum();

    let mut owners: BTreeMap<String, HashSet<Digest>> = BTreeMap::new();
    for entry in entries {
        for digest in entry.blobs().chain(entry.config.diff_ids.iter().copied()) {
            owners.entry(digest.hex()).or_default().insert(entry.image.digest);
        }
    }
    let mut own: BTreeMap<Digest, u64> = entries.iter().map(|entry| (entry.image.digest, 0)).collect();
    let mut stray = 0;
    for (name, size) in blobs.iter().chain(&layers) {
        match owners.get(name).map(|owners| owners.iter().collect::<Vec<_>>()).as_deref() {
            Some([only]) => *own.entry(**only).or_default() += size,
            Some(_) => {}
            None => stray += size,
        }
    }
    let used = blobs.values().chain(layers.values()).sum::<u64>() + partials + lists;
    Ok(Room { used, unfinished: partials + stray, own })
}

fn by_name(files: Vec<(PathBuf, u64)>) -> BTreeMap<String, u64> {
    files.into_iter().map(|(path, size)| (name(&path), size)).collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The files of a directory, with what they take of the disk: not what they pretend to be long.
fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>, ImageError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(ImageError::io("list", directory))? {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        // What has gone meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() {
            found.push((entry.path(), metadata.blocks() * 512));
        }
    }
    Ok(found)
}

fn directories(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = fs::read_dir(directory).map_err(ImageError::io("list", directory))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect())
}

/// What an unpacked layer takes. It is ours, and no link in it is followed.
fn size_of_tree(root: &Path) -> Result<u64, ImageError> {
    let mut ahead = vec![root.to_path_buf()];
    let mut sum = 0;
    while let Some(directory) = ahead.pop() {
        // A layer that is being removed at this moment takes nothing.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                sum += metadata.blocks() * 512;
                ahead.push(entry.path());
            } else {
                sum += metadata.blocks() * 512 / metadata.nlink().max(1); // each name has its share
            }
        }
    }
    Ok(sum)
}

impl Images {
    /// What the owner has decided about images.
    pub fn policy(&self) -> Policy {
        self.notes.policy()
    }

    /// Decides about images. A smaller limit is not enforced here: see [`Images::collect`].
    ///
    /// # Errors
    /// `Io`, `Full`.
    pub fn set_policy(&self, policy: Policy) -> Result<(), ImageError> {
        self.notes.set_policy(policy)
    }
}
