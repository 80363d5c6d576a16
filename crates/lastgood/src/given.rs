//! Answers that an invalidation overtook: it came while they were being loaded, or took them from memory.
//!
//! The callers of such a load are answered all the same, and must not be answered with anything older after that. So memory
//! treats the answer as if it had come just before the invalidation: what was expired is kept for when the source fails, and
//! what was removed is not kept. The store may still hold an entry that another process loaded before. It is no longer fresh
//! for this process, because its callers have a later answer already.

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::memory::{Key, KeyRef};

/// How many keys are remembered, and the most bytes that they take; beyond it the least asked for are forgotten.
const KEYS: usize = 8_192;
const BYTES: u64 = 1 << 20;
/// What a key takes besides its name.
const OVERHEAD: u64 = BYTES / KEYS as u64 / 2;

/// Such answers, by key. Bounded.
pub(crate) struct Given(QuickCache<Key, Overtaken, ByName>);

/// An answer that is kept nowhere, or not as fresh.
#[derive(Clone, Copy)]
pub(crate) struct Overtaken {
    /// When its load began, by the clock as it was when it read `read_at`.
    pub(crate) began: Timestamp,
    pub(crate) read_at: Timestamp,
    /// Whether it was removed, and so is all that was loaded before it.
    pub(crate) is_removed: bool,
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

    pub(crate) fn note(&self, key: &Key, entry: &Entry, is_removed: bool) {
        // The order of puts is the store's, whatever their times say.
        let (began, read_at) = (entry.fetch_started_at, entry.read_at());
        if entry.was_loaded() && self.0.peek(key).is_none_or(|earlier| earlier.began < began) {
            self.0.insert(key.clone(), Overtaken { began, read_at, is_removed });
        }
    }

    pub(crate) fn of(&self, key: &KeyRef<'_>) -> Option<Overtaken> {
        self.0.get(key)
    }
}
