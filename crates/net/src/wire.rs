//! Whole messages on streams: each read is limited in size and, by its caller, in time.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What came can be no message: the peer is broken or hostile.
pub(crate) fn garbage() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// Whether an error says that the peer sent what it should not, rather than that it went away.
pub(crate) fn is_garbage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// Reads all that comes until the other end has ended its direction.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > limit { Err(garbage()) } else { Ok(bytes) }
}

/// Reads one frame: its length as a big-endian u32, then its bytes. None when the other end has ended its direction.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(garbage());
    }
    // The buffer grows with what comes: a length alone makes nobody set memory aside.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(bytes)) }
}

/// Writes one frame.
pub(crate) async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| garbage())?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let mut pipe = Vec::new();
        write_frame(&mut pipe, b"one").await.unwrap();
        write_frame(&mut pipe, b"").await.unwrap();
        let mut pipe = pipe.as_slice();
        assert_eq!(read_frame(&mut pipe, 3).await.unwrap().unwrap(), b"one");
        assert_eq!(read_frame(&mut pipe, 3).await.unwrap().unwrap(), b"");
        assert_eq!(read_frame(&mut pipe, 3).await.unwrap(), None);
    }

    #[tokio::test]
    async fn too_long_and_too_short_are_told_apart() {
        let long = read_frame(&mut [0, 0, 0, 4, 1, 2, 3, 4].as_slice(), 3).await.unwrap_err();
        assert!(is_garbage(&long));
        let cut = read_frame(&mut [0, 0, 0, 4, 1, 2].as_slice(), 8).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        assert!(is_garbage(&read_to_end(&mut [0; 9].as_slice(), 8).await.unwrap_err()));
        assert_eq!(read_to_end(&mut [0; 8].as_slice(), 8).await.unwrap().len(), 8);
    }
}
