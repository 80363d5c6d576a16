//! What every response of the gateway's own making begins as.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

pub(crate) mod cached;
pub(crate) mod etag;
pub(crate) mod label;
pub(crate) mod prepared;

/// Keeps a browser from showing an answer as a page, and from running what it holds.
pub(crate) const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// A response of a status, a content type and a body, with room for the headers that every answer gets.
pub(crate) fn plain(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    headed(status, content_type, Body::from(body))
}

/// The same with a body of any kind.
pub(crate) fn headed(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut headers = HeaderMap::with_capacity(14);
    // Whatever a source or an application made it, it must not act as a page of this gateway in somebody's browser.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !content_type.as_bytes().starts_with(b"application/json") {
        headers.insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    }
    headers.insert(CONTENT_TYPE, content_type);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
