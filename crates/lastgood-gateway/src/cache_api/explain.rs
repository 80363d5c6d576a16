//! `GET /api/cache/explain/{key}`: the state of a key, and its next steps.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::{StatusCode, Uri};
use lastgood::{Answer, Explanation, Freshness, Keep, Policy, Region, Timestamp};
use lastgood_market::RegionName;
use lastgood_market::candles::{KnownSpan, KnownSpans, series_prefix};
use serde::Serialize;

use super::answer::json;
use super::caller::Caller;
use super::key::content_type;
use super::keys;
use super::name::KeyName;
use crate::app::App;
use crate::problem::Answered;

/// Times are milliseconds since the epoch.
#[derive(Serialize)]
struct Explained {
    key: String,
    region: String,
    /// `fresh`, `stale`, `kept` or `gone`; `unknown` where memory holds nothing and the store does not say.
    freshness: &'static str,
    /// `memory`, `store`, `both` or `none`; `unknown` like the freshness.
    tier: &'static str,
    /// Who brought it: `exchange`, `stream`, `source` (of a declared route) or `application`. Nothing where that is not kept:
    /// what lay in the store before this gateway started, or what others may have put there.
    origin: Option<&'static str>,
    age_ms: Option<u64>,
    /// The rest of its freshness.
    fresh_for_ms: Option<u64>,
    /// The whole of it, which may be another than its region's.
    freshness_lifetime_ms: Option<u64>,
    fresh_until: Option<u64>,
    stale_until: Option<u64>,
    /// Nothing where there is no end as long as there is room.
    kept_until: Option<u64>,
    bytes: Option<usize>,
    content_type: Option<String>,
    tags: Vec<String>,
    last_error: Option<LastError>,
    /// Why the store does not say what it holds.
    store_error: Option<String>,
    /// Whether a load is under way.
    loading: bool,
    next_refresh: NextRefresh,
    policy: InForce,
    /// Of a series of candles: its known stretches, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candles: Vec<KnownSpan>,
}

#[derive(Serialize)]
struct LastError {
    reason: &'static str,
    message: String,
    in_a_row: u32,
    retry_in_ms: u64,
}

#[derive(Serialize)]
struct NextRefresh {
    /// `loading`, `throttled`, `warming`, `on next read` or `on the first read after`; `never` for what an application put,
    /// which has no source.
    when: &'static str,
    at: Option<u64>,
}

#[derive(Serialize)]
struct InForce {
    fresh_for_ms: u64,
    stale_while_revalidate_ms: u64,
    /// Nothing for as long as there is room.
    stale_if_error_ms: Option<u64>,
    jitter: f64,
    negative_for_ms: u64,
    soft_timeout_ms: u64,
    hard_timeout_ms: u64,
    compress_over: usize,
    max_loads: usize,
}

impl From<&Policy> for InForce {
    fn from(policy: &Policy) -> InForce {
        InForce {
            fresh_for_ms: millis(policy.fresh_for),
            stale_while_revalidate_ms: millis(policy.stale_while_revalidate),
            stale_if_error_ms: match policy.stale_if_error {
                Keep::For(keep) => Some(millis(keep)),
                Keep::Forever => None,
            },
            jitter: policy.jitter,
            negative_for_ms: millis(policy.negative_for),
            soft_timeout_ms: millis(policy.soft_timeout),
            hard_timeout_ms: millis(policy.hard_timeout),
            compress_over: policy.compress_over,
            max_loads: policy.max_loads,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The origin of values that have no source.
const APPLICATION: &str = "application";

/// How long an answer is fresh in all; less than its region's freshness also after it was expired.
fn lifetime(answer: &Answer) -> Duration {
    (answer.age() + answer.fresh_for()).saturating_sub(answer.stale_by())
}

pub(super) async fn explain(State(app): State<Arc<App>>, _: Caller, uri: Uri) -> Answered {
    let mut key = KeyName::of(&app, &uri, "/api/cache/explain/")?.meant().await;
    let KnownSpans { spans: candles, store_error } = known_spans(&app, &mut key).await;
    let mut known = key.region.explain(&key.name).await;
    known.store_error = known.store_error.or(store_error);
    if candles.is_empty()
        && known.answer.is_none()
        && known.backoff.is_none()
        && !known.is_loading
        && known.store_error.is_none()
    {
        return Err(keys::unknown(&key.region, &key.name).await);
    }
    let answer = known.answer.as_ref();
    let origin = answer.and_then(|answer| origin(&app, &key, answer));
    let next_refresh = match origin {
        Some(APPLICATION) => NextRefresh { when: "never", at: None },
        _ => next_refresh(&app, &key.region, &key.name, &known),
    };
    let lifetime = answer.map(lifetime);
    let is_unknown = answer.is_none() && known.store_error.is_some();
    let explained = Explained {
        key: key.full(),
        region: key.region.name().to_owned(),
        freshness: match known.freshness {
            _ if is_unknown => "unknown",
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
            Freshness::Kept => "kept",
            Freshness::Gone => "gone",
        },
        tier: if is_unknown { "unknown" } else { known.tiers.as_str() },
        origin,
        age_ms: answer.map(|answer| millis(answer.age())),
        fresh_for_ms: answer.map(|answer| millis(answer.fresh_for())),
        freshness_lifetime_ms: lifetime.map(millis),
        fresh_until: answer.zip(lifetime).map(|(answer, whole)| answer.source_time().plus(whole).as_millis()),
        stale_until: known.stale_until.map(Timestamp::as_millis),
        kept_until: known.kept_until.filter(|until| *until != Timestamp::FOREVER).map(Timestamp::as_millis),
        bytes: answer.map(|answer| answer.body().len()),
        content_type: answer.map(|answer| content_type(answer).to_str().unwrap_or_default().to_owned()),
        tags: answer.map(|answer| answer.tags().to_vec()).unwrap_or_default(),
        last_error: known.backoff.map(|backoff| LastError {
            reason: backoff.reason.as_str(),
            message: backoff.message,
            in_a_row: backoff.in_a_row,
            retry_in_ms: millis(backoff.retry_in),
        }),
        store_error: known.store_error.map(|why| why.to_string()),
        loading: known.is_loading,
        next_refresh,
        policy: key.region.policy().into(),
        candles,
    };
    Ok(json(StatusCode::OK, &explained))
}

/// The known spans of candles, where a key is of a series: then the key becomes that of the series' end, as a series as a
/// whole is as old as that.
async fn known_spans(app: &App, key: &mut KeyName) -> KnownSpans {
    let Some(prefix) = key.series().await else { return KnownSpans::default() };
    if series_prefix(&key.name) != prefix || !key.name.starts_with(&prefix) || key.name == prefix {
        key.name = format!("{prefix}tail");
    }
    let mut known = app.engine.candles.known_spans(&prefix).await;
    known.spans.iter_mut().filter(|span| span.to.is_none()).for_each(|end| say_origin(app, &prefix, end));
    known
}

/// Says who brought the end of a series.
fn say_origin(app: &App, prefix: &str, end: &mut KnownSpan) {
    end.origin =
        end.said_at.and_then(|at| by_whom(app, Timestamp::from_millis(at), app.engine.streams.end_taken_at(prefix)));
}

/// Who brought an answer.
fn origin(app: &App, key: &KeyName, answer: &Answer) -> Option<&'static str> {
    let (region, name) = (key.region.name(), key.name.as_str());
    let is_of = |market: RegionName| market.as_str() == region;
    if app
        .declared
        .iter()
        .any(|route| route.spec().region == region && name.starts_with(&route.spec().path.to_string()))
    {
        return Some("source");
    }
    if [RegionName::Llm, RegionName::Bars].into_iter().any(is_of) || app.application_region(region).is_some() {
        return Some(APPLICATION);
    }
    if is_of(RegionName::FearGreed) {
        return Some("source");
    }
    let streams = &app.engine.streams;
    let streamed_at = match is_of(RegionName::Klines) {
        // Settled candles of a block may be of both: their spans say.
        true => streams.end_taken_at(name.strip_suffix("tail")?),
        false => streams.ticker_taken_at(name),
    };
    by_whom(app, answer.source_time(), streamed_at)
}

/// Whether a stream or an answer of the exchange brought the entry of this time, as far as this process knows: one from the
/// store may be anybody's.
fn by_whom(app: &App, at: Timestamp, streamed_at: Option<Timestamp>) -> Option<&'static str> {
    let is_own = app.fleet.is_none() && at >= app.began;
    match streamed_at.is_some_and(|streamed| at <= streamed) {
        true => Some("stream"),
        false => is_own.then_some("exchange"),
    }
}

fn next_refresh(app: &App, region: &Region, name: &str, known: &Explanation) -> NextRefresh {
    let now = app.clock.now();
    if known.is_loading {
        return NextRefresh { when: "loading", at: None };
    }
    if let Some(backoff) = &known.backoff {
        return NextRefresh { when: "throttled", at: Some(now.plus(backoff.retry_in).as_millis()) };
    }
    let market = RegionName::ALL.into_iter().find(|market| market.as_str() == region.name());
    if let Some(market) = market
        && let Some(at) = app.engine.warmer.next_round(market)
        && app.engine.warmer.declares(market, name)
    {
        return NextRefresh { when: "warming", at: Some(at.as_millis()) };
    }
    match known.answer.as_ref().map(Answer::fresh_for).filter(|_| known.freshness == Freshness::Fresh) {
        Some(left) => NextRefresh { when: "on the first read after", at: Some(now.plus(left).as_millis()) },
        None => NextRefresh { when: "on next read", at: None },
    }
}
