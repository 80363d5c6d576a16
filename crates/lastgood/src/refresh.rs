//! Loads ahead of time: before the freshness ends that readers live on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::entry::{Entry, Freshness, Loaded};
use crate::error::{Error, LoadError, Reason};
use crate::flight::{JoinOrStart, LeaderGuard, Origin};
use crate::lease::{Approach, Next};
use crate::memory::Key;
use crate::read::FLIGHT_SLACK;
use crate::region::{Composed, Region, single};

impl Region {
    /// Makes sure that `name` stays fresh for longer than `ahead` from now on, and says whether the source was asked for
    /// it: memory and the store come first, as for readers.
    ///
    /// Readers meanwhile are served fresh entries, and those who find nothing fresh share the load. One that fails
    /// takes nothing away; a [`Reason::Yielded`] of its own is not even remembered.
    ///
    /// # Errors
    ///
    /// The loader's error, however good the kept answer; [`Reason::Yielded`] while the cache is switched off.
    pub async fn refresh<F, L>(&self, name: &str, ahead: Duration, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Loaded, LoadError>> + Send + 'static,
    {
        self.load_ahead(name, ahead, || single(load())).await
    }

    /// See [`Composite::refresh`](crate::Composite::refresh).
    pub(crate) async fn load_ahead<F, L, G>(&self, name: &str, ahead: Duration, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        if !self.cache.enabled.load(Ordering::Relaxed) {
            return Err(Error::new(Reason::Yielded, "the cache is switched off"));
        }
        let at = self.cache.clock.now();
        if self.held(name).is_some_and(|entry| self.lasts(&entry, ahead)) {
            return Ok(false);
        }
        if let Some(backoff) = self.backoff(name, at) {
            return Err(backoff.as_remembered(at));
        }
        let overdue_after = self.shared.policy.hard_timeout.saturating_add(FLIGHT_SLACK);
        let flight = match self.cache.flights.join_or_start(Key::new(self.shared.id, name), overdue_after) {
            JoinOrStart::Joined(flight) => flight,
            JoinOrStart::First(leader) => {
                let flight = leader.flight();
                tokio::spawn(self.clone().run_eager_load(leader, ahead, load));
                flight
            }
        };
        match flight.wait().await {
            Ok((_, origin)) => Ok(origin == Origin::Source),
            Err(error) => Err((*error).clone()),
        }
    }

    /// Whether an entry is fresh for longer than `ahead`.
    fn lasts(&self, entry: &Entry, ahead: Duration) -> bool {
        let at = self.cache.clock.now();
        self.freshness(entry, at) == Freshness::Fresh && entry.times.fresh_until.since(at) > ahead
    }

    async fn run_eager_load<F, L, G>(self, leader: LeaderGuard, ahead: Duration, load: F)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let key = leader.key().clone();
        let mut approach = Approach::waiting(self.longest_wait());
        let right = loop {
            let stored = self.read_store(&key.name).await;
            let looked = stored.unread();
            if let Some(entry) = stored.entry.map(Arc::new) {
                leader.write(|| {
                    if !self.held(&key.name).is_some_and(|held| self.is_at_least_as_good(&held, &entry)) {
                        self.cache.memory.insert(&key.borrowed(), Arc::clone(&entry));
                    }
                });
            }
            // Another process may have been earlier, or a load that completed before this one was started.
            if let Some(entry) = self.held(&key.name).filter(|entry| self.lasts(entry, ahead)) {
                return leader.complete(Ok((entry, Origin::Store)));
            }
            if let Next::Load(right) = self.lease(&key.name, &looked, &mut approach).await {
                break right;
            }
        };
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return leader.complete(Err(Arc::new(error.with_reason(Reason::Yielded)))),
        };
        let started = self.cache.clock.now();
        let loaded = self.run_loader_within(approach.left(self.shared.policy.hard_timeout), load).await;
        drop(permit);
        self.complete_loaded(leader, loaded, started, &right);
    }
}
