//! Streams for the node: a head that says what for, one byte of answer, then bytes both ways.

use crate::driver::Slot;
use crate::error::NetError;
use crate::wire;
use libp2p::swarm::Stream as Substream;
use model::PeerKey;
use model::message::{MAX_HEAD, StreamAnswer, StreamHead};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// How long the opener of a stream may take for its head, and the other end for its answer.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a refusal may take to leave.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Bytes both ways between this node and a peer.
///
/// `shutdown` ends our direction and leaves the other open, so that both ends can say all they have to say. A stream
/// that is dropped before is cut off.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<Substream>,
    /// Counts against what one peer may have at once, for as long as the stream lives.
    _slot: Slot,
}

impl Stream {
    pub(crate) fn new(substream: Substream, slot: Slot) -> Stream {
        Stream { inner: substream.compat(), _slot: slot }
    }

    /// Says what the stream is for and waits for the answer.
    pub(crate) async fn begin(mut self, to: PeerKey, head: &StreamHead) -> Result<Stream, NetError> {
        let head = model::to_bytes(head);
        let Some(length) = u16::try_from(head.len()).ok().filter(|_| head.len() <= MAX_HEAD) else {
            return Err(NetError::TooLarge { size: head.len(), limit: MAX_HEAD });
        };
        let exchange = async {
            self.inner.write_all(&[&length.to_be_bytes(), head.as_slice()].concat()).await?;
            self.inner.flush().await?;
            self.inner.read_u8().await
        };
        let answer = timeout(HEAD_TIME, exchange)
            .await
            .map_err(|_| NetError::Timeout { peer: to, after: HEAD_TIME })?;
        match StreamAnswer::of(answer.map_err(|_| NetError::Gone { peer: to })?) {
            Some(StreamAnswer::Open) => Ok(self),
            Some(answer) => Err(NetError::Refused { peer: to, answer }),
            None => Err(NetError::Garbage { peer: to }),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A stream that a peer opened, and that waits for our answer. Dropped unanswered, it is cut off.
#[derive(Debug)]
pub struct IncomingStream(Stream);

impl IncomingStream {
    /// Reads the head of a stream that arrived.
    pub(crate) async fn read(mut stream: Stream) -> io::Result<(StreamHead, IncomingStream)> {
        let read = async {
            let length = usize::from(stream.inner.read_u16().await?);
            if length > MAX_HEAD {
                return Err(wire::garbage());
            }
            let mut head = vec![0; length];
            stream.inner.read_exact(&mut head).await?;
            model::from_bytes(&head).map_err(|_| wire::garbage())
        };
        let head = timeout(HEAD_TIME, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok((head, IncomingStream(stream)))
    }

    /// Goes on: what is written next is the content.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn accept(self) -> io::Result<Stream> {
        self.answer(StreamAnswer::Open).await
    }

    /// Says why not, and ends the stream.
    ///
    /// # Errors
    /// When the peer is gone, or does not take the answer in time.
    pub async fn refuse(self, why: StreamAnswer) -> io::Result<()> {
        refuse(&mut self.answer(why).await?.inner).await
    }

    async fn answer(mut self, answer: StreamAnswer) -> io::Result<Stream> {
        let send = async {
            self.0.inner.write_u8(answer as u8).await?;
            self.0.inner.flush().await
        };
        timeout(REFUSAL_TIME, send).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(self.0)
    }
}

/// Ends our direction and reads what is left of the peer's, so that the answer is not lost with the stream.
async fn refuse(stream: &mut Compat<Substream>) -> io::Result<()> {
    let end = async {
        stream.shutdown().await?;
        let mut rest = stream.take(64 * 1024);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    timeout(REFUSAL_TIME, end).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(())
}

/// Tells the opener that there is no room, before its head was read.
pub(crate) async fn turn_away(substream: Substream) -> io::Result<()> {
    let mut stream = substream.compat();
    timeout(REFUSAL_TIME, stream.write_u8(StreamAnswer::Busy as u8))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    refuse(&mut stream).await
}
