//! Tells waiting loads when the loads of other processes have ended. Those are published in a log of their own, which
//! holds a line a load, so that they push no invalidation out of the log that everybody reads. It is read only while
//! something waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::store::{GuardedStore, Position, Store, StoreError, jittered};

/// How long one read of the log waits.
const WAIT: Duration = Duration::from_secs(1);
/// The pause after a read that failed.
const RETRY: Duration = Duration::from_millis(200);

/// The ends of other processes' loads.
pub(crate) struct Ends {
    /// The log's key in the store.
    log: String,
    waiting: Mutex<Waiting>,
    /// Whether the log is being read: what ends from then on is heard.
    listening: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    /// By key: how many loads wait, and what wakes them.
    keys: HashMap<String, (usize, watch::Sender<()>)>,
    is_read: bool,
}

/// One load that waits for the end of another process's load of the same key.
pub(super) struct Wait {
    ends: Arc<Ends>,
    key: String,
    ended: watch::Receiver<()>,
}

impl Ends {
    pub(super) fn new(namespace: &str) -> Ends {
        Ends { log: format!("{namespace}:@loads"), waiting: Mutex::default(), listening: watch::Sender::new(false) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the end of this process's load of `key`. If that fails, the others look when the claim has run out.
    pub(super) async fn publish(&self, store: &GuardedStore, key: &str) {
        if let Some(log) = store.log() {
            _ = log.append(&self.log, Bytes::copy_from_slice(key.as_bytes())).await;
        }
    }

    /// Begins to wait for the end of a load of `key`.
    pub(super) fn wait_for(self: &Arc<Self>, store: &Arc<GuardedStore>, key: &str) -> Wait {
        let mut waiting = self.waiting();
        let (count, wake) = waiting.keys.entry(key.to_owned()).or_insert_with(|| (0, watch::Sender::new(())));
        *count += 1;
        let ended = wake.subscribe();
        if !std::mem::replace(&mut waiting.is_read, true) {
            tokio::spawn(read(Arc::clone(self), Arc::clone(store)));
        }
        Wait { ends: Arc::clone(self), key: key.to_owned(), ended }
    }

    /// Whether the log is still to be read; if not, the next load that waits has it read again.
    fn goes_on(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.is_read = !waiting.keys.is_empty();
        if !waiting.is_read {
            self.listening.send_replace(false);
        }
        waiting.is_read
    }

    fn wake(&self, key: &[u8]) {
        let waiting = self.waiting();
        let known = std::str::from_utf8(key).ok().and_then(|key| waiting.keys.get(key));
        if let Some((_, wake)) = known {
            wake.send_replace(());
        }
    }

    fn wake_all(&self) {
        for (_, wake) in self.waiting().keys.values() {
            wake.send_replace(());
        }
    }
}

impl Wait {
    /// Waits until ends are heard, at most until `deadline`. Then the store is to be looked at once more.
    pub(super) async fn is_heard(&self, deadline: Instant) {
        let mut listening = self.ends.listening.subscribe();
        _ = timeout_at(deadline, listening.wait_for(|listening| *listening)).await;
    }

    /// Waits until the load has ended, at most until `deadline`.
    pub(super) async fn ended(&mut self, deadline: Instant) {
        _ = timeout_at(deadline, self.ended.changed()).await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = self.ends.waiting();
        if let Some((count, _)) = waiting.keys.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.keys.remove(&self.key);
            }
        }
    }
}

async fn read(ends: Arc<Ends>, store: Arc<GuardedStore>) {
    let mut place: Option<Option<Position>> = None;
    while ends.goes_on() {
        // Past the guard: that the ends of loads are not heard says nothing of how the store is.
        let Some(log) = store.inner().log() else { return };
        let read = async {
            Ok::<_, StoreError>(match &place {
                None => (log.end(&ends.log).await?, None),
                Some(position) => {
                    let tail = log.read(&ends.log, position.as_ref(), WAIT).await?;
                    (tail.end.clone(), Some(tail))
                }
            })
        };
        match timeout(WAIT * 2, read).await.unwrap_or(Err(StoreError::Timeout)) {
            Ok((position, tail)) => {
                place = Some(position);
                match tail {
                    None => drop(ends.listening.send_replace(true)),
                    Some(tail) if tail.is_complete => tail.records.iter().for_each(|key| ends.wake(key)),
                    Some(_) => ends.wake_all(),
                }
            }
            Err(_) => {
                place = None;
                ends.listening.send_replace(false);
                sleep(jittered(RETRY)).await;
            }
        }
    }
}
