//! A guest's output, wherever the guest is.

use bytes::Bytes;
use machine::guest::{GuestId, Guests};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How long a reader of a guest here waits at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads a guest's output, piece by piece.
pub enum LogReader {
    /// The guest runs on a host.
    Remote(Box<net::Stream>),
    /// The guest runs here.
    Local {
        /// All guests here.
        guests: Arc<Guests>,
        /// Which.
        id: GuestId,
        /// Where the next piece begins.
        offset: u64,
        /// Whether to wait for more.
        follow: bool,
    },
}

impl LogReader {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// When the host is gone, or the log cannot be read.
    pub async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        match self {
            LogReader::Remote(stream) => {
                let mut piece = vec![0; 16 * 1024];
                let length = stream.read(&mut piece).await?;
                piece.truncate(length);
                Ok((length > 0).then(|| piece.into()))
            }
            LogReader::Local { guests, id, offset, follow } => loop {
                let patience = if *follow { PATIENCE } else { Duration::ZERO };
                let chunk = guests.logs(*id, *offset, patience).await.map_err(std::io::Error::other)?;
                let moved = chunk.next > *offset;
                *offset = chunk.next;
                let mut piece = Vec::new();
                if chunk.lost > 0 {
                    piece.extend(
                        format!("[{} bytes of output are no longer kept]\n", chunk.lost).into_bytes(),
                    );
                }
                chunk.pieces.iter().for_each(|part| piece.extend(&part.bytes));
                if !piece.is_empty() {
                    return Ok(Some(piece.into()));
                }
                if chunk.ended || !(*follow || moved) {
                    return Ok(None);
                }
            },
        }
    }
}
