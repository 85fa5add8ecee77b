//! The three keys of a node: the person's, the device's, and the one that peers know it by.
//!
//! Each is 32 random bytes in a file that only the owner may read. The person's key signs nothing but the device's
//! certificate, so it may be locked or taken away once the certificate is written: see [`crate::vault`].

use crate::Fault;
use crate::file::write_private;
use model::{DeviceCertificate, Key, PeerKey, PersonId, Signed, Span, Timestamp, Unverified, plain};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// A certificate stands for two years, and is renewed in its last.
const CERTIFIED_FOR: Span = Span::days(730);

/// The keys of this node.
pub struct Keys {
    /// Signs for this device.
    pub device: Key,
    /// The seed of the libp2p identity.
    pub peer_seed: [u8; 32],
    /// The person's word that the device is theirs.
    pub certificate: Signed<DeviceCertificate>,
}

/// Reads the keys in `data/keys`, and makes those that are missing.
///
/// # Errors
/// When a file cannot be read or written, or holds something else.
pub fn load(data: &Path, label: &str, now: Timestamp) -> Result<Keys, Fault> {
    let dir = data.join("keys");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|error| fault(&dir, &error))?;
    let device = Key::from_seed(seed(&dir.join("device"))?);
    let peer_seed = seed(&dir.join("peer"))?;
    let peer = PeerKey(Key::from_seed(peer_seed).id().0);
    let path = dir.join("certificate");
    let kept = kept(&path, &device, peer)?;
    let fresh = kept.as_ref().is_some_and(|kept| kept.expires > now + Span(CERTIFIED_FOR.0 / 2));
    let away = kept.is_some() && !dir.join("person").exists();
    match kept {
        Some(certificate) if fresh || (away && certificate.expires > now) => {
            return Ok(Keys { device, peer_seed, certificate });
        }
        // A new person would lose all that is owed to the old one.
        Some(_) if away => {
            let reason = "it has ended, and the key that could renew it is not here: \
                          `sublet identity restore` brings it back by its 24 words, `sublet identity unlock` by its passphrase";
            return Err(Fault::Key { path, reason: reason.to_owned() });
        }
        Some(_) | None => {}
    }
    let person = Key::from_seed(seed(&dir.join("person"))?);
    let certificate = DeviceCertificate {
        person: PersonId(person.id().0),
        device: device.id(),
        peer,
        label: plain(label, 64),
        seq: u64::try_from(now.0).unwrap_or(0),
        issued: now,
        expires: now + CERTIFIED_FOR,
    };
    let certificate = person
        .sign(&certificate)
        .map_err(|error| Fault::Key { path: path.clone(), reason: error.to_string() })?;
    write_new(&path, certificate.bytes())?;
    Ok(Keys { device, peer_seed, certificate })
}

/// The certificate on disk, when it is this device's.
fn kept(path: &Path, device: &Key, peer: PeerKey) -> Result<Option<Signed<DeviceCertificate>>, Fault> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(path, &error)),
    };
    let read =
        Unverified::<DeviceCertificate>::read(&bytes).and_then(|certificate| certificate.verify_past());
    let certificate =
        read.map_err(|error| Fault::Key { path: path.to_owned(), reason: error.to_string() })?;
    let ours = certificate.device == device.id() && certificate.peer == peer;
    Ok(ours.then_some(certificate))
}

/// The 32 bytes in a key file, which is made where it lacks.
pub fn seed(path: &Path) -> Result<[u8; 32], Fault> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let mut seed = [0; 32];
            hex::decode_to_slice(text.trim(), &mut seed)
                .map_err(|error| Fault::Key { path: path.to_owned(), reason: error.to_string() })?;
            Ok(seed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let seed = random()?;
            write_new(path, hex::encode(seed).as_bytes())?;
            Ok(seed)
        }
        Err(error) => Err(fault(path, &error)),
    }
}

/// Random bytes of the system.
pub fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Fault::Random(error.to_string()))?;
    Ok(bytes)
}

/// A key, or what stands beside it: whole, or as it was.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    write_private(path, bytes).map_err(|error| fault(path, &error))
}

fn fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::Key { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn keys_are_made_once_and_only_the_owner_may_read_them() {
        let data = tempfile::tempdir().unwrap();
        let (one, two) = (
            load(data.path(), "laptop", NOW).unwrap(),
            load(data.path(), "laptop", NOW + Span::days(9)).unwrap(),
        );
        assert_eq!(
            (one.device.id(), one.peer_seed, one.certificate),
            (two.device.id(), two.peer_seed, two.certificate)
        );
        for name in ["person", "device", "peer"] {
            let mode = fs::metadata(data.path().join("keys").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn the_person_s_key_may_be_kept_elsewhere() {
        let data = tempfile::tempdir().unwrap();
        let person = load(data.path(), "laptop", NOW).unwrap().certificate.person;
        fs::remove_file(data.path().join("keys/person")).unwrap();
        assert_eq!(load(data.path(), "laptop", NOW).unwrap().certificate.person, person);
    }

    #[test]
    fn a_broken_key_file_is_named_and_kept() {
        let data = tempfile::tempdir().unwrap();
        load(data.path(), "laptop", NOW).unwrap();
        fs::write(data.path().join("keys/device"), "what").unwrap();
        let fault = load(data.path(), "laptop", NOW).err().unwrap();
        assert!(fault.to_string().contains("keys/device"), "{fault}");
        assert_eq!(fs::read_to_string(data.path().join("keys/device")).unwrap(), "what");
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends() {
        let data = tempfile::tempdir().unwrap();
        let one = load(data.path(), "laptop", NOW).unwrap().certificate;
        let two = load(data.path(), "laptop", NOW + Span::days(400)).unwrap().certificate;
        assert!(two.seq > one.seq && two.expires > one.expires && two.person == one.person);
    }
}
