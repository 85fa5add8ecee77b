//! Where the person's key is kept: here, under a passphrase, or not here at all. It signs certificates of devices and
//! nothing else, so that a node runs without it for as long as its certificate stands.
//!
//! The key *is* 24 words: the 32 bytes of its seed are the entropy of a BIP-39 mnemonic
//! (<https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki>), whose last word holds a checksum. Under a passphrase
//! the seed is sealed with XChaCha20-Poly1305, by a key that Argon2id (RFC 9106) makes of the passphrase.

use crate::Fault;
use crate::keys::{random, write_new};
use argon2::{Algorithm, Argon2, Params, Version};
use bip39::{Language, Mnemonic};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use model::{DeviceCertificate, Key, PersonId, Unverified};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The shortest passphrase: shorter ones are guessed in hours by whoever has the file.
const SHORTEST: usize = 8;

/// RFC 9106, second recommended option: 64 MiB of memory, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// Where a person's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a file that only the owner may read.
    Here,
    /// In a file that only the passphrase opens.
    Locked,
    /// Not on this computer.
    Away,
}

/// Why a wish about the person's key is not granted.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is kept elsewhere.
    #[error("your key is not on this computer")]
    Away,
    /// A passphrase is needed.
    #[error("your key is locked by a passphrase")]
    Locked,
    /// Another was used.
    #[error("this is not the passphrase")]
    WrongPassphrase,
    /// It is guessed too soon.
    #[error("a passphrase needs at least {SHORTEST} characters")]
    ShortPassphrase,
    /// They are no key.
    #[error("these are not the 24 words of a key: {0}")]
    Words(String),
    /// They are another's.
    #[error("these are the words of another person than this node is")]
    OtherPerson,
    /// They were not written down yet, as far as anybody knows.
    #[error("the 24 words were not confirmed yet: without them the key would be lost for good")]
    NotConfirmed,
    /// The file is no key.
    #[error("{} holds no key: {reason}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl VaultError {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            VaultError::Away => "key_away",
            VaultError::Locked => "key_locked",
            VaultError::WrongPassphrase => "wrong_passphrase",
            VaultError::ShortPassphrase => "short_passphrase",
            VaultError::Words(_) => "wrong_words",
            VaultError::OtherPerson => "other_person",
            VaultError::NotConfirmed => "words_not_confirmed",
            VaultError::Broken { .. } | VaultError::File { .. } | VaultError::Fault(_) => "fault",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            VaultError::Away => "Bring it back by its 24 words: `sublet identity restore`.",
            VaultError::Locked => "Give the passphrase.",
            VaultError::Words(_) => "Look at the spelling and the order of the words.",
            VaultError::OtherPerson => "For another person take another data directory: `--data DIR`.",
            VaultError::NotConfirmed => {
                "`sublet identity words` shows them, `sublet identity confirm` asks for them."
            }
            VaultError::WrongPassphrase
            | VaultError::ShortPassphrase
            | VaultError::Broken { .. }
            | VaultError::File { .. }
            | VaultError::Fault(_) => "",
        }
    }
}

/// A person's key on this computer.
#[derive(Clone, Debug)]
pub struct Vault {
    dir: PathBuf,
}

/// A sealed seed, as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Sealed {
    v: u32,
    #[serde(with = "hex::serde")]
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    #[serde(with = "hex::serde")]
    nonce: [u8; 24],
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
}

impl Vault {
    /// The vault of a data directory.
    pub fn of(data: &Path) -> Vault {
        Vault { dir: data.join("keys") }
    }

    fn plain(&self) -> PathBuf {
        self.dir.join("person")
    }

    fn locked(&self) -> PathBuf {
        self.dir.join("person.locked")
    }

    fn confirmation(&self) -> PathBuf {
        self.dir.join("person.confirmed")
    }

    /// Where the key is.
    pub fn kept(&self) -> Kept {
        if self.plain().exists() {
            Kept::Here
        } else if self.locked().exists() {
            Kept::Locked
        } else {
            Kept::Away
        }
    }

    /// Whether somebody has proven to have its words.
    pub fn is_confirmed(&self) -> bool {
        self.confirmation().exists()
    }

    /// The key's 24 words.
    ///
    /// # Errors
    /// When it is away, or locked by another passphrase or one that was not given.
    pub fn words(&self, passphrase: Option<&str>) -> Result<Vec<&'static str>, VaultError> {
        let seed = self.seed(passphrase)?;
        let mnemonic = Mnemonic::from_entropy_in(Language::English, &seed)
            .map_err(|error| VaultError::Words(error.to_string()))?;
        Ok(mnemonic.words().collect())
    }

    fn seed(&self, passphrase: Option<&str>) -> Result<[u8; 32], VaultError> {
        match (self.kept(), passphrase) {
            (Kept::Away, _) => Err(VaultError::Away),
            (Kept::Here, _) => {
                let path = self.plain();
                let text = fs::read_to_string(&path).map_err(|source| file(&path, source))?;
                let mut seed = [0; 32];
                hex::decode_to_slice(text.trim(), &mut seed).map_err(|error| broken(&path, &error))?;
                Ok(seed)
            }
            (Kept::Locked, None) => Err(VaultError::Locked),
            (Kept::Locked, Some(passphrase)) => self.open(passphrase),
        }
    }

    fn open(&self, passphrase: &str) -> Result<[u8; 32], VaultError> {
        let path = self.locked();
        let bytes = fs::read(&path).map_err(|source| file(&path, source))?;
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|error| broken(&path, &error))?;
        // What a file asks for is not given blindly: a gigabyte is far more than any version of us has asked for.
        if sealed.v != 1 || sealed.memory_kib > 1 << 20 || sealed.passes > 64 || sealed.lanes > 64 {
            return Err(broken(&path, &"it was sealed in a way that this version does not know"));
        }
        let key = stretched(passphrase, &sealed)?;
        let opened = XChaCha20Poly1305::new(&key.into())
            .decrypt(XNonce::from_slice(&sealed.nonce), sealed.sealed.as_slice())
            .map_err(|_| VaultError::WrongPassphrase)?;
        opened.try_into().map_err(|_| broken(&path, &"not 32 bytes"))
    }

    /// Locks the key by a passphrase. The file without one is gone then.
    ///
    /// # Errors
    /// When the key is not here in the open, or the passphrase is too short.
    pub fn lock(&self, passphrase: &str) -> Result<(), VaultError> {
        if self.kept() == Kept::Locked {
            return Err(VaultError::Locked);
        }
        if passphrase.chars().count() < SHORTEST {
            return Err(VaultError::ShortPassphrase);
        }
        let seed = self.seed(None)?;
        let mut sealed = Sealed {
            v: 1,
            salt: random()?,
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            nonce: random()?,
            sealed: Vec::new(),
        };
        let key = stretched(passphrase, &sealed)?;
        sealed.sealed = XChaCha20Poly1305::new(&key.into())
            .encrypt(XNonce::from_slice(&sealed.nonce), seed.as_slice())
            .map_err(|error| broken(&self.locked(), &error))?;
        let bytes = serde_json::to_vec_pretty(&sealed).map_err(|error| broken(&self.locked(), &error))?;
        write_new(&self.locked(), &bytes)?;
        // Only what can be opened again replaces the open file.
        if self.open(passphrase)? != seed {
            return Err(broken(&self.locked(), &"it does not open again"));
        }
        remove(&self.plain())
    }

    /// Takes the passphrase off again.
    ///
    /// # Errors
    /// When the key is away, or the passphrase is another.
    pub fn unlock(&self, passphrase: &str) -> Result<(), VaultError> {
        let seed = self.seed(Some(passphrase))?;
        write_new(&self.plain(), hex::encode(seed).as_bytes())?;
        remove(&self.locked())
    }

    /// Keeps in mind that the owner has the words, when these are they.
    ///
    /// # Errors
    /// When they are not.
    pub fn confirm(&self, words: &str, person: PersonId) -> Result<(), VaultError> {
        if person_of(&seed_of(words)?) != person {
            return Err(VaultError::OtherPerson);
        }
        Ok(write_new(&self.confirmation(), b"")?)
    }

    /// Takes the key off this computer. The words bring it back.
    ///
    /// # Errors
    /// When nobody has proven to have the words.
    pub fn forget(&self) -> Result<(), VaultError> {
        if !self.is_confirmed() {
            return Err(VaultError::NotConfirmed);
        }
        remove(&self.plain())?;
        remove(&self.locked())
    }

    /// Brings a key back by its words. `person` is who this node is; none: it may become anybody. Returns whether it has
    /// become another: then it needs a new certificate.
    ///
    /// # Errors
    /// When the words are no key, or another's.
    pub fn restore(&self, words: &str, person: PersonId, may_become: bool) -> Result<bool, VaultError> {
        let seed = seed_of(words)?;
        let other = person_of(&seed) != person;
        if other && !may_become {
            return Err(VaultError::OtherPerson);
        }
        write_new(&self.plain(), hex::encode(seed).as_bytes())?;
        // Whoever types the words has them.
        write_new(&self.confirmation(), b"")?;
        remove(&self.locked())?;
        if other {
            remove(&self.dir.join("certificate"))?;
        }
        Ok(other)
    }
}

impl Vault {
    /// Brings a key back while no node runs. Returns whether the node becomes another person by it.
    ///
    /// # Errors
    /// As for [`Vault::restore`].
    pub fn restore_offline(&self, words: &str, is_new: bool) -> Result<bool, VaultError> {
        let path = self.dir.join("certificate");
        let person = match fs::read(&path) {
            Ok(bytes) => {
                let certificate = Unverified::<DeviceCertificate>::read(&bytes)
                    .and_then(|certificate| certificate.verify_past())
                    .map_err(|error| broken(&path, &error))?;
                certificate.person
            }
            Err(error) if error.kind() == ErrorKind::NotFound && is_new => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.dir)
                    .map_err(|source| file(&self.dir, source))?;
                person_of(&seed_of(words)?)
            }
            Err(error) => return Err(file(&path, error)),
        };
        self.restore(words, person, is_new)
    }
}

fn seed_of(words: &str) -> Result<[u8; 32], VaultError> {
    let normal = words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let mnemonic = Mnemonic::parse_in(Language::English, normal)
        .map_err(|error| VaultError::Words(error.to_string()))?;
    let entropy = mnemonic.to_entropy();
    let found = entropy.len() * 3 / 4;
    entropy.try_into().map_err(|_| VaultError::Words(format!("{found} words, and 24 are needed")))
}

fn person_of(seed: &[u8; 32]) -> PersonId {
    PersonId(Key::from_seed(*seed).id().0)
}

/// What Argon2id makes of a passphrase, by the parameters that are usual here: some 100 ms and 64 MiB.
///
/// # Errors
/// When there is no memory for it.
pub fn stretch(passphrase: &str, salt: &[u8; 16]) -> Result<[u8; 32], VaultError> {
    hashed(passphrase, salt, Params::new(MEMORY_KIB, PASSES, LANES, Some(32)))
}

fn stretched(passphrase: &str, sealed: &Sealed) -> Result<[u8; 32], VaultError> {
    let params = Params::new(sealed.memory_kib, sealed.passes, sealed.lanes, Some(32));
    hashed(passphrase, &sealed.salt, params)
}

fn hashed(
    passphrase: &str,
    salt: &[u8; 16],
    params: Result<Params, argon2::Error>,
) -> Result<[u8; 32], VaultError> {
    let wrong = |error: argon2::Error| VaultError::Words(error.to_string());
    let params = params.map_err(wrong)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(wrong)?;
    Ok(key)
}

fn remove(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(file(path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn file(path: &Path, source: io::Error) -> VaultError {
    VaultError::File { path: path.to_owned(), source }
}

fn broken(path: &Path, reason: &dyn ToString) -> VaultError {
    VaultError::Broken { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::load;
    use model::{Span, Timestamp};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn house() -> (tempfile::TempDir, Vault, PersonId) {
        let data = tempfile::tempdir().unwrap();
        let person = load(data.path(), "laptop", NOW).unwrap().certificate.person;
        let vault = Vault::of(data.path());
        (data, vault, person)
    }

    #[test]
    fn the_words_of_a_key_bring_it_back_on_another_computer() {
        let (_here, vault, person) = house();
        let words = vault.words(None).unwrap().join(" ");
        assert_eq!(words.split(' ').count(), 24);
        let (there, other, stranger) = house();
        assert_ne!(person, stranger);
        assert!(matches!(other.restore(&words, stranger, false), Err(VaultError::OtherPerson)));
        let typed = words.to_uppercase().replace(' ', "\n  ");
        assert!(other.restore(&typed, stranger, true).unwrap());
        assert_eq!(load(there.path(), "laptop", NOW).unwrap().certificate.person, person);
        assert!(other.is_confirmed());
    }

    #[test]
    fn the_words_are_those_of_the_standard() {
        // The vector of 32 zero bytes: https://github.com/trezor/python-mnemonic/blob/master/vectors.json
        let words = format!("{}art", "abandon ".repeat(23));
        assert_eq!(seed_of(&words).unwrap(), [0; 32]);
        assert!(matches!(seed_of(&"abandon ".repeat(24)), Err(VaultError::Words(_))), "the checksum");
        let twelve = format!("{}about", "abandon ".repeat(11));
        assert!(seed_of(&twelve).unwrap_err().to_string().contains("12 words"));
    }

    #[test]
    fn a_locked_key_opens_by_its_passphrase_alone() {
        let (data, vault, person) = house();
        let words = vault.words(None).unwrap();
        assert!(matches!(vault.lock("short"), Err(VaultError::ShortPassphrase)));
        vault.lock("correct horse").unwrap();
        assert_eq!(vault.kept(), Kept::Locked);
        assert!(!data.path().join("keys/person").exists());
        assert!(matches!(vault.words(None), Err(VaultError::Locked)));
        assert!(matches!(vault.words(Some("correct horsE")), Err(VaultError::WrongPassphrase)));
        assert_eq!(vault.words(Some("correct horse")).unwrap(), words);
        // The node starts without it.
        assert_eq!(load(data.path(), "laptop", NOW).unwrap().certificate.person, person);
        vault.unlock("correct horse").unwrap();
        assert_eq!((vault.kept(), vault.words(None).unwrap()), (Kept::Here, words));
    }

    #[test]
    fn a_key_is_not_forgotten_before_somebody_has_its_words() {
        let (data, vault, person) = house();
        assert!(matches!(vault.forget(), Err(VaultError::NotConfirmed)));
        let words = vault.words(None).unwrap().join(" ");
        let wrong = format!("{}art", "abandon ".repeat(23));
        assert!(matches!(vault.confirm(&wrong, person), Err(VaultError::OtherPerson)));
        vault.confirm(&words, person).unwrap();
        vault.forget().unwrap();
        assert!(matches!(vault.words(None), Err(VaultError::Away)));
        // Without it the certificate is used for as long as it stands, and then no new person is made up.
        let late = NOW + Span::days(500);
        assert_eq!(load(data.path(), "laptop", late).unwrap().certificate.person, person);
        let over = load(data.path(), "laptop", NOW + Span::days(800)).err().unwrap();
        assert!(over.to_string().contains("certificate"), "{over}");
        assert!(!vault.restore(&words, person, false).unwrap());
        assert_eq!(load(data.path(), "laptop", late).unwrap().certificate.person, person);
    }
}
