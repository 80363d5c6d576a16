//! Answers put together of several keys: what builders of composite caches use, as the cache of candles does.
//!
//! One such answer is made of several entries of a region. So its parts are read uncounted, the builder counts the whole,
//! and one load may bring several keys, which are written in one step.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Basis, Region};
use crate::clock::Timestamp;
use crate::entry::Loaded;
use crate::error::{Error, LoadError, Reason, own_error};
use crate::flight::LeaderGuard;
use crate::lease::Right;
use crate::memory::Key;
use crate::metrics::Stopwatch;
use crate::outcome::Outcome;
use crate::seen::{Seen, Stored};
use crate::store::StoreError;

mod fill;

/// Keys of one region that belong together, each with its value.
pub type Siblings = Vec<(String, Loaded)>;

/// What a load brought for its own key, and for others with it. All is written in one step, or nothing if an invalidation of
/// its own key came meanwhile.
#[derive(Debug)]
pub struct Composed<G = ()> {
    /// The value of the key that was loaded.
    pub own: Loaded,
    /// Other keys that the same answer fills.
    pub siblings: Siblings,
    /// Dropped when all is written, before anyone who waits for the load goes on: a lock that keeps others from looking
    /// before.
    pub guard: G,
}

/// What a load without a key of its own brought.
#[derive(Debug)]
pub struct Filled<G = ()> {
    /// The keys that it fills.
    pub siblings: Siblings,
    /// As [`Composed::guard`].
    pub guard: G,
}

impl From<Loaded> for Composed {
    fn from(own: Loaded) -> Self {
        Composed { own, siblings: Siblings::new(), guard: () }
    }
}

impl From<Siblings> for Filled {
    fn from(siblings: Siblings) -> Self {
        Filled { siblings, guard: () }
    }
}

/// The reads and loads of which composite answers are made; see [`Region::composite`].
#[derive(Clone, Copy, Debug)]
pub struct Composite<'a> {
    region: &'a Region,
}

impl Region {
    /// The parts of answers that are put together of several keys. None of them is counted: [`Composite::count`] counts the
    /// whole. Caches of single keys do not need it.
    pub fn composite(&self) -> Composite<'_> {
        Composite { region: self }
    }
}

impl Composite<'_> {
    /// As [`Region::get`].
    ///
    /// # Errors
    ///
    /// As [`Region::get`].
    pub async fn get(&self, name: &str) -> Result<Option<Answer>, StoreError> {
        self.region.look(name).await
    }

    /// As [`Region::get_or_load`]; where the store is asked for `name`, it is asked for `siblings` in the same round trip, and
    /// memory takes what it lacks of them.
    ///
    /// # Errors
    ///
    /// As [`Region::get_or_load`].
    pub async fn get_or_load<F, L, G>(&self, name: &str, siblings: &[String], load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, LoadError>> + Send + 'static,
        G: Send + 'static,
    {
        self.region.read(name, siblings, || own_error(load())).await
    }

    /// As [`Region::reload`]; where the store is asked for a last good answer, it is asked for those of `siblings` in the same
    /// round trip.
    ///
    /// # Errors
    ///
    /// As [`Region::reload`].
    pub async fn reload<F, L, G>(&self, name: &str, siblings: &[String], load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, LoadError>> + Send + 'static,
        G: Send + 'static,
    {
        self.region.load_again(name, siblings, || own_error(load())).await
    }

    /// As [`Region::refresh`].
    ///
    /// # Errors
    ///
    /// As [`Region::refresh`].
    pub async fn refresh<F, L, G>(&self, name: &str, ahead: Duration, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, LoadError>> + Send + 'static,
        G: Send + 'static,
    {
        self.region.load_ahead(name, ahead, || own_error(load())).await
    }

    /// As [`Region::put`], with `siblings` in the same step.
    pub async fn put(&self, name: &str, own: Loaded, siblings: Siblings) {
        self.region.put_with(name, own, siblings).await;
    }

    /// Which of the siblings that were read together with `name` ([`Composite::get_or_load`]) the store holds nothing of. For
    /// the loader, while its load goes on; nothing where an invalidation has come, or where the store did not answer.
    pub fn absent(&self, name: &str) -> Vec<String> {
        self.region.cache.flights.absent(&Key::new(self.region.shared.id, name))
    }

    /// Runs `load` in a task of its own, unless one is under way under `name`, and waits for the one that is; says
    /// whether it was this one. What it brings is written together; `name` itself holds nothing.
    ///
    /// As with [`Region::get_or_load`], a load is bounded by the hard timeout, one that failed a moment ago is not
    /// repeated, and an invalidation of `name`, or of a prefix of it, keeps a load under way from being written.
    ///
    /// Processes that share the store load one at a time, too. A loader that waited for another process's finds in the store
    /// what that one brought.
    ///
    /// # Errors
    ///
    /// The loader's error.
    pub async fn fill<F, L, G>(&self, name: &str, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled<G>, LoadError>> + Send + 'static,
        G: Send + 'static,
    {
        self.region.fill(name, fill::Together::InCluster, || own_error(load())).await
    }

    /// As [`Composite::fill`], where the loaded answer is this process's own.
    ///
    /// # Errors
    ///
    /// The loader's error.
    pub async fn fill_in_process<F, L, G>(&self, name: &str, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled<G>, LoadError>> + Send + 'static,
        G: Send + 'static,
    {
        self.region.fill(name, fill::Together::InProcess, || own_error(load())).await
    }

    /// Begins to note what an answer is put together of.
    pub fn basis(&self) -> Basis {
        Basis::of(self.region)
    }

    /// Begins an answer that [`Composite::count_timed`] will count.
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start()
    }

    /// Counts an answer that was put together.
    pub fn count(&self, outcome: Outcome) {
        self.note_last_good(outcome);
        self.region.shared.counters.count(outcome);
    }

    /// As [`Composite::count`], with the time that it took.
    pub fn count_timed(&self, outcome: Outcome, stopwatch: Stopwatch) {
        self.note_last_good(outcome);
        self.region.shared.counters.count_timed(outcome, stopwatch);
    }

    /// Counts a read that ended in an error.
    pub fn count_failed(&self, error: &Error) {
        self.region.shared.counters.count_error(error);
    }

    /// A value of an application's that is past its freshness has no source that failed.
    fn note_last_good(&self, outcome: Outcome) {
        if let Outcome::LastGood(reason) = outcome
            && reason != Reason::Abandoned
        {
            self.region.shared.counters.note_last_good(reason, self.region.cache.clock.now());
        }
    }
}

/// What a loader of a single key brings.
pub(crate) async fn single(load: impl Future<Output = Result<Loaded, LoadError>>) -> Result<Composed, Error> {
    own_error(load).await.map(Composed::from)
}

impl Region {
    /// What the store holds for the key of a flight. What it holds for others is kept, unless an invalidation came.
    pub(crate) async fn read_store_with(&self, leader: &LeaderGuard, siblings: &[String]) -> Stored {
        let names: Vec<&str> =
            std::iter::once(&*leader.key().name).chain(siblings.iter().map(String::as_str)).collect();
        let mut stored = self.read_store_many(&names).await.into_iter();
        let own = stored.next().unwrap_or_default();
        let stored: Vec<Stored> = stored.collect();
        let absent = siblings.iter().zip(&stored).filter(|(_, stored)| stored.seen == Seen::Nothing);
        leader.note_absent(absent.map(|(name, _)| name.clone()).collect());
        leader.write(|| {
            for (name, entry) in siblings.iter().zip(stored) {
                let Some(entry) = entry.entry else { continue };
                let entry = match self.held(name) {
                    // It was in doubt only because the store was given something older.
                    Some(held) if held.is_doubted() && self.is_at_least_as_good(&held, &entry) => {
                        held.believed(entry.taken_at)
                    }
                    Some(held) if self.may_have_missed(&held) => entry,
                    None => entry,
                    // What memory holds was written since, or is as good.
                    Some(_) => continue,
                };
                self.cache.memory.insert(&self.key(name), Arc::new(entry));
            }
        });
        own
    }

    /// Keeps what a load brought for other keys. Call it only where no invalidation can come between.
    pub(crate) fn keep_siblings(&self, siblings: Siblings, started: Timestamp, at: Timestamp, right: &Right) {
        for (name, loaded) in siblings {
            let is_dated = loaded.as_of.is_some();
            let mut entry = self.entry(&name, loaded, started, at);
            if is_dated {
                entry.note_loaded();
            }
            let entry = Arc::new(entry);
            if !is_dated || self.held_later(&name, &entry).is_none() {
                self.keep(&name, entry, right);
            }
        }
    }
}
