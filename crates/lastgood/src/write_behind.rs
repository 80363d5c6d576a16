//! Writes to the store, off every caller's path: bounded, newest wins per key, in order per key.
//!
//! A failed fill is dropped, because memory has it and the next refresh writes again. A failed removal is not: until
//! it is done the store may hold what may not be served, so it is retried, and reads of the key do not ask the store.
//! Nor is a value that an application put: nothing else would ever write it again. Where there is a file for it, that
//! outlives the process: see `journal.rs`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::publisher::Publisher;
use crate::store::{BreakerState, GuardedStore, MAX_KEY_BYTES, Position, Store, StoreError};
use crate::sync::{Mutex, MutexGuard};

mod apply;
mod change;
pub(crate) mod journal;
mod others;
mod owed;
mod queue;
mod room;
#[cfg(test)]
mod schedules;
mod sequence;
mod settle;
mod tagged;
mod turn;
mod worker;

use self::change::ChangeKind;
pub(crate) use self::change::{Change, Expiry, Fill, Form, Removal, Removed};
pub(crate) use self::journal::Journal;
use self::journal::{DISTRUST, Record};
pub(crate) use self::queue::MAX_WAITING_BYTES;
use self::queue::{End, Queue};
pub(crate) use self::room::Room;
pub(crate) use self::sequence::APART;
pub(crate) use self::tagged::{Meant, Tagged};
pub(crate) use self::turn::{Meanwhile, Turn};
use self::worker::{Report, Retry, Worker};

/// Keys that may wait at once. Beyond it a removal makes all that the store holds suspect. Fills may take three quarters of
/// it, and of the room for bodies.
const MAX_WAITING: usize = 100_000;

/// Lost writes are logged at most once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct WriteBehind {
    store: Arc<GuardedStore>,
    clock: Clock,
    publisher: Arc<Publisher>,
    queue: Mutex<Queue>,
    idle: Notify,
    /// Something was written, or failed.
    progress: Notify,
    /// What the store holds from before this time may be what a lost removal should have taken away.
    distrust_before: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// When lost writes were last logged.
    warned_at: AtomicU64,
    /// Changes that must not be lost and that the store has taken.
    written: AtomicU64,
    /// When the others were heard last, and whether they can be.
    pub(crate) others: watch::Sender<Others>,
    /// The file of what waits, if there is one.
    journal: Option<Arc<Journal>>,
}

/// Whether this process hears what others remove.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    /// When a read of the log was answered last, and what it said applied.
    pub(crate) last_read_at: Option<Instant>,
    /// Up to where.
    pub(crate) position: Option<Position>,
    /// The log may not be read.
    pub(crate) is_refused: bool,
}

impl fmt::Debug for WriteBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteBehind({} waiting)", self.queue().waiting.len())
    }
}

impl WriteBehind {
    /// A queue whose bodies take `most_bytes` at most.
    pub(crate) fn new(
        store: Arc<GuardedStore>,
        clock: Clock,
        publisher: Arc<Publisher>,
        most_bytes: u64,
        journal: Option<Journal>,
    ) -> Arc<Self> {
        Arc::new(WriteBehind {
            queue: Mutex::new(Queue::of(most_bytes, clock.clone(), store.settling().is_some())),
            store,
            clock,
            publisher,
            idle: Notify::new(),
            progress: Notify::new(),
            distrust_before: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            warned_at: AtomicU64::new(0),
            written: AtomicU64::new(0),
            others: watch::Sender::new(Others::default()),
            journal: journal.map(Arc::new),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries whose load began before this are not believed when the store gives them.
    pub(crate) fn distrust_before(&self) -> Timestamp {
        Timestamp::from_millis(self.distrust_before.load(Ordering::Relaxed))
    }

    /// From now on the store is not believed about anything whose load began before `at`.
    pub(crate) fn distrust(self: &Arc<Self>, at: Timestamp) {
        self.distrust_here(at);
        self.write_down(DISTRUST, Some(&Record::Distrust { at: at.as_millis() }));
    }

    fn distrust_here(&self, at: Timestamp) {
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

    /// The same of a change that was asked for at `at`: what was put later and waits, or is gone anyhow, stays as it is.
    pub(crate) fn enqueue_late(self: &Arc<Self>, key: String, change: Change, at: Timestamp) {
        let mut queue = self.queue();
        let is_owed_later = queue.owed_change(&key).is_some_and(|owed| owed.is_after(at));
        if key.len() <= MAX_KEY_BYTES && !is_owed_later {
            self.admit(&mut queue, key, change);
            self.start_worker(queue);
        }
    }

    /// From now on the store is not believed about keys under `prefix`. [`WriteBehind::clear`] must follow.
    pub(crate) fn announce_clear(&self, prefix: &str) {
        self.queue().announce_clear(prefix);
    }

    /// Queues the removal of everything under `prefix`, which ends with a colon, in place of all that waits there.
    pub(crate) fn clear(self: &Arc<Self>, prefix: &str, tell: bool) {
        let mut queue = self.queue();
        // A put from now on waits until this is done, which would take it away, too.
        queue.announce_clear(prefix);
        queue.give_up(prefix, self.clock.now());
        // Without its colon the prefix is no key of the region, so that no fill can take the removal's place.
        let key = prefix.strip_suffix(':').unwrap_or(prefix);
        self.admit(&mut queue, key.to_owned(), Change::RemovePrefix(Removal::at(self.clock.now(), tell)));
        if !queue.waiting.contains_key(key) {
            // There was no room, and all that the store holds is suspect instead.
            queue.clearing.retain(|known| known != prefix);
        }
        self.start_worker(queue);
    }

    fn admit(&self, queue: &mut Queue, key: String, mut change: Change) {
        // The removal that a fill overtakes must still happen if the fill fails.
        if let Change::Put(fill) = &mut change {
            let overtakes = queue.owes_removal(&key) || queue.owes_expiry(&key).is_some();
            // Where the store decides about it, the owed change stays.
            if overtakes && fill.fence().is_some() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            fill.replaces |= overtakes;
        }
        let is_queued = queue.waiting.contains_key(&key);
        if !matches!(change, Change::Expire(_)) {
            queue.contested.remove(&key);
        }
        if matches!(change, Change::Expire(_))
            && let Some(older) = queue.waiting.remove(&key)
        {
            queue.bytes -= older.bytes();
            change = change.after(older, &self.clock);
        }
        let older = queue.waiting.get(&key).map(Change::bytes);
        let has_room = matches!(&change, Change::Put(fill) if fill.has_room);
        let is_fill = !change.takes_away();
        let taken = queue.bytes - older.unwrap_or(0);
        let most = if is_fill { queue.most_bytes / 4 * 3 } else { queue.most_bytes };
        if !has_room && taken > 0 && taken + change.bytes() > most {
            if is_fill {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            change = change.without_body();
        }
        let most = if is_fill { MAX_WAITING / 4 * 3 } else { MAX_WAITING };
        if !is_queued && queue.waiting.len() >= most {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if !is_fill {
                if self.distrust_before.load(Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        "more removals wait for the store than there is room for: from now on nothing that it holds \
                         from before is believed by this process"
                    );
                }
                let at = self.clock.now();
                self.distrust_here(at);
                queue.rows.note_record(DISTRUST, &Record::Distrust { at: at.as_millis() });
            }
            return;
        }
        queue.bytes = queue.bytes - older.unwrap_or(0) + change.bytes();
        queue.waiting.insert(key.clone(), change);
        queue.rows.touch(&key);
        // What failed need not wait for its turn among the others that did: this is something else.
        let is_retried = is_queued && self.store.state() == BreakerState::Closed && queue.retried.remove(&key);
        // A key that waits already, or is being written, is in the order or will be.
        if (!is_queued || is_retried) && !queue.is_busy(&key) {
            queue.order.push_back(key);
        }
    }

    /// Notes that a write was given up for want of room, here and in memory.
    fn lost(&self) {
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.clock.now();
        let warned_at = Timestamp::from_millis(self.warned_at.load(Ordering::Relaxed));
        if now.since(warned_at) >= WARN_EVERY {
            self.warned_at.store(now.as_millis(), Ordering::Relaxed);
            tracing::warn!(
                dropped,
                "more waits for the store than there is room for, and memory gave up some of it: those writes are lost"
            );
        }
    }

    fn start_worker(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let (wants, is_unsaved) = (queue.wants_worker(), queue.rows.is_unsaved());
        // A runtime that is ending drops the worker at once, and with it takes the lock.
        drop(queue);
        if wants {
            // Boxed, so that it is not copied on its way into its task, and once more when it has ended.
            tokio::spawn(Box::pin(Worker::of(self).work()));
        }
        if is_unsaved {
            self.start_saving();
        }
    }

    /// Notes how a change ended; says whether it is to be repeated.
    fn note(self: &Arc<Self>, key: String, report: &Report, outcome: Result<(), StoreError>) -> bool {
        let kind = report.kind;
        let to_be_repeated = {
            let mut queue = self.queue();
            if (kind == ChangeKind::Fill || report.is_late_put) && outcome.is_ok() && self.store.log().is_some() {
                queue.remember_fill(&key, self.clock.now());
            }
            let to_be_repeated = queue.done(&key, End::from(&outcome));
            if outcome.is_ok() && kind == ChangeKind::Lasting {
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            if queue.rows.is_unsaved() {
                drop(queue);
                self.start_saving();
            }
            to_be_repeated
        };
        let Err(why) = outcome else { return false };
        tracing::debug!(%key, %why, "write to the store failed");
        match to_be_repeated {
            true => self.retry_later(key, why),
            false => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
        to_be_repeated
    }

    /// Logs that the store took no claim, so that loaded answers stay in memory.
    pub(crate) fn log_unclaimed(&self, key: &str, why: &StoreError) {
        tracing::debug!(%key, %why, "write to the store failed");
    }

    fn retry_later(self: &Arc<Self>, key: String, why: StoreError) {
        let mut queue = self.queue();
        queue.rows.want(&key);
        queue.fail(key, why);
        self.start_retrying(queue);
        self.start_saving();
    }

    /// Begins to repeat what failed, unless that is being done. One timer for all: it holds the queue weakly, so that a
    /// dropped cache ends it.
    fn start_retrying(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.failed.is_empty() || queue.is_retrying {
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            queue.retry(usize::MAX);
            return;
        }
        queue.is_retrying = true;
        drop(queue);
        tokio::spawn(Retry::of(self).when_the_store_is_asked_again());
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
}
