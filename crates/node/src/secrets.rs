//! Secrets of guests. As tenant: their values are kept sealed until the lease has ended, and given to its host each time that it
//! starts the guest. As host: they are asked for then, handed to the guest's supervisor, and kept nowhere.
//!
//! A bundle, which has the values of one lease, is sealed with XChaCha20-Poly1305 by a key in a file of its own, so that neither
//! a copy of the bundles alone nor one of the record tells anything. Whoever may read all of the data directory is the tenant.

use crate::execute::Hands;
use crate::file::write_private;
use crate::keys::{random, seed};
use crate::volumes::NotReady;
use crate::{Error, Fault};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use machine::guest::Secret;
use model::document::{SecretFile, Secrets};
use model::message::{StreamAnswer, StreamHead};
use model::{Hidden, Id, Lease, Nonce, PeerKey};
use net::{IncomingStream, NetError};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long a tenant may take to say them.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a nonce of XChaCha20.
const SALT: usize = 24;

/// The sealed values of this node's guests on other computers.
#[derive(Clone, Debug)]
pub struct Sealed {
    bundles: PathBuf,
    key: PathBuf,
    /// Those of wishes that no ask stands for yet, or no longer: the next host may be asked in a moment.
    held: Arc<Mutex<BTreeSet<Nonce>>>,
}

/// While it lives, a bundle stays that no lease names yet.
pub struct Held {
    sealed: Sealed,
    bundle: Nonce,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sealed.held().remove(&self.bundle);
    }
}

impl Sealed {
    /// Those of a data directory.
    pub fn of(data: &Path) -> Sealed {
        Sealed { bundles: data.join("secrets"), key: data.join("keys/secrets"), held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Nonce>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, bundle: Nonce) -> PathBuf {
        self.bundles.join(bundle.to_string())
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, Fault> {
        Ok(XChaCha20Poly1305::new(&seed(&self.key)?.into()))
    }

    /// Seals values, which are on the disk when this returns.
    fn keep(&self, values: &Hidden) -> Result<Held, Fault> {
        let bundle = Nonce(random()?);
        let held = Held { sealed: self.clone(), bundle };
        self.held().insert(bundle);
        let path = self.path(bundle);
        let fault = |reason: String| Fault::Key { path: path.clone(), reason };
        let dir = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.bundles);
        dir.map_err(|error| fault(error.to_string()))?;
        let salt: [u8; SALT] = random()?;
        let payload = Payload { msg: values.bytes(), aad: &bundle.0 };
        let sealed = self.cipher()?.encrypt(XNonce::from_slice(&salt), payload);
        let sealed = sealed.map_err(|error| fault(error.to_string()))?;
        write_private(&path, &[&salt, sealed.as_slice()].concat())
            .map_err(|error| fault(error.to_string()))?;
        Ok(held)
    }

    /// The values of a bundle, as they were sealed.
    fn open(&self, bundle: Nonce) -> Result<Hidden, Fault> {
        let path = self.path(bundle);
        let fault = |reason: String| Fault::Key { path: path.clone(), reason };
        let bytes = fs::read(&path).map_err(|error| fault(error.to_string()))?;
        let (salt, sealed) =
            bytes.split_at_checked(SALT).ok_or_else(|| fault("it is cut short".to_owned()))?;
        let payload = Payload { msg: sealed, aad: &bundle.0 };
        let opened = self.cipher()?.decrypt(XNonce::from_slice(salt), payload);
        opened.map(Hidden::new).map_err(|_| fault("it was altered, or sealed by another key".to_owned()))
    }

    /// Removes the bundles that no lease and no ask names any more.
    pub fn keep_only(&self, named: &BTreeSet<Nonce>) {
        let entries = match fs::read_dir(&self.bundles) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return tracing::warn!(%error, "sealed secrets cannot be listed"),
        };
        let held = self.held();
        for entry in entries.filter_map(Result::ok) {
            let bundle = entry.file_name().to_str().and_then(|name| name.parse::<Nonce>().ok());
            if bundle.is_some_and(|bundle| named.contains(&bundle) || held.contains(&bundle)) {
                continue;
            }
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "sealed secrets that nobody needs stay for now");
            }
        }
    }
}

impl crate::NodeHandle {
    /// Seals the values of a wish, and returns what a lease says of them: to be held on to until there is one.
    pub(crate) fn keep_secrets(&self, secrets: &[Secret]) -> Result<Option<(Secrets, Held)>, Error> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let wrong = |secret: &&Secret| !(1..=SecretFile::LARGEST).contains(&secret.value.bytes().len());
        if let Some(Secret { file, value }) = secrets.iter().find(wrong) {
            return Err(Error::SecretSize { name: file.name.clone(), size: value.bytes().len() });
        }
        let size = secrets.iter().map(|secret| secret.value.bytes().len()).sum();
        if size > SecretFile::LARGEST_TOGETHER {
            return Err(Error::SecretsSize { size });
        }
        let values = Hidden::framed(secrets.iter().map(|secret| &secret.value));
        let held = tokio::task::block_in_place(|| self.hands().sealed.keep(&values))?;
        let named = secrets.iter().map(|secret| secret.file.clone()).collect();
        Ok(Some((Secrets { bundle: held.bundle, named }, held)))
    }

    /// Removes at once what no lease came of.
    pub(crate) async fn forget_secrets(&self) -> Result<(), Error> {
        let sealed = self.hands().sealed.clone();
        Ok(self.look(move |core| sealed.keep_only(&core.engine().state().lease.secrets())).await?)
    }
}

/// As tenant: gives the host of a lease the values of its secrets.
///
/// # Errors
/// When the host is gone.
pub async fn give(hands: &Hands, stream: IncomingStream, bundle: Nonce) -> io::Result<()> {
    match tokio::task::block_in_place(|| hands.sealed.open(bundle)) {
        Ok(values) => {
            let mut stream = stream.accept().await?;
            stream.write_all(values.bytes()).await?;
            stream.shutdown().await
        }
        Err(error) => {
            tracing::warn!(%error, "the secrets of a lease cannot be read");
            stream.refuse(StreamAnswer::Missing).await
        }
    }
}

/// As host: the secrets of a lease, with their values, from its tenant.
pub async fn ask(
    hands: &Hands,
    lease: Id<Lease>,
    tenant: PeerKey,
    wanted: Option<&Secrets>,
) -> Result<Vec<Secret>, NotReady> {
    let Some(wanted) = wanted else { return Ok(Vec::new()) };
    let mut stream = match hands.net.open(tenant, StreamHead::Secrets { lease }).await {
        Ok(stream) => stream,
        Err(NetError::Refused { answer: StreamAnswer::Missing, .. }) => {
            let detail = "the tenant no longer has the secrets of this lease";
            return Err(NotReady::Never(true, detail.to_owned()));
        }
        Err(error) => return Err(NotReady::Later(error.to_string())),
    };
    match timeout(SAID_WITHIN, receive(&mut stream, &wanted.named)).await {
        Ok(Ok(secrets)) => Ok(secrets),
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
            Err(NotReady::Never(true, "the tenant's secrets are larger than a guest may have".to_owned()))
        }
        Ok(Err(_)) | Err(_) => Err(NotReady::Later("the tenant has not said all of the secrets".to_owned())),
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), named: &[SecretFile]) -> io::Result<Vec<Secret>> {
    let (mut secrets, mut room) = (Vec::new(), SecretFile::LARGEST_TOGETHER);
    for file in named {
        let length = stream.read_u32().await? as usize;
        if length > room.min(SecretFile::LARGEST) {
            return Err(ErrorKind::InvalidData.into());
        }
        room -= length;
        let mut value = Hidden::room(length);
        stream.read_exact(value.bytes_mut()).await?;
        secrets.push(Secret { file: file.clone(), value });
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (tempfile::TempDir, Sealed) {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("keys")).unwrap();
        let sealed = Sealed::of(data.path());
        (data, sealed)
    }

    fn values() -> Hidden {
        Hidden::framed([Hidden::new(b"pearl".to_vec()), Hidden::new(vec![7; 9])].iter())
    }

    #[test]
    fn a_bundle_opens_as_it_was_and_tells_nothing_before() {
        let (data, sealed) = sealed();
        let held = sealed.keep(&values()).unwrap();
        let path = data.path().join("secrets").join(held.bundle.to_string());
        let on_disk = fs::read(&path).unwrap();
        assert!(!on_disk.windows(5).any(|bytes| bytes == b"pearl"));
        // After a restart, too.
        assert_eq!(Sealed::of(data.path()).open(held.bundle).unwrap(), values());
        // Under another name it is another's.
        let other = Nonce([1; 16]);
        fs::copy(&path, path.with_file_name(other.to_string())).unwrap();
        assert!(sealed.open(other).unwrap_err().to_string().contains("altered"));
        fs::write(&path, &on_disk[..on_disk.len() - 1]).unwrap();
        assert!(sealed.open(held.bundle).is_err());
        fs::write(&path, b"x").unwrap();
        assert!(sealed.open(held.bundle).unwrap_err().to_string().contains("cut short"));
        fs::remove_file(&path).unwrap();
        assert!(sealed.open(held.bundle).is_err());
    }

    #[test]
    fn a_bundle_stays_for_as_long_as_somebody_needs_it() {
        let (data, sealed) = sealed();
        sealed.keep_only(&BTreeSet::new());
        let (named, held) = (sealed.keep(&values()).unwrap().bundle, sealed.keep(&values()).unwrap());
        let unfinished = data.path().join("secrets/.unfinished.new");
        fs::write(&unfinished, b"half").unwrap();
        sealed.keep_only(&[named].into());
        assert!(sealed.open(named).is_ok() && sealed.open(held.bundle).is_ok() && !unfinished.exists());
        let bundle = held.bundle;
        drop(held);
        sealed.keep_only(&BTreeSet::new());
        assert!(sealed.open(named).is_err() && sealed.open(bundle).is_err());
    }

    #[tokio::test]
    async fn more_than_was_agreed_is_not_taken() {
        let file = |name: &str| SecretFile { name: name.into(), readers: Default::default() };
        let named = [file("a"), file("b")];
        let said = receive(&mut values().bytes(), &named).await.unwrap();
        assert_eq!((said[0].value.bytes(), said[1].value.bytes()), (&b"pearl"[..], &[7; 9][..]));
        let cut = receive(&mut &values().bytes()[..8], &named).await.unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
        let endless = receive(&mut &[0xFF; 64][..], &named).await.unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::InvalidData);
        let many: Vec<SecretFile> = (0..9).map(|n| file(&n.to_string())).collect();
        let large: Vec<Hidden> = many.iter().map(|_| Hidden::room(SecretFile::LARGEST)).collect();
        let together = receive(&mut Hidden::framed(large.iter()).bytes(), &many).await.unwrap_err();
        assert_eq!(together.kind(), ErrorKind::InvalidData);
    }
}
