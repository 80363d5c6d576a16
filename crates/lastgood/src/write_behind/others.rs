//! What other processes do to keys whose changes wait here: what was put before gives way.

use std::sync::Arc;

use super::queue::Queue;
use super::{Change, Expiry, Removal, Removed, WriteBehind};

impl WriteBehind {
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

    pub(super) fn changed_in(&self, queue: &mut Queue, key: &str, expiry: Option<&Expiry>) {
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

    pub(super) fn take_back_in(&self, queue: &mut Queue, key: &str, removed: Removed) {
        // A write under way may reach the store after the removal, and a finished one may have.
        if let Some(at) = queue.drop_fill(key, removed) {
            // What another has put since stays.
            self.admit(queue, key.to_owned(), Change::Remove(Removal::at(at, false).late()));
        }
    }
}
