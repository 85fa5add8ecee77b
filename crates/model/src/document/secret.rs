//! Secrets of a guest: files that it alone may read. A lease names them; their values are in no document. They travel when the
//! guest starts, from its tenant's node to its host's.

use super::require;
use crate::envelope::Invalid;
use crate::id::Nonce;
use serde::{Deserialize, Serialize};

/// The most secrets of one guest.
const MOST: usize = 32;

/// Secrets that a guest is to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secrets {
    /// By which the tenant's node finds their values: random, and says nothing of them.
    pub bundle: Nonce,
    /// Which there are. Neither a length nor a hash stands beside a name: a lease is kept for years, and what is short is guessed.
    pub named: Vec<SecretFile>,
}

/// A secret, as its guest finds it: a file that is only read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretFile {
    /// The file's name in [`SecretFile::PLACE`]: letters, digits, `.`, `_`, `-`; at most 64.
    pub name: String,
    /// Who in the guest may read it.
    #[serde(default, skip_serializing_if = "Readers::is_usual")]
    pub readers: Readers,
}

/// Who in a guest may read a secret, whose owner is the user of the guest's program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readers {
    /// The user of the guest's program alone: mode 0400.
    #[default]
    User,
    /// Its group, too: mode 0440.
    Group,
    /// Every user of the guest: mode 0444. For programs that give up root before they read it.
    All,
}

impl Readers {
    /// The file's mode.
    pub fn mode(self) -> u16 {
        match self {
            Readers::User => 0o400,
            Readers::Group => 0o440,
            Readers::All => 0o444,
        }
    }

    fn is_usual(&self) -> bool {
        *self == Readers::User
    }
}

impl SecretFile {
    /// Where a guest finds its secrets.
    pub const PLACE: &'static str = "/run/secrets";

    /// The largest value, in bytes.
    pub const LARGEST: usize = 64 << 10;

    /// The most that the values of one guest take together, in bytes.
    pub const LARGEST_TOGETHER: usize = 512 << 10;

    /// Whether a file of a guest can be called so.
    pub fn is_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=64).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-'])
    }
}

impl Secrets {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        require((1..=MOST).contains(&self.named.len()), "secrets", "1 to 32")?;
        require(
            self.named.iter().all(|secret| SecretFile::is_name(&secret.name)),
            "secret",
            "a name of 1 to 64 letters, digits, `.`, `_`, `-`",
        )?;
        let mut names: Vec<&str> = self.named.iter().map(|secret| secret.name.as_str()).collect();
        names.sort_unstable();
        require(names.windows(2).all(|pair| pair[0] != pair[1]), "secret", "each name once")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(names: &[&str]) -> Secrets {
        let file = |name: &&str| SecretFile { name: (*name).to_owned(), readers: Readers::User };
        Secrets { bundle: Nonce([7; 16]), named: names.iter().map(file).collect() }
    }

    #[test]
    fn a_secret_has_a_name_that_is_a_file_s() {
        assert_eq!(secrets(&["db-password", "API_KEY", "tls.pem", "0"]).check(), Ok(()));
        let long = "x".repeat(65);
        for name in ["", ".", "..", ".hidden", "-r", "a/b", "../x", "a b", "a\0", "ü", &long] {
            assert!(secrets(&[name]).check().is_err(), "{name:?}");
        }
        assert!(secrets(&[]).check().is_err());
        assert!(secrets(&["a", "b", "a"]).check().is_err());
        let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        assert!(secrets(&many.iter().map(String::as_str).collect::<Vec<_>>()).check().is_err());
    }
}
