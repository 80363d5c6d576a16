//! What every response of the gateway's own making begins as.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

pub(crate) mod label;
pub(crate) mod prepared;

/// A response of a status, a content type and a body, with room for the headers that every answer gets.
pub(crate) fn plain(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    headed(status, content_type, Body::from(body))
}

/// The same with a body of any kind.
pub(crate) fn headed(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(CONTENT_TYPE, content_type);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
