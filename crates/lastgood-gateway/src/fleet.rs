//! Counters of all gateways that share a store.
//!
//! Each writes its own every few seconds as one value that outlives it by a minute, and adds up what the others wrote.
//! No request writes anything. The sums are those of the gateways that are up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::{Answer, Cache, Clock, Filled, Keep, Loaded, Policy, Region, RegionStats, Value};
use serde::{Deserialize, Serialize};

use self::peers::Peers;
pub(crate) use self::peers::PeersReport;

mod peers;

/// The region that the counters lie in.
pub(crate) const REGION: &str = "nodes";
const WRITE_EVERY: Duration = Duration::from_secs(10);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// More gateways than share a store.
const MOST_NODES: usize = 1_000;

/// The counters of a region, in one process or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale: u64,
    pub(crate) last_good: u64,
    pub(crate) errors: u64,
    /// Questions that the source refused: no failure of anybody's but their reader's.
    pub(crate) refused: u64,
    pub(crate) refreshes: u64,
}

impl Counts {
    pub(crate) fn of(stats: &RegionStats) -> Counts {
        Counts {
            hits: stats.hits_memory + stats.hits_store,
            misses: stats.misses + stats.joined,
            stale: stats.stale,
            last_good: stats.last_good,
            errors: stats.errors,
            refused: stats.refused,
            refreshes: stats.loads,
        }
    }

    /// All regions of this process together, but for the counters' own.
    pub(crate) fn of_cache(cache: &Cache) -> Counts {
        let mut sum = Counts::default();
        let regions = cache.stats().into_iter().filter(|(region, _)| region != REGION);
        regions.for_each(|(_, stats)| sum.add(Counts::of(&stats)));
        sum
    }

    /// Each count under its name.
    pub(crate) fn by_name(&self) -> [(&'static str, u64); 7] {
        let Counts { hits, misses, stale, last_good, errors, refused, refreshes } = *self;
        [
            ("hits", hits),
            ("misses", misses),
            ("stale", stale),
            ("last_good", last_good),
            ("errors", errors),
            ("refused", refused),
            ("refreshes", refreshes),
        ]
    }

    /// The counts of which `count` knows each by its name.
    pub(crate) fn from_names(count: impl Fn(&str) -> u64) -> Counts {
        Counts {
            hits: count("hits"),
            misses: count("misses"),
            stale: count("stale"),
            last_good: count("last_good"),
            errors: count("errors"),
            refused: count("refused"),
            refreshes: count("refreshes"),
        }
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: Counts) -> Counts {
        Counts {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            stale: self.stale.saturating_sub(before.stale),
            last_good: self.last_good.saturating_sub(before.last_good),
            errors: self.errors.saturating_sub(before.errors),
            refused: self.refused.saturating_sub(before.refused),
            refreshes: self.refreshes.saturating_sub(before.refreshes),
        }
    }

    /// The answers that no reader waited for while the source worked: fresh or stale. The last good ones are counted apart.
    pub(crate) fn served(&self) -> u64 {
        self.hits.saturating_add(self.stale)
    }

    /// Each count with its word; refreshes are loads, waited for or not.
    pub(crate) fn by_outcome(&self) -> [(&'static str, u64); 7] {
        let Counts { hits, misses, stale, last_good, errors, refused, refreshes } = *self;
        [
            ("hit", hits),
            ("miss", misses),
            ("stale", stale),
            ("last_good", last_good),
            ("error", errors),
            ("refused", refused),
            ("refresh", refreshes),
        ]
    }

    /// All reads.
    pub(crate) fn reads(&self) -> u64 {
        let Counts { hits, misses, stale, last_good, errors, refused, .. } = *self;
        [hits, misses, stale, last_good, errors, refused].into_iter().fold(0, u64::saturating_add)
    }

    /// The one definition of the hit rate, the same as [`RegionStats::hit_rate`]: the part of all reads that was answered
    /// fresh or stale without waiting for the source, from 0 to 1; zero before the first. A last good answer is no hit,
    /// and what the source refused is not counted.
    pub(crate) fn hit_rate(&self) -> f64 {
        let served = self.served();
        let all = served.saturating_add(self.last_good).saturating_add(self.misses).saturating_add(self.errors);
        if all == 0 { 0.0 } else { served as f64 / all as f64 }
    }

    pub(crate) fn add(&mut self, other: Counts) {
        *self = Counts {
            hits: self.hits.saturating_add(other.hits),
            misses: self.misses.saturating_add(other.misses),
            stale: self.stale.saturating_add(other.stale),
            last_good: self.last_good.saturating_add(other.last_good),
            errors: self.errors.saturating_add(other.errors),
            refused: self.refused.saturating_add(other.refused),
            refreshes: self.refreshes.saturating_add(other.refreshes),
        };
    }
}

type ByRegion = BTreeMap<String, Counts>;

/// What all gateways counted, as of a few seconds ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetStats {
    /// How many gateways there are, this one included.
    pub(crate) nodes: usize,
    pub(crate) regions: ByRegion,
}

/// This gateway's part in the cluster.
pub(crate) struct Fleet {
    region: Region,
    name: String,
    clock: Clock,
    stats: Mutex<Option<FleetStats>>,
    peers: Mutex<Peers>,
}

/// Before the names of all gateways.
const PREFIX: &str = "node:";

/// How the counters are kept: nothing is loaded, and old ones are gone.
pub(crate) fn policy() -> Policy {
    Policy::fresh_for(WRITE_EVERY).stale_if_error(Keep::For(FORGOTTEN_AFTER.saturating_sub(WRITE_EVERY)))
}

impl FleetStats {
    /// All regions together.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.regions.values().for_each(|counts| sum.add(*counts));
        sum
    }
}

impl Fleet {
    pub(crate) fn new(region: Region, id: &str, clock: Clock) -> Fleet {
        let (stats, peers) = (Mutex::new(None), Mutex::default());
        Fleet { region, name: format!("{PREFIX}{id}"), clock, stats, peers }
    }

    /// The sums over all gateways, once they were added up.
    pub(crate) fn stats(&self) -> Option<FleetStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The other gateways, one by one.
    pub(crate) fn peers(&self) -> PeersReport {
        self.peers_known().report(short(&self.name), self.clock.now())
    }

    fn peers_known(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes this gateway's counters and adds up all.
    async fn exchange(&self, own: &ByRegion) {
        let Ok(text) = serde_json::to_vec(own) else { return };
        // A fill, not a put: no reader has to hear of it.
        let value = Value::new(text).with_meta(peers::media_type());
        let entries = vec![(self.name.clone(), Loaded::from(value))];
        _ = self.region.composite().fill_in_process(&self.name, || async { Ok(Filled::from(entries)) }).await;
        // A store that does not answer leaves the sums as they were.
        let Some(others) = self.others().await else {
            self.peers_known().were_not_read();
            return;
        };
        let mut stats = FleetStats { nodes: 1, regions: own.clone() };
        for (name, answer) in &others {
            let Ok(other) = serde_json::from_slice::<ByRegion>(answer.body()) else { continue };
            stats.nodes += 1;
            let mut counts = Counts::default();
            for (region, of_region) in other {
                counts.add(of_region);
                stats.regions.entry(region).or_default().add(of_region);
            }
            self.peers_known().hear(short(name), answer, counts);
        }
        self.peers_known().were_read(self.clock.now());
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats);
    }

    /// What the other gateways wrote; `None` if the store does not say.
    async fn others(&self) -> Option<Vec<(String, Answer)>> {
        let mut names = self.region.stored_names(PREFIX, MOST_NODES).await.ok()?;
        names.retain(|name| *name != self.name);
        let stored = self.region.stored(&names).await.into_iter().collect::<Result<Vec<_>, _>>().ok()?;
        Some(names.into_iter().zip(stored).filter_map(|(name, answer)| Some((name, answer?))).collect())
    }
}

/// A gateway's name without what all begin with, as short as still tells gateways apart.
fn short(name: &str) -> &str {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    name.get(..8).unwrap_or(name)
}

/// Keeps the sums, until the task is dropped.
pub(crate) async fn keep(fleet: Arc<Fleet>, cache: Cache) {
    let mut every = tokio::time::interval(WRITE_EVERY);
    loop {
        every.tick().await;
        let stats = cache.stats().into_iter().filter(|(region, _)| region != REGION);
        fleet.exchange(&stats.map(|(region, stats)| (region, Counts::of(&stats))).collect()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastgood::store::MemoryStore;

    fn counted(hits: u64) -> ByRegion {
        BTreeMap::from([("klines".to_owned(), Counts { hits, misses: 1, ..Counts::default() })])
    }

    fn node(store: &MemoryStore, clock: &Clock, id: &str) -> (Cache, Fleet) {
        let cache = Cache::builder().store(Arc::new(store.clone())).clock(clock.clone()).build().unwrap();
        let region = cache.region(REGION, policy()).unwrap();
        (cache, Fleet::new(region, id, clock.clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_sums_are_those_of_the_gateways_that_are_up() {
        let clock = Clock::paused_with_tokio();
        let store = MemoryStore::new(clock.clone(), 1 << 20);
        let ((one_cache, one), (_two_cache, two)) = (node(&store, &clock, "1"), node(&store, &clock, "2"));
        one.exchange(&counted(10)).await;
        assert!(one_cache.sync(Duration::from_secs(5)).await);
        two.exchange(&counted(5)).await;
        let stats = two.stats().unwrap();
        assert_eq!((stats.nodes, stats.regions["klines"].hits, stats.regions["klines"].misses), (2, 15, 2));
        tokio::time::advance(FORGOTTEN_AFTER + Duration::from_secs(1)).await;
        two.exchange(&counted(6)).await;
        assert_eq!((two.stats().unwrap().nodes, two.stats().unwrap().regions["klines"].hits), (1, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_is_heard_as_long_as_it_writes_then_silent_for_a_reason_and_heard_again_once_it_writes() {
        let clock = Clock::paused_with_tokio();
        let store = MemoryStore::new(clock.clone(), 1 << 20);
        let ((one_cache, one), (_two_cache, two)) = (node(&store, &clock, "one"), node(&store, &clock, "two"));
        let turn = async |hits| {
            one.exchange(&counted(hits)).await;
            assert!(one_cache.sync(Duration::from_secs(5)).await);
            two.exchange(&counted(0)).await;
        };
        let report = || serde_json::to_value(two.peers()).unwrap();
        turn(3).await;
        let first = report();
        let began = clock.now().as_millis();
        assert_eq!((first["own_name"].as_str(), first["not_shown"].as_u64()), (Some("two"), Some(0)));
        let peer = serde_json::json!({
            "name": "one", "state": "heard", "since": began, "version": env!("CARGO_PKG_VERSION"), "reads": 4, "hit_rate": 0.75,
        });
        assert_eq!(first["peers"], serde_json::json!([peer]));
        tokio::time::advance(WRITE_EVERY).await;
        turn(7).await;
        let second = &report()["peers"][0];
        assert_eq!(
            (&second["since"], &second["reads"]),
            (&began.into(), &8.into()),
            "it is the same as before, and counts on"
        );
        let last = clock.now().as_millis();
        tokio::time::advance(Duration::from_secs(70)).await;
        two.exchange(&counted(0)).await;
        let silent = &report()["peers"][0];
        assert_eq!((&silent["state"], &silent["since"]), (&"silent".into(), &last.into()));
        assert_eq!(silent["reason"], "it has stopped, or does not reach the store");
        turn(1).await;
        let again = &report()["peers"][0];
        assert_eq!((&again["state"], &again["since"]), (&"heard".into(), &clock.now().as_millis().into()));
    }
}
