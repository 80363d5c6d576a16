//! The read path: memory → judge → (serve | serve and refresh behind | join the flight)
//! → [flight: store → source → write back] → else last good → else an error.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness, Loaded, Persist};
use crate::error::{Error, Reason};
use crate::flight::{Completed, Flight, JoinOrStart, LeaderGuard, Origin, after};
use crate::lease::{Approach, Next, Right};
use crate::memory::Key;
use crate::metrics::add;
use crate::outcome::{BypassReason, Outcome, Tier};
use crate::region::{Answer, Composed, Region};
use crate::shared::Backoff;
use crate::verification::Standing;

mod at_once;
mod stored;

/// What to do about a read, judged from memory alone.
pub(crate) enum Judgement {
    Serve(Answer),
    /// Serve, and have one load refresh it behind.
    Refresh(Answer),
    Refuse(Error),
    Load,
}

/// The longest backoff from a failing source between two tries of one key, unless it asks for longer itself.
const THROTTLE_AT_MOST: Duration = Duration::from_secs(30);
/// The same while callers get nothing at all, for want of a last good answer.
const THROTTLE_WITHOUT_LAST_GOOD: Duration = Duration::from_secs(1);
/// How much longer than store and source together a flight may take before it counts as hung.
pub(crate) const FLIGHT_SLACK: Duration = Duration::from_secs(1);

impl Region {
    /// Judges, joins, loads and answers. Where the store is read, `siblings` are read too.
    pub(crate) async fn read<F, L, G>(&self, name: &str, siblings: &[String], load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        match self.at_once(name) {
            (Some(entry), Some(at)) => Ok(Answer::fresh(entry, at)),
            (held, _) => self.read_held(name, held, siblings, load).await,
        }
    }

    /// As [`Region::read`], once what memory holds was judged.
    async fn read_judged<F, L, G>(
        &self,
        name: &str,
        judgement: Judgement,
        siblings: &[String],
        load: F,
    ) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        if !self.is_enabled() {
            return self.bypass(name, load).await;
        }
        match judgement {
            Judgement::Serve(answer) => Ok(answer),
            Judgement::Refuse(error) => Err(error),
            Judgement::Refresh(answer) => {
                self.join_or_start(name, siblings, &mut Some(load));
                Ok(answer)
            }
            Judgement::Load => {
                let (mut load, patience) = (Some(load), after(self.shared.policy.soft_timeout));
                loop {
                    let (flight, first) = self.join_or_start(name, siblings, &mut load);
                    let answer = self.wait_for(name, &flight, first, patience).await;
                    // The load under way yielded to this read: start our own.
                    if load.is_none() || !flight.has_yielded() {
                        return answer;
                    }
                }
            }
        }
    }

    /// Judges what memory holds. The one place where freshness, backoffs and last good meet.
    pub(crate) fn judge(&self, name: &str) -> Judgement {
        match self.at_once(name) {
            (Some(entry), Some(at)) => Judgement::Serve(Answer::fresh(entry, at)),
            (held, _) => self.judge_held(name, held),
        }
    }

    /// The same of what was found in memory.
    fn judge_held(&self, name: &str, held: Option<Arc<Entry>>) -> Judgement {
        let at = self.cache.clock.now();
        let held = held.map(|entry| self.answer(entry, Outcome::Hit(Tier::Memory), at));
        let held = held.map(|answer| (answer.freshness(), answer));
        if let Some((Freshness::Fresh, answer)) = held {
            return Judgement::Serve(answer);
        }
        match (held, self.backoff(name, at)) {
            (Some((Freshness::Stale, answer)), None) => Judgement::Refresh(answer.given_as(Outcome::Stale)),
            (Some((Freshness::Stale | Freshness::Kept, answer)), Some(backoff))
                if backoff.error.reason != Reason::NotFound =>
            {
                Judgement::Serve(answer.given_as(Outcome::LastGood(backoff.error.reason)))
            }
            (_, Some(backoff)) => Judgement::Refuse(backoff.as_remembered(at)),
            (_, None) => Judgement::Load,
        }
    }

    /// Why `name` is not to be loaded at `at`.
    pub(crate) fn backoff(&self, name: &str, at: Timestamp) -> Option<Arc<Backoff>> {
        self.cache.backoffs.get(&self.key(name)).filter(|backoff| at < backoff.until)
    }

    /// Joins the flight of `name`, or starts it in a task of its own; says whether this read did. `load` is taken only
    /// then.
    fn join_or_start<F, L, G>(&self, name: &str, siblings: &[String], load: &mut Option<F>) -> (Arc<Flight>, bool)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let (flight, leader) = self.join_or_lead(name);
        let first = leader.is_some();
        if let Some((leader, load)) = leader.and_then(|leader| Some((leader, load.take()?))) {
            // Boxed, so that it is not copied on its way into its task, and once more when it has ended.
            tokio::spawn(Box::pin(self.clone().run_load(leader, siblings.to_vec(), load)));
        }
        (flight, first)
    }

    /// The flight of `name`, with the duty to complete it where this read is the first and a load is needed.
    pub(crate) fn join_or_lead(&self, name: &str) -> (Arc<Flight>, Option<LeaderGuard>) {
        let overdue_after = self.shared.policy.hard_timeout.saturating_add(FLIGHT_SLACK);
        let leader = match self.cache.flights.join_or_start(Key::new(self.shared.id, name), overdue_after) {
            JoinOrStart::Joined(flight) => return (flight, None),
            JoinOrStart::First(leader) => leader,
        };
        let flight = leader.flight();
        // A flight that completed between the judgement and the start has left its entry or its error.
        let at = self.cache.clock.now();
        if let Some(entry) = self.held(name).filter(|entry| self.freshness(entry, at) == Freshness::Fresh) {
            leader.complete(Ok((entry, Origin::Memory)));
            return (flight, None);
        }
        if let Some(backoff) = self.backoff(name, at) {
            leader.complete(Err(Arc::new(backoff.as_remembered(at))));
            return (flight, None);
        }
        (flight, Some(leader))
    }

    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.shared.permits).try_acquire_owned().map_err(|_| {
            let message = format!("{} loads of {} are under way already", self.shared.policy.max_loads, self.name());
            Error::new(Reason::Overloaded, message)
        })
    }

    /// The flight: store, then source, then write back.
    async fn run_load<F, L, G>(self, leader: LeaderGuard, siblings: Vec<String>, load: F)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let mut approach = Approach::waiting(self.longest_wait());
        let (leader, right) = match self.approach(leader, &siblings, &mut approach).await {
            Some(found) => found,
            None => return,
        };
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return leader.complete(Err(Arc::new(error))),
        };
        let started = self.cache.clock.now();
        let loaded = self.run_loader_within(approach.left(self.shared.policy.hard_timeout), load).await;
        drop(permit);
        let leader = match loaded.is_err() && approach.has_waited() {
            true => self.look_once_more(leader).await,
            false => Some(leader),
        };
        if let Some(leader) = leader {
            self.complete_loaded(leader, loaded, started, &right);
        }
    }

    /// Ends the flight of a load that failed, if the load that it did not wait for to its end has brought an answer meanwhile.
    async fn look_once_more(&self, leader: LeaderGuard) -> Option<LeaderGuard> {
        let stored = self.read_store(&leader.key().name).await;
        self.complete_with_stored(leader, stored.entry)
    }

    /// Looks into the store until it answers the flight, or this process may load.
    async fn approach(
        &self,
        mut leader: LeaderGuard,
        siblings: &[String],
        approach: &mut Approach,
    ) -> Option<(LeaderGuard, Right)> {
        loop {
            let stored = match siblings.is_empty() {
                true => self.read_store(&leader.key().name).await,
                false => self.read_store_with(&leader, siblings).await,
            };
            let (name, looked) = (Arc::clone(&leader.key().name), stored.unread());
            leader = self.complete_with_stored(leader, stored.entry)?;
            if let Next::Load(right) = self.lease(&name, &looked, approach).await {
                return Some((leader, right));
            }
        }
    }

    /// Runs the loader, bounded by the hard timeout and with its panics caught.
    pub(crate) async fn run_loader<F, L, T>(&self, load: F) -> Result<T, Error>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<T, Error>>,
    {
        self.run_loader_within(self.shared.policy.hard_timeout, load).await
    }

    /// As [`Region::run_loader`], with the rest of the hard timeout.
    pub(crate) async fn run_loader_within<F, L, T>(&self, limit: Duration, load: F) -> Result<T, Error>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<T, Error>>,
    {
        add(&self.shared.counters.loads);
        let started = Instant::now();
        let asked = AssertUnwindSafe(async { timeout(limit, load()).await }).catch_unwind().await;
        let loaded = match asked {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(_)) => Err(Error::new(Reason::TimedOut, format!("no answer within {} ms", limit.as_millis()))),
            Err(_) => Err(Error::new(Reason::Panicked, "the loader panicked")),
        };
        match &loaded {
            Ok(_) => self.shared.counters.loaded(started.elapsed(), self.cache.clock.now()),
            Err(error) => self.shared.counters.count_failed_load(error),
        }
        loaded
    }

    /// Writes what the source answered, unless an invalidation came meanwhile, and releases the waiters.
    pub(crate) fn complete_loaded<G>(
        &self,
        leader: LeaderGuard,
        loaded: Result<Composed<G>, Error>,
        started: Timestamp,
        right: &Right,
    ) {
        let key = leader.key().clone();
        let completed: Completed = match loaded {
            Ok(Composed { own, siblings, guard }) => {
                let (at, persist) = (self.cache.clock.now(), own.persist);
                let mut entry = self.entry(&key.name, own, started, at);
                // Others wait for what a lease was taken for, so that it is written even where less would do.
                if matches!(right, Right::Leased(_)) && persist != Persist::Never {
                    entry.note_stored_at(entry.written_at);
                }
                entry.note_loaded();
                let mut entry = Arc::new(entry);
                let kept = leader.write(|| {
                    self.cache.backoffs.remove(&key);
                    match self.held_later(&key.name, &entry) {
                        // Others have been answered with it, and no answer is older than the one before.
                        Some(later) => entry = later,
                        None => self.keep(&key.name, Arc::clone(&entry), right),
                    }
                    self.keep_siblings(siblings, started, at, right);
                });
                if !kept {
                    add(&self.shared.counters.dropped_fills);
                    self.keep_voided(&leader, &entry);
                }
                drop(guard);
                Ok((entry, Origin::Source))
            }
            Err(error) => {
                let error = Arc::new(error);
                leader.write(|| self.remember_backoff(&key, &error));
                Err(error)
            }
        };
        leader.complete(completed);
    }

    pub(crate) fn remember_backoff(&self, key: &Key, error: &Arc<Error>) {
        if error.reason == Reason::Yielded {
            return;
        }
        let at = self.cache.clock.now();
        let earlier = self.cache.backoffs.peek(key).filter(|earlier| earlier.error.reason != Reason::NotFound);
        let in_a_row = earlier.map_or(1, |earlier| earlier.in_a_row.saturating_add(1));
        let last_good = self.held(&key.name).filter(|entry| entry.freshness(at) != Freshness::Gone);
        let doubling = Duration::from_millis(500) * 2u32.saturating_pow(in_a_row.min(16));
        let throttle = match (error.reason, last_good) {
            (Reason::NotFound, _) => self.shared.policy.negative_for,
            // The source that paces us names the time for each try: doubling on top would starve a key that is often
            // refused.
            (Reason::RateLimited | Reason::Overloaded, _) if error.retry_after.is_some() => Duration::ZERO,
            (_, Some(_)) => doubling.min(THROTTLE_AT_MOST),
            (_, None) => doubling.min(THROTTLE_WITHOUT_LAST_GOOD),
        };
        let until = at.plus(throttle.max(error.retry_after.unwrap_or_default()));
        self.cache.backoffs.insert(key.clone(), Arc::new(Backoff { error: Arc::clone(error), until, in_a_row }));
    }

    /// Waits for the flight; past `patience`, or when it fails, the last good answer stands in.
    pub(crate) async fn wait_for(
        &self,
        name: &str,
        flight: &Flight,
        first: bool,
        patience: Instant,
    ) -> Result<Answer, Error> {
        let completed = match flight.wait_until(patience).await {
            Some(completed) => completed,
            None => match self.last_good(name, Reason::Slow) {
                Some(answer) => return Ok(answer),
                None => flight.wait().await,
            },
        };
        match completed {
            Ok((entry, origin)) => {
                let outcome = match origin {
                    Origin::Memory => Outcome::Hit(Tier::Memory),
                    Origin::Store => Outcome::Hit(Tier::Store),
                    Origin::StaleStore => Outcome::Stale,
                    Origin::Source if first => Outcome::Miss,
                    Origin::Source => Outcome::Joined,
                };
                Ok(self.answer(entry, outcome, self.cache.clock.now()))
            }
            Err(error) if error.reason == Reason::NotFound => Err((*error).clone()),
            Err(error) => {
                let kept = || self.kept_by(flight, error.reason);
                self.last_good(name, error.reason).or_else(kept).ok_or_else(|| (*error).clone())
            }
        }
    }

    /// What the store gave a flight for bad days, where memory had no room for it.
    fn kept_by(&self, flight: &Flight, reason: Reason) -> Option<Answer> {
        let at = self.cache.clock.now();
        let entry = flight.kept().filter(|entry| entry.freshness(at) != Freshness::Gone)?;
        Some(self.answer(entry, Outcome::LastGood(reason), at))
    }

    /// The answer kept for bad days, if there is one.
    pub(crate) fn last_good(&self, name: &str, reason: Reason) -> Option<Answer> {
        let at = self.cache.clock.now();
        let entry = self.held(name).filter(|entry| entry.freshness(at) != Freshness::Gone)?;
        let answer = self.answer(entry, Outcome::LastGood(reason), at);
        self.shared.counters.note_age(answer.age(), at);
        Some(answer)
    }

    /// With the cache switched off: the loader's answer, kept nowhere.
    pub(crate) async fn bypass<F, L, G>(&self, name: &str, load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<Composed<G>, Error>>,
    {
        let started = self.cache.clock.now();
        let loaded = self.run_loader(load).await?;
        Ok(self.passed(name, loaded.own, started, self.cache.clock.now()))
    }

    /// An answer that went by the cache.
    pub(crate) fn passed(&self, name: &str, loaded: Loaded, started: Timestamp, at: Timestamp) -> Answer {
        let entry = Arc::new(self.entry(name, loaded, started, at));
        Answer::new(entry, Outcome::Bypass(BypassReason::Disabled), at, Standing::Verified)
    }
}

impl Backoff {
    pub(crate) fn as_remembered(&self, now: Timestamp) -> Error {
        let left = self.until.since(now);
        let retry_after = self.error.retry_after.map(|_| left);
        Error { remembered: true, retry_after, ..(*self.error).clone() }
    }
}
