//! Answers that an invalidation overtook: it came while they were being loaded, or took them from memory.
//!
//! The callers of such a load are answered all the same, and must not be answered with anything older after that. So memory
//! treats the answer as if it had come just before the invalidation: what was expired is kept for when the source fails, and
//! what was removed is not kept. The store may still hold an entry that another process loaded before. It is no longer fresh
//! for this process, because its callers have a later answer already.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness};
use crate::flight::LeaderGuard;
use crate::memory::{Key, KeyRef};
use crate::region::Region;

/// How many keys are remembered, and the most bytes that they take; beyond it the least asked for are forgotten.
const KEYS: usize = 8_192;
const BYTES: u64 = 1 << 20;
/// What a key takes besides its name.
const OVERHEAD: u64 = BYTES / KEYS as u64 / 2;

/// Such answers, by key. Bounded.
pub(crate) struct Given(QuickCache<Key, Overtaken, ByName>);

/// An answer that is kept nowhere, or not as fresh.
#[derive(Clone, Copy)]
struct Overtaken {
    /// When its load began, by the clock as it was when it read `read_at`.
    began: Timestamp,
    read_at: Timestamp,
    /// Whether it was removed, and so is all that was loaded before it.
    is_removed: bool,
}

#[derive(Clone)]
struct ByName;

impl Weighter<Key, Overtaken> for ByName {
    fn weight(&self, key: &Key, _: &Overtaken) -> u64 {
        OVERHEAD + key.name.len() as u64
    }
}

impl Given {
    /// Takes at most this part of the limit of memory.
    pub(crate) fn within(bytes: u64) -> Given {
        Given(QuickCache::with_weighter(KEYS, BYTES.min(bytes), ByName))
    }

    fn note(&self, key: &Key, entry: &Entry, is_removed: bool) {
        // The order of puts is the store's, whatever their times say.
        let (began, read_at) = (entry.fetch_started_at, entry.read_at());
        if entry.was_loaded() && self.0.peek(key).is_none_or(|earlier| earlier.began < began) {
            self.0.insert(key.clone(), Overtaken { began, read_at, is_removed });
        }
    }

    fn of(&self, key: &KeyRef<'_>) -> Option<Overtaken> {
        self.0.get(key)
    }
}

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
                self.cache.memory.insert(key.clone(), Arc::new(kept));
            } else if let Some(held) = held.filter(|held| held.was_loaded() && held.freshness(now) == Freshness::Fresh)
            {
                self.cache.memory.insert(key.clone(), Arc::new(held.expired_at(now, policy)));
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
        let now = self.cache.clock.now();
        let given = self.cache.given.of(&self.key(name));
        match given.map(|given| Overtaken { began: self.present_of(given.began, given.read_at), ..given }) {
            // Of a time that the clock has been set back from, nothing is known.
            Some(given) if given.began <= now && entry.was_loaded() && entry.fetch_started_at < given.began => {
                (!given.is_removed).then(|| entry.expired_at(now, &self.shared.policy))
            }
            _ => Some(entry),
        }
    }
}
