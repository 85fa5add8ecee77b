//! The content store: blobs by digest, and how a new one comes in: hashed while it is written beside,
//! renamed when it is what it should be, durable before anything refers to it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::merged::Names;
use super::{Digest, ImageError};

/// The largest blob that we take: the layers of the largest machine-learning images have about 10 GB.
pub(super) const MAX_BLOB: u64 = 64 << 30;

/// A transfer that nobody resumed for so long is given up, and its part removed when the store is opened.
const PARTIAL_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The directories of the store, and who is writing what.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) root: PathBuf,
    incoming: Arc<Claims>,
    pub(super) unpacking: Arc<Claims>,
    /// Names for work in progress: unique, as the directory is emptied when the store is opened.
    staged: AtomicU64,
}

impl Content {
    /// Opens the store at `root`, makes what is missing and clears what a crash left.
    ///
    /// All of it is for the owner's eyes only: a layer has the modes that its image gave it, so that without
    /// this gate any local user could write into the directories that an image left open to all.
    pub(super) fn open(root: PathBuf) -> Result<Content, ImageError> {
        private_directory(&root)?;
        // A store that was given by a relative path must still be found by a process in another directory.
        let root = root.canonicalize().map_err(ImageError::io("find", &root))?;
        let content =
            Content { root, incoming: Arc::default(), unpacking: Arc::default(), staged: AtomicU64::new(0) };
        let staging = content.staging();
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::io("clear", &staging)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let pieces = content.root.join("pieces");
        for directory in [content.blobs(), content.partials(), content.layers(), pieces, staging] {
            private_directory(&directory)?;
        }
        remove_older_than(&content.partials(), PARTIAL_KEPT)?;
        Ok(content)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Where the layer of this diffID lies unpacked, with these links of a merged /usr in it.
    pub(super) fn unpacked(&self, diff_id: &Digest, merged: &Names) -> PathBuf {
        let mut name = diff_id.hex();
        for (n, link) in merged.iter().enumerate() {
            name.push(if n == 0 { '.' } else { '+' });
            name.push_str(link);
        }
        self.layers().join(name)
    }

    /// Of which layer this is a directory, by its name.
    pub(super) fn layer_of(name: &str) -> &str {
        name.split_once('.').map_or(name, |(diff_id, _)| diff_id)
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blob(digest).is_file()
    }

    pub(super) fn open_blob(&self, digest: &Digest) -> Result<(File, u64), ImageError> {
        let path = self.blob(digest);
        let file = File::open(&path).map_err(ImageError::io("open the blob", &path))?;
        let size = file.metadata().map_err(ImageError::io("look at", &path))?.len();
        Ok((file, size))
    }

    /// A small document, whole. It is checked against its digest once more: the disk is not trusted for ever.
    pub(super) fn read(&self, digest: &Digest, what: &'static str) -> Result<Vec<u8>, ImageError> {
        let (file, _) = self.open_blob(digest)?;
        let bytes = read_limited(file, super::document::MAX_DOCUMENT, what, &self.blob(digest))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::DigestMismatch { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Keeps a small document, and says by which digest.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let mut blob = self.create()?;
        blob.write_all(bytes).map_err(ImageError::io("write", &blob.path.clone()))?;
        Ok(blob.finish()?.0)
    }

    /// A blob whose digest is not known before it is written.
    pub(super) fn create(&self) -> Result<NewBlob, ImageError> {
        let staged = self.stage()?;
        let path = staged.0.join("blob");
        let file = File::create_new(&path).map_err(ImageError::io("create", &path))?;
        Ok(NewBlob { blobs: self.blobs(), _staged: staged, path, file, hasher: Sha256::new(), size: 0 })
    }

    /// The right to receive a blob; none when somebody else receives it now.
    pub(super) fn claim(&self, digest: &Digest) -> Option<Claim> {
        self.incoming.try_take(digest)
    }

    /// Begins or resumes the receipt of a blob. `None`: it is here already.
    pub(super) fn receive(&self, digest: &Digest, size: u64) -> Result<Option<BlobWriter>, ImageError> {
        let claim = self.incoming.try_take(digest).ok_or(ImageError::Busy { digest: *digest })?;
        self.receive_claimed(digest, size, claim)
    }

    /// As `receive`, but waits for whoever is receiving the same blob.
    pub(super) async fn receive_in_turn(
        self: &Arc<Content>,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<BlobWriter>, ImageError> {
        let claim = self.incoming.take(digest).await;
        let (content, digest) = (self.clone(), *digest);
        super::blocking(move || content.receive_claimed(&digest, size, claim)).await
    }

    fn receive_claimed(
        &self,
        digest: &Digest,
        size: u64,
        claim: Claim,
    ) -> Result<Option<BlobWriter>, ImageError> {
        if self.has(digest) {
            return Ok(None);
        }
        if size > MAX_BLOB {
            return Err(ImageError::TooLarge { what: "a layer (bytes)", limit: MAX_BLOB });
        }
        let partial = self.partials().join(digest.hex());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&partial)
            .map_err(ImageError::io("open", &partial))?;
        let mut hasher = Sha256::new();
        let mut offset = hash_all(&mut file, &mut hasher).map_err(ImageError::io("read", &partial))?;
        if offset > size {
            // Left by a description of another size: worthless.
            file.set_len(0).map_err(ImageError::io("truncate", &partial))?;
            (hasher, offset) = (Sha256::new(), 0);
        }
        require_room(&partial, size - offset)?;
        let target = self.blob(digest);
        Ok(Some(BlobWriter { digest: *digest, size, offset, hasher, file, partial, target, _claim: claim }))
    }

    /// A new directory of its own, on the store's file system, that goes when its owner is dropped.
    pub(super) fn stage(&self) -> Result<Staged, ImageError> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.staging().join(number.to_string());
        private_directory(&path)?;
        Ok(Staged(path))
    }
}

/// A directory for work in progress, removed when dropped.
#[derive(Debug)]
pub(super) struct Staged(pub(super) PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "work in progress could not be removed");
        }
    }
}

/// A blob on its way in. Dropped unfinished, it leaves a part that the next `receive` resumes.
#[derive(Debug)]
pub struct BlobWriter {
    digest: Digest,
    size: u64,
    offset: u64,
    hasher: Sha256,
    file: File,
    partial: PathBuf,
    target: PathBuf,
    _claim: Claim,
}

impl BlobWriter {
    /// How many bytes are here already: ask the sender for the rest only.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what is here, for a sender that can only start at the beginning.
    ///
    /// # Errors
    /// `Io` when the file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), ImageError> {
        self.file.set_len(0).map_err(ImageError::io("truncate", &self.partial))?;
        io::Seek::rewind(&mut self.file).map_err(ImageError::io("rewind", &self.partial))?;
        (self.offset, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// `SizeMismatch` at the first byte too many, `Full`, `Io`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let found = self.offset + bytes.len() as u64;
        if found > self.size {
            self.discard();
            return Err(ImageError::SizeMismatch { digest: self.digest, expected: self.size, found });
        }
        if let Err(error) = self.file.write_all(bytes) {
            // What a failed write left is not known: cut it off, so that the part stays resumable.
            self.file.set_len(self.offset).map_err(ImageError::io("truncate", &self.partial))?;
            return Err(ImageError::io("write", &self.partial)(error));
        }
        self.hasher.update(bytes);
        self.offset = found;
        Ok(())
    }

    /// Verifies the whole and makes it a blob of the store, durably.
    ///
    /// # Errors
    /// `SizeMismatch` when bytes are missing (they can be sent later), `DigestMismatch` (the part is removed), `Io`.
    pub fn finish(self) -> Result<(), ImageError> {
        let BlobWriter { digest, size, offset, .. } = self;
        if offset < size {
            return Err(ImageError::SizeMismatch { digest, expected: size, found: offset });
        }
        let found = Digest::from_hasher(self.hasher.clone());
        if found != digest {
            self.discard();
            return Err(ImageError::DigestMismatch { expected: digest, found });
        }
        make_durable(&self.file, &self.partial, &self.target)
    }

    fn discard(&self) {
        // A part that stays is found wrong again by the next `finish`.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A blob of our own making: its digest is known at the end.
#[derive(Debug)]
pub(super) struct NewBlob {
    blobs: PathBuf,
    _staged: Staged,
    pub(super) path: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
}

impl NewBlob {
    /// Makes it a blob of the store, durably; says its digest and size.
    pub(super) fn finish(self) -> Result<(Digest, u64), ImageError> {
        let digest = Digest::from_hasher(self.hasher.clone());
        let target = self.blobs.join(digest.hex());
        if !target.is_file() {
            make_durable(&self.file, &self.path, &target)?;
        }
        Ok((digest, self.size))
    }
}

impl Write for NewBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Who is busy with which digest, so that nothing is done twice at the same time.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: Mutex<HashSet<Digest>>,
    freed: Notify,
}

/// The right to write one thing, given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    digest: Digest,
}

impl Claims {
    pub(super) fn try_take(self: &Arc<Claims>, digest: &Digest) -> Option<Claim> {
        lock(&self.held).insert(*digest).then(|| Claim { claims: self.clone(), digest: *digest })
    }

    pub(super) async fn take(self: &Arc<Claims>, digest: &Digest) -> Claim {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Listening begins before looking, or a claim freed in between would be slept through.
            freed.as_mut().enable();
            if let Some(claim) = self.try_take(digest) {
                return claim;
            }
            freed.await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claims.held).remove(&self.digest);
        self.claims.freed.notify_waiters();
    }
}

/// Our locks guard plain data that each statement leaves whole, so a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses what does not fit on the disk of `path` beside the share that is kept free for the owner.
pub(super) fn require_room(path: &Path, needed: u64) -> Result<(), ImageError> {
    let free = usable(path)?;
    if needed <= free { Ok(()) } else { Err(ImageError::Full { needed, free, path: path.to_path_buf() }) }
}

/// For who was told by the system that nothing more fits.
pub(super) fn disk_full(path: &Path) -> ImageError {
    let free = usable(path).unwrap_or(0);
    ImageError::Full { needed: free + 1, free, path: path.to_path_buf() }
}

/// Bytes that we may still write: what is free, less a twentieth of the disk or 1 GiB, whichever is less, because
/// a computer whose disk is full to the last byte is of no use to its owner.
fn usable(path: &Path) -> Result<u64, ImageError> {
    let directory = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(path);
    let stat = rustix::fs::statvfs(directory)
        .map_err(|errno| ImageError::io("ask for the free space of", directory)(errno.into()))?;
    let reserve = (stat.f_blocks * stat.f_frsize / 20).min(1 << 30);
    Ok((stat.f_bavail * stat.f_frsize).saturating_sub(reserve))
}

/// All of a small file, refused past `limit` bytes.
pub(super) fn read_limited(
    reader: impl Read,
    limit: u64,
    what: &'static str,
    path: &Path,
) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(ImageError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::TooLarge { what, limit });
    }
    Ok(bytes)
}

fn hash_all(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

pub(super) fn make_durable(file: &File, from: &Path, to: &Path) -> Result<(), ImageError> {
    file.sync_all().map_err(ImageError::io("sync", from))?;
    fs::rename(from, to).map_err(ImageError::io("rename", from))?;
    sync_directory(to.parent().unwrap_or(to))
}

/// Makes a rename in this directory survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<(), ImageError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(ImageError::io("sync", directory))
}

fn private_directory(path: &Path) -> Result<(), ImageError> {
    let made = fs::DirBuilder::new().recursive(true).create(path);
    made.map_err(ImageError::io("make the directory", path))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(path, mode).map_err(ImageError::io("protect", path))
}

fn remove_older_than(directory: &Path, age: Duration) -> Result<(), ImageError> {
    let now = SystemTime::now();
    for entry in fs::read_dir(directory).map_err(ImageError::io("list", directory))? {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        let modified =
            entry.metadata().and_then(|m| m.modified()).map_err(ImageError::io("look at", directory))?;
        if now.duration_since(modified).is_ok_and(|old| old > age) {
            fs::remove_file(entry.path()).map_err(ImageError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Content) {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let content = Content::open(directory.path().join("images")).expect("the store opens");
        (directory, content)
    }

    fn files(directory: &Path) -> usize {
        fs::read_dir(directory).expect("it can be listed").count()
    }

    #[test]
    fn a_blob_comes_in_whole_or_not_at_all() {
        let (_directory, content) = store();
        let digest = Digest::of(b"hello");

        let mut writer = content.receive(&digest, 5).expect("receive").expect("it is new");
        writer.write(b"hel").expect("write");
        assert!(matches!(content.receive(&digest, 5), Err(ImageError::Busy { .. })));
        assert!(!content.has(&digest));
        drop(writer);

        let mut resumed = content.receive(&digest, 5).expect("receive").expect("it is unfinished");
        assert_eq!(resumed.offset(), 3);
        resumed.write(b"lo").expect("write");
        resumed.finish().expect("it is what it should be");
        assert_eq!(content.read(&digest, "a blob").expect("read"), b"hello");
        assert!(content.receive(&digest, 5).expect("receive").is_none());
        assert_eq!(files(&content.partials()), 0);
    }

    #[test]
    fn wrong_content_is_refused_and_forgotten() {
        let (_directory, content) = store();
        let digest = Digest::of(b"hello");

        let mut writer = content.receive(&digest, 5).expect("receive").expect("it is new");
        writer.write(b"jello").expect("write");
        let found = Digest::of(b"jello");
        assert!(matches!(writer.finish(), Err(ImageError::DigestMismatch { found: f, .. }) if f == found));

        let mut writer = content.receive(&digest, 5).expect("receive").expect("it is new");
        assert_eq!(writer.offset(), 0);
        assert!(matches!(writer.write(b"hello, world"), Err(ImageError::SizeMismatch { found: 12, .. })));
        drop(writer);

        let mut writer = content.receive(&digest, 5).expect("receive").expect("it is new");
        writer.write(b"hell").expect("write");
        assert!(matches!(writer.finish(), Err(ImageError::SizeMismatch { found: 4, .. })));
        assert!(!content.has(&digest));
    }

    #[test]
    fn what_a_crash_left_is_cleared() {
        let (directory, content) = store();
        let staged = content.stage().expect("stage");
        fs::write(staged.0.join("half"), b"half").expect("write");
        let path = staged.0.clone();
        std::mem::forget(staged);
        Content::open(directory.path().join("images")).expect("the store opens again");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn one_waits_for_the_other() {
        let (_directory, content) = store();
        let content = Arc::new(content);
        let digest = Digest::of(b"hello");
        let mut first = content.receive(&digest, 5).expect("receive").expect("it is new");
        let second = content.receive_in_turn(&digest, 5);
        let finish = async {
            tokio::task::yield_now().await;
            first.write(b"hello").expect("write");
            first.finish().expect("finish");
        };
        let (second, ()) = tokio::join!(second, finish);
        assert!(second.expect("receive").is_none(), "the first one brought it");
    }

    #[test]
    fn a_blob_that_cannot_fit_is_refused_before_it_comes() {
        let (_directory, content) = store();
        let refused = content.receive(&Digest::of(b""), MAX_BLOB + 1);
        assert!(matches!(refused, Err(ImageError::TooLarge { limit: MAX_BLOB, .. })));
        let missing = require_room(&content.partials().join("x"), u64::MAX);
        assert!(matches!(missing, Err(ImageError::Full { needed: u64::MAX, .. })));
    }
}
