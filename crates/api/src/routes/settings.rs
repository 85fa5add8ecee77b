//! What the owner has set for this node.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Settings, SettingsWish};
use axum::Json;
use axum::extract::State;

/// What is set.
#[utoipa::path(get, path = "/v1/settings", tag = "settings", responses((status = 200, body = Settings)))]
pub async fn show(State(door): State<Door>) -> Result<Json<Settings>, Problem> {
    shape(&door).map(Json)
}

/// Sets it. The name, where releases are, and of what there is silence, count at once; the rest when the node starts again.
#[utoipa::path(put, path = "/v1/settings", tag = "settings", request_body = SettingsWish, responses((status = 200, body = Settings)))]
pub async fn set(
    State(door): State<Door>,
    Body(wish): Body<SettingsWish>,
) -> Result<Json<Settings>, Problem> {
    let now = door.node.settings()?;
    door.node.set(wish.onto(now)).await?;
    shape(&door).map(Json)
}

fn shape(door: &Door) -> Result<Settings, Problem> {
    let set = door.node.settings()?;
    let restart_needed = !set.are_those_of(door.node.config());
    Ok(Settings::of(set, restart_needed))
}
