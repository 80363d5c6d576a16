//! The cache: its tiers and its regions.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::condition::Report;
use crate::error::{BuildError, Reason};
use crate::memory::RegionId;
use crate::metrics::{Counters, RegionStats};
use crate::policy::Policy;
use crate::region::Region;
use crate::shared::{RegionShared, Shared};
use crate::store::{self, Addition, BreakerState, GuardedStore, Store, StoreError, Usage};
use crate::write_behind::MAX_WAITING_BYTES;

/// A cache of bytes in two tiers, memory and an optional store, that goes on answering whatever fails.
///
/// Values live in [`Region`]s: families of keys with one policy. Clones share everything.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use lastgood::{Cache, Loaded, Policy};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let cache = Cache::builder().build()?;
/// let prices = cache.region("prices", Policy::fresh_for(Duration::from_secs(1)))?;
///
/// let load = || async { Ok(Loaded::from(Bytes::from_static(b"{\"price\":\"1.50\"}"))) };
/// let first = prices.get_or_load("BTCUSDT", load).await?;
/// let second = prices.get_or_load("BTCUSDT", load).await?;
/// assert_eq!(first.outcome().as_x_cache(), "MISS");
/// assert_eq!(second.outcome().as_x_cache(), "HIT");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Cache {
    pub(crate) shared: Arc<Shared>,
}

/// Names become parts of store keys, separated by `:`.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), BuildError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(sound) {
        return Err(BuildError(format!("{what} {name:?} may hold only letters, digits, '-', '_' and '.'")));
    }
    Ok(())
}

/// The largest values that the tiers keep, in bytes. A larger one is not kept there, and says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Largest {
    /// In memory: a part of its limit, which is split so that threads do not wait for each other.
    pub in_memory: u64,
    /// In the store, if there is one: what it takes, and what may wait to be written.
    pub in_store: Option<u64>,
}

/// How the cache is doing.
#[derive(Clone, Debug)]
pub struct CacheStatus {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Bytes held in memory.
    pub memory_bytes: u64,
    /// Loads under way.
    pub loads: usize,
    /// The store, if there is one.
    pub store: Option<StoreStatus>,
}

/// How the store is doing, as far as this process knows without asking it.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// The store's name, without secrets.
    pub name: String,
    /// Whether it is being asked.
    pub breaker: BreakerState,
    /// Whether it has answered any call since the start.
    pub has_answered: bool,
    /// Removals it has not confirmed.
    pub unconfirmed_removals: usize,
    /// Writes given up.
    pub dropped_writes: u64,
    /// Whether the invalidations of other processes are heard; `None` where no other can share the store.
    pub hears_others: Option<bool>,
    /// Invalidations by this process that could not be published to the others yet.
    pub unpublished: usize,
    /// What keeps the store from doing all of its work at the moment, such as a full or read-only disk.
    pub trouble: Option<String>,
    /// Why changes that wait for the store would not outlive this process; `None` while they would, and where there is no
    /// [`CacheBuilder::pending_file`](crate::CacheBuilder::pending_file).
    pub pending_trouble: Option<String>,
    /// How it is doing, why, and since when.
    pub report: Report,
}

impl Cache {
    /// A region of keys under `policy`, with schema 1. See [`Cache::region_with_schema`].
    ///
    /// # Errors
    ///
    /// When the name is taken or unsound, or the policy contradicts itself.
    pub fn region(&self, name: &str, policy: Policy) -> Result<Region, BuildError> {
        self.region_with_schema(name, policy, 1)
    }

    /// A region whose values have the given schema. Raise it when their form changes: the old values are then missing,
    /// and programs of both versions can share a store meanwhile.
    ///
    /// # Errors
    ///
    /// When the name is taken or unsound, or the policy contradicts itself.
    pub fn region_with_schema(&self, name: &str, policy: Policy, schema: u32) -> Result<Region, BuildError> {
        check_name("region", name)?;
        if let Some(fault) = policy.fault() {
            return Err(BuildError(format!("policy of region {name}: {fault}")));
        }
        let mut regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.iter().any(|region| region.name == name) {
            return Err(BuildError(format!("region {name} exists already")));
        }
        let id = RegionId::try_from(regions.len()).map_err(|_| BuildError("too many regions".to_owned()))?;
        let prefix = format!("{}:{name}:v{schema}:", self.shared.namespace);
        let region = Arc::new(RegionShared {
            id,
            name: name.to_owned(),
            prefix,
            schema,
            permits: Arc::new(Semaphore::new(policy.max_loads.min(Semaphore::MAX_PERMITS))),
            policy: Arc::new(policy),
            counters: Counters::default(),
            cleared_at: AtomicU64::new(0),
            expired_at: AtomicU64::new(0),
        });
        regions.push(Arc::clone(&region));
        Ok(Region { cache: Arc::clone(&self.shared), shared: region })
    }

    /// Every region of the cache, in the order of their making.
    pub fn regions(&self) -> Vec<Region> {
        let regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.iter().map(|region| Region { cache: Arc::clone(&self.shared), shared: Arc::clone(region) }).collect()
    }

    /// The counters of every region by name. Walks all keys in memory to count them.
    pub fn stats(&self) -> Vec<(String, RegionStats)> {
        let regions = self.regions();
        let usage = self.shared.memory.usage(regions.len());
        let stats = |region: &Region, (keys, bytes)| region.shared.counters.snapshot(keys, bytes);
        regions.iter().zip(usage).map(|(region, usage)| (region.shared.name.clone(), stats(region, usage))).collect()
    }

    /// The regions in which a last good answer stood in for the source, when that was last, and why. Walks no keys.
    pub fn last_good_served(&self) -> Vec<(String, Timestamp, Reason)> {
        let regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let served = |region: &Arc<RegionShared>| {
            let (at, reason) = region.counters.last_good_served()?;
            Some((region.name.clone(), at, reason))
        };
        regions.iter().filter_map(served).collect()
    }

    /// The regions in which a last good answer stood in for the source in the minute before `now`, and how old the oldest of
    /// them was.
    pub fn oldest_last_good(&self, now: Timestamp) -> Vec<(String, Duration)> {
        let regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = |region: &Arc<RegionShared>| Some((region.name.clone(), region.counters.oldest_last_good(now)?));
        regions.iter().filter_map(oldest).collect()
    }

    /// Switches the cache off, so that every read goes to its loader, or on again. Takes effect at once.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Whether the cache is switched on.
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// How the cache is doing. Makes no request.
    pub fn status(&self) -> CacheStatus {
        CacheStatus {
            enabled: self.is_enabled(),
            memory_bytes: self.shared.memory.bytes(),
            loads: self.shared.flights.len(),
            store: self.shared.store.as_ref().map(|tier| StoreStatus {
                name: tier.store.to_string(),
                breaker: tier.store.state(),
                has_answered: tier.store.has_answered(),
                unconfirmed_removals: tier.behind.unconfirmed_removals()
                    + self.shared.owed_bulk.load(Ordering::Relaxed),
                dropped_writes: tier.behind.dropped.load(Ordering::Relaxed),
                hears_others: tier
                    .store
                    .log()
                    .map(|_| self.shared.clock.now() <= self.shared.verification.verified_until()),
                unpublished: self.shared.publisher.pending(),
                trouble: tier.store.trouble().map(|why| why.cause().into_owned()),
                pending_trouble: tier.behind.journal_trouble(),
                report: tier.store.report(),
            }),
        }
    }

    /// The largest values that are kept.
    pub fn largest(&self) -> Largest {
        let of_store = |store: &dyn Store| store.largest_value().unwrap_or(u64::MAX).min(MAX_WAITING_BYTES);
        Largest {
            in_memory: self.shared.memory.largest_value(),
            in_store: self.shared.store.as_ref().map(|tier| of_store(&*tier.store)),
        }
    }

    /// Asks the store whether it answers and how much it holds; `None` without a store.
    ///
    /// # Errors
    ///
    /// When the store does not answer, with its reason.
    pub async fn probe_store(&self) -> Option<Result<Usage, StoreError>> {
        match &self.shared.store {
            Some(tier) => Some(tier.store.probe().await),
            None => None,
        }
    }

    /// Adds to the counters that the store keeps for all programs with this namespace, and answers with their sums;
    /// `None` without a store. See [`Store::add`]: `writer` is this process, and `number` higher than that of its last
    /// confirmed addition.
    ///
    /// # Errors
    ///
    /// When the store does not confirm the addition. Repeat it with the same number and counts.
    pub async fn add_to_counters(
        &self,
        writer: &str,
        number: u64,
        counts: Vec<(&'static str, u64)>,
    ) -> Option<Result<store::Counters, StoreError>> {
        let tier = self.shared.store.as_ref()?;
        let addition = Addition {
            key: format!("{}:{{counters}}:v1", self.shared.namespace),
            writer: writer.to_owned(),
            number,
            counts,
            at: self.shared.clock.now(),
        };
        Some(tier.store.add(&addition).await)
    }

    /// The store behind its guard, where other processes may share it: for what a program keeps there besides its regions,
    /// under keys that begin with its namespace and an `@`.
    pub fn shared_store(&self) -> Option<Arc<GuardedStore>> {
        self.shared.shared_tier().map(|tier| Arc::clone(&tier.store))
    }

    /// How many commands this process has sent to the store, where that is counted; see [`Store::commands`].
    pub fn store_commands(&self) -> Option<u64> {
        self.shared.store.as_ref()?.store.commands()
    }

    /// Forgets everything in every region, in every tier; see [`Region::clear`].
    pub async fn clear(&self) -> u64 {
        let mut removed = 0;
        for region in self.regions() {
            removed += region.clear().await;
        }
        removed
    }

    /// Waits, at most `within`, until the writes queued for the store are done. Says whether they are.
    pub async fn sync(&self, within: Duration) -> bool {
        match &self.shared.store {
            Some(tier) => tokio::time::timeout(within, tier.behind.drained()).await.is_ok(),
            None => true,
        }
    }

    /// Writes the queued changes, at most for `within`, and closes the store. Call it before the program ends. What the
    /// store does not take goes to the [`CacheBuilder::pending_file`](crate::CacheBuilder::pending_file), if there is
    /// one.
    ///
    /// # Errors
    ///
    /// When the store cannot be closed in order; the last writes may be lost.
    pub async fn close(&self, within: Duration) -> Result<(), StoreError> {
        self.sync(within).await;
        match &self.shared.store {
            Some(tier) => {
                tier.behind.close_journal().await;
                tier.store.close().await
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("status", &self.status()).finish_non_exhaustive()
    }
}
