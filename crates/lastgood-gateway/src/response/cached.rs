//! An answer out of the cache: 304 where the client has it, packed where it takes that, and labelled.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::etag::{Comparison, EntityTag};
use super::label::{Accepts, Label};
use super::plain;
use super::prepared::{GZIP_FROM, Prepared, pack};

/// What is served.
pub(crate) struct Cached<'a> {
    pub(crate) body: &'a Bytes,
    pub(crate) content_type: &'a HeaderValue,
    pub(crate) etag: Option<&'a EntityTag>,
    /// Where its packed form is kept; if nowhere, it is packed each time.
    pub(crate) prepared: Option<&'a Arc<Prepared>>,
    pub(crate) label: &'a Label,
}

impl<'a> Cached<'a> {
    /// A body whose forms are kept as long as it is.
    pub(crate) fn whole(body: &'a Bytes, prepared: &'a Arc<Prepared>, label: &'a Label) -> Cached<'a> {
        let Prepared { content_type, etag, .. } = &**prepared;
        Cached { body, content_type, etag: etag.as_ref(), prepared: Some(prepared), label }
    }

    /// The answer to a request with these headers.
    pub(crate) async fn respond(self, asked: &HeaderMap) -> Response {
        let is_packed = self.body.len() >= GZIP_FROM && Accepts::of(asked).gzip;
        let is_known = self.etag.is_some_and(|etag| etag.is_named(asked, &IF_NONE_MATCH, Comparison::Weak));
        let mut response = match (is_known, is_packed) {
            (true, _) => not_modified(),
            (false, true) => packed(self.content_type.clone(), self.pack().await),
            (false, false) => plain(StatusCode::OK, self.content_type.clone(), self.body.clone()),
        };
        let headers = response.headers_mut();
        if let Some(etag) = self.etag {
            headers.insert(ETAG, etag.header(is_packed));
        }
        self.label.write(headers);
        response
    }

    async fn pack(&self) -> Bytes {
        match self.prepared {
            Some(prepared) => Arc::clone(prepared).gzip(self.body).await,
            None => pack(self.body),
        }
    }
}

/// A body that is packed already.
pub(crate) fn packed(content_type: HeaderValue, gzip: Bytes) -> Response {
    let mut response = plain(StatusCode::OK, content_type, gzip);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn not_modified() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}
