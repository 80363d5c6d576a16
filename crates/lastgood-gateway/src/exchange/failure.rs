//! Errors in the exchange's own shape.

use axum::response::Response;
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};
use lastgood::{Error, Reason};
use lastgood_market::upstream::{BadBody, Unanswered};
use lastgood_market::{ExchangeError, PassOnly, Venue};

use super::answer::state_weight;
use crate::app::App;
use crate::places::Full;
use crate::response::label::{CACHE_STATUS, X_CACHE, label_failure};
use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// The answer when there is neither a fresh nor a last good one: the exchange's own words where it had any.
pub(super) fn fail(app: &App, venue: impl Into<Option<Venue>>, error: &Error) -> Response {
    let mut response = relayed(error).unwrap_or_else(|| shaped(&exchange_error(app, error)));
    let headers = response.headers_mut();
    label_failure(headers, error);
    if let Some(venue) = venue.into() {
        state_weight(headers, app, venue, app.clock.now());
    }
    response
}

/// The exchange's own error answer: its status stands before its content type in the meta.
fn relayed(error: &Error) -> Option<Response> {
    let answer = error.answer.as_ref()?;
    let (status, content_type) = answer.meta.as_deref()?.split_once(' ')?;
    let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(|status| !status.is_success())?;
    let content_type = HeaderValue::from_str(content_type).ok()?;
    Some(plain(status, content_type, answer.body.clone()))
}

fn exchange_error(app: &App, error: &Error) -> ExchangeError {
    let until = app.clock.now().plus(error.retry_after.unwrap_or_default()).as_millis();
    match error.reason {
        Reason::Banned => ExchangeError::new(
            418,
            -1003,
            format!(
                "Way too much request weight used; IP banned until {until}. (lastgood has no earlier answer at hand)"
            ),
        ),
        Reason::RateLimited => ExchangeError::new(
            429,
            -1003,
            "Too much request weight used; lastgood is waiting as the exchange asks, and has no earlier answer at hand.",
        ),
        Reason::Overloaded => ExchangeError::new(
            503,
            -1008,
            "Server is currently overloaded with other requests. (lastgood: too many loads at once)",
        ),
        Reason::TimedOut => ExchangeError::new(
            504,
            -1007,
            format!("Timeout waiting for response from the exchange. (lastgood: {})", error.message),
        ),
        _ => ExchangeError::new(
            503,
            -1001,
            format!("The exchange gave no usable answer, and lastgood keeps no earlier one: {}.", error.message),
        ),
    }
}

fn shaped(error: &ExchangeError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    plain(status, JSON, error.body().into())
}

/// An error about the request, with the headers that every answer has.
fn refused(app: &App, venue: Option<Venue>, error: &ExchangeError, detail: &'static str) -> Response {
    let mut response = shaped(error);
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static("PASS"));
    headers.insert(CACHE_STATUS, HeaderValue::from_static(detail));
    if let Some(venue) = venue {
        state_weight(headers, app, venue, app.clock.now());
    }
    response
}

/// A part of the exchange that has no host here: another exchange's than that of the markets is never taken instead.
pub(super) fn no_upstream(part: PassOnly) -> Response {
    let (path, key) = match part {
        PassOnly::Options => ("/eapi", "binance.options_url"),
        PassOnly::Portfolio => ("/papi", "binance.portfolio_url"),
    };
    shaped(&ExchangeError::new(
        404,
        -1000,
        format!("lastgood passes {path} on only where it knows the exchange's host for it; set {key}."),
    ))
}

/// A path that different programs would read differently is not passed on.
pub(super) fn illegal_path(venue: Option<Venue>, app: &App) -> Response {
    let error = ExchangeError::new(400, -1100, "Illegal characters found in the path.");
    refused(app, venue, &error, "lastgood; detail=refused")
}

/// A request that was passed on and not answered. An order's fate may be unknown, and the answer says so.
pub(super) fn unanswered(app: &App, venue: Option<Venue>, why: &Unanswered) -> Response {
    let error = match why {
        Unanswered::HeldBack(error) => return fail(app, venue, error),
        Unanswered::NotSent(why) => {
            ExchangeError::new(503, -1001, format!("The request was not sent to the exchange: {why}."))
        }
        Unanswered::BadBody(BadBody::TooLarge) => return too_large(app, venue),
        Unanswered::BadBody(BadBody::BrokeOff) => {
            let message = "The body of the request breaks off; it was not acted upon. (lastgood)";
            ExchangeError::new(400, -1100, message)
        }
        Unanswered::BadBody(BadBody::TooSlow) => {
            let message = "The body of the request did not arrive within limits.request_timeout. (lastgood)";
            ExchangeError::new(408, -1100, message)
        }
        Unanswered::Unknown(why) => ExchangeError::new(
            504,
            -1007,
            format!(
                "Timeout waiting for response from backend server. Send status unknown; execution status unknown. (lastgood: {why})"
            ),
        ),
    };
    refused(app, venue, &error, "lastgood; fwd=bypass; detail=unanswered")
}

/// A request that was not passed on because too many wait already.
pub(super) fn full(app: &App, venue: Option<Venue>, full: Full) -> Response {
    let error = ExchangeError::new(503, -1008, full.detail());
    refused(app, venue, &error, "lastgood; detail=overloaded")
}

/// A body above the limit.
pub(super) fn too_large(app: &App, venue: Option<Venue>) -> Response {
    let limit = app.limits.max_body_bytes;
    let error = ExchangeError::new(413, -1100, format!("The body is larger than limits.max_body_bytes, {limit}."));
    refused(app, venue, &error, "lastgood; detail=refused")
}

/// `CONNECT` asks a proxy for a tunnel, and no exchange would know what to do with it.
pub(super) fn no_tunnel(app: &App, venue: Option<Venue>) -> Response {
    let error = ExchangeError::new(405, -1000, "CONNECT is not passed on; lastgood is no proxy for tunnels.");
    let mut response = refused(app, venue, &error, "lastgood; detail=refused");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
    response
}
