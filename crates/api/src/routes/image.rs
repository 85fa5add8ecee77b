//! Images of this computer: listed, brought here, removed.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Build, Image, ImageProgress, Images, Import, Inspection, Pull};
use crate::stream::{Teller, told};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use node::machine::guest::signal_number;
use node::machine::image::{Auth, BuildSpec, Digest, Progress};
use node::{Core, Error, NodeHandle};
use std::path::Path as FilePath;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// All images of this computer.
#[utoipa::path(get, path = "/v1/images", tag = "images", responses((status = 200, body = Images)))]
pub async fn list(State(door): State<Door>) -> Json<Images> {
    Json(Images { images: door.node.images().list().iter().map(Image::from).collect() })
}

/// What there is to know about an image: by its name, its digest, or the first digits of that.
#[utoipa::path(get, path = "/v1/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 200, body = Inspection)))]
pub async fn inspect(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<Inspection>, Problem> {
    let digest = find(&door.node, &id)?;
    Ok(Json(door.node.images().inspect(&digest)?.into()))
}

/// Removes an image with all that no other image needs, unless a lease still uses it. One with several names is removed
/// by its digest only: under one of them, somebody may still want it.
#[utoipa::path(delete, path = "/v1/images/{id}", tag = "images", params(("id" = String, Path)), responses((status = 204)))]
pub async fn remove(State(door): State<Door>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let digest = find(&door.node, &id)?;
    if let Some(lease) = door.node.look(move |core| used_by(core, &digest)).await? {
        let problem =
            Problem::new(StatusCode::CONFLICT, "image_in_use", format!("lease {lease} uses this image"));
        return Err(problem.hint("Stop it first: `sublet stop`."));
    }
    let names = door.node.images().inspect(&digest)?.image.names;
    let by_digest = digest.hex().starts_with(id.strip_prefix("sha256:").unwrap_or(&id));
    if names.len() > 1 && !by_digest {
        let detail = format!("this image has several names: {}", names.join(", "));
        let short: String = digest.hex().chars().take(12).collect();
        let problem = Problem::new(StatusCode::CONFLICT, "several_names", detail);
        return Err(problem.hint(format!("To remove it under all of them: `sublet image rm {short}`.")));
    }
    let images = door.node.images().clone();
    super::machine::blocking(move || Ok(images.remove(&digest)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn find(node: &NodeHandle, id: &str) -> Result<Digest, Problem> {
    let image = node.images().resolve(id)?;
    Ok(image.ok_or_else(|| Error::UnknownImage(id.to_owned()))?.digest)
}

/// A live lease whose guest runs from this image, or whose host may still fetch it from here.
fn used_by(core: &Core, image: &Digest) -> Option<String> {
    let mut leases = core.engine().state().lease.all().filter(|lease| !lease.phase.is_ended());
    leases.find(|lease| lease.contract.workload.image.0 == *image.as_bytes()).map(|lease| lease.id().short())
}

/// Fetches an image from its registry.
///
/// Server-sent events: `progress` with an `ImageProgress`, then `done` with an `Image`, or `problem`.
#[utoipa::path(post, path = "/v1/images/pull", tag = "images", request_body = Pull, responses((status = 200, body = Image, content_type = "text/event-stream")))]
pub async fn pull(State(door): State<Door>, Body(wish): Body<Pull>) -> Result<Response, Problem> {
    let place = place(&door)?;
    Ok(told(move |teller: Teller<ImageProgress>| async move {
        let _place = place;
        let auth = wish
            .login
            .map_or(Auth::Anonymous, |login| Auth::Basic { user: login.user, password: login.password });
        let watch = |progress: Progress| teller.tell(&progress.into());
        // Who reads no more drops this future, and that ends it.
        let image = door.node.images().pull(&wish.reference, auth, &watch, &CancellationToken::new()).await?;
        Ok(Image::from(&image))
    }))
}

/// Takes an image from a file or directory of this computer.
///
/// Server-sent events: `done` with an `Image`, or `problem`.
#[utoipa::path(post, path = "/v1/images/import", tag = "images", request_body = Import, responses((status = 200, body = Image, content_type = "text/event-stream")))]
pub async fn import(State(door): State<Door>, Body(wish): Body<Import>) -> Result<Response, Problem> {
    let place = place(&door)?;
    absolute(&wish.path)?;
    Ok(told(move |_: Teller<ImageProgress>| async move {
        let _place = place;
        let image = door.node.images().import(&wish.path, wish.name.as_deref()).await?;
        Ok(Image::from(&image))
    }))
}

/// Makes an image of a folder of this computer. The same folder makes the same image, everywhere.
///
/// Server-sent events: `done` with an `Image`, or `problem`.
#[utoipa::path(post, path = "/v1/images/build", tag = "images", request_body = Build, responses((status = 200, body = Image, content_type = "text/event-stream")))]
pub async fn build(State(door): State<Door>, Body(wish): Body<Build>) -> Result<Response, Problem> {
    let place = place(&door)?;
    absolute(&wish.dir)?;
    if let Some(signal) = wish.stop_signal.as_deref().filter(|signal| signal_number(signal).is_none()) {
        let detail = format!("`{signal}` is no signal");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", detail)
            .hint("Write for example SIGQUIT, or 3."));
    }
    let base = wish.base.as_deref().map(|base| find(&door.node, base)).transpose()?;
    Ok(told(move |_: Teller<ImageProgress>| async move {
        let _place = place;
        let Build { dir, base: _, name, entrypoint, cmd, env, cwd, user, ports, stop_signal, health } = wish;
        let health = health.map(Into::into);
        let image = door
            .node
            .images()
            .build(BuildSpec { dir, base, name, entrypoint, cmd, env, cwd, user, ports, stop_signal, health })
            .await?;
        Ok(Image::from(&image))
    }))
}

fn place(door: &Door) -> Result<OwnedSemaphorePermit, Problem> {
    let place = door.transfers.clone().try_acquire_owned();
    place.map_err(|_| Problem::busy("other images are being brought here already"))
}

/// What a path is relative to, the node cannot know: it runs elsewhere.
pub(super) fn absolute(path: &FilePath) -> Result<(), Problem> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "relative_path",
        format!("{} is no absolute path", path.display()),
    ))
}
