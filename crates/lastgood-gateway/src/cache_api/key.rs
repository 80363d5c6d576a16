//! `/api/cache/key/{key}`: one key's bytes, read, written or removed.

use std::sync::Arc;

use axum::extract::{Request, State};
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use lastgood::{Answer, Depth, Explanation, Freshness, Loaded, Outcome, Region, Scope};
use lastgood_market::RegionName;
use serde_json::json;

use super::caller::Caller;
use super::name::{KeyName, is_market};
use super::pending::{self, Pending};
use super::{change, keys};
use crate::app::App;
use crate::body;
use crate::cluster;
use crate::config::parse_duration;
use crate::problem::{Answered, Refused};
use crate::query::fields;
use crate::response::NO_PAGE;
use crate::response::cached::Cached;
use crate::response::etag::EntityTag;
use crate::response::label::Label;
use crate::values::{LONGEST_LIFE, SHORTEST_LIFE, ask_again, is_media_type, reason, unasked};

const PREFIX: &str = "/api/cache/key/";
/// The longest content type that is kept.
const LONGEST_TYPE: usize = 255;
/// Tags of one key, and the bytes of one: with more it could not lie in the store.
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 256;
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The content type of what is kept; the market layer keeps other things in its place.
pub(super) fn content_type(answer: &Answer) -> HeaderValue {
    let kept = answer.meta().and_then(|meta| meta.lines().next()).filter(|text| is_media_type(text));
    kept.and_then(|meta| HeaderValue::from_str(meta).ok()).unwrap_or(BYTES)
}

pub(super) async fn get(State(app): State<Arc<App>>, _: Caller, uri: Uri, headers: HeaderMap) -> Answered {
    let key = KeyName::of(&app, &uri, PREFIX, false)?.meant().await;
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
    // Whoever put it may have put a page there: it must not act as one of this gateway's.
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    Ok(response)
}

/// How a read would be answered from what is kept alone.
fn outcome(known: &Explanation, answer: &Answer) -> Outcome {
    match (known.freshness, &known.setback) {
        (Freshness::Fresh, _) => answer.outcome(),
        (_, Some(setback)) => Outcome::LastGood(setback.reason),
        (_, None) => Outcome::Stale,
    }
}

/// Why nobody may put anything into a region.
fn sealed(region: &Region) -> Option<String> {
    let name = region.name();
    if name == cluster::REGION {
        return Some(format!("The region {name} is the gateway's own."));
    }
    if name == RegionName::Bars.as_str() {
        return Some("Bars are checked one by one; put them with PUT /v1/bars/{series}/{interval}.".to_owned());
    }
    is_market(name).then(|| {
        format!("The region {name} holds what exchanges answered, and nobody may make that up; put it into a region of your own.")
    })
}

pub(super) async fn put(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answered {
    let key = KeyName::of(&app, request.uri(), PREFIX, true)?;
    if let Some(why) = sealed(&key.region) {
        return Err(Refused::new(StatusCode::FORBIDDEN, &why));
    }
    if !app.cache.is_enabled() {
        return Err(Refused::new(StatusCode::CONFLICT, "The cache is switched off, so nothing is kept."));
    }
    let mut loaded = wanted(request.uri().query().unwrap_or_default())?;
    let content_type = match request.headers().get(CONTENT_TYPE) {
        None => BYTES,
        Some(given) => given.clone(),
    };
    let content_type = content_type.to_str().ok().filter(|text| text.len() <= LONGEST_TYPE && is_media_type(text));
    let Some(content_type) = content_type else {
        let detail = "The header Content-Type is no media type, such as application/json.";
        return Err(Refused::new(StatusCode::BAD_REQUEST, detail));
    };
    loaded.value.meta = Some(content_type.into());
    loaded.value.body = body(&app, request).await?;
    let (bytes, tags) = (loaded.value.body.len(), loaded.tags.clone());
    let was_there = key.region.explain(&key.name).await.answer.is_some();
    key.region.put(&key.name, loaded).await;
    let kept = key.region.peek(&key.name);
    caller.audit("put", &key.full(), 1, u64::from(kept.is_some()));
    if kept.is_none() && app.cache.status().store.is_none() {
        let detail =
            format!("{bytes} bytes are more than memory keeps of one key, and there is no store; raise memory.limit.");
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    let status = if was_there { StatusCode::OK } else { StatusCode::CREATED };
    let fresh_for = kept.map(|answer| answer.fresh_for().as_millis() as u64);
    let told = json!({ "key": key.full(), "bytes": bytes, "fresh_for_ms": fresh_for, "tags": tags });
    let pending = Pending::of(&app, None, "").await;
    pending.iter().for_each(|pending| pending.warn("put", &key.full(), 1));
    Ok(pending::answer(status, told, pending.as_ref()))
}

/// What the parameters say of a value.
fn wanted(query: &str) -> Result<Loaded, Refused> {
    let refuse = |detail: String| Refused::new(StatusCode::BAD_REQUEST, &detail);
    let mut loaded = Loaded::default();
    for (name, value) in fields(query) {
        let value = value.map_err(|_| refuse(format!("The parameter {name} is no text in UTF-8.")))?;
        match name {
            "fresh_for" | "ttl" => {
                let span = parse_duration(&value).map_err(|why| refuse(format!("The parameter {name}: {why}.")))?;
                if name == "ttl" && !(SHORTEST_LIFE..=LONGEST_LIFE).contains(&span) {
                    return Err(refuse("The parameter ttl: give a duration from 1ms to 365d.".to_owned()));
                }
                let of = if name == "ttl" { &mut loaded.ttl } else { &mut loaded.fresh_for };
                *of = Some(span);
            }
            "tags" => {
                loaded.tags =
                    value.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
            }
            unknown => {
                let shown: String = unknown.chars().take(64).collect();
                let detail = format!(
                    "Unknown parameter {shown:?}; known are fresh_for, ttl and tags. A question mark of the key's own is written %3F."
                );
                return Err(refuse(detail));
            }
        }
    }
    if loaded.tags.len() > MOST_TAGS || loaded.tags.iter().any(|tag| tag.len() > LONGEST_TAG) {
        return Err(refuse(format!("The parameter tags: at most {MOST_TAGS} of at most {LONGEST_TAG} bytes each.")));
    }
    Ok(loaded)
}

async fn body(app: &App, request: Request) -> Result<Bytes, Refused> {
    let read = body::read(app, request, app.limits.max_body_bytes, "limits.max_body_bytes").await;
    read.map_err(|(status, detail)| Refused::new(status, &detail))
}

pub(super) async fn delete(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Answered {
    let key = KeyName::of(&app, &uri, PREFIX, false)?.meant().await;
    let scope = Scope::Key { region: key.region.name().to_owned(), name: key.name.clone() };
    let swept = change::sweep(&app, &scope, Some(Depth::Remove)).await?;
    caller.audit("remove", &key.full(), swept.matched, swept.changed);
    // Without an answer of the store it may hold the key; a removal that waits already is known.
    if swept.matched == 0 && swept.unreached.is_none() {
        return Err(keys::unknown(&key.region, &key.name).await);
    }
    let rest = "If the store holds the key, it is removed there then.";
    let pending = Pending::of(&app, swept.unreached, rest).await;
    pending.iter().for_each(|pending| pending.warn("remove", &key.full(), swept.matched));
    let told = json!({ "matched": swept.matched, "removed": swept.changed, "dry_run": false });
    Ok(pending::answer(StatusCode::OK, told, pending.as_ref()))
}
