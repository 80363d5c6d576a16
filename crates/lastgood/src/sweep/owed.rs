//! Sweeps that could not search the store, and are made good once it is back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Matches, PAGE};
use crate::cache::{Cache, Shared};
use crate::clock::Timestamp;
use crate::store::{BreakerState, Store, StoreError, jittered};
use crate::tags::Depth;

/// Sweeps that may wait for the store, and how often it is looked at meanwhile.
const MOST_OWED: usize = 64;
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// A sweep that the store is still to be given, as it was asked for at `at`: what was loaded or put since stays.
pub(super) struct OwedSweep {
    /// What the keys begin with.
    pub(super) prefix: String,
    pub(super) matches: Matches,
    pub(super) depth: Depth,
    pub(super) at: Timestamp,
}

/// Counts a sweep among those that are owed, until it is made, or its cache is gone.
struct Owing(Weak<Shared>);

impl Owing {
    async fn make_good(self, owed: OwedSweep) {
        loop {
            tokio::time::sleep(jittered(RETRY_EVERY)).await;
            let Some(shared) = self.0.upgrade() else { return };
            let Some(tier) = &shared.store else { return };
            let cache = Cache { shared: Arc::clone(&shared) };
            if tier.store.state() == BreakerState::Closed && cache.pay(&owed).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.owed_sweeps.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Cache {
    /// Has the store swept once it is back.
    pub(super) fn owe(&self, owed: OwedSweep) {
        if self.shared.owed_sweeps.fetch_add(1, Ordering::Relaxed) >= MOST_OWED {
            self.shared.owed_sweeps.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("too many sweeps wait for the store: this one reaches only what this process knows of");
            return;
        }
        let guard = Owing(Arc::downgrade(&self.shared));
        tokio::spawn(guard.make_good(owed));
    }

    async fn pay(&self, owed: &OwedSweep) -> Result<(), StoreError> {
        let Some(tier) = &self.shared.store else { return Ok(()) };
        let (regions, mut cursor, mut keeps_up) = (self.regions(), None, true);
        loop {
            let page = tier.store.list(&owed.prefix, cursor, PAGE).await?;
            for region in &regions {
                let prefix = &region.shared.prefix;
                let names = page.keys.iter().filter_map(|key| key.strip_prefix(prefix.as_str()));
                let names: Vec<Arc<str>> =
                    names.filter(|name| (owed.matches)(region.name(), name)).map(Arc::from).collect();
                for name in &names {
                    region.change_late(name, owed.depth, owed.at);
                }
                keeps_up = region.pace(&names, keeps_up).await;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
