//! The connections that are open: which of them are idle, which are stuck, and how they are ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A client that takes nothing for so long may make room for another.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// One of so many is closed at once when there is no place, so that a flood does not look through all for each.
const CLOSED_TOGETHER: usize = 128;

/// What a connection does. Each field is written by its own task alone, so that a request costs two plain stores.
pub(super) struct Activity {
    began: Instant,
    /// Since when it is idle: microseconds since `began`, with [`ANSWERED`] after an answer, and [`ENDLESS`] during one that is
    /// sent as long as the client likes; [`BUSY`] while a request is under way.
    idle_since: AtomicU64,
    /// Since when the client takes none of what is to be written; zero while it does.
    stuck_since: AtomicU64,
}

const BUSY: u64 = u64::MAX;
/// Bits that no time needs in tens of thousands of years.
const ANSWERED: u64 = 1 << 62;
/// The answer may have no end: no other request's head is awaited.
const ENDLESS: u64 = 1 << 61;
/// A client that was answered counts as idle from so much later on than one that has asked nothing yet: those who ask keep
/// their connections in a flood of those who do not.
const CREDIT: Duration = Duration::from_secs(10);

impl Activity {
    fn now(&self) -> u64 {
        // Never zero, which is for none.
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(BUSY - 1).max(1)
    }

    /// A request has begun.
    pub(super) fn is_busy(&self) {
        self.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// A request has its answer.
    pub(super) fn is_idle(&self) {
        self.idle_since.store(self.now() | ANSWERED, Ordering::Relaxed);
    }

    /// A request has an answer that is sent as long as the client likes, and that may be cut off.
    pub(super) fn is_idle_though_endless(&self) {
        self.idle_since.store(self.now() | ANSWERED | ENDLESS, Ordering::Relaxed);
    }

    /// The client takes nothing at the moment.
    pub(super) fn is_stuck(&self) {
        if self.stuck_since.load(Ordering::Relaxed) == 0 {
            self.stuck_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The client has taken enough to count as slow and not as stuck.
    pub(super) fn is_slow(&self) {
        self.stuck_since.store(self.now(), Ordering::Relaxed);
    }

    /// The client has taken what there was.
    pub(super) fn is_unstuck(&self) {
        self.stuck_since.store(0, Ordering::Relaxed);
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        if idle_since != BUSY && idle_since & ENDLESS == 0 {
            self.is_idle();
        }
    }

    fn stuck_for(&self) -> Duration {
        match self.stuck_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.now().saturating_sub(since)),
        }
    }

    /// Since when it counts as of no use; `None` while it is of use.
    fn idle_since(&self) -> Option<u64> {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        let stuck_since = self.stuck_since.load(Ordering::Relaxed);
        match (idle_since, stuck_since) {
            (BUSY, _) => None,
            (since, 0) if since & ANSWERED != 0 => Some((since & !(ANSWERED | ENDLESS)) + CREDIT.as_micros() as u64),
            (since, 0) => Some(since),
            (_, since) => (self.stuck_for() >= STUCK_AFTER).then_some(since),
        }
    }

    /// How long the head of a request has been awaited; not at all while an earlier answer is still being taken.
    fn awaits_for(&self) -> Duration {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        if idle_since == BUSY || idle_since & ENDLESS != 0 || self.stuck_since.load(Ordering::Relaxed) != 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(self.now().saturating_sub(idle_since & !ANSWERED))
    }
}

/// All open connections, at most so many.
pub(super) struct Connections {
    most: usize,
    began: Instant,
    open: Mutex<Open>,
    ended: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Places that are taken: connections that are open, or were told to end.
    taken: usize,
    connections: HashMap<u64, (Arc<Activity>, AbortHandle)>,
}

/// The place of a connection; given back when it is dropped, which its task does at its end.
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(super) activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Connections> {
        Arc::new(Connections { most: most.max(1), began: Instant::now(), open: Mutex::default(), ended: Notify::new() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more. Where none is left, the idlest connections are closed; where none is idle, this waits.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            let ended = self.ended.notified();
            {
                let mut open = self.open();
                if open.taken < self.most {
                    return self.take(&mut open);
                }
                open.close_idlest();
            }
            // What only just got stuck tells nobody when it has been so for long enough.
            let _ = tokio::time::timeout(STUCK_AFTER / 4, ended).await;
        }
    }

    fn take(self: &Arc<Self>, open: &mut Open) -> Place {
        open.taken += 1;
        open.next += 1;
        let activity = Activity { began: self.began, idle_since: AtomicU64::new(0), stuck_since: AtomicU64::new(0) };
        activity.idle_since.store(activity.now(), Ordering::Relaxed);
        Place { connections: Arc::clone(self), number: open.next, activity: Arc::new(activity) }
    }

    /// From now on the task of `place` can be ended, unless it has ended already.
    pub(super) fn register(&self, number: u64, activity: Arc<Activity>, task: AbortHandle) {
        let mut open = self.open();
        if !task.is_finished() {
            open.connections.insert(number, (activity, task));
        }
    }

    /// Ends connections whose client has taken nothing for `stuck`, or has not sent the head of a request for `head`, until it
    /// is dropped. One task for all of them: hyper's own limit costs a timer for each request.
    pub(super) async fn close_slow(self: Arc<Self>, stuck: Duration, head: Duration) {
        let pause = (stuck.min(head) / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            for (activity, task) in self.open().connections.values() {
                if activity.stuck_for() >= stuck || activity.awaits_for() >= head {
                    task.abort();
                }
            }
        }
    }
}

impl Open {
    fn close_idlest(&mut self) {
        let idle =
            self.connections.iter().filter_map(|(number, (activity, _))| Some((activity.idle_since()?, *number)));
        let mut idle: Vec<(u64, u64)> = idle.collect();
        let together = (self.connections.len() / CLOSED_TOGETHER).max(1).min(idle.len());
        if together == 0 {
            return;
        }
        idle.select_nth_unstable(together - 1);
        for (_, number) in &idle[..together] {
            if let Some((_, task)) = self.connections.remove(number) {
                task.abort();
            }
        }
    }
}

impl Place {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.taken -= 1;
        open.connections.remove(&self.number);
        drop(open);
        self.connections.ended.notify_one();
    }
}
