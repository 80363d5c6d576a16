//! What the store is still to be given, for readers and for those who wait until it has it.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Change, Expiry, WriteBehind};
use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::store::{Ahead, BreakerState, MAX_KEY_BYTES, StoreError};

impl WriteBehind {
    /// Whether the store may be believed about `key` as far as this process knows. False while a removal is not done.
    pub(crate) fn may_read(&self, key: &str) -> bool {
        key.len() <= MAX_KEY_BYTES && !self.queue().owes_removal(key)
    }

    /// Whether the store may be believed about `key`, and what it holds is not still to be expired there.
    pub(crate) fn is_readable(&self, key: &str) -> bool {
        self.may_read_and_expires(key) == (true, false)
    }

    /// Whether the store may be believed about `key`, and whether an end of its freshness is still to be written.
    fn may_read_and_expires(&self, key: &str) -> (bool, bool) {
        let queue = self.queue();
        if queue.waiting.is_empty() && queue.active.is_empty() && queue.clearing.is_empty() {
            return (key.len() <= MAX_KEY_BYTES, false);
        }
        (key.len() <= MAX_KEY_BYTES && !queue.owes_removal(key), queue.owes_expiry(key).is_some())
    }

    /// When the removal of `key` was asked for that is still to be written, if nothing else is: what the store holds from later
    /// is another process's.
    pub(crate) fn removal_owed_at(&self, key: &str) -> Option<Timestamp> {
        self.queue().removal_owed_at(key)
    }

    /// Waits until the store may be believed about `key`, while it takes what waits for it and at most until `deadline`.
    /// Says whether it may.
    pub(crate) async fn readable(&self, key: &str, deadline: Instant) -> bool {
        loop {
            let progress = self.progress.notified();
            // A waiting expiry is applied to the entry read, but it will change what a load has to replace.
            let (may_read, expires) = self.may_read_and_expires(key);
            if may_read && !expires {
                return true;
            }
            let is_stuck = key.len() > MAX_KEY_BYTES || self.store.state() != BreakerState::Closed;
            if is_stuck || self.failing_of(&[key.to_owned()]).is_some() {
                return may_read;
            }
            if timeout_at(deadline, progress).await.is_err() {
                return may_read;
            }
        }
    }

    /// When the freshness of `key` was ended, if that is still to be written.
    pub(crate) fn expired_at(&self, key: &str) -> Option<Timestamp> {
        self.queue().owes_expiry(key).map(|expiry| expiry.at)
    }

    /// What the store gives for `key`, if its end of freshness is still to be written there.
    pub(crate) fn expired(&self, key: &str, entry: Entry, ahead: Ahead) -> Entry {
        match self.queue().owes_expiry(key) {
            Some(Expiry { at, policy, .. }) if entry.fetch_started_at <= ahead.present(*at) => {
                entry.expired_at(ahead.present(*at), policy)
            }
            _ => entry,
        }
    }

    /// Whether a change of `key` waits to be written, or is being written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.queue().has(key)
    }

    /// What the store will hold under `key` once what waits is written: an entry, or nothing. `None` where nothing waits
    /// that has to be written. An entry is superseded where another process has changed the key since: which of the two is
    /// newer, the store will decide.
    pub(crate) fn waiting(&self, key: &str) -> Option<Option<Arc<Entry>>> {
        let queue = self.queue();
        let owed = queue.owed(key)?;
        Some(match queue.contested.contains(key) {
            true => owed.map(|entry| Arc::new(entry.superseded())),
            false => owed,
        })
    }

    /// The keys under `prefix` whose values wait to be written, or are being written: no tier but this has them, perhaps.
    pub(crate) fn waiting_under(&self, prefix: &str) -> Vec<String> {
        let queue = self.queue();
        let puts = queue.waiting.iter().filter(|(key, change)| change.is_put() && key.starts_with(prefix));
        let is_put = |again: &Option<Change>| again.as_ref().is_some_and(Change::is_put);
        let under_way = queue.active.iter().filter(|(key, again)| is_put(again) && key.starts_with(prefix));
        puts.map(|(key, _)| key).chain(under_way.map(|(key, _)| key)).cloned().collect()
    }

    /// The keys whose values wait to be written, or are being written, and have this tag.
    pub(crate) fn tagged(&self, tag: &str) -> Vec<String> {
        self.queue().keys_tagged(tag)
    }

    /// As [`WriteBehind::failing`], of some keys alone.
    pub(crate) fn failing_of(&self, keys: &[String]) -> Option<StoreError> {
        let queue = self.queue();
        let has_failed = |key: &String| queue.waiting.get(key).is_some_and(Change::has_failed);
        queue.failed_by.clone().filter(|_| keys.iter().any(has_failed))
    }

    /// Why changes that must not be lost wait to be written again, where some do.
    pub(crate) fn failing(&self) -> Option<StoreError> {
        let queue = self.queue();
        queue.failed_by.clone().filter(|_| !queue.failed.is_empty())
    }

    /// The keys of changes that must not be lost and that the store has not confirmed.
    pub(crate) fn unconfirmed(&self) -> Vec<String> {
        let queue = self.queue();
        let waiting = queue.waiting.iter().filter(|(_, change)| change.takes_away()).map(|(key, _)| key);
        let active = queue.active.iter().filter(|(_, if_it_fails)| if_it_fails.is_some()).map(|(key, _)| key);
        waiting.chain(active).cloned().collect()
    }

    /// Leaves those of them that are still unconfirmed.
    pub(crate) fn retain_unconfirmed(&self, keys: &mut Vec<String>) {
        let queue = self.queue();
        keys.retain(|key| queue.owes_removal(key) || queue.owes_expiry(key).is_some());
    }

    /// Why changes that the store has cannot be published to the other processes.
    pub(crate) fn unpublished_because(&self) -> Option<StoreError> {
        self.publisher.refused()
    }

    /// Removals that the store has not confirmed.
    pub(crate) fn unconfirmed_removals(&self) -> usize {
        let queue = self.queue();
        queue.waiting.values().filter(|change| change.takes_away()).count()
            + queue.active.values().filter(|if_it_fails| if_it_fails.is_some()).count()
    }
}
