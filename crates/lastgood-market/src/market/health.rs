//! How a market is doing.

use std::sync::atomic::Ordering;

use lastgood::store::{BreakerState, StoreError, Usage};
use lastgood::{CacheStatus, Timestamp};

use super::Shared;
use crate::budget::Stop;
use crate::fear_greed::FearGreed;
use crate::streams::Counters;
use crate::trouble::Trouble;
use crate::{Engine, RegionName, Venue};

/// How a market is doing. Whatever it says, reads are answered from the kept entries.
#[derive(Clone, Debug)]
pub struct Health {
    /// The tiers, as far as is known without asking.
    pub cache: CacheStatus,
    /// What the store said just now; none without one.
    pub store: Option<Result<Usage, StoreError>>,
    /// Why the store that was asked for is not used.
    pub no_store: Option<String>,
    /// The venues.
    pub venues: Vec<VenueHealth>,
    /// Until when we back off from the fear & greed API, if we do.
    pub fear_greed_stopped: Option<Timestamp>,
    /// The last failed load of every region that had one, the newest first.
    pub last_errors: Vec<Trouble>,
    /// The regions whose latest load failed, so that reads of them may get the last good answer.
    pub failing: Vec<RegionName>,
}

/// How a venue is doing.
#[derive(Clone, Debug)]
pub struct VenueHealth {
    /// Which.
    pub venue: Venue,
    /// Its hosts in the order they are preferred, and whether they can be asked.
    pub hosts: Vec<(String, bool)>,
    /// The exchange's pauses and bans in force, the longest first.
    pub stops: Vec<Stop>,
    /// Request weight used in this minute.
    pub used: u32,
    /// Calls sent so far.
    pub calls: u64,
    /// Its streams, where it has any.
    pub streams: Option<StreamHealth>,
}

/// How the streams of a venue are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHealth {
    /// Whether a connection is up. While nothing is in use there is none.
    pub connected: bool,
    /// Streams that are subscribed to.
    pub subscribed: u64,
    /// Messages that were taken so far.
    pub taken: u64,
}

impl Health {
    pub(super) async fn of(market: &Shared) -> Health {
        let engine = &market.engine;
        let store = engine.cache.probe_store().await;
        Health {
            store,
            cache: engine.cache.status(),
            no_store: market.no_store.clone(),
            venues: Venue::ALL.into_iter().map(|venue| VenueHealth::of(engine, venue)).collect(),
            fear_greed_stopped: engine.fear_greed.as_ref().and_then(FearGreed::stopped),
            last_errors: engine.troubles.last(),
            failing: engine.troubles.failing(),
        }
    }

    /// Whether the store answers, every venue has a host that can be asked, and no region's latest load failed.
    pub fn is_well(&self) -> bool {
        let breaker_closed = self.cache.store.as_ref().is_none_or(|store| store.breaker == BreakerState::Closed);
        let store_well = self.no_store.is_none() && breaker_closed && !matches!(self.store, Some(Err(_)));
        store_well
            && self.failing.is_empty()
            && self.fear_greed_stopped.is_none()
            && self.venues.iter().all(VenueHealth::is_well)
    }
}

impl StreamHealth {
    fn of(counters: &Counters) -> StreamHealth {
        StreamHealth {
            connected: counters.connected.load(Ordering::Relaxed) != 0,
            subscribed: counters.subscribed.load(Ordering::Relaxed),
            taken: counters.taken.load(Ordering::Relaxed),
        }
    }
}

impl VenueHealth {
    fn of(engine: &Engine, venue: Venue) -> VenueHealth {
        let upstream = engine.upstreams.venue(venue);
        let standings = || upstream.budgets().iter().map(|budget| budget.standing());
        let of_buckets = |buckets: [crate::budget::BucketStanding; 5]| buckets.into_iter().filter_map(|b| b.stop);
        let mut stops: Vec<Stop> =
            standings().flat_map(|standing| standing.stop.into_iter().chain(of_buckets(standing.buckets))).collect();
        stops.sort_by_key(|stop| std::cmp::Reverse(stop.until));
        VenueHealth {
            venue,
            hosts: upstream.hosts.iter().map(|host| (host.url.name().to_owned(), host.is_healthy())).collect(),
            stops,
            used: upstream.used(engine.clock.now()),
            calls: standings().map(|standing| standing.calls).sum(),
            streams: engine.streams.is_enabled(venue).then(|| StreamHealth::of(engine.streams.counters(venue))),
        }
    }

    /// Whether it has a host that can be asked, and we do not back off from it.
    pub fn is_well(&self) -> bool {
        self.stops.is_empty() && self.hosts.iter().any(|(_, is_healthy)| *is_healthy)
    }
}
