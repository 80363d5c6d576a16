//! Whether the store has what must not be lost: removals, marks of tags, and values that applications put.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cache::Cache;
use crate::flight::after;
use crate::region::Region;
use crate::shared::Tier;
use crate::store::{BreakerState, StoreError};

/// The longest pause between two looks at the queue.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Changes that the store does not have yet. They wait in this process, and are written when the store takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// How many.
    pub waiting: usize,
    /// Why the store did not take them; `None` while it takes them, one after the other.
    pub why: Option<StoreError>,
    /// Whether they are on disk, so that they outlive this process; see
    /// [`CacheBuilder::pending_file`](crate::CacheBuilder::pending_file). Otherwise they are lost if it ends before.
    pub is_on_disk: bool,
}

impl Cache {
    /// Waits, at most `within`, until the store has confirmed the changes made so far that must not be lost. Says which it
    /// has not confirmed, as soon as they are known to fail. `None` without a store, or once it has them all.
    pub async fn confirmed(&self, within: Duration) -> Option<Unconfirmed> {
        let tier = self.shared.store.as_ref()?;
        // Those of now: on a busy gateway there is always one that waits.
        let keys = tier.behind.unconfirmed();
        let bulk = || self.shared.owed_bulk.load(Ordering::Relaxed);
        let unconfirmed = tier.confirmed(keys, bulk, |_| tier.behind.failing(), within).await;
        if unconfirmed.is_none() {
            tier.behind.forgotten(None).await;
        }
        unconfirmed
    }
}

impl Region {
    /// As [`Cache::confirmed`], of the changes of these names alone.
    pub async fn confirmed(&self, names: &[&str], within: Duration) -> Option<Unconfirmed> {
        let tier = self.cache.store.as_ref()?;
        let keys: Vec<String> = names.iter().map(|name| self.store_key(name)).collect();
        let unconfirmed = tier.confirmed(keys.clone(), || 0, |keys| tier.behind.failing_of(keys), within).await;
        if unconfirmed.is_none() {
            tier.behind.forgotten(Some(&keys)).await;
        }
        unconfirmed
    }
}

impl Tier {
    /// Waits until none of the keys has a change that is still to be written, nor is a bulk invalidation owed.
    async fn confirmed(
        &self,
        mut keys: Vec<String>,
        bulk: impl Fn() -> usize,
        failing: impl Fn(&[String]) -> Option<StoreError>,
        within: Duration,
    ) -> Option<Unconfirmed> {
        let deadline = after(within);
        let mut pause = Duration::from_millis(1);
        loop {
            self.behind.retain_unconfirmed(&mut keys);
            let waiting = keys.len() + bulk();
            if waiting == 0 {
                // The store has it; but who does not hear of it goes on serving what it holds.
                let unpublished = self.behind.unpublished_because();
                return unpublished.map(|why| Unconfirmed { waiting: 1, why: Some(why), is_on_disk: false });
            }
            let is_backing_off = self.store.state() != BreakerState::Closed;
            let backing_off = is_backing_off.then_some(StoreError::BreakerOpen);
            if let Some(why) = backing_off.or_else(|| failing(&keys)) {
                let is_on_disk = self.is_on_disk(&keys, bulk()).await;
                return Some(Unconfirmed { waiting, why: Some(self.store.cause(why)), is_on_disk });
            }
            if Instant::now() >= deadline {
                return Some(Unconfirmed { waiting, why: None, is_on_disk: self.is_on_disk(&keys, bulk()).await });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Has what waits on disk, and says whether it is.
    async fn is_on_disk(&self, keys: &[String], bulk: usize) -> bool {
        self.behind.save(keys).await && (bulk == 0 || self.behind.bulk_is_saveable())
    }
}
