//! The Unix socket in a data directory, reached through the open directory: its path may be longer than the 108 bytes
//! that a socket's address can have.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

const NAME: &str = "api.sock";

/// Where the socket is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// Listens there, for this user alone. Whatever an earlier node has left is removed: the lock on the data directory
/// says that it is gone.
pub fn listen(data: &Path) -> io::Result<UnixListener> {
    let path = socket_path(data);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let dir = File::open(data)?;
    let listener = UnixListener::bind(through(&dir))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Calls whoever listens there.
pub async fn connect(data: &Path) -> io::Result<UnixStream> {
    let dir = File::open(data)?;
    UnixStream::connect(through(&dir)).await
}

fn through(dir: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_path_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a-rather-long-name-of-a-directory".repeat(5));
        fs::create_dir(&data).unwrap();
        assert_eq!(connect(&data).await.unwrap_err().kind(), ErrorKind::NotFound);
        let listener = listen(&data).unwrap();
        assert_eq!(fs::metadata(socket_path(&data)).unwrap().permissions().mode() & 0o777, 0o600);
        let (called, accepted) = tokio::join!(connect(&data), listener.accept());
        assert!(called.is_ok() && accepted.is_ok());
        drop(listener);
        assert_eq!(connect(&data).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(listen(&data).is_ok(), "what was left behind is in nobody's way");
    }
}
