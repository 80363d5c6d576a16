//! Requests that are the client's and the exchange's alone: streamed through, byte for byte, never kept.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use lastgood::BypassReason;
use lastgood_market::plan::is_signed;
use lastgood_market::upstream::{RequestBody, Unanswered, strip_hop_by_hop};
use lastgood_market::{PassOnly, Venue};

use super::failure;
use crate::admin;
use crate::app::{App, Counts};
use crate::response::NO_PAGE;
use crate::response::label::{CACHE_STATUS, X_CACHE};

/// Sends a request on and its answer back. Nothing is retried, nothing is queued. A pause or a ban of the exchange holds
/// it back unless it is signed.
pub(super) async fn forward(app: &App, venue: Venue, request: Request<Incoming>, reason: BypassReason) -> Response {
    passed(app, To::Market(venue), request, reason).await
}

/// As [`forward`], to a part of the exchange that nothing is cached of.
pub(super) async fn forward_only(
    app: &App,
    part: PassOnly,
    request: Request<Incoming>,
    reason: BypassReason,
) -> Response {
    if !app.upstreams.passes(part) {
        return failure::no_upstream(part);
    }
    passed(app, To::PassOnly(part), request, reason).await
}

/// What is wrong with the body that a client sent.
#[derive(Clone, Copy, PartialEq)]
enum BadBody {
    TooLarge,
    BrokeOff,
}

/// Whom a request is passed to.
#[derive(Clone, Copy)]
enum To {
    Market(Venue),
    PassOnly(PassOnly),
}

impl To {
    fn venue(self) -> Option<Venue> {
        match self {
            To::Market(venue) => Some(venue),
            To::PassOnly(_) => None,
        }
    }

    async fn send(self, app: &App, request: Request<RequestBody>) -> Result<http::Response<Incoming>, Unanswered> {
        let (method, uri) = (request.method().as_str(), request.uri());
        let has_key = request.headers().get("x-mbx-apikey").is_some_and(|key| !key.is_empty());
        let is_signed = is_signed(method, uri.path(), uri.query().unwrap_or_default(), has_key);
        match self {
            To::Market(venue) => app.upstreams.forward(venue, request, is_signed).await,
            To::PassOnly(part) => app.upstreams.forward_only(part, request, is_signed).await,
        }
    }
}

async fn passed(app: &App, to: To, request: Request<Incoming>, reason: BypassReason) -> Response {
    if request.method() == Method::CONNECT {
        return failure::no_tunnel(app, to.venue());
    }
    Counts::add(&app.counts.passed, 1);
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > app.limits.max_body_bytes) {
        return failure::too_large(app, to.venue());
    }
    let mut request = request;
    admin::strip(request.headers_mut());
    let most = usize::try_from(app.limits.max_body_bytes).unwrap_or(usize::MAX);
    let fault = Arc::new(OnceLock::new());
    // An empty body stays what it is, so that it can be sent again to another base.
    let request = match http_body::Body::is_end_stream(request.body()) {
        true => request.map(|_| RequestBody::new(Empty::new().map_err(|never| match never {}))),
        false => {
            let noted = Arc::clone(&fault);
            let note = move |why: axum::BoxError| {
                let _ = noted.set(if why.is::<LengthLimitError>() { BadBody::TooLarge } else { BadBody::BrokeOff });
                why
            };
            request.map(|body| RequestBody::new(Limited::new(body, most).map_err(note)))
        }
    };
    let sent = tokio::time::timeout(app.limits.request_timeout, to.send(app, request)).await;
    let answered =
        sent.unwrap_or_else(|_| Err(Unanswered::Unknown("no answer within limits.request_timeout".to_owned())));
    match answered {
        Ok(response) => label(response.map(Body::new), reason),
        // Held back here: nothing failed.
        Err(why @ Unanswered::HeldBack(_)) => failure::unanswered(app, to.venue(), &why),
        // The exchange got no whole request, and so could not act upon it.
        Err(_) if fault.get() == Some(&BadBody::TooLarge) => failure::too_large(app, to.venue()),
        Err(_) if fault.get() == Some(&BadBody::BrokeOff) => failure::broke_off(app, to.venue()),
        Err(why) => {
            Counts::add(&app.counts.pass_failures, 1);
            failure::unanswered(app, to.venue(), &why)
        }
    }
}

/// Status, body and headers are the exchange's; what is added says only that they were passed, and why.
fn label(mut response: Response, reason: BypassReason) -> Response {
    let headers = response.headers_mut();
    strip_hop_by_hop(headers);
    headers.insert(X_CACHE, HeaderValue::from_static("PASS"));
    let status = format!("lastgood; fwd=bypass; detail={}", reason.as_str());
    headers.insert(CACHE_STATUS, HeaderValue::try_from(status).unwrap_or(HeaderValue::from_static("lastgood")));
    // Whatever an upstream sends, a firewall's page included, must not act as a page of this gateway.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, NO_PAGE);
    // A market answer that passes because the cache is off is as public as ever.
    if reason != BypassReason::Disabled {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
