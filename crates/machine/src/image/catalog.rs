//! Which images there are, and by which names: `index.json` of an OCI layout, so that other tools can read the store.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::content::{Content, Staged, lock, sync_directory};
use super::document::{self, Config, Manifest, Part, PartKind, Platform, REF_NAME};
use super::reference::Reference;
use super::{Digest, ImageError};

/// A blob that belongs to no image is on its way to one, or was left by a transfer that ended: after this time, the latter.
const STRAY_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// An image that is here, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of its manifest: what a lease pins.
    pub digest: Digest,
    /// What people call it: `debian:12`. None for one that has been replaced under its name.
    pub names: Vec<String>,
    /// Bytes of all its parts, as they travel.
    pub size: u64,
    /// RFC 3339, as the image says; none for reproducible ones.
    pub created: Option<String>,
    /// What it runs on.
    pub platform: Platform,
}

/// An image, and all that belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) image: Image,
    pub(super) manifest: Manifest,
    pub(super) config: Config,
}

impl Entry {
    /// Reads and checks the documents of an image whose parts are all here.
    pub(super) fn read(content: &Content, digest: &Digest) -> Result<Entry, ImageError> {
        let incomplete = |missing| ImageError::Incomplete { image: *digest, missing };
        if !content.has(digest) {
            return Err(incomplete(vec![*digest]));
        }
        let bytes = content.read(digest, "the image's manifest")?;
        let manifest = Manifest::parse(&bytes)?;
        let missing: Vec<Digest> = manifest.blobs().map(|p| p.digest).filter(|d| !content.has(d)).collect();
        if !missing.is_empty() {
            return Err(incomplete(missing));
        }
        for part in manifest.blobs() {
            let (_, found) = content.open_blob(&part.digest)?;
            if found != part.size {
                return Err(ImageError::SizeMismatch { digest: part.digest, expected: part.size, found });
            }
        }
        let config = content.read(&manifest.config.digest, "the image's configuration")?;
        let config = Config::parse(&config, &manifest)?;
        let image = Image {
            digest: *digest,
            names: Vec::new(),
            size: bytes.len() as u64 + manifest.blobs().map(|part| part.size).sum::<u64>(),
            created: config.created.clone(),
            platform: config.platform.clone(),
        };
        Ok(Entry { image, manifest, config })
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let size = self.image.size - self.manifest.blobs().map(|part| part.size).sum::<u64>();
        let manifest = Part { digest: self.image.digest, size, kind: PartKind::Manifest };
        std::iter::once(manifest).chain(self.manifest.blobs().copied()).collect()
    }

    pub(super) fn blobs(&self) -> impl Iterator<Item = Digest> {
        std::iter::once(self.image.digest).chain(self.manifest.blobs().map(|part| part.digest))
    }
}

/// The list of images, in memory and on disk.
#[derive(Debug)]
pub(super) struct Catalog {
    path: PathBuf,
    entries: Mutex<Vec<Entry>>,
}

impl Catalog {
    /// Reads the list, and removes what no image in it needs.
    pub(super) fn open(content: &Content) -> Result<Catalog, ImageError> {
        let path = content.root.join("index.json");
        let mut entries: Vec<Entry> = Vec::new();
        for listed in read_index(&path)? {
            let known = entries.iter_mut().find(|entry| entry.image.digest == listed.digest);
            if let Some(known) = known {
                known.image.names.extend(listed.name);
                continue;
            }
            match Entry::read(content, &listed.digest) {
                Ok(mut entry) => {
                    entry.image.names.extend(listed.name);
                    entries.push(entry);
                }
                Err(error) => {
                    tracing::warn!(image = %listed.digest, %error, "an image is damaged and has been dropped")
                }
            }
        }
        let layout = content.root.join("oci-layout");
        fs::write(&layout, r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(ImageError::io("write", &layout))?;
        sweep(content, &entries)?;
        Ok(Catalog { path, entries: Mutex::new(entries) })
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    pub(super) fn list(&self) -> Vec<Image> {
        lock(&self.entries).iter().map(|entry| entry.image.clone()).collect()
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Entry> {
        lock(&self.entries).iter().find(|entry| entry.image.digest == *digest).cloned()
    }

    /// Adds an image whose parts are here, and gives it a name, which it takes away from another image.
    ///
    /// The parts are looked for under the same lock that `remove` holds while it deletes.
    pub(super) fn add(
        &self,
        content: &Content,
        digest: &Digest,
        name: Option<&str>,
    ) -> Result<Image, ImageError> {
        let name = name.map(full_name).transpose()?.flatten();
        let mut entries = lock(&self.entries);
        let mut changed = entries.clone();
        let at = match changed.iter().position(|entry| entry.image.digest == *digest) {
            Some(at) => at,
            None => {
                changed.push(Entry::read(content, digest)?);
                changed.len() - 1
            }
        };
        if let Some(name) = name {
            changed.iter_mut().for_each(|entry| entry.image.names.retain(|other| *other != name));
            changed[at].image.names.push(name);
        }
        let image = changed[at].image.clone();
        self.save(&changed)?;
        *entries = changed;
        Ok(image)
    }

    /// Forgets an image, and moves away what no other image needs. What is returned is deleted when it is dropped.
    pub(super) fn remove(&self, content: &Content, digest: &Digest) -> Result<Option<Staged>, ImageError> {
        let mut entries = lock(&self.entries);
        let (gone, kept): (Vec<Entry>, Vec<Entry>) =
            entries.iter().cloned().partition(|entry| entry.image.digest == *digest);
        let Some(gone) = gone.first() else { return Ok(None) };
        self.save(&kept)?;
        *entries = kept;

        let waste = content.stage()?;
        let blobs: HashSet<Digest> = entries.iter().flat_map(Entry::blobs).collect();
        move_away(&super::pieces::path(content, digest), &waste.0.join("pieces"))?;
        for digest in gone.blobs().filter(|digest| !blobs.contains(digest)) {
            move_away(&content.blob(&digest), &waste.0.join(format!("blob-{}", digest.hex())))?;
        }
        let layers: HashSet<Digest> =
            entries.iter().flat_map(|entry| entry.config.diff_ids.clone()).collect();
        let unneeded = gone.config.diff_ids.iter().filter(|digest| !layers.contains(digest));
        let unneeded: HashSet<String> = unneeded.map(Digest::hex).collect();
        for (name, path) in list(&content.layers())? {
            if unneeded.contains(Content::layer_of(&name)) {
                move_away(&path, &waste.0.join(format!("layer-{name}")))?;
            }
        }
        Ok(Some(waste))
    }

    /// The image of this name, digest, or first digits of one.
    pub(super) fn resolve(&self, text: &str) -> Result<Option<Image>, ImageError> {
        let images = self.list();
        if let Ok(Some(name)) = full_name(text)
            && let Some(image) = images.iter().find(|image| image.names.contains(&name))
        {
            return Ok(Some(image.clone()));
        }
        let prefix = text.rsplit('@').next().unwrap_or(text);
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if prefix.is_empty() || prefix.bytes().any(|b| !b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut fitting = images.iter().filter(|image| image.digest.hex().starts_with(prefix));
        match (fitting.next(), fitting.count()) {
            (found, 0) => Ok(found.cloned()),
            (_, more) => Err(ImageError::Ambiguous { prefix: text.to_owned(), count: more + 1 }),
        }
    }

    fn save(&self, entries: &[Entry]) -> Result<(), ImageError> {
        let mut manifests = Vec::new();
        for entry in entries {
            let size = entry.parts()[0].size;
            let bare = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": entry.image.digest,
                "size": size,
                "platform": entry.image.platform,
            });
            if entry.image.names.is_empty() {
                manifests.push(bare);
                continue;
            }
            for name in &entry.image.names {
                let mut named = bare.clone();
                named["annotations"] = json!({ REF_NAME: name });
                manifests.push(named);
            }
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        replace_file(&self.path, index.to_string().as_bytes())
    }
}

/// What people call an image, in full: `debian` is `debian:latest`, `docker.io/library/debian:12` is `debian:12`.
/// None for a reference by digest, which says all that there is to say.
pub(super) fn full_name(text: &str) -> Result<Option<String>, ImageError> {
    let reference: Reference = text.parse()?;
    if reference.digest().is_some() {
        return Ok(None);
    }
    let repository = match (reference.registry(), reference.repository()) {
        ("docker.io", repository) => repository.strip_prefix("library/").unwrap_or(repository).to_owned(),
        (registry, repository) => format!("{registry}/{repository}"),
    };
    Ok(Some(format!("{repository}:{}", reference.tag().unwrap_or("latest"))))
}

fn read_index(path: &Path) -> Result<Vec<document::Candidate>, ImageError> {
    match fs::read(path) {
        Ok(bytes) => document::parse_index(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ImageError::io("read", path)(error)),
    }
}

pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(ImageError::io("write", path))?;
    sync_directory(path.parent().unwrap_or(path))
}

fn move_away(from: &Path, to: &Path) -> Result<(), ImageError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::io("remove", from)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What lies in a directory of ours.
fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>, ImageError> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let entries = fs::read_dir(directory).and_then(|entries| entries.map(entry).collect());
    entries.map_err(ImageError::io("list", directory))
}

/// Removes layers that no image has, and blobs that have waited long enough for one.
fn sweep(content: &Content, entries: &[Entry]) -> Result<(), ImageError> {
    let blobs: HashSet<String> = entries.iter().flat_map(Entry::blobs).map(|digest| digest.hex()).collect();
    let layers = entries.iter().flat_map(|entry| &entry.config.diff_ids);
    let layers: HashSet<String> = layers.map(Digest::hex).collect();
    let waste = content.stage()?;
    let old_enough = |path: &Path| -> io::Result<bool> {
        let age = SystemTime::now().duration_since(fs::metadata(path)?.modified()?);
        Ok(age.is_ok_and(|age| age > STRAY_KEPT))
    };
    for (directory, needed, at_once) in [(content.blobs(), blobs, false), (content.layers(), layers, true)] {
        for (name, path) in list(&directory)? {
            let is_needed = needed.contains(Content::layer_of(&name));
            if !is_needed && (at_once || old_enough(&path).map_err(ImageError::io("look at", &path))?) {
                move_away(&path, &waste.0.join(name))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (given, full) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("docker.io/library/debian:12", "debian:12"),
            ("someone/app", "someone/app:latest"),
            ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
        ] {
            assert_eq!(full_name(given).expect(given).as_deref(), Some(full));
        }
        let by_digest = format!("debian@{}", Digest::of(b""));
        assert_eq!(full_name(&by_digest).expect("a reference"), None);
        for bad in ["", "UPPER", "a b", "../x", "x:"] {
            assert!(matches!(full_name(bad), Err(ImageError::BadReference { .. })), "{bad}");
        }
    }
}
