//! What comes over a load while it is under way, so that its answer may not be written as if nothing had happened.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::invalidation::Mode;

/// Removals of single tags that are tracked one by one; beyond it everything loaded before the last of them counts as
/// removed.
const MOST_TAGS: usize = 16;

/// An invalidation, as far as it concerns a load that is under way.
#[derive(Clone, Debug)]
pub(crate) enum Void {
    /// The loaded answer is no longer fresh.
    Expired,
    /// The same, and another process may have changed what the store holds.
    Superseded,
    /// What a load brings that began at this time or before is kept nowhere.
    Removed(Timestamp),
    /// The same of what has this tag; anything else is no longer fresh.
    TagRemoved(Arc<str>, Timestamp),
}

impl Void {
    /// An invalidation that was asked for at `at`.
    pub(crate) fn of(mode: Mode, at: Timestamp) -> Void {
        match mode {
            Mode::Expire => Void::Expired,
            Mode::Remove => Void::Removed(at),
        }
    }
}

/// All that came over one load.
#[derive(Debug, Default)]
pub(crate) struct Voids {
    pub(crate) is_superseded: bool,
    removed_at: Option<Timestamp>,
    tags_removed_at: Vec<(Arc<str>, Timestamp)>,
}

impl Voids {
    pub(super) fn add(&mut self, void: &Void) {
        match void {
            Void::Expired => {}
            Void::Superseded => self.is_superseded = true,
            Void::Removed(at) => self.removed_at = self.removed_at.max(Some(*at)),
            Void::TagRemoved(tag, at) if self.tags_removed_at.len() < MOST_TAGS => {
                self.tags_removed_at.push((Arc::clone(tag), *at));
            }
            Void::TagRemoved(_, at) => self.removed_at = self.removed_at.max(Some(*at)),
        }
    }

    /// Whether what the load brought is removed.
    pub(crate) fn remove(&self, entry: &Entry) -> bool {
        let is_before = |at: Timestamp| entry.fetch_started_at <= at;
        let has = |tag: &str| entry.tags().iter().any(|known| **known == *tag);
        self.removed_at.is_some_and(is_before)
            || self.tags_removed_at.iter().any(|(tag, at)| has(tag) && is_before(*at))
    }
}
