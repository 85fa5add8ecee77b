//! Secrets of a guest: files that it alone may read, in memory that is never swapped.
//!
//! Their values are in no order and in no file of this machine. The node writes them into the supervisor's standard output,
//! which is a socket; the supervisor's child, the guest's first process, has them by being its copy, and lays them into a
//! file system of its own (ramfs, whose pages have no place on any disk). There they stay for as long as the guest does, also
//! when its program is begun again. All copies on the way are overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use model::Hidden;
use model::document::SecretFile;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use rustix::mount::{MountFlags, mount, mount_remount};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::image_users::User;
use super::sandbox::STAGE;

/// A secret of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// How the guest finds it.
    pub file: SecretFile,
    /// What is in it. Never written down.
    #[serde(skip)]
    pub value: Hidden,
}

/// Where the first process lays them, in its stage.
const SECRETS: &str = "secrets";

/// As node: all values, as the supervisor reads them.
pub fn handed_over(secrets: &[Secret]) -> Hidden {
    Hidden::framed(secrets.iter().map(|secret| &secret.value))
}

/// As supervisor: takes the values of those that its orders name.
pub fn receive(named: &[Secret], mut from: impl Read) -> io::Result<Vec<Secret>> {
    let mut read = |secret: &Secret| {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > SecretFile::LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut value = Hidden::room(length);
        from.read_exact(value.bytes_mut())?;
        Ok(Secret { file: secret.file.clone(), value })
    };
    named.iter().map(&mut read).collect()
}

/// As the guest's first process, in its stage: lays them down for the runtime to show.
pub fn lay_down(secrets: &[Secret], user: &User) -> io::Result<()> {
    if secrets.is_empty() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    fs::create_dir(SECRETS)?;
    mount("secrets", SECRETS, "ramfs", flags, c"mode=755")?;
    // The guest's user 0 is 1 in our namespace.
    let (owner, group) = (Uid::from_raw(user.uid + 1), Gid::from_raw(user.gid + 1));
    fchown(File::open(SECRETS)?, Some(Uid::from_raw(1)), Some(Gid::from_raw(1)))?;
    for Secret { file, value } in secrets {
        let path = format!("{SECRETS}/{}", file.name);
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        written.write_all(value.bytes())?;
        fchown(&written, Some(owner), Some(group))?;
        fchmod(&written, Mode::from_raw_mode(file.readers.mode().into()))?;
    }
    mount_remount(SECRETS, MountFlags::BIND | MountFlags::RDONLY | flags, "")?;
    Ok(())
}

/// For the runtime: the last of all mounts, so that nothing else lies over it.
pub fn mounts(secrets: &[Secret]) -> Option<Value> {
    let from = format!("{STAGE}/{SECRETS}");
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    let place = SecretFile::PLACE;
    (!secrets.is_empty())
        .then(|| json!({ "destination": place, "type": "bind", "source": from, "options": options }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::document::Readers;

    fn secret(name: &str, value: &[u8]) -> Secret {
        let file = SecretFile { name: name.into(), readers: Readers::User };
        Secret { file, value: Hidden::new(value.to_vec()) }
    }

    #[test]
    fn orders_name_a_secret_and_do_not_tell_it() {
        let secrets = [secret("db", b"pearl"), secret("key", &[0, 255])];
        let written = serde_json::to_string(&secrets).unwrap();
        assert!(written.contains("db") && !written.contains("pearl"), "{written}");
        let named: Vec<Secret> = serde_json::from_str(&written).unwrap();
        assert_eq!(named[0].value, Hidden::default());
        let handed = handed_over(&secrets);
        assert_eq!(receive(&named, handed.bytes()).unwrap(), secrets);
        // A node that died in the middle, and one that says nonsense.
        assert!(receive(&named, &handed.bytes()[..handed.bytes().len() - 1]).is_err());
        assert!(receive(&named, &[0xFF; 64][..]).is_err());
    }
}
