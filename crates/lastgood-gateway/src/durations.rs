//! How long requests take and how they end, by class of route. What every request adds to is two counters on one cache line.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

/// Upper bounds of the buckets, in microseconds; above the last is the rest.
const BOUNDS: [u64; 11] = [100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000];

/// A kind of route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The exchange's paths.
    Exchange,
    /// Declared routes, and paths that lead nowhere.
    Route,
    /// The gateway's own market data: lists of symbols, the fear & greed index.
    Market,
    /// Applications' own values, bars and analyses.
    Values,
    /// The Cache API.
    CacheApi,
    /// The operator's page.
    Page,
    /// Health and metrics.
    Health,
}

impl Class {
    const ALL: [Class; 7] =
        [Class::Exchange, Class::Route, Class::Market, Class::Values, Class::CacheApi, Class::Page, Class::Health];

    /// That of the gateway's own `path`; which paths are the exchange's, the router knows.
    fn of(path: &str) -> Class {
        const OTHERS: [(&str, Class); 8] = [
            ("/v1/kv/", Class::Values),
            ("/v1/bars/", Class::Values),
            ("/v1/llm/", Class::Values),
            ("/v1/symbols/", Class::Market),
            ("/v1/fear-greed", Class::Market),
            ("/fng", Class::Market),
            ("/api/cache/", Class::CacheApi),
            ("/page/", Class::Page),
        ];
        match path {
            "/" => Class::Page,
            "/health" | "/livez" | "/readyz" | "/metrics" => Class::Health,
            _ => OTHERS.iter().find(|(root, _)| path.starts_with(root)).map_or(Class::Route, |(_, class)| *class),
        }
    }

    /// The name in the metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Class::Exchange => "exchange",
            Class::Route => "route",
            Class::Market => "market",
            Class::Values => "values",
            Class::CacheApi => "cache_api",
            Class::Page => "page",
            Class::Health => "health",
        }
    }
}

/// The statuses, by their first digit.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of a class and a kind of status.
#[derive(Default)]
#[repr(align(128))]
struct Counted {
    micros: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

/// All requests since the start.
pub(crate) struct Durations([[Counted; STATUSES.len()]; Class::ALL.len()]);

/// The requests of a class that ended with a kind of status.
pub(crate) struct Ended {
    pub(crate) class: Class,
    pub(crate) status: &'static str,
    pub(crate) seconds: f64,
    pub(crate) count: u64,
    /// Upper bounds in seconds, the last of them infinite, and how many ended between it and the one before.
    pub(crate) buckets: Vec<(f64, u64)>,
}

/// A request under way.
#[derive(Clone, Copy)]
pub(crate) struct Timed {
    class: Class,
    began: Instant,
}

impl Timed {
    pub(crate) fn begin(path: &str, is_of_exchange: bool) -> Timed {
        let class = if is_of_exchange { Class::Exchange } else { Class::of(path) };
        Timed { class, began: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Default for Durations {
    fn default() -> Durations {
        Durations(from_fn(|_| from_fn(|_| Counted::default())))
    }
}

impl Durations {
    /// Notes that a request has its answer. What of it is streamed is still to come.
    pub(crate) fn note(&self, timed: Timed, status: StatusCode) {
        let micros = u64::try_from(timed.elapsed().as_micros()).unwrap_or(u64::MAX);
        let kind = usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1;
        let counted = &self.0[timed.class as usize][kind];
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        counted.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counted.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The counters of classes and statuses that occurred.
    pub(crate) fn ended(&self) -> impl Iterator<Item = Ended> {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let of = move |class: Class, status: usize| {
            let counted = &self.0[class as usize][status];
            let buckets: Vec<(f64, u64)> = bounds
                .clone()
                .zip(&counted.buckets)
                .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let seconds = counted.micros.load(Ordering::Relaxed) as f64 / 1e6;
            Ended { class, status: STATUSES[status], seconds, count, buckets }
        };
        let all = Class::ALL.into_iter().flat_map(|class| (0..STATUSES.len()).map(move |status| (class, status)));
        all.map(move |(class, status)| of(class, status)).filter(|ended| ended.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_by_class_status_and_time() {
        let durations = Durations::default();
        for (path, took, status) in [
            ("/api/v3/ticker/price", 50, 200),
            ("/api/v3/ticker/price", 300_000, 200),
            ("/fapi/v1/klines", 50, 404),
            ("/api/stocks/AAPL", 20_000_000, 503),
            ("/api/cache/stats", 0, 200),
            ("/health", 0, 200),
        ] {
            let timed = Timed::begin(path, path.contains("/v3/") || path.contains("/fapi/"));
            tokio::time::advance(Duration::from_micros(took)).await;
            durations.note(timed, StatusCode::from_u16(status).unwrap());
        }
        let ended: Vec<_> = durations.ended().collect();
        let found: Vec<_> = ended.iter().map(|ended| (ended.class.as_str(), ended.status, ended.count)).collect();
        let expected = [
            ("exchange", "2xx", 2),
            ("exchange", "4xx", 1),
            ("route", "5xx", 1),
            ("cache_api", "2xx", 1),
            ("health", "2xx", 1),
        ];
        assert_eq!(found, expected);
        let filled = |ended: &Ended| ended.buckets.iter().filter(|(_, n)| *n > 0).copied().collect::<Vec<_>>();
        assert_eq!(filled(&ended[0]), [(0.0001, 1), (1.0, 1)]);
        assert_eq!(filled(&ended[2]), [(f64::INFINITY, 1)]);
        assert!((ended[2].seconds - 20.0).abs() < 0.1, "{}", ended[2].seconds);
    }

    #[test]
    fn every_path_has_a_class() {
        for (path, class) in [
            ("/v1/kv/analytics/a", Class::Values),
            ("/v1/symbols/spot", Class::Market),
            ("/fng/", Class::Market),
            ("/page/live", Class::Page),
            ("/", Class::Page),
            ("/metrics", Class::Health),
            ("/stocks/AAPL", Class::Route),
            ("/healthy", Class::Route),
        ] {
            assert_eq!(Class::of(path), class, "{path}");
        }
    }
}
