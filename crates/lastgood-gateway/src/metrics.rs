//! Every metric, those of the exchange's hosts in `upstream.rs`. Values are read when they are scraped: a request pays for none of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use lastgood::condition;
use lastgood::store::{BreakerState, Usage};
use lastgood::warm::Tally;
use lastgood::{LATENCY_BOUNDS_MS, RegionStats, Timestamp};
use lastgood_market::Venue;
use lastgood_market::streams::Counters as StreamCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use self::upstream::upstream_values;
use crate::app::App;
use crate::diagnosis::{Diagnosis, LastGood, Named};
use crate::fleet::{Counts, Fleet};
use crate::response::plain;

mod process;
mod requests;
mod upstream;

const OPENMETRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /metrics`, for Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Scrape::of(&app)));
    registry.sub_registry_with_prefix("lastgood").register_collector(Box::new(Scrape(app)));
    let mut body = String::with_capacity(32 << 10);
    match text::encode(&mut body, &registry) {
        Ok(()) => plain(StatusCode::OK, OPENMETRICS, body.into()),
        Err(fmt::Error) => plain(StatusCode::INTERNAL_SERVER_ERROR, OPENMETRICS, bytes::Bytes::new()),
    }
}

struct Scrape(Arc<App>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let app = &*self.0;
        let mut stats = app.cache.stats();
        stats.retain(|(_, stats)| is_used(stats));
        requests::build_info(&mut encoder)?;
        requests::durations(&mut encoder, app)?;
        read_counters(&mut encoder, &stats)?;
        region_values(&mut encoder, &stats, app.clock.now())?;
        load_latency(&mut encoder, &stats)?;
        hit_latency(&mut encoder, &stats)?;
        upstream_values(&mut encoder, app)?;
        stream_values(&mut encoder, app)?;
        cluster_values(&mut encoder, app)?;
        lifetime_values(&mut encoder, app)?;
        store_values(&mut encoder, app)?;
        gateway_values(&mut encoder, app)?;
        conditions(&mut encoder, app)?;
        warm_values(&mut encoder, app)
    }
}

/// Whether a region was ever asked, or holds anything: of the others there is nothing to draw.
fn is_used(stats: &RegionStats) -> bool {
    stats.keys > 0 || stats.loads > 0 || READS.iter().any(|(_, field)| field(stats) > 0)
}

type Stats = [(String, RegionStats)];
type Field = fn(&RegionStats) -> u64;

/// Reads by outcome: the words are those of `X-Cache` and its tier.
const READS: [(&str, Field); 9] = [
    ("hit_memory", |stats| stats.hits_memory),
    ("hit_store", |stats| stats.hits_store),
    ("stale", |stats| stats.stale),
    ("last_good", |stats| stats.last_good),
    ("miss", |stats| stats.misses),
    ("joined", |stats| stats.joined),
    ("bypass", |stats| stats.bypassed),
    ("error", |stats| stats.errors),
    ("refused", |stats| stats.refused),
];

fn read_counters(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    let help = "Reads by region and outcome";
    let mut family = encoder.encode_descriptor("reads", help, None, MetricType::Counter)?;
    for (region, stats) in stats {
        for (outcome, field) in READS {
            let labels = [("region", region.as_str()), ("outcome", outcome)];
            ConstCounter::new(field(stats)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

const REGION_COUNTERS: [(&str, &str, Field); 5] = [
    ("loads", "Times the source was asked, refreshes behind included", |stats| stats.loads),
    ("load_failures", "Times the source gave no usable answer", |stats| stats.load_failures),
    ("loads_refused", "Times the source said that there is no such thing, or that the question is wrong", |stats| {
        stats.refused_loads
    }),
    ("dropped_fills", "Loads not kept because an invalidation came meanwhile", |stats| stats.dropped_fills),
    ("unreadable_entries", "Stored values that could not be read", |stats| stats.unreadable),
];

const REGION_GAUGES: [(&str, &str, Field); 2] =
    [("memory_keys", "Keys in memory", |stats| stats.keys), ("memory_bytes", "Bytes in memory", |stats| stats.bytes)];

fn region_values(encoder: &mut DescriptorEncoder<'_>, stats: &Stats, now: Timestamp) -> fmt::Result {
    for (name, help, field) in REGION_COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (region, stats) in stats {
            ConstCounter::new(field(stats)).encode(family.encode_family(&[("region", region.as_str())])?)?;
        }
    }
    for (name, help, field) in REGION_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (region, stats) in stats {
            gauge(field(stats)).encode(family.encode_family(&[("region", region.as_str())])?)?;
        }
    }
    let help = "Seconds since the last good load";
    let mut family = encoder.encode_descriptor("refresh_age_seconds", help, None, MetricType::Gauge)?;
    for (region, stats) in stats {
        if let Some(refreshed) = stats.last_refresh {
            let age = ConstGauge::new(now.since(refreshed).as_secs_f64());
            age.encode(family.encode_family(&[("region", region.as_str())])?)?;
        }
    }
    Ok(())
}

fn load_latency(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    let help = "Duration of good loads";
    let mut family = encoder.encode_descriptor("load_duration_seconds", help, None, MetricType::Histogram)?;
    for (region, stats) in stats.iter().filter(|(_, stats)| stats.loads > 0) {
        let bounds = LATENCY_BOUNDS_MS.iter().map(|&bound| bound as f64 / 1_000.0).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(stats.load_buckets).collect();
        let count = stats.load_buckets.iter().sum();
        let labels = [("region", region.as_str())];
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
            stats.load_time.as_secs_f64(),
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn hit_latency(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    let help = "Duration of one in 256 hits in memory, and of each read of the store that found something";
    let mut family = encoder.encode_descriptor("hit_duration_seconds", help, None, MetricType::Histogram)?;
    for (region, stats) in stats {
        for (tier, timed) in [("memory", stats.memory_hits), ("store", stats.store_finds)] {
            if timed.times > 0 {
                let (labels, buckets) = ([("region", region.as_str()), ("tier", tier)], [(f64::INFINITY, timed.times)]);
                let sum = timed.time.as_secs_f64();
                family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
                    sum,
                    timed.times,
                    &buckets,
                    None,
                )?;
            }
        }
    }
    Ok(())
}

/// What all gateways on one store counted together, as of some seconds ago.
fn cluster_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let Some(fleet) = app.fleet.as_deref().and_then(Fleet::stats) else { return Ok(()) };
    let help = "Gateways that share the store";
    gauge(fleet.nodes as u64).encode(encoder.encode_descriptor("cluster_nodes", help, None, MetricType::Gauge)?)?;
    let help = "Reads of all gateways that are up, by region and outcome; falls when one of them ends";
    let mut family = encoder.encode_descriptor("cluster_reads", help, None, MetricType::Gauge)?;
    for (region, counts) in &fleet.regions {
        for (outcome, count) in counts.by_outcome() {
            let labels = [("region", region.as_str()), ("outcome", outcome)];
            gauge(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn lifetime_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let help = "Reads of all gateways that ever used the store, by outcome; outlives every one of them";
    let mut family = encoder.encode_descriptor("lifetime_reads", help, None, MetricType::Counter)?;
    let Some(lasting) = app.figures.lifetime.lasting(Counts::of_cache(&app.cache)) else { return Ok(()) };
    for (outcome, count) in lasting.counts.by_outcome() {
        ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
    }
    Ok(())
}

fn store_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let Usage { bytes, limit, evicted_keys, .. } = app.figures.usage(&app.cache).unwrap_or_default();
    let gauges = [
        ("store_memory_bytes", "Memory of the store, as it tells itself", bytes),
        ("store_memory_limit_bytes", "The most memory the store may use", limit),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
    }
    let counters = [
        ("store_evicted_keys", "Keys the store evicted to stay within its memory", evicted_keys),
        ("store_commands", "Commands sent to the store", app.cache.store_commands()),
    ];
    for (name, help, value) in counters {
        if let Some(value) = value {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
    }
    Ok(())
}

type StreamField = fn(&StreamCounters) -> &AtomicU64;

fn stream_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let venues: Vec<Venue> = Venue::ALL.into_iter().filter(|venue| app.engine.streams.is_enabled(*venue)).collect();
    let read = |venue: Venue, field: StreamField| field(app.engine.streams.counters(venue)).load(Ordering::Relaxed);
    let help = "Stream messages by what became of them";
    let mut family = encoder.encode_descriptor("stream_messages", help, None, MetricType::Counter)?;
    const MESSAGES: [(&str, StreamField); 6] = [
        ("taken", |counters| &counters.taken),
        ("behind", |counters| &counters.behind),
        ("unreadable", |counters| &counters.unreadable),
        ("mislabelled", |counters| &counters.mislabelled),
        ("outdated", |counters| &counters.outdated),
        ("ahead", |counters| &counters.ahead),
    ];
    for venue in &venues {
        for (became, field) in MESSAGES {
            let labels = [("venue", venue.as_str()), ("became", became)];
            ConstCounter::new(read(*venue, field)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Stream connections that were made";
    let mut family = encoder.encode_descriptor("stream_connections", help, None, MetricType::Counter)?;
    for venue in &venues {
        let made = read(*venue, |counters| &counters.connections);
        ConstCounter::new(made).encode(family.encode_family(&[("venue", venue.as_str())])?)?;
    }
    const GAUGES: [(&str, &str, StreamField); 2] = [
        ("streams_subscribed", "Streams that are subscribed to", |counters| &counters.subscribed),
        ("streams_connected", "1 while the streams are connected", |counters| &counters.connected),
    ];
    for (name, help, field) in GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for venue in &venues {
            gauge(read(*venue, field)).encode(family.encode_family(&[("venue", venue.as_str())])?)?;
        }
    }
    Ok(())
}

fn gateway_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let status = app.cache.status();
    let dropped = status.store.as_ref().map_or(0, |store| store.dropped_writes);
    let counters = [
        ("store_writes_dropped", "Writes that the store did not take", dropped),
        ("requests", "Requests of any path", count(&app.counts.requests)),
        ("passed", "Exchange requests passed through", count(&app.counts.passed)),
        ("pass_failures", "Passed requests that the exchange did not answer", count(&app.counts.pass_failures)),
        (
            "weight_asked",
            "Weight that cacheable requests would have cost without the cache",
            count(&app.counts.weight_asked),
        ),
        (
            "candle_histories_changed",
            "Series of candles loaded again because the exchange gave a settled candle otherwise than before",
            app.engine.candles.voided().count(),
        ),
    ];
    for (name, help, value) in counters {
        ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let breaker_open = status.store.as_ref().is_some_and(|store| store.breaker != BreakerState::Closed);
    let unconfirmed = status.store.as_ref().map_or(0, |store| store.unconfirmed_removals as u64);
    let unpublished = status.store.as_ref().map_or(0, |store| store.unpublished as u64);
    let cut_off = status.store.as_ref().is_some_and(|store| store.hears_others == Some(false));
    let in_trouble = status.store.as_ref().is_some_and(|store| store.trouble.is_some() || store.report.is_failing());
    let gauges = [
        (
            "store_in_trouble",
            "1 while the store cannot do all of its work: it cannot be reached, or is full or read-only",
            u64::from(in_trouble),
        ),
        (
            "invalidations_unpublished",
            "Invalidations that could not be published to the other gateways yet",
            unpublished,
        ),
        ("log_cut_off", "1 while invalidations by the other gateways cannot be heard", u64::from(cut_off)),
        ("enabled", "1 while the cache is switched on", u64::from(status.enabled)),
        ("store_breaker_open", "1 while the store is not being asked", u64::from(breaker_open)),
        ("store_unconfirmed_removals", "Removals that the store has not confirmed", unconfirmed),
        ("requests_active", "Requests that wait for a load, the exchange or their own body", app.places.taken() as u64),
    ];
    for (name, help, value) in gauges {
        gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    Ok(())
}

/// What answers are made from, and whether everything is served that would be without a fault.
fn conditions(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let help = "1 while a store, exchange, host or source fails, 0 while it does not, absent where it was never asked";
    let mut family = encoder.encode_descriptor("failing", help, None, MetricType::Gauge)?;
    let Diagnosis { reasons, conditions, last_good, .. } = Diagnosis::of(app);
    for Named { kind, name, report, .. } in &conditions {
        if report.state != condition::State::Unknown {
            let failing = gauge(u64::from(report.is_failing()));
            failing.encode(family.encode_family(&[("kind", *kind), ("name", name.as_str())])?)?;
        }
    }
    source_durations(encoder, &conditions)?;
    let help = "1 while last good answers stand in for the source of a region, because it fails";
    let mut family = encoder.encode_descriptor("serving_last_good", help, None, MetricType::Gauge)?;
    for LastGood { region, reason, .. } in last_good {
        gauge(1).encode(family.encode_family(&[("region", region.as_str()), ("reason", reason.as_str())])?)?;
    }
    let help = "Age of the oldest answer that stood in for its source in the last minute, by region";
    let mut family = encoder.encode_descriptor("oldest_last_good_seconds", help, None, MetricType::Gauge)?;
    for (region, age) in app.cache.oldest_last_good(app.clock.now()) {
        ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&[("region", region.as_str())])?)?;
    }
    let help = "1 while something is served, or refused, that would not be without a fault";
    let degraded = gauge(u64::from(!reasons.is_empty()));
    degraded.encode(encoder.encode_descriptor("degraded", help, None, MetricType::Gauge)?)
}

/// A host or a source that was never asked has no series.
fn source_durations(encoder: &mut DescriptorEncoder<'_>, conditions: &[Named]) -> fmt::Result {
    let help = "How long a host or a declared source took for a load, however that ended";
    let mut family = encoder.encode_descriptor("source_duration_seconds", help, None, MetricType::Histogram)?;
    let asked = conditions.iter().filter(|named| named.kind != "exchange" && named.durations.count() > 0);
    for Named { kind, name, durations, .. } in asked {
        let bounds = LATENCY_BOUNDS_MS.iter().map(|&bound| bound as f64 / 1_000.0).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(durations.buckets).collect();
        let labels = [("kind", *kind), ("name", name.as_str())];
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
            durations.time.as_secs_f64(),
            durations.count(),
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn warm_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let progress = app.engine.warmer.progress();
    let help = "Items of warming rounds, by what came of them";
    let mut family = encoder.encode_descriptor("warm_items", help, None, MetricType::Counter)?;
    for (state, field) in Tally::STATES {
        ConstCounter::new(field(&progress.total)).encode(family.encode_family(&[("state", state)])?)?;
    }
    let rounds = encoder.encode_descriptor("warm_rounds", "Warming rounds that ended", None, MetricType::Counter)?;
    ConstCounter::new(progress.rounds).encode(rounds)?;
    let Some(finished) = progress.last_finished else { return Ok(()) };
    let gauges = [
        ("warm_round_seconds", "Duration of the last warming round", progress.took.as_secs_f64()),
        ("warm_last_finished_timestamp", "When it ended, in seconds", finished.as_millis() as f64 / 1_000.0),
    ];
    for (name, help, value) in gauges {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    Ok(())
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
