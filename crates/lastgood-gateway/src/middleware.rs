//! What every request passes, outermost first: the count, the limits, the log line.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use lastgood_market::ExchangeError;
use tokio::time::Instant;

use crate::app::{App, Counts};
use crate::exchange::ExchangeApi;
use crate::peer;
use crate::problem;
use crate::response::payload::{Payload, Reply};
use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// Counts a request and lets it in if its URL is short enough. A place it needs only where it waits: see [`crate::places`].
pub(crate) async fn admit(
    app: &App,
    peer: SocketAddr,
    request: Request<Incoming>,
    next: impl AsyncFnOnce(Request<Incoming>) -> Reply,
) -> Reply {
    Counts::add(&app.counts.requests, 1);
    let length = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if length as u64 > app.limits.max_url_bytes {
        let detail = format!("The URL has {length} bytes; limits.max_url_bytes is {}.", app.limits.max_url_bytes);
        return refuse(request.uri().path(), StatusCode::URI_TOO_LONG, &detail).map(Payload::from);
    }
    let Some(allowed) = app.cors.judge(&request) else { return logged(app, peer, request, next).await };
    let mut reply = match allowed.preflight(&request) {
        Some(answer) => answer.map(Payload::from),
        None => logged(app, peer, request, next).await,
    };
    allowed.add_to(reply.headers_mut());
    reply
}

/// Answers a request, and says so in the log where it is wanted.
async fn logged(
    app: &App,
    peer: SocketAddr,
    request: Request<Incoming>,
    next: impl AsyncFnOnce(Request<Incoming>) -> Reply,
) -> Reply {
    if !logs_requests(app) {
        return next(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = Instant::now();
    let reply = next(request).await;
    log(app, peer, &method, &path, &reply, started.elapsed());
    reply
}

/// Whether each request is logged: in the access log, or for debugging.
pub(crate) fn logs_requests(app: &App) -> bool {
    app.access_log.load(Ordering::Relaxed) || tracing::enabled!(tracing::Level::DEBUG)
}

/// Logs a request that has its answer. The query stays out of the log: it may be signed.
pub(crate) fn log(app: &App, peer: SocketAddr, method: &Method, path: &str, reply: &Reply, took: Duration) {
    let took = took.as_micros() as f64 / 1e3;
    let cache = reply.headers().get("x-cache").and_then(|value| value.to_str().ok());
    let status = reply.status().as_u16();
    if app.access_log.load(Ordering::Relaxed) {
        let client = peer::shown(peer);
        tracing::info!(target: "lastgood::access", client, %method, path, status, cache, took_ms = took, "answered");
    } else {
        tracing::debug!(%method, path, status, cache, took_ms = took, "answered");
    }
}

/// A refusal in the shape that the path's users expect.
fn refuse(path: &str, status: StatusCode, detail: &str) -> Response {
    match ExchangeApi::of(path, "") {
        Some(_) => {
            let error = ExchangeError::new(status.as_u16(), -1008, detail);
            plain(status, JSON, error.body().into())
        }
        None => problem::problem(status, detail),
    }
}
