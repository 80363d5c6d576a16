//! Answers with the headers that say where they came from.

use axum::response::Response;
use bytes::Bytes;
use http::header::{AGE, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lastgood::{Answer, Timestamp};
use lastgood_market::Venue;

use super::part::Part;
use crate::app::App;
use crate::response::label::{Accepts, CACHE_STATUS, Label, X_CACHE, cache_status};
use crate::response::plain;
use crate::response::prepared::{GZIP_FROM, Prepared, pack};

const USED_WEIGHT: HeaderName = HeaderName::from_static("x-mbx-used-weight");
const USED_WEIGHT_1M: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// The answer, or the part of it that was asked for.
pub(super) async fn respond(app: &App, venue: Venue, answer: &Answer, part: Part, accepts: Accepts) -> Response {
    let prepared = Prepared::of(answer);
    let content_type = prepared.content_type.clone();
    let (body, packed) = match part {
        Part::Whole if accepts.gzip && answer.body().len() >= GZIP_FROM => (prepared.gzip(answer.body()).await, true),
        Part::Whole => (answer.body().clone(), false),
        Part::Cut(body) if accepts.gzip && body.len() >= GZIP_FROM => (pack(&body), true),
        Part::Cut(body) => (body, false),
    };
    let mut response = plain(StatusCode::OK, content_type, body);
    if packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    label(&mut response, app, venue, &answer.into());
    response
}

/// The headers that every answer of the cache's has.
pub(super) fn label(response: &mut Response, app: &App, venue: Venue, label: &Label) {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(AGE, HeaderValue::from(label.age.as_secs()));
    headers.insert(X_CACHE, HeaderValue::from_static(label.outcome.as_x_cache()));
    headers.insert(CACHE_STATUS, cache_status(label));
    state_weight(headers, app, venue, label.given_at);
}

/// A packed answer.
pub(super) fn respond_packed(gzip: Bytes) -> Response {
    let mut response = plain(StatusCode::OK, JSON, gzip);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

/// An answer that needs neither cache nor exchange.
pub(super) fn respond_local(app: &App, venue: Venue, body: &'static str) -> Response {
    let mut response = plain(StatusCode::OK, JSON, Bytes::from_static(body.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static("HIT"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; hit; detail=local"));
    state_weight(headers, app, venue, app.clock.now());
    response
}

/// The weight used upstream, in the two headers that clients pace themselves by. A hit adds nothing to it.
pub(super) fn state_weight(headers: &mut HeaderMap, app: &App, venue: Venue, now: Timestamp) {
    let used = HeaderValue::from(app.used_weight(venue, now));
    headers.insert(USED_WEIGHT, used.clone());
    headers.insert(USED_WEIGHT_1M, used);
}
