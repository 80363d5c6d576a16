//! How far the exchange's clock is from this machine's.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

use http::{HeaderMap, header};
use lastgood::Timestamp;

/// `Date` counts whole seconds, so the exchange's clock showed up to this many ms more.
const SECOND: i64 = 1_000;
/// A larger difference is no fast or slow clock, but a header that means something else.
const MOST: i64 = 24 * 3_600 * SECOND;
/// From here on the log says so. Exchanges refuse signed requests that are late by 5 s, and sooner if early.
const TELL_FROM: i64 = 5 * SECOND;

/// The least correction of this machine's clock that agrees with what the exchange's answers say of theirs.
#[derive(Default)]
pub(crate) struct ClockSkew {
    millis: AtomicI64,
    is_known: AtomicBool,
    is_reported: AtomicBool,
}

impl ClockSkew {
    /// Learns from an answer that was asked for at `sent` and began at `received`. One from a cache on the way is old.
    pub(super) fn learn(&self, headers: &HeaderMap, sent: Timestamp, received: Timestamp) {
        let is_cached = headers.contains_key(header::AGE);
        let Some(date) = headers.get(header::DATE).filter(|_| !is_cached).and_then(|date| millis(date.to_str().ok()?))
        else {
            return;
        };
        let (earliest, latest) = (date - signed(received), date + SECOND - signed(sent));
        // Two clocks that were set during the call may make it end before its beginning.
        if earliest > latest || earliest > MOST || latest < -MOST {
            return;
        }
        let was = self.millis.load(Ordering::Relaxed);
        let skew = was.clamp(earliest, latest);
        self.millis.store(skew, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
        let is_off = skew.abs() >= TELL_FROM;
        if is_off != self.is_reported.swap(is_off, Ordering::Relaxed) {
            match is_off {
                true => tracing::warn!(
                    seconds = skew / SECOND,
                    "this machine's clock is not the exchange's, which is ahead by so much: set it by NTP"
                ),
                false => tracing::info!("this machine's clock agrees with the exchange's again"),
            }
        }
    }

    /// Whether any answer has said what time it is.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// How far the exchange's clock is ahead of this machine's, in ms; negative where it is behind.
    pub(crate) fn millis(&self) -> i64 {
        self.millis.load(Ordering::Relaxed)
    }
}

fn signed(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

fn millis(date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2026-01-01T00:00:00Z
    const NEW_YEAR: u64 = 1_767_225_600_000;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(NEW_YEAR + millis)
    }

    fn said(millis: u64) -> HeaderMap {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(NEW_YEAR + millis));
        HeaderMap::from_iter([(header::DATE, date.parse().unwrap())])
    }

    #[test]
    fn a_clock_that_agrees_is_left_as_it_is() {
        let skew = ClockSkew::default();
        skew.learn(&said(10_000), at(10_900), at(10_950));
        skew.learn(&said(11_000), at(10_990), at(12_500));
        assert_eq!(skew.millis(), 0);
    }

    #[test]
    fn the_estimate_of_an_offset_grows_with_the_answers_and_changes_with_the_clocks() {
        let skew = ClockSkew::default();
        // The exchange is 180.4 s ahead.
        skew.learn(&said(190_000), at(10_000), at(10_050));
        assert_eq!(skew.millis(), 179_950);
        skew.learn(&said(191_000), at(10_600), at(10_650));
        assert_eq!(skew.millis(), 180_350, "never more than it is, and closer with every answer");
        skew.learn(&said(198_000), at(10_000), at(18_000));
        assert_eq!(skew.millis(), 180_350, "a slow answer says less, and nothing else");
        skew.learn(&said(20_000), at(20_100), at(20_200));
        assert_eq!(skew.millis(), 900, "this machine's clock was set");
    }

    #[test]
    fn an_exchange_that_is_behind_is_known_as_well() {
        let skew = ClockSkew::default();
        skew.learn(&said(10_000), at(610_000), at(610_100));
        assert_eq!(skew.millis(), -599_000, "behind by ten minutes, or a second less");
    }

    #[test]
    fn a_header_that_is_no_clock_says_nothing() {
        let skew = ClockSkew::default();
        let mut cached = said(0);
        cached.insert(header::AGE, "3600".parse().unwrap());
        let garbage = HeaderMap::from_iter([(header::DATE, "today".parse().unwrap())]);
        for headers in [said(2 * 86_400_000), cached, garbage, HeaderMap::new()] {
            skew.learn(&headers, at(3_600_000), at(3_600_050));
        }
        skew.learn(&said(0), at(60_000), at(10_000));
        assert_eq!(skew.millis(), 0);
    }
}
