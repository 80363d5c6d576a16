//! `GET /api/cache/status` and `/api/cache/stats`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use lastgood::store::BreakerState;
use lastgood::{RegionStats, Timestamp};
use serde::Serialize;

use super::answer::json;
use super::caller::Caller;
use crate::app::App;
use crate::cluster::{Cluster, Counts, Totals};

#[derive(Serialize)]
struct Status {
    enabled: bool,
    /// Whether every tier answers, as far as is known without asking.
    available: bool,
    /// The store's name, without secrets; `memory` without one.
    store: String,
}

/// Open to everybody: it tells no more than `/health`.
pub(super) async fn status(State(app): State<Arc<App>>) -> Response {
    let status = app.cache.status();
    let available = status.store.as_ref().is_none_or(|store| store.breaker == BreakerState::Closed);
    let store = status.store.map_or_else(|| "memory".to_owned(), |store| store.name);
    json(StatusCode::OK, &Status { enabled: status.enabled, available, store })
}

#[derive(Serialize)]
struct Stats {
    cluster: ClusterStats,
    regions: BTreeMap<String, OfRegion>,
}

/// All gateways on one store together, as of some seconds ago; without others this one.
#[derive(Serialize)]
struct ClusterStats {
    nodes: usize,
    hit_rate: f64,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct OfRegion {
    hits: Hits,
    misses: u64,
    stale: u64,
    last_good: u64,
    errors: u64,
    /// The part of the answers that nobody waited for, from 0 to 1.
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

pub(super) async fn stats(State(app): State<Arc<App>>, _: Caller) -> Response {
    let stats = app.cache.stats();
    let (nodes, counts) = match app.cluster.as_deref().and_then(Cluster::totals) {
        Some(totals) => (totals.nodes, Totals::sum(&totals)),
        None => {
            let mut sum = Counts::default();
            stats.iter().for_each(|(_, stats)| sum.add(Counts::of(stats)));
            (1, sum)
        }
    };
    let cluster = ClusterStats { nodes, hit_rate: counts.hit_rate(), counts };
    let regions = stats.iter().map(|(name, stats)| (name.clone(), stats.into())).collect();
    json(StatusCode::OK, &Stats { cluster, regions })
}
