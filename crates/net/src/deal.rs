//! Requests: one stream each. The asker writes its request and ends its direction; the other end answers and ends
//! its own.

use crate::common::Common;
use crate::error::NetError;
use crate::event::{NetEvent, RequestId};
use crate::wire;
use libp2p::swarm::Stream as Substream;
use model::PeerKey;
use model::message::{self, Denial, MAX_MESSAGE, Request, Response};
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// How long a request may take from its first byte to the last of its answer, at either end.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Asks over a stream that was opened for it.
pub(crate) async fn ask(to: PeerKey, substream: Substream, request: &[u8]) -> Result<Response, NetError> {
    let mut stream = substream.compat();
    let exchange = async {
        stream.write_all(request).await?;
        stream.shutdown().await?;
        wire::read_to_end(&mut stream, MAX_MESSAGE).await
    };
    match timeout(ANSWER_TIME, exchange).await {
        Err(_) => Err(NetError::Timeout { peer: to, after: ANSWER_TIME }),
        Ok(Err(error)) if wire::is_garbage(&error) => Err(NetError::Garbage { peer: to }),
        // An end without a byte is a peer that dropped the request: no answer at all, rather than a wrong one.
        Ok(Err(_)) => Err(NetError::Gone { peer: to }),
        Ok(Ok(bytes)) if bytes.is_empty() => Err(NetError::Gone { peer: to }),
        Ok(Ok(bytes)) => message::read(&bytes).map_err(|_| NetError::Garbage { peer: to }),
    }
}

/// The requests that wait for the node's answer.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u64,
    replies: HashMap<RequestId, oneshot::Sender<Response>>,
}

impl Answers {
    /// Gives the answer to a request; whether it was still waited for.
    pub(crate) fn give(&self, id: RequestId, response: Response) -> bool {
        let reply = self.lock().replies.remove(&id);
        reply.is_some_and(|reply| reply.send(response).is_ok())
    }

    fn expect(&self) -> (RequestId, oneshot::Receiver<Response>) {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.last += 1;
        let id = RequestId(waiting.last);
        waiting.replies.insert(id, reply);
        (id, answer)
    }

    fn forget(&self, id: RequestId) {
        self.lock().replies.remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a request from a peer, waits for the node's answer and sends it.
///
/// # Errors
/// When the peer sends no request, or goes away.
pub(crate) async fn serve(common: &Common, from: PeerKey, substream: Substream) -> io::Result<()> {
    let mut stream = substream.compat();
    let read = wire::read_to_end(&mut stream, MAX_MESSAGE);
    let bytes = timeout(ANSWER_TIME, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let request: Request = message::read(&bytes).map_err(|_| wire::garbage())?;
    let response = answer(common, from, request).await;
    let Some(response) = response else { return Ok(()) };
    let send = async {
        stream.write_all(&message::write(&response)).await?;
        stream.shutdown().await
    };
    timeout(ANSWER_TIME, send).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Denies a request without reading it, when the peer has asked too much.
pub(crate) async fn turn_away(substream: Substream) -> io::Result<()> {
    let mut stream = substream.compat();
    let send = async {
        stream.write_all(&message::write(&busy())).await?;
        stream.shutdown().await?;
        wire::read_to_end(&mut stream, MAX_MESSAGE).await
    };
    timeout(Duration::from_secs(5), send)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map(drop)
}

async fn answer(common: &Common, from: PeerKey, request: Request) -> Option<Response> {
    let (id, answer) = common.answers.expect();
    if common.events.try_send(NetEvent::Request { id, from, request }).is_err() {
        common.answers.forget(id);
        return Some(busy());
    }
    let answer = timeout(ANSWER_TIME, answer).await;
    common.answers.forget(id);
    answer.ok()?.ok()
}

fn busy() -> Response {
    let sentence = "this host has too many requests at once; try again in some seconds".to_owned();
    Response::Denied(Denial { code: "busy".to_owned(), sentence })
}
