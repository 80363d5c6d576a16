//! How long an answer is fresh by its own word.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// A source's own word counts within these.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);

/// Seconds as a duration that can be lived with.
pub(super) fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}

/// The rest of `max-age`, else the time between `Date` and `Expires`. Nothing where the answer is not to be kept at
/// all: a route may declare otherwise, and for how long.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let directives = text(header::CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let directive = |name: &str| {
        let named = directives.split(',').map(str::trim).find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
        named.and_then(|value| value.trim_matches('"').parse::<u64>().ok())
    };
    if directives.split(',').any(|one| matches!(one.trim(), "no-store" | "no-cache")) {
        return None;
    }
    let seconds = match directive("s-maxage").or(directive("max-age")) {
        Some(seconds) => {
            let age = text(header::AGE).and_then(|age| age.trim().parse::<u64>().ok()).unwrap_or(0);
            seconds.checked_sub(age)?
        }
        None => {
            let day = |name| rfc2822::parse(text(name)?).ok().map(|day| day.timestamp());
            let (expires, date): (Timestamp, Timestamp) = (day(header::EXPIRES)?, day(header::DATE)?);
            u64::try_from(expires.duration_since(date).as_secs()).ok()?
        }
    };
    (seconds > 0).then(|| bounded(seconds as f64))
}

/// The seconds of `Retry-After`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_headers_of_an_answer_say_how_long_it_is_fresh() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            of_headers(&pairs.collect()).map(|fresh_for| fresh_for.as_secs())
        };
        assert_eq!(of(&[("cache-control", "public, max-age=300")]), Some(300));
        assert_eq!(of(&[("cache-control", "max-age=300, s-maxage=\"60\""), ("age", "20")]), Some(40));
        assert_eq!(of(&[("cache-control", "max-age=999999999")]), Some(86_400));
        let (date, expires) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(of(&[("date", date), ("expires", expires)]), Some(60));
        for silent in [
            &[][..],
            &[("cache-control", "max-age=0")],
            &[("cache-control", "no-store, max-age=60")],
            &[("cache-control", "max-age=5"), ("age", "6")],
            &[("date", expires), ("expires", date)],
            &[("expires", "0")],
        ] {
            assert_eq!(of(silent), None, "{silent:?}");
        }
        assert_eq!((bounded(0.0), bounded(f64::MAX)), (SHORTEST, LONGEST));
    }
}
