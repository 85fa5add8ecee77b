//! The passphrase that lets browsers of the local network in. Only what Argon2id makes of it is kept.

use crate::problem::Problem;
use axum::http::StatusCode;
use node::{stretch, write_private};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// The shortest passphrase.
const SHORTEST: usize = 10;

/// Wrong attempts within [`WINDOW`], from wherever they come: then nobody is listened to until it is over.
const ATTEMPTS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The passphrase of the local network.
#[derive(Clone)]
pub struct Secret {
    path: PathBuf,
    /// One is looked at at a time: each takes 64 MiB.
    one: Arc<Semaphore>,
    wrong: Arc<Mutex<(u32, Option<Instant>)>>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "hex::serde")]
    salt: [u8; 16],
    #[serde(with = "hex::serde")]
    hash: [u8; 32],
}

impl Secret {
    /// Of a data directory.
    pub fn of(data: &Path) -> Secret {
        let wrong = Arc::new(Mutex::new((0, None)));
        Secret { path: data.join("dashboard.json"), one: Arc::new(Semaphore::new(1)), wrong }
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.path.exists()
    }

    /// Takes a new one.
    pub async fn set(&self, passphrase: String) -> Result<(), Problem> {
        if passphrase.chars().count() < SHORTEST {
            let detail = format!("a passphrase for the local network needs at least {SHORTEST} characters");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "short_passphrase", detail));
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| Problem::fault(error.to_string()))?;
        let hash = self.stretched(passphrase, salt).await?;
        let bytes = serde_json::to_vec(&Kept { salt, hash }).map_err(io::Error::other);
        bytes
            .and_then(|bytes| write_private(&self.path, &bytes))
            .map_err(|error| Problem::fault(format!("the passphrase cannot be kept: {error}")))
    }

    /// Whether this is it. Who guesses is slowed down, and so is everybody else meanwhile.
    pub async fn is(&self, passphrase: String) -> Result<bool, Problem> {
        self.may_try()?;
        let kept: Option<Kept> =
            fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(kept) = kept else { return Ok(false) };
        let right = bool::from(self.stretched(passphrase, kept.salt).await?.ct_eq(&kept.hash));
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        *wrong = if right { (0, None) } else { (wrong.0 + 1, wrong.1.or_else(|| Some(Instant::now()))) };
        Ok(right)
    }

    fn may_try(&self) -> Result<(), Problem> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.1.is_some_and(|since| since.elapsed() > WINDOW) {
            *wrong = (0, None);
        }
        if wrong.0 >= ATTEMPTS {
            let detail = "too many wrong passphrases: wait a minute";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail));
        }
        Ok(())
    }

    async fn stretched(&self, passphrase: String, salt: [u8; 16]) -> Result<[u8; 32], Problem> {
        let _one = self.one.acquire().await;
        let done = tokio::task::spawn_blocking(move || stretch(&passphrase, &salt)).await;
        let done = done.map_err(|_| Problem::fault("the passphrase was not looked at"))?;
        done.map_err(|error| Problem::fault(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_guesses_is_soon_not_listened_to() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::of(dir.path());
        assert_eq!(secret.set("short".to_owned()).await.unwrap_err().code, "short_passphrase");
        secret.set("correct horse battery".to_owned()).await.unwrap();
        assert!(secret.is("correct horse battery".to_owned()).await.unwrap());
        for _ in 0..ATTEMPTS {
            assert!(!secret.is("wrong".to_owned()).await.unwrap());
        }
        let refused = secret.is("correct horse battery".to_owned()).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.status), ("too_many_attempts", 429));
        assert!(!fs::read_to_string(dir.path().join("dashboard.json")).unwrap().contains("horse"));
    }
}
