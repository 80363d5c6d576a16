//! A deadline and a circuit breaker around any store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::breaker::{Breaker, Outcome};
use self::call::{Call, Places};
use self::recovery::recover;
use super::{Store, StoreError};
use crate::clock::Clock;
use crate::condition::{Condition, Report, State};

mod breaker;
mod call;
mod clock;
mod contract;
mod recovery;

pub(crate) use self::clock::Ahead;
use self::clock::Measured;

/// What a [`GuardedStore`] allows its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The longest a `get` or `get_many` may take. Defaults to 25 ms, because that is what a request can spare for a
    /// cache that a healthy Redis answers in under one.
    pub budget: Duration,
    /// The longest any other call may take. Defaults to 1 s, because writes and listings run off the request path
    /// and carry megabytes.
    pub write_budget: Duration,
    /// From when on a `get` or `get_many` that does answer counts like a failure; `None` is 80 % of `budget`.
    /// Defaults to `None`, because a store that always answers just before the deadline is of no use.
    pub slow_after: Option<Duration>,
    /// The most reads, and the most other calls, under way at once; more are answered [`StoreError::Busy`]. Defaults
    /// to 512, because that many waiting calls say that more would only wait longer.
    pub max_concurrent: usize,
    /// How many of the last calls the breaker judges. Defaults to 20, because that is under 100 ms of a busy gateway.
    pub window: usize,
    /// How many of them must be failed or slow, and be at least half of those seen, to open the breaker. Defaults to
    /// 5, because fewer can be one dropped packet.
    pub failures_to_open: usize,
    /// How many calls must time out in a row to open the breaker. Defaults to 3, because each costs a caller the
    /// whole budget.
    pub timeouts_to_open: usize,
    /// How long the first background probe waits after opening. Defaults to 100 ms, because most outages are blips.
    pub open_for: Duration,
    /// How far that wait doubles from probe to probe; each is shortened by up to a quarter at random. Defaults to
    /// 400 ms, because a returned store should be in use again within a second, and a probe costs one round trip.
    pub open_for_at_most: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Guard {
            budget: Duration::from_millis(25),
            write_budget: Duration::from_secs(1),
            slow_after: None,
            max_concurrent: 512,
            window: 20,
            failures_to_open: 5,
            timeouts_to_open: 3,
            open_for: Duration::from_millis(100),
            open_for_at_most: Duration::from_millis(400),
        }
    }
}

impl Guard {
    fn slow_after(&self) -> Duration {
        self.slow_after.unwrap_or(self.budget * 4 / 5)
    }
}

/// Whether calls reach the guarded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They are answered [`StoreError::BreakerOpen`] at once; a background probe is due.
    Open,
    /// As open, while the one probe is under way.
    HalfOpen,
}

impl BreakerState {
    /// The lower-case name, for metrics and health reports.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half-open",
        }
    }
}

/// What a guard has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardCounters {
    /// Calls that were passed on to the store.
    pub calls: u64,
    /// Of those, the ones that failed or timed out.
    pub failures: u64,
    /// Of those, the ones that did not answer within their budget.
    pub timeouts: u64,
    /// Calls that answered, but slowly.
    pub slow: u64,
    /// Calls turned away because the breaker was open.
    pub rejected: u64,
    /// Calls turned away because too many were under way.
    pub busy: u64,
    /// How often the breaker opened.
    pub opened: u64,
}

/// A [`Store`] that gives every call of its inner store a hard deadline, and backs off from a failing store.
///
/// The breaker opens on failed, timed-out and slow calls. From then on every call is answered
/// [`StoreError::BreakerOpen`] without waiting, until one background probe has found the store well; no caller ever
/// pays for finding out. A refused write and a corrupt value do not count: the store did answer. Neither does having
/// no place for one more call, nor a failure that is known at once to concern a part of the store only.
///
/// A caller that gives up a call after it became slow counts as a timeout: its own deadline saw what ours would have.
pub struct GuardedStore {
    me: Weak<GuardedStore>,
    inner: Arc<dyn Store>,
    guard: Guard,
    breaker: Breaker,
    reads: Places,
    writes: Places,
    /// What kept the store from answering last: the cause, while we back off from it.
    last_failure: Mutex<Option<StoreError>>,
    condition: Condition,
    has_answered: AtomicBool,
    clock: Clock,
    measured: Mutex<Option<Measured>>,
    /// Held by who asks the store for the time.
    measuring: tokio::sync::Mutex<()>,
}

/// What of a store can fail by itself, for its [`Condition`].
const CALLS: &str = "calls";
const READS: &str = "reads";
const WRITES: &str = "writes";
const REMOVALS: &str = "removals";
const LOG: &str = "invalidation log";

#[derive(Clone, Copy)]
enum Kind {
    /// A request waits for it.
    Read,
    /// A read that takes its time, off the path of a request.
    Search,
    Write,
    /// A store that is full takes it all the same.
    Removal,
}

impl GuardedStore {
    /// Guards `inner`. Its methods must be called inside a tokio runtime with time enabled.
    pub fn new(inner: Arc<dyn Store>, guard: Guard) -> Arc<Self> {
        GuardedStore::with_clock(inner, guard, Clock::system())
    }

    /// As [`GuardedStore::new`], telling the times of its report by `clock`.
    pub fn with_clock(inner: Arc<dyn Store>, guard: Guard, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|me| GuardedStore {
            me: Weak::clone(me),
            breaker: Breaker::new(&guard),
            reads: Places::new(guard.max_concurrent),
            writes: Places::new(guard.max_concurrent),
            last_failure: Mutex::default(),
            condition: Condition::new("store", inner.to_string(), clock.clone()),
            has_answered: AtomicBool::new(false),
            clock,
            measured: Mutex::default(),
            measuring: tokio::sync::Mutex::default(),
            inner,
            guard,
        })
    }

    /// What one read may take.
    pub(crate) fn budget(&self) -> Duration {
        self.guard.budget
    }

    /// What one write may take.
    pub(crate) fn write_budget(&self) -> Duration {
        self.guard.write_budget
    }

    /// Whether a change that was too late for the store was sent so lately that its server's clock must be another than the
    /// one that was asked for the time: then the change is made whatever that clock says.
    fn is_odd<T: PartialEq>(&self, ended: &Result<T, StoreError>, sent_at: Instant, may_take: Duration) -> bool {
        let is_odd = *ended == Err(StoreError::Late) && sent_at.elapsed() < may_take / 2;
        if is_odd {
            self.forget_clock();
        }
        is_odd
    }

    /// Whether calls reach the store at this moment.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Whether the store has answered any call since this was made. Before that a closed breaker says nothing of it.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Sees every later change of [`GuardedStore::state`], for example to replay writes once it closes.
    pub fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.breaker.subscribe()
    }

    /// What the guard has seen since it was made.
    pub fn counters(&self) -> GuardCounters {
        self.breaker.counters()
    }

    /// How the store is doing, as far as its calls and its invalidation log tell. Makes no request.
    pub fn report(&self) -> Report {
        let report = self.condition.report();
        match self.inner.trouble() {
            // It took a write before it found out.
            Some(why @ StoreError::Refused(_)) if !report.is_failing() => {
                self.condition.failed_as(WRITES, &why.cause());
                self.condition.report()
            }
            Some(why) if !report.is_failing() => {
                Report { state: State::Failing, reason: Some(why.cause().into_owned()), failures: 1, ..report }
            }
            _ => report,
        }
    }

    /// The store that is guarded.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn admit(&self, kind: Kind, started: Instant) -> Result<Call<'_>, StoreError> {
        let generation = self.breaker.admit()?;
        let places = match kind {
            Kind::Read => &self.reads,
            Kind::Search | Kind::Write | Kind::Removal => &self.writes,
        };
        let place = places.try_take().ok_or_else(|| self.breaker.busy())?;
        self.breaker.count_call();
        Ok(Call { guarded: self, kind, generation, started, answered: false, _place: place })
    }

    async fn call<T, F>(&self, kind: Kind, work: impl FnOnce() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.call_that(|_| kind, kind, work).await
    }

    /// A call that turned out to be of another kind than it is admitted as, by what it answered: a write that had nothing to
    /// write says nothing of the writes that the store refuses.
    async fn call_that<T, F>(
        &self,
        was: impl FnOnce(&T) -> Kind,
        kind: Kind,
        work: impl FnOnce() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let call = self.admit(kind, Instant::now())?;
        let budget = match kind {
            Kind::Read => self.guard.budget,
            Kind::Search | Kind::Write | Kind::Removal => self.guard.write_budget,
        };
        let result = timeout(budget, work()).await.unwrap_or(Err(StoreError::Timeout));
        call.end(was, &result);
        result
    }

    /// What made the breaker open, where `why` says no more than that it is.
    pub(crate) fn cause(&self, why: StoreError) -> StoreError {
        let last_failure = || self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match why {
            StoreError::BreakerOpen => last_failure().unwrap_or(StoreError::BreakerOpen),
            why => why,
        }
    }

    fn remember<T>(&self, result: &Result<T, StoreError>) {
        let is_answer = matches!(result, Ok(_) | Err(StoreError::Refused(_) | StoreError::Corrupt(_)));
        if is_answer && !self.has_answered() {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        if let Err(why) = result
            && why.is_failure()
        {
            *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        }
    }

    /// Takes note of what a call says of the store's condition. A read that fails says nothing by itself: the breaker
    /// judges reads, and one that was late on a busy machine is no fault.
    fn judge<T>(&self, kind: Kind, result: &Result<T, StoreError>) {
        match (result, kind) {
            (Ok(_), Kind::Read | Kind::Search) => self.condition.succeeded(READS),
            (Ok(_), Kind::Write) => {
                // What took no writes at all takes removals again, too; none may come to show it.
                let also = self.condition.fails(WRITES).then_some(REMOVALS);
                [Some(WRITES), also].into_iter().flatten().for_each(|part| self.condition.succeeded(part));
            }
            (Ok(_), Kind::Removal) => self.condition.succeeded(REMOVALS),
            (Err(why @ StoreError::Refused(_)), Kind::Write) => self.condition.failed_as(WRITES, &why.cause()),
            (Err(why @ StoreError::Refused(_)), Kind::Removal) => self.condition.failed_as(REMOVALS, &why.cause()),
            _ => {}
        }
    }

    fn judge_log<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Ok(_) => self.condition.succeeded(LOG),
            Err(why) => self.condition.failed_as(LOG, &why.cause()),
        }
        result
    }

    fn record(&self, generation: u64, outcome: Outcome, now: Instant) {
        // Outside a runtime no probe could run, so the breaker had better stay closed.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.breaker.record_at(generation, outcome, now) {
            let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.condition.failed_as(CALLS, &last.unwrap_or(StoreError::Timeout).cause());
            runtime.spawn(recover(Weak::clone(&self.me), &self.guard));
        }
    }
}

/// The name of the guarded store: a reader wants to know which one it is.
impl fmt::Display for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStore")
            .field("inner", &self.inner)
            .field("guard", &self.guard)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
