//! What a route answers: the source's bytes, and where they come from.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::header::{AGE, CONTENT_ENCODING, CONTENT_TYPE, ETAG, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::{Answer, Error, Reason};
use ring::digest::{SHA256, digest};

use super::key::hex;
use super::meta::Meta;
use super::route::Route;
use crate::problem;
use crate::response::label::{Accepts, CACHE_STATUS, X_CACHE, cache_status, label_failure, names};
use crate::response::plain;
use crate::response::prepared::{GZIP_FROM, Prepared};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is worked out of an answer once; it lives as long as the answer does.
pub(super) struct Form {
    pub(super) meta: Meta,
    etag: HeaderValue,
    prepared: Arc<Prepared>,
}

impl Form {
    pub(super) fn of(answer: &Answer) -> Arc<Form> {
        answer.derived(|value| {
            let meta = value.meta.as_deref().map(Meta::parse).unwrap_or_default();
            let tag = hex(&digest(&SHA256, &value.body).as_ref()[..16]);
            let etag = HeaderValue::try_from(format!("W/\"{tag}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
            let content_type = HeaderValue::from_str(&meta.content_type).ok().filter(|text| !text.is_empty());
            Arc::new(Form { meta, etag, prepared: Prepared::new(content_type.unwrap_or(JSON)) })
        })
    }
}

/// The answer, or 304 when the client has it.
pub(super) async fn respond(answer: &Answer, asked: &HeaderMap) -> Response {
    let form = Form::of(answer);
    let (body, content_type) = (answer.body(), form.prepared.content_type.clone());
    let mut response = if names(asked, &form.etag) {
        let mut unchanged = plain(StatusCode::NOT_MODIFIED, content_type, Bytes::new());
        unchanged.headers_mut().remove(CONTENT_TYPE);
        unchanged
    } else if Accepts::of(asked).gzip && body.len() >= GZIP_FROM {
        let mut packed = plain(StatusCode::OK, content_type, Arc::clone(&form.prepared).gzip(body).await);
        packed.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        packed
    } else {
        plain(StatusCode::OK, content_type, body.clone())
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, form.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(AGE, HeaderValue::from(answer.age().as_secs()));
    headers.insert(X_CACHE, HeaderValue::from_static(answer.outcome().as_x_cache()));
    headers.insert(CACHE_STATUS, cache_status(&answer.into()));
    response
}

/// There is neither a fresh nor a last good answer.
pub(super) fn fail(route: &Route, error: &Error) -> Response {
    let path = &route.setting.path;
    let (status, detail) = match error.reason {
        Reason::NotFound => (StatusCode::NOT_FOUND, format!("{path} has nothing for these parameters.")),
        Reason::TimedOut | Reason::Slow => (
            StatusCode::GATEWAY_TIMEOUT,
            format!("No source of {path} answered in time, and no earlier answer is kept."),
        ),
        _ => {
            let detail = format!("No source of {path} gave an answer, and none is kept: {}.", error.message);
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
