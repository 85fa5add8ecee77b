//! What guests take, and what goes on in them.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{GuestProcesses, Stats, StatsSample};
use crate::stream::event;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use std::convert::Infallible;

/// What a guest takes: now, and in the last ten minutes. Of ours on another computer, or of somebody's on this one.
///
/// A guest that does not run takes nothing: there is no `now`.
#[utoipa::path(get, path = "/v1/leases/{id}/stats", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = Stats)))]
pub async fn stats(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<Stats>, Problem> {
    let id = door.node.find_lease(&id).await?;
    Ok(Json(Stats::of(id.to_string(), &door.node.stats(id, false).await?)))
}

/// What a guest takes, each second, until it ends.
///
/// Server-sent events: `sample` with a `StatsSample`; `problem` when the host is gone.
#[utoipa::path(get, path = "/v1/leases/{id}/stats/live", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = StatsSample, content_type = "text/event-stream")))]
pub async fn stats_live(State(door): State<Door>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = door.node.find_lease(&id).await?;
    let stats = door.node.stats(id, true).await?;
    let first = stats.samples.last().copied();
    let told =
        stream::unfold((Some(stats), first, door.closed.clone()), |(stats, first, closed)| async move {
            let mut stats = stats?;
            if let Some(sample) = first {
                return Some((event("sample", &StatsSample::from(sample)), (Some(stats), None, closed)));
            }
            let next = tokio::select! {
                next = stats.next() => next,
                () = closed.cancelled() => return None,
            };
            match next {
                Ok(sample) => {
                    Some((event("sample", &StatsSample::from(sample?)), (Some(stats), None, closed)))
                }
                Err(error) => {
                    let problem =
                        Problem::gone(format!("the guest's host does not answer any more: {error}"));
                    Some((event("problem", &problem), (None, None, closed)))
                }
            }
        });
    let told = futures::StreamExt::map(told, Ok::<_, Infallible>);
    Ok(Sse::new(told).keep_alive(KeepAlive::default()).into_response())
}

/// What goes on in a guest of ours: its processes, as it sees them itself.
#[utoipa::path(get, path = "/v1/leases/{id}/processes", tag = "leases", params(("id" = String, Path)), responses((status = 200, body = GuestProcesses)))]
pub async fn processes(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<Json<GuestProcesses>, Problem> {
    let id = door.node.find_lease(&id).await?;
    Ok(Json(door.node.top(id).await?.into()))
}
