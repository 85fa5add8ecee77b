//! A way to the routes for a face within this program: it passes requests on as they are, to the node that runs here or to
//! one that runs already, and hands back the answers piece by piece.

use crate::socket;
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request};
use bytes::Bytes;
use futures::Stream;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::PathBuf;
use tower::ServiceExt;

/// The largest answer that is handed over whole, in bytes.
const LARGEST: usize = 64 << 20;

/// A way to the routes.
#[derive(Clone)]
pub enum Passage {
    /// Of a node within this program.
    Inside(Router),
    /// Of the node that runs in this data directory.
    Socket(PathBuf),
}

/// An answer that has begun.
pub struct Passed {
    /// The HTTP status.
    pub status: u16,
    body: Body,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoPassage {
    /// What was asked is no request.
    #[error("this is no request: {0}")]
    Request(String),
    /// The node is not there, or went away.
    #[error("the node does not answer: {0}")]
    Gone(String),
    /// More than anybody reads at once.
    #[error("the answer is larger than {LARGEST} bytes")]
    TooLarge,
}

impl Passage {
    /// Passes a request on, and returns once its answer has begun.
    ///
    /// # Errors
    /// When it is none, or nobody answers.
    pub async fn ask(&self, method: &str, path: &str, body: Option<String>) -> Result<Passed, NoPassage> {
        let method: Method = method
            .parse()
            .map_err(|error: axum::http::method::InvalidMethod| NoPassage::Request(error.to_string()))?;
        let kind = body.is_some().then_some("application/json");
        self.pass(method, path, kind, body.map_or_else(Body::empty, Body::from)).await
    }

    /// Passes an archive on as it comes, and returns once it was taken, or refused.
    ///
    /// # Errors
    /// When it is no request, or nobody answers.
    pub async fn give(
        &self,
        path: &str,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Passed, NoPassage> {
        self.pass(Method::PUT, path, Some("application/x-tar"), Body::from_stream(archive)).await
    }

    async fn pass(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Body,
    ) -> Result<Passed, NoPassage> {
        if !path.starts_with("/v1/") {
            return Err(NoPassage::Request(format!("{path} is no route")));
        }
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|error| NoPassage::Request(error.to_string()))?;
        match self {
            Passage::Inside(router) => {
                let Ok(response) = router.clone().oneshot(request).await;
                Ok(Passed { status: response.status().as_u16(), body: response.into_body() })
            }
            Passage::Socket(data) => {
                let gone = |error: &dyn ToString| NoPassage::Gone(error.to_string());
                let stream = socket::connect(data).await.map_err(|error| gone(&error))?;
                let (mut sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(|error| gone(&error))?;
                // It ends with the answer, or when nobody reads that any more.
                tokio::spawn(connection);
                let response = sender.send_request(request).await.map_err(|error| gone(&error))?;
                Ok(Passed { status: response.status().as_u16(), body: Body::new(response.into_body()) })
            }
        }
    }
}

impl Passed {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// When the answer breaks off.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(io::Error::other(error)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// All of it, as text.
    ///
    /// # Errors
    /// When it breaks off, or is larger than anybody reads at once.
    pub async fn text(mut self) -> Result<String, NoPassage> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await.map_err(|error| NoPassage::Gone(error.to_string()))? {
            if bytes.len() + piece.len() > LARGEST {
                return Err(NoPassage::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
