//! What few entries have.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Entry;
use super::size::allocated;
use crate::clock::Timestamp;

/// The parts of an entry that not every entry has.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) tags: Option<Box<Tags>>,
    pub(super) stored_at: StoredAt,
    pub(super) memoised: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// When an entry was given to the store, where that is not when it was written: in milliseconds and one more. Zero where it is.
#[derive(Default)]
pub(super) struct StoredAt(AtomicU64);

impl StoredAt {
    pub(super) fn get(&self) -> Option<Timestamp> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Timestamp::from_millis)
    }

    pub(super) fn set(&self, at: Option<Timestamp>) {
        self.0.store(at.map_or(0, |at| at.as_millis().saturating_add(1)), Ordering::Relaxed);
    }
}

/// In a box of its own, which takes half of what the boxed list would take of entries without tags.
pub(super) struct Tags(pub(super) Box<[String]>);

impl Tags {
    /// What its allocations take.
    pub(super) fn weight(&self) -> u64 {
        let texts: u64 = self.0.iter().map(|tag| allocated(tag.len())).sum();
        allocated(size_of::<Tags>()) + allocated(size_of_val(&*self.0)) + texts
    }
}

impl Entry {
    /// Whether this is one of its tags.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tags().iter().any(|known| known == tag)
    }
}
