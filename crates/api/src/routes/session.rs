//! Programs in guests, spoken to over a WebSocket: [`shapes::session`](crate::shapes) says in which messages.

use crate::door::Door;
use crate::problem::{Params, Problem};
use crate::session::{LARGEST_MESSAGE, Which, carry, into_socket, messages};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::response::Response;
use futures::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

/// Begins a program in the guest of a lease, as its tenant, and speaks to it over a WebSocket. It ends when the socket
/// is closed. First message: an `ExecWish` as text; then input as binary messages and `SessionOrder`s as text. Back come
/// `SessionNews` as text, and output as binary messages after a byte that says which: 1 or 2.
#[utoipa::path(get, path = "/v1/leases/{id}/exec", tag = "sessions", params(("id" = String, Path)), responses((status = 101, description = "A WebSocket.")))]
pub async fn exec(
    State(door): State<Door>,
    Path(id): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    open(door, id, Which::Another, upgrade)
}

/// From where to hear it.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Hearing {
    /// The offset in its output; none: from now on.
    from: Option<u64>,
}

/// Speaks to the guest's own program, as its tenant, over a WebSocket, in the same messages but for the first.
#[utoipa::path(get, path = "/v1/leases/{id}/attach", tag = "sessions", params(("id" = String, Path), Hearing), responses((status = 101, description = "A WebSocket.")))]
pub async fn attach(
    State(door): State<Door>,
    Path(id): Path<String>,
    Params(hearing): Params<Hearing>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    open(door, id, Which::Own(hearing.from), upgrade)
}

fn open(door: Door, id: String, which: Which, upgrade: WebSocketUpgrade) -> Result<Response, Problem> {
    let place = door.sessions.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many programs are spoken to at once"))?;
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE).max_frame_size(LARGEST_MESSAGE);
    Ok(upgrade.on_upgrade(|socket| async move {
        let _place = place;
        let (out, client) = socket.split();
        carry(&door, &id, which, messages(client), into_socket(out)).await;
    }))
}
