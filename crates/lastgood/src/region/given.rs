//! What memory does with an answer that an invalidation overtook; see [`crate::given`].

use std::sync::Arc;

use super::Region;
use crate::entry::{Entry, Freshness};
use crate::flight::LeaderGuard;
use crate::memory::Key;

impl Region {
    /// Notes that this was answered, or may have been, and that memory does not keep it: because it was removed, or as it is
    /// no longer fresh.
    pub(crate) fn note_given(&self, key: &Key, entry: &Entry, is_removed: bool) {
        // Without others nothing older is left anywhere.
        if self.cache.shared_tier().is_some() {
            self.cache.given.note(key, entry, is_removed);
        }
    }

    /// The same for the answer of a load that was voided on its way, which is kept for when the source fails unless it was
    /// removed. Memory may hold an older one that is still fresh: it was loaded ahead of time, or its own tags were not
    /// invalidated.
    pub(crate) fn keep_voided(&self, leader: &LeaderGuard, entry: &Entry) {
        let (key, now, policy) = (leader.key(), self.cache.clock.now(), &self.shared.policy);
        leader.if_detached(|voids| {
            self.note_given(key, entry, voids.remove(entry));
            let held = self.held(&key.name);
            if held.as_ref().is_some_and(|held| held.fetch_started_at > entry.fetch_started_at) {
                return;
            }
            if !voids.remove(entry) {
                let expired = entry.expired_at(now, policy);
                let kept = if voids.is_superseded { expired.superseded() } else { expired };
                self.cache.memory.insert(&key.borrowed(), Arc::new(kept));
            } else if let Some(held) = held.filter(|held| held.was_loaded() && held.freshness(now) == Freshness::Fresh)
            {
                self.cache.memory.insert(&key.borrowed(), Arc::new(held.expired_at(now, policy)));
            }
        });
    }

    /// The answer in memory of a load that asked the source later than the one that brought `entry`: a load that was voided and
    /// goes on may end before the one that took its place.
    pub(crate) fn held_later(&self, name: &str, entry: &Entry) -> Option<Arc<Entry>> {
        let now = self.cache.clock.now();
        self.held(name).filter(|held| {
            // Of a time that the clock has been set back from, nothing is known.
            let is_later = held.fetch_started_at > entry.fetch_started_at && held.fetch_started_at <= now;
            is_later && held.was_loaded() && held.freshness(now) != Freshness::Gone
        })
    }

    /// What the store holds for `name`, no longer fresh where a later answer was given, and nothing where that was removed.
    pub(crate) fn unless_later_was_given(&self, name: &str, entry: Entry) -> Option<Entry> {
        let Some(given) = self.cache.given.of(&self.key(name)) else { return Some(entry) };
        let now = self.cache.clock.now();
        let began = self.present_of(given.began, given.read_at);
        // Of a time that the clock has been set back from, nothing is known.
        if began <= now && entry.was_loaded() && entry.fetch_started_at < began {
            return (!given.is_removed).then(|| entry.expired_at(now, &self.shared.policy));
        }
        Some(entry)
    }
}
