//! What images take of this computer, and what its owner has decided about them.

use super::machine::blocking;
use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{CollectWish, Collected, ImageRoom, ImageRulesWish, ImageStore, Openness};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use node::NodeHandle;
use node::machine::image::{Digest, Policy, Serve};
use std::collections::BTreeSet;

/// What images take, and by which rules.
#[utoipa::path(get, path = "/v1/image-store", tag = "image_store", responses((status = 200, body = ImageStore)))]
pub async fn show(State(door): State<Door>) -> Result<Json<ImageStore>, Problem> {
    store(&door.node).await.map(Json)
}

/// Changes the owner's rules. A smaller limit is enforced at once, as far as names and leases let it.
#[utoipa::path(put, path = "/v1/image-store", tag = "image_store", request_body = ImageRulesWish, responses((status = 200, body = ImageStore)))]
pub async fn set(
    State(door): State<Door>,
    Body(wish): Body<ImageRulesWish>,
) -> Result<Json<ImageStore>, Problem> {
    let images = door.node.images().clone();
    let policy = changed(images.policy(), wish)?;
    let in_use = in_use(&door.node).await?;
    blocking(move || {
        images.set_policy(policy)?;
        if let Some(limit) = policy.limit {
            images.collect(limit, |digest| in_use.contains(digest))?;
        }
        Ok(())
    })
    .await?;
    store(&door.node).await.map(Json)
}

/// Removes images that have no name and that no lease needs, the least recently used first.
#[utoipa::path(post, path = "/v1/image-store/collect", tag = "image_store", request_body = CollectWish, responses((status = 200, body = Collected)))]
pub async fn collect(
    State(door): State<Door>,
    Body(wish): Body<CollectWish>,
) -> Result<Json<Collected>, Problem> {
    let images = door.node.images().clone();
    let most = wish.most_bytes.or(images.policy().limit).unwrap_or(0);
    let in_use = in_use(&door.node).await?;
    blocking(move || Ok(Json(images.collect(most, |digest| in_use.contains(digest))?.into()))).await
}

/// Says whether neighbours that know its digest may have an image from here.
#[utoipa::path(post, path = "/v1/image-store/open", tag = "image_store", request_body = Openness, responses((status = 204)))]
pub async fn open(State(door): State<Door>, Body(wish): Body<Openness>) -> Result<StatusCode, Problem> {
    let digest = super::image::find(&door.node, &wish.image)?;
    let images = door.node.images().clone();
    blocking(move || Ok(images.set_open(&digest, wish.open)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn in_use(node: &NodeHandle) -> Result<BTreeSet<Digest>, Problem> {
    Ok(node.look(|core| core.images_in_use()).await?)
}

fn changed(policy: Policy, wish: ImageRulesWish) -> Result<Policy, Problem> {
    let serve = match wish.serve.as_deref() {
        None => policy.serve,
        Some("everyone") => Serve::Everyone,
        Some("nobody") => Serve::Nobody,
        Some(other) => {
            let detail = format!("`{other}` is nobody to serve: write everyone or nobody");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", detail));
        }
    };
    Ok(Policy {
        limit: wish.limit_bytes.map_or(policy.limit, |limit| (limit > 0).then_some(limit)),
        serve,
        rate: wish.serve_rate_bytes.unwrap_or(policy.rate),
        streams: wish.serve_streams.unwrap_or(policy.streams),
        registries: wish.registries.unwrap_or(policy.registries),
    })
}

async fn store(node: &NodeHandle) -> Result<ImageStore, Problem> {
    let in_use = in_use(node).await?;
    let images = node.images().clone();
    blocking(move || {
        let room = images.room()?;
        let mut listed = images.list();
        listed.sort_by_key(|image| std::cmp::Reverse(images.note(&image.digest).used));
        let rows = listed.into_iter().map(|image| {
            let note = images.note(&image.digest);
            ImageRoom {
                digest: image.digest.to_string(),
                names: image.names,
                came_as: note.came_as,
                own_bytes: room.own.get(&image.digest).copied().unwrap_or(0),
                in_use: in_use.contains(&image.digest),
                open: note.open,
            }
        });
        Ok(ImageStore {
            used_bytes: room.used,
            unfinished_bytes: room.unfinished,
            rules: images.policy().into(),
            images: rows.collect(),
        })
    })
    .await
}
