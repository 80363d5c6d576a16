//! Bulk invalidations that could not search the store, and are made good once it is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::PAGE;
use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::invalidation::{Mode, OwedBulk};
use crate::region::Region;
use crate::shared::Shared;
use crate::store::{BreakerState, Store, StoreError, jittered, somewhere_in};
use crate::write_behind::journal::{BULK, OwedBefore, Record};

/// Bulk invalidations that may wait for the store, and how often it is looked at meanwhile.
const MOST_OWED: usize = 64;
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Processes that wait for one store begin within so long of its return, each at its own time.
const SPREAD: Duration = Duration::from_secs(1);

/// Tells the rows of bulk invalidations apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl OwedBulk {
    fn record(&self) -> Option<Record> {
        let (prefix, selector) = (self.prefix.clone(), self.selector.clone()?);
        let remove = self.mode == Mode::Remove;
        Some(Record::Bulk { at: self.at.as_millis(), prefix, selector, remove })
    }
}

/// Counts a bulk invalidation among those that are owed, until it is made, or its cache is gone.
struct Owing {
    cache: Weak<Shared>,
    /// Its row on disk.
    row: Option<String>,
    /// Whether it is published to the others once it is made, since the process that began it may not have.
    tells: bool,
}

impl Owing {
    async fn make_good(self, owed: Arc<OwedBulk>) {
        let (mut was_away, mut has_waited) = (false, false);
        loop {
            if !std::mem::take(&mut has_waited) {
                tokio::time::sleep(jittered(RETRY_EVERY)).await;
            }
            let Some(shared) = self.cache.upgrade() else { return };
            let Some(tier) = &shared.store else { return };
            if tier.store.state() != BreakerState::Closed {
                was_away = true;
                continue;
            }
            if std::mem::take(&mut was_away) {
                has_waited = true;
                drop(shared);
                tokio::time::sleep(somewhere_in(SPREAD)).await;
                continue;
            }
            let cache = Cache { shared: Arc::clone(&shared) };
            if cache.pay(&owed).await.is_ok() {
                if let Some(selector) = owed.selector.as_deref().filter(|_| self.tells) {
                    cache.publish_selector(selector, Some(owed.mode), owed.at).await;
                }
                // Its changes may still wait: then they are on disk first.
                tier.behind.save(&tier.behind.unconfirmed()).await;
                self.row.iter().for_each(|row| tier.behind.write_down(row, None));
                shared.owed().retain(|other| !Arc::ptr_eq(other, &owed));
                return;
            }
            was_away = true;
        }
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        if let Some(shared) = self.cache.upgrade() {
            shared.owed_bulk.fetch_sub(1, Ordering::Relaxed);
            if let (None, Some(tier)) = (&self.row, &shared.store) {
                tier.behind.count_unsaveable(false);
            }
        }
    }
}

impl Cache {
    /// Invalidates in the store once it is back, and does not believe it until then about what that names. Says whether there
    /// was room for it.
    pub(super) fn owe(&self, owed: OwedBulk) -> bool {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let record = owed.record();
        let row = record.as_ref().map(|_| format!("{BULK}{}-{number}", owed.at.as_millis()));
        let is_owed = self.shared.owe(owed, row.clone(), false);
        if let (true, Some(tier), Some(row)) = (is_owed, &self.shared.store, &row) {
            tier.behind.write_down(row, record.as_ref());
        }
        is_owed
    }

    async fn pay(&self, owed: &OwedBulk) -> Result<(), StoreError> {
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
                    region.change_late(name, owed.mode, owed.at);
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

impl Shared {
    fn owed(&self) -> MutexGuard<'_, Vec<Arc<OwedBulk>>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owe(self: &Arc<Self>, owed: OwedBulk, row: Option<String>, tells: bool) -> bool {
        let owed = Arc::new(owed);
        {
            let mut all = self.owed();
            if all.len() >= MOST_OWED {
                tracing::warn!(
                    "too many bulk invalidations wait for the store: this one reaches only what this process knows of"
                );
                return false;
            }
            all.push(Arc::clone(&owed));
        }
        self.owed_bulk.fetch_add(1, Ordering::Relaxed);
        if let (None, Some(tier)) = (&row, &self.store) {
            tier.behind.count_unsaveable(true);
        }
        let guard = Owing { cache: Arc::downgrade(self), row, tells };
        tokio::spawn(guard.make_good(owed));
        true
    }

    /// Has the store given the bulk invalidations that an earlier process left.
    pub(crate) fn owe_again(self: &Arc<Self>, bulk: Vec<OwedBefore>) {
        for OwedBefore { row, prefix, selector, mode, at } in bulk {
            match self.matches(&selector) {
                Some(matches) if Handle::try_current().is_ok() => {
                    self.owe(OwedBulk { prefix, matches, selector: Some(selector), mode, at }, Some(row), true);
                }
                _ => {
                    tracing::warn!(
                        selector,
                        "a bulk invalidation from before the start stays on disk: nothing here understands it"
                    )
                }
            }
        }
    }
}

impl Region {
    /// When bulk invalidations that the store has not taken yet removed, and expired, `name`: until they are made, an
    /// entry that it holds from before is not believed, or not fresh.
    pub(crate) fn bulk_at(&self, name: &str) -> (Timestamp, Timestamp) {
        let (mut removed_at, mut expired_at) = (Timestamp::EPOCH, Timestamp::EPOCH);
        for bulk in self.cache.owed().iter() {
            if self.shared.prefix.starts_with(&bulk.prefix) && (bulk.matches)(self.name(), name) {
                let at = if bulk.mode == Mode::Remove { &mut removed_at } else { &mut expired_at };
                *at = bulk.at.max(*at);
            }
        }
        (removed_at, expired_at)
    }
}
