//! Releases of Sublet: what is known of them, looked for, fetched. Nothing is installed by it.

use crate::door::Door;
use crate::problem::{Body, Document, Problem};
use crate::shapes::{Moment, Update, UpdateProgress, UpdateWish, Updates};
use crate::stream::{Teller, told};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use node::update::{Looked, running};
use std::path::Path;

/// What is known of releases, without looking for one.
#[utoipa::path(get, path = "/v1/update", tag = "update", responses((status = 200, body = Updates)))]
pub async fn show(State(door): State<Door>) -> Result<Json<Updates>, Problem> {
    let (offered, refused) = match door.node.remembered_update().await {
        Ok(found) => (found.map(Update::from), None),
        Err(error) => (None, Some(Problem::from(error))),
    };
    let looked = door.node.looked_for_update();
    let failed = looked.clone().and_then(|Looked { problem, .. }| {
        let (code, sentence, hint) = problem?;
        Some(Problem::new(StatusCode::CONFLICT, &code, sentence).hint(hint))
    });
    Ok(Json(Updates {
        running: running().to_string(),
        releases: door.node.settings()?.releases,
        looked: looked.map(|looked| Moment(looked.at)),
        problem: failed.or(refused).map(Document::from),
        offered,
    }))
}

/// Reads a release, and says what it means for this computer. Of one version the last word that was ever read counts.
#[utoipa::path(post, path = "/v1/update/check", tag = "update", request_body = UpdateWish, responses((status = 200, body = Update)))]
pub async fn check(State(door): State<Door>, Body(wish): Body<UpdateWish>) -> Result<Json<Update>, Problem> {
    absolute(&wish)?;
    let found = door.node.check_update(wish.release.as_deref(), wish.rules(door.node.rules()?)).await?;
    Ok(Json(found.into()))
}

/// The same, and brings its packages here where its turn has come, each held to its digest.
///
/// Server-sent events: `progress` with an `UpdateProgress`, then `done` with an `Update`, or `problem`.
#[utoipa::path(post, path = "/v1/update/fetch", tag = "update", request_body = UpdateWish, responses((status = 200, body = Update, content_type = "text/event-stream")))]
pub async fn fetch(State(door): State<Door>, Body(wish): Body<UpdateWish>) -> Result<Response, Problem> {
    absolute(&wish)?;
    let rules = wish.rules(door.node.rules()?);
    let place = door
        .transfers
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::busy("so much is fetched at once already"))?;
    Ok(told(move |teller: Teller<UpdateProgress>| async move {
        let _place = place;
        let progress = |done, total| teller.tell(&UpdateProgress { done, total });
        let (release, from) = (wish.release.as_deref(), wish.from.as_deref());
        Ok(Update::from(door.node.fetch_update(release, rules, from, progress).await?))
    }))
}

fn absolute(wish: &UpdateWish) -> Result<(), Problem> {
    let release = wish.release.as_deref().filter(|release| !release.contains("://")).map(Path::new);
    [release, wish.from.as_deref()].into_iter().flatten().try_for_each(super::image::absolute)
}
