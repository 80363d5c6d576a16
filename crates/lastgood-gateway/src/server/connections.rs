//! The connections that are open: which of them are idle, which are stuck, and how they are ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::activity::{Activity, STUCK_AFTER};

/// One of this many is closed at once when there is no place, so that a flood does not look through all for each.
const CLOSED_TOGETHER: usize = 128;

/// All open connections, at most this many.
pub(super) struct Connections {
    most: usize,
    began: Instant,
    open: Mutex<Open>,
    ended: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Places that are taken: connections that are open, or were counted to end.
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
            // A connection that only just got stuck wakes no task when it has been so for long enough.
            let _ = tokio::time::timeout(STUCK_AFTER / 4, ended).await;
        }
    }

    fn take(self: &Arc<Self>, open: &mut Open) -> Place {
        open.taken += 1;
        open.next += 1;
        let activity = Activity::since(self.began);
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
    /// is dropped, and has those that are quiet rest. One task for all of them: hyper's own limit costs a timer for each request.
    pub(super) async fn close_slow(self: Arc<Self>, stuck: Duration, head: Duration) {
        let pause = (stuck.min(head) / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            for (activity, task) in self.open().connections.values() {
                if activity.stuck_for() >= stuck || activity.awaits_for() >= head {
                    task.abort();
                }
                activity.rest_if_quiet();
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
