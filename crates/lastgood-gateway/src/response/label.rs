//! What an answer says of itself in its headers.

use std::time::Duration;

use http::header::{AGE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use lastgood::{Answer, Error, Freshness, Outcome, Timestamp};
use lastgood_market::candles::Slice;

use super::recent::{Recent, numeral};

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

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
