//! How long an answer is fresh, stale but usable, and kept for bad days.

use std::time::Duration;

use crate::clock::Timestamp;

/// The times and limits of a region, in plain durations. Words after RFC 9111 (fresh) and RFC 5861 (stale).
///
/// ```text
/// written ── fresh_for ──▶┬─ stale_while_revalidate ──▶
///            served       │  served, and refreshed in the background
///                         └─ stale_if_error ──────────────────────▶ gone
///                            after stale_while_revalidate served only
///                            when the source fails or is slower than
///                            soft_timeout
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Served without asking the source.
    pub fresh_for: Duration,
    /// After that, served at once while one load refreshes it in the background. Defaults to zero because a trader who
    /// asks for a price expects this second's.
    pub stale_while_revalidate: Duration,
    /// How long after the end of freshness the last good answer may stand in for a failing source, as in RFC 5861.
    /// Defaults to a day. Zero together with a zero `stale_while_revalidate` means never stale.
    pub stale_if_error: Keep,
    /// Shortens each `fresh_for` by up to this fraction, so that what was written together does not expire together.
    /// Defaults to 0.1.
    pub jitter: f64,
    /// How long "there is no such thing" is remembered, in this process only. Defaults to 10 s, the longest that
    /// something new may stay unseen.
    pub negative_for: Duration,
    /// With a kept answer at hand, the longest a read waits for the source. Defaults to 400 ms because exchange
    /// clients exist that give up after 1 s.
    pub soft_timeout: Duration,
    /// The longest a load may take. Defaults to 10 s.
    pub hard_timeout: Duration,
    /// Bodies larger than this many bytes are compressed in the store: rows of numbers column by column, all else by zstd
    /// (feature `zstd`; stored as they are without it). Defaults to 1 KiB.
    pub compress_over: usize,
    /// Loads of the region under way at once; one more is refused, and served from the last good. Defaults to 256.
    pub max_loads: usize,
}

/// How long a last good answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This long after its freshness ended.
    For(Duration),
    /// For as long as there is room. Stores that want a time to live get 90 days, renewed by each write.
    Forever,
}

/// What "forever" means to a store in which every key has a time to live: 90 days.
pub(crate) const FOREVER_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

impl Policy {
    /// A policy with the given freshness and the defaults of each field.
    pub fn fresh_for(fresh_for: Duration) -> Self {
        Policy {
            fresh_for,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Keep::For(Duration::from_secs(24 * 3600)),
            jitter: 0.1,
            negative_for: Duration::from_secs(10),
            soft_timeout: Duration::from_millis(400),
            hard_timeout: Duration::from_secs(10),
            compress_over: 1024,
            max_loads: 256,
        }
    }

    /// The same with another `stale_while_revalidate`.
    #[must_use]
    pub fn stale_while_revalidate(mut self, stale_while_revalidate: Duration) -> Self {
        self.stale_while_revalidate = stale_while_revalidate;
        self
    }

    /// The same with another `stale_if_error`.
    #[must_use]
    pub fn stale_if_error(mut self, stale_if_error: Keep) -> Self {
        self.stale_if_error = stale_if_error;
        self
    }

    /// The fix for a policy that contradicts itself, if it does.
    pub(crate) fn fault(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Some(format!("jitter is {}, but must lie between 0 and 1", self.jitter));
        }
        if self.hard_timeout.is_zero() {
            return Some("hard_timeout is zero, so no load could ever end well".to_owned());
        }
        if self.max_loads == 0 {
            return Some("max_loads is zero, so no load could ever begin".to_owned());
        }
        None
    }

    /// The times of an answer written at `now`; `spread` in 0..1 chooses the point within the jitter. A `fresh_for`
    /// of the source's own is taken as it is, and a `ttl` ends all three.
    pub(crate) fn times(
        &self,
        now: Timestamp,
        fresh_for: Option<Duration>,
        ttl: Option<Duration>,
        spread: f64,
    ) -> Times {
        let shortened = || self.fresh_for.saturating_sub(self.fresh_for.mul_f64(self.jitter * spread.clamp(0.0, 1.0)));
        let fresh_for = fresh_for.unwrap_or_else(shortened);
        let fresh_until = now.plus(fresh_for);
        let stale_until = fresh_until.plus(self.stale_while_revalidate);
        match ttl.map(|ttl| now.plus(ttl)) {
            Some(end) => {
                Times { fresh_until: fresh_until.min(end), stale_until: stale_until.min(end), keep_until: end }
            }
            None => Times { fresh_until, stale_until, keep_until: self.kept_until(fresh_until).max(stale_until) },
        }
    }

    /// Until when an answer that was fresh until `fresh_until` may stand in for a failing source.
    pub(crate) fn kept_until(&self, fresh_until: Timestamp) -> Timestamp {
        match self.stale_if_error {
            Keep::For(keep) => fresh_until.plus(keep),
            Keep::Forever => Timestamp::FOREVER,
        }
    }
}

/// The three ends of an answer's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) fresh_until: Timestamp,
    pub(crate) stale_until: Timestamp,
    pub(crate) keep_until: Timestamp,
}

impl Times {
    /// The same by a clock that is `by` milliseconds ahead.
    pub(crate) fn shifted(self, by: i64) -> Times {
        let Times { fresh_until, stale_until, keep_until } = self;
        Times {
            fresh_until: fresh_until.shifted(by),
            stale_until: stale_until.shifted(by),
            keep_until: keep_until.shifted(by),
        }
    }

    /// Neither fresh nor stale from `at` on; kept as long as `policy` says after the end of freshness, and no longer than
    /// before.
    pub(crate) fn ended(self, at: Timestamp, policy: &Policy) -> Times {
        let fresh_until = self.fresh_until.min(at);
        Times {
            fresh_until,
            stale_until: self.stale_until.min(at),
            keep_until: self.keep_until.min(policy.kept_until(fresh_until)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_ever_shortens() {
        let policy = Policy { jitter: 0.2, ..Policy::fresh_for(Duration::from_secs(10)) };
        let now = Timestamp::from_millis(1_000);
        assert_eq!(policy.times(now, None, None, 0.0).fresh_until, Timestamp::from_millis(11_000));
        assert_eq!(policy.times(now, None, None, 1.0).fresh_until, Timestamp::from_millis(9_000));
    }

    #[test]
    fn an_answer_is_kept_at_least_as_long_as_it_is_stale() {
        let policy = Policy::fresh_for(Duration::from_secs(60)).stale_if_error(Keep::For(Duration::ZERO));
        let times = policy.times(Timestamp::EPOCH, None, None, 0.0);
        assert_eq!(times.keep_until, times.stale_until);
    }

    #[test]
    fn an_answer_is_kept_from_the_end_of_its_freshness_which_may_be_the_sources_own() {
        let policy = Policy { jitter: 0.0, ..Policy::fresh_for(Duration::from_secs(60)) };
        let policy = policy.stale_if_error(Keep::For(Duration::from_secs(10)));
        let kept = |fresh_for| policy.times(Timestamp::EPOCH, fresh_for, None, 0.0).keep_until;
        assert_eq!(kept(None), Timestamp::from_millis(70_000));
        assert_eq!(kept(Some(Duration::from_secs(5))), Timestamp::from_millis(15_000));
    }

    #[test]
    fn a_ttl_ends_freshness_and_the_last_good_answer_and_makes_it_last_as_long() {
        let second = Duration::from_secs;
        let policy =
            Policy::fresh_for(second(60)).stale_while_revalidate(second(60)).stale_if_error(Keep::For(second(600)));
        let times = |fresh_for, ttl| {
            let Times { fresh_until, stale_until, keep_until } = policy.times(Timestamp::EPOCH, fresh_for, ttl, 0.0);
            [fresh_until, stale_until, keep_until].map(|time| time.as_millis() / 1_000)
        };
        assert_eq!(times(None, Some(second(1))), [1, 1, 1]);
        assert_eq!(times(None, Some(second(90))), [60, 90, 90]);
        assert_eq!(times(None, Some(second(9_000))), [60, 120, 9_000], "longer than the policy keeps");
        assert_eq!(times(Some(second(30)), Some(second(10))), [10, 10, 10]);
        assert_eq!(times(Some(second(30)), None), [30, 90, 630]);
    }

    #[test]
    fn contradictions_are_named() {
        let policy = Policy { jitter: 1.5, ..Policy::fresh_for(Duration::from_secs(1)) };
        assert!(policy.fault().is_some_and(|fault| fault.contains("jitter")));
    }
}
