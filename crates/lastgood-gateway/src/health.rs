//! Whether the gateway lives, is ready, and how well it does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lastgood::store::BreakerState;
use lastgood_market::Venue;
use serde::Serialize;

use crate::app::App;

/// How well the gateway does. `degraded` still answers.
#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
    cache: CacheHealth,
    /// The store's breaker: `closed`, `open`, `half-open`, or `none` without a store.
    breaker: &'static str,
    upstreams: Vec<UpstreamHealth>,
    /// The upstreams that want to be left alone.
    bans: Vec<Ban>,
}

#[derive(Serialize)]
struct CacheHealth {
    /// `ok`, `degraded` or `disabled`.
    status: &'static str,
    /// The store's name, without secrets; `memory` without one.
    store: String,
    /// Bytes held in memory.
    memory_used: u64,
    unconfirmed_removals: usize,
}

#[derive(Serialize)]
struct UpstreamHealth {
    venue: &'static str,
    hosts: Vec<String>,
    weight_limit: u32,
    weight_used: u32,
}

#[derive(Serialize)]
struct Ban {
    venue: &'static str,
    reason: &'static str,
    /// Milliseconds since the epoch.
    until: u64,
}

/// `GET /health`: always 200 while the gateway answers; the body says how well.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    let cache = app.cache.status();
    let breaker = cache.store.as_ref().map(|store| store.breaker);
    let store_ok = breaker.is_none_or(|breaker| breaker == BreakerState::Closed);
    let standing = |venue: Venue| (venue, app.upstreams.venue(venue).budget.standing());
    let bans: Vec<Ban> = Venue::ALL
        .map(standing)
        .into_iter()
        .filter_map(|(venue, standing)| {
            let stop = standing.stop?;
            Some(Ban { venue: venue.as_str(), reason: stop.reason.as_str(), until: stop.until.as_millis() })
        })
        .collect();
    let judge = |well| match (cache.enabled, well) {
        (false, _) => "disabled",
        (true, true) => "ok",
        (true, false) => "degraded",
    };
    Json(Health {
        status: judge(store_ok && bans.is_empty()),
        cache: CacheHealth {
            status: judge(store_ok),
            store: cache.store.as_ref().map_or_else(|| "memory".to_owned(), |store| store.name.clone()),
            memory_used: cache.memory_bytes,
            unconfirmed_removals: cache.store.as_ref().map_or(0, |store| store.unconfirmed_removals),
        },
        breaker: breaker.map_or("none", BreakerState::as_str),
        upstreams: Venue::ALL
            .map(standing)
            .into_iter()
            .map(|(venue, standing)| UpstreamHealth {
                venue: venue.as_str(),
                hosts: app.upstreams.hosts(venue),
                weight_limit: standing.limit,
                weight_used: standing.used,
            })
            .collect(),
        bans,
    })
}

/// `GET /livez`: the process answers.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests may be sent. The gateway is ready from the start: neither store nor upstream is needed.
pub(crate) async fn readyz() -> &'static str {
    "ok\n"
}
