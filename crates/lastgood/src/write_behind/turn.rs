//! The right to change one key of the store at once, past the queue: for changes that the store itself decides about.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Form, WriteBehind};
use crate::entry::Entry;
use crate::store::{BreakerState, Store, StoreError, Swap, Version};

/// How often a caller who waits for its turn looks whether the store is still there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it waits until the disk has what it changed.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// What happened to the key during a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Nothing,
    /// This process changed it later: memory has that, and the store will.
    ChangedHere,
    /// Another process changed it, before or after this turn did.
    ChangedElsewhere,
}

/// The only writer of a key in this process. Changes that are queued meanwhile are written after it.
pub(crate) struct Turn {
    behind: Arc<WriteBehind>,
    key: String,
    has_ended: bool,
}

impl WriteBehind {
    /// Waits until all that was queued for `key` is in the store, and keeps the rest of the queue from writing it.
    ///
    /// # Errors
    ///
    /// When the store does not take what waits.
    pub(crate) async fn turn(self: &Arc<Self>, key: String, deadline: Instant) -> Result<Turn, StoreError> {
        loop {
            let progress = self.progress.notified();
            {
                let mut queue = self.queue();
                let is_cleared = queue.clearing.iter().any(|prefix| key.starts_with(prefix));
                if !is_cleared && !queue.has(&key) && !queue.turns.contains_key(&key) {
                    queue.turns.insert(key.clone(), false);
                    return Ok(Turn { behind: Arc::clone(self), key, has_ended: false });
                }
            }
            if self.store.state() != BreakerState::Closed {
                return Err(self.store.cause(StoreError::BreakerOpen));
            }
            if Instant::now() >= deadline {
                return Err(self.failing().unwrap_or(StoreError::Busy));
            }
            let _ = timeout(LOOK_EVERY, progress).await;
        }
    }

    /// Another process changed keys, perhaps some whose turn it is here.
    pub(crate) fn changed_elsewhere(&self, is_meant: impl Fn(&str) -> bool) {
        let mut queue = self.queue();
        let meant = queue.turns.iter_mut().filter(|(key, _)| is_meant(key));
        meant.for_each(|(_, changed)| *changed = true);
    }
}

impl Turn {
    /// An entry as the store is to hold it, with its time to live. `None` where it has no stored form, or has ended.
    ///
    /// # Errors
    ///
    /// When the store does not tell by which clock.
    pub(crate) async fn stored_form(
        &self,
        entry: &Arc<Entry>,
        form: Form,
    ) -> Result<Option<(bytes::Bytes, Duration)>, StoreError> {
        let ahead = self.behind.store.ahead().await?;
        let ttl = self.behind.ttl_of(entry, ahead);
        let bytes = self.behind.encoded(&self.key, Arc::clone(entry), form, ahead).await;
        Ok(bytes.filter(|_| !ttl.is_zero()).map(|bytes| (bytes, ttl)))
    }

    /// Has the store change the key if it holds the expected bytes.
    pub(crate) async fn swap(
        &self,
        expected: Option<Version>,
        to: Option<(bytes::Bytes, Duration)>,
    ) -> Result<bool, StoreError> {
        let store = &self.behind.store;
        let expected = match store.assumed_ahead() {
            Some(ahead) => Some(store.while_waited_for(expected, ahead)),
            None => expected,
        };
        let swapped = store.swap(&Swap { key: self.key.clone(), expected, to }).await?;
        if swapped {
            self.settle().await?;
        }
        Ok(swapped)
    }

    /// Waits until what the key holds would outlive the process.
    ///
    /// # Errors
    ///
    /// When it would not: the store has it all the same. Never [`StoreError::Refused`], which says that it has not.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let Some(settling) = self.behind.store.settling() else { return Ok(()) };
        // Its caller waits.
        let settled = timeout(SETTLED_WITHIN, settling.settle()).await.unwrap_or(Err(StoreError::Timeout));
        settled.map_err(|why| match why {
            StoreError::Refused(why) => StoreError::Unavailable(why),
            why => why,
        })
    }

    /// Ends the turn. Called under the lock of the key in memory, so that no change comes between.
    pub(crate) fn end(mut self) -> Meanwhile {
        self.leave()
    }

    fn leave(&mut self) -> Meanwhile {
        if self.has_ended {
            return Meanwhile::Nothing;
        }
        self.has_ended = true;
        let mut queue = self.behind.queue();
        let changed_elsewhere = queue.turns.remove(&self.key).unwrap_or_default();
        // An invalidation that is heard late must not take away what was put since.
        queue.forget_fill(&self.key);
        let changed_here = queue.waiting.contains_key(&self.key);
        if changed_here {
            queue.order.push_back(self.key.clone());
        }
        self.behind.start_worker(queue);
        self.behind.progress.notify_waiters();
        match (changed_here, changed_elsewhere) {
            (true, _) => Meanwhile::ChangedHere,
            (false, true) => Meanwhile::ChangedElsewhere,
            (false, false) => Meanwhile::Nothing,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}
