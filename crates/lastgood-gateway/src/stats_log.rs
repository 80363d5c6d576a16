//! The hit rate as a line of the log, for those who watch nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::traffic::Traffic;

/// Says every `every` what was answered since the last time, until the task is dropped; never where that is zero.
pub(crate) async fn keep(app: Arc<App>, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Traffic::default();
    loop {
        ticks.tick().await;
        let now = app.traffic();
        if let Some(traffic) = between(&before, &now) {
            say(&traffic, every);
        }
        before = now;
    }
}

fn say(traffic: &Traffic, every: Duration) {
    let Traffic { hits, stale, last_good, misses, joined, errors, refused, .. } = *traffic;
    let Traffic { local, passed, pass_failures, upstream_calls, weight_spent, weight_asked, .. } = *traffic;
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
fn between(before: &Traffic, now: &Traffic) -> Option<Traffic> {
    let since = |field: fn(&Traffic) -> u64| field(now).saturating_sub(field(before));
    let traffic = Traffic {
        requests: since(|traffic| traffic.requests),
        hits: since(|traffic| traffic.hits),
        stale: since(|traffic| traffic.stale),
        last_good: since(|traffic| traffic.last_good),
        misses: since(|traffic| traffic.misses),
        joined: since(|traffic| traffic.joined),
        errors: since(|traffic| traffic.errors),
        refused: since(|traffic| traffic.refused),
        local: since(|traffic| traffic.local),
        passed: since(|traffic| traffic.passed),
        pass_failures: since(|traffic| traffic.pass_failures),
        upstream_calls: since(|traffic| traffic.upstream_calls),
        weight_spent: since(|traffic| traffic.weight_spent),
        weight_asked: since(|traffic| traffic.weight_asked),
    };
    (traffic.reads() + traffic.refused + traffic.local + traffic.passed > 0).then_some(traffic)
}

/// `-` where the cache was asked for nothing.
fn hit_rate(traffic: &Traffic) -> String {
    match traffic.reads() {
        0 => "-".to_owned(),
        _ => format!("{:.3}", traffic.hit_rate()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_since_the_last_line_are_logged_and_silence_is_not() {
        let before = Traffic { requests: 9, hits: 4, misses: 2, ..Traffic::default() };
        assert_eq!(between(&before, &Traffic { requests: 40, ..before }), None, "somebody looked at the metrics");
        let now = Traffic { requests: 21, hits: 10, stale: 1, misses: 3, passed: 2, ..before };
        let traffic = between(&before, &now).expect("traffic");
        assert_eq!((traffic.hits, traffic.misses, traffic.passed, traffic.requests), (6, 1, 2, 12));
        assert_eq!(hit_rate(&traffic), "0.875");
        assert_eq!(hit_rate(&Traffic { passed: 1, ..Traffic::default() }), "-");
    }
}
