//! What caches and regions share. It names neither, so that both can be built on it.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::flight::Flights;
use crate::given::Given;
use crate::invalidation::{OwedBulk, Selectors};
use crate::lease::Leases;
use crate::memory::{Key, Memory, RegionId};
use crate::metrics::Counters;
use crate::policy::Policy;
use crate::publisher::Publisher;
use crate::store::{GuardedStore, Position, Store as _};
use crate::tags::Tags;
use crate::verification::Verification;
use crate::write_behind::WriteBehind;

/// What the clones of a cache share, and its regions.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) memory: Memory,
    pub(crate) flights: Arc<Flights>,
    pub(crate) store: Option<Tier>,
    /// Loads that failed or found nothing a moment ago, so that they are not repeated at once. Bounded.
    pub(crate) backoffs: QuickCache<Key, Arc<Backoff>, BySize>,
    /// What was answered and is not kept. Bounded.
    pub(crate) given: Given,
    pub(crate) enabled: AtomicBool,
    pub(crate) random: RandomState,
    pub(crate) tags: Tags,
    pub(crate) leases: Leases,
    /// What was heard of the other processes that share the store.
    pub(crate) verification: Verification,
    pub(crate) publisher: Arc<Publisher>,
    /// The task that hears of the other processes; it ends with the cache.
    pub(crate) listener: OnceLock<JoinHandle<()>>,
    /// The task that hears of what others do to single keys of the store; it ends with the cache.
    pub(crate) watcher: OnceLock<JoinHandle<()>>,
    pub(crate) namespace: String,
    pub(crate) regions: Mutex<Vec<Arc<RegionShared>>>,
    /// How the text of a selector is understood.
    pub(crate) selectors: Option<Selectors>,
    /// Bulk invalidations of the store that are still to be made because it was away.
    pub(crate) owed_bulk: AtomicUsize,
    pub(crate) owed: Mutex<Vec<Arc<OwedBulk>>>,
    /// How far an earlier process, which left changes to be made, heard the others, and when.
    pub(crate) heard_before: Mutex<Option<(Option<Position>, Timestamp)>>,
}

impl Shared {
    /// The store, where other processes may share it.
    pub(crate) fn shared_tier(&self) -> Option<&Tier> {
        self.store.as_ref().filter(|tier| tier.store.log().is_some())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in [&self.listener, &self.watcher] {
            if let Some(task) = task.get() {
                task.abort();
            }
        }
    }
}

/// The store and the queue of writes to it.
pub(crate) struct Tier {
    pub(crate) store: Arc<GuardedStore>,
    pub(crate) behind: Arc<WriteBehind>,
}

/// A load that failed or found nothing.
pub(crate) struct Backoff {
    pub(crate) error: Arc<Error>,
    pub(crate) until: Timestamp,
    pub(crate) in_a_row: u32,
}

/// How many keys' backoffs are remembered; beyond it the least asked for are forgotten and may be tried again.
pub(crate) const BACKOFFS: usize = 8_192;
/// The most bytes they take altogether: names can be long, and a source's own error answer is kept with its error.
pub(crate) const BACKOFF_BYTES: u64 = 16 << 20;

#[derive(Clone)]
pub(crate) struct BySize;

impl Weighter<Key, Arc<Backoff>> for BySize {
    fn weight(&self, key: &Key, backoff: &Arc<Backoff>) -> u64 {
        let answer = backoff.error.answer.as_ref().map_or(0, |answer| answer.body.len());
        let fixed = BACKOFF_BYTES as usize / BACKOFFS / 2;
        (fixed + key.name.len() + backoff.error.message.len() + answer) as u64
    }
}

/// What the clones of a region share.
pub(crate) struct RegionShared {
    pub(crate) id: RegionId,
    pub(crate) name: String,
    /// What every key of the region begins with in the store: `namespace:region:vSCHEMA:`.
    pub(crate) prefix: String,
    pub(crate) schema: u32,
    pub(crate) policy: Arc<Policy>,
    pub(crate) counters: Counters,
    pub(crate) permits: Arc<Semaphore>,
    /// When the region was last cleared; what the store holds from before is not believed.
    pub(crate) cleared_at: AtomicU64,
    /// When keys of the region expired that the store will not be searched for: what it holds from before is not fresh.
    pub(crate) expired_at: AtomicU64,
}
