//! Candle intervals and statistics periods.

use std::time::Duration;

use crate::calendar::date;
use crate::region::Preset;
use crate::venue::Venue;

/// The length of an interval or period such as `15m`; months count as 31 days. `None` if it is not one.
pub fn length(interval: &str) -> Option<Duration> {
    let (count, unit) = interval.split_at_checked(interval.len().checked_sub(1)?)?;
    let count: u64 = count.parse().ok().filter(|count| (1..=60).contains(count))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "M" => 31 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count * seconds))
}

/// Whether a venue has candles of that interval. Names are case-sensitive: `1m` is a minute, `1M` a month.
pub fn is_of_candles(venue: Venue, interval: &str) -> bool {
    const ALL: [&str; 16] =
        ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];
    ALL.contains(&interval) && (venue == Venue::Spot || interval != "1s")
}

/// When the candle of an interval that holds `at` opens, and when the next one does, in milliseconds since 1970: weeks open
/// on Mondays, months on their first day, in UTC. `None` if candles have no such interval.
pub fn candle_at(interval: &str, at: u64) -> Option<(u64, u64)> {
    const DAY: u64 = 86_400_000;
    // 1970-01-05 was the first Monday.
    const MONDAY: u64 = 4 * DAY;
    if !is_of_candles(Venue::Spot, interval) {
        return None;
    }
    if interval == "1M" {
        let days = at / DAY;
        let opens = days - (date(days).2 - 1);
        // No month is longer than 31 days, and the next one has more than one.
        let within_next = opens + 31;
        let next = within_next - (date(within_next).2 - 1);
        return Some((opens * DAY, next.checked_mul(DAY)?));
    }
    let length = u64::try_from(length(interval)?.as_millis()).ok()?;
    let anchor = if interval == "1w" { MONDAY } else { 0 };
    let opens = match at.checked_sub(anchor) {
        Some(since) => at - since % length,
        // The week that began in 1969.
        None => return Some((0, anchor)),
    };
    Some((opens, opens.checked_add(length)?))
}

/// How long a list of candles with the forming one is fresh, besides that it never outlives that candle.
pub(crate) fn fresh_for(preset: Preset, interval: &str) -> Duration {
    let length = length(interval).unwrap_or(Duration::from_secs(60)).as_secs();
    let seconds = match (preset, length) {
        (Preset::Trading, ..=60) => 1,
        (Preset::Trading, _) => 2,
        (Preset::Dashboard, ..=1) => 1,
        (Preset::Dashboard, ..=60) => 15,
        (Preset::Dashboard, ..=180) => 30,
        (Preset::Dashboard, ..=300) => 60,
        (Preset::Dashboard, ..=900) => 120,
        (Preset::Dashboard, ..=1_800) => 240,
        (Preset::Dashboard, ..=3_600) => 300,
        (Preset::Dashboard, ..=7_200) => 600,
        (Preset::Dashboard, ..=14_400) => 900,
        (Preset::Dashboard, ..=28_800) => 1_800,
        (Preset::Dashboard, ..=43_200) => 2_700,
        (Preset::Dashboard, ..=86_400) => 3_600,
        (Preset::Dashboard, ..=259_200) => 7_200,
        (Preset::Dashboard, _) => 14_400,
    };
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_case_sensitive() {
        assert_eq!(length("1m"), Some(Duration::from_secs(60)));
        assert_eq!(length("1M"), Some(Duration::from_secs(31 * 86_400)));
        for wrong in ["", "m", "1", "0m", "1x", "99m", "é", "1é"] {
            assert_eq!(length(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn candles_open_where_the_exchange_opens_them() {
        const DAY: u64 = 86_400_000;
        // 2024-02-29 was a Thursday; its month begins on day 19,754 and has 29 days.
        let leap_day = 19_782 * DAY + 12 * 3_600_000 + 345;
        for (interval, opens, next) in [
            ("1m", leap_day - 345, leap_day - 345 + 60_000),
            ("8h", 19_782 * DAY + 8 * 3_600_000, 19_782 * DAY + 16 * 3_600_000),
            ("1d", 19_782 * DAY, 19_783 * DAY),
            ("3d", 19_782 * DAY, 19_785 * DAY),
            ("1w", 19_779 * DAY, 19_786 * DAY),
            ("1M", 19_754 * DAY, 19_783 * DAY),
        ] {
            assert_eq!(candle_at(interval, leap_day), Some((opens, next)), "{interval}");
            assert_eq!(candle_at(interval, opens), Some((opens, next)), "{interval}");
            assert_eq!(candle_at(interval, next - 1), Some((opens, next)), "{interval}");
        }
        let mut opens = 0;
        for month in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28] {
            assert_eq!(candle_at("1M", opens), Some((opens, opens + month * DAY)));
            opens += month * DAY;
        }
        assert_eq!(candle_at("1w", DAY), Some((0, 4 * DAY)));
        assert_eq!((candle_at("2m", 0), candle_at("", 0), candle_at("1m", u64::MAX)), (None, None, None));
    }

    #[test]
    fn the_dashboard_waits_longer_for_longer_candles() {
        assert_eq!(fresh_for(Preset::Dashboard, "15m"), Duration::from_secs(120));
        assert_eq!(fresh_for(Preset::Dashboard, "1w"), Duration::from_secs(14_400));
        assert_eq!(fresh_for(Preset::Trading, "1w"), Duration::from_secs(2));
    }
}
