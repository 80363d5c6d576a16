//! `/v1/kv/{region}/{key}`: bytes that applications keep, and their last good ones.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{self, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use lastgood::store::StoreError;
use lastgood::{Answer, Conditional, Region};
use lastgood_market::RegionName;

use crate::app::App;
use crate::problem;
use crate::problem::{Answered, Refused};
use crate::query::{Parameters, decoded};
use crate::response::etag::{Comparison, EntityTag};
use crate::response::payload::Reply;
use crate::stored_value::{self, BYTES, Kept};

const PREFIX: &str = "/v1/kv/";
const LONGEST_KEY: usize = 512;
/// The longest content type that is kept.
const LONGEST_TYPE: usize = 255;

/// Where a value lies.
struct Place<'a> {
    region: &'a Region,
    key: Cow<'a, str>,
}

impl Place<'_> {
    fn of<'a>(app: &'a App, uri: &'a Uri) -> Result<Place<'a>, Refused> {
        let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (region, key) = path.split_once('/').unwrap_or((path, ""));
        let name = decoded(region).unwrap_or_default();
        let Some(region) = app.application_region(&name) else {
            return Err(no_region(app, &name));
        };
        let sound = |key: &Cow<str>| !key.is_empty() && key.len() <= LONGEST_KEY && !key.chars().any(char::is_control);
        let Some(decoded) = decoded(key).filter(sound) else {
            let allowed = format!("1 to {LONGEST_KEY} bytes of text without control characters, percent-encoded");
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "key", key, allowed));
        };
        Ok(Place { region, key: decoded })
    }

    async fn kept(&self) -> Result<Option<Kept>, StoreError> {
        stored_value::kept(self.region, &self.key).await
    }

    async fn is_there(&self) -> Result<bool, StoreError> {
        stored_value::is_there(self.region, &self.key).await
    }

    /// Its name among the values of all regions.
    fn name(&self) -> String {
        format!("{}/{}", self.region.name(), self.key)
    }

    fn shown(&self) -> String {
        self.key.chars().take(64).collect()
    }

    fn absent(&self) -> Response {
        let detail = format!("The region {} holds nothing under {:?}.", self.region.name(), self.shown());
        stored_value::absent(problem::problem(StatusCode::NOT_FOUND, &detail))
    }
}

fn no_region(app: &App, name: &str) -> Refused {
    let known: Vec<&str> = app.named.keys().map(String::as_str).collect();
    let known = known.join(", ");
    if name == RegionName::Bars.as_str() {
        let allowed = format!("{known}; bars are checked one by one: PUT /v1/bars/{{series}}/{{interval}}");
        return Refused::parameter(StatusCode::FORBIDDEN, "region", name, allowed);
    }
    if RegionName::ALL.into_iter().any(|market| market.as_str() == name) {
        let allowed = format!("{known}; {name} holds what its sources answered, which a client may not set");
        return Refused::parameter(StatusCode::FORBIDDEN, "region", name, allowed);
    }
    let allowed = format!("{known}, or one that the configuration declares with [regions.NAME]");
    Refused::parameter(StatusCode::NOT_FOUND, "region", name, allowed)
}

pub(crate) async fn get(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    let place = Place::of(&app, &uri)?;
    Parameters::read_none(uri.query())?;
    let kept = place.kept().await;
    stored_value::count(place.region, kept.as_ref().ok().and_then(Option::as_ref));
    match kept {
        Ok(Some(kept)) => Ok(stored_value::respond(&kept, &headers).await),
        Err(why) => {
            let what = format!("a value of the region {} under {:?}", place.region.name(), place.shown());
            Ok(stored_value::unknown(&what, &why))
        }
        Ok(None) => Ok(place.absent()),
    }
}

/// The answer to a `GET` of a value that memory holds fresh. Any other answer is for [`get`] to give, behind the router.
pub(crate) fn fresh<B>(app: &App, request: &Request<B>) -> Option<Reply> {
    let uri = request.uri();
    // The router finds no path with more parts.
    let (_, key) = uri.path().strip_prefix(PREFIX)?.split_once('/')?;
    if key.contains('/') || Parameters::read_none(uri.query()).is_err() || app.admin.refusal(request).is_some() {
        return None;
    }
    let place = Place::of(app, uri).ok()?;
    let kept = stored_value::fresh_in_memory(place.region, &place.key).filter(|_| place.region.is_enabled())?;
    let reply = stored_value::respond_at_once(&kept, request.headers())?;
    stored_value::count(place.region, Some(&kept));
    Some(reply)
}

pub(crate) async fn put(State(app): State<Arc<App>>, request: extract::Request) -> Answered {
    stored_value::admit(&app, request.headers())?;
    let uri = request.uri().clone();
    let place = Place::of(&app, &uri)?;
    let mut loaded = Parameters::read(uri.query(), &["fresh_for", "ttl", "tags"])?.to_keep()?;
    let content_type = content_type(request.headers())?;
    let conditions = request.headers().clone();
    let body = stored_value::body(&app, request).await?;
    let is_storable = stored_value::check_room(&app, &body)?;
    let etag = EntityTag::of_value(&content_type, &body);
    loaded.value.meta = content_type.to_str().ok().map(Into::into);
    loaded.value.body = body;
    let held = app.changing.lock(&place.name()).await;
    let was_there = if is_conditional(&conditions) {
        if !is_storable && app.cache.shared_store().is_some() {
            return Err(too_large_for_a_condition(&app));
        }
        let holds = holds(conditions.clone());
        outcome(&conditions, place.region.put_if(&place.key, loaded, holds).await)?
    } else {
        let was_there = place.is_there().await.unwrap_or(false);
        place.region.put(&place.key, loaded).await;
        was_there
    };
    drop(held);
    let stored = stored_value::stored(was_there, &etag);
    match is_storable {
        true => Ok(stored_value::confirmed(&app, place.region, &place.key, None, stored).await),
        false => Ok(stored_value::in_memory_alone(stored)),
    }
}

fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH)
}

fn holds(conditions: HeaderMap) -> impl Fn(Option<&Answer>) -> bool + Send + Sync + 'static {
    move |there| check(&conditions, there).is_ok()
}

/// Whether there was a value before a change on a condition; why it was not made, if it was not.
fn outcome(conditions: &HeaderMap, changed: Result<Conditional, StoreError>) -> Result<bool, Refused> {
    match changed {
        Ok(Conditional::Made { was_there }) => Ok(was_there),
        Ok(Conditional::Unmet(there)) => Err(check(conditions, there.as_ref()).err().unwrap_or_else(|| {
            Refused::new(StatusCode::PRECONDITION_FAILED, "The condition did not hold when it was looked at.")
        })),
        Err(why) => Err(stored_value::undecided(&why)),
    }
}

fn too_large_for_a_condition(app: &App) -> Refused {
    let largest = app.cache.largest().in_store.unwrap_or_default();
    let detail = format!(
        "The store, which decides about conditions, takes values of at most {largest} bytes. Split the value, or leave the \
         condition out: then this gateway alone keeps it, in memory."
    );
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, &detail)
}

pub(crate) async fn delete(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    stored_value::admit(&app, &headers)?;
    let place = Place::of(&app, &uri)?;
    Parameters::read_none(uri.query())?;
    let held = app.changing.lock(&place.name()).await;
    let (was_there, unreached) = if is_conditional(&headers) {
        let holds = holds(headers.clone());
        (outcome(&headers, place.region.remove_if(&place.key, holds).await)?, None)
    } else {
        // Without an answer of the store it may hold the value; a removal that waits already is known.
        let (was_there, unreached) = match place.is_there().await {
            Ok(was_there) => (was_there, None),
            Err(why) => (false, Some(why)),
        };
        place.region.remove(&place.key).await;
        (was_there, unreached)
    };
    drop(held);
    if !was_there && unreached.is_none() {
        return Ok(place.absent());
    }
    Ok(stored_value::confirmed(&app, place.region, &place.key, unreached, stored_value::gone()).await)
}

/// Whether the conditions of a write hold (RFC 9110, 13.1).
fn check(asked: &HeaderMap, there: Option<&Answer>) -> Result<(), Refused> {
    let prepared = there.map(stored_value::prepared);
    let etag = prepared.as_ref().and_then(|prepared| prepared.etag.as_ref());
    let is_named = |header, comparison| etag.is_some_and(|etag| etag.is_named(asked, header, comparison));
    let failed = |detail: &str| Err(Refused::new(StatusCode::PRECONDITION_FAILED, detail));
    if asked.contains_key(IF_MATCH) && !is_named(&IF_MATCH, Comparison::Strong) {
        return failed(match etag {
            Some(_) => "The value is another one by now: If-Match does not name its ETag. Read it again.",
            None => "There is no value that If-Match could name.",
        });
    }
    if asked.contains_key(IF_NONE_MATCH) && is_named(&IF_NONE_MATCH, Comparison::Weak) {
        return failed("There is a value already, and If-None-Match says that there must not be.");
    }
    Ok(())
}

fn content_type(headers: &HeaderMap) -> Result<HeaderValue, Refused> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(BYTES) };
    let sound = |text: &&str| text.len() <= LONGEST_TYPE && stored_value::is_media_type(text);
    match given.to_str().ok().filter(sound) {
        Some(_) => Ok(given.clone()),
        None => {
            let (shown, allowed) = (String::from_utf8_lossy(given.as_bytes()), "a media type such as application/json");
            Err(Refused::parameter(StatusCode::BAD_REQUEST, "Content-Type", &shown, allowed))
        }
    }
}
