//! Whether the gateway lives, is ready, and how well it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lastgood::condition::{self, Report};
use lastgood::store::BreakerState;
use lastgood::warm::Tally;
use lastgood::{StoreStatus, Timestamp};
use lastgood_market::budget::{BucketStanding, Stop};
use lastgood_market::candles::VoidedSeries;
use lastgood_market::upstream::Host;
use lastgood_market::warm::Progress;
use lastgood_market::{Budget, Venue};
use serde::Serialize;

use crate::app::App;
use crate::diagnosis::{Diagnosis, LastGood};
use crate::figures::StoreMemory;
use crate::fleet::{Counts, Fleet, FleetStats};

/// How well the gateway does. `degraded` still answers.
#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
    /// Why it is degraded, in words; empty while it is not.
    reasons: Vec<String>,
    cache: CacheHealth,
    /// The store's breaker: `closed`, `open` or `half-open`; `unknown` before the store has answered anything, `none` without
    /// one.
    breaker: &'static str,
    upstreams: Vec<UpstreamHealth>,
    /// The declared databases, buckets and APIs, and the site of the fear & greed index.
    sources: Vec<SourceHealth>,
    /// The regions that served last good answers within the last seconds, because their source failed.
    last_good: Vec<LastGoodRegion>,
    /// How far the exchange's clock is ahead of this machine's, as far as its answers show; negative where it is behind.
    exchange_clock_offset_ms: i64,
    /// The upstreams that we back off from.
    bans: Vec<Ban>,
    /// All gateways on one store together, as of some seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterHealth>,
    warming: Warming,
    candles: CandleHealth,
}

/// Series of candles whose history the exchange has changed, so that what was kept of them was loaded again.
#[derive(Serialize)]
struct CandleHealth {
    /// How often that happened since the start.
    histories_changed: u64,
    /// The series it happened to last, oldest first.
    last_changed: Vec<ChangedHistory>,
}

#[derive(Serialize)]
struct ChangedHistory {
    series: String,
    /// When it was noticed, in milliseconds since the epoch.
    at: u64,
}

#[derive(Serialize)]
struct ClusterHealth {
    nodes: usize,
    /// From 0 to 1.
    hit_rate: f64,
    #[serde(flatten)]
    counts: Counts,
}

impl From<FleetStats> for ClusterHealth {
    fn from(fleet: FleetStats) -> Self {
        let counts = fleet.sum();
        ClusterHealth { nodes: fleet.nodes, hit_rate: counts.hit_rate(), counts }
    }
}

/// The warming round under way, else the last.
#[derive(Serialize)]
struct Warming {
    running: bool,
    /// Rounds that ended.
    rounds: u64,
    of: u64,
    loaded: u64,
    fresh: u64,
    refused: u64,
    failed: u64,
    /// When the last one ended, in milliseconds since the epoch.
    last_finished: Option<u64>,
}

#[derive(Serialize)]
struct CacheHealth {
    /// `ok`, `degraded` or `disabled`.
    status: &'static str,
    /// The store's name, without secrets; `memory` without one.
    store: String,
    /// What keeps the store from doing all of its work, such as a full disk; absent while nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_trouble: Option<String>,
    /// How the store does.
    #[serde(flatten)]
    condition: Option<Condition>,
    /// Bytes held in memory.
    memory_used: u64,
    /// The memory of the store, as the store reports it: some seconds old, absent while it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_memory: Option<StoreMemory>,
    unconfirmed_removals: usize,
    /// Whether this gateway hears what the others on its store invalidate: `heard`, `cut off`, or `none` where it has the
    /// store to itself.
    log: &'static str,
    /// Invalidations of its own that it could not publish to the others yet.
    unpublished: usize,
    /// The reads of this process since it started; with a shared store, `cluster` has those of all.
    hit_rate: f64,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct UpstreamHealth {
    venue: &'static str,
    /// Whether loads are answered by any host: `unknown` (never asked), `ok` or `failing`.
    #[serde(flatten)]
    condition: Condition,
    /// In the order they are preferred.
    #[serde(rename = "bases")]
    hosts: Vec<HostHealth>,
    /// One, but where testnets are among the hosts or are asked with the user's own key.
    budgets: Vec<BudgetHealth>,
}

#[derive(Serialize)]
struct HostHealth {
    host: String,
    /// `unknown` (never asked), `healthy` or `unhealthy`.
    state: &'static str,
    #[serde(flatten)]
    since: Since,
}

/// How something does that answers are made from.
#[derive(Serialize)]
struct Condition {
    /// `unknown` where it was never asked, or not for a long time; `ok` or `failing`.
    state: &'static str,
    #[serde(flatten)]
    since: Since,
}

#[derive(Serialize)]
struct Since {
    /// Why it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When its state began, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    /// Loads that failed since it began to fail.
    #[serde(skip_serializing_if = "is_zero")]
    failures: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Report> for Since {
    fn from(Report { reason, since, failures, .. }: Report) -> Since {
        Since { reason, since: since.map(Timestamp::as_millis), failures }
    }
}

impl From<Report> for Condition {
    fn from(report: Report) -> Condition {
        Condition { state: report.state.as_str(), since: report.into() }
    }
}

#[derive(Serialize)]
struct SourceHealth {
    name: String,
    #[serde(flatten)]
    condition: Condition,
}

#[derive(Serialize)]
struct LastGoodRegion {
    region: String,
    reason: &'static str,
    /// When one was served last, in milliseconds since the epoch.
    at: u64,
}

#[derive(Serialize)]
struct BudgetHealth {
    exchange: String,
    /// How many gateways spend it together, this one included; absent where each goes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateways: Option<u32>,
    buckets: Vec<BucketHealth>,
}

#[derive(Serialize)]
struct BucketHealth {
    bucket: &'static str,
    window_seconds: u64,
    limit: u32,
    /// Left to signed calls.
    reserve: u32,
    /// By the exchange's last word, what was sent since, and what all gateways say they sent.
    used: u32,
    /// Sent by this gateway in the current window.
    own: u32,
    /// Sent by the other gateways in it.
    others: u32,
}

#[derive(Serialize)]
struct Ban {
    venue: &'static str,
    exchange: String,
    /// What alone is stopped; everything if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<&'static str>,
    reason: &'static str,
    /// Milliseconds since the epoch.
    until: u64,
}

/// `GET /health`: always 200 while the gateway answers; the body says how well.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(of(&app))
}

/// How well the gateway does now.
pub(crate) fn of(app: &App) -> Health {
    let cache = app.cache.status();
    let counts = Counts::of_cache(&app.cache);
    let diagnosis = Diagnosis::of(app);
    let sources = diagnosis.conditions.into_iter().filter(|named| named.kind == "source");
    let judge = |well| match (cache.enabled, well) {
        (false, _) => "disabled",
        (true, true) => "ok",
        (true, false) => "degraded",
    };
    Health {
        status: judge(diagnosis.reasons.is_empty()),
        reasons: diagnosis.reasons,
        cache: CacheHealth {
            status: judge(diagnosis.store_is_well),
            store: cache.store.as_ref().map_or_else(|| "memory".to_owned(), |store| store.name.clone()),
            store_trouble: cache.store.as_ref().and_then(|store| store.trouble.clone()),
            condition: cache.store.as_ref().map(|store| store.report.clone().into()),
            memory_used: cache.memory_bytes,
            store_memory: app.figures.memory(&app.cache),
            unconfirmed_removals: cache.store.as_ref().map_or(0, |store| store.unconfirmed_removals),
            log: match cache.store.as_ref().and_then(|store| store.hears_others) {
                None => "none",
                Some(true) => "heard",
                Some(false) => "cut off",
            },
            unpublished: cache.store.as_ref().map_or(0, |store| store.unpublished),
            hit_rate: counts.hit_rate(),
            counts,
        },
        breaker: cache.store.as_ref().map_or("none", breaker),
        upstreams: with_hosts(app).map(|venue| upstream_health(app, venue)).collect(),
        sources: sources.map(|named| SourceHealth { name: named.name, condition: named.report.into() }).collect(),
        last_good: diagnosis.last_good.into_iter().map(LastGoodRegion::from).collect(),
        exchange_clock_offset_ms: app.engine.upstreams.clock_skew(),
        bans: bans(app),
        cluster: app.fleet.as_deref().and_then(Fleet::stats).map(ClusterHealth::from),
        warming: warming(app),
        candles: candles(app),
    }
}

fn breaker(store: &StoreStatus) -> &'static str {
    match store.breaker {
        BreakerState::Closed if !store.has_answered => "unknown",
        state => state.as_str(),
    }
}

/// The markets that are asked anywhere.
fn with_hosts(app: &App) -> impl Iterator<Item = Venue> {
    Venue::ALL.into_iter().filter(|venue| !app.engine.upstreams.venue(*venue).hosts.is_empty())
}

fn candles(app: &App) -> CandleHealth {
    let voided = app.engine.candles.voided();
    let changed = |VoidedSeries { series, at }| ChangedHistory { series, at: at.as_millis() };
    CandleHealth { histories_changed: voided.count(), last_changed: voided.last().into_iter().map(changed).collect() }
}

impl From<LastGood> for LastGoodRegion {
    fn from(LastGood { region, reason, at }: LastGood) -> LastGoodRegion {
        LastGoodRegion { region, reason: reason.as_str(), at: at.as_millis() }
    }
}

/// The words for a host. One that fails now and then is asked in its turn all the same.
fn of_host(state: condition::State) -> &'static str {
    match state {
        condition::State::Unknown => "unknown",
        condition::State::Ok => "healthy",
        condition::State::Failing => "unhealthy",
    }
}

fn upstream_health(app: &App, venue: Venue) -> UpstreamHealth {
    let upstream = app.engine.upstreams.venue(venue);
    let health = |host: &Host| {
        let report = host.condition.report();
        HostHealth { host: host.url.name().to_owned(), state: of_host(report.state), since: report.into() }
    };
    let bucket = |standing: &BucketStanding| BucketHealth {
        bucket: standing.bucket.as_str(),
        window_seconds: standing.window.as_secs(),
        limit: standing.limit,
        reserve: standing.reserve,
        used: standing.used,
        own: standing.own,
        others: standing.others,
    };
    let budget = |budget: &Arc<Budget>| {
        let standing = budget.standing();
        BudgetHealth {
            exchange: budget.name().to_owned(),
            gateways: standing.gateways,
            buckets: standing.buckets.iter().map(bucket).collect(),
        }
    };
    UpstreamHealth {
        venue: venue.as_str(),
        condition: upstream.condition.report().into(),
        hosts: upstream.hosts.iter().map(health).collect(),
        budgets: app.engine.budgets().into_iter().filter(|(of, _)| *of == venue).map(|(_, of)| budget(of)).collect(),
    }
}

fn warming(app: &App) -> Warming {
    let Progress { running, round, rounds, last_finished, .. } = app.engine.warmer.progress();
    let Tally { of, loaded, fresh, refused, failed } = round;
    let last_finished = last_finished.map(Timestamp::as_millis);
    Warming { running, rounds, of, loaded, fresh, refused, failed, last_finished }
}

/// The pauses and bans in force.
fn bans(app: &App) -> Vec<Ban> {
    let stops = app.engine.budgets().into_iter().flat_map(|(venue, budget)| {
        let standing = budget.standing();
        let of_buckets = standing.buckets.into_iter().map(|bucket| (Some(bucket.bucket.as_str()), bucket.stop));
        let ban = move |(bucket, stop): (Option<&'static str>, Option<Stop>)| {
            let Stop { reason, until } = stop?;
            let (exchange, reason) = (budget.name().to_owned(), reason.as_str());
            Some(Ban { venue: venue.as_str(), exchange, bucket, reason, until: until.as_millis() })
        };
        std::iter::once((None, standing.stop)).chain(of_buckets).filter_map(ban)
    });
    stops.collect()
}

/// The same, without whose they are.
pub(crate) fn stops(app: &App) -> Vec<Stop> {
    let of = |(_, budget): (Venue, &Arc<Budget>)| {
        let standing = budget.standing();
        standing.stop.into_iter().chain(standing.buckets.into_iter().filter_map(|bucket| bucket.stop))
    };
    app.engine.budgets().into_iter().flat_map(of).collect()
}

/// `GET /livez`: the process answers.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests may be sent. The gateway is ready from the start: neither store nor upstream is needed.
pub(crate) async fn readyz() -> &'static str {
    "ok\n"
}
