//! The pages in a browser: where they are, who was let in, and ways in.

use crate::door::Door;
use crate::problem::{Body, Problem};
use crate::shapes::{Browser, Dashboard, LanDoor, Link, Moment, NewPassphrase};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use node::model::Timestamp;

/// Where the pages are served, and who was let in.
#[utoipa::path(get, path = "/v1/dashboard", tag = "dashboard", responses((status = 200, body = Dashboard)))]
pub async fn show(State(door): State<Door>) -> Json<Dashboard> {
    let moment =
        |seconds: u64| Moment(Timestamp(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)));
    let browsers = door.dashboard.sessions().all().into_iter().map(|session| Browser {
        agent: session.agent.clone(),
        since: moment(session.since),
        last: moment(session.last),
    });
    Json(Dashboard {
        address: door.dashboard.loopback().map(|address| format!("http://{address}/")),
        lan: door.dashboard.lan().map(|lan| LanDoor {
            address: format!("https://{}/", lan.address),
            fingerprint: lan.fingerprint.clone(),
        }),
        passphrase_set: door.dashboard.secret().is_set(),
        browsers: browsers.collect(),
    })
}

/// A link that lets one browser of this computer in.
#[utoipa::path(post, path = "/v1/dashboard/links", tag = "dashboard", responses((status = 201, body = Link)))]
pub async fn link(State(door): State<Door>) -> Result<(StatusCode, Json<Link>), Problem> {
    match door.dashboard.link() {
        Some(url) => Ok((StatusCode::CREATED, Json(Link { url }))),
        None => {
            let detail = "this node does not serve its pages to browsers";
            let problem = Problem::new(StatusCode::CONFLICT, "no_dashboard", detail);
            Err(problem.hint("Start it with `sublet host --dashboard`."))
        }
    }
}

/// A new passphrase for the local network. Who was let in by the old one stays; see `DELETE /v1/dashboard/browsers`.
#[utoipa::path(put, path = "/v1/dashboard/passphrase", tag = "dashboard", request_body = NewPassphrase, responses((status = 204)))]
pub async fn passphrase(
    State(door): State<Door>,
    Body(new): Body<NewPassphrase>,
) -> Result<StatusCode, Problem> {
    door.dashboard.secret().set(new.passphrase).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the sessions of all browsers, and all links that wait.
#[utoipa::path(delete, path = "/v1/dashboard/browsers", tag = "dashboard", responses((status = 204)))]
pub async fn end_all(State(door): State<Door>) -> StatusCode {
    door.dashboard.sessions().end_all();
    StatusCode::NO_CONTENT
}
