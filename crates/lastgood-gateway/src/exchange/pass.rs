//! Requests that are the client's and the exchange's alone: streamed through, byte for byte, never kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use lastgood::BypassReason;
use lastgood_market::plan::is_signed;
use lastgood_market::upstream::{PassedBy, RequestBody, Unanswered, Upstreams, strip_hop_by_hop};
use lastgood_market::{PassOnly, Venue};
use tokio::time::{Instant, Sleep};

use super::failure;
use crate::activity::Streamed;
use crate::admin;
use crate::app::{App, Counts};
use crate::places::Place;
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
    if !app.engine.upstreams.passes(part) {
        return failure::no_upstream(part);
    }
    passed(app, To::PassOnly(part), request, reason).await
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
        let within = app.limits.request_timeout;
        match self {
            To::Market(venue) => app.engine.upstreams.forward(venue, request, is_signed, within).await,
            To::PassOnly(part) => app.engine.upstreams.forward_only(part, request, is_signed, within).await,
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
    let places = match app.places.pass() {
        Ok(places) => places,
        Err(full) => return failure::full(app, to.venue(), full),
    };
    let most = usize::try_from(app.limits.max_body_bytes).unwrap_or(usize::MAX);
    // An empty body stays what it is, so that it can be sent again to another host.
    let request = match http_body::Body::is_end_stream(request.body()) {
        true => request.map(|_| RequestBody::new(Empty::new().map_err(|never| match never {}))),
        false => request.map(|body| RequestBody::new(Limited::new(body, most))),
    };
    match to.send(app, request).await {
        Ok(response) => {
            let streamed = Streamed::default();
            let mut response = response;
            let by = response.extensions_mut().remove::<Option<PassedBy>>().flatten();
            let end = End { upstreams: Arc::clone(&app.engine.upstreams), by };
            let body = |body| Passing::of(body, app.limits.request_timeout, places, streamed.clone(), end);
            let mut response = label(response.map(body), reason);
            response.extensions_mut().insert(streamed);
            response
        }
        // Held back here: nothing failed.
        Err(why @ Unanswered::HeldBack(_)) => failure::unanswered(app, to.venue(), &why),
        Err(why) => {
            Counts::add(&app.counts.pass_failures, 1);
            failure::unanswered(app, to.venue(), &why)
        }
    }
}

/// Takes note of how an answer's body ended, once. A client that leaves before says nothing of the host.
struct End {
    upstreams: Arc<Upstreams>,
    by: Option<PassedBy>,
}

impl End {
    fn note(&mut self, is_whole: bool) {
        if let Some(by) = self.by.take() {
            self.upstreams.body_ended(by, is_whole);
        }
    }
}

/// An answer's body on its way. It has its request's places until it ends, and ends where the exchange falls silent.
struct Passing {
    body: Incoming,
    end: End,
    within: Duration,
    silent: Pin<Box<Sleep>>,
    _places: (Place, Place),
    _streamed: Streamed,
}

impl Passing {
    fn of(body: Incoming, within: Duration, places: (Place, Place), streamed: Streamed, mut end: End) -> Body {
        let silent = Box::pin(tokio::time::sleep(within));
        if body.is_end_stream() {
            end.note(true);
        }
        Body::new(Passing { body, end, within, silent, _places: places, _streamed: streamed })
    }
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                let until = Instant::now() + self.within;
                self.silent.as_mut().reset(until);
                match &frame {
                    Some(Err(_)) => self.end.note(false),
                    None => self.end.note(true),
                    Some(Ok(_)) if self.body.is_end_stream() => self.end.note(true),
                    Some(Ok(_)) => {}
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let silent = self.silent.as_mut().poll(context);
                if silent.is_ready() {
                    self.end.note(false);
                }
                silent.map(|()| Some(Err("the exchange fell silent".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Of an answer's head is passed back what describes its body and its age, and what a client of the exchange goes by. All
/// else is of the exchange's own site (which pages may read there, what a browser is to keep, how it is to be reached), or a command
/// to a proxy: said under this host it would be about this machine.
fn keep_the_answers_own(headers: &mut HeaderMap) {
    const OF_THE_ANSWER: [&str; 21] = [
        "accept-ranges",
        "age",
        "allow",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "pragma",
        "retry-after",
        "server",
        "vary",
        "x-request-id",
        "x-response-time",
    ];
    const PREFIXES: [&str; 4] = ["x-mbx-", "x-sapi-", "x-fapi-", "x-dapi-"];
    let is_kept = |name: &str| OF_THE_ANSWER.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let others: Vec<HeaderName> = headers.keys().filter(|name| !is_kept(name.as_str())).cloned().collect();
    others.iter().for_each(|name| _ = headers.remove(name));
}

/// Status and body are the exchange's, and of the headers what describes them; the added ones say only that they were passed, and why.
fn label(mut response: Response, reason: BypassReason) -> Response {
    let headers = response.headers_mut();
    strip_hop_by_hop(headers);
    keep_the_answers_own(headers);
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
