//! Hits that are answered ahead of router and middleware, and without a future: targets of the exchange that memory has
//! answered before, values of applications and answers of declared routes that it holds fresh.
//!
//! Each is answered, counted, timed, logged and refused to other origins as by the slow path. Any other request takes that.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request};
use http_body::Body;

use crate::app::{App, Counts};
use crate::durations::Timed;
use crate::exchange::ready::{Target, Targets};
use crate::query::target;
use crate::response::payload::Reply;
use crate::{kv, middleware};

/// The answer to a request; else the known facts of its target, for the slow path.
pub(crate) fn answer<B: Body>(
    app: &App,
    targets: &Targets,
    peer: SocketAddr,
    request: &Request<B>,
) -> Result<Reply, Option<Arc<Target>>> {
    let (path, target) = (request.uri().path(), target(request.uri()));
    if target.len() as u64 > app.limits.max_url_bytes {
        return Err(None);
    }
    let known = targets.get(target);
    // A body is the slow path's to refuse or to drop.
    if request.method() != Method::GET || !request.body().is_end_stream() {
        return Err(known);
    }
    let timed = Timed::begin(path, known.is_some());
    let found = match &known {
        Some(target) => target.repeat(app, request),
        None => kv::fresh(app, request).or_else(|| app.known_targets.answer(request)),
    };
    let Some(mut reply) = found else { return Err(known) };
    Counts::add(&app.counts.requests, 1);
    if middleware::logs_requests(app) {
        middleware::log(app, peer, request.method(), path, &reply, timed.elapsed());
    }
    if let Some(allowed) = app.cors.judge(request) {
        allowed.add_to(reply.headers_mut());
    }
    app.durations.note(timed, reply.status());
    Ok(reply)
}
