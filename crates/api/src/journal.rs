//! The last messages of this program, in memory alone: what somebody is sent who is to find out what goes wrong.

use node::machine::network::public;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// How many lines are kept: with their length, the most memory that it takes.
const MOST: usize = 400;

/// The longest line, in characters.
const LONGEST: usize = 500;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// What a node tells: its own doings, and of the libraries below only what is wrong.
pub const OF_A_NODE: &str =
    "warn,sublet_api=info,sublet_node=info,sublet_net=info,sublet_machine=info,sublet_store=info";

/// From now on this program's messages go to its standard error output, and are kept for `GET /v1/diagnostics`. Which, says the
/// variable `RUST_LOG`; when it does not, `usual`.
pub fn begin_telling(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let shown = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let kept = fmt::layer().with_writer(|| Journal).with_ansi(false);
    tracing_subscriber::registry().with(filter).with(shown).with(kept).init();
}

struct Journal;

impl Write for Journal {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(buf).lines().filter(|line| !line.is_empty()) {
            if lines.len() == MOST {
                lines.pop_front();
            }
            lines.push_back(line.chars().take(LONGEST).collect());
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was kept, the oldest first.
pub fn kept() -> Vec<String> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// The same text without what tells where its writer lives: of addresses only their kind, of the home directory only that it is one.
pub fn anonymous(text: &str, home: Option<&Path>) -> String {
    let text = match home.and_then(Path::to_str).filter(|home| home.len() > 1) {
        Some(home) => text.replace(home, "~"),
        None => text.to_owned(),
    };
    let text = names_hidden(&text);
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let mut said = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        said.push_str(before);
        let within = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if within(before.chars().next_back()) || within(after.chars().next()) {
            said.push_str(word);
        } else {
            said.push_str(&address_hidden(word));
        }
        rest = after;
    }
    said + rest
}

/// The names of hosts in multiaddresses: each follows what says that it is one.
fn names_hidden(text: &str) -> String {
    let is_name = |part: &str| matches!(part, "dns" | "dns4" | "dns6" | "dnsaddr");
    let mut before = "";
    let parts = text.split('/').map(|part| {
        let name_ends =
            part.find(|c: char| c.is_whitespace() || matches!(c, ',' | '"')).unwrap_or(part.len());
        let told = if is_name(before) { format!("<name>{}", &part[name_ends..]) } else { part.to_owned() };
        before = part;
        told
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A word that is an address, perhaps with a port, as its kind; any other as it is.
fn address_hidden(word: &str) -> String {
    // The path of a module may look like one, but for a digit.
    let has_digit = word.bytes().any(|c| c.is_ascii_digit());
    let v6 = |text: &str| text.parse::<Ipv6Addr>().ok().filter(|_| has_digit).map(IpAddr::V6);
    let v4 = |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let (bare, port) = match word.split_once(':') {
        Some((bare, port)) if v4(bare).is_some() => (bare, format!(":{port}")),
        _ => (word, String::new()),
    };
    // A sentence may end with it.
    let trimmed = bare.trim_end_matches(['.', ':']);
    let Some(address) = v4(trimmed).or_else(|| v6(bare)).or_else(|| v6(trimmed)) else {
        return word.to_owned();
    };
    if address.is_loopback() || address.is_unspecified() {
        return word.to_owned();
    }
    let kind = if public(address).is_ok() { "public" } else { "local" };
    let version = if address.is_ipv4() { "ip4" } else { "ip6" };
    format!("<{kind} {version}>{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_their_kind_alone() {
        let hidden = |text: &str| anonymous(text, Some(Path::new("/home/anna")));
        for (text, told) in [
            ("listening on /ip4/192.168.1.7/tcp/4001", "listening on /ip4/<local ip4>/tcp/4001"),
            ("/ip4/8.8.8.8/udp/9/quic-v1/p2p/12D3", "/ip4/<public ip4>/udp/9/quic-v1/p2p/12D3"),
            ("dial 8.8.4.4:80.", "dial <public ip4>:80."),
            ("from 2606:4700:4700::1111 or fe80::1", "from <public ip6> or <local ip6>"),
            ("at 127.0.0.1:8080, on ::1, on 0.0.0.0", "at 127.0.0.1:8080, on ::1, on 0.0.0.0"),
            ("2026-11-27T15:53:30.171440Z INFO a::b: x", "2026-11-27T15:53:30.171440Z INFO a::b: x"),
            ("version 0.1.0, lease ba060c44", "version 0.1.0, lease ba060c44"),
            (
                "/dns4/attic.example.org/tcp/80, /dnsaddr/b.example failed",
                "/dns4/<name>/tcp/80, /dnsaddr/<name> failed",
            ),
            ("in /home/anna/.local/share/sublet", "in ~/.local/share/sublet"),
        ] {
            assert_eq!(hidden(text), told);
        }
        assert_eq!(anonymous("/a", Some(Path::new("/"))), "/a");
    }

    #[test]
    fn the_last_lines_are_kept() {
        for number in 0..MOST + 7 {
            let line = format!("line {number} of a test {}\n", "x".repeat(LONGEST));
            Journal.write_all(line.as_bytes()).unwrap();
        }
        let kept = kept();
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|line| line.len() <= LONGEST));
        assert!(kept.last().unwrap().starts_with(&format!("line {} of", MOST + 6)));
    }
}
