//! The tasks that write, and the timer of what failed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::WriteBehind;
use super::change::{Change, ChangeKind};
use super::queue::End;
use crate::clock::Timestamp;
use crate::publisher::Kind;
use crate::store::{BreakerState, StoreError, jittered, somewhere_in};

/// The first pause before what failed is tried again, and the longest while nothing of it succeeds.
const RETRY_EVERY: Duration = Duration::from_millis(500);
const RETRY_AT_MOST: Duration = Duration::from_secs(2);
/// Changes that are repeated together, and the pause after them: two thousand a second at most.
const RETRIED_TOGETHER: usize = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// A put that is written so long after it was asked for comes late, also where it was not tried before.
const LATE: Duration = Duration::from_millis(250);
/// Processes that wait for one store begin within so long of its return, each at its own time.
const SPREAD: Duration = Duration::from_secs(1);

/// One of the tasks that write. Dropped in the middle, as when its runtime ends, it leaves the rest to others.
pub(super) struct Worker {
    behind: Arc<WriteBehind>,
    writing: Vec<String>,
    /// Whether the queue counts it among its workers.
    counted: bool,
}

/// The message about a change once it is made.
pub(super) struct Report {
    news: Option<Kind>,
    pub(super) kind: ChangeKind,
    /// It is an application's put that came late.
    pub(super) is_late_put: bool,
    /// When it was asked for, if it takes away what was there.
    asked_at: Option<Timestamp>,
}

impl Report {
    fn of(key: &str, change: &Change, now: Timestamp) -> Report {
        let has_waited = change.started_at().is_some_and(|at| now.since(at) > LATE);
        let is_late_put = change.is_put() && change.is_lasting_put() && (change.has_failed() || has_waited);
        Report { news: change.news(), kind: change.kind_at(key), is_late_put, asked_at: change.asked_at() }
    }
}

impl Worker {
    pub(super) fn of(behind: &Arc<WriteBehind>) -> Worker {
        Worker { behind: Arc::clone(behind), writing: Vec::new(), counted: true }
    }

    pub(super) async fn work(mut self) {
        loop {
            let changes = self.next();
            if changes.is_empty() {
                return;
            }
            let now = self.behind.clock.now();
            let report: Vec<Report> = changes.iter().map(|(key, change)| Report::of(key, change, now)).collect();
            let ended = self.behind.apply_all(changes).await;
            let ended = self.behind.kept(&report, ended).await;
            self.tell(&report, &ended).await;
            let keys = std::mem::take(&mut self.writing);
            let mut failed = false;
            for ((key, report), outcome) in keys.into_iter().zip(report).zip(ended) {
                failed |= self.behind.note(key, &report, outcome);
            }
            self.behind.progress.notify_waiters();
            if failed {
                // A runtime that is ending drops the timer at once, which makes the key the next one again. Only here
                // can it end this task, too.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Tells of the changes that were made. All of one step are of one kind.
    async fn tell(&self, report: &[Report], ended: &[Result<(), StoreError>]) {
        let made = self.writing.iter().zip(report).zip(ended).filter(|(_, ended)| ended.is_ok());
        let made = made.filter_map(|((key, report), _)| Some((report.news?, key.as_str(), report.asked_at)));
        let made: Vec<(Kind, &str, Option<Timestamp>)> = made.collect();
        if let Some((kind, ..)) = made.first().copied() {
            let keys: Vec<_> = made.iter().map(|(_, key, at)| (*key, *at)).collect();
            self.behind.tell(kind, &keys).await;
        }
    }

    fn next(&mut self) -> Vec<(String, Change)> {
        let mut queue = self.behind.queue();
        let next = queue.take();
        self.writing = next.iter().map(|(key, _)| key.clone()).collect();
        if next.is_empty() {
            // Under the same lock: a change queued after this starts a new worker.
            queue.workers -= 1;
            self.counted = false;
            self.behind.idle.notify_waiters();
        }
        next
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut queue = self.behind.queue();
        queue.workers -= 1;
        for key in std::mem::take(&mut self.writing) {
            if queue.done(&key, End::Failed) {
                queue.order.push_back(key);
            }
        }
        self.behind.idle.notify_waiters();
    }
}

/// The timer of what failed. Dropped early, as when its runtime ends, it leaves that to the next worker.
pub(super) struct Retry {
    behind: Weak<WriteBehind>,
    has_ended: bool,
}

impl Retry {
    pub(super) fn of(behind: &Arc<WriteBehind>) -> Retry {
        Retry { behind: Arc::downgrade(behind), has_ended: false }
    }

    /// Repeats what failed once the store is asked, a few at a time, so that neither it nor what comes meanwhile waits for
    /// all of them. After an outage each process begins at a moment of its own.
    pub(super) async fn when_the_store_is_asked_again(mut self) {
        let (mut pause, mut was_away, mut has_waited) = (RETRY_EVERY, false, false);
        loop {
            if !std::mem::take(&mut has_waited) {
                sleep(jittered(pause)).await;
            }
            let Some(behind) = self.behind.upgrade() else { return };
            if behind.store.state() != BreakerState::Closed {
                (pause, was_away) = (RETRY_EVERY, true);
                continue;
            }
            if std::mem::take(&mut was_away) {
                (has_waited, pause) = (true, RETRY_EVERY);
                drop(behind);
                sleep(somewhere_in(SPREAD)).await;
                continue;
            }
            let before = behind.written.load(Ordering::Relaxed);
            if !behind.retry_all().await {
                continue;
            }
            // What the store refuses each time is tried less often.
            let is_progress = behind.written.load(Ordering::Relaxed) > before;
            pause = if is_progress { RETRY_EVERY } else { (pause * 2).min(RETRY_AT_MOST) };
            let mut queue = behind.queue();
            if queue.failed.is_empty() {
                // Under the same lock: what fails after this begins another timer.
                (queue.is_retrying, self.has_ended) = (false, true);
                return;
            }
        }
    }
}

impl WriteBehind {
    /// Goes once through what failed so far. Says whether it came to the end before the store was away again.
    async fn retry_all(self: &Arc<Self>) -> bool {
        let (mut left, mut in_order) = (self.queue().failed.len(), usize::MAX);
        while left > 0 {
            {
                let mut queue = self.queue();
                // A store that is slow gets no more before it has taken these; but changes in order may wait for failed
                // ones.
                let is_slow = queue.order.len() >= RETRIED_TOGETHER && queue.order.len() < in_order;
                in_order = queue.order.len();
                let retried = if is_slow { 0 } else { queue.retry(RETRIED_TOGETHER.min(left)) };
                left = if retried == 0 && queue.failed.is_empty() { 0 } else { left - retried };
                self.start_worker(queue);
            }
            if left > 0 {
                sleep(jittered(RETRY_PAUSE)).await;
            }
            if self.store.state() != BreakerState::Closed {
                return false;
            }
        }
        true
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        if !self.has_ended
            && let Some(behind) = self.behind.upgrade()
        {
            let mut queue = behind.queue();
            queue.retry(usize::MAX);
            queue.is_retrying = false;
        }
    }
}
