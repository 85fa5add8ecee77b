//! What the pages can call: the API, and nothing else. See `ui/src/api/transport.ts` for the other end.

use crate::house::House;
use api::NoPassage;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tauri::State;
use tauri::ipc::{Channel, InvokeResponseBody};
use tokio_util::sync::CancellationToken;

/// Long answers that are read at once; a page has a handful.
const STREAMS: usize = 64;

/// The pages' way to the node.
pub struct Bridge {
    house: Arc<House>,
    streams: Mutex<BTreeMap<u64, CancellationToken>>,
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
        Bridge { house, streams: Mutex::default() }
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

/// Nobody reads this answer any more.
#[tauri::command]
pub fn api_close(bridge: State<'_, Bridge>, id: u64) {
    bridge.end(id);
}
