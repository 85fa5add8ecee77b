//! Files of guests, from Rust.

use super::{Client, ClientError, Pieces, escape, granted};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::io;

impl Client {
    /// Copies a file or a directory out of a guest: a tar archive, piece by piece.
    ///
    /// # Errors
    /// Why it cannot be copied.
    pub async fn files(&self, id: &str, path: &str, follow: bool, limit: u64) -> Result<Pieces, ClientError> {
        let (id, path) = (escape(id), escape(path));
        let route = format!("/v1/leases/{id}/files?path={path}&follow={follow}&limit={limit}");
        Ok(Pieces(self.ask(Method::GET, &route, &()).await?.into_body()))
    }

    /// Copies the files of a tar archive into a guest. With `place` the archive holds one thing, which goes into the
    /// directory at `path`, or takes its place and name.
    ///
    /// # Errors
    /// Why they were not copied.
    pub async fn put_files(
        &self,
        id: &str,
        path: &str,
        place: bool,
        owners: bool,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        let (id, path) = (escape(id), escape(path));
        let route = format!("/v1/leases/{id}/files?path={path}&place={place}&owners={owners}");
        let request = Request::builder().method(Method::PUT).uri(route);
        let request = request.header(CONTENT_TYPE, "application/x-tar");
        // However long it takes: who has had enough drops it.
        let response = self.carry(request, StreamBody::new(archive.map_ok(Frame::data))).await?;
        granted(response).await.map(drop)
    }
}
