//! What every response of the gateway's own making begins as.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

pub(crate) mod cached;
pub(crate) mod coding;
pub(crate) mod etag;
pub(crate) mod label;
pub(crate) mod list;
pub(crate) mod packed_lists;
pub(crate) mod payload;
pub(crate) mod prepared;
pub(crate) mod recent;

use self::payload::{Payload, Reply};

/// Keeps a browser from showing an answer as a page, and from running what it holds.
pub(crate) const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// A response of a status, a content type and a body, with room for the headers that every answer gets.
pub(crate) fn plain(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    headed(status, content_type, Body::from(body))
}

/// The same with a body of any kind.
pub(crate) fn headed<B>(status: StatusCode, content_type: HeaderValue, body: B) -> http::Response<B> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    begin(&mut headers, content_type);
    with_headers(status, headers, body)
}

/// Types that most answers have: as values of a header they take no memory.
const USUAL_TYPES: [&str; 6] = [
    "application/json;charset=UTF-8",
    "application/json",
    "application/octet-stream",
    "application/json; charset=utf-8",
    "text/plain",
    "text/plain; charset=utf-8",
];

/// A content type as the value of a header; `None` where it cannot be one.
pub(crate) fn media_type(text: &str) -> Option<HeaderValue> {
    let usual = USUAL_TYPES.into_iter().find(|usual| *usual == text).map(HeaderValue::from_static);
    usual.or_else(|| HeaderValue::from_str(text).ok())
}

/// Room for the headers of an answer.
pub(crate) const HEADERS: usize = 14;

/// The headers with which each answer begins.
fn begin(headers: &mut HeaderMap, content_type: HeaderValue) {
    // Whatever a source or an application made it, it must not act as a page of this gateway in somebody's browser.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !content_type.as_bytes().starts_with(b"application/json") {
        headers.insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    }
    headers.insert(CONTENT_TYPE, content_type);
}

pub(crate) fn with_headers<B>(status: StatusCode, headers: HeaderMap, body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An answer that is there. `room` is a map whose allocations may be used again, such as that of the request's headers.
pub(crate) fn found(mut room: HeaderMap, content_type: HeaderValue, body: Payload) -> Reply {
    room.clear();
    // At once, where few headers were asked with: it would grow several times.
    room.reserve(HEADERS);
    begin(&mut room, content_type);
    with_headers(StatusCode::OK, room, body)
}
