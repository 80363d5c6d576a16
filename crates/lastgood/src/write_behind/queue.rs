//! The queue of waiting, running and owed writes: the order of changes to a key.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use quick_cache::DefaultHashBuilder;
use tokio::runtime::Handle;

use self::fills::Filled;
use super::change::{Change, ChangeKind, Expiry, Removal};
use super::journal::Rows;
use crate::clock::{Clock, Timestamp};
use crate::entry::Entry;
use crate::store::StoreError;

mod fills;

/// The most bytes of bodies that may wait at once, whatever the limit of memory.
pub(crate) const MAX_WAITING_BYTES: u64 = 64 << 20;
/// Removals that one call of the store may do.
const REMOVED_TOGETHER: usize = 500;
/// Writes under way at once: enough to keep a multiplexed connection busy, few enough to leave it to the reads.
const WORKERS: usize = 4;
/// Where each waits for the disk, which keeps together what waits at once.
const SETTLING_WORKERS: usize = 32;

/// How the work on a key ended.
#[derive(Clone, Copy)]
pub(super) enum End {
    Done,
    /// It may succeed later.
    Failed,
    /// The store is well and does not take this write: it is full, read-only, or the value is too large.
    Refused,
}

impl From<&Result<(), StoreError>> for End {
    fn from(outcome: &Result<(), StoreError>) -> Self {
        match outcome {
            Ok(()) => End::Done,
            Err(StoreError::Refused(_)) => End::Refused,
            Err(_) => End::Failed,
        }
    }
}

/// Each write is looked up in several of them.
type ByKey<T> = HashMap<String, T, DefaultHashBuilder>;
type Keys = HashSet<String, DefaultHashBuilder>;

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: ByKey<Change>,
    pub(super) order: VecDeque<String>,
    /// Keys a worker is writing now, with the change to make if it does not succeed, if any.
    pub(super) active: ByKey<Option<Change>>,
    /// Of those that are fills which may be applied after what overtook them: when their loads began.
    unfenced: ByKey<Timestamp>,
    /// Keys that somebody changes at once, and whether another process changed them meanwhile.
    pub(super) turns: ByKey<bool>,
    /// Of the puts that are under way, those that were not tried, because the others are still to be heard.
    pub(super) untried: Keys,
    /// Of the puts that are owed, those whose keys another process changed meanwhile.
    pub(super) contested: Keys,
    /// Changes that failed and wait for the retry, in order; and those of them that were not changed since.
    pub(super) failed: VecDeque<String>,
    pub(super) retried: Keys,
    /// Whether the timer of the retry runs.
    pub(super) is_retrying: bool,
    /// Why the latest of them failed.
    pub(super) failed_by: Option<StoreError>,
    /// The pending removals by prefix.
    pub(super) clearing: Vec<String>,
    /// Of the bodies that wait; and the most there may be.
    pub(super) bytes: u64,
    pub(super) most_bytes: u64,
    /// Bytes that somebody has room for and has yet to queue.
    pub(super) reserved: u64,
    pub(super) workers: usize,
    most_workers: usize,
    clock: Clock,
    /// When the latest fills were done: an invalidation that is heard now may have come before.
    filled: ByKey<Filled>,
    filled_in_order: VecDeque<(Timestamp, String)>,
    /// What of it is on disk.
    pub(super) rows: Rows,
}

impl Queue {
    pub(super) fn of(most_bytes: u64, clock: Clock, settles: bool) -> Queue {
        let most_workers = if settles { SETTLING_WORKERS } else { WORKERS };
        Queue { most_bytes, clock, most_workers, ..Queue::default() }
    }

    /// The next changes: one, or several removals that the store does in one call.
    pub(super) fn take(&mut self) -> Vec<(String, Change)> {
        let (mut taken, mut postponed) = (Vec::new(), Vec::new());
        while taken.len() < REMOVED_TOGETHER
            && let Some(key) = self.order.pop_front()
        {
            // One write a key at a time keeps them in order; the worker that has it queues the next.
            if self.is_busy(&key) {
                continue;
            }
            let Some(change) = self.waiting.get(&key) else { continue };
            // A removal by prefix that is still to be done would take what was put after it away, too.
            if change.is_lasting_put() && self.clearing.iter().any(|prefix| key.starts_with(prefix)) {
                postponed.push(key);
                continue;
            }
            let is_removal = matches!(change, Change::Remove(removal) if !removal.is_late);
            if !is_removal && !taken.is_empty() {
                self.order.push_front(key);
                break;
            }
            let Some(change) = self.waiting.remove(&key) else { continue };
            self.bytes -= change.bytes();
            self.active.insert(key.clone(), change.if_it_fails());
            if let (ChangeKind::Fill, Change::Put(fill)) = (change.kind_at(&key), &change) {
                self.unfenced.insert(key.clone(), fill.entry.fetch_started_at);
            }
            taken.push((key, change));
            if !is_removal {
                break;
            }
        }
        postponed.into_iter().rev().for_each(|key| self.order.push_front(key));
        taken
    }

    /// Whether `key` is being changed: what waits for it is queued once that is done.
    pub(super) fn is_busy(&self, key: &str) -> bool {
        self.active.contains_key(key) || self.turns.contains_key(key)
    }

    /// Whether bodies of this many bytes may wait, too. One that is larger than all may be has to wait alone.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let waiting = self.bytes + self.reserved;
        waiting == 0 || waiting + bytes <= self.most_bytes
    }

    /// Whether a change of `key` is queued or under way.
    pub(super) fn has(&self, key: &str) -> bool {
        self.waiting.contains_key(key) || self.active.contains_key(key)
    }

    /// Whether something is still to be taken away that the store may hold under `key`.
    pub(super) fn owes_removal(&self, key: &str) -> bool {
        let takes_away = |change: &Change| change.takes_away() && !matches!(change, Change::Expire(_));
        self.waiting.get(key).is_some_and(takes_away)
            || self.active.get(key).and_then(Option::as_ref).is_some_and(takes_away)
            || self.clearing.iter().any(|prefix| key.starts_with(prefix))
    }

    /// When the removal of `key` was asked for that is owed, if that is all that is.
    pub(super) fn removal_owed_at(&self, key: &str) -> Option<Timestamp> {
        if self.clearing.iter().any(|prefix| key.starts_with(prefix)) {
            return None;
        }
        let removed_at = |change: &Change| match change {
            Change::Remove(removal) => Some(removal.at),
            _ => None,
        };
        match (
            self.waiting.get(key).filter(|change| change.takes_away()),
            self.active.get(key).and_then(Option::as_ref),
        ) {
            (Some(waiting), _) => removed_at(waiting),
            (None, active) => active.and_then(removed_at),
        }
    }

    /// The pending expiry of `key`.
    pub(super) fn owes_expiry(&self, key: &str) -> Option<&Expiry> {
        let waiting = self.waiting.get(key).and_then(Change::expiry);
        waiting.or_else(|| self.active.get(key)?.as_ref()?.expiry())
    }

    /// The pending change of `key`, where it is more than a fill that may fail: an entry, or nothing.
    pub(super) fn owed(&self, key: &str) -> Option<Option<Arc<Entry>>> {
        let active = self.active.get(key).and_then(Option::as_ref);
        let owed = self.waiting.get(key).filter(|change| change.takes_away()).or(active);
        match owed {
            Some(Change::Put(fill) | Change::Mark(fill)) => Some(Some(Arc::clone(&fill.entry))),
            Some(Change::PutHeld(held)) => Some(held.entry.upgrade()),
            Some(Change::Remove(_) | Change::RemovePrefix(_)) => Some(None),
            Some(Change::Expire(_)) | None => {
                self.clearing.iter().any(|prefix| key.starts_with(prefix)).then_some(None)
            }
        }
    }

    /// The pending change of `key`, as it is done late; nothing of a fill that may fail.
    pub(super) fn owed_change(&self, key: &str) -> Option<Change> {
        let active = self.active.get(key).cloned().flatten();
        let waiting = self.waiting.get(key).filter(|change| change.takes_away()).and_then(Change::if_it_fails);
        match (waiting, active) {
            (Some(newer), Some(older)) => Some(newer.after(older, &self.clock)),
            (newer, older) => newer.or(older),
        }
    }

    /// Notes that the change of `key` failed and is to be made again.
    pub(super) fn fail(&mut self, key: String, why: StoreError) {
        self.failed_by = Some(why);
        if self.retried.insert(key.clone()) {
            self.failed.push_back(key);
        }
    }

    /// Whether the store refused the change of `key`, which waits to be made again.
    pub(super) fn was_refused(&self, key: &str) -> bool {
        matches!(self.failed_by, Some(StoreError::Refused(_))) && self.retried.contains(key)
    }

    /// Puts up to this many failed changes next in order; says how many.
    pub(super) fn retry(&mut self, most: usize) -> usize {
        let mut count = 0;
        while count < most
            && let Some(key) = self.failed.pop_front()
        {
            if self.retried.remove(&key) && self.waiting.contains_key(&key) {
                self.order.push_back(key);
                count += 1;
            }
        }
        count
    }

    /// From now on the store's keys under `prefix` are as good as removed.
    pub(super) fn announce_clear(&mut self, prefix: &str) {
        if !self.clearing.iter().any(|known| known == prefix) {
            self.clearing.push(prefix.to_owned());
        }
    }

    /// Drops the changes that wait under `prefix`, and has those under way taken back once they are done.
    pub(super) fn give_up(&mut self, prefix: &str, now: Timestamp) {
        self.contested.retain(|key| !key.starts_with(prefix));
        let Queue { waiting, order, failed, retried, active, turns, bytes, rows, .. } = self;
        waiting.retain(|key, change| {
            let stays = !key.starts_with(prefix);
            if !stays {
                *bytes -= change.bytes();
                rows.touch(key);
            }
            stays
        });
        order.retain(|key| waiting.contains_key(key));
        failed.retain(|key| waiting.contains_key(key));
        retried.retain(|key| waiting.contains_key(key));
        let under_way = active.keys().chain(turns.keys()).filter(|key| key.starts_with(prefix));
        waiting.extend(under_way.map(|key| (key.clone(), Change::Remove(Removal::at(now, false)))));
    }

    /// Another process changed what the store holds for `key`: what this one still has to put there may be older.
    pub(super) fn contest(&mut self, key: &str) {
        if self.owed_put(key).is_some() {
            self.contested.insert(key.to_owned());
        }
    }

    /// The same of all keys.
    pub(super) fn contest_all(&mut self) {
        let keys: Vec<String> = self.waiting.keys().chain(self.active.keys()).cloned().collect();
        keys.iter().for_each(|key| self.contest(key));
    }

    /// The pending put of `key`, unless it is to be removed.
    fn owed_put(&self, key: &str) -> Option<&Change> {
        let newest = match self.waiting.get(key) {
            None | Some(Change::Expire(_)) => self.active.get(key)?.as_ref()?,
            Some(waiting) => waiting,
        };
        Some(newest).filter(|change| change.is_lasting_put())
    }

    /// Whether an application's put of `key` that was asked for at `at` or before is still to be written, or came late and was
    /// written a moment ago; such a one is forgotten.
    pub(super) fn has_put_before(&mut self, key: &str, at: Timestamp) -> bool {
        if let Some(put) = self.owed_put(key) {
            return put.is_fresh_put_before(at);
        }
        let is_meant = |filled: &Filled| filled.is_late_put && filled.started_at <= at;
        !self.has(key) && self.filled.get(key).is_some_and(is_meant) && self.filled.remove(key).is_some()
    }

    /// The keys whose values wait, or are being written, and have this tag.
    pub(super) fn keys_tagged(&self, tag: &str) -> Vec<String> {
        let waiting = self.waiting.iter().map(|(key, change)| (key, Some(change)));
        let all = waiting.chain(self.active.iter().map(|(key, again)| (key, again.as_ref())));
        let tagged = all.filter(|(_, change)| change.is_some_and(|change| change.has_tag(tag)));
        tagged.map(|(key, _)| key.clone()).collect()
    }

    /// The keys under `prefix` that wait, are under way or were filled lately.
    pub(super) fn keys_under(&self, prefix: &str) -> Vec<String> {
        let keys = self.waiting.keys().chain(self.active.keys()).chain(self.filled.keys());
        keys.filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Ends the work on `key`, and queues its pending change again. Says whether that is a failure's
    /// repetition.
    pub(super) fn done(&mut self, key: &str, end: End) -> bool {
        let if_it_fails = self.active.remove(key).flatten();
        self.unfenced.remove(key);
        let succeeded = matches!(end, End::Done);
        if succeeded {
            self.contested.remove(key);
        }
        let was_tried = !self.untried.remove(key);
        let if_it_fails = if_it_fails.map(|again| if was_tried { again.failed() } else { again });
        // What failed and is owed as before has its row already.
        if succeeded || self.waiting.contains_key(key) || matches!(if_it_fails, Some(Change::Expire(_))) {
            self.rows.touch(key);
        }
        if succeeded && matches!(if_it_fails, Some(Change::RemovePrefix(_))) && !self.waiting.contains_key(key) {
            self.clearing.retain(|prefix| prefix.strip_suffix(':') != Some(key));
        }
        if let Some(newer) = self.waiting.remove(key) {
            self.bytes -= newer.bytes();
            // What failed and was to expire meanwhile must be written all the same.
            let change = match if_it_fails {
                Some(older) if !succeeded => newer.after(older, &self.clock),
                _ => newer,
            };
            self.bytes += change.bytes();
            self.waiting.insert(key.to_owned(), change);
            self.order.push_back(key.to_owned());
            return false;
        }
        match if_it_fails {
            Some(again) if !succeeded => {
                let again = if self.has_room(again.bytes()) { again } else { again.without_body() };
                self.bytes += again.bytes();
                self.waiting.insert(key.to_owned(), again);
                true
            }
            _ => false,
        }
    }

    pub(super) fn wants_worker(&mut self) -> bool {
        let wants = self.workers < self.most_workers && !self.order.is_empty() && Handle::try_current().is_ok();
        self.workers += usize::from(wants);
        wants
    }
}
