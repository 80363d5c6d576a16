//! When to stop asking a store.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{BreakerState, Guard, GuardCounters};
use crate::store::StoreError;

/// After this long without a call, what was seen before says nothing about now.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// How one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Slow,
    Failed,
    TimedOut,
    /// It never reached the store, so it says nothing.
    Neutral,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, StoreError>, took: Duration, slow_after: Duration) -> Self {
        match result {
            Err(StoreError::Timeout) => Outcome::TimedOut,
            Err(StoreError::Busy | StoreError::BreakerOpen | StoreError::PartlyUnavailable(_)) => Outcome::Neutral,
            Err(error) if error.is_failure() => Outcome::Failed,
            _ if took >= slow_after => Outcome::Slow,
            _ => Outcome::Good,
        }
    }
}

/// The state machine. `Closed → Open` happens only in [`Breaker::record`], under the lock; everything after that, up
/// to closing again, is done by the one recovery task that the opening call starts. So two probes cannot meet.
pub(super) struct Breaker {
    window: usize,
    failures_to_open: usize,
    timeouts_to_open: usize,
    /// How often the state left or reached `Closed`: odd while it is not closed. Outcomes of calls admitted under
    /// another number are ignored.
    generation: AtomicU64,
    recent: Mutex<Recent>,
    changes: watch::Sender<BreakerState>,
    counters: Counters,
}

struct Recent {
    were_bad: VecDeque<bool>,
    /// How many of them were.
    bad: usize,
    timeouts_in_a_row: usize,
    last: Instant,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    slow: AtomicU64,
    rejected: AtomicU64,
    busy: AtomicU64,
    opened: AtomicU64,
}

impl Breaker {
    pub(super) fn new(guard: &Guard) -> Self {
        Breaker {
            window: guard.window.max(1),
            failures_to_open: guard.failures_to_open.clamp(1, guard.window.max(1)),
            timeouts_to_open: guard.timeouts_to_open.max(1),
            generation: AtomicU64::new(0),
            recent: Mutex::new(Recent {
                were_bad: VecDeque::new(),
                bad: 0,
                timeouts_in_a_row: 0,
                last: Instant::now(),
            }),
            changes: watch::Sender::new(BreakerState::Closed),
            counters: Counters::default(),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        *self.changes.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.changes.subscribe()
    }

    /// The generation to report the call's outcome under, or the refusal.
    pub(super) fn admit(&self) -> Result<u64, StoreError> {
        let generation = self.generation.load(Ordering::Acquire);
        if generation % 2 == 1 {
            self.counters.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::BreakerOpen);
        }
        Ok(generation)
    }

    pub(super) fn busy(&self) -> StoreError {
        self.counters.busy.fetch_add(1, Ordering::Relaxed);
        StoreError::Busy
    }

    pub(super) fn count_call(&self) {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of a call's outcome. `true` means that this one opened the breaker, and that the caller now owes it
    /// a recovery.
    pub(super) fn record_at(&self, generation: u64, outcome: Outcome, now: Instant) -> bool {
        self.count(outcome);
        if outcome == Outcome::Neutral {
            return false;
        }
        let mut recent = self.recent();
        if self.generation.load(Ordering::Acquire) != generation {
            return false;
        }
        if now.saturating_duration_since(recent.last) >= FORGET_AFTER {
            recent.forget();
        }
        recent.last = now.max(recent.last);
        recent.note(outcome, self.window);
        if !self.is_too_much(&recent) {
            return false;
        }
        recent.forget();
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changes.send_replace(BreakerState::Open);
        true
    }

    fn is_too_much(&self, recent: &Recent) -> bool {
        recent.timeouts_in_a_row >= self.timeouts_to_open
            || (recent.bad >= self.failures_to_open && recent.bad * 2 >= recent.were_bad.len())
    }

    /// Only for the recovery task.
    pub(super) fn half_open(&self) {
        self.changes.send_replace(BreakerState::HalfOpen);
    }

    /// Only for the recovery task.
    pub(super) fn reopen(&self) {
        self.changes.send_replace(BreakerState::Open);
    }

    /// Only for the recovery task, at its end.
    pub(super) fn close(&self) {
        // The lock keeps a failure from opening it between the two; in this order no caller that the change wakes
        // is still turned away.
        let _recent = self.recent();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changes.send_replace(BreakerState::Closed);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Good | Outcome::Neutral => return,
            Outcome::Slow => &self.counters.slow,
            Outcome::Failed => &self.counters.failures,
            Outcome::TimedOut => {
                self.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                &self.counters.failures
            }
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> GuardCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GuardCounters {
            calls: read(&self.counters.calls),
            failures: read(&self.counters.failures),
            timeouts: read(&self.counters.timeouts),
            slow: read(&self.counters.slow),
            rejected: read(&self.counters.rejected),
            busy: read(&self.counters.busy),
            opened: read(&self.counters.opened),
        }
    }
}

impl Recent {
    fn note(&mut self, outcome: Outcome, window: usize) {
        if self.were_bad.len() == window {
            self.bad -= usize::from(self.were_bad.pop_front().unwrap_or_default());
        }
        self.were_bad.push_back(outcome != Outcome::Good);
        self.bad += usize::from(outcome != Outcome::Good);
        self.timeouts_in_a_row = if outcome == Outcome::TimedOut { self.timeouts_in_a_row + 1 } else { 0 };
    }

    fn forget(&mut self) {
        self.were_bad.clear();
        self.bad = 0;
        self.timeouts_in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Breaker {
        fn record(&self, generation: u64, outcome: Outcome) -> bool {
            self.record_at(generation, outcome, Instant::now())
        }
    }

    fn breaker() -> Breaker {
        Breaker::new(&Guard::default())
    }

    #[tokio::test]
    async fn three_timeouts_in_a_row_open_it_but_not_with_an_answer_between() {
        let breaker = breaker();
        for outcome in [Outcome::TimedOut, Outcome::TimedOut, Outcome::Good, Outcome::Good, Outcome::TimedOut] {
            assert!(!breaker.record(0, outcome));
        }
        assert!(!breaker.record(0, Outcome::TimedOut));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.record(0, Outcome::TimedOut));
        assert_eq!(breaker.admit(), Err(StoreError::BreakerOpen));
    }

    #[tokio::test]
    async fn five_failures_open_it_only_when_they_are_half_of_what_was_seen() {
        let breaker = breaker();
        for _ in 0..20 {
            assert!(!breaker.record(0, Outcome::Good));
        }
        for _ in 0..9 {
            assert!(!breaker.record(0, Outcome::Failed));
        }
        assert!(breaker.record(0, Outcome::Slow), "ten of the last twenty");
    }

    #[tokio::test]
    async fn an_outcome_from_before_the_opening_is_ignored_after_it() {
        let breaker = breaker();
        let early = breaker.admit().expect("closed");
        for _ in 0..5 {
            breaker.record(early, Outcome::Failed);
        }
        breaker.close();
        for _ in 0..50 {
            assert!(!breaker.record(early, Outcome::TimedOut));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.counters().opened, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_long_ago_do_not_add_up() {
        let breaker = breaker();
        for _ in 0..40 {
            assert!(!breaker.record(0, Outcome::Failed));
            tokio::time::advance(FORGET_AFTER).await;
        }
    }

    #[tokio::test]
    async fn exactly_one_of_many_concurrent_failures_opens_it() {
        let breaker = std::sync::Arc::new(breaker());
        let openings: usize = std::thread::scope(|selector| {
            let threads: Vec<_> = (0..8)
                .map(|_| selector.spawn(|| (0..1000).filter(|_| breaker.record(0, Outcome::Failed)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(openings, 1);
    }
}
