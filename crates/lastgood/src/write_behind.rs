//! Writes to the store, off every caller's path: bounded, newest wins per key, in order per key.
//!
//! A failed fill is dropped, because memory has it and the next refresh writes again. A failed removal is not: until
//! it is done the store may hold what nobody may see, so it is retried, and reads of the key do not ask the store. Nor is
//! a value that an application put: nothing else would ever write it again. Where there is a file for it, that outlives the
//! process: see `journal.rs`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock, Timestamp};
use crate::entry::Entry;
use crate::store::{Ahead, BreakerState, GuardedStore, MAX_KEY_BYTES, Position, Store, StoreError};
use crate::sync::{Mutex, MutexGuard};
use crate::voice::Voice;

mod apply;
mod change;
pub(crate) mod journal;
mod queue;
mod room;
#[cfg(test)]
mod schedules;
mod turn;
mod worker;

pub(crate) use self::apply::APART;
use self::change::ChangeKind;
pub(crate) use self::change::{Change, Expiry, Fill, Form, Removal, Removed};
pub(crate) use self::journal::Journal;
use self::journal::{DISTRUST, Record};
pub(crate) use self::queue::MAX_WAITING_BYTES;
use self::queue::{End, Queue};
pub(crate) use self::room::Room;
pub(crate) use self::turn::{Meanwhile, Turn};
use self::worker::{Retry, Told, Worker};

/// Keys that may wait at once. Beyond it a removal makes all that the store holds suspect. Fills may take three quarters of
/// it, and of the room for bodies.
const MAX_WAITING: usize = 100_000;

/// The log is told of lost writes at most once in so long.
const WARN_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct WriteBehind {
    store: Arc<GuardedStore>,
    clock: Clock,
    voice: Arc<Voice>,
    queue: Mutex<Queue>,
    idle: Notify,
    /// Something was written, or failed.
    progress: Notify,
    /// What the store holds from before this time may be what a lost removal should have taken away.
    distrust_before: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// When the log was last told of lost writes.
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
    pub(crate) heard_at: Option<Instant>,
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
        voice: Arc<Voice>,
        most_bytes: u64,
        journal: Option<Journal>,
    ) -> Arc<Self> {
        Arc::new(WriteBehind {
            store,
            queue: Mutex::new(Queue::of(most_bytes, clock.clone())),
            clock,
            voice,
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

    /// Whether the store may be believed about `key` as far as this process knows. False while a removal is not done.
    pub(crate) fn may_read(&self, key: &str) -> bool {
        if key.len() > MAX_KEY_BYTES {
            return false;
        }
        let queue = self.queue();
        (queue.waiting.is_empty() && queue.active.is_empty() && queue.clearing.is_empty()) || !queue.owes_removal(key)
    }

    /// When the removal of `key` was asked for that is still to be written, if nothing else is: what the store holds from later
    /// is another process's.
    pub(crate) fn removal_owed_at(&self, key: &str) -> Option<Timestamp> {
        self.queue().removal_owed_at(key)
    }

    /// Waits until the store may be believed about `key`, while it takes what waits for it and at most until `deadline`.
    /// Says whether it may.
    pub(crate) async fn readable(&self, key: &str, deadline: Instant) -> bool {
        loop {
            let progress = self.progress.notified();
            // An expiry that waits is added to what is read, but it will change what a load has to replace.
            let (may_read, expires) = (self.may_read(key), self.expired_at(key).is_some());
            if may_read && !expires {
                return true;
            }
            let is_stuck = key.len() > MAX_KEY_BYTES || self.store.state() != BreakerState::Closed;
            if is_stuck || self.failing_of(&[key.to_owned()]).is_some() {
                return may_read;
            }
            if timeout_at(deadline, progress).await.is_err() {
                return may_read;
            }
        }
    }

    /// When the freshness of `key` was ended, if that is still to be written.
    pub(crate) fn expired_at(&self, key: &str) -> Option<Timestamp> {
        self.queue().owes_expiry(key).map(|expiry| expiry.at)
    }

    /// What the store gives for `key`, if its end of freshness is still to be written there.
    pub(crate) fn expired(&self, key: &str, entry: Entry, ahead: Ahead) -> Entry {
        match self.queue().owes_expiry(key) {
            Some(Expiry { at, policy, .. }) if entry.fetch_started_at <= ahead.present(*at) => {
                entry.expired_at(ahead.present(*at), policy)
            }
            _ => entry,
        }
    }

    /// Whether a change of `key` waits to be written, or is being written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.queue().has(key)
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

    /// From now on the store is not believed about what is under `prefix`. [`WriteBehind::clear`] must follow.
    pub(crate) fn announce_clear(&self, prefix: &str) {
        self.queue().announce_clear(prefix);
    }

    /// Queues the removal of everything under `prefix`, which ends with a colon, in place of all that waits there.
    pub(crate) fn clear(self: &Arc<Self>, prefix: &str, tell: bool) {
        let mut queue = self.queue();
        // What is put from now on waits until this is done, which would take it away, too.
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

    /// The keys under `prefix` whose values wait to be written, or are being written: no tier but this has them, perhaps.
    pub(crate) fn waiting_under(&self, prefix: &str) -> Vec<String> {
        let queue = self.queue();
        let puts = queue.waiting.iter().filter(|(key, change)| change.is_put() && key.starts_with(prefix));
        let is_put = |again: &Option<Change>| again.as_ref().is_some_and(Change::is_put);
        let under_way = queue.active.iter().filter(|(key, again)| is_put(again) && key.starts_with(prefix));
        puts.map(|(key, _)| key).chain(under_way.map(|(key, _)| key)).cloned().collect()
    }

    /// Another process took away what the store held for `key`: what this one would write there, or has written since, may
    /// be older.
    pub(crate) fn take_back(self: &Arc<Self>, key: &str, removed: Removed) {
        let mut queue = self.queue();
        self.take_back_in(&mut queue, key, removed);
        self.start_worker(queue);
    }

    /// The same of all keys under `prefix` whose rest is meant.
    pub(crate) fn take_back_where(self: &Arc<Self>, prefix: &str, removed: Removed, is_meant: impl Fn(&str) -> bool) {
        let mut queue = self.queue();
        let keys = queue.keys_under(prefix);
        for key in keys.into_iter().filter(|key| is_meant(&key[prefix.len()..])) {
            self.take_back_in(&mut queue, &key, removed);
        }
        self.start_worker(queue);
    }

    /// Another process changed what the store holds for `key`, or ended its freshness as `expiry` says. What this one has still
    /// to put there, or put there late, may be older, and is expired as well where it is from before.
    pub(crate) fn changed_by_another(self: &Arc<Self>, key: &str, expiry: Option<&Expiry>) {
        let mut queue = self.queue();
        self.changed_in(&mut queue, key, expiry);
        self.start_worker(queue);
    }

    /// The same of all keys under `prefix` whose rest is meant.
    pub(crate) fn changed_by_another_where(
        self: &Arc<Self>,
        prefix: &str,
        expiry: Option<&Expiry>,
        is_meant: impl Fn(&str) -> bool,
    ) {
        let mut queue = self.queue();
        let keys = queue.keys_under(prefix);
        for key in keys.into_iter().filter(|key| is_meant(&key[prefix.len()..])) {
            self.changed_in(&mut queue, &key, expiry);
        }
        self.start_worker(queue);
    }

    /// The keys whose values wait to be written, or are being written, and have this tag.
    pub(crate) fn tagged(&self, tag: &str) -> Vec<String> {
        self.queue().keys_tagged(tag)
    }

    /// Another process removed all that has a tag, or expired it: so is what was put before and waits here.
    pub(crate) fn changed_tag(
        self: &Arc<Self>,
        tag: &str,
        removed: Option<Removed>,
        expiry: impl Fn(&str) -> Option<Expiry>,
    ) {
        let mut queue = self.queue();
        for key in queue.keys_tagged(tag) {
            match removed {
                Some(removed) => self.take_back_in(&mut queue, &key, removed),
                None => self.changed_in(&mut queue, &key, expiry(&key).as_ref()),
            }
        }
        self.start_worker(queue);
    }

    fn changed_in(&self, queue: &mut Queue, key: &str, expiry: Option<&Expiry>) {
        self.take_back_in(queue, key, Removed::NOT);
        if let Some(expiry) = expiry.filter(|expiry| queue.has_put_before(key, expiry.at)) {
            self.admit(queue, key.to_owned(), Change::Expire(expiry.clone()));
        }
        queue.contest(key);
    }

    /// The same of all keys: it is not known which were changed.
    pub(crate) fn contest_all(&self) {
        self.queue().contest_all();
    }

    /// A key was changed in the store while something waits here to be put there. Says whether that is known to wait because the
    /// store did not take it, so that the change is another's.
    pub(crate) fn contest_if_late(&self, key: &str) -> bool {
        let mut queue = self.queue();
        let is_late = queue.waiting.get(key).is_some_and(|change| change.is_put() && change.has_failed());
        if is_late {
            queue.contest(key);
        }
        is_late
    }

    /// Whether another process changed the key since this one put what it still has to write there.
    pub(crate) fn is_contested(&self, key: &str) -> bool {
        self.queue().contested.contains(key)
    }

    fn take_back_in(&self, queue: &mut Queue, key: &str, removed: Removed) {
        // What is being written may land after the removal, and what was written may have.
        if let Some(at) = queue.drop_fill(key, removed) {
            // What another has put since stays.
            self.admit(queue, key.to_owned(), Change::Remove(Removal::at(at, false).late()));
        }
    }

    fn admit(&self, queue: &mut Queue, key: String, mut change: Change) {
        // The removal that a fill overtakes must still happen if the fill fails.
        if let Change::Put(fill) = &mut change {
            let overtakes = queue.owes_removal(&key) || queue.owes_expiry(&key).is_some();
            // Where the store decides about it, what is owed stays.
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
            tokio::spawn(Worker::of(self).work());
        }
        if is_unsaved {
            self.start_saving();
        }
    }

    /// Notes how a change ended; says whether it is to be repeated.
    fn note(self: &Arc<Self>, key: String, told: &Told, outcome: Result<(), StoreError>) -> bool {
        let kind = told.kind;
        let to_be_repeated = {
            let mut queue = self.queue();
            if (kind == ChangeKind::Fill || told.is_late_put) && outcome.is_ok() && self.store.log().is_some() {
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

    /// Logs that the store took no claim, so that what is loaded stays in memory.
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

    /// As [`WriteBehind::failing`], of some keys alone.
    pub(crate) fn failing_of(&self, keys: &[String]) -> Option<StoreError> {
        let queue = self.queue();
        let has_failed = |key: &String| queue.waiting.get(key).is_some_and(Change::has_failed);
        queue.failed_by.clone().filter(|_| keys.iter().any(has_failed))
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
        keys.retain(|key| queue.owes_removal(key) || queue.owes_expiry(key).is_some());
    }

    /// Why the other processes cannot be told of changes that the store has.
    pub(crate) fn unpublished_because(&self) -> Option<StoreError> {
        self.voice.refused()
    }

    /// Removals that the store has not confirmed.
    pub(crate) fn unconfirmed_removals(&self) -> usize {
        let queue = self.queue();
        queue.waiting.values().filter(|change| change.takes_away()).count()
            + queue.active.values().filter(|if_it_fails| if_it_fails.is_some()).count()
    }
}
