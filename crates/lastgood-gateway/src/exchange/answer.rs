//! Answers with the headers that say where they came from.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lastgood::{Answer, Timestamp};
use lastgood_market::Venue;

use super::part::Part;
use crate::app::App;
use crate::response::cached::Cached;
use crate::response::etag::EntityTag;
use crate::response::found;
use crate::response::label::{CACHE_STATUS, Label, X_CACHE};
use crate::response::payload::{Payload, Reply};
use crate::response::prepared::Prepared;
use crate::response::recent::numeral;

pub(super) const USED_WEIGHT: HeaderName = HeaderName::from_static("x-mbx-used-weight");
pub(super) const USED_WEIGHT_1M: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// The answer, or the part of it that was asked for.
pub(super) async fn respond(app: &App, venue: Venue, answer: &Answer, part: Part, asked: HeaderMap) -> Reply {
    let (prepared, label) = (Prepared::of(answer), Label::from(answer));
    let mut response = match &part {
        Part::Whole => Cached::whole(answer.body(), &prepared, &label).reply(asked).await,
        Part::Kept(part) => Cached::whole(&part.body, &part.prepared, &label).reply(asked).await,
        Part::Cut(body) => {
            let (content_type, etag) = (&prepared.content_type, EntityTag::of_answer(body));
            let cached = Cached { body, content_type, etag: Some(&etag), prepared: None, label: &label };
            cached.reply(asked).await
        }
    };
    state_weight(response.headers_mut(), app, venue, label.given_at);
    response
}

/// An answer that needs neither cache nor exchange.
pub(super) fn respond_local(app: &App, venue: Venue, body: &'static str) -> Reply {
    let mut response = found(HeaderMap::new(), JSON, Payload::Whole(Bytes::from_static(body.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static("HIT"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; hit; detail=local"));
    state_weight(headers, app, venue, app.clock.now());
    response
}

/// The weight used upstream, in the two headers that clients pace themselves by. A hit adds nothing to it.
pub(super) fn state_weight(headers: &mut HeaderMap, app: &App, venue: Venue, now: Timestamp) {
    let used = numeral(u64::from(app.used_weight(venue, now)));
    headers.insert(USED_WEIGHT, used.clone());
    headers.insert(USED_WEIGHT_1M, used);
}
