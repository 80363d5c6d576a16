//! `/api/cache/key/{key}`: one key's bytes, read or removed.

use std::sync::Arc;

use axum::extract::State;
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use lastgood::{Answer, Explanation, Freshness, Mode, Outcome, Selector};
use serde_json::json;

use super::caller::Caller;
use super::name::KeyName;
use super::{answer, change, keys};
use crate::app::App;
use crate::pending::Pending;
use crate::problem::Answered;
use crate::response::NO_PAGE;
use crate::response::cached::Cached;
use crate::response::etag::EntityTag;
use crate::response::label::Label;
use crate::stored_value::{BYTES, ask_again, is_media_type, reason, unasked};

const PREFIX: &str = "/api/cache/key/";

/// The content type of the kept value; the market layer keeps other things in its place.
pub(super) fn content_type(answer: &Answer) -> HeaderValue {
    let kept = answer.meta().and_then(|meta| meta.lines().next()).filter(|text| is_media_type(text));
    kept.and_then(|meta| HeaderValue::from_str(meta).ok()).unwrap_or(BYTES)
}

pub(super) async fn get(State(app): State<Arc<App>>, _: Caller, uri: Uri, headers: HeaderMap) -> Answered {
    let key = KeyName::of(&app, &uri, PREFIX)?.meant().await;
    let known = key.region.explain(&key.name).await;
    let Some(answer) = &known.answer else {
        return Err(match &known.store_error {
            Some(why) => {
                let detail = format!("Memory does not hold this key, and the store does not say: {}.", reason(why));
                unasked(ask_again(&detail, "Ask again once the store is back; /health says how it is.")).into()
            }
            None => keys::unknown(&key.region, &key.name).await,
        });
    };
    let content_type = content_type(answer);
    let etag = EntityTag::of_value(&content_type, answer.body());
    let label = Label::from(answer).of(outcome(&known, answer));
    let (body, etag) = (answer.body(), Some(&etag));
    let cached = Cached { body, content_type: &content_type, etag, prepared: None, label: &label };
    let mut response = cached.respond(&headers).await;
    // An application may have stored a page: it must not act as one of this gateway's.
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    Ok(response)
}

/// How a read would be answered from the kept entry alone.
fn outcome(known: &Explanation, answer: &Answer) -> Outcome {
    match (known.freshness, &known.backoff) {
        (Freshness::Fresh, _) => answer.outcome(),
        (_, Some(backoff)) => Outcome::LastGood(backoff.reason),
        (_, None) => Outcome::Stale,
    }
}

pub(super) async fn delete(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answered {
    let key = KeyName::of(&app, &uri, PREFIX)?.meant().await;
    let scope = Selector::Key { region: key.region.name().to_owned(), name: key.name.clone() };
    let invalidated = change::change_keys(&app, &scope, Some(Mode::Remove)).await?;
    caller.audit("remove", &key.full(), invalidated.matched, invalidated.changed);
    // Without an answer of the store it may hold the key; a removal that waits already is known.
    if invalidated.matched == 0 && invalidated.unreached.is_none() {
        return Err(keys::unknown(&key.region, &key.name).await);
    }
    let rest = "If the store holds the key, it is removed there then.";
    let pending = Pending::of(&app, invalidated.unreached, rest).await;
    pending.iter().for_each(|pending| pending.warn("remove", &key.full(), invalidated.matched));
    let report = json!({ "matched": invalidated.matched, "removed": invalidated.changed, "dry_run": false });
    Ok(answer::change(StatusCode::OK, report, pending.as_ref()))
}
