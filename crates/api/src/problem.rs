//! Errors as they leave the door: RFC 9457 problems with a code for programs, a sentence and a hint for people.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use node::machine::download::DownloadError;
use node::machine::image::ImageError;
use node::model::Invalid;
use node::net::NetError;
use node::store::StoreError;
use node::update::UpdateError;
use node::{Error, Fault, VaultError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(from = "Document", into = "Document")]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// For programs, such as `no_capacity`.
    pub code: String,
    /// What is wrong, as a sentence with the facts in it.
    pub detail: String,
    /// What to do about it; empty where there is nothing to do.
    pub hint: String,
}

/// A problem as it travels (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// What kind of problem it is: always `about:blank`, as `code` says it.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status: 400 and 422 for what makes no sense, 500 and 503 for trouble of the node itself, other ones from
    /// 400 to 499 for what is refused, 502 and 504 for peers and registries that did not do their part.
    status: u16,
    /// For programs, such as `no_capacity`.
    code: String,
    /// What is wrong, as a sentence with the facts in it.
    detail: String,
    /// What to do about it; empty where there is nothing to do.
    hint: String,
}

impl From<Problem> for Document {
    fn from(problem: Problem) -> Document {
        let Problem { status, code, detail, hint } = problem;
        let title = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        Document { kind: "about:blank".to_owned(), title: title.to_owned(), status, code, detail, hint }
    }
}

impl From<Document> for Problem {
    fn from(document: Document) -> Problem {
        let Document { kind: _, title: _, status, code, detail, hint } = document;
        Problem { status, code, detail, hint }
    }
}

impl Problem {
    /// A problem.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Problem {
        Problem { status: status.as_u16(), code: code.to_owned(), detail: detail.into(), hint: String::new() }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = hint.into();
        self
    }

    /// Something that goes on already, and can go on only so many times at once.
    pub fn busy(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).hint("Try again when it has ended.")
    }

    /// Whoever was spoken to has gone.
    pub fn gone(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_GATEWAY, "gone", detail)
            .hint("`sublet ps` shows where each lease stands.")
    }

    /// Trouble of the node itself.
    pub fn fault(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
            .hint("`sublet doctor` tells what works.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::new(status(&error), error.code(), with_causes(&error)).hint(error.hint())
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Error::from(fault).into()
    }
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Problem {
        Error::from(error).into()
    }
}

impl From<NetError> for Problem {
    fn from(error: NetError) -> Problem {
        Error::from(error).into()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        Fault::from(error).into()
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range", invalid.to_string())
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Refused(_) => match error.code() {
            "unknown_lease" | "unknown_invite" | "unknown_payment" => StatusCode::NOT_FOUND,
            "out_of_range" | "invalid_document" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::CONFLICT,
        },
        Error::Denied { code, .. } if code == "no_such_file" => StatusCode::NOT_FOUND,
        Error::Denied { .. }
        | Error::NoOffer { .. }
        | Error::NotRunning { .. }
        | Error::Port { .. }
        | Error::Volume(_)
        | Error::Cancelled => StatusCode::CONFLICT,
        Error::Update(error) => update_status(error),
        Error::NotOurGuest(_) => StatusCode::FORBIDDEN,
        Error::Setting(_) | Error::NoHealthCommand | Error::SecretSize { .. } | Error::SecretsSize { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Error::Key(VaultError::WrongPassphrase | VaultError::ShortPassphrase | VaultError::Words(_)) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Error::Key(VaultError::Broken { .. } | VaultError::File { .. } | VaultError::Fault(_)) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Error::Key(_) => StatusCode::CONFLICT,
        Error::UnknownImage(_) | Error::UnknownLease(_) => StatusCode::NOT_FOUND,
        Error::Image(error) => image_status(error),
        Error::Guest(_) | Error::Selftest(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Error::Net(error) => net_status(error),
        Error::Fault(Fault::Stopped) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Fault(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what an image is found to be is a refusal; only the rest is told apart"
)]
fn image_status(error: &ImageError) -> StatusCode {
    match error {
        ImageError::UnknownImage { .. } => StatusCode::NOT_FOUND,
        ImageError::BadReference { .. } | ImageError::Ambiguous { .. } | ImageError::ChooseOne { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ImageError::Unreachable { .. } | ImageError::Registry { .. } => StatusCode::BAD_GATEWAY,
        ImageError::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
        // The files that were named, not the store's own: those are there.
        ImageError::Io { source, .. } if is_of_the_asker(source) => StatusCode::CONFLICT,
        ImageError::Full { .. } | ImageError::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}

fn update_status(error: &UpdateError) -> StatusCode {
    match error {
        UpdateError::Unread { .. } | UpdateError::Download(DownloadError::Address { .. }) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        UpdateError::Untrusted(_)
        | UpdateError::Bad { .. }
        | UpdateError::Nowhere
        | UpdateError::NotInstalled
        | UpdateError::NoNode { .. }
        | UpdateError::Download(DownloadError::Other { .. }) => StatusCode::CONFLICT,
        UpdateError::Download(DownloadError::Unreachable { .. } | DownloadError::Status { .. }) => {
            StatusCode::BAD_GATEWAY
        }
        UpdateError::BadKeys(_)
        | UpdateError::Unwritten { .. }
        | UpdateError::Download(DownloadError::Disk { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn is_of_the_asker(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    [NotFound, NotADirectory, IsADirectory, PermissionDenied].contains(&error.kind())
}

fn net_status(error: &NetError) -> StatusCode {
    match error {
        NetError::Address { .. } | NetError::NoPeer(_) | NetError::TooLarge { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        NetError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        NetError::Unreachable { .. }
        | NetError::NotThere { .. }
        | NetError::Gone { .. }
        | NetError::Garbage { .. }
        | NetError::Foreign { .. } => StatusCode::BAD_GATEWAY,
        NetError::Refused { .. } | NetError::Blocked { .. } | NetError::Busy { .. } => StatusCode::CONFLICT,
        NetError::Listen { .. } | NetError::Start(_) => StatusCode::INTERNAL_SERVER_ERROR,
        NetError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An error and what brought it about, in one line, each said once: some errors repeat their cause in their own words.
fn with_causes(error: &dyn std::error::Error) -> String {
    let one_line =
        |error: &dyn std::error::Error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut sentence = one_line(error);
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = one_line(source);
        if !sentence.contains(&words) {
            sentence = format!("{sentence}: {words}");
        }
        cause = source.source();
    }
    sentence
}

/// A JSON body; a problem where it is none.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(body)| Body(body)).map_err(|rejection: JsonRejection| {
            let status = rejection.status();
            let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body_too_large" } else { "bad_body" };
            Problem::new(status, code, rejection.body_text())
        })
    }
}

/// The part of the address after `?`; a problem where it makes no sense.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(params)| Params(params)).map_err(|rejection: QueryRejection| {
            Problem::new(rejection.status(), "bad_query", rejection.body_text())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let image =
            ImageError::Io { doing: "open", path: "/x".into(), source: std::io::ErrorKind::NotFound.into() };
        let problem = Problem::from(image);
        assert_eq!(problem.detail, "cannot open /x: entity not found");
        let taken = Error::Port { port: 80, reason: std::io::ErrorKind::AddrInUse.into() };
        let problem = Problem::from(taken);
        assert_eq!(problem.detail, "port 80 of this computer cannot be used: address in use");
        assert_eq!((problem.status, problem.code.as_str()), (409, "port_taken"));
    }
}
