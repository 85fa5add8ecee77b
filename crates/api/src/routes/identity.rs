//! Who this node is, and the person's key: its words, its passphrase, its leaving and coming back.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Identity, Moment, Passphrase, Restored, Words};
use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};

/// Who this node is.
#[utoipa::path(get, path = "/v1/identity", tag = "identity", responses((status = 200, body = Identity)))]
pub async fn show(State(door): State<Door>) -> Json<Identity> {
    Json(shape(&door))
}

fn shape(door: &Door) -> Identity {
    let (identity, (key, words_confirmed)) = (door.node.identity(), door.node.key());
    let party = identity.party();
    Identity {
        person: party.person.to_string(),
        device: party.device.to_string(),
        label: identity.certificate.label.clone(),
        peer: identity.peer().to_string(),
        certified_until: Moment(identity.certificate.expires),
        key: key.into(),
        words_confirmed,
    }
}

/// The 24 words of the person's key, to be written down. Who has them is the person: they are shown to nobody else.
#[utoipa::path(post, path = "/v1/identity/words", tag = "identity", request_body = Passphrase, responses((status = 200, body = Words)))]
pub async fn words(State(door): State<Door>, Body(ask): Body<Passphrase>) -> Result<Response, Problem> {
    let words = door.node.words(ask.passphrase).await?;
    let words = Words { words: words.into_iter().map(str::to_owned).collect() };
    Ok(([(CACHE_CONTROL, "no-store")], Json(words)).into_response())
}

/// Proves that the owner has the words. Without that the key is not taken off this computer.
#[utoipa::path(post, path = "/v1/identity/confirm", tag = "identity", request_body = Words, responses((status = 200, body = Identity)))]
pub async fn confirm(State(door): State<Door>, Body(words): Body<Words>) -> Result<Json<Identity>, Problem> {
    door.node.confirm_words(words.words.join(" ")).await?;
    Ok(Json(shape(&door)))
}

/// Locks the key by a passphrase.
#[utoipa::path(post, path = "/v1/identity/lock", tag = "identity", request_body = Passphrase, responses((status = 200, body = Identity)))]
pub async fn lock(
    State(door): State<Door>,
    Body(given): Body<Passphrase>,
) -> Result<Json<Identity>, Problem> {
    door.node.lock_key(given.passphrase.unwrap_or_default()).await?;
    Ok(Json(shape(&door)))
}

/// Takes the passphrase off again.
#[utoipa::path(post, path = "/v1/identity/unlock", tag = "identity", request_body = Passphrase, responses((status = 200, body = Identity)))]
pub async fn unlock(
    State(door): State<Door>,
    Body(given): Body<Passphrase>,
) -> Result<Json<Identity>, Problem> {
    door.node.unlock_key(given.passphrase.unwrap_or_default()).await?;
    Ok(Json(shape(&door)))
}

/// Takes the key off this computer, once the owner has proven to have its words. The node runs on by its certificate.
#[utoipa::path(post, path = "/v1/identity/forget", tag = "identity", responses((status = 200, body = Identity)))]
pub async fn forget(State(door): State<Door>) -> Result<Json<Identity>, Problem> {
    door.node.forget_key().await?;
    Ok(Json(shape(&door)))
}

/// Brings a key back by its words. A node that has dealt with nobody yet becomes that person when it starts again.
#[utoipa::path(post, path = "/v1/identity/restore", tag = "identity", request_body = Words, responses((status = 200, body = Restored)))]
pub async fn restore(State(door): State<Door>, Body(words): Body<Words>) -> Result<Json<Restored>, Problem> {
    let restart_needed = door.node.restore_key(words.words.join(" ")).await?;
    Ok(Json(Restored { restart_needed }))
}
