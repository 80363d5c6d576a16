//! The drop-in exchange API: one handler for all of its paths.

use std::sync::Arc;

use axum::response::Response;
use http::uri::PathAndQuery;
use http::{Method, Request};
use hyper::body::Incoming;
use lastgood::BypassReason;
use lastgood_market::Venue;
use lastgood_market::plan::{self, Plan};

use crate::app::{App, Counts};
use crate::response::label::Accepts;
use crate::streams;

mod answer;
mod cached;
mod candles;
mod failure;
mod list;
pub(crate) mod packed;
mod part;
mod pass;

use self::answer::respond_local;
use self::cached::cached;

/// Answers a request to the exchange, from the cache or by passing it through.
pub(crate) async fn exchange(app: &App, venue: Venue, request: Request<Incoming>) -> Response {
    if !is_plain(request.uri().path()) {
        return failure::illegal_path(venue, app);
    }
    let planned = planned(app, venue, &request);
    match &*planned {
        Plan::Pass(reason) => pass::forward(app, venue, request, *reason).await,
        _ if !app.cache.is_enabled() => pass::forward(app, venue, request, BypassReason::Disabled).await,
        Plan::Local(body) => {
            Counts::add(&app.counts.local, 1);
            Counts::add(&app.counts.weight_asked, 1);
            respond_local(app, venue, body)
        }
        Plan::Candles(question) => {
            Counts::add(&app.counts.weight_asked, u64::from(question.direct.weight));
            candles::candles(app, venue, question, Accepts::of(request.headers())).await
        }
        Plan::Cached(line) => {
            // A ticker that is asked for is worth a stream.
            if streams::is_ticker(line.question()) {
                app.streams.note(line.question());
            }
            Counts::add(&app.counts.weight_asked, u64::from(line.question().weight));
            cached(app, venue, line, Accepts::of(request.headers())).await
        }
    }
}

fn planned(app: &App, venue: Venue, request: &Request<Incoming>) -> Arc<Plan> {
    let uri = request.uri();
    let time_unit = request.headers().get("x-mbx-time-unit");
    let asked = plan::Request {
        is_get: request.method() == Method::GET,
        path: uri.path(),
        query: uri.query().unwrap_or(""),
        // What is no text is no unit either, and the exchange's to refuse.
        time_unit: time_unit.map(|unit| unit.to_str().unwrap_or("?")),
        binary: request.headers().contains_key("x-mbx-sbe"),
    };
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    app.plans.plan(venue, target, asked)
}

/// Whether a path means the same to everybody: no empty, `.` or `..` segment, in any encoding.
fn is_plain(path: &str) -> bool {
    // Nothing to decode, and no segment that is empty or of dots: every path that clients really ask for.
    if path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/')
        && !path.contains("//")
        && !path.ends_with('/')
    {
        return true;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    !decoded.contains(['\\', '\0', '%'])
        && decoded.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_paths_are_not_plain() {
        assert!(is_plain("/api/v3/ticker/price"));
        for path in [
            "/api//v3/time",
            "/api/v3/",
            "/api/../fapi/v1/time",
            "/api/%2e%2e/x",
            "/api/v3/%2E./x",
            "/api/v3/a%5cb",
            "/api/v3/%252e%252e/x",
            "/api/v3/a%00",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
