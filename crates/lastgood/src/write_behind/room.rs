//! Room in the queue of writes: who has much to write waits for it, so that nothing is dropped.

use std::sync::Arc;
use std::time::Duration;

use super::{MAX_WAITING, WriteBehind};
use crate::store::BreakerState;

/// How often a caller who waits for room, or for the store, looks whether the store is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Changes that the store has not taken by then stay in the queue, and their caller goes on.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

impl WriteBehind {
    /// Waits until a body of this many bytes can be queued, for as long as the store takes writes. A change that is
    /// queued while the room is held keeps its body.
    pub(crate) async fn room(self: &Arc<Self>, bytes: u64) -> Room {
        loop {
            let progress = self.progress.notified();
            {
                let mut queue = self.queue();
                if queue.has_room(bytes) && queue.waiting.len() < MAX_WAITING / 4 * 3 {
                    queue.reserved += bytes;
                    return Room { behind: Arc::clone(self), bytes: Some(bytes) };
                }
            }
            if self.store.state() != BreakerState::Closed {
                return Room { behind: Arc::clone(self), bytes: None };
            }
            let _ = tokio::time::timeout(LOOK_EVERY, progress).await;
        }
    }

    /// Waits until the store has taken the changes of these names, whose keys begin with `prefix`. Says whether it has; it
    /// may be away, or refuse them.
    pub(crate) async fn settled(&self, prefix: &str, names: &[Arc<str>]) -> bool {
        let settled = async {
            for name in names {
                let key = [prefix, name].concat();
                loop {
                    let progress = self.progress.notified();
                    if !self.queue().has(&key) {
                        break;
                    }
                    if self.store.state() != BreakerState::Closed || self.queue().was_refused(&key) {
                        return false;
                    }
                    let _ = tokio::time::timeout(LOOK_EVERY, progress).await;
                }
            }
            true
        };
        tokio::time::timeout(SETTLED_WITHIN, settled).await.unwrap_or(false)
    }
}

/// Room in the queue for a body, until it is dropped. Without a size there was none, and no store to wait for.
pub(crate) struct Room {
    behind: Arc<WriteBehind>,
    bytes: Option<u64>,
}

impl Room {
    /// Whether a change that is queued now keeps its body.
    pub(crate) fn is_there(&self) -> bool {
        self.bytes.is_some()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes {
            self.behind.queue().reserved -= bytes;
        }
    }
}
