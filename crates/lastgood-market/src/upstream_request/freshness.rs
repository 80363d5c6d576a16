//! How long an answer stays true, where its own content says more than the policy.

use std::time::Duration;

use lastgood::Timestamp;

use super::{Asked, UpstreamRequest};
use crate::interval;
use crate::projection::count_and_last;
use crate::venue::Recipe;

/// What lies wholly in the past is kept fresh this long; it is loaded again in case the exchange revises it.
const PAST: Duration = Duration::from_secs(3_600);
/// How long a list whose newest candle should be there but is not may be believed.
const LATE: Duration = Duration::from_secs(1);
/// The longest that a closed candle stays provisional, in ms.
const GRACE: u64 = 15_000;
/// Statistics appear some time after their period's end; looking for them more often than this finds little.
const PERIOD_CHECK: Duration = Duration::from_secs(60);

impl UpstreamRequest {
    /// The freshness of `body`, fetched at `now`, where it differs from the policy. `forming` is the freshness of a
    /// list that ends in the forming candle.
    pub fn fresh_for(&self, body: &[u8], now: Timestamp, forming: Duration) -> Option<Duration> {
        match self.endpoint.recipe {
            Recipe::Klines => Some(self.asked.candles_fresh_for(body, now.as_millis(), forming)),
            Recipe::Page => self.asked.is_past_page(body, now.as_millis()).then_some(PAST),
            Recipe::Period => Some(self.asked.period_left(now.as_millis())),
            _ => None,
        }
    }

    /// Whether a part of the past was asked for, by its bounds.
    pub(crate) fn is_of_the_past(&self) -> bool {
        let is_bounded = self.asked.start.is_some() || self.asked.end.is_some() || self.asked.from_id.is_some();
        is_bounded && matches!(self.endpoint.recipe, Recipe::Page | Recipe::Period)
    }

    /// The candle interval that was asked for.
    pub fn interval(&self) -> Option<&str> {
        self.asked.interval.as_deref()
    }
}

impl Asked {
    /// A list of candles must not outlive the candle that was forming when it was fetched.
    fn candles_fresh_for(&self, body: &[u8], now: u64, forming: Duration) -> Duration {
        let Some((rows, last)) = count_and_last(body) else { return LATE };
        let closes_at = last.and_then(close_time);
        match closes_at {
            Some(closes_at) if closes_at >= now => forming.min(Duration::from_millis(closes_at + 1 - now)),
            _ if self.is_past(rows, closes_at, now) => PAST,
            _ => forming.min(LATE),
        }
    }

    /// Whether no candle or row can be added to what was asked for: it ends in the past, or it is full from its start.
    fn is_past(&self, rows: usize, newest: Option<u64>, now: u64) -> bool {
        let settled = |time: u64| time.saturating_add(GRACE) < now;
        let full_from_start = self.start.is_some() && Some(rows as u64) == self.limit && newest.is_some_and(settled);
        let interval = self.interval.as_deref().and_then(interval::length).unwrap_or_default();
        // A candle that opened before the end may still be forming for the rest of its interval.
        let ended = |end: u64| settled(end.saturating_add(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)));
        full_from_start || self.end.is_some_and(ended)
    }

    fn is_past_page(&self, body: &[u8], now: u64) -> bool {
        let Some((rows, _)) = count_and_last(body) else { return false };
        let full = Some(rows as u64) == self.limit;
        let ended = self.end.is_some_and(|end| end.saturating_add(GRACE) < now);
        (full && (self.from_id.is_some() || self.start.is_some())) || ended
    }

    fn period_left(&self, now: u64) -> Duration {
        let period = self.interval.as_deref().and_then(interval::length).unwrap_or(PERIOD_CHECK);
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(period - now % period).min(PERIOD_CHECK)
    }
}

/// The close time of a candle row, its seventh item, in ms.
fn close_time(row: &[u8]) -> Option<u64> {
    let row: Vec<&serde_json::value::RawValue> = serde_json::from_slice(row).ok()?;
    row.get(6)?.get().parse().ok().map(super::to_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_030_000;
    const MINUTE: u64 = 60_000;

    fn candles(newest_open: u64, count: u64) -> String {
        let row = |n: u64| {
            let open = newest_open - (count - 1 - n) * MINUTE;
            format!(r#"[{open},"1","1","1","1","1",{},"1",1,"1","1","0"]"#, open + MINUTE - 1)
        };
        format!("[{}]", (0..count).map(row).collect::<Vec<_>>().join(","))
    }

    fn fresh(asked: &Asked, body: &str, forming: u64) -> Duration {
        asked.candles_fresh_for(body.as_bytes(), NOW, Duration::from_millis(forming))
    }

    #[test]
    fn a_list_never_outlives_its_forming_candle() {
        let asked = Asked { interval: Some("1m".to_owned()), ..Asked::default() };
        let closes_in_10_s = candles(NOW - 50_000, 3);
        assert_eq!(fresh(&asked, &closes_in_10_s, 120_000), Duration::from_secs(10));
        assert_eq!(fresh(&asked, &closes_in_10_s, 2_000), Duration::from_secs(2));
    }

    #[test]
    fn a_list_without_the_candle_that_has_begun_is_asked_for_again_soon() {
        let asked = Asked { interval: Some("1m".to_owned()), ..Asked::default() };
        assert_eq!(fresh(&asked, &candles(NOW - 70_000, 3), 120_000), LATE);
        assert_eq!(fresh(&asked, "[]", 120_000), LATE);
    }

    #[test]
    fn the_past_does_not_change() {
        let ended = Asked { interval: Some("1m".to_owned()), end: Some(NOW - 5 * MINUTE), ..Asked::default() };
        assert_eq!(fresh(&ended, &candles(NOW - 5 * MINUTE, 3), 2_000), PAST);
        let ending_now = Asked { end: Some(NOW), ..ended.clone() };
        assert_eq!(fresh(&ending_now, &candles(NOW - 2 * MINUTE, 3), 2_000), LATE);
        let full = Asked { start: Some(0), end: None, limit: Some(3), ..ended };
        assert_eq!(fresh(&full, &candles(NOW - 9 * MINUTE, 3), 2_000), PAST);
        assert_eq!(fresh(&full, &candles(NOW - 9 * MINUTE, 2), 2_000), LATE);
    }

    #[test]
    fn statistics_are_asked_for_at_their_periods_end() {
        let asked = Asked { interval: Some("5m".to_owned()), ..Asked::default() };
        assert_eq!(asked.period_left(5 * MINUTE - 1_000), Duration::from_secs(1));
        assert_eq!(asked.period_left(MINUTE), PERIOD_CHECK);
    }
}
