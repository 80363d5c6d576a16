//! Writes to the store, off every caller's path: bounded, newest wins per key, in order per key.
//!
//! A failed fill is dropped, because memory has it and the next refresh writes again. A failed removal is not: until
//! it is done the store may hold what nobody may see, so it is retried, and reads of the key do not ask the store.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::entry::{Entry, encode};
use crate::policy::FOREVER_TTL;
use crate::store::{GuardedStore, Store, StoreError};

/// What is to become of a key in the store.
pub(crate) enum Change {
    /// Holds this entry.
    Put(Fill),
    /// Holds nothing.
    Remove,
    /// Nothing that starts with the key.
    RemovePrefix,
}

/// An entry on its way to the store.
pub(crate) struct Fill {
    pub(crate) entry: Arc<Entry>,
    pub(crate) schema: u32,
    pub(crate) compress_over: usize,
    /// Whether what the store holds must not be seen again, so that a failed write becomes a removal.
    pub(crate) replaces: bool,
}

/// Keys that may wait at once. Beyond it fills are dropped, and a removal makes all that the store holds suspect.
const MAX_WAITING: usize = 100_000;
/// Bytes of fills that may wait at once.
const MAX_WAITING_BYTES: u64 = 64 << 20;
/// Writes under way at once: enough to keep a multiplexed connection busy, few enough to leave it to the reads.
const WORKERS: usize = 4;
const RETRY_EVERY: Duration = Duration::from_millis(500);
const PAGE: usize = 500;

#[derive(Default)]
struct Queue {
    waiting: HashMap<String, Change>,
    order: VecDeque<String>,
    /// Keys a worker is writing now, with whether the write takes something away.
    active: HashMap<String, bool>,
    /// Removals that failed and wait for the retry.
    failed: Vec<String>,
    bytes: u64,
    workers: usize,
}

impl Queue {
    fn take(&mut self) -> Option<(String, Change)> {
        while let Some(key) = self.order.pop_front() {
            // One write a key at a time keeps them in order; the worker that has it queues the next.
            if self.active.contains_key(&key) {
                continue;
            }
            if let Some(change) = self.waiting.remove(&key) {
                self.bytes -= change.bytes();
                self.active.insert(key.clone(), change.takes_away());
                return Some((key, change));
            }
        }
        None
    }
}

impl Change {
    fn bytes(&self) -> u64 {
        match self {
            Change::Put(fill) => fill.entry.value.body.len() as u64,
            Change::Remove | Change::RemovePrefix => 0,
        }
    }

    fn takes_away(&self) -> bool {
        match self {
            Change::Put(fill) => fill.replaces,
            Change::Remove | Change::RemovePrefix => true,
        }
    }
}

pub(crate) struct WriteBehind {
    store: Arc<GuardedStore>,
    clock: Clock,
    queue: Mutex<Queue>,
    idle: Notify,
    /// What the store holds from before this time may be what a lost removal should have taken away.
    distrust_before: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl fmt::Debug for WriteBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteBehind({} waiting)", self.queue().waiting.len())
    }
}

impl WriteBehind {
    pub(crate) fn new(store: Arc<GuardedStore>, clock: Clock) -> Arc<Self> {
        Arc::new(WriteBehind {
            store,
            clock,
            queue: Mutex::default(),
            idle: Notify::new(),
            distrust_before: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store may be believed about `key` as far as this process knows. False while a removal is not done.
    pub(crate) fn may_read(&self, key: &str) -> bool {
        let queue = self.queue();
        if queue.waiting.is_empty() && queue.active.is_empty() {
            return true;
        }
        !queue.waiting.get(key).is_some_and(Change::takes_away) && !queue.active.get(key).is_some_and(|away| *away)
    }

    /// Entries whose load began before this are not believed when the store gives them.
    pub(crate) fn distrust_before(&self) -> Timestamp {
        Timestamp::from_millis(self.distrust_before.load(Ordering::Relaxed))
    }

    /// Queues a change and returns at once. Needs a tokio runtime.
    pub(crate) fn enqueue(self: &Arc<Self>, key: String, mut change: Change) {
        let mut queue = self.queue();
        let full = queue.waiting.len() >= MAX_WAITING || queue.bytes + change.bytes() > MAX_WAITING_BYTES;
        if full && !queue.waiting.contains_key(&key) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if change.takes_away() {
                self.distrust_before.fetch_max(self.clock.now().as_millis(), Ordering::Relaxed);
            }
            return;
        }
        queue.bytes += change.bytes();
        let older = queue.waiting.remove(&key);
        // The removal that a fill overtakes must still happen if the fill fails.
        if let Change::Put(fill) = &mut change {
            fill.replaces |= older.as_ref().is_some_and(Change::takes_away) || queue.active.get(&key) == Some(&true);
        }
        if let Some(older) = older {
            queue.bytes -= older.bytes();
            queue.waiting.insert(key, change);
            return;
        }
        queue.waiting.insert(key.clone(), change);
        if !queue.active.contains_key(&key) {
            queue.order.push_back(key);
        }
        self.start_worker(&mut queue);
    }

    fn start_worker(self: &Arc<Self>, queue: &mut Queue) {
        if queue.workers < WORKERS && !queue.order.is_empty() {
            queue.workers += 1;
            tokio::spawn(Arc::clone(self).work());
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let Some((key, change)) = self.next() else {
                return;
            };
            let takes_away = change.takes_away();
            let is_prefix = matches!(change, Change::RemovePrefix);
            let outcome = self.apply(&key, change).await;
            let mut queue = self.queue();
            queue.active.remove(&key);
            if queue.waiting.contains_key(&key) {
                queue.order.push_back(key);
            } else if let Err(why) = outcome {
                tracing::debug!(%key, %why, "write to the store failed");
                if takes_away {
                    let again = if is_prefix { Change::RemovePrefix } else { Change::Remove };
                    queue.waiting.insert(key.clone(), again);
                    self.retry_later(&mut queue, key);
                } else {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn next(&self) -> Option<(String, Change)> {
        let mut queue = self.queue();
        let next = queue.take();
        if next.is_none() {
            queue.workers -= 1;
            self.idle.notify_waiters();
        }
        next
    }

    async fn apply(&self, key: &str, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Remove => self.store.remove(&[key.to_owned()]).await.map(drop),
            Change::RemovePrefix => self.remove_prefix(key).await,
            Change::Put(fill) => {
                let now = self.clock.now();
                let ttl = fill.entry.times.keep_until.since(now).min(FOREVER_TTL);
                // Packing a large body takes milliseconds, too long for a thread that others share.
                let bytes = tokio::task::spawn_blocking(move || encode(&fill.entry, fill.schema, fill.compress_over))
                    .await
                    .ok()
                    .flatten();
                match bytes {
                    Some(bytes) if !ttl.is_zero() => self.store.put(key, bytes, ttl).await,
                    _ => self.store.remove(&[key.to_owned()]).await.map(drop),
                }
            }
        }
    }

    async fn remove_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = self.store.list(prefix, cursor, PAGE).await?;
            if !page.keys.is_empty() {
                self.store.remove(&page.keys).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    fn retry_later(self: &Arc<Self>, queue: &mut Queue, key: String) {
        queue.failed.push(key);
        if queue.failed.len() > 1 {
            return;
        }
        // One timer for all: it holds the queue weakly, so that a dropped cache ends it.
        let behind = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(RETRY_EVERY).await;
            if let Some(behind) = behind.upgrade() {
                let mut queue = behind.queue();
                let failed = std::mem::take(&mut queue.failed);
                queue.order.extend(failed);
                behind.start_worker(&mut queue);
            }
        });
    }

    /// Waits until nothing is queued nor under way, failed removals apart.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let queue = self.queue();
                if queue.order.is_empty() && queue.active.is_empty() {
                    return;
                }
            }
            idle.await;
        }
    }

    /// Removals that the store has not confirmed.
    pub(crate) fn unconfirmed_removals(&self) -> usize {
        let queue = self.queue();
        queue.waiting.values().filter(|change| change.takes_away()).count()
            + queue.active.values().filter(|takes_away| **takes_away).count()
    }
}
