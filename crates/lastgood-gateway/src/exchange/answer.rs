//! Answers with the headers that say where they came from.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{AGE, CONTENT_ENCODING, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lastgood::{Answer, Error, Freshness, Outcome, Timestamp};
use lastgood_market::Venue;
use lastgood_market::candles::Slice;

use super::Part;
use super::prepared::{GZIP_FROM, Prepared, pack};
use crate::app::App;
use crate::response::plain;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const USED_WEIGHT: HeaderName = HeaderName::from_static("x-mbx-used-weight");
const USED_WEIGHT_1M: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// What forms of a body the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) gzip: bool,
}

impl Accepts {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let named = |value: &HeaderValue| value.to_str().is_ok_and(takes_gzip);
        Accepts { gzip: headers.get_all(header::ACCEPT_ENCODING).iter().any(named) }
    }
}

/// Whether an `Accept-Encoding` names gzip with a weight above zero (RFC 9110, 12.5.3).
fn takes_gzip(value: &str) -> bool {
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse().is_ok_and(|q: f32| q <= 0.0)));
        named && !refused
    })
}

/// The answer, or the part of it that was asked for.
pub(crate) async fn respond(app: &App, venue: Venue, answer: &Answer, part: Part, accepts: Accepts) -> Response {
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

/// What a failure says of itself where there is neither a fresh nor a last good answer: whether it is an earlier one's, and
/// when to ask again.
pub(crate) fn label_failure(headers: &mut HeaderMap, error: &Error) {
    if let Some(wait) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000).max(1) as u64));
    }
    let (x_cache, status) = match error.remembered {
        true => ("HIT", format!("lastgood; hit; detail={}", error.reason)),
        false => ("MISS", format!("lastgood; fwd=miss; detail={}", error.reason)),
    };
    headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
    headers.insert(CACHE_STATUS, HeaderValue::try_from(status).unwrap_or(HeaderValue::from_static("lastgood")));
}

/// What an answer says about itself.
pub(crate) struct Label {
    outcome: Outcome,
    given_at: Timestamp,
    age: Duration,
    /// What is left of its freshness in seconds, negative when none is.
    ttl: i64,
}

impl From<&Answer> for Label {
    fn from(answer: &Answer) -> Label {
        let ttl = match answer.freshness() {
            Freshness::Fresh => i64::try_from(answer.fresh_for().as_secs()).unwrap_or(i64::MAX),
            _ => -i64::try_from(answer.stale_by().as_secs()).unwrap_or(i64::MAX),
        };
        Label { outcome: answer.outcome(), given_at: answer.given_at(), age: answer.age(), ttl }
    }
}

/// Settled candles do not change: what HTTP calls immutable is a year.
const SETTLED: i64 = 365 * 86_400;

impl Label {
    /// What a value that has just come says.
    pub(crate) fn new(outcome: Outcome, fresh_for: Duration) -> Label {
        let ttl = i64::try_from(fresh_for.as_secs()).unwrap_or(i64::MAX);
        Label { outcome, given_at: Timestamp::EPOCH, age: Duration::ZERO, ttl }
    }

    /// The same said of another outcome.
    pub(crate) fn of(self, outcome: Outcome) -> Label {
        Label { outcome, ..self }
    }
}

impl From<&Slice> for Label {
    fn from(slice: &Slice) -> Label {
        let label = match &slice.tail {
            Some(tail) => Label::from(tail),
            None => Label { outcome: slice.outcome, given_at: slice.given_at, age: slice.age, ttl: SETTLED },
        };
        Label { outcome: slice.outcome, ..label }
    }
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
pub(crate) fn state_weight(headers: &mut HeaderMap, app: &App, venue: Venue, now: Timestamp) {
    let used = HeaderValue::from(app.used_weight(venue, now));
    headers.insert(USED_WEIGHT, used.clone());
    headers.insert(USED_WEIGHT_1M, used);
}

/// The `Cache-Status` of RFC 9211.
pub(crate) fn cache_status(label: &Label) -> HeaderValue {
    let ttl = label.ttl;
    let status = match label.outcome {
        Outcome::Hit(tier) => format!("lastgood; hit; ttl={ttl}; detail={}", tier.as_str()),
        Outcome::Stale => format!("lastgood; hit; ttl={ttl}; detail=stale"),
        Outcome::LastGood(reason) => format!("lastgood; hit; ttl={ttl}; detail=last-good:{reason}"),
        Outcome::Miss => format!("lastgood; fwd=miss; stored; ttl={ttl}"),
        Outcome::Joined => format!("lastgood; fwd=miss; collapsed; ttl={ttl}"),
        Outcome::Bypass(reason) => format!("lastgood; fwd=bypass; detail={}", reason.as_str()),
    };
    HeaderValue::try_from(status).unwrap_or(HeaderValue::from_static("lastgood"))
}

/// Whether an `If-None-Match` names the tag. The comparison is the weak one (RFC 9110, 13.1.2).
pub(crate) fn names(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let etag = etag.to_str().map(opaque).unwrap_or_default();
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|tags| tags.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == etag))
    };
    asked.get_all(header::IF_NONE_MATCH).iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for yes in ["gzip", "deflate, gzip;q=0.5", "*", "br, GZIP"] {
            assert!(takes_gzip(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "identity", "xgzip", "gzip; q=0.0"] {
            assert!(!takes_gzip(no), "{no}");
        }
    }
}
