//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lastgood::{Answer, Cache, Clock, Error, Loaded, Region, Timestamp};
use lastgood_market::plan::Source;
use lastgood_market::{Plans, Preset, Priority, RegionName, Venue, interval};

use crate::config::Limits;
use crate::upstream::Upstreams;

/// Every shared component.
pub(crate) struct App {
    /// The tiers.
    pub(crate) cache: Cache,
    /// The regions, by [`RegionName`].
    pub(crate) regions: Vec<Region>,
    /// What to do with questions that were asked before.
    pub(crate) plans: Plans,
    /// The exchange's venues.
    pub(crate) upstreams: Arc<Upstreams>,
    /// Where time comes from.
    pub(crate) clock: Clock,
    /// What requests may ask for.
    pub(crate) limits: Limits,
    /// Decides how long forming candles are fresh.
    pub(crate) preset: Preset,
    /// A configured freshness of forming candles, in place of the preset's.
    pub(crate) klines_fresh_for: Option<Duration>,
    /// What no region counts.
    pub(crate) counts: Counts,
}

/// What no region counts.
#[derive(Default)]
pub(crate) struct Counts {
    /// Requests, of any path.
    pub(crate) requests: AtomicU64,
    /// Exchange requests answered from here without the cache.
    pub(crate) local: AtomicU64,
    /// Exchange requests passed through.
    pub(crate) passed: AtomicU64,
    /// Those of them that the upstream did not answer.
    pub(crate) pass_failures: AtomicU64,
    /// What the exchange requests would have cost without the cache, in request weight.
    pub(crate) weight_asked: AtomicU64,
    /// Requests being answered now.
    pub(crate) active: AtomicUsize,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl App {
    pub(crate) fn region(&self, name: RegionName) -> &Region {
        &self.regions[name as usize]
    }

    /// The weight used at a venue in the minute of `now`, for the header that clients pace themselves by.
    pub(crate) fn used_weight(&self, venue: Venue, now: Timestamp) -> u32 {
        self.upstreams.venue(venue).used(now)
    }

    /// The answer of a source, from the cache or the exchange.
    pub(crate) async fn ask(&self, source: &Arc<Source>) -> Result<Answer, Error> {
        self.upstreams.heat.count(&source.key);
        let region = self.region(source.region());
        let load = {
            let region = region.clone();
            let (source, upstreams, clock) = (Arc::clone(source), Arc::clone(&self.upstreams), self.clock.clone());
            let forming = self.forming_fresh_for(&source);
            move || async move {
                let priority = match region.peek(&source.key) {
                    Some(_) => Priority::Refresh,
                    None => Priority::Demand,
                };
                load(&source, priority, &upstreams, &clock, forming).await
            }
        };
        region.get_or_load(&source.key, load).await
    }

    fn forming_fresh_for(&self, source: &Source) -> Duration {
        match (self.klines_fresh_for, source.interval()) {
            (Some(configured), _) => configured,
            (None, Some(interval)) => interval::fresh_for(self.preset, interval),
            (None, None) => Duration::from_secs(1),
        }
    }
}

/// Fetches, checks and dates an answer. Only what is of the shape asked for gets any further.
async fn load(
    source: &Source,
    priority: Priority,
    upstreams: &Upstreams,
    clock: &Clock,
    forming: Duration,
) -> Result<Loaded, Error> {
    let fetched = upstreams.fetch(source, priority).await?;
    let value = fetched.into_value(source, clock.now())?;
    let fresh_for = source.fresh_for(&value.body, clock.now(), forming);
    Ok(Loaded { fresh_for, ..Loaded::from(value) })
}
