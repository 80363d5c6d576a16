//! `GET /api/cache/status`, `/api/cache/stats` and `/cache/stats`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use lastgood::store::BreakerState;
use lastgood::{RegionStats, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

use super::answer::json;
use super::caller::Caller;
use crate::app::App;
use crate::figures::{Lasting, StoreCommands};
use crate::fleet::{self, Counts, Fleet};

#[derive(Serialize)]
struct Status {
    enabled: bool,
    /// Whether every tier answers, as far as is known without asking.
    available: bool,
    /// The store's name, without secrets; `memory` without one.
    store: String,
}

/// Open to everybody: it shows no more than `/health`.
pub(super) async fn status(State(app): State<Arc<App>>) -> Response {
    let status = app.cache.status();
    let available = status.store.as_ref().is_none_or(|store| store.breaker == BreakerState::Closed);
    let store = status.store.map_or_else(|| "memory".to_owned(), |store| store.name);
    json(StatusCode::OK, &Status { enabled: status.enabled, available, store })
}

/// The cache in one body.
#[derive(Serialize)]
struct Summary {
    enabled: bool,
    /// Whether there is a store, and it answers.
    connected: bool,
    /// Bytes that the whole store uses, of others too; those in memory where there is no store. Null while the store does
    /// not say.
    memory_used: Option<u64>,
    /// Keys in the whole store, of others too; those in memory where there is no store. Null while the store does not say.
    keys: Option<u64>,
    /// Answers that no reader waited for while the source worked: fresh or stale. This count and the next three are of all
    /// gateways that ever used the store; of this process where the store keeps no counters.
    hits: u64,
    misses: u64,
    /// Answered with the last good answer, because the source failed.
    last_good: u64,
    errors: u64,
    /// `hits` as a part of the four, from 0 to 1.
    hit_rate: f64,
}

impl Summary {
    fn of(app: &App, stats: &[(String, RegionStats)], lasting: Option<Lasting>) -> Summary {
        let status = app.cache.status();
        let (memory_used, keys) = match (status.store, app.figures.usage(&app.cache)) {
            (None, _) => (Some(status.memory_bytes), Some(stats.iter().map(|(_, stats)| stats.keys).sum())),
            (Some(_), usage) => usage.map_or((None, None), |usage| (usage.bytes, usage.keys)),
        };
        let counts = lasting.map_or_else(|| Counts::of_cache(&app.cache), |lasting| lasting.counts);
        Summary {
            enabled: status.enabled,
            connected: app.figures.is_connected(&app.cache),
            memory_used,
            keys,
            hits: counts.served(),
            misses: counts.misses,
            last_good: counts.last_good,
            errors: counts.errors,
            hit_rate: rounded(counts.hit_rate()),
        }
    }
}

/// The cache as a whole, and by region.
#[derive(Serialize)]
pub(crate) struct Stats {
    #[serde(flatten)]
    summary: Summary,
    cluster: ClusterStats,
    /// What this gateway asks of its store, where its commands are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<StoreCommands>,
    regions: BTreeMap<String, OfRegion>,
}

/// All gateways on one store together, as of some seconds ago; without others this one.
#[derive(Serialize)]
struct ClusterStats {
    nodes: usize,
    hit_rate: f64,
    #[serde(flatten)]
    counts: Counts,
    /// All gateways that ever used the store; absent until the store answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime: Option<LifetimeStats>,
}

#[derive(Serialize)]
struct LifetimeStats {
    /// When the first of them began, in milliseconds since the epoch.
    since: u64,
    hit_rate: f64,
    #[serde(flatten)]
    counts: Counts,
}

impl From<Lasting> for LifetimeStats {
    fn from(Lasting { since, counts }: Lasting) -> Self {
        LifetimeStats { since: since.as_millis(), hit_rate: rounded(counts.hit_rate()), counts }
    }
}

#[derive(Serialize)]
struct OfRegion {
    hits: Hits,
    misses: u64,
    stale: u64,
    last_good: u64,
    errors: u64,
    /// Questions that the source refused.
    refused: u64,
    /// The part of the reads that was answered fresh or stale, from 0 to 1.
    hit_rate: f64,
    /// The mean of good loads.
    load_latency_ms: Option<f64>,
    /// The mean of hits in memory, of which one in 256 is timed.
    hit_latency_us: Option<f64>,
    /// In memory.
    keys: u64,
    memory_bytes: u64,
    /// When the last good load ended, in milliseconds since the epoch.
    last_refresh: Option<u64>,
}

#[derive(Serialize)]
struct Hits {
    memory: u64,
    store: u64,
}

impl From<&RegionStats> for OfRegion {
    fn from(stats: &RegionStats) -> OfRegion {
        let counts = Counts::of(stats);
        let seconds = |mean: Option<Duration>| mean.map(|mean| mean.as_secs_f64());
        OfRegion {
            hits: Hits { memory: stats.hits_memory, store: stats.hits_store },
            misses: counts.misses,
            stale: stats.stale,
            last_good: stats.last_good,
            errors: stats.errors,
            refused: stats.refused,
            hit_rate: counts.hit_rate(),
            load_latency_ms: seconds(stats.mean_load()).map(|mean| rounded(mean * 1e3)),
            hit_latency_us: seconds(stats.memory_hits.mean()).map(|mean| rounded(mean * 1e6)),
            keys: stats.keys,
            memory_bytes: stats.bytes,
            last_refresh: stats.last_refresh.map(Timestamp::as_millis),
        }
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// `GET /cache/stats`.
pub(super) async fn summary(State(app): State<Arc<App>>, _: Caller) -> Response {
    let lasting = app.figures.lifetime.lasting(Counts::of_cache(&app.cache));
    json(StatusCode::OK, &Summary::of(&app, &app.cache.stats(), lasting))
}

/// `GET /api/cache/stats`.
pub(super) async fn stats(State(app): State<Arc<App>>, _: Caller) -> Response {
    json(StatusCode::OK, &of(&app))
}

/// What was counted so far.
pub(crate) fn of(app: &App) -> Stats {
    let stats = app.cache.stats();
    let (nodes, counts) = match app.fleet.as_deref().and_then(Fleet::stats) {
        Some(fleet) => (fleet.nodes, fleet.sum()),
        None => (1, Counts::of_cache(&app.cache)),
    };
    let lasting = app.figures.lifetime.lasting(Counts::of_cache(&app.cache));
    let lifetime = lasting.map(LifetimeStats::from);
    Stats {
        summary: Summary::of(app, &stats, lasting),
        cluster: ClusterStats { nodes, hit_rate: counts.hit_rate(), counts, lifetime },
        store: app.cache.store_commands().map(|sent| app.figures.commands.figures(sent, Instant::now())),
        // Where gateways keep their counters is no cache of anybody's.
        regions: stats
            .iter()
            .filter(|(name, _)| *name != fleet::REGION)
            .map(|(name, stats)| (name.clone(), stats.into()))
            .collect(),
    }
}
