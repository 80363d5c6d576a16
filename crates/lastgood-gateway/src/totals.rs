//! What a gateway did since it was built, in one sum.

use std::sync::atomic::{AtomicU64, Ordering};

use lastgood::RegionStats;
use lastgood_market::Bucket;

use crate::app::App;

/// What a gateway did since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests of any path.
    pub requests: u64,
    /// Exchange requests answered fresh from a tier or from here.
    pub hits: u64,
    /// Answered stale with a refresh behind.
    pub stale: u64,
    /// Answered with the last good answer.
    pub last_good: u64,
    /// Answered by a load of their own.
    pub misses: u64,
    /// Answered by another's load.
    pub joined: u64,
    /// Passed through.
    pub passed: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Cacheable requests sent upstream.
    pub upstream_calls: u64,
    /// Request weight spent on them.
    pub weight_spent: u64,
    /// Request weight that the cacheable requests would have cost without the cache.
    pub weight_asked: u64,
}

impl App {
    pub(crate) fn totals(&self) -> Totals {
        let stats = self.cache.stats();
        let sum = |field: fn(&RegionStats) -> u64| stats.iter().map(|(_, stats)| field(stats)).sum::<u64>();
        let standings: Vec<_> = self.upstreams.budgets().map(|(_, budget)| budget.standing()).collect();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            requests: count(&self.counts.requests),
            hits: sum(|stats| stats.hits_memory + stats.hits_store) + count(&self.counts.local),
            stale: sum(|stats| stats.stale),
            last_good: sum(|stats| stats.last_good),
            misses: sum(|stats| stats.misses),
            joined: sum(|stats| stats.joined),
            passed: count(&self.counts.passed),
            errors: sum(|stats| stats.errors) + count(&self.counts.pass_failures),
            upstream_calls: standings.iter().map(|standing| standing.calls).sum(),
            weight_spent: standings.iter().map(|standing| standing.buckets[Bucket::Weight as usize].spent).sum(),
            weight_asked: count(&self.counts.weight_asked),
        }
    }
}
