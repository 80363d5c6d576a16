//! Who may store a value of an application, and what a request may say of it.

use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::Loaded;

use crate::app::App;
use crate::body;
use crate::problem::Refused;
use crate::query::Parameters;

const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 256;
/// Bounds of `fresh_for` and `ttl`.
const SHORTEST_LIFE: Duration = Duration::from_millis(1);
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Lets in clients that may change values.
pub(crate) fn admit(app: &App, headers: &HeaderMap) -> Result<(), Refused> {
    app.admin.admit(headers).map_err(Refused::from)
}

impl Parameters {
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
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    Ok(largest.in_store.is_none_or(|largest| size <= largest))
}

/// The body of a request, within the limits of size and time.
pub(crate) async fn body(app: &App, request: Request) -> Result<Bytes, Refused> {
    is_the_value(request.headers())?;
    let read = body::read(app, request, app.limits.max_body_bytes, "limits.max_body_bytes").await;
    read.map_err(|(status, detail)| Refused::new(status, &detail))
}

/// Refuses a body that is encoded, since its readers would not hear of that, and a part, which would replace the whole.
fn is_the_value(headers: &HeaderMap) -> Result<(), Refused> {
    let is_sent = |name| headers.get(name).is_some_and(|value: &HeaderValue| value != "identity");
    if is_sent(CONTENT_ENCODING) {
        let detail = "A value is kept as it is sent, without its Content-Encoding; send it as it is.";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if is_sent(CONTENT_RANGE) {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "A value is put as a whole, and this is a part of one."));
    }
    Ok(())
}

/// Whether a text is a media type, with or without parameters.
pub(crate) fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().split_once('/').is_some_and(|(kind, of)| is_token(kind) && is_token(of))
}
