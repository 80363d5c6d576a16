//! What was written of late, should another process take it away.

use super::Queue;
use crate::clock::Timestamp;
use crate::write_behind::change::{Change, Removed};

/// Fills that are remembered once they are done.
const REMEMBERED: usize = 10_000;

/// A fill that the store took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    done_at: Timestamp,
    /// When its load began.
    pub(super) started_at: Timestamp,
    /// Whether it is a put that came late: one from before the removal must not stay, one from after it must.
    pub(super) is_late_put: bool,
}

impl Filled {
    /// Whether it has to go because the key was removed: it may have completed after that.
    fn is_undone_by(&self, removed: &Removed) -> bool {
        match self.is_late_put {
            true => removed.asked_at.is_some() && removed.is_after_put(self.started_at),
            false => self.done_at >= removed.since,
        }
    }
}

impl Queue {
    /// Remembers that a fill of `key`, or a put that came late, is done.
    pub(in crate::write_behind) fn remember_fill(&mut self, key: &str, now: Timestamp) {
        let late_put = self.active.get(key).and_then(Option::as_ref).and_then(Change::started_at);
        let Some(started_at) = self.unfenced.get(key).copied().or(late_put) else { return };
        let is_late_put = late_put.is_some();
        self.filled.insert(key.to_owned(), Filled { done_at: now, started_at, is_late_put });
        self.filled_in_order.push_back((now, key.to_owned()));
        if self.filled_in_order.len() > REMEMBERED
            && let Some((at, key)) = self.filled_in_order.pop_front()
            && self.filled.get(&key).is_some_and(|filled| filled.done_at == at)
        {
            self.filled.remove(&key);
        }
    }

    /// Forgets that a fill of `key` was done.
    pub(in crate::write_behind) fn forget_fill(&mut self, key: &str) {
        self.filled.remove(key);
    }

    /// Drops the fill that waits for `key`, or a put from before its removal that the store did not take. If one is under way
    /// instead, or was done after the removal may have been published, says when its load began. Where the key was not
    /// removed but changed, what was put stays: which of the two is newer is found out when it is written.
    pub(in crate::write_behind) fn drop_fill(&mut self, key: &str, removed: Removed) -> Option<Timestamp> {
        let is_older = |change: &Change| change.is_mere_fill() || change.is_put_before(&removed);
        let mut given_up = None;
        if self.waiting.get(key).is_some_and(is_older)
            && let Some(dropped) = self.waiting.remove(key)
        {
            self.bytes -= dropped.bytes();
            self.rows.touch(key);
            // The store may have carried it out after all, later than the removal.
            given_up = dropped.started_at().filter(|_| dropped.may_have_landed());
            self.contested.remove(key);
        }
        // Nor is an older put written again in place of the one that was dropped.
        if let Some(if_it_fails) = self.active.get_mut(key)
            && let Some(put) = if_it_fails.take_if(|change| change.is_put_before(&removed))
        {
            self.unfenced.extend(put.started_at().map(|at| (key.to_owned(), at)));
        }
        if self.waiting.contains_key(key) {
            return None;
        }
        match self.active.get(key) {
            Some(None) => self.unfenced.get(key).copied(),
            Some(Some(_)) => None,
            None => {
                let filled = self.filled.get(key).filter(|filled| filled.is_undone_by(&removed));
                filled.map(|filled| filled.started_at).or(given_up)
            }
        }
    }
}
