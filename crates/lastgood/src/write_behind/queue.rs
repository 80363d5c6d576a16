//! What waits to be written, what is being written, and what is owed: the order of changes to a key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::clock::Timestamp;
use crate::entry::Entry;
use crate::store::StoreError;
use crate::voice::Kind;

/// Bytes of fills that may wait at once.
pub(crate) const MAX_WAITING_BYTES: u64 = 64 << 20;
/// Writes under way at once: enough to keep a multiplexed connection busy, few enough to leave it to the reads.
const WORKERS: usize = 4;

/// Fills that are remembered once they are done.
const REMEMBERED: usize = 10_000;

/// What is to become of a key in the store.
pub(crate) enum Change {
    /// Holds this entry.
    Put(Fill),
    /// Holds this entry, which says what else is not to be believed: written again until it is there.
    Mark(Fill),
    /// Holds nothing.
    Remove {
        /// Whether the other processes are to hear of it; not where one of them said so.
        tell: bool,
    },
    /// Nothing that starts with the key and a colon.
    RemovePrefix {
        /// As above.
        tell: bool,
    },
}

/// An entry on its way to the store.
#[derive(Clone)]
pub(crate) struct Fill {
    pub(crate) entry: Arc<Entry>,
    pub(crate) schema: u32,
    pub(crate) compress_over: usize,
    /// Whether what the store holds must not be seen again, so that a failed write is repeated, and one that the store
    /// refuses becomes a removal.
    pub(crate) replaces: bool,
}

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

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: HashMap<String, Change>,
    pub(super) order: VecDeque<String>,
    /// Keys a worker is writing now, with what is to be done if it does not succeed, where that is not nothing.
    pub(super) active: HashMap<String, Option<Change>>,
    /// Removals that failed and wait for the retry.
    pub(super) failed: Vec<String>,
    /// Why the latest of them failed.
    pub(super) failed_by: Option<StoreError>,
    /// What is still to be removed by prefix.
    pub(super) clearing: Vec<String>,
    pub(super) bytes: u64,
    pub(super) workers: usize,
    /// When the latest fills were done: an invalidation that is heard now may have come before.
    filled: HashMap<String, Timestamp>,
    filled_in_order: VecDeque<(Timestamp, String)>,
}

impl Queue {
    pub(super) fn take(&mut self) -> Option<(String, Change)> {
        let mut postponed = Vec::new();
        let taken = self.take_first(&mut postponed);
        postponed.into_iter().rev().for_each(|key| self.order.push_front(key));
        taken
    }

    fn take_first(&mut self, postponed: &mut Vec<String>) -> Option<(String, Change)> {
        while let Some(key) = self.order.pop_front() {
            // A removal by prefix that is still to be done would take what was put after it away, too.
            let is_put = match self.waiting.get(&key) {
                Some(Change::Put(fill)) => fill.replaces,
                change => matches!(change, Some(Change::Mark(_))),
            };
            if is_put && self.clearing.iter().any(|prefix| key.starts_with(prefix)) {
                postponed.push(key);
                continue;
            }
            // One write a key at a time keeps them in order; the worker that has it queues the next.
            if self.active.contains_key(&key) {
                continue;
            }
            if let Some(change) = self.waiting.remove(&key) {
                self.bytes -= change.bytes();
                self.active.insert(key.clone(), change.if_it_fails());
                return Some((key, change));
            }
        }
        None
    }

    /// Whether something is still to be taken away that the store may hold under `key`.
    pub(super) fn owes_removal(&self, key: &str) -> bool {
        self.waiting.get(key).is_some_and(Change::takes_away)
            || self.active.get(key).is_some_and(Option::is_some)
            || self.clearing.iter().any(|prefix| key.starts_with(prefix))
    }

    /// What is still to become of `key`, where it is more than a fill that may fail: an entry, or nothing.
    pub(super) fn owed(&self, key: &str) -> Option<Option<Arc<Entry>>> {
        let active = self.active.get(key).and_then(Option::as_ref);
        let owed = self.waiting.get(key).filter(|change| change.takes_away()).or(active);
        match owed {
            Some(Change::Put(fill) | Change::Mark(fill)) => Some(Some(Arc::clone(&fill.entry))),
            Some(Change::Remove { .. } | Change::RemovePrefix { .. }) => Some(None),
            None => self.clearing.iter().any(|prefix| key.starts_with(prefix)).then_some(None),
        }
    }

    /// Drops what waits under `prefix`, and has what is under way there taken back once it is done.
    pub(super) fn give_up(&mut self, prefix: &str) {
        let Queue { waiting, order, failed, active, bytes, .. } = self;
        waiting.retain(|key, change| {
            let stays = !key.starts_with(prefix);
            *bytes -= if stays { 0 } else { change.bytes() };
            stays
        });
        order.retain(|key| waiting.contains_key(key));
        failed.retain(|key| waiting.contains_key(key));
        let under_way = active.keys().filter(|key| key.starts_with(prefix));
        waiting.extend(under_way.map(|key| (key.clone(), Change::Remove { tell: false })));
    }

    /// Remembers that a fill of `key` is done.
    pub(super) fn remember_fill(&mut self, key: &str, now: Timestamp) {
        self.filled.insert(key.to_owned(), now);
        self.filled_in_order.push_back((now, key.to_owned()));
        if self.filled_in_order.len() > REMEMBERED
            && let Some((at, key)) = self.filled_in_order.pop_front()
            && self.filled.get(&key) == Some(&at)
        {
            self.filled.remove(&key);
        }
    }

    /// Drops the fill that waits for `key`, or a put from before `since` that the store did not take; says whether one is under way instead, or was done after `since`.
    pub(super) fn drop_fill(&mut self, key: &str, since: Timestamp) -> bool {
        let is_older = |change: &Change| change.is_mere_fill() || change.was_put_before(since);
        if self.waiting.get(key).is_some_and(is_older)
            && let Some(dropped) = self.waiting.remove(key)
        {
            self.bytes -= dropped.bytes();
        }
        let is_under_way = self.active.get(key).is_some_and(Option::is_none);
        let was_done = self.filled.get(key).is_some_and(|done_at| *done_at >= since) && !self.active.contains_key(key);
        !self.waiting.contains_key(key) && (is_under_way || was_done)
    }

    /// The keys under `prefix` that wait, are under way or were filled lately.
    pub(super) fn keys_under(&self, prefix: &str) -> Vec<String> {
        let keys = self.waiting.keys().chain(self.active.keys()).chain(self.filled.keys());
        keys.filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Ends the work on `key`, and queues again what is still to be done about it. Says whether that is a failure's
    /// repetition.
    pub(super) fn done(&mut self, key: &str, end: End) -> bool {
        let if_it_fails = self.active.remove(key).flatten();
        let succeeded = matches!(end, End::Done);
        if succeeded && matches!(if_it_fails, Some(Change::RemovePrefix { .. })) && !self.waiting.contains_key(key) {
            self.clearing.retain(|prefix| prefix.strip_suffix(':') != Some(key));
        }
        if self.waiting.contains_key(key) {
            self.order.push_back(key.to_owned());
            return false;
        }
        match if_it_fails {
            Some(again) if !succeeded => {
                let has_room = self.bytes + again.bytes() <= MAX_WAITING_BYTES;
                let again = match again {
                    // What cannot be written, or not kept until it can be, must at least leave nothing older behind.
                    Change::Put(_) if matches!(end, End::Refused) || !has_room => Change::Remove { tell: true },
                    again => again,
                };
                self.bytes += again.bytes();
                self.waiting.insert(key.to_owned(), again);
                true
            }
            _ => false,
        }
    }

    pub(super) fn wants_worker(&mut self) -> bool {
        let wants = self.workers < WORKERS && !self.order.is_empty() && Handle::try_current().is_ok();
        self.workers += usize::from(wants);
        wants
    }
}

impl Change {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Change::Put(fill) | Change::Mark(fill) => fill.entry.value.body.len() as u64,
            Change::Remove { .. } | Change::RemovePrefix { .. } => 0,
        }
    }

    pub(super) fn takes_away(&self) -> bool {
        match self {
            Change::Put(fill) => fill.replaces,
            Change::Mark(_) | Change::Remove { .. } | Change::RemovePrefix { .. } => true,
        }
    }

    pub(super) fn if_it_fails(&self) -> Option<Change> {
        match self {
            Change::Put(fill) => fill.replaces.then(|| Change::Put(fill.clone())),
            Change::Mark(fill) => Some(Change::Mark(fill.clone())),
            Change::Remove { tell } => Some(Change::Remove { tell: *tell }),
            Change::RemovePrefix { tell } => Some(Change::RemovePrefix { tell: *tell }),
        }
    }

    /// What the other processes are to be told once the store has it.
    pub(super) fn news(&self) -> Option<Kind> {
        match self {
            Change::Put(fill) => fill.replaces.then_some(Kind::Changed),
            Change::Mark(_) => Some(Kind::Changed),
            Change::Remove { tell } => tell.then_some(Kind::Removed),
            Change::RemovePrefix { tell } => tell.then_some(Kind::Cleared),
        }
    }

    /// Whether it is an application's put from before `at`.
    fn was_put_before(&self, at: Timestamp) -> bool {
        matches!(self, Change::Put(fill) if fill.replaces && fill.entry.written_at < at)
    }

    pub(super) fn is_mere_fill(&self) -> bool {
        matches!(self, Change::Put(fill) if !fill.replaces)
    }
}
