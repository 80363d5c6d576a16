//! What an earlier process left in the file, taken up by this one.

use std::sync::Arc;

use super::rows::HEARD;
use super::{JournalError, Record};
use crate::clock::Timestamp;
use crate::invalidation::Mode;
use crate::store::{Position, StoreError};
use crate::write_behind::change::Change;
use crate::write_behind::{MAX_WAITING, WriteBehind};

/// What the names of the rows of bulk invalidations begin with, and of the row that distrusts the store.
pub(crate) const BULK: &str = "@sweep:";
pub(crate) const DISTRUST: &str = "@distrust";

/// A bulk invalidation that the store is still to be given.
#[derive(Clone, Debug)]
pub(crate) struct OwedBefore {
    /// The name of its row.
    pub(crate) row: String,
    pub(crate) prefix: String,
    pub(crate) selector: String,
    pub(crate) mode: Mode,
    pub(crate) at: Timestamp,
}

/// The restored state besides the changes of keys.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) bulk: Vec<OwedBefore>,
    /// The keys and times of tags' marks.
    pub(crate) marks: Vec<(String, Timestamp)>,
    /// How far the other processes were heard, and when.
    pub(crate) heard: Option<(Option<Position>, Timestamp)>,
}

impl WriteBehind {
    /// Takes up what earlier processes left. Blocks while the file is read.
    ///
    /// # Errors
    ///
    /// When it cannot be read now.
    pub(crate) fn restore(self: &Arc<Self>) -> Result<Restored, JournalError> {
        let mut restored = Restored::default();
        let Some(journal) = &self.journal else { return Ok(restored) };
        let rows = journal.read()?;
        let mut queue = self.queue();
        queue.rows.is_on = true;
        queue.want_all();
        let mut changes = 0;
        for (key, record, body) in rows {
            let name = key.strip_prefix(&journal.namespace).unwrap_or_default();
            match record {
                Record::Bulk { at, prefix, selector, remove } => {
                    let mode = if remove { Mode::Remove } else { Mode::Expire };
                    let at = Timestamp::from_millis(at);
                    restored.bulk.push(OwedBefore { row: name.to_owned(), prefix, selector, mode, at });
                }
                Record::Distrust { at } if name == DISTRUST => self.distrust_here(Timestamp::from_millis(at)),
                Record::Heard { at, position } if name == HEARD => {
                    restored.heard = Some((position.map(Position), Timestamp::from_millis(at)));
                }
                record => {
                    let Some(change) = record.change(&key, &body) else { continue };
                    if let Change::Mark(mark) = &change {
                        restored.marks.push((key.clone(), mark.entry.fetch_started_at));
                    }
                    changes += usize::from(queue.take_up(key, change));
                }
            }
        }
        if changes + restored.bulk.len() == 0 {
            restored.heard = None;
        } else {
            let (store, bulk) = (self.store.to_string(), restored.bulk.len());
            tracing::info!(store, changes, bulk, "changes from before the start wait for the store");
        }
        self.start_retrying(queue);
        Ok(restored)
    }
}

impl crate::write_behind::queue::Queue {
    /// Queues a change that an earlier process left, unless this one has changed the key since.
    fn take_up(&mut self, key: String, change: Change) -> bool {
        self.rows.found(&key, 2 * key.len() as u64 + change.bytes());
        if self.has(&key) || self.waiting.len() >= MAX_WAITING {
            self.rows.touch(&key);
            return false;
        }
        if matches!(change, Change::RemovePrefix(_)) {
            self.announce_clear(&[&*key, ":"].concat());
        }
        self.bytes += change.bytes();
        self.waiting.insert(key.clone(), change);
        self.fail(key, StoreError::Unavailable("it was not asked yet".to_owned()));
        true
    }
}
