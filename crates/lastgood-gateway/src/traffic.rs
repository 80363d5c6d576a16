//! The traffic of a gateway since it was built, in one sum.

use std::sync::atomic::{AtomicU64, Ordering};

use lastgood_market::Bucket;
use serde::Serialize;

use crate::app::App;
use crate::fleet::{self, Counts};

/// The traffic of a gateway since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Requests of any path.
    pub requests: u64,
    /// Reads answered fresh from a tier.
    pub hits: u64,
    /// Answered stale with a refresh behind.
    pub stale: u64,
    /// Answered with the last good answer.
    pub last_good: u64,
    /// Answered by a load of their own.
    pub misses: u64,
    /// Answered by another's load.
    pub joined: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Refused by the source, as a symbol is that it does not have.
    pub refused: u64,
    /// Exchange requests answered by the gateway alone, such as pings. No reads of the cache.
    pub local: u64,
    /// Exchange requests passed through.
    pub passed: u64,
    /// Those of them that the exchange did not answer.
    pub pass_failures: u64,
    /// Cacheable requests sent upstream.
    pub upstream_calls: u64,
    /// Request weight spent on them.
    pub weight_spent: u64,
    /// Request weight that the cacheable requests would have cost without the cache.
    pub weight_asked: u64,
}

impl Traffic {
    /// The part of the reads that was answered fresh or stale, from 0 to 1; the definition is [`Counts::hit_rate`].
    pub fn hit_rate(&self) -> f64 {
        let Traffic { hits, stale, last_good, errors, .. } = *self;
        let misses = self.misses + self.joined;
        Counts { hits, stale, last_good, misses, errors, ..Counts::default() }.hit_rate()
    }

    /// Reads of the cache, but for those that the source refused.
    pub(crate) fn reads(&self) -> u64 {
        self.hits + self.stale + self.last_good + self.misses + self.joined + self.errors
    }
}

impl App {
    pub(crate) fn traffic(&self) -> Traffic {
        let stats = self.cache.stats();
        let joined = stats.iter().filter(|(region, _)| region != fleet::REGION).map(|(_, stats)| stats.joined).sum();
        let counts = Counts::of_cache(&self.cache);
        let standings: Vec<_> = self.engine.upstreams.budgets().map(|(_, budget)| budget.standing()).collect();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            requests: count(&self.counts.requests),
            hits: counts.hits,
            stale: counts.stale,
            last_good: counts.last_good,
            misses: counts.misses.saturating_sub(joined),
            joined,
            errors: counts.errors,
            refused: counts.refused,
            local: count(&self.counts.local),
            passed: count(&self.counts.passed),
            pass_failures: count(&self.counts.pass_failures),
            upstream_calls: standings.iter().map(|standing| standing.calls).sum(),
            weight_spent: standings.iter().map(|standing| standing.buckets[Bucket::Weight as usize].spent).sum(),
            weight_asked: count(&self.counts.weight_asked),
        }
    }
}
