//! Fetches what has a known digest, or is small: releases of Sublet, and what they say of themselves.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::http;

/// What a file must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How many bytes it has.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Not an address to fetch from.
    #[error("`{url}` is no address to fetch from: {why}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server cannot be reached, or breaks off.
    #[error("{url} cannot be fetched")]
    Unreachable {
        /// From where.
        url: String,
        /// What the network says.
        source: reqwest::Error,
    },
    /// The server answers, and gives nothing.
    #[error("{url} answers with {status}")]
    Status {
        /// From where.
        url: String,
        /// What it answers.
        status: StatusCode,
    },
    /// Something else than was signed.
    #[error("{from} is not what was signed: {why}")]
    Other {
        /// Where it came from.
        from: String,
        /// In which way.
        why: String,
    },
    /// The disk.
    #[error("{}: {source}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A text or document of at most so many bytes.
///
/// # Errors
/// When the address is none, nothing comes of it, or more comes than that.
pub async fn small(url: &str, most: usize) -> Result<Vec<u8>, DownloadError> {
    let mut response = ask(url).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunk(&mut response, url).await? {
        bytes.extend(chunk);
        if bytes.len() > most {
            return Err(other(url, format!("it has more than {most} bytes")));
        }
    }
    Ok(bytes)
}

/// A file from the network to `to`: there is either the whole of it, as it was expected, or nothing new.
///
/// # Errors
/// When nothing comes, something else comes, or it cannot be written.
pub async fn fetch(
    url: &str,
    expected: Expected,
    to: &Path,
    mut progress: impl FnMut(u64),
) -> Result<(), DownloadError> {
    let mut response = ask(url).await?;
    let mut writing = Writing::begin(url, expected, to).await?;
    while let Some(chunk) = chunk(&mut response, url).await? {
        writing.write(&chunk).await?;
        progress(writing.written);
    }
    writing.end().await
}

/// The same from a file.
///
/// # Errors
/// As for [`fetch`].
pub async fn copy(from: &Path, expected: Expected, to: &Path) -> Result<(), DownloadError> {
    let mut file = File::open(from).await.map_err(|source| disk(from, source))?;
    let mut writing = Writing::begin(&from.display().to_string(), expected, to).await?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).await.map_err(|source| disk(from, source))?;
        if read == 0 {
            return writing.end().await;
        }
        writing.write(&buffer[..read]).await?;
    }
}

/// Whether that file is there, and is what was expected.
pub async fn is_there(path: &Path, expected: Expected) -> bool {
    let Ok(file) = File::open(path).await else { return false };
    let fits = file.metadata().await.is_ok_and(|known| known.is_file() && known.len() == expected.size);
    fits && digest(file).await.is_ok_and(|digest| digest == expected.sha256)
}

async fn digest(mut from: impl AsyncRead + Unpin) -> io::Result<[u8; 32]> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// A file that grows beside its place, and gets there when it is whole and right.
struct Writing<'a> {
    from: String,
    expected: Expected,
    to: &'a Path,
    part: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
}

impl Writing<'_> {
    async fn begin<'a>(from: &str, expected: Expected, to: &'a Path) -> Result<Writing<'a>, DownloadError> {
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).await.map_err(|source| disk(&part, source))?;
        Ok(Writing { from: from.to_owned(), expected, to, part, file, hasher: Sha256::new(), written: 0 })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.written += bytes.len() as u64;
        if self.written > self.expected.size {
            return self.refuse(format!("it has more than {} bytes", self.expected.size)).await;
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await.map_err(|source| disk(&self.part, source))
    }

    async fn end(mut self) -> Result<(), DownloadError> {
        if self.written < self.expected.size {
            let why = format!("it has {} bytes instead of {}", self.written, self.expected.size);
            return self.refuse(why).await;
        }
        let found: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        if found != self.expected.sha256 {
            return self.refuse("its digest is another".to_owned()).await;
        }
        self.file.flush().await.map_err(|source| disk(&self.part, source))?;
        self.file.sync_all().await.map_err(|source| disk(&self.part, source))?;
        fs::rename(&self.part, self.to).await.map_err(|source| disk(self.to, source))
    }

    /// What is wrong is not kept.
    async fn refuse(&self, why: String) -> Result<(), DownloadError> {
        fs::remove_file(&self.part).await.map_err(|source| disk(&self.part, source))?;
        Err(other(&self.from, why))
    }
}

async fn ask(url: &str) -> Result<Response, DownloadError> {
    let address = |why: String| DownloadError::Address { url: url.to_owned(), why };
    let parsed = Url::parse(url).map_err(|error| address(error.to_string()))?;
    may_be_asked(&parsed).map_err(address)?;
    let unreachable = |source| DownloadError::Unreachable { url: url.to_owned(), source };
    let http = http::client(may_be_asked).build().map_err(unreachable)?;
    let response = http.get(parsed).send().await.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(DownloadError::Status { url: url.to_owned(), status }),
    }
}

/// What is signed needs no secrecy, but who fetches which version is nobody's business; on this computer itself nobody
/// listens in.
fn may_be_asked(url: &Url) -> Result<(), String> {
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        _ => Err("it must begin with https://".to_owned()),
    }
}

async fn chunk(response: &mut Response, url: &str) -> Result<Option<bytes::Bytes>, DownloadError> {
    response.chunk().await.map_err(|source| DownloadError::Unreachable { url: url.to_owned(), source })
}

fn other(from: &str, why: String) -> DownloadError {
    DownloadError::Other { from: from.to_owned(), why }
}

fn disk(path: &Path, source: io::Error) -> DownloadError {
    DownloadError::Disk { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers every request with these bytes, or sends it on to another place.
    async fn server(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        url
    }

    fn ok(body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    fn expected(body: &[u8]) -> Expected {
        Expected { size: body.len() as u64, sha256: Sha256::digest(body).into() }
    }

    #[tokio::test]
    async fn only_what_was_signed_gets_to_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("package");
        let url = server(ok(b"a package")).await;
        for wrong in [expected(b"b package"), expected(b"a packag"), expected(b"a package and more")] {
            let refused = fetch(&url, wrong, &to, |_| ()).await.unwrap_err();
            assert!(matches!(refused, DownloadError::Other { .. }), "{refused}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        let mut seen = 0;
        fetch(&url, expected(b"a package"), &to, |bytes| seen = bytes).await.unwrap();
        assert_eq!((std::fs::read(&to).unwrap(), seen), (b"a package".to_vec(), 9));
        assert!(is_there(&to, expected(b"a package")).await);
        assert!(!is_there(&to, expected(b"b package")).await);
        copy(&to, expected(b"a package"), &folder.path().join("copy")).await.unwrap();
        assert!(copy(&to, expected(b"b package"), &folder.path().join("other")).await.is_err());
        assert!(!folder.path().join("other").exists());
    }

    #[tokio::test]
    async fn what_breaks_off_or_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cut = server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort".to_vec()).await;
        let broken = fetch(&cut, expected(&[0; 99]), &folder.path().join("x"), |_| ()).await.unwrap_err();
        assert!(matches!(broken, DownloadError::Unreachable { .. }), "{broken}");
        let gone = server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
        assert!(matches!(
            small(&gone, 9).await,
            Err(DownloadError::Status { status: StatusCode::NOT_FOUND, .. })
        ));
        let long = server(ok(&[b'x'; 100])).await;
        assert!(matches!(small(&long, 99).await, Err(DownloadError::Other { .. })));
        assert_eq!(small(&long, 100).await.unwrap().len(), 100);
    }

    #[tokio::test]
    async fn nothing_is_fetched_in_the_open() {
        for url in ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x"] {
            assert!(matches!(small(url, 9).await, Err(DownloadError::Address { .. })), "{url}");
        }
        let aside = server(
            b"HTTP/1.1 302 Found\r\nLocation: http://example.org/x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
        .await;
        assert!(matches!(small(&aside, 9).await, Err(DownloadError::Unreachable { .. })));
    }
}
