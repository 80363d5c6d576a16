//! What a connection does: whether it is idle, busy or stuck.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// A client that takes nothing for so long may make room for another.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(2);

/// A connection that has asked nothing for so long gives up its buffers.
pub(crate) const QUIET_AFTER: Duration = Duration::from_secs(1);

/// What a connection does. Times are written by its own task alone, so that a request costs two plain stores.
pub(crate) struct Activity {
    began: Instant,
    /// Since when it is idle: microseconds since `began`, with [`ANSWERED`] after an answer, [`ENDLESS`] during one that is
    /// sent as long as the client likes, [`WITH_BODY`] and [`WHOLE`]; [`BUSY`] while a request is under way.
    idle_since: AtomicU64,
    /// Since when the client takes none of the bytes to be written; zero while it does.
    stuck_since: AtomicU64,
    /// Whether it rests, or is asked to.
    rests: AtomicBool,
    /// Of its task, which has one as long as it lives.
    waker: OnceLock<Waker>,
}

const BUSY: u64 = u64::MAX;
/// Bits that no time needs in tens of thousands of years.
const ANSWERED: u64 = 1 << 62;
/// The answer may have no end: no other request's head is awaited.
const ENDLESS: u64 = 1 << 61;
/// The answered request had a body, the end of which may not have come yet.
const WITH_BODY: u64 = 1 << 60;
/// All of the answer was handed to the connection at once: nothing of it is to come.
const WHOLE: u64 = 1 << 59;
/// The bits of the time.
const TIME: u64 = WHOLE - 1;
/// A client that was answered counts as idle from so much later on than one that has asked nothing yet: those who ask keep
/// their connections in a flood of those who do not.
const CREDIT: Duration = Duration::from_secs(10);

impl Activity {
    /// A new connection's, which is idle. Times are counted from `began`.
    pub(crate) fn since(began: Instant) -> Activity {
        let [idle_since, stuck_since] = [0, 0].map(AtomicU64::new);
        let activity =
            Activity { began, idle_since, stuck_since, rests: AtomicBool::new(false), waker: OnceLock::new() };
        activity.idle_since.store(activity.now(), Ordering::Relaxed);
        activity
    }

    fn now(&self) -> u64 {
        // Never zero, which is for none.
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(BUSY - 1).max(1)
    }

    /// A request has begun.
    pub(crate) fn is_busy(&self) {
        self.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// A request has its answer.
    pub(crate) fn is_idle(&self) {
        self.idle_since.store(self.now() | ANSWERED, Ordering::Relaxed);
    }

    /// A request without a body has all of its answer.
    pub(crate) fn is_idle_after_whole(&self) {
        self.idle_since.store(self.now() | ANSWERED | WHOLE, Ordering::Relaxed);
    }

    /// A request that had a body has its answer: there may be more to read of the body.
    pub(crate) fn is_idle_after_body(&self) {
        self.idle_since.store(self.now() | ANSWERED | WITH_BODY, Ordering::Relaxed);
    }

    /// A request has an answer that is sent as long as the client likes, and that may be cut off.
    pub(crate) fn is_idle_though_endless(&self) {
        self.idle_since.store(self.now() | ANSWERED | ENDLESS, Ordering::Relaxed);
    }

    /// The client takes nothing at the moment.
    pub(crate) fn is_stuck(&self) {
        if self.stuck_since.load(Ordering::Relaxed) == 0 {
            self.stuck_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The client has taken enough to count as slow and not as stuck.
    pub(crate) fn is_slow(&self) {
        self.stuck_since.store(self.now(), Ordering::Relaxed);
    }

    /// The client has taken what there was.
    pub(crate) fn is_unstuck(&self) {
        self.stuck_since.store(0, Ordering::Relaxed);
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        if idle_since != BUSY && idle_since & ENDLESS == 0 {
            self.idle_since.store(self.now() | ANSWERED | idle_since & (WITH_BODY | WHOLE), Ordering::Relaxed);
        }
    }

    pub(crate) fn stuck_for(&self) -> Duration {
        match self.stuck_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.now().saturating_sub(since)),
        }
    }

    /// Since when it counts as of no use; `None` while it is of use.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        let stuck_since = self.stuck_since.load(Ordering::Relaxed);
        match (idle_since, stuck_since) {
            (BUSY, _) => None,
            (since, 0) if since & ANSWERED != 0 => Some((since & TIME) + CREDIT.as_micros() as u64),
            (since, 0) => Some(since),
            (_, since) => (self.stuck_for() >= STUCK_AFTER).then_some(since),
        }
    }

    /// How long the head of a request has been awaited; not at all while an earlier answer is still being taken.
    pub(crate) fn awaits_for(&self) -> Duration {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        if idle_since == BUSY || idle_since & ENDLESS != 0 || self.stuck_since.load(Ordering::Relaxed) != 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(self.now().saturating_sub(idle_since & TIME))
    }

    /// Whether it was answered, to the end, and has asked nothing since for [`QUIET_AFTER`].
    fn is_quiet(&self) -> bool {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        let is_answered = idle_since != BUSY && idle_since & !(TIME | WHOLE) == ANSWERED;
        is_answered
            && self.stuck_since.load(Ordering::Relaxed) == 0
            && self.now().saturating_sub(idle_since & TIME) >= QUIET_AFTER.as_micros() as u64
    }

    /// Asks the connection to rest if it is quiet.
    pub(crate) fn rest_if_quiet(&self) {
        if self.is_quiet()
            && let Some(waker) = self.waker.get()
            && !self.rests.swap(true, Ordering::Relaxed)
        {
            waker.wake_by_ref();
        }
    }

    /// Whether the connection, which has nothing to do, has given an answer as a whole since it was [awake](Self::is_awake), or is
    /// asked to rest and is still quiet. `waker` is its task's.
    pub(crate) fn may_rest(&self, waker: &Waker) -> bool {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        if idle_since != BUSY && idle_since & WHOLE != 0 && self.stuck_since.load(Ordering::Relaxed) == 0 {
            return true;
        }
        if self.waker.get().is_none() {
            _ = self.waker.set(waker.clone());
        }
        if !self.rests.load(Ordering::Relaxed) {
            return false;
        }
        let is_quiet = self.is_quiet();
        self.rests.store(is_quiet, Ordering::Relaxed);
        is_quiet
    }

    /// It rests no more.
    pub(crate) fn is_awake(&self) {
        self.rests.store(false, Ordering::Relaxed);
        self.idle_since.fetch_and(!WHOLE, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }
}

/// Goes with an answer whose body is still to come, which holds the other end: the connection is busy until both are
/// dropped.
#[derive(Clone, Default)]
pub(crate) struct Streamed(Arc<OnceLock<Busy>>);

impl Streamed {
    /// Has the connection count as busy until the answer has ended.
    pub(crate) fn keep_busy(self, activity: Arc<Activity>, has_body: bool) {
        drop(self.0.set(Busy { activity, has_body }));
    }
}

struct Busy {
    activity: Arc<Activity>,
    has_body: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        match self.has_body {
            true => self.activity.is_idle_after_body(),
            false => self.activity.is_idle(),
        }
    }
}
