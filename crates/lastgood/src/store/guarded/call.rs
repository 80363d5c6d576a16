//! A call that was admitted, and the place that it takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::breaker::Outcome;
use super::{GuardedStore, Kind};
use crate::store::StoreError;

/// How many more calls there may be at once.
pub(super) struct Places(AtomicUsize);

impl Places {
    pub(super) fn new(most: usize) -> Places {
        Places(AtomicUsize::new(most))
    }

    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |free| free.checked_sub(1));
        taken.ok().map(|_| Place(self))
    }
}

/// Given back when it is dropped.
pub(super) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// One admitted call: holds its place and sees to it that even an abandoned call is judged.
pub(super) struct Call<'a> {
    pub(super) guarded: &'a GuardedStore,
    pub(super) kind: Kind,
    pub(super) generation: u64,
    pub(super) started: Instant,
    pub(super) answered: bool,
    pub(super) _place: Place<'a>,
}

impl Call<'_> {
    fn slow_after(&self) -> Duration {
        match self.kind {
            Kind::Read => self.guarded.guard.slow_after(),
            // A large write may well take most of its budget.
            Kind::Search | Kind::Write | Kind::Removal => self.guarded.guard.write_budget,
        }
    }

    /// Takes note of how the call ended, and of which kind it turned out to be. Says when that was.
    pub(super) fn end<T>(mut self, was: impl FnOnce(&T) -> Kind, result: &Result<T, StoreError>) -> Instant {
        self.answered = true;
        self.guarded.remember(result);
        self.guarded.judge(result.as_ref().map_or(self.kind, was), result);
        let now = Instant::now();
        let outcome = Outcome::of(result, now - self.started, self.slow_after());
        self.guarded.record(self.generation, outcome, now);
        if let Err(error) = result {
            tracing::debug!(store = %self.guarded.inner, %error, "store call failed");
        }
        now
    }
}

/// What a key holds, and when the store said so.
pub(super) type Held = (Option<Bytes>, Instant);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered && self.started.elapsed() >= self.slow_after() {
            self.guarded.record(self.generation, Outcome::TimedOut, Instant::now());
        }
    }
}

impl GuardedStore {
    /// What `key` holds, for a caller who began at `started` and waits until `deadline`, if he says so. He gives up by that as any
    /// caller may, and the store has its whole budget before it is at fault.
    pub(super) async fn read_by(
        &self,
        key: &str,
        started: Instant,
        deadline: Option<Instant>,
    ) -> Result<Held, StoreError> {
        let call = self.admit(Kind::Read, started)?;
        let until = started.checked_add(self.guard.budget);
        let earlier = deadline.filter(|deadline| until.is_none_or(|until| *deadline < until));
        let result = match earlier.or(until) {
            Some(until) => self.inner.get_by(key, until).await,
            None => self.inner.get(key).await,
        };
        let gave_up = earlier.is_some_and(|earlier| result == Err(StoreError::Timeout) && Instant::now() >= earlier);
        if gave_up {
            return Err(StoreError::Timeout);
        }
        let ended = call.end(|_| Kind::Read, &result);
        Ok((result?, ended))
    }
}
