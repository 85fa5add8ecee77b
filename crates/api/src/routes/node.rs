//! The node itself: how it goes, what happens, its record, its end.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{Event, Moment, Party, Reason, RecordChecked, Seconds, Status};
use crate::stream::event;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use node::machine::guest::Runtime;
use node::model::Side;
use node::net::Net;
use std::convert::Infallible;
use tokio::sync::broadcast::error::RecvError;

/// Who this node is, and how it goes.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, body = Status)))]
pub async fn status(State(door): State<Door>) -> Result<Json<Status>, Problem> {
    let node = door.node.clone();
    let (peers, addresses) = (node.peers().await.len(), node.net().addresses().await);
    let (images, up_for) = (node.images().list().len(), door.opened.elapsed());
    let status = door.node.look(move |core| {
        let (identity, config) = (node.identity(), node.config());
        let (party, now, state) = (identity.party(), core.now(), core.engine().state());
        let live =
            |side| state.lease.all().filter(|lease| lease.side == side && !lease.phase.is_ended()).count();
        let name = Some(node.name()).filter(|name| !name.is_empty());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            me: Party { person: party.person.to_string(), device: party.device.to_string(), name },
            peer: identity.peer().to_string(),
            peer_id: Net::peer_id(identity.peer()),
            data: config.data.clone(),
            pid: std::process::id(),
            now: Moment(now),
            up_for: Seconds(up_for.into()),
            addresses,
            arch: identity.arch.clone(),
            runtime: node.runtime().map(Runtime::name),
            measured: state.market.speed.is_some(),
            lends: state.market.standing(now).is_some(),
            owner: state
                .owner
                .stance()
                .reason()
                .map(|reason| Reason::of(reason, state.owner.claim(reason.kind()).map(|claim| claim.since))),
            hosting: live(Side::Host),
            renting: live(Side::Tenant),
            peers,
            offers: core.engine().book().standing(now).count(),
            images,
        }
    });
    Ok(Json(status.await?))
}

/// What happens, as it happens: server-sent events, each named after its kind, with an `Event` as data.
#[utoipa::path(get, path = "/v1/events", tag = "node", responses((status = 200, body = Event, content_type = "text/event-stream")))]
pub async fn events(State(door): State<Door>) -> Response {
    let happened =
        stream::unfold((door.node.events(), door.closed.clone()), |(mut events, closed)| async move {
            let next = tokio::select! {
                next = events.recv() => next,
                () = closed.cancelled() => return None,
            };
            let told = match next {
                Ok(happened) => Event::from(happened),
                Err(RecvError::Lagged(count)) => Event::Missed { count },
                Err(RecvError::Closed) => return None,
            };
            Some((Ok::<_, Infallible>(event(told.name(), &told)), (events, closed)))
        });
    Sse::new(happened).keep_alive(KeepAlive::default()).into_response()
}

/// Checks every record of this node from the first to the last: hashes, signatures, and that none is missing.
#[utoipa::path(get, path = "/v1/record", tag = "node", responses((status = 200, body = RecordChecked)))]
pub async fn record(State(door): State<Door>) -> Result<Json<RecordChecked>, Problem> {
    let report = door.node.look(|core| tokio::task::block_in_place(|| core.store().verify())).await??;
    Ok(Json(RecordChecked { records: report.records, head: hex::encode(report.head_hash) }))
}

/// Stops the node. Guests go on under their supervisors until the next one takes charge, or their grace is over.
#[utoipa::path(post, path = "/v1/shutdown", tag = "node", responses((status = 202)))]
pub async fn shutdown(State(door): State<Door>) -> StatusCode {
    tokio::spawn(async move {
        door.node.shut_down().await;
        door.closed.cancel();
    });
    StatusCode::ACCEPTED
}
