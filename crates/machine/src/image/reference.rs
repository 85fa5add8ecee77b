//! Names of images at registries, as people type them: `debian`, `registry.example:5000/team/app:1.2@sha256:..`.
//!
//! The grammar is that of the OCI distribution specification, and what is left out is filled in as docker does. It is read
//! by hand: the one regular expression that says the same takes 20 MiB of memory for as long as the node lives.
//!
//! ```text
//! reference  = [registry "/"] repository [":" tag] ["@" digest]
//! registry   = host [":" port]             ; holds a dot or a port, or is localhost: else it is part of the repository
//! repository = part *("/" part)            ; small letters and digits, joined by one ".", one or two "_", or some "-"
//! tag        = 1*128(letter / digit / "_" / "." / "-")  ; and starts with none of the last two
//! ```

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::{Digest, ImageError};

const HUB: &str = "docker.io";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// Where an image lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry by the name that people know: `docker.io` where none was given.
    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry is asked, with its port if it has one of its own.
    pub(super) fn host(&self) -> &str {
        if self.registry == HUB { "index.docker.io" } else { &self.registry }
    }

    /// The repository at the registry.
    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` where neither tag nor digest was given.
    pub(super) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, where it was given: it wins over a tag.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Reference, ImageError> {
        parse(text).ok_or_else(|| ImageError::BadReference { reference: text.chars().take(300).collect() })
    }
}

fn parse(text: &str) -> Option<Reference> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse().ok()?)),
        None => (text, None),
    };
    // A colon before the last slash stands before a registry's port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[last..].find(':') {
        Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        None => (name, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((left, rest)) if left.contains(['.', ':']) || left == "localhost" => (left, rest),
        Some(_) | None => (HUB, name),
    };
    let well_formed = is_registry(registry)
        && repository.len() <= MAX_REPOSITORY
        && repository.split('/').all(is_part)
        && tag.is_none_or(is_tag);
    if !well_formed {
        return None;
    }
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    let official = registry == HUB && !repository.contains('/');
    Some(Reference {
        registry: registry.to_owned(),
        repository: if official { format!("library/{repository}") } else { repository.to_owned() },
        tag: tag.or(digest.is_none().then_some("latest")).map(str::to_owned),
        digest,
    })
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    let known = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    known
        && port
            .is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// A part of a repository: words of small letters and digits, and between two of them one joint.
fn is_part(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = text.bytes().next().is_some_and(is_word) && text.bytes().next_back().is_some_and(is_word);
    let mut joints =
        text.split(|char: char| char.is_ascii() && is_word(char as u8)).filter(|joint| !joint.is_empty());
    ends_well
        && joints.all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_TAG).contains(&text.len()) && !text.starts_with(['.', '-']) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the parser that others use makes of it, where both are meant to agree.
    fn theirs(text: &str) -> Option<String> {
        let reference: oci_client::Reference = text.parse().ok()?;
        reference.digest().is_none_or(|digest| digest.parse::<Digest>().is_ok()).then(|| reference.whole())
    }

    fn ours(text: &str) -> Option<String> {
        text.parse::<Reference>().ok().map(|reference| reference.to_string())
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let digest = Digest::of(b"");
        for (given, whole) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("someone/app", "docker.io/someone/app:latest".to_owned()),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest".to_owned()),
            ("test.com:5000", "docker.io/library/test.com:5000".to_owned()),
            ("test:5000/repo", "test:5000/repo:latest".to_owned()),
            ("localhost/repo:tag", "localhost/repo:tag".to_owned()),
            ("sub-dom1.foo.com/bar/baz/quux:1_x.Y-z", "sub-dom1.foo.com/bar/baz/quux:1_x.Y-z".to_owned()),
            ("[::1]:5000/app", "[::1]:5000/app:latest".to_owned()),
            (&format!("a.b/c@{digest}"), format!("a.b/c@{digest}")),
            (&format!("a.b/c:1@{digest}"), format!("a.b/c:1@{digest}")),
        ] {
            assert_eq!(ours(given), Some(whole), "{given}");
        }
    }

    #[test]
    fn docker_s_own_registry_is_asked_at_another_host() {
        let hub: Reference = "debian".parse().unwrap();
        assert_eq!(
            (hub.registry(), hub.host(), hub.repository()),
            ("docker.io", "index.docker.io", "library/debian")
        );
        let other: Reference = "a.b:1/c".parse().unwrap();
        assert_eq!((other.registry(), other.host()), ("a.b:1", "a.b:1"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        let tag = format!("a:{}", "b".repeat(129));
        for bad in [
            "",
            ":tag",
            "@",
            "a@",
            "a@sha256:00",
            "UPPER",
            "a b",
            "../x",
            "a/../b",
            "x:",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a.-b",
            "a___b",
            "-a",
            "a-",
            "a:-x",
            "a:.x",
            "a.b:99999/c",
            "a.b:/c",
            ":5000/c",
            "-a.b/c",
            "a..b/c",
            "[::1/c",
            "[x]:1/c",
            "a\n",
            "ä",
            "a:ä",
            "http://a.b/c",
            &long,
            &tag,
        ] {
            assert!(matches!(bad.parse::<Reference>(), Err(ImageError::BadReference { .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_others_read_it(text in "([a-c.:_/@-]{0,12}|[a-z0-9._-]{1,9}(:[0-9]{1,4})?/[a-z0-9._/-]{1,12}(:[A-Za-z0-9._-]{1,9})?)") {
            // They call `a_b.c/d` a registry's, whose name no host can have.
            prop_assume!(!text.split('/').next().unwrap_or_default().contains('_'));
            prop_assert_eq!(ours(&text), theirs(&text));
        }

        #[test]
        fn a_whole_name_is_read_as_itself(text in "[a-c.]{1,4}(:[0-9]{2})?/[a-c_]{1,6}:[a-c]{1,3}") {
            if let Some(whole) = ours(&text) {
                prop_assert_eq!(ours(&whole), Some(whole.clone()));
            }
        }
    }
}
