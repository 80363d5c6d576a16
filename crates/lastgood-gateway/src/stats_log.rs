//! The hit rate as a line of the log, for those who watch nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::totals::Totals;

/// Says every `every` what was answered since the last time, until the task is dropped; never where that is zero.
pub(crate) async fn keep(app: Arc<App>, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Totals::default();
    loop {
        ticks.tick().await;
        let now = app.totals();
        if let Some(traffic) = traffic(&before, &now) {
            say(&traffic, every);
        }
        before = now;
    }
}

fn say(traffic: &Totals, every: Duration) {
    let Totals { hits, stale, last_good, misses, joined, errors, refused, .. } = *traffic;
    let Totals { local, passed, pass_failures, upstream_calls, weight_spent, weight_asked, .. } = *traffic;
    tracing::info!(
        hit_rate = %hit_rate(traffic),
        hits,
        stale,
        last_good,
        misses,
        joined,
        errors,
        refused,
        local,
        passed,
        pass_failures,
        upstream_calls,
        weight_spent,
        weight_asked,
        seconds = every.as_secs_f64(),
        "answered"
    );
}

/// What came to `now` since `before`; `None` where nothing was asked. A scrape of the metrics is no traffic.
fn traffic(before: &Totals, now: &Totals) -> Option<Totals> {
    let since = |field: fn(&Totals) -> u64| field(now).saturating_sub(field(before));
    let traffic = Totals {
        requests: since(|totals| totals.requests),
        hits: since(|totals| totals.hits),
        stale: since(|totals| totals.stale),
        last_good: since(|totals| totals.last_good),
        misses: since(|totals| totals.misses),
        joined: since(|totals| totals.joined),
        errors: since(|totals| totals.errors),
        refused: since(|totals| totals.refused),
        local: since(|totals| totals.local),
        passed: since(|totals| totals.passed),
        pass_failures: since(|totals| totals.pass_failures),
        upstream_calls: since(|totals| totals.upstream_calls),
        weight_spent: since(|totals| totals.weight_spent),
        weight_asked: since(|totals| totals.weight_asked),
    };
    (traffic.reads() + traffic.refused + traffic.local + traffic.passed > 0).then_some(traffic)
}

/// `-` where the cache was asked for nothing.
fn hit_rate(totals: &Totals) -> String {
    match totals.reads() {
        0 => "-".to_owned(),
        _ => format!("{:.3}", totals.hit_rate()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_since_the_last_line_are_logged_and_silence_is_not() {
        let before = Totals { requests: 9, hits: 4, misses: 2, ..Totals::default() };
        assert_eq!(traffic(&before, &Totals { requests: 40, ..before }), None, "somebody looked at the metrics");
        let now = Totals { requests: 21, hits: 10, stale: 1, misses: 3, passed: 2, ..before };
        let traffic = traffic(&before, &now).expect("traffic");
        assert_eq!((traffic.hits, traffic.misses, traffic.passed, traffic.requests), (6, 1, 2, 12));
        assert_eq!(hit_rate(&traffic), "0.875");
        assert_eq!(hit_rate(&Totals { passed: 1, ..Totals::default() }), "-");
    }
}
