//! Files of guests that run: copied out of them and into them, as tar archives.

use crate::door::Door;
use crate::problem::{Params, Problem};
use axum::body::Body as Content;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use node::Session;
use node::model::session::{CopyWish, Frame};
use serde::Deserialize;
use std::io;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use utoipa::IntoParams;

/// The most that comes out of a guest where nobody says.
const USUAL_LIMIT: u64 = 64 << 30;

/// How long the rest of an archive is taken that is of no use any more: who still sends it does not listen yet.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// Which files.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct From {
    /// A file or a directory in the guest; `/.` at its end means what is in it.
    path: String,
    /// Whether to copy what a link leads to, instead of the link.
    #[serde(default)]
    follow: bool,
    /// Bytes of all files at the most; 64 GiB when nobody says.
    limit: Option<u64>,
}

/// Copies a file, or a directory with all in it, out of a guest of ours, as the guest sees it: a tar archive, whose one top
/// entry bears the last name of the path. An archive that breaks off is half of one.
#[utoipa::path(
    get, path = "/v1/leases/{id}/files", tag = "files", params(("id" = String, Path), From),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"))
)]
pub async fn get(
    State(door): State<Door>,
    Path(id): Path<String>,
    Params(from): Params<From>,
) -> Result<Response, Problem> {
    let turn = turn(&door)?;
    let lease = door.node.find_lease(&id).await?;
    let limit = from.limit.unwrap_or(USUAL_LIMIT);
    let wish = CopyWish::Out { path: absolute(&from.path)?, follow: from.follow, limit };
    let mut session = door.node.copy(lease, wish).await?;
    // What cannot be copied at all is told as a problem.
    let first = session.hear.piece().await?;
    let rest =
        stream::try_unfold((session, door.closed.clone(), turn), |(mut session, closed, turn)| async move {
            tokio::select! {
                piece = session.hear.piece() => match piece {
                    Ok(piece) => Ok(piece.map(|piece| (piece, (session, closed, turn)))),
                    Err(error) => Err(io::Error::other(error.to_string())),
                },
                () = closed.cancelled() => Err(io::Error::other("the node stops")),
            }
        });
    let pieces = stream::iter(first.map(Ok)).chain(rest);
    Ok(([(CONTENT_TYPE, "application/x-tar")], Content::from_stream(pieces)).into_response())
}

/// Where files go.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct To {
    /// A directory in the guest; with `place`, any path there.
    path: String,
    /// Whether the archive holds one file or directory, which goes into the directory at `path`, or takes its place and
    /// name: as `cp` does it. Else all in the archive goes into the directory.
    #[serde(default)]
    place: bool,
    /// Whether files keep their owners; else they are root's.
    #[serde(default)]
    owners: bool,
}

/// Copies the files of a tar archive into a guest of ours, over those that are there. Each file is there when it is whole.
#[utoipa::path(
    put, path = "/v1/leases/{id}/files", tag = "files", params(("id" = String, Path), To),
    request_body(content = Vec<u8>, content_type = "application/x-tar"), responses((status = 204))
)]
pub async fn put(
    State(door): State<Door>,
    Path(id): Path<String>,
    Params(to): Params<To>,
    archive: Content,
) -> Result<StatusCode, Problem> {
    let _turn = turn(&door)?;
    let lease = door.node.find_lease(&id).await?;
    let wish = CopyWish::In { path: absolute(&to.path)?, place: to.place, owners: to.owners };
    let Session { mut say, mut hear } = door.node.copy(lease, wish).await?;
    let mut archive = archive.into_data_stream();
    let give = async {
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|error| {
                Problem::new(StatusCode::BAD_REQUEST, "bad_body", format!("the archive broke off: {error}"))
            })?;
            // Who takes no more says why.
            if say.input(&piece).await.is_err() {
                break;
            }
        }
        let _ = say.say(&Frame::InputEnds).await;
        // The answer is still to come.
        std::future::pending().await
    };
    let taken = async {
        while hear.piece().await?.is_some() {}
        Ok(())
    };
    let done: Result<(), Problem> = tokio::select! {
        done = taken => done.map_err(|error: node::Error| error.into()),
        broken = give => broken,
        () = door.closed.cancelled() => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", "the node stops"))
        }
    };
    if done.is_err() {
        let rest = async { while let Some(Ok(_)) = archive.next().await {} };
        let _ = timeout(REST_WITHIN, rest).await;
    }
    done.map(|()| StatusCode::NO_CONTENT)
}

fn turn(door: &Door) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = door.sessions.clone().try_acquire_owned();
    turn.map_err(|_| Problem::busy("too many programs are spoken to at once"))
}

/// As other engines have it: a path in a guest begins at its root.
fn absolute(path: &str) -> Result<String, Problem> {
    if path.is_empty() || path.contains('\0') || path.len() > 4_000 {
        let detail = "name a path in the guest, of 4,000 bytes at the most";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_path", detail));
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}
