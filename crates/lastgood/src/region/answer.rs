//! What a read gives: the value, how it came about, how old it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness, Value};
use crate::outcome::{Outcome, Tier};
use crate::verification::Standing;

/// An answer: the value, how it came about, how old it is.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) entry: Arc<Entry>,
    /// When it was given, in milliseconds: a whole word, which moves from register to register.
    at: u64,
    outcome: Outcome,
    standing: Standing,
}

impl Answer {
    #[inline]
    pub(crate) fn new(entry: Arc<Entry>, outcome: Outcome, at: Timestamp, standing: Standing) -> Answer {
        Answer { entry, at: at.as_millis(), outcome, standing }
    }

    /// What memory held, fresh and verified, at `at` milliseconds.
    #[inline]
    pub(crate) fn fresh(entry: Arc<Entry>, at: u64) -> Answer {
        Answer { entry, at, outcome: Outcome::Hit(Tier::Memory), standing: Standing::Verified }
    }

    /// The source's bytes, untouched. Cloning them copies nothing.
    #[inline]
    pub fn body(&self) -> &Bytes {
        &self.entry.body
    }

    /// The loader's note that is remembered with the bytes.
    pub fn meta(&self) -> Option<&str> {
        self.entry.meta()
    }

    /// How the answer came about.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// When it was given; a hit from memory by what the kernel noted at its last tick, some milliseconds ago.
    #[inline]
    pub fn given_at(&self) -> Timestamp {
        Timestamp::from_millis(self.at)
    }

    /// When the load that brought it began: it knows nothing of the world that is younger.
    pub fn source_time(&self) -> Timestamp {
        self.entry.fetch_started_at
    }

    /// The same answer, given for another reason.
    #[must_use]
    pub fn given_as(mut self, outcome: Outcome) -> Answer {
        self.outcome = outcome;
        self
    }

    /// How long ago the load that brought it began, when it was given.
    #[inline]
    pub fn age(&self) -> Duration {
        self.given_at().since(self.entry.fetch_started_at)
    }

    /// How long it will still be fresh; zero when it is not.
    pub fn fresh_for(&self) -> Duration {
        self.entry.times.fresh_until.since(self.given_at())
    }

    /// The tags it was loaded with.
    pub fn tags(&self) -> &[String] {
        self.entry.tags()
    }

    /// How long ago its freshness ended; zero while it lasts.
    pub fn stale_by(&self) -> Duration {
        self.given_at().since(self.entry.times.fresh_until)
    }

    /// How good it was when it was given.
    #[inline]
    pub fn freshness(&self) -> Freshness {
        judged(&self.entry, self.given_at(), self.standing)
    }

    /// Whether it was given while the invalidations of other processes on the same store could not be heard, or is a value of an
    /// application's that another process is known to have changed, while the store has not said to what.
    pub fn is_unverified(&self) -> bool {
        self.standing != Standing::Verified || (self.entry.is_superseded() && !self.entry.was_loaded())
    }

    /// Whether the store had it, and another process may have replaced or removed it there since. Where the store holds
    /// nothing of it, it was removed.
    pub fn may_be_replaced(&self) -> bool {
        // What never was in the store, since it takes no such key or value, cannot be missing there.
        self.entry.is_superseded() || (self.standing == Standing::Unverified && self.entry.checksum().is_some())
    }

    /// Whether both are of the same entry: not of one that says the same.
    pub fn is_same_entry(&self, other: &Answer) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry)
    }

    /// Something worked out of the body once and kept as long as its entry: an index, a compressed form. An entry has room
    /// for one such thing; asked for another type, it is worked out each time.
    ///
    /// The memory limit counts it as 384 bytes, and half of a body of 1,400 bytes or more: keep it smaller than that.
    pub fn memoised<T: Clone + Send + Sync + 'static>(&self, make: impl FnOnce(&Value) -> T) -> T {
        self.entry.memoised(make)
    }
}

/// How good an entry is for who may not have heard of its invalidation.
#[inline]
pub(super) fn judged(entry: &Entry, at: Timestamp, standing: Standing) -> Freshness {
    match (entry.freshness(at), standing) {
        (Freshness::Fresh | Freshness::Stale, Standing::Unverified | Standing::Missed) => Freshness::Kept,
        (freshness, _) => freshness,
    }
}
