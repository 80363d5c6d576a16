//! How a host, a source or a store is doing: one state machine for each, fed by the end of every load.
//!
//! A condition changes at once, is distinct from "never asked", and says why and since when. It writes one line to the
//! log when it changes, and while a fault lasts one a minute with a count, however many loads fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::durations::Durations;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Reason};

mod durations;

pub use self::durations::LoadDurations;

/// A part that failed and was not asked again for this long is no longer known to fail.
const BELIEVED_FOR: Duration = Duration::from_secs(60);
/// How often a lasting fault is logged, and the time in which [`MOST_LINES`] may be written.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// The most changes that are logged in that time: what fails and recovers by turns must not fill the log.
const MOST_LINES: u32 = 4;
/// The most parts whose faults are counted apart; further ones count as one.
const MOST_PARTS: usize = 256;
const OTHERS: &str = "others";

/// Whether something works, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It was never asked, or not for so long that what it did then says nothing.
    Unknown,
    /// What it was asked last it answered.
    Ok,
    /// At least one of its parts did not answer, or answered wrongly, when it was asked last.
    Failing,
}

impl State {
    /// The word for reports and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Ok => "ok",
            State::Failing => "failing",
        }
    }
}

/// What a [`Condition`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it works.
    pub state: State,
    /// Why it fails, for a person; names no secret. None unless it does.
    pub reason: Option<String>,
    /// When the state began; none before the first answer.
    pub since: Option<Timestamp>,
    /// How many loads failed since it began to fail; 0 while it does not.
    pub failures: u64,
}

impl Report {
    /// Whether it fails.
    pub fn is_failing(&self) -> bool {
        self.state == State::Failing
    }
}

/// The condition of one host, source or store.
///
/// Its parts are what can fail by itself: endpoints of a host, routes over a database. It fails while any part fails; a
/// part does until it answers again, or until it was not asked for a minute (longer if it asked for a pause).
pub struct Condition {
    kind: &'static str,
    name: String,
    clock: Clock,
    is_logged: bool,
    /// Whether the state is [`State::Ok`], for those that have one more success to note.
    is_ok: AtomicBool,
    inner: Mutex<Inner>,
    durations: Durations,
}

struct Inner {
    state: State,
    since: Option<Timestamp>,
    /// The parts that fail.
    faults: BTreeMap<String, Fault>,
    /// Loads that failed since it began to fail.
    failures: u64,
    /// For how many seconds it failed the last time.
    failed_for: u64,
    lines: Lines,
}

struct Fault {
    message: String,
    /// Until when it counts if the part is not asked again.
    until: Timestamp,
    at: Timestamp,
}

/// What was logged of late.
#[derive(Default)]
struct Lines {
    /// When the minute began in which `changes` were logged.
    began: Timestamp,
    changes: u32,
    /// When a lasting fault was logged last.
    reminded: Timestamp,
    /// Whether the last change in the log is that it fails. What changes too often to be logged each time is logged as it
    /// is once there may be a line again.
    say_that_it_fails: bool,
    /// Whether it was said that it fails for another reason than at first.
    said_again: bool,
}

impl Condition {
    /// The condition of `name`, such as a host name; `kind` is what it is in the log: `host`, `source`, `store`.
    pub fn new(kind: &'static str, name: impl Into<String>, clock: Clock) -> Self {
        let inner = Inner {
            state: State::Unknown,
            since: None,
            faults: BTreeMap::new(),
            failures: 0,
            failed_for: 0,
            lines: Lines::default(),
        };
        let durations = Durations::default();
        Condition {
            kind,
            name: name.into(),
            clock,
            is_logged: true,
            is_ok: AtomicBool::new(false),
            inner: Mutex::new(inner),
            durations,
        }
    }

    /// As [`Condition::new`], for a condition made of others, which log for it.
    pub fn unlogged(kind: &'static str, name: impl Into<String>, clock: Clock) -> Self {
        Condition { is_logged: false, ..Condition::new(kind, name, clock) }
    }

    /// What it is the condition of.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host`, `source` or `store`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Begins a load of `part`, whose end is to be noted.
    pub fn begin<'a>(&'a self, part: &'a str) -> LoadOf<'a> {
        LoadOf { condition: self, part, is_over: false, began: Instant::now(), late: None }
    }

    /// How long the loads that were begun took until they ended.
    pub fn durations(&self) -> LoadDurations {
        self.durations.read()
    }

    /// Takes note of how a load of `part` ended. That there is no such thing is an answer; a load that yielded says
    /// nothing.
    pub fn ended<T>(&self, part: &str, result: &Result<T, Error>) {
        match result {
            Ok(_) => self.succeeded(part),
            Err(error) if error.reason == Reason::NotFound => self.succeeded(part),
            Err(error) if matches!(error.reason, Reason::Yielded | Reason::Throttled) => {}
            Err(error) => self.failed(part, error),
        }
    }

    /// `part` answered as it should.
    pub fn succeeded(&self, part: &str) {
        if self.is_ok.load(Ordering::Acquire) {
            return;
        }
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.forget_old(now);
        inner.faults.remove(part);
        if inner.faults.is_empty() {
            self.become_well(&mut inner, now);
        }
    }

    /// Whether `part` failed and has not answered since.
    pub(crate) fn fails(&self, part: &str) -> bool {
        !self.is_ok.load(Ordering::Acquire) && self.inner().faults.contains_key(part)
    }

    /// Everything answers again, all failed parts included.
    pub fn recovered(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.faults.clear();
        self.become_well(&mut inner, now);
    }

    /// `part` gave no answer, or a wrong one.
    pub fn failed(&self, part: &str, why: &Error) {
        let pause = why.retry_after.unwrap_or_default();
        self.note_fault(part, why, why.detail.as_deref(), pause);
    }

    /// The same of a store, whose errors have no [`Reason`]: one that refuses a write is not unreachable.
    pub(crate) fn failed_as(&self, part: &str, why: &str) {
        self.note_fault(part, &why, None, Duration::ZERO);
    }

    fn note_fault(&self, part: &str, why: &dyn fmt::Display, detail: Option<&str>, pause: Duration) {
        let now = self.clock.now();
        let until = now.plus(BELIEVED_FOR.saturating_add(pause));
        let mut inner = self.inner();
        inner.forget_old(now);
        let part = match inner.faults.len() < MOST_PARTS || inner.faults.contains_key(part) {
            true => part,
            false => OTHERS,
        };
        inner.faults.insert(part.to_owned(), Fault { message: format!("{part}: {why}"), until, at: now });
        inner.failures += 1;
        if inner.state != State::Failing {
            // What was forgotten meanwhile begins again.
            inner.lines.say_that_it_fails &= inner.state == State::Ok;
            inner.turn(State::Failing, now);
            self.is_ok.store(false, Ordering::Release);
            inner.failures = 1;
        }
        if !self.is_logged {
            return;
        }
        if !inner.lines.say_that_it_fails {
            if inner.lines.may_log_change(now) {
                (inner.lines.say_that_it_fails, inner.lines.said_again) = (true, false);
                inner.lines.reminded = now;
                let (kind, name) = (self.kind, &self.name);
                tracing::warn!(kind, name, part, reason = %why, detail, "a {kind} fails");
            }
        } else if now.since(inner.lines.reminded) >= REMIND_EVERY {
            inner.lines.reminded = now;
            let (kind, name, failures) = (self.kind, &self.name, inner.failures);
            let seconds = inner.since.map_or(0, |since| now.since(since).as_secs());
            tracing::warn!(kind, name, part, reason = %why, detail, failures, seconds, "a {kind} still fails");
        }
    }

    /// `part`, which failed, was looked at again and fails for this reason. It is no load, and the log says once that the
    /// reason is another than at first.
    pub(crate) fn still_fails(&self, part: &str, why: &str) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let message = format!("{part}: {why}");
        let Some(fault) = inner.faults.get_mut(part) else { return };
        let is_new = fault.message != message;
        *fault = Fault { message, until: now.plus(BELIEVED_FOR), at: now };
        let is_said = inner.lines.said_again || !inner.lines.say_that_it_fails;
        if is_new && self.is_logged && !is_said {
            (inner.lines.said_again, inner.lines.reminded) = (true, now);
            let (kind, name, failures) = (self.kind, &self.name, inner.failures);
            tracing::warn!(kind, name, part, reason = why, failures, "a {kind} still fails");
        }
    }

    /// How it is doing now.
    pub fn report(&self) -> Report {
        let mut inner = self.inner();
        inner.forget_old(self.clock.now());
        let newest = inner.faults.values().max_by_key(|fault| fault.at);
        Report {
            state: inner.state,
            reason: newest.map(|fault| fault.message.clone()),
            since: inner.since,
            failures: if inner.state == State::Failing { inner.failures } else { 0 },
        }
    }

    fn become_well(&self, inner: &mut Inner, now: Timestamp) {
        if inner.state != State::Ok {
            inner.turn(State::Ok, now);
        }
        if self.is_logged && inner.lines.say_that_it_fails {
            if !inner.lines.may_log_change(now) {
                return;
            }
            inner.lines.say_that_it_fails = false;
            let (kind, name, failures, seconds) = (self.kind, &self.name, inner.failures, inner.failed_for);
            tracing::info!(kind, name, failures, seconds, "a {kind} works again");
        }
        self.is_ok.store(true, Ordering::Release);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load under way. One that is dropped before its end, as when its time is over, was not answered.
pub struct LoadOf<'a> {
    condition: &'a Condition,
    part: &'a str,
    is_over: bool,
    began: Instant,
    /// How far it has come, where that is known.
    late: Option<Box<dyn Fn() -> &'static str + Send + Sync>>,
}

impl LoadOf<'_> {
    /// What to say of it if it is dropped before its end.
    #[must_use]
    pub fn late_because(mut self, late: impl Fn() -> &'static str + Send + Sync + 'static) -> Self {
        self.late = Some(Box::new(late));
        self
    }

    /// Notes how the load ended; see [`Condition::ended`].
    pub fn ended<T>(mut self, result: &Result<T, Error>) {
        self.is_over = true;
        if !result.as_ref().is_err_and(|error| matches!(error.reason, Reason::Yielded | Reason::Throttled)) {
            self.condition.durations.add(self.began.elapsed());
        }
        self.condition.ended(self.part, result);
    }

    /// Notes that it ended; what its answer is worth is noted by who knows.
    pub fn is_over(mut self) {
        self.is_over = true;
        self.condition.durations.add(self.began.elapsed());
    }

    /// Notes that it takes long, while it goes on.
    pub fn is_slow(&self, why: &Error) {
        self.condition.failed(self.part, why);
    }

    /// Nothing was asked after all.
    pub fn not_begun(mut self) {
        self.is_over = true;
    }
}

impl Drop for LoadOf<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.condition.durations.add(self.began.elapsed());
            let mut message = "it did not answer in time".to_owned();
            if let Some(late) = &self.late {
                message.extend([": ", late()]);
            }
            self.condition.failed(self.part, &Error::new(Reason::TimedOut, message));
        }
    }
}

impl Inner {
    fn turn(&mut self, state: State, now: Timestamp) {
        if self.state == State::Failing {
            self.failed_for = self.since.map_or(0, |since| now.since(since).as_secs());
        }
        (self.state, self.since) = (state, Some(now));
    }

    /// Forgets the faults of parts that are no longer asked.
    fn forget_old(&mut self, now: Timestamp) {
        if self.state != State::Failing {
            return;
        }
        self.faults.retain(|_, fault| now < fault.until);
        if self.faults.is_empty() {
            self.turn(State::Unknown, now);
        }
    }
}

impl Lines {
    fn may_log_change(&mut self, now: Timestamp) -> bool {
        if now.since(self.began) >= REMIND_EVERY {
            (self.began, self.changes) = (now, 0);
        }
        self.changes += 1;
        self.changes <= MOST_LINES
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("name", &self.name).field("report", &self.report()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition() -> Condition {
        Condition::new("host", "api.example", Clock::paused_with_tokio())
    }

    fn down() -> Error {
        Error::new(Reason::Unreachable, "api.example cannot be reached")
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_asked_is_unknown_and_a_fault_ends_with_the_next_answer_of_its_part() {
        let condition = condition();
        assert_eq!(condition.report(), Report { state: State::Unknown, reason: None, since: None, failures: 0 });
        condition.succeeded("/price");
        assert_eq!(condition.report().state, State::Ok);
        condition.failed("/klines", &down());
        condition.failed("/klines", &down());
        condition.succeeded("/price");
        let report = condition.report();
        assert_eq!((report.state, report.failures), (State::Failing, 2), "prices say nothing of candles");
        assert_eq!(report.reason.as_deref(), Some("/klines: unreachable: api.example cannot be reached"));
        condition.succeeded("/klines");
        assert_eq!((condition.report().state, condition.report().reason), (State::Ok, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_question_is_an_answer_and_a_load_that_yields_is_none() {
        let condition = condition();
        condition.ended::<()>("/price", &Err(Error::new(Reason::Yielded, "for later")));
        assert_eq!(condition.report().state, State::Unknown);
        condition.ended::<()>("/price", &Err(Error::new(Reason::NotFound, "no such symbol")));
        assert_eq!(condition.report().state, State::Ok);
        condition.ended::<()>("/price", &Err(Error::new(Reason::Malformed, "garbage")));
        assert_eq!(condition.report().state, State::Failing);
        condition.ended("/price", &Ok(()));
        assert_eq!(condition.report().state, State::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_a_part_no_longer_asked_is_forgotten_after_the_time_it_asked_for() {
        let condition = condition();
        condition.failed("/price", &down());
        condition.failed("/klines", &down().with_retry_after(Duration::from_secs(600)));
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(condition.report().state, State::Failing);
        tokio::time::advance(Duration::from_secs(62)).await;
        assert_eq!(condition.report().state, State::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn loads_are_timed_however_they_end_and_what_was_not_asked_is_not() {
        let condition = condition();
        let took = async |millis| tokio::time::advance(Duration::from_millis(millis)).await;
        let load = condition.begin("/price");
        took(3).await;
        load.ended(&Ok(()));
        let load = condition.begin("/price");
        took(600).await;
        load.ended::<()>(&Err(down()));
        let load = condition.begin("/price");
        took(20_000).await;
        drop(load);
        let load = condition.begin("/price");
        took(3).await;
        load.is_over();
        condition.begin("/price").not_begun();
        condition.begin("/price").ended::<()>(&Err(Error::new(Reason::Yielded, "for later")));
        let durations = condition.durations();
        assert_eq!((durations.count(), durations.time), (4, Duration::from_millis(20_606)));
        assert_eq!((durations.buckets[2], durations.buckets[9], durations.buckets[12]), (2, 1, 1), "{durations:?}");
        let both = durations.and(durations);
        assert_eq!((both.count(), both.time), (8, Duration::from_millis(41_212)));
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_parts_takes_bounded_memory() {
        let condition = condition();
        (0..10_000).for_each(|part| condition.failed(&format!("/{part}"), &down()));
        assert_eq!(condition.inner().faults.len(), MOST_PARTS + 1);
        condition.recovered();
        assert_eq!(condition.report().state, State::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_and_recovers_by_turns_is_logged_a_few_times_a_minute() {
        let mut lines = Lines::default();
        let clock = Clock::paused_with_tokio();
        let logged = (0..1_000).filter(|_| lines.may_log_change(clock.now())).count();
        assert_eq!(logged, MOST_LINES as usize);
        tokio::time::advance(REMIND_EVERY).await;
        assert!(lines.may_log_change(clock.now()));
    }
}
