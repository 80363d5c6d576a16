//! What the paths for values of applications share: who may write, what a query may say, how a value is found and served.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lastgood::store::StoreError;
use lastgood::{Answer, Error, Freshness, Loaded, Outcome, Reason, Region, Tier, Value};
use lastgood_market::symbols::Refusal;
use percent_encoding::percent_decode_str;
use ring::digest::{Context, SHA256};

use crate::app::App;
use crate::body;
use crate::config::{format_duration, parse_duration};
use crate::problem;
use crate::response::label::{Accepts, CACHE_STATUS, Label, X_CACHE, cache_status};
use crate::response::prepared::{GZIP_FROM, Prepared};
use crate::response::{NO_PAGE, plain};

mod pending;

pub(crate) use self::pending::{IF_IT_IS_THERE, confirmed, undecided, unless_pending};

pub(crate) const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// So much of a refused value is shown.
const SHOWN: usize = 64;
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 256;
/// Bounds of `fresh_for` and `ttl`.
pub(crate) const SHORTEST_LIFE: Duration = Duration::from_millis(1);
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// The answer to a request that is not acted upon.
#[derive(Debug)]
pub(crate) struct Refused(Box<Response>);

pub(crate) type Answered = Result<Response, Refused>;

impl Refused {
    pub(crate) fn problem(status: StatusCode, detail: &str) -> Refused {
        problem::problem(status, detail).into()
    }

    /// A parameter that cannot be acted upon.
    pub(crate) fn parameter(status: StatusCode, name: &str, value: &str, allowed: impl Into<String>) -> Refused {
        let shown = |text: &str| text.chars().take(SHOWN).collect();
        let refusal = Refusal { parameter: shown(name), value: shown(value), allowed: allowed.into() };
        problem::parameter(status, &refusal).into()
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Refused(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// Lets in whoever may change what is kept.
pub(crate) fn admit(app: &App, headers: &HeaderMap) -> Result<(), Refused> {
    app.admin.admit(headers).map_err(Refused::from)
}

/// Text as it was before it was put into a URL; `None` where that is no text.
pub(crate) fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The parameters of a query.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query that has no other parameters than `known`, each once.
    pub(crate) fn read(query: Option<&str>, known: &[&str]) -> Result<Parameters, Refused> {
        let refuse = |name: &str, value: &str, allowed: String| {
            Err(Refused::parameter(StatusCode::BAD_REQUEST, name, value, allowed))
        };
        let mut read: Vec<(String, String)> = Vec::new();
        for field in query.unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            // In a query, unlike in a path, a plus is a blank.
            let value = value.replace('+', " ");
            let Some(value) = decoded(&value) else {
                return refuse(name, &value, "text in UTF-8".to_owned());
            };
            if !known.contains(&name) {
                return refuse(name, &value, format!("the parameters {}", known.join(", ")));
            }
            if read.iter().any(|(earlier, _)| earlier == name) {
                return refuse(name, &value, "it once, not twice".to_owned());
            }
            read.push((name.to_owned(), value));
        }
        Ok(Parameters(read))
    }

    /// Refuses a query that says anything.
    pub(crate) fn read_none(query: Option<&str>) -> Result<(), Refused> {
        let Some(text) = query.filter(|text| !text.is_empty()) else { return Ok(()) };
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Err(Refused::parameter(StatusCode::BAD_REQUEST, name, value, "no parameters"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A duration within bounds, if it is given.
    pub(crate) fn duration(&self, name: &str, least: Duration, most: Duration) -> Result<Option<Duration>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse_duration(text) {
            Ok(span) if (least..=most).contains(&span) => Ok(Some(span)),
            _ => {
                let (least, most) = (format_duration(least), format_duration(most));
                let allowed = format!("a duration from {least} to {most}, such as 5m or 1m30s");
                Err(Refused::parameter(StatusCode::BAD_REQUEST, name, text, allowed))
            }
        }
    }

    /// A value without its bytes: its own freshness, its end and its tags.
    pub(crate) fn to_keep(&self) -> Result<Loaded, Refused> {
        let fresh_for = self.duration("fresh_for", SHORTEST_LIFE, LONGEST_LIFE)?;
        let ttl = self.duration("ttl", SHORTEST_LIFE, LONGEST_LIFE)?;
        let text = self.get("tags").unwrap_or_default();
        let tags: Vec<String> =
            text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let sound = |tag: &String| tag.len() <= LONGEST_TAG && !tag.chars().any(char::is_control);
        if tags.len() > MOST_TAGS || !tags.iter().all(sound) {
            let allowed =
                format!("at most {MOST_TAGS} tags of 1 to {LONGEST_TAG} bytes without control characters, with commas");
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "tags", text, allowed));
        }
        Ok(Loaded { fresh_for, ttl, tags, ..Loaded::default() })
    }
}

/// Refuses a value that could not be read again: memory has no room for it, whatever else is in it, and the store alone
/// does not give values of that size within its budget. Says whether the store will have it too; `true` without one.
pub(crate) fn check_room(app: &App, body: &Bytes) -> Result<bool, Refused> {
    let (size, largest) = (body.len() as u64, app.cache.largest());
    if size > largest.in_memory {
        let detail = format!(
            "The value of {size} bytes cannot be kept: memory.limit has room for values of at most {} bytes. Raise \
             memory.limit, or split the value.",
            largest.in_memory
        );
        return Err(Refused::problem(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    Ok(largest.in_store.is_none_or(|largest| size <= largest))
}

/// Adds to the answer to a stored value that memory alone has it: the store takes none so large, and a restart forgets it.
pub(crate) fn in_memory_alone(mut response: Response) -> Response {
    let status = HeaderValue::from_static("lastgood; stored; detail=memory-only");
    response.headers_mut().insert(CACHE_STATUS, status);
    response
}

/// The body of a request, within the limits of size and time.
pub(crate) async fn body(app: &App, request: Request) -> Result<Bytes, Refused> {
    let read = body::read(app, request, app.limits.max_body_bytes, "limits.max_body_bytes").await;
    read.map_err(|(status, detail)| Refused::problem(status, &detail))
}

/// A value that is kept, and how good it is.
pub(crate) struct Kept {
    pub(crate) answer: Answer,
    pub(crate) outcome: Outcome,
}

impl Kept {
    fn of(answer: Answer) -> Kept {
        // There is no source to ask: whoever put it may put it anew.
        let outcome = match answer.freshness() {
            Freshness::Fresh => answer.outcome(),
            Freshness::Stale => Outcome::Stale,
            Freshness::Kept | Freshness::Gone => Outcome::LastGood(Reason::Abandoned),
        };
        Kept { answer, outcome }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.answer.freshness() == Freshness::Fresh
    }
}

/// The strong entity tag of what is kept.
pub(crate) fn etag_of(answer: &Answer) -> String {
    Form::of(answer).etag.clone()
}

/// What is kept under a name, in memory or, where that holds nothing fresh, in the store.
///
/// # Errors
///
/// When memory holds nothing, and the store does not say what it holds: another gateway may have put a value there.
pub(crate) async fn kept(app: &App, region: &Region, name: &str) -> Result<Option<Kept>, StoreError> {
    if !app.cache.is_enabled() {
        return Ok(None);
    }
    let held = region.peek(name);
    if held.as_ref().is_some_and(|held| held.freshness() == Freshness::Fresh) {
        return Ok(held.map(Kept::of));
    }
    let stored = region.try_stored(name).await;
    // Another may have put one while the store was asked, and the end of what was held may have come.
    let held = region.peek(name);
    if matches!(stored, Ok(None)) && held.as_ref().is_some_and(Answer::is_unverified) && !region.is_waiting(name) {
        // It was removed from the store that all share, or what replaced it has ended: it must not come back.
        return Ok(None);
    }
    Ok(match (held, stored) {
        // Of one answer, the store's is verified, and memory's was not, or is not fresh.
        (Some(held), Ok(Some(stored))) if held.age() < stored.age() => Some(Kept::of(held)),
        (_, Ok(Some(stored))) => {
            if stored.freshness() == Freshness::Fresh {
                // The next reader finds it in memory.
                let nowhere = || async { Err(Error::new(Reason::Yielded, "values come from applications")) };
                drop(region.get_or_load_uncounted(name, nowhere).await);
            }
            Some(Kept::of(stored))
        }
        (None, Err(why)) => return Err(why),
        (held, _) => held.map(Kept::of),
    })
}

/// Counts a read of a region.
pub(crate) fn count(region: &Region, kept: Option<&Kept>) {
    region.count_served(kept.map_or(Outcome::Miss, |kept| kept.outcome));
}

/// What is worked out of a value once.
struct Form {
    /// With its quotes.
    etag: String,
    prepared: Arc<Prepared>,
}

impl Form {
    fn of(answer: &Answer) -> Arc<Form> {
        answer.derived(Form::of_value)
    }

    fn of_value(value: &Value) -> Arc<Form> {
        // A declared route that shares the region keeps more below the first line.
        let content_type =
            value.meta.as_deref().and_then(|meta| meta.lines().next()).filter(|text| is_media_type(text));
        let content_type = content_type.and_then(|text| HeaderValue::from_str(text).ok()).unwrap_or(BYTES);
        Arc::new(Form { etag: etag(&content_type, &value.body), prepared: Prepared::new(content_type) })
    }
}

/// Whether a text is a media type, with or without parameters.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().split_once('/').is_some_and(|(kind, of)| is_token(kind) && is_token(of))
}

/// The strong entity tag of a value: the same bytes as another type are another value.
pub(crate) fn etag(content_type: &HeaderValue, body: &[u8]) -> String {
    let mut hash = Context::new(&SHA256);
    for part in [content_type.as_bytes(), b"\0", body] {
        hash.update(part);
    }
    let hex: String = hash.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// The tag of the same value, packed.
fn packed_etag(etag: &str) -> String {
    format!("{}-gzip\"", etag.trim_end_matches('"'))
}

/// Whether a header such as `If-Match` names the tag, packed or not.
pub(crate) fn names(asked: &HeaderMap, header: &HeaderName, etag: &str, weak_too: bool) -> bool {
    let packed = packed_etag(etag);
    let is_meant = |tag: &str| {
        let tag = if weak_too { tag.trim_start_matches("W/") } else { tag };
        tag == "*" || tag == etag || tag == packed
    };
    let mut lists = asked.get_all(header).iter().filter_map(|value| value.to_str().ok());
    lists.any(|list| list.split(',').map(str::trim).any(is_meant))
}

/// A value that is kept, or 304 when the client has it.
pub(crate) async fn respond(kept: &Kept, asked: &HeaderMap) -> Response {
    let label = Label::from(&kept.answer).of(kept.outcome);
    let age = kept.answer.age();
    serve(kept.answer.body(), &Form::of(&kept.answer), (kept.outcome, age, &label), asked).await
}

/// Part of a kept value, or 304 when the client has it.
pub(crate) async fn respond_part(part: &Value, of: &Answer, asked: &HeaderMap) -> Response {
    let label = Label::from(of);
    serve(&part.body, &Form::of_value(part), (of.outcome(), of.age(), &label), asked).await
}

/// A value that another request has just brought.
pub(crate) async fn respond_joined(value: &Value, fresh_for: Duration, asked: &HeaderMap) -> Response {
    let label = Label::new(Outcome::Joined, fresh_for);
    serve(&value.body, &Form::of_value(value), (Outcome::Joined, Duration::ZERO, &label), asked).await
}

async fn serve(body: &Bytes, form: &Form, said: (Outcome, Duration, &Label), asked: &HeaderMap) -> Response {
    let (outcome, age, label) = said;
    let prepared = &form.prepared;
    let packs = Accepts::of(asked).gzip && body.len() >= GZIP_FROM;
    let etag = if packs { packed_etag(&form.etag) } else { form.etag.clone() };
    let mut response = if names(asked, &IF_NONE_MATCH, &form.etag, true) {
        let mut unchanged = plain(StatusCode::NOT_MODIFIED, BYTES, Bytes::new());
        unchanged.headers_mut().remove(CONTENT_TYPE);
        unchanged
    } else if packs {
        let mut packed = plain(StatusCode::OK, prepared.content_type.clone(), Arc::clone(prepared).gzip(body).await);
        packed.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        packed
    } else {
        plain(StatusCode::OK, prepared.content_type.clone(), body.clone())
    };
    let headers = response.headers_mut();
    set_etag(headers, &etag);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(AGE, HeaderValue::from(age.as_secs()));
    headers.insert(X_CACHE, HeaderValue::from_static(outcome.as_x_cache()));
    headers.insert(CACHE_STATUS, cache_status(label));
    // Whoever put it may have put a page there: it must not act as one of this gateway's.
    headers.insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    response
}

fn set_etag(headers: &mut HeaderMap, etag: &str) {
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(ETAG, etag);
    }
}

/// The answer to a value that was stored: new, or in place of another.
pub(crate) fn stored(was_there: bool, etag: &str) -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = if was_there { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
    set_etag(response.headers_mut(), etag);
    response
}

/// The answer to what was taken away.
pub(crate) fn gone() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The answer to a value that is not kept because the cache is switched off: the application goes on as without it.
pub(crate) fn passed() -> Response {
    let mut response = gone();
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static("PASS"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; fwd=bypass; detail=disabled"));
    response
}

/// Adds to a 404 that the cache was looked into.
pub(crate) fn absent(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static(Outcome::Miss.as_x_cache()));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; fwd=miss; detail=absent"));
    response
}

/// Marks an answer as one where memory holds nothing and the store that other gateways share did not say what it holds.
pub(crate) fn unasked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static(Outcome::Miss.as_x_cache()));
    headers.insert(CACHE_STATUS, HeaderValue::from_static("lastgood; fwd=miss; detail=store-unavailable"));
    response
}

/// The answer where it is not known whether a value is kept; `what` names it, as in "a value of this key".
pub(crate) fn unknown(what: &str, why: &StoreError) -> Response {
    let detail = format!(
        "Whether {what} is kept is not known now: memory holds none, and the store, where another gateway may have put one, \
         did not answer: {}.",
        pending::reason(why)
    );
    let hint = "Ask again once the store is back; /health says how it is. A value that is put meanwhile is served from memory.";
    let mut response = problem::extended(StatusCode::SERVICE_UNAVAILABLE, &detail, &[("hint", hint.into())]);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    unasked(response)
}

/// That a fresh value lies in memory, which is where one that was just put lies.
pub(crate) fn fresh_in_memory(region: &Region, name: &str) -> Option<Kept> {
    let held = region.peek(name).filter(|held| held.freshness() == Freshness::Fresh)?;
    Some(Kept { answer: held, outcome: Outcome::Hit(Tier::Memory) })
}
