//! What the paths for values of applications (`kv`, `llm`, `bars`) share: how a stored value is found and served, and by
//! `request.rs` who may store one, and what a request may say of it.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, ETAG, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::store::StoreError;
use lastgood::{Answer, Freshness, Outcome, Reason, Region, Tier, Value};

use crate::problem;
use crate::response::cached::Cached;
use crate::response::coding::Coding;
use crate::response::etag::EntityTag;
use crate::response::label::{CACHE_STATUS, Label, X_CACHE};
use crate::response::payload::Reply;
use crate::response::prepared::Prepared;
use crate::response::{NO_PAGE, media_type};

mod pending;
mod request;

pub(crate) use self::pending::{IF_IT_IS_THERE, confirmed, reason, undecided, unless_pending};
pub(crate) use self::request::{admit, body, check_room, is_media_type};

pub(crate) const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A value that is kept, and how good it is.
pub(crate) struct Kept {
    pub(crate) answer: Answer,
    pub(crate) outcome: Outcome,
}

impl Kept {
    fn of(answer: Answer) -> Kept {
        // There is no source to ask: the application may put it again.
        let outcome = match answer.freshness() {
            Freshness::Fresh => answer.outcome(),
            Freshness::Stale => Outcome::Stale,
            Freshness::Kept | Freshness::Gone if answer.outcome() == Outcome::LastGood(Reason::Unreadable) => {
                answer.outcome()
            }
            Freshness::Kept | Freshness::Gone => Outcome::LastGood(Reason::Abandoned),
        };
        Kept { answer, outcome }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.answer.freshness() == Freshness::Fresh
    }
}

/// Parts that are worked out of a value once.
pub(crate) fn prepared(answer: &Answer) -> Arc<Prepared> {
    answer.memoised(prepared_of)
}

fn prepared_of(value: &Value) -> Arc<Prepared> {
    // A declared route that shares the region keeps more below the first line.
    let content_type = value.meta.as_deref().and_then(|meta| meta.lines().next()).filter(|text| is_media_type(text));
    let content_type = content_type.and_then(media_type).unwrap_or(BYTES);
    let etag = EntityTag::of_value(&content_type, &value.body);
    Prepared::new(content_type, Some(etag))
}

/// The value kept under a name, in memory or, where that holds nothing fresh, in the store.
///
/// # Errors
///
/// When memory holds nothing, and the store does not say what it holds: a value may be there.
pub(crate) async fn kept(region: &Region, name: &str) -> Result<Option<Kept>, StoreError> {
    Ok(region.composite().get(name).await?.map(Kept::of))
}

/// Whether there is a value, which a cache that is switched off does not give.
///
/// # Errors
///
/// As of [`kept`].
pub(crate) async fn is_there(region: &Region, name: &str) -> Result<bool, StoreError> {
    match region.is_enabled() {
        true => Ok(kept(region, name).await?.is_some()),
        false => Ok(region.newest(name).await?.is_some()),
    }
}

/// Counts a read of a region.
pub(crate) fn count(region: &Region, kept: Option<&Kept>) {
    region.composite().count(kept.map_or(Outcome::Miss, |kept| kept.outcome));
}

/// A value that is kept, or 304 when the client has it.
pub(crate) async fn respond(kept: &Kept, asked: &HeaderMap) -> Response {
    let label = Label::from(&kept.answer).of(kept.outcome);
    serve(kept.answer.body(), &prepared(&kept.answer), &label, asked).await
}

/// As [`respond`]; `None` where that would have to pack the value first.
pub(crate) fn respond_at_once(kept: &Kept, asked: &HeaderMap) -> Option<Reply> {
    let (prepared, label) = (prepared(&kept.answer), Label::from(&kept.answer).of(kept.outcome));
    let reply = Cached::whole(kept.answer.body(), &prepared, &label).at_once(asked)?;
    Some(no_page(reply))
}

/// Part of a kept value, or 304 when the client has it.
pub(crate) async fn respond_part(part: &Value, of: &Answer, asked: &HeaderMap) -> Response {
    serve(&part.body, &prepared_of(part), &Label::from(of), asked).await
}

/// A value that another request has just brought.
pub(crate) async fn respond_joined(value: &Value, fresh_for: Duration, asked: &HeaderMap) -> Response {
    serve(&value.body, &prepared_of(value), &Label::new(Outcome::Joined, fresh_for), asked).await
}

async fn serve(body: &Bytes, prepared: &Arc<Prepared>, label: &Label, asked: &HeaderMap) -> Response {
    no_page(Cached::whole(body, prepared, label).respond(asked).await)
}

/// An application may have stored a page: it must not act as one of this gateway's.
fn no_page<B>(mut response: http::Response<B>) -> http::Response<B> {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    response
}

/// The answer to a value that was stored: new, or in place of another.
pub(crate) fn stored(was_there: bool, etag: &EntityTag) -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = if was_there { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
    response.headers_mut().insert(ETAG, etag.header(Coding::Identity));
    response
}

/// Adds to the answer to a stored value that memory alone has it: the store takes none so large, and a restart forgets it.
pub(crate) fn in_memory_alone(mut response: Response) -> Response {
    let status = HeaderValue::from_static("lastgood; stored; detail=memory-only");
    response.headers_mut().insert(CACHE_STATUS, status);
    response
}

/// The answer to what was taken away.
pub(crate) fn gone() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Adds to a 404 that the cache was looked into.
pub(crate) fn absent(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static(Outcome::Miss.as_x_cache()));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; fwd=miss; detail=absent"));
    response
}

/// Marks an answer as one where memory holds nothing and the store did not say what it holds.
pub(crate) fn unasked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static("ERROR"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; fwd=miss; detail=store-unavailable"));
    response
}

/// The answer where it is not known whether a value is kept; `what` names it, as in "a value of this key".
pub(crate) fn unknown(what: &str, why: &StoreError) -> Response {
    let detail = format!(
        "Whether {what} is kept is not known now: memory holds none, and the store, which may hold one, did not answer: {}.",
        reason(why)
    );
    let hint = "Ask again once the store is back; /health says how it is. A value that is put meanwhile is served from memory.";
    unasked(ask_again(&detail, hint))
}

/// The answer where the store would have to say something, and does not.
pub(crate) fn ask_again(detail: &str, hint: &str) -> Response {
    let mut response = problem::extended(StatusCode::SERVICE_UNAVAILABLE, detail, &[("hint", hint.into())]);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// That a fresh value lies in memory, which is where one that was just put lies.
pub(crate) fn fresh_in_memory(region: &Region, name: &str) -> Option<Kept> {
    let held = region.peek(name).filter(|held| held.freshness() == Freshness::Fresh)?;
    Some(Kept { answer: held, outcome: Outcome::Hit(Tier::Memory) })
}
