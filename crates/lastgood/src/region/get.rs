//! Reads that load nothing: what memory and the store hold, and nothing of the source.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Answer, Region};
use crate::entry::{Entry, Freshness};
use crate::error::Reason;
use crate::flight::LeaderGuard;
use crate::memory::Key;
use crate::metrics::Stopwatch;
use crate::outcome::{Outcome, Tier};
use crate::seen::Stored;
use crate::store::StoreError;

/// A store that takes longer is looked into by others, too.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

impl Region {
    /// The answer that memory or the store holds for `name`, without asking any source; `None` where neither has one.
    ///
    /// Fresh, it is a [`Outcome::Hit`] of the tier that had it. Past that it is [`Outcome::Stale`] or
    /// [`Outcome::LastGood`] as for other reads, with the reason why the last load failed, or [`Reason::Unreadable`] where
    /// the store holds no entry that can be read, or [`Reason::Abandoned`] where
    /// there was none. What the store had is in memory for the next reader. With the cache switched off there is nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lastgood::{Cache, Loaded, Policy};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder().build()?;
    /// let notes = cache.region("notes", Policy::fresh_for(Duration::from_secs(60)))?;
    /// assert!(notes.get("today").await?.is_none());
    /// notes.put("today", Loaded::from(bytes::Bytes::from("buy milk"))).await;
    /// let note = notes.get("today").await?.expect("it was put");
    /// assert_eq!((note.outcome().as_x_cache(), &note.body()[..]), ("HIT", &b"buy milk"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When memory holds nothing and the store does not say in time: an answer may be there.
    pub async fn get(&self, name: &str) -> Result<Option<Answer>, StoreError> {
        let stopwatch = Stopwatch::start();
        if let (Some(entry), Some(at)) = self.at_once(name) {
            self.shared.counters.count_hit(stopwatch);
            return Ok(Some(Answer::fresh(entry, at)));
        }
        if let Some(held) = self.fresh(name) {
            self.shared.counters.count_hit(stopwatch);
            return Ok(Some(held));
        }
        // Boxed, so that a hit's future is small.
        let found = Box::pin(self.look(name)).await;
        let outcome = found.as_ref().ok().and_then(Option::as_ref).map(Answer::outcome);
        self.composite().count_timed(outcome.unwrap_or(Outcome::Miss), stopwatch);
        found
    }

    /// See [`Region::get`]; not counted.
    pub(super) async fn look(&self, name: &str) -> Result<Option<Answer>, StoreError> {
        if !self.is_enabled() {
            return Ok(None);
        }
        match self.fresh(name) {
            Some(held) => Ok(Some(held)),
            None => {
                let is_unreadable = AtomicBool::new(false);
                let stored = async {
                    let stored = self.try_read_store(name).await?;
                    is_unreadable.store(stored.is_unreadable, Ordering::Relaxed);
                    Ok(stored)
                };
                let found = self.newest_of(name, stored).await?;
                let why = if is_unreadable.into_inner() { Reason::Unreadable } else { Reason::Abandoned };
                Ok(found.and_then(|found| self.by_age(name, found, why)))
            }
        }
    }

    /// What memory holds for `name`, if that is fresh and the cache is switched on.
    fn fresh(&self, name: &str) -> Option<Answer> {
        self.peek(name).filter(|held| self.is_enabled() && held.freshness() == Freshness::Fresh)
    }

    /// What memory holds for `name`, however old, without asking anyone and without being counted.
    pub fn peek(&self, name: &str) -> Option<Answer> {
        let entry = self.held(name)?;
        let at = self.cache.clock.now();
        (entry.freshness(at) != Freshness::Gone).then(|| self.answer(entry, Outcome::Hit(Tier::Memory), at))
    }

    /// What the store holds for each name, however old, in one round trip and without being counted or kept in memory:
    /// `Ok(None)` for what it does not hold, and an error for what it does not say in time.
    pub async fn stored(&self, names: &[String]) -> Vec<Result<Option<Answer>, StoreError>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let stored = self.read_store_many(&names).await;
        let (at, outcome) = (self.cache.clock.now(), Outcome::Hit(Tier::Store));
        let answered = |Stored { entry, unknown, .. }| match unknown {
            Some(why) => Err(self.cause(why)),
            None => Ok(entry.map(|entry| self.answer(Arc::new(entry), outcome, at))),
        };
        stored.into_iter().map(answered).collect()
    }

    /// What the store holds for `name`, as [`Region::stored`] says it for many.
    ///
    /// # Errors
    ///
    /// Why the store does not say.
    pub async fn try_stored(&self, name: &str) -> Result<Option<Answer>, StoreError> {
        let (stored, heard) = self.try_read_store_timed(name).await?;
        let (at, outcome) = (self.cache.clock.at(heard), Outcome::Hit(Tier::Store));
        Ok(stored.entry.map(|entry| self.answer(Arc::new(entry), outcome, at)))
    }

    /// The newest that memory, the writes that wait for the store, or the store hold for `name`, however old and without
    /// being counted. The store is asked even where memory holds something fresh, and what it had is in memory afterwards.
    /// Unlike [`Region::stored`], it distinguishes that there is nothing from that it is not known.
    ///
    /// # Errors
    ///
    /// When the store does not answer, and this process has nothing either.
    pub async fn newest(&self, name: &str) -> Result<Option<Answer>, StoreError> {
        self.newest_of(name, self.ask_store(name)).await
    }

    /// See [`Region::newest`]; `stored` asks the store.
    async fn newest_of(
        &self,
        name: &str,
        stored: impl Future<Output = Result<Stored, StoreError>>,
    ) -> Result<Option<Answer>, StoreError> {
        let held = self.peek(name);
        let waiting = self.cache.store.as_ref().and_then(|tier| tier.behind.waiting(&self.store_key(name)));
        let lasts = |entry: &Arc<Entry>| entry.freshness(self.cache.clock.now()) != Freshness::Gone;
        let waiting = waiting.map(|waiting| waiting.filter(lasts));
        // Where a removal waits, another process may have put something since.
        if let Some(waiting) = waiting.filter(|waiting| waiting.is_some() || held.is_some()) {
            let given = |entry| self.answer(entry, Outcome::Hit(Tier::Memory), self.cache.clock.now());
            return Ok(held.or_else(|| waiting.map(given)));
        }
        // Before the store is asked: an entry invalidated meanwhile stays out of memory.
        let leader = self.is_enabled().then(|| self.cache.flights.look(Key::new(self.shared.id, name), LONGEST_LOOK));
        let stored = stored.await.map(|stored| stored.entry.map(Arc::new));
        let held = self.peek(name).or(held);
        if let (Ok(Some(stored)), Some(leader)) = (&stored, leader.flatten()) {
            self.take(&leader, stored);
        }
        match (stored, held) {
            (Ok(Some(stored)), Some(held)) if self.is_at_least_as_good(&held.entry, &stored) => Ok(Some(held)),
            (Ok(Some(stored)), _) => Ok(Some(self.answer(stored, Outcome::Hit(Tier::Store), self.cache.clock.now()))),
            // The store would have it, if it had not been removed there.
            (Ok(None), held) => Ok(held.filter(|held| !held.may_be_replaced())),
            (Err(_), Some(held)) => Ok(Some(held)),
            (Err(why), None) => Err(why),
        }
    }

    /// Takes what the store had into memory, unless memory has something as good, or an invalidation or a load came.
    fn take(&self, leader: &LeaderGuard, stored: &Arc<Entry>) {
        let key = leader.key();
        leader.write(|| match self.held(&key.name) {
            Some(held) if self.is_at_least_as_good(&held, stored) => {
                // It was in doubt only because the store was given something older.
                if held.is_doubted() {
                    self.cache.memory.insert(&key.borrowed(), Arc::new(held.believed(stored.taken_at)));
                }
            }
            _ => self.cache.memory.insert(&key.borrowed(), Arc::clone(stored)),
        });
    }

    /// An answer that no source was asked for, as its age and the last load have it; nothing of what the source has not. `why` it
    /// is last good where no load failed.
    fn by_age(&self, name: &str, found: Answer, why: Reason) -> Option<Answer> {
        let freshness = found.freshness();
        let failed = self.backoff(name, found.given_at()).map(|backoff| backoff.error.reason);
        match (freshness, failed) {
            (Freshness::Fresh, _) => Some(found),
            (_, Some(Reason::NotFound)) => None,
            (Freshness::Stale, None) => Some(found.given_as(Outcome::Stale)),
            (_, failed) => Some(found.given_as(Outcome::LastGood(failed.unwrap_or(why)))),
        }
    }
}
