//! What an answer says of itself in its headers, and what its reader takes.

use std::cell::RefCell;
use std::time::Duration;

use http::header::{AGE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use lastgood::{Answer, Error, Freshness, Outcome, Timestamp};
use lastgood_market::candles::Slice;

use super::recent::{Recent, numeral};

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// What forms of a body the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) gzip: bool,
}

impl Accepts {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Accepts { gzip: headers.get_all(header::ACCEPT_ENCODING).iter().any(names_gzip) }
    }
}

/// The longest value that a thread remembers.
const REMEMBERED: usize = 128;

/// Whether the value of an `Accept-Encoding` takes gzip. A thread remembers the last: clients of one kind send the same.
pub(crate) fn names_gzip(value: &HeaderValue) -> bool {
    thread_local!(static LAST: RefCell<(Vec<u8>, bool)> = const { RefCell::new((Vec::new(), false)) });
    let bytes = value.as_bytes();
    LAST.with_borrow_mut(|(last, takes)| {
        if *last == bytes {
            return *takes;
        }
        let named = value.to_str().is_ok_and(takes_gzip);
        if bytes.len() <= REMEMBERED {
            last.clear();
            last.extend_from_slice(bytes);
            *takes = named;
        }
        named
    })
}

/// Whether an `Accept-Encoding` takes gzip: by its name, else by a `*`, with a weight above zero (RFC 9110, 12.5.3).
fn takes_gzip(value: &str) -> bool {
    let takes = |wanted: &str| {
        value.split(',').find_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            let is_zero = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse().is_ok_and(|q: f32| q <= 0.0));
            Some(!parts.any(is_zero))
        })
    };
    takes("gzip").or_else(|| takes("*")).unwrap_or(false)
}

/// What an answer says about itself.
pub(crate) struct Label {
    pub(crate) outcome: Outcome,
    pub(crate) given_at: Timestamp,
    age: Duration,
    /// The rest of its freshness in seconds, negative when none is.
    ttl: i64,
    /// Whether this gateway may have missed its invalidation by another.
    unverified: bool,
}

impl From<&Answer> for Label {
    fn from(answer: &Answer) -> Label {
        let ttl = match answer.freshness() {
            Freshness::Fresh => i64::try_from(answer.fresh_for().as_secs()).unwrap_or(i64::MAX),
            _ => -i64::try_from(answer.stale_by().as_secs()).unwrap_or(i64::MAX),
        };
        let unverified = answer.is_unverified();
        Label { outcome: answer.outcome(), given_at: answer.given_at(), age: answer.age(), ttl, unverified }
    }
}

/// Settled candles do not change: what HTTP calls immutable is a year.
const SETTLED: i64 = 365 * 86_400;

impl Label {
    /// What a value that has just come says.
    pub(crate) fn new(outcome: Outcome, fresh_for: Duration) -> Label {
        let ttl = i64::try_from(fresh_for.as_secs()).unwrap_or(i64::MAX);
        Label { outcome, given_at: Timestamp::EPOCH, age: Duration::ZERO, ttl, unverified: false }
    }

    /// The same said of another outcome.
    pub(crate) fn of(self, outcome: Outcome) -> Label {
        Label { outcome, ..self }
    }

    /// Says it in the headers of an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let (age, status) = self.of_the_moment();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(AGE, age);
        headers.insert(X_CACHE, HeaderValue::from_static(self.outcome.as_x_cache()));
        headers.insert(CACHE_STATUS, status);
    }

    /// What it says that is another thing by the second: the values of `Age` and `Cache-Status`.
    pub(crate) fn of_the_moment(&self) -> (HeaderValue, HeaderValue) {
        thread_local!(static STATUSES: Recent<(Outcome, i64, bool)> = const { Recent::new() });
        let said = (self.outcome, self.ttl, self.unverified);
        let status = STATUSES.with(|statuses| statuses.get(said, self.ttl.unsigned_abs(), || cache_status(self)));
        (numeral(self.age.as_secs()), status)
    }
}

impl From<&Slice> for Label {
    fn from(slice: &Slice) -> Label {
        let label = match &slice.tail {
            Some(tail) => Label::from(tail),
            None => {
                let (given_at, age) = (slice.given_at, slice.age);
                Label { outcome: slice.outcome, given_at, age, ttl: SETTLED, unverified: false }
            }
        };
        Label { outcome: slice.outcome, unverified: label.unverified || slice.unverified, ..label }
    }
}

/// The `Cache-Status` of RFC 9211.
fn cache_status(label: &Label) -> HeaderValue {
    let ttl = label.ttl;
    let note = if label.unverified { "; unverified" } else { "" };
    let status = match label.outcome {
        Outcome::Hit(tier) => format!("lastgood; hit; ttl={ttl}; detail={}{note}", tier.as_str()),
        Outcome::Stale => format!("lastgood; hit; ttl={ttl}; detail=stale{note}"),
        Outcome::LastGood(reason) => format!("lastgood; hit; ttl={ttl}; detail=last-good:{reason}{note}"),
        Outcome::Miss => format!("lastgood; fwd=miss; stored; ttl={ttl}"),
        Outcome::Joined => format!("lastgood; fwd=miss; collapsed; ttl={ttl}"),
        Outcome::Bypass(reason) => format!("lastgood; fwd=bypass; detail={}", reason.as_str()),
    };
    HeaderValue::try_from(status).unwrap_or(HeaderValue::from_static("lastgood"))
}

/// What a failure says of itself where there is neither a fresh nor a last good answer: whether it is an earlier one's, and
/// when to ask again.
pub(crate) fn label_failure(headers: &mut HeaderMap, error: &Error) {
    if let Some(wait) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000).max(1) as u64));
    }
    // RFC 9211 calls it a hit when nothing was forwarded. `X-Cache` speaks of answers, and this is none.
    let status = match error.remembered {
        true => format!("lastgood; hit; detail={}", error.reason),
        false => format!("lastgood; fwd=miss; detail={}", error.reason),
    };
    headers.insert(X_CACHE, HeaderValue::from_static("ERROR"));
    headers.insert(CACHE_STATUS, HeaderValue::try_from(status).unwrap_or(HeaderValue::from_static("lastgood")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for yes in ["gzip", "deflate, gzip;q=0.5", "*", "br, GZIP", "br;q=1, zstd, gzip;q=0.1", "br;q=0, *;q=0.5"] {
            assert!(takes_gzip(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "identity", "xgzip", "gzip; q=0.0", "gzip;q=0, *", "*;q=0"] {
            assert!(!takes_gzip(no), "{no}");
        }
        for (value, takes) in [("gzip", true), ("br", false), ("br", false), ("gzip", true), ("gzip", true)] {
            assert_eq!(names_gzip(&HeaderValue::from_static(value)), takes, "{value}, after others");
        }
    }
}
