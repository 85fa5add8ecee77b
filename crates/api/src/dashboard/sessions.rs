//! Browsers that were let in, and links that let one in.
//!
//! A session is known by a hash on the disk, so that whoever reads the file cannot take it over.

use node::model::plain;
use node::write_private;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Browsers that are let in at once; the one that was away longest makes room.
const MOST: usize = 64;

/// How long a browser that stays away is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a link can be used.
const LINK: Duration = Duration::from_secs(600);

/// Links that wait to be used.
const MOST_LINKS: usize = 16;

/// How exactly it is written down when a browser was last here, in seconds.
const EXACT: u64 = 3_600;

/// Browsers that were let in, and links that let one in.
#[derive(Clone)]
pub struct Sessions {
    path: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    sessions: Vec<Session>,
    links: Vec<(String, Instant)>,
}

/// A browser that was let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of what its cookie shows.
    hash: String,
    /// When it was let in, in seconds since 1970.
    pub since: u64,
    /// When it was last here, about.
    pub last: u64,
    /// How it calls itself.
    pub agent: String,
}

impl Sessions {
    /// Those in a file; none where it cannot be read: people then come in anew.
    pub fn load(path: PathBuf) -> Sessions {
        let sessions = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let inner = Inner { sessions: sessions.unwrap_or_default(), links: Vec::new() };
        Sessions { path, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The code of a link that lets one browser in; none when the system has no chance to give.
    pub fn link(&self) -> Option<String> {
        let code = random()?;
        let mut inner = self.lock();
        inner.links.retain(|(_, until)| *until > Instant::now());
        if inner.links.len() >= MOST_LINKS {
            inner.links.remove(0);
        }
        inner.links.push((hash(&code), Instant::now() + LINK));
        Some(code)
    }

    /// Lets in whoever has the code of a link: once.
    pub fn enter(&self, code: &str, agent: &str) -> Option<String> {
        let wanted = hash(code);
        {
            let mut inner = self.lock();
            inner.links.retain(|(_, until)| *until > Instant::now());
            let at = inner.links.iter().position(|(link, _)| *link == wanted)?;
            inner.links.remove(at);
        }
        self.admit(agent)
    }

    /// Lets a browser in, and says what its cookie shows from now on.
    pub fn admit(&self, agent: &str) -> Option<String> {
        let shown = random()?;
        let mut inner = self.lock();
        if inner.sessions.len() >= MOST {
            inner.sessions.sort_by_key(|session| std::cmp::Reverse(session.last));
            inner.sessions.truncate(MOST - 1);
        }
        let (since, agent) = (now(), plain(agent, 200));
        inner.sessions.push(Session { hash: hash(&shown), since, last: since, agent });
        self.save(&inner);
        Some(shown)
    }

    /// Whether a browser with this cookie was let in, and not too long ago.
    pub fn knows(&self, shown: &str) -> bool {
        let (wanted, now) = (hash(shown), now());
        let mut inner = self.lock();
        let Some(session) = inner.sessions.iter_mut().find(|session| session.hash == wanted) else {
            return false;
        };
        if now.saturating_sub(session.last) > REMEMBERED.as_secs() {
            return false;
        }
        if now.saturating_sub(session.last) >= EXACT {
            session.last = now;
            self.save(&inner);
        }
        true
    }

    /// All that are let in.
    pub fn all(&self) -> Vec<Session> {
        self.lock().sessions.clone()
    }

    /// Lets nobody in any more who was let in before.
    pub fn end_all(&self) {
        let mut inner = self.lock();
        *inner = Inner::default();
        self.save(&inner);
    }

    /// Ends the one of this cookie.
    pub fn end(&self, shown: &str) {
        let ended = hash(shown);
        let mut inner = self.lock();
        inner.sessions.retain(|session| session.hash != ended);
        self.save(&inner);
    }

    /// Without the file people come in anew after the next start, and nothing else.
    fn save(&self, inner: &Inner) {
        let bytes = serde_json::to_vec(&inner.sessions).map_err(io::Error::other);
        if let Err(error) = bytes.and_then(|bytes| write_private(&self.path, &bytes)) {
            tracing::warn!(%error, "the sessions of browsers were not written down");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

fn hash(shown: &str) -> String {
    hex::encode(Sha256::digest(shown.as_bytes()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_link_lets_one_browser_in_and_the_file_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.json");
        let sessions = Sessions::load(path.clone());
        let code = sessions.link().unwrap();
        let shown = sessions.enter(&code, "Firefox\n").unwrap();
        assert!(sessions.enter(&code, "").is_none(), "it works once");
        assert!(sessions.knows(&shown) && !sessions.knows(&code));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains(&shown));

        let again = Sessions::load(path);
        assert!(again.knows(&shown), "a restart ends no session");
        again.end_all();
        assert!(!again.knows(&shown));
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::load(dir.path().join("sessions.json"));
        let admitted: Vec<String> = (0..80).map(|_| sessions.admit("x").unwrap()).collect();
        let last = &admitted[79];
        assert!(sessions.knows(last) && sessions.all().len() == MOST);
    }
}
