//! What a guest may reach outside: nothing, a list of destinations, or the public internet.
//!
//! No policy ever allows an address that is not public: that is the host's to see to, and no document can ask for it.

use super::require;
use crate::envelope::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What a guest may reach outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Nothing.
    #[default]
    None,
    /// These destinations.
    Only(Vec<Destination>),
    /// Whatever is public.
    Internet,
}

/// More destinations than a list needs; an offer with so many still fits its size.
pub const MOST_DESTINATIONS: usize = 64;

/// The most bytes that a list may take, written out.
const LONGEST_LIST: usize = 3_072;

impl NetworkPolicy {
    /// Whether it allows nothing.
    pub fn is_none(&self) -> bool {
        *self == NetworkPolicy::None
    }

    /// The first thing that `wanted` would reach and this does not allow; none when all of it is allowed.
    pub fn lacks(&self, wanted: &NetworkPolicy) -> Option<Lack> {
        match (self, wanted) {
            (_, NetworkPolicy::None) | (NetworkPolicy::Internet, _) => None,
            (NetworkPolicy::None | NetworkPolicy::Only(_), NetworkPolicy::Internet) => Some(Lack::Internet),
            (NetworkPolicy::None, NetworkPolicy::Only(list)) => list.first().cloned().map(Lack::Destination),
            (NetworkPolicy::Only(ours), NetworkPolicy::Only(list)) => {
                let missing = list.iter().find(|wanted| !ours.iter().any(|our| our.covers(wanted)));
                missing.cloned().map(Lack::Destination)
            }
        }
    }

    /// Whether each value lies in its range.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let NetworkPolicy::Only(list) = self else { return Ok(()) };
        require(!list.is_empty(), "network", "a list names at least one destination")?;
        require(list.len() <= MOST_DESTINATIONS, "network", "at most 64 destinations")?;
        let written: usize = list.iter().map(|destination| destination.to_string().len() + 1).sum();
        require(written <= LONGEST_LIST, "network", "at most 3072 bytes of destinations")
    }
}

/// As people type it: `none`, `internet`, `allow:example.org:443,*.example.org:443`.
impl fmt::Display for NetworkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkPolicy::None => f.write_str("none"),
            NetworkPolicy::Internet => f.write_str("internet"),
            NetworkPolicy::Only(list) => {
                let list: Vec<String> = list.iter().map(Destination::to_string).collect();
                write!(f, "allow:{}", list.join(","))
            }
        }
    }
}

impl FromStr for NetworkPolicy {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<NetworkPolicy, NotADestination> {
        match text {
            "none" => Ok(NetworkPolicy::None),
            "internet" => Ok(NetworkPolicy::Internet),
            _ => {
                let list = text.strip_prefix("allow:").ok_or_else(|| NotADestination::policy(text))?;
                let mut destinations = Vec::new();
                for written in list.split(',') {
                    let destination = written.trim().parse()?;
                    if !destinations.contains(&destination) {
                        destinations.push(destination);
                    }
                }
                Ok(NetworkPolicy::Only(destinations))
            }
        }
    }
}

/// What a policy does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The whole internet.
    Internet,
    /// A destination.
    Destination(Destination),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Internet => f.write_str("the internet"),
            Lack::Destination(destination) => write!(f, "{destination}"),
        }
    }
}

/// A port of a name, of all names under a name, or of an address. Written `example.org:443`, `*.example.org:443`,
/// `93.184.216.34:443`, `[2606:2800::1]:443`; good for TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Whose.
    pub whose: Whose,
    /// Which.
    pub port: u16,
}

/// Whose port a destination is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// The host of this name.
    Host(Host),
    /// All hosts under this name, but not the name itself.
    Under(Name),
}

impl Destination {
    /// Whether whoever may reach this may reach the other.
    pub fn covers(&self, other: &Destination) -> bool {
        let whose = match (&self.whose, &other.whose) {
            (Whose::Host(ours), Whose::Host(theirs)) => ours == theirs,
            (Whose::Under(ours), Whose::Host(Host::Name(theirs))) => theirs.is_under(ours),
            (Whose::Under(ours), Whose::Under(theirs)) => theirs == ours || theirs.is_under(ours),
            (Whose::Under(_), Whose::Host(Host::Address(_))) | (Whose::Host(_), Whose::Under(_)) => false,
        };
        whose && self.port == other.port
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.whose {
            Whose::Host(Host::Address(IpAddr::V6(address))) => write!(f, "[{address}]:{}", self.port),
            Whose::Host(host) => write!(f, "{host}:{}", self.port),
            Whose::Under(name) => write!(f, "*.{name}:{}", self.port),
        }
    }
}

impl FromStr for Destination {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<Destination, NotADestination> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| NotADestination::port(text))?;
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| plain && *port != 0);
        let port = port.ok_or_else(|| NotADestination::port(text))?;
        let whose = match host.strip_prefix("*.") {
            Some(name) => Whose::Under(name.parse()?),
            None => Whose::Host(host.parse()?),
        };
        Ok(Destination { whose, port })
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Destination, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A host as it is asked for: by name or by address. There is one spelling of each: an address in decimal, octal,
/// hexadecimal or cut short (`2130706433`, `0x7f.1`, `127.1`) is neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// By name.
    Name(Name),
    /// By address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => write!(f, "{name}"),
            Host::Address(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Host {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<Host, NotADestination> {
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or_else(|| NotADestination::host(text))?;
            let address = inside.parse().map_err(|_| NotADestination::host(text))?;
            return Ok(Host::Address(IpAddr::V6(address)));
        }
        match text.parse() {
            Ok(address @ IpAddr::V4(_)) => Ok(Host::Address(address)),
            // Without brackets its last part and a port look alike.
            Ok(IpAddr::V6(_)) => Err(NotADestination::host(text)),
            Err(_) => text.parse().map(Host::Name),
        }
    }
}

/// A domain name of two labels or more, in small letters, without the dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a name below the other.
    pub fn is_under(&self, other: &Name) -> bool {
        self.0.strip_suffix(&other.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<Name, NotADestination> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        // What ends in a number is an address to some programs, whatever it is to us.
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_name = name.len() <= 253 && name.contains('.') && name.split('.').all(is_label) && !is_number;
        if is_name { Ok(Name(name)) } else { Err(NotADestination::host(text)) }
    }
}

/// What was written names no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {why}")]
pub struct NotADestination {
    /// What was written.
    pub text: String,
    why: &'static str,
}

impl NotADestination {
    fn of(text: &str, why: &'static str) -> NotADestination {
        NotADestination { text: crate::plain(text, 80), why }
    }

    fn policy(text: &str) -> NotADestination {
        Self::of(
            text,
            "is no network policy: write none, internet, or allow:example.org:443,*.example.org:443",
        )
    }

    fn port(text: &str) -> NotADestination {
        Self::of(text, "names no port: write for example example.org:443 or [2606:2800::1]:443")
    }

    fn host(text: &str) -> NotADestination {
        let why = "names no host: write a full name (letters, digits and hyphens; others as xn--..), an IPv4 address \
                   such as 93.184.216.34, or an IPv6 address in brackets";
        Self::of(text, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> NetworkPolicy {
        text.parse().unwrap()
    }

    #[test]
    fn a_policy_reads_as_it_is_written() {
        for text in [
            "none",
            "internet",
            "allow:example.org:443",
            "allow:example.org:443,*.example.org:80,93.184.216.34:53,[2606:2800::1]:443",
        ] {
            assert_eq!(policy(text).to_string(), text);
        }
        assert_eq!(policy("allow:EXAMPLE.org.:443, example.org:443").to_string(), "allow:example.org:443");
    }

    #[test]
    fn what_is_not_one_clear_destination_is_refused() {
        for text in [
            "",
            "all",
            "allow:",
            "allow:example.org",
            "allow:example.org:0",
            "allow:example.org:65536",
            "allow:example.org:+1",
            "allow:localhost:80",
            "allow:*:80",
            "allow:*.:80",
            "allow:*.org:80",
            "allow:a.*.org:80",
            "allow:exämple.org:80",
            "allow:a..b:1",
            "allow:-a.b:1",
            "allow:a b.c:1",
            "allow:2606:2800::1:443",
            "allow:[1.2.3.4]:1",
            "allow:[::1:1",
            "allow:http://example.org:80",
            // One address, spelt as some programs read it.
            "allow:2130706433:80",
            "allow:127.1:80",
            "allow:0x7f.0.0.1:80",
            "allow:0x7f000001:80",
            "allow:0177.0.0.01:80",
            "allow:127.0.0.0x1:80",
            "allow:a.0x:80",
            "allow:1.2.3.4.:80",
            "allow:1.2.3.4.5:80",
        ] {
            assert!(text.parse::<NetworkPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_offer_covers_what_lies_within_it() {
        let lacks =
            |ours: &str, wanted: &str| policy(ours).lacks(&policy(wanted)).map(|lack| lack.to_string());
        for (ours, wanted) in [
            ("none", "none"),
            ("internet", "internet"),
            ("internet", "allow:example.org:443"),
            ("allow:*.example.org:443", "allow:a.example.org:443,*.b.example.org:443,*.example.org:443"),
            ("allow:93.184.216.34:1", "allow:93.184.216.34:1"),
        ] {
            assert_eq!(lacks(ours, wanted), None, "{ours} {wanted}");
        }
        for (ours, wanted, lack) in [
            ("none", "internet", "the internet"),
            ("allow:a.b:1", "internet", "the internet"),
            ("none", "allow:a.b:1", "a.b:1"),
            ("allow:a.b:1", "allow:a.b:1,a.b:2", "a.b:2"),
            ("allow:*.example.org:443", "allow:example.org:443", "example.org:443"),
            ("allow:*.example.org:443", "allow:badexample.org:443", "badexample.org:443"),
            ("allow:a.example.org:443", "allow:*.example.org:443", "*.example.org:443"),
        ] {
            assert_eq!(lacks(ours, wanted).as_deref(), Some(lack), "{ours} {wanted}");
        }
    }
}
