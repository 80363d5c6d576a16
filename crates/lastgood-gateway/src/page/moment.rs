//! What the page shows, as of a moment: the figures of `/health` and `/api/cache/stats`, and counters of `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lastgood::Timestamp;
use lastgood_market::Venue;
use lastgood_routes::{LastFailure, Route};
use serde::Serialize;

use super::Page;
use super::demonstration::Offered;
use crate::app::App;
use crate::cache_api::stats::{self, Stats};
use crate::fleet::{Fleet, PeersReport};
use crate::health::{self, Health};
use crate::traffic::Traffic;

#[derive(Serialize)]
struct Moment {
    /// The gateway's time, in milliseconds since the epoch: the browser's clock may be wrong.
    at: u64,
    /// When the gateway started, likewise.
    began: u64,
    version: &'static str,
    health: Health,
    stats: Stats,
    totals: Traffic,
    /// By region, how old the oldest answer is that stood in for its source within the last minute, in milliseconds.
    oldest: BTreeMap<String, u64>,
    streams: Vec<StreamsOfVenue>,
    /// The other gateways on the store; absent where it is not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<PeersReport>,
    /// What the last round of warming left out, and why.
    not_warmed: Option<String>,
    /// Requests that wait for a load, the exchange or their own body.
    requests_active: usize,
    /// Of each declared route whose sources failed since the start, the last time.
    route_failures: Vec<RouteFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    demonstration: Option<Offered>,
}

/// How the streams of a venue do.
#[derive(Serialize)]
struct StreamsOfVenue {
    venue: &'static str,
    connected: bool,
    /// Since when that is so, in milliseconds since the epoch.
    since: Option<u64>,
    /// Why there is no connection, if there should be one.
    reason: Option<String>,
    subscribed: u64,
    connections: u64,
    taken: u64,
}

/// When a source of a declared route gave no answer last.
#[derive(Serialize)]
struct RouteFailure {
    path: String,
    at: u64,
    source: String,
    message: String,
}

impl RouteFailure {
    fn of(route: &Arc<Route>) -> Option<RouteFailure> {
        let LastFailure { at, source, why } = route.last_failure()?;
        let (path, message) = (route.spec().path.to_string(), why.to_string());
        Some(RouteFailure { path, at: at.as_millis(), source, message })
    }
}

/// The moment as a server-sent event.
pub(super) fn event(app: &App, page: &Page) -> Bytes {
    let now = app.clock.now();
    let oldest = app.cache.oldest_last_good(now).into_iter();
    let moment = Moment {
        at: now.as_millis(),
        began: app.began.as_millis(),
        version: env!("CARGO_PKG_VERSION"),
        health: health::of(app),
        stats: stats::of(app),
        totals: app.traffic(),
        oldest: oldest.map(|(region, age)| (region, u64::try_from(age.as_millis()).unwrap_or(u64::MAX))).collect(),
        streams: Venue::ALL.into_iter().filter_map(|venue| streams(app, venue)).collect(),
        peers: app.fleet.as_deref().map(Fleet::peers),
        not_warmed: app.engine.warmer.why(),
        requests_active: app.places.taken(),
        route_failures: app.declared.iter().filter_map(RouteFailure::of).collect(),
        demonstration: page.demonstration.get().map(|offered| Offered::of(&**offered)),
    };
    // JSON without line breaks, so that it is one line of data.
    let json = serde_json::to_string(&moment).unwrap_or_default();
    format!("data: {json}\n\n").into()
}

fn streams(app: &App, venue: Venue) -> Option<StreamsOfVenue> {
    let counters = app.engine.streams.counters(venue);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    app.engine.streams.is_enabled(venue).then(|| StreamsOfVenue {
        venue: venue.as_str(),
        connected: read(&counters.connected) == 1,
        since: counters.since().map(Timestamp::as_millis),
        reason: counters.why(),
        subscribed: read(&counters.subscribed),
        connections: read(&counters.connections),
        taken: read(&counters.taken),
    })
}
