//! What the makers of Sublet say of a version: its packages, and how fast it goes out to all.
//!
//! Who may say it is not in here: a release counts where it is signed by a key that the program was built with
//! (`engine::update`). A later statement about the same version takes the place of an earlier one: that is how a rollout
//! is stopped.

use super::{is_plain, require};
use crate::envelope::{Document, Invalid};
use crate::id::DeviceId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A version of the program. Previews are told apart by their channel, not by their number, so that versions have one
/// order that nobody has to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: three whole numbers with dots between them are, such as 1.20.3")]
pub struct NotAVersion(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Version, NotAVersion> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        let version = match numbers.as_deref() {
            Some([major, minor, patch]) => Version { major: *major, minor: *minor, patch: *patch },
            Some(_) | None => return Err(NotAVersion(text.to_owned())),
        };
        // `01.2.3` and `+1.2.3` would be second names of one version.
        if version.to_string() == text { Ok(version) } else { Err(NotAVersion(text.to_owned())) }
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;
    fn try_from(text: String) -> Result<Version, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

/// For whom a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Everybody.
    Stable,
    /// Who asked to see it early.
    Preview,
}

/// What is installed by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageKind {
    /// Debian and Ubuntu.
    Deb,
    /// Fedora, openSUSE and their relatives.
    Rpm,
    /// One file for any Linux.
    AppImage,
    /// macOS.
    Dmg,
    /// Windows.
    Msi,
}

/// One package of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name as the platform's tools know it, such as `sublet-desktop`.
    pub name: String,
    /// What installs it.
    pub kind: PackageKind,
    /// The processor that it is for, as OCI names it, such as `amd64`.
    pub arch: String,
    /// Where it lies.
    pub url: String,
    /// How many bytes it has.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: crate::ObjectId,
}

/// From a moment on, so many of ten thousand nodes may have the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// From when.
    pub at: Timestamp,
    /// How many of [`ALL`].
    pub cursor: u16,
}

/// A cursor that has reached every node.
pub const ALL: u16 = 10_000;

/// More than any platform's package has.
pub const LARGEST_PACKAGE: u64 = 4 << 30;

/// What the makers say of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    pub version: Version,
    /// For whom.
    pub channel: Channel,
    /// The oldest version that it can take the place of; an older one takes one between first.
    pub minimum: Version,
    /// Every package of it.
    pub packages: Vec<Package>,
    /// How far it has gone out, and will.
    pub rollout: Vec<Stage>,
    /// When this was said. Of two statements about one version, the later counts.
    pub issued: Timestamp,
    /// Until when it acts: an old statement, held back and shown late, installs nothing.
    pub expires: Timestamp,
}

impl Release {
    /// How many of [`ALL`] nodes may have it at that moment.
    pub fn cursor(&self, now: Timestamp) -> u16 {
        self.rollout.iter().take_while(|stage| stage.at <= now).last().map_or(0, |stage| stage.cursor)
    }

    /// When the cursor passes that place; none where it never does.
    pub fn reaches(&self, place: u16) -> Option<Timestamp> {
        self.rollout.iter().find(|stage| place < stage.cursor).map(|stage| stage.at)
    }

    /// Where a node stands in the order in which nodes get this version, from 0 to 9999: each version has an order of its
    /// own, so that no node is always the first.
    pub fn place(&self, node: DeviceId) -> u16 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"sublet-rollout-v1\0").update(&node.0).update(self.version.to_string().as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // Of 2^64 numbers, ten thousand parts are alike but for one in 10^15.
        u16::try_from(u64::from_le_bytes(number) % u64::from(ALL)).unwrap_or(0)
    }

    /// The package of that name and kind for that processor.
    pub fn package(&self, name: &str, kind: PackageKind, arch: &str) -> Option<&Package> {
        self.packages.iter().find(|package| {
            (package.name.as_str(), package.kind, package.arch.as_str()) == (name, kind, arch)
        })
    }
}

/// What stands between slashes and on a command line, and means the same in both.
fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
}

impl Package {
    fn check(&self) -> Result<(), Invalid> {
        require(is_word(&self.name), "packages", "a name is of small letters, digits and hyphens")?;
        require(
            is_word(&self.arch),
            "packages",
            "a processor is named of small letters, digits and hyphens",
        )?;
        let url = self.url.starts_with("https://") && is_plain(&self.url, 500) && !self.url.contains(' ');
        require(url, "packages", "a package lies at an https:// address of at most 500 bytes")?;
        require((1..=LARGEST_PACKAGE).contains(&self.size), "packages", "a package has from 1 byte to 4 GiB")
    }
}

impl Document for Release {
    const DOMAIN: &'static str = "sublet/release/1";
    const MAX_BYTES: usize = 32 * 1024;

    fn issued(&self) -> Timestamp {
        self.issued
    }

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, _signer: DeviceId) -> Result<(), Invalid> {
        require(self.issued < self.expires, "expires", "after it was issued")?;
        require(self.minimum < self.version, "minimum", "older than the version itself")?;
        require((1..=64).contains(&self.packages.len()), "packages", "from 1 to 64")?;
        self.packages.iter().try_for_each(Package::check)?;
        let key = |package: &Package| (package.name.clone(), package.kind, package.arch.clone());
        let keys: std::collections::BTreeSet<_> = self.packages.iter().map(key).collect();
        require(keys.len() == self.packages.len(), "packages", "one for each name, kind and processor")?;
        require((1..=32).contains(&self.rollout.len()), "rollout", "from 1 to 32 stages")?;
        require(self.rollout.iter().all(|stage| stage.cursor <= ALL), "rollout", "at most 10000 of 10000")?;
        // What has gone out cannot be called back: a rollout that goes on only ever reaches more.
        let grows =
            self.rollout.windows(2).all(|pair| pair[0].at < pair[1].at && pair[0].cursor <= pair[1].cursor);
        require(grows, "rollout", "each stage later than the one before, and no smaller")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;
    use crate::envelope::Key;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn release() -> Release {
        Release {
            version: Version { major: 1, minor: 2, patch: 0 },
            channel: Channel::Stable,
            minimum: Version { major: 1, minor: 0, patch: 0 },
            packages: vec![Package {
                name: "sublet".into(),
                kind: PackageKind::Deb,
                arch: "amd64".into(),
                url: "https://example.org/sublet_1.2.0_amd64.deb".into(),
                size: 4_000_000,
                sha256: crate::ObjectId([7; 32]),
            }],
            rollout: vec![
                Stage { at: NOW, cursor: 100 },
                Stage { at: NOW + Span::days(1), cursor: 2_500 },
                Stage { at: NOW + Span::days(3), cursor: ALL },
            ],
            issued: NOW,
            expires: NOW + Span::days(30),
        }
    }

    #[test]
    fn versions_have_one_name_and_one_order() {
        let read = |text: &str| text.parse::<Version>().map(|version| version.to_string());
        assert_eq!(read("1.20.3"), Ok("1.20.3".to_owned()));
        for text in ["", "1", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "1.2.x", "1.2.3-rc.1", "4294967296.0.0"] {
            assert_eq!(read(text), Err(NotAVersion(text.to_owned())));
        }
        assert!("1.10.0".parse::<Version>().unwrap() > "1.9.9".parse::<Version>().unwrap());
    }

    #[test]
    fn the_cursor_moves_with_time_and_not_before() {
        let release = release();
        let after = |span| release.cursor(NOW + span);
        assert_eq!(release.cursor(NOW - Span(1)), 0);
        assert_eq!((after(Span::ZERO), after(Span::days(2)), after(Span::days(9))), (100, 2_500, ALL));
        assert_eq!(release.reaches(99), Some(NOW));
        assert_eq!(release.reaches(100), Some(NOW + Span::days(1)));
        assert_eq!(release.reaches(9_999), Some(NOW + Span::days(3)));
    }

    #[test]
    fn what_no_maker_would_say_is_neither_signed_nor_read() {
        let refused = |field: &'static str, change: fn(&mut Release)| {
            let mut changed = release();
            change(&mut changed);
            let told = Key::from_seed([1; 32]).sign(&changed).unwrap_err();
            assert!(
                matches!(told, Invalid::Content { field: found, .. } if found == field),
                "{field}: {told}"
            );
        };
        assert!(Key::from_seed([1; 32]).sign(&release()).is_ok());
        refused("packages", |release| release.packages[0].url = "http://example.org/x".into());
        refused("packages", |release| release.packages[0].name = "../x".into());
        refused("packages", |release| release.packages[0].size = 0);
        refused("packages", |release| release.packages.push(release.packages[0].clone()));
        refused("packages", |release| release.packages.clear());
        refused("minimum", |release| release.minimum = release.version);
        refused("rollout", |release| release.rollout[1].cursor = 99);
        refused("rollout", |release| release.rollout[1].at = NOW);
        refused("rollout", |release| release.rollout[2].cursor = ALL + 1);
        refused("expires", |release| release.expires = NOW);
    }

    proptest! {
        #[test]
        fn a_node_has_one_place_in_a_version_and_others_in_others(seed: [u8; 32]) {
            let (one, node) = (release(), DeviceId(seed));
            let next = Release { version: Version { major: 1, minor: 2, patch: 1 }, ..release() };
            prop_assert!(one.place(node) < ALL);
            prop_assert_eq!(one.place(node), one.clone().place(node));
            // The same place twice is one chance in ten thousand; with two more versions, one in 10^12.
            let others = [next.clone(), Release { version: Version { major: 2, minor: 0, patch: 0 }, ..next.clone() },
                Release { version: Version { major: 3, minor: 0, patch: 0 }, ..next }];
            prop_assert!(others.iter().any(|other| other.place(node) != one.place(node)));
        }
    }
}
