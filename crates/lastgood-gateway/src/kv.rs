//! `/v1/kv/{region}/{key}`: bytes that applications keep, and their last good ones.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use lastgood::Region;
use lastgood_market::RegionName;

use crate::app::App;
use crate::problem;
use crate::values::{self, Answered, BYTES, Kept, Parameters, Refused};

pub(crate) mod lanes;

const PREFIX: &str = "/v1/kv/";
const LONGEST_KEY: usize = 512;
/// The longest content type that is kept.
const LONGEST_TYPE: usize = 255;

/// Where a value lies.
struct Place {
    region: Region,
    key: String,
}

impl Place {
    fn of(app: &App, uri: &Uri) -> Result<Place, Refused> {
        let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (region, key) = path.split_once('/').unwrap_or((path, ""));
        let name = values::decoded(region).unwrap_or_default();
        let Some(region) = app.application_region(&name) else {
            return Err(no_region(app, &name));
        };
        let sound = |key: &String| !key.is_empty() && key.len() <= LONGEST_KEY && !key.chars().any(char::is_control);
        let Some(decoded) = values::decoded(key).filter(sound) else {
            let allowed = format!("1 to {LONGEST_KEY} bytes of text without control characters, percent-encoded");
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "key", key, allowed));
        };
        Ok(Place { region: region.clone(), key: decoded })
    }

    async fn kept(&self, app: &App) -> Option<Kept> {
        values::kept(app, &self.region, &self.key).await
    }

    fn absent(&self) -> Response {
        let shown: String = self.key.chars().take(64).collect();
        let detail = format!("The region {} holds nothing under {shown:?}.", self.region.name());
        values::absent(problem::problem(StatusCode::NOT_FOUND, &detail))
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
        let allowed = format!("{known}; {name} holds what its sources answered, which nobody may make up");
        return Refused::parameter(StatusCode::FORBIDDEN, "region", name, allowed);
    }
    let allowed = format!("{known}, or one that the configuration declares with [regions.NAME]");
    Refused::parameter(StatusCode::NOT_FOUND, "region", name, allowed)
}

pub(crate) async fn get(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    let place = Place::of(&app, &uri)?;
    Parameters::read_none(uri.query())?;
    let kept = place.kept(&app).await;
    values::count(&place.region, kept.as_ref());
    match kept {
        Some(kept) => Ok(values::respond(&kept, &headers).await),
        None => Ok(place.absent()),
    }
}

pub(crate) async fn put(State(app): State<Arc<App>>, request: Request) -> Answered {
    values::admit(&app, request.headers())?;
    let place = Place::of(&app, request.uri())?;
    let mut loaded = Parameters::read(request.uri().query(), &["fresh_for", "ttl", "tags"])?.to_keep()?;
    let content_type = content_type(request.headers())?;
    let conditions = request.headers().clone();
    let body = values::body(&app, request).await?;
    let is_storable = values::check_room(&app, &body)?;
    let etag = values::etag(&content_type, &body);
    loaded.value.meta = content_type.to_str().ok().map(Into::into);
    loaded.value.body = body;
    let _turn = app.kv.enter(place.region.name(), &place.key).await;
    let kept = place.kept(&app).await;
    check(&conditions, kept.as_ref())?;
    if !app.cache.is_enabled() {
        return Ok(values::passed());
    }
    place.region.put(&place.key, loaded).await;
    let stored = values::stored(kept.is_some(), &etag);
    Ok(if is_storable { stored } else { values::in_memory_alone(stored) })
}

pub(crate) async fn delete(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    values::admit(&app, &headers)?;
    let place = Place::of(&app, &uri)?;
    Parameters::read_none(uri.query())?;
    let _turn = app.kv.enter(place.region.name(), &place.key).await;
    let kept = place.kept(&app).await;
    check(&headers, kept.as_ref())?;
    place.region.remove(&place.key).await;
    match kept {
        Some(_) => Ok(values::gone()),
        None => Ok(place.absent()),
    }
}

/// Whether the conditions of a write hold (RFC 9110, 13.1).
fn check(asked: &HeaderMap, kept: Option<&Kept>) -> Result<(), Refused> {
    let etag = kept.map(Kept::etag);
    let is_named = |header, weak_too| match &etag {
        Some(etag) => values::names(asked, header, etag, weak_too),
        None => false,
    };
    let failed = |detail: &str| Err(Refused::problem(StatusCode::PRECONDITION_FAILED, detail));
    if asked.contains_key(IF_MATCH) && !is_named(&IF_MATCH, false) {
        return failed(match etag {
            Some(_) => "The value is another one by now: If-Match does not name its ETag. Read it again.",
            None => "There is no value that If-Match could name.",
        });
    }
    if asked.contains_key(IF_NONE_MATCH) && is_named(&IF_NONE_MATCH, true) {
        return failed("There is a value already, and If-None-Match says that there must not be.");
    }
    Ok(())
}

fn content_type(headers: &HeaderMap) -> Result<HeaderValue, Refused> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(BYTES) };
    let sound = |text: &&str| text.len() <= LONGEST_TYPE && values::is_media_type(text);
    match given.to_str().ok().filter(sound) {
        Some(_) => Ok(given.clone()),
        None => {
            let (shown, allowed) = (String::from_utf8_lossy(given.as_bytes()), "a media type such as application/json");
            Err(Refused::parameter(StatusCode::BAD_REQUEST, "Content-Type", &shown, allowed))
        }
    }
}
