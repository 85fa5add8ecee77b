//! Volumes: what there is, and what is done with ours on other computers.

use super::image::absolute;
use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{
    HostedVolume, RentedVolume, SnapshotWish, VolumeCopied, VolumeExport, VolumeImport, VolumeSeen, Volumes,
};
use crate::stream::{Teller, told};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

/// Our volumes on other computers, and others' on this one.
#[utoipa::path(get, path = "/v1/volumes", tag = "volumes", responses((status = 200, body = Volumes)))]
pub async fn list(State(door): State<Door>) -> Result<Json<Volumes>, Problem> {
    let rented = door.node.rented_volumes().await?.into_iter().map(RentedVolume::from).collect();
    let hosted = door.node.hosted_volumes().await?.into_iter().map(HostedVolume::from).collect();
    Ok(Json(Volumes { rented, hosted }))
}

/// What the host says of a volume of ours.
#[utoipa::path(get, path = "/v1/leases/{id}/volumes/{name}", tag = "volumes", params(("id" = String, Path), ("name" = String, Path)), responses((status = 200, body = VolumeSeen)))]
pub async fn show(
    State(door): State<Door>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Json<VolumeSeen>, Problem> {
    let lease = door.node.find_lease(&id).await?;
    Ok(Json(door.node.volume(lease, &name).await?.into()))
}

/// Removes a volume of ours for good, with its snapshots. No guest may have it.
#[utoipa::path(delete, path = "/v1/leases/{id}/volumes/{name}", tag = "volumes", params(("id" = String, Path), ("name" = String, Path)), responses((status = 204)))]
pub async fn remove(
    State(door): State<Door>,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let lease = door.node.find_lease(&id).await?;
    door.node.remove_volume(lease, &name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a volume as it is now. No guest may have it.
#[utoipa::path(post, path = "/v1/leases/{id}/volumes/{name}/snapshots", tag = "volumes", params(("id" = String, Path), ("name" = String, Path)), request_body = SnapshotWish, responses((status = 200, body = VolumeSeen)))]
pub async fn snapshot(
    State(door): State<Door>,
    Path((id, name)): Path<(String, String)>,
    Body(wish): Body<SnapshotWish>,
) -> Result<Json<VolumeSeen>, Problem> {
    let lease = door.node.find_lease(&id).await?;
    door.node.snapshot_volume(lease, &name, wish.name).await?;
    Ok(Json(door.node.volume(lease, &name).await?.into()))
}

/// Removes a snapshot.
#[utoipa::path(delete, path = "/v1/leases/{id}/volumes/{name}/snapshots/{snapshot}", tag = "volumes", params(("id" = String, Path), ("name" = String, Path), ("snapshot" = String, Path)), responses((status = 204)))]
pub async fn remove_snapshot(
    State(door): State<Door>,
    Path((id, name, snapshot)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let lease = door.node.find_lease(&id).await?;
    door.node.remove_volume(lease, &name, Some(snapshot)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copies the files of a volume, or of a snapshot of it, into a tar archive on this computer. No guest may have the volume.
///
/// Server-sent events: `progress` with a `VolumeCopied`, then `done` with one, or `problem`.
#[utoipa::path(post, path = "/v1/leases/{id}/volumes/{name}/export", tag = "volumes", params(("id" = String, Path), ("name" = String, Path)), request_body = VolumeExport, responses((status = 200, body = VolumeCopied, content_type = "text/event-stream")))]
pub async fn export(
    State(door): State<Door>,
    Path((id, name)): Path<(String, String)>,
    Body(wish): Body<VolumeExport>,
) -> Result<Response, Problem> {
    absolute(&wish.path)?;
    let lease = door.node.find_lease(&id).await?;
    Ok(told(move |teller: Teller<VolumeCopied>| async move {
        let tell = |bytes| teller.tell(&VolumeCopied { bytes });
        let bytes = door.node.export_volume(lease, &name, wish.snapshot, &wish.path, tell).await?;
        Ok(VolumeCopied { bytes })
    }))
}

/// Puts the files of a tar archive of this computer into a volume, over those that are there. No guest may have the volume.
///
/// Server-sent events: `progress` with a `VolumeCopied`, then `done` with one, or `problem`.
#[utoipa::path(post, path = "/v1/leases/{id}/volumes/{name}/import", tag = "volumes", params(("id" = String, Path), ("name" = String, Path)), request_body = VolumeImport, responses((status = 200, body = VolumeCopied, content_type = "text/event-stream")))]
pub async fn import(
    State(door): State<Door>,
    Path((id, name)): Path<(String, String)>,
    Body(wish): Body<VolumeImport>,
) -> Result<Response, Problem> {
    absolute(&wish.path)?;
    let lease = door.node.find_lease(&id).await?;
    Ok(told(move |teller: Teller<VolumeCopied>| async move {
        let tell = |bytes| teller.tell(&VolumeCopied { bytes });
        let bytes = door.node.import_volume(lease, &name, &wish.path, tell).await?;
        Ok(VolumeCopied { bytes })
    }))
}
