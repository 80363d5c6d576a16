//! What the handlers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lastgood::{Cache, Clock, KeyedMutex, Region, Timestamp};
use lastgood_market::{Engine, Plans, RegionName, Venue};
use lastgood_settings::Limits;

use crate::admin::Admin;
use crate::bulk_limit::BulkLimit;
use crate::claims::Claims;
use crate::cors::Cors;
use crate::durations::Durations;
use crate::figures::Figures;
use crate::fleet::Fleet;
use crate::places::Places;
use crate::response::packed_lists::PackedLists;
use crate::routes::known::KnownTargets;

/// Every shared component.
pub(crate) struct App {
    /// The tiers.
    pub(crate) cache: Cache,
    /// What answers questions about the exchange.
    pub(crate) engine: Engine,
    /// The regions of applications' own data.
    pub(crate) named: BTreeMap<String, Region>,
    /// The routes that the configuration declares.
    pub(crate) declared: lastgood_routes::Routes,
    /// Targets of declared routes that were answered from memory.
    pub(crate) known_targets: Arc<KnownTargets>,
    /// What to do with questions that were asked before.
    pub(crate) plans: Plans,
    /// Lists of candles, packed.
    pub(crate) packed_lists: PackedLists,
    /// The gateways that share the store, if it can be shared.
    pub(crate) fleet: Option<Arc<Fleet>>,
    /// What the store says of itself, and the counters that outlive this process.
    pub(crate) figures: Arc<Figures>,
    /// Values that are being changed: a condition still holds when its change comes.
    pub(crate) changing: KeyedMutex,
    /// Who computes which analysis.
    pub(crate) claims: Claims,
    /// Who may do more than read.
    pub(crate) admin: Admin,
    /// How many bulk changes run at once.
    pub(crate) bulk_limit: BulkLimit,
    /// Where time comes from.
    pub(crate) clock: Clock,
    /// What requests may ask for.
    pub(crate) limits: Limits,
    /// How many connections there may be.
    pub(crate) connections: usize,
    /// Places for requests that wait.
    pub(crate) places: Arc<Places>,
    /// What no region counts.
    pub(crate) counts: Counts,
    /// How long requests took, and how they ended.
    pub(crate) durations: Durations,
    /// Whether the exchange's paths are there.
    pub(crate) has_exchange: bool,
    /// Whose pages may read public answers.
    pub(crate) cors: Cors,
    /// Whether each request is a line of the log.
    pub(crate) access_log: AtomicBool,
    /// When the gateway was built.
    pub(crate) began: Timestamp,
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
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl App {
    pub(crate) fn region(&self, name: RegionName) -> &Region {
        self.engine.region(name)
    }

    /// The region of this name for data of applications, which clients may choose: none of the exchange's.
    pub(crate) fn application_region(&self, name: &str) -> Option<&Region> {
        self.named.get(name)
    }

    /// The weight used at a venue in the minute of `now`, for the header that clients pace themselves by.
    pub(crate) fn used_weight(&self, venue: Venue, now: Timestamp) -> u32 {
        self.engine.upstreams.venue(venue).used(now)
    }
}
