//! Loads that begin after the question: for readers to whom an answer from before is of no use, however fresh.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::timeout_at;

use crate::entry::Loaded;
use crate::error::{Error, LoadError, Reason};
use crate::flight::{Flight, LeaderGuard, Next, after};
use crate::lease::{Approach, Next as Lease, Right};
use crate::memory::Key;
use crate::metrics::Stopwatch;
use crate::outcome::Outcome;
use crate::read::FLIGHT_SLACK;
use crate::region::{Answer, Composed, Region, single};

impl Region {
    /// The answer of a load of `name` that begins after this call, whatever is kept and however fresh it is. It is
    /// written as any other; the last good answer stands in only if it fails.
    ///
    /// One load of a key runs at a time here too: while one is under way, those who ask wait for the next, which
    /// begins when that one ends and is shared by all of them. A load that failed a moment ago is not repeated yet.
    ///
    /// # Errors
    ///
    /// As [`Region::get_or_load`].
    pub async fn reload<F, L>(&self, name: &str, load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Loaded, LoadError>> + Send + 'static,
    {
        let stopwatch = Stopwatch::start();
        let answer = self.load_again(name, &[], || single(load())).await;
        self.count(&answer, stopwatch);
        answer
    }

    /// See [`Composite::reload`](crate::Composite::reload).
    pub(crate) async fn load_again<F, L, G>(&self, name: &str, siblings: &[String], load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        if !self.cache.enabled.load(Ordering::Relaxed) {
            return self.bypass(name, load).await;
        }
        let at = self.cache.clock.now();
        if let Some(backoff) = self.backoff(name, at) {
            return self.stand_in(name, backoff.as_remembered(at));
        }
        let limit = self.shared.policy.hard_timeout.saturating_add(FLIGHT_SLACK);
        let (flight, is_first) = match self.cache.flights.join_or_start_next(Key::new(self.shared.id, name), limit) {
            Next::Joined(flight) => (flight, false),
            Next::Now(leader) => (self.begin(leader, None, siblings, load), true),
            Next::Later(leader, before) => (self.begin(leader, Some(before), siblings, load), true),
        };
        // The load before may take its whole time: a caller that waits for two does not wait twice as long.
        let completed = timeout_at(after(limit), flight.wait()).await.unwrap_or_else(|_| {
            Err(Arc::new(Error::new(Reason::TimedOut, "the load before this one did not end in time")))
        });
        match completed {
            Ok((entry, _)) => {
                let outcome = if is_first { Outcome::Miss } else { Outcome::Joined };
                Ok(self.answer(entry, outcome, self.cache.clock.now()))
            }
            Err(error) => self.stand_in(name, (*error).clone()),
        }
    }

    /// The last good answer in place of an error, where one may be given.
    fn stand_in(&self, name: &str, error: Error) -> Result<Answer, Error> {
        match error.reason {
            Reason::NotFound => Err(error),
            reason => self.last_good(name, reason).ok_or(error),
        }
    }

    /// Runs `load` in a task of its own, as soon as the load `before` has ended.
    fn begin<F, L, G>(
        &self,
        leader: LeaderGuard,
        before: Option<Arc<Flight>>,
        siblings: &[String],
        load: F,
    ) -> Arc<Flight>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let (region, flight, siblings) = (self.clone(), leader.flight(), siblings.to_vec());
        tokio::spawn(async move {
            if let Some(before) = before {
                leader.wait_for_turn(&before).await;
            }
            region.run_reload(leader, &siblings, load).await;
        });
        flight
    }

    /// The flight that serves nothing of the store's: whatever lies there was loaded before. It only stands in.
    async fn run_reload<F, L, G>(self, leader: LeaderGuard, siblings: &[String], load: F)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let key = leader.key().clone();
        let holds_nothing = self.held(&key.name).is_none();
        let stored = match holds_nothing && !siblings.is_empty() {
            true => self.read_store_with(&leader, siblings).await,
            false => self.read_store(&key.name).await,
        };
        // Another process's load may have begun before: it is not waited for.
        let right = match self.lease(&key.name, &stored, &mut Approach::at_once()).await {
            Lease::Load(right) => right,
            Lease::LookAgain => Right::Unfenced,
        };
        if let Some(entry) = stored.entry.filter(|_| holds_nothing) {
            leader.write(|| self.cache.memory.insert(&key.borrowed(), Arc::new(entry)));
        }
        let started = self.cache.clock.now();
        if let Some(backoff) = self.backoff(&key.name, started) {
            return leader.complete(Err(Arc::new(backoff.as_remembered(started))));
        }
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return leader.complete(Err(Arc::new(error))),
        };
        let loaded = self.run_loader(load).await;
        drop(permit);
        self.complete_loaded(leader, loaded, started, &right);
    }
}
