//! Writes to the store, off every caller's path: bounded, newest wins per key, in order per key.
//!
//! A failed fill is dropped, because memory has it and the next refresh writes again. A failed removal is not: until
//! it is done the store may hold what nobody may see, so it is retried, and reads of the key do not ask the store. Nor is
//! a value that an application put: nothing else would ever write it again.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::entry::{Entry, encode};
use crate::policy::FOREVER_TTL;
use crate::store::{BreakerState, GuardedStore, MAX_KEY_BYTES, Store, StoreError};
use crate::voice::{Kind, Voice};

mod queue;

pub(crate) use self::queue::{Change, Fill, MAX_WAITING_BYTES};
use self::queue::{End, Queue};

/// Keys that may wait at once. Beyond it fills are dropped, and a removal makes all that the store holds suspect.
const MAX_WAITING: usize = 100_000;
const RETRY_EVERY: Duration = Duration::from_millis(500);
const PAGE: usize = 500;
/// Bodies up to this many bytes, unless a slow method compresses them, are encoded without leaving the thread.
const ENCODED_IN_PLACE: usize = 64 << 10;

pub(crate) struct WriteBehind {
    store: Arc<GuardedStore>,
    clock: Clock,
    voice: Arc<Voice>,
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
    pub(crate) fn new(store: Arc<GuardedStore>, clock: Clock, voice: Arc<Voice>) -> Arc<Self> {
        Arc::new(WriteBehind {
            store,
            clock,
            voice,
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
        if key.len() > MAX_KEY_BYTES {
            return false;
        }
        let queue = self.queue();
        (queue.waiting.is_empty() && queue.active.is_empty() && queue.clearing.is_empty()) || !queue.owes_removal(key)
    }

    /// What the store will hold under `key` once what waits is written: an entry, or nothing. `None` where nothing waits
    /// that has to be written.
    pub(crate) fn waiting(&self, key: &str) -> Option<Option<Arc<Entry>>> {
        self.queue().owed(key)
    }

    /// Entries whose load began before this are not believed when the store gives them.
    pub(crate) fn distrust_before(&self) -> Timestamp {
        Timestamp::from_millis(self.distrust_before.load(Ordering::Relaxed))
    }

    /// From now on the store is not believed about anything whose load began before `at`.
    pub(crate) fn distrust(&self, at: Timestamp) {
        self.distrust_before.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Queues a change and returns at once. What no runtime is there to write waits for the next change.
    pub(crate) fn enqueue(self: &Arc<Self>, key: String, change: Change) {
        // No store takes such a key, so none holds it.
        if key.len() <= MAX_KEY_BYTES {
            let mut queue = self.queue();
            self.admit(&mut queue, key, change);
            self.start_worker(queue);
        }
    }

    /// From now on the store is not believed about what is under `prefix`. [`WriteBehind::clear`] must follow.
    pub(crate) fn announce_clear(&self, prefix: &str) {
        let mut queue = self.queue();
        if !queue.clearing.iter().any(|known| known == prefix) {
            queue.clearing.push(prefix.to_owned());
        }
    }

    /// Queues the removal of everything under `prefix`, which ends with a colon, in place of all that waits there.
    pub(crate) fn clear(self: &Arc<Self>, prefix: &str, tell: bool) {
        let mut queue = self.queue();
        queue.give_up(prefix);
        // Without its colon the prefix is no key of the region, so that no fill can take the removal's place.
        let key = prefix.strip_suffix(':').unwrap_or(prefix);
        self.admit(&mut queue, key.to_owned(), Change::RemovePrefix { tell });
        if !queue.waiting.contains_key(key) {
            // There was no room, and all that the store holds is suspect instead.
            queue.clearing.retain(|known| known != prefix);
        }
        self.start_worker(queue);
    }

    /// Another process took away what the store held for `key`, at `since` at the earliest: what this one would write
    /// there, or has written since, is older.
    pub(crate) fn take_back(self: &Arc<Self>, key: &str, since: Timestamp) {
        let mut queue = self.queue();
        self.take_back_in(&mut queue, key, since);
        self.start_worker(queue);
    }

    /// The same of all keys under `prefix`.
    pub(crate) fn take_back_all(self: &Arc<Self>, prefix: &str, since: Timestamp) {
        let mut queue = self.queue();
        for key in queue.keys_under(prefix) {
            self.take_back_in(&mut queue, &key, since);
        }
        self.start_worker(queue);
    }

    fn take_back_in(&self, queue: &mut Queue, key: &str, since: Timestamp) {
        // What is being written may land after the removal, and what was written may have.
        if queue.drop_fill(key, since) {
            self.admit(queue, key.to_owned(), Change::Remove { tell: false });
        }
    }

    fn admit(&self, queue: &mut Queue, key: String, mut change: Change) {
        // The removal that a fill overtakes must still happen if the fill fails.
        if let Change::Put(fill) = &mut change {
            fill.replaces |= queue.owes_removal(&key);
        }
        let older = queue.waiting.get(&key).map(Change::bytes);
        if queue.bytes - older.unwrap_or(0) + change.bytes() > MAX_WAITING_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if !change.takes_away() {
                return;
            }
            change = Change::Remove { tell: true };
        }
        if older.is_none() && queue.waiting.len() >= MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if change.takes_away() {
                self.distrust(self.clock.now());
            }
            return;
        }
        queue.bytes = queue.bytes - older.unwrap_or(0) + change.bytes();
        queue.waiting.insert(key.clone(), change);
        // A key that waits already, or is being written, is in the order or will be.
        if older.is_none() && !queue.active.contains_key(&key) {
            queue.order.push_back(key);
        }
    }

    fn start_worker(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let wants = queue.wants_worker();
        // A runtime that is ending drops the worker at once, and with it takes the lock.
        drop(queue);
        if wants {
            let worker = Worker { behind: Arc::clone(self), writing: None, counted: true };
            tokio::spawn(worker.work());
        }
    }

    async fn apply(&self, key: &str, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Remove { .. } => self.store.remove(&[key.to_owned()]).await.map(drop),
            Change::RemovePrefix { .. } => self.remove_prefix(&[key, ":"].concat()).await,
            Change::Put(fill) | Change::Mark(fill) => {
                let (now, keep_until) = (self.clock.now(), fill.entry.times.keep_until);
                let ttl = if keep_until == Timestamp::FOREVER { FOREVER_TTL } else { keep_until.since(now) };
                let length = fill.entry.value.body.len();
                let is_slow = length > fill.compress_over && !fill.entry.packs_quickly();
                let large = length > ENCODED_IN_PLACE || is_slow;
                let stored_under = key.to_owned();
                let encode = move || encode(&fill.entry, &stored_under, fill.schema, fill.compress_over);
                // Packing a large body takes milliseconds, too long for a thread that others share.
                let bytes = match large {
                    true => tokio::task::spawn_blocking(encode).await.ok().flatten(),
                    false => encode(),
                };
                match bytes {
                    Some(bytes) if !ttl.is_zero() => self.store.put(key, bytes, ttl).await,
                    _ => self.store.remove(&[key.to_owned()]).await.map(drop),
                }
            }
        }
    }

    /// Tells the other processes what the store has taken note of.
    async fn tell(&self, kind: Kind, key: &str) {
        match kind {
            Kind::Cleared => self.voice.tell(&self.store, kind, &[key, ":"].concat()).await,
            Kind::Changed | Kind::Removed | Kind::Everything => self.voice.tell(&self.store, kind, key).await,
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

    fn retry_later(self: &Arc<Self>, key: String, why: StoreError) {
        let mut queue = self.queue();
        queue.failed.push(key);
        queue.failed_by = Some(why);
        let is_first = queue.failed.len() == 1;
        drop(queue);
        if is_first {
            // One timer for all: it holds the queue weakly, so that a dropped cache ends it.
            tokio::spawn(Retry(Arc::downgrade(self)).when_the_store_is_asked_again());
        }
    }

    /// Waits until nothing is queued nor under way, failed removals apart.
    pub(crate) async fn drained(self: &Arc<Self>) {
        // The workers may have gone with the runtime that they were in.
        self.start_worker(self.queue());
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

    /// Why changes that must not be lost wait to be written again, where some do.
    pub(crate) fn failing(&self) -> Option<StoreError> {
        let queue = self.queue();
        queue.failed_by.clone().filter(|_| !queue.failed.is_empty())
    }

    /// The keys of changes that must not be lost and that the store has not confirmed.
    pub(crate) fn unconfirmed(&self) -> Vec<String> {
        let queue = self.queue();
        let waiting = queue.waiting.iter().filter(|(_, change)| change.takes_away()).map(|(key, _)| key);
        let active = queue.active.iter().filter(|(_, if_it_fails)| if_it_fails.is_some()).map(|(key, _)| key);
        waiting.chain(active).cloned().collect()
    }

    /// Leaves those of them that are still unconfirmed.
    pub(crate) fn retain_unconfirmed(&self, keys: &mut Vec<String>) {
        let queue = self.queue();
        keys.retain(|key| queue.owes_removal(key));
    }

    /// Removals that the store has not confirmed.
    pub(crate) fn unconfirmed_removals(&self) -> usize {
        let queue = self.queue();
        queue.waiting.values().filter(|change| change.takes_away()).count()
            + queue.active.values().filter(|if_it_fails| if_it_fails.is_some()).count()
    }
}

/// One of the tasks that write. Dropped in the middle, as when its runtime ends, it leaves the rest to others.
struct Worker {
    behind: Arc<WriteBehind>,
    writing: Option<String>,
    /// Whether the queue counts it among its workers.
    counted: bool,
}

impl Worker {
    async fn work(mut self) {
        while let Some((key, change)) = self.next() {
            let (news, is_mere_fill) = (change.news(), change.is_mere_fill());
            let outcome = self.behind.apply(&key, change).await;
            if let (Ok(()), Some(kind)) = (&outcome, news) {
                self.behind.tell(kind, &key).await;
            }
            self.writing = None;
            let to_be_repeated = {
                let mut queue = self.behind.queue();
                if is_mere_fill && outcome.is_ok() && self.behind.store.log().is_some() {
                    queue.remember_fill(&key, self.behind.clock.now());
                }
                queue.done(&key, End::from(&outcome))
            };
            if let Err(why) = outcome {
                tracing::debug!(%key, %why, "write to the store failed");
                if to_be_repeated {
                    self.behind.retry_later(key, why);
                    // A runtime that is ending drops the timer at once, which makes the key the next one again. Only
                    // here can it end this task, too.
                    tokio::task::yield_now().await;
                } else {
                    self.behind.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn next(&mut self) -> Option<(String, Change)> {
        let mut queue = self.behind.queue();
        let next = queue.take();
        self.writing = next.as_ref().map(|(key, _)| key.clone());
        if next.is_none() {
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
        if let Some(key) = self.writing.take()
            && queue.done(&key, End::Failed)
        {
            queue.order.push_back(key);
        }
        self.behind.idle.notify_waiters();
    }
}

/// The timer of failed removals. Dropped early, as when its runtime ends, it leaves them to the next worker.
struct Retry(Weak<WriteBehind>);

impl Retry {
    async fn when_the_store_is_asked_again(self) {
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
