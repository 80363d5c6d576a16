//! What a route answers: the source's bytes, and where they come from.

use std::sync::Arc;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::{Error, Reason};
use lastgood_routes::{Route, RouteAnswer};

use crate::problem;
use crate::response::cached::Cached;
use crate::response::etag::EntityTag;
use crate::response::label::label_failure;
use crate::response::media_type;
use crate::response::payload::Reply;
use crate::response::prepared::Prepared;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer, or 304 when the client has it.
pub(super) async fn respond(answered: &RouteAnswer, asked: &HeaderMap) -> Response {
    let answer = answered.answer();
    Cached::whole(answer.body(), &prepared(answered), &answer.into()).respond(asked).await
}

/// As [`respond`]; `None` where that would have to pack the answer first.
pub(super) fn at_once(answered: &RouteAnswer, asked: &HeaderMap) -> Option<Reply> {
    let answer = answered.answer();
    Cached::whole(answer.body(), &prepared(answered), &answer.into()).at_once(asked)
}

/// The values worked out of an answer once.
fn prepared(answered: &RouteAnswer) -> Arc<Prepared> {
    answered.memoised(|answered| {
        let content_type = media_type(answered.content_type()).filter(|text| !text.is_empty());
        let etag = EntityTag::weak_of(answered.answer().body());
        Prepared::new(content_type.unwrap_or(JSON), Some(etag))
    })
}

/// There is neither a fresh nor a last good answer.
pub(super) fn fail(route: &Route, error: &Error) -> Response {
    let path = &route.spec().path;
    let (status, detail) = match error.reason {
        Reason::NotFound => (StatusCode::NOT_FOUND, format!("{path} has nothing for these parameters.")),
        Reason::TimedOut | Reason::Slow => (
            StatusCode::GATEWAY_TIMEOUT,
            format!("No source of {path} answered in time, and no earlier answer is at hand."),
        ),
        _ => {
            let detail =
                format!("No source of {path} gave an answer, and no earlier one is at hand: {}.", error.message);
            (StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    };
    let mut response = problem::problem(status, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    if error.reason != Reason::NotFound && error.retry_after.is_none() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
