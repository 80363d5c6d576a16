//! The drop-in exchange API: one handler for all of its paths.

use std::sync::Arc;

use http::{HeaderName, Method, Request};
use hyper::body::Incoming;
use lastgood::BypassReason;
use lastgood_market::engine::Asked;
use lastgood_market::plan::{self, Plan};
use lastgood_market::{PassOnly, Venue};

use crate::app::{App, Counts};
use crate::query::target;
use crate::response::payload::{Payload, Reply};

mod answer;
mod cached;
mod candles;
mod failure;
mod part;
mod pass;
pub(crate) mod ready;

use self::answer::respond_local;
use self::cached::cached;
use self::ready::{Target, Targets};

const TIME_UNIT: HeaderName = HeaderName::from_static("x-mbx-time-unit");
const SBE: HeaderName = HeaderName::from_static("x-mbx-sbe");

/// An API of the exchange.
pub(crate) enum ExchangeApi {
    /// A market, cached where it can be.
    Market(Venue),
    /// One of which nothing is cached.
    PassOnly(PassOnly),
}

impl ExchangeApi {
    /// The API that a path belongs to; `None` for the gateway's own paths. Below `/api` only the paths with a version are
    /// the exchange's: the Cache API and the declared routes are there too, and no spelling of theirs may reach it.
    pub(crate) fn of(path: &str, query: &str) -> Option<ExchangeApi> {
        let has_no_version = |below: &str| !is_version(below.split('/').next().unwrap_or_default());
        if path.strip_prefix("/api/").is_some_and(has_no_version) {
            return None;
        }
        let market = Venue::of(path, query).map(ExchangeApi::Market);
        market.or_else(|| PassOnly::of(path).map(ExchangeApi::PassOnly))
    }
}

/// `v3` and the like. What only begins so is a slip, and a slip may carry the admin token.
fn is_version(part: &str) -> bool {
    let digits = part.strip_prefix('v').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Answers a request to the exchange, from the cache or by passing it through. `known` holds the known facts of its
/// target.
pub(crate) async fn exchange(
    app: &App,
    targets: &Targets,
    venue: Venue,
    mut request: Request<Incoming>,
    known: Option<Arc<Target>>,
) -> Reply {
    if !is_plain(request.uri().path()) {
        return failure::illegal_path(Some(venue), app).map(Payload::from);
    }
    let (planned, target) = planned(app, targets, venue, &request, known);
    match &*planned {
        Plan::Pass(reason) => passed(app, venue, request, *reason).await,
        _ if !app.cache.is_enabled() => passed(app, venue, request, BypassReason::Disabled).await,
        Plan::Local(body) => {
            Counts::add(&app.counts.local, 1);
            Counts::add(&app.counts.weight_asked, 1);
            respond_local(app, venue, body)
        }
        Plan::Candles(question) => {
            cached(app, venue, Asked::Candles(question), std::mem::take(request.headers_mut()), target.as_deref()).await
        }
        Plan::Cached(line) => {
            cached(app, venue, Asked::Entry(line), std::mem::take(request.headers_mut()), target.as_deref()).await
        }
    }
}

/// Passes a request on to a part of the exchange that nothing is cached of.
pub(crate) async fn pass_only(app: &App, part: PassOnly, request: Request<Incoming>) -> Reply {
    if !is_plain(request.uri().path()) {
        return failure::illegal_path(None, app).map(Payload::from);
    }
    let reason = plan::reason_to_pass(&asked(&request));
    Box::pin(pass::forward_only(app, part, request, reason)).await.map(Payload::from)
}

/// Boxed, so that a hit does not carry the room that this needs.
async fn passed(app: &App, venue: Venue, request: Request<Incoming>, reason: BypassReason) -> Reply {
    Box::pin(pass::forward(app, venue, request, reason)).await.map(Payload::from)
}

/// What to do with a request, and the known facts of its target if those alone say so.
fn planned(
    app: &App,
    targets: &Targets,
    venue: Venue,
    request: &Request<Incoming>,
    known: Option<Arc<Target>>,
) -> (Arc<Plan>, Option<Arc<Target>>) {
    let (target, asked) = (target(request.uri()), asked(request));
    match known {
        _ if !asked.is_all_in_target() => (app.plans.plan(venue, target, asked), None),
        Some(known) => (Arc::clone(&known.plan), Some(known)),
        None => {
            let plan = app.plans.plan(venue, target, asked);
            let known = targets.remember(app, venue, target, &plan);
            (plan, known)
        }
    }
}

fn asked(request: &Request<Incoming>) -> plan::Request<'_> {
    let uri = request.uri();
    let time_unit = request.headers().get(&TIME_UNIT);
    plan::Request {
        is_get: request.method() == Method::GET,
        path: uri.path(),
        query: uri.query().unwrap_or(""),
        // Bytes that are no text are no unit either, and the exchange's to refuse.
        time_unit: time_unit.map(|unit| unit.to_str().unwrap_or("?")),
        binary: request.headers().contains_key(&SBE),
    }
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
    // What stands behind a semicolon is no part of the name to some servers.
    let mut names = decoded.split('/').skip(1).map(|segment| segment.split(';').next().unwrap_or_default());
    !decoded.contains(['\\', '\0', '%']) && names.all(|name| !matches!(name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_api_only_what_has_a_version_is_the_exchanges() {
        for path in ["/api/v3/time", "/api/v1/x", "/api/v3", "/sapi/v1/x", "/fapi/v1/x", "/eapi/v1/x", "/api/v3/cache"]
        {
            assert!(ExchangeApi::of(path, "").is_some(), "{path}");
        }
        for path in [
            "/api",
            "/api/",
            "/api//v3/time",
            "/api/stocks",
            "/api/stocks/",
            "/api/stocks//",
            "/api/stocks%2FAAPL",
            "/api/%73tocks/",
            "/api/%2573tocks/",
            "/api/Stocks/",
            "/api/./stocks/",
            "/api/stocks/../v3/time",
            "/api/cache%2Fstatus",
            "/api/cache%2fkey/x",
            "/api/%63ache/status",
            "/api/vstocks",
            "/stocks",
        ] {
            assert!(ExchangeApi::of(path, "").is_none(), "{path}");
        }
    }

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
            "/fapi/v1/..;/x",
            "/fapi/v1/.%3Bx/x",
            "/fapi/v1/;/x",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
