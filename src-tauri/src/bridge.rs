//! What the pages can call: the API, and nothing else. See `ui/src/api/transport.ts` for the other end.

use crate::house::House;
use api::NoPassage;
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tauri::State;
use tauri::ipc::{Channel, InvokeBody, InvokeResponseBody, Request};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Long answers that are read at once; a page has a handful.
const STREAMS: usize = 64;

/// Pieces of an upload that wait to be passed on; who has more of them waits.
const PIECES: usize = 4;

/// The pages' way to the node.
pub struct Bridge {
    house: Arc<House>,
    streams: Mutex<BTreeMap<u64, CancellationToken>>,
    uploads: Mutex<BTreeMap<u64, mpsc::Sender<io::Result<Bytes>>>>,
}

/// An answer, as text.
#[derive(Serialize)]
pub struct Answer {
    status: u16,
    body: String,
}

impl Bridge {
    /// A bridge to the node of this house.
    pub fn to(house: Arc<House>) -> Bridge {
        Bridge { house, streams: Mutex::default(), uploads: Mutex::default() }
    }

    fn begin(&self, id: u64) -> Result<CancellationToken, String> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= STREAMS {
            return Err("too many answers are read at once".to_owned());
        }
        let token = CancellationToken::new();
        // A page that was loaded anew counts from one again: what it read before has no reader any more.
        if let Some(before) = streams.insert(id, token.clone()) {
            before.cancel();
        }
        Ok(token)
    }

    /// Forgets an answer that has ended, unless another has its id by now.
    fn forget(&self, id: u64, token: &CancellationToken) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if !token.is_cancelled() {
            streams.remove(&id);
        }
    }

    fn uploads(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<io::Result<Bytes>>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, id: u64) {
        if let Some(token) = self.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            token.cancel();
        }
    }
}

fn told(error: &NoPassage) -> String {
    error.to_string()
}

/// One answer.
#[tauri::command]
pub async fn api(
    bridge: State<'_, Bridge>,
    method: String,
    path: String,
    body: Option<String>,
) -> Result<Answer, String> {
    let passed = bridge.house.passage().ask(&method, &path, body).await.map_err(|error| told(&error))?;
    let status = passed.status;
    Ok(Answer { status, body: passed.text().await.map_err(|error| told(&error))? })
}

/// A long answer, piece by piece; returns at its end. An empty piece says that it has begun.
#[tauri::command]
pub async fn api_open(
    bridge: State<'_, Bridge>,
    id: u64,
    method: String,
    path: String,
    body: Option<String>,
    pieces: Channel<InvokeResponseBody>,
) -> Result<Answer, String> {
    let closed = bridge.begin(id)?;
    let reading = async {
        let mut passed =
            bridge.house.passage().ask(&method, &path, body).await.map_err(|error| told(&error))?;
        let status = passed.status;
        if !(200..300).contains(&status) {
            return Ok(Answer { status, body: passed.text().await.map_err(|error| told(&error))? });
        }
        let hand_over =
            |piece: Vec<u8>| pieces.send(InvokeResponseBody::Raw(piece)).map_err(|error| error.to_string());
        hand_over(Vec::new())?;
        while let Some(piece) = passed.next().await.map_err(|error| error.to_string())? {
            hand_over(piece.to_vec())?;
        }
        Ok(Answer { status, body: String::new() })
    };
    let answer = tokio::select! {
        answer = reading => answer,
        () = closed.cancelled() => Ok(Answer { status: 200, body: String::new() }),
    };
    bridge.forget(id, &closed);
    answer
}

/// An archive for the node, whose pieces come by `api_piece`; returns once it was taken, or refused.
#[tauri::command]
pub async fn api_put(bridge: State<'_, Bridge>, id: u64, path: String) -> Result<Answer, String> {
    let closed = bridge.begin(id)?;
    let (pieces, mut waiting) = mpsc::channel(PIECES);
    bridge.uploads().insert(id, pieces);
    let archive = futures::stream::poll_fn(move |context| waiting.poll_recv(context));
    let giving = async {
        let passed = bridge.house.passage().give(&path, archive).await.map_err(|error| told(&error))?;
        Ok(Answer { status: passed.status, body: passed.text().await.map_err(|error| told(&error))? })
    };
    let answer = tokio::select! {
        answer = giving => answer,
        // Half an archive that ends like a whole one would be taken for one: dropped, it breaks off.
        () = closed.cancelled() => Err("stopped".to_owned()),
    };
    bridge.uploads().remove(&id);
    bridge.forget(id, &closed);
    answer
}

/// The next piece of an archive; an empty one ends it. Returns once there is room for another.
#[tauri::command]
pub async fn api_piece(bridge: State<'_, Bridge>, request: Request<'_>) -> Result<(), String> {
    let id = request.headers().get("id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let (Some(id), InvokeBody::Raw(piece)) = (id, request.body()) else {
        return Err("a piece is bytes, with the id of its upload".to_owned());
    };
    if piece.is_empty() {
        bridge.uploads().remove(&id);
        return Ok(());
    }
    let pieces = bridge.uploads().get(&id).cloned();
    if let Some(pieces) = pieces {
        // Who takes no more says why by the answer.
        let _ = pieces.send(Ok(Bytes::copy_from_slice(piece))).await;
    }
    Ok(())
}

/// Nobody reads this answer any more.
#[tauri::command]
pub fn api_close(bridge: State<'_, Bridge>, id: u64) {
    bridge.end(id);
}
