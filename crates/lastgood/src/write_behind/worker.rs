//! The tasks that write, and the timer of what failed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::WriteBehind;
use super::change::Change;
use super::queue::End;
use crate::store::{BreakerState, StoreError};
use crate::voice::Kind;

const RETRY_EVERY: Duration = Duration::from_millis(500);

/// One of the tasks that write. Dropped in the middle, as when its runtime ends, it leaves the rest to others.
pub(super) struct Worker {
    behind: Arc<WriteBehind>,
    writing: Vec<String>,
    /// Whether the queue counts it among its workers.
    counted: bool,
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
            let kinds: Vec<_> =
                changes.iter().map(|(key, change)| (change.news(), change.is_unfenced_fill(key))).collect();
            let ended = self.behind.apply_all(changes).await;
            self.tell(&kinds, &ended).await;
            let keys = std::mem::take(&mut self.writing);
            let mut failed = false;
            for ((key, (_, is_unfenced)), outcome) in keys.into_iter().zip(kinds).zip(ended) {
                failed |= self.behind.note(key, is_unfenced, outcome);
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
    async fn tell(&self, kinds: &[(Option<Kind>, bool)], ended: &[Result<(), StoreError>]) {
        let made = self.writing.iter().zip(kinds).zip(ended).filter(|(_, ended)| ended.is_ok());
        let made: Vec<(Kind, &str)> = made.filter_map(|((key, (kind, _)), _)| Some(((*kind)?, key.as_str()))).collect();
        if let Some((kind, _)) = made.first().copied() {
            let keys: Vec<&str> = made.iter().map(|(_, key)| *key).collect();
            self.behind.tell(kind, &keys).await;
        }
    }

    fn next(&mut self) -> Vec<(String, Change)> {
        let mut queue = self.behind.queue();
        let next = queue.take();
        self.writing = next.iter().map(|(key, _)| key.clone()).collect();
        if next.is_empty() {
            // Under the same lock: whoever queues something after this starts a new worker.
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

/// The timer of failed removals. Dropped early, as when its runtime ends, it leaves them to the next worker.
pub(super) struct Retry(Weak<WriteBehind>);

impl Retry {
    pub(super) fn of(behind: &Arc<WriteBehind>) -> Retry {
        Retry(Arc::downgrade(behind))
    }

    pub(super) async fn when_the_store_is_asked_again(self) {
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            match self.0.upgrade() {
                Some(behind) if behind.store.state() != BreakerState::Closed => {}
                Some(behind) => {
                    drop(self);
                    return behind.start_worker(behind.queue());
                }
                None => return,
            }
        }
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        if let Some(behind) = self.0.upgrade() {
            let mut queue = behind.queue();
            let failed = std::mem::take(&mut queue.failed);
            queue.order.extend(failed);
        }
    }
}
