//! Bringing the file up to what the queue owes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::rows::Wanted;
use super::{Journal, JournalError, Record, Written};
use crate::clock::Timestamp;
use crate::store::Position;
use crate::write_behind::{Others, WriteBehind};

/// The longest that an answer waits for the disk; a disk that takes longer does not hold up the answer.
const SAVED_WITHIN: Duration = Duration::from_secs(2);
/// How often changes that came while others were written are written, too, before an answer.
const TRIES: usize = 3;
/// The pause after a disk has failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

impl WriteBehind {
    /// Has all that is owed of these keys, and all that is noted, on disk. Says whether it is: a process that begins after
    /// this one has ended will know of it.
    pub(crate) async fn save(self: &Arc<Self>, keys: &[String]) -> bool {
        if self.journal.is_none() {
            return false;
        }
        let keys = self.queue().with_clears(keys);
        let saved = async {
            for _ in 0..TRIES {
                keys.iter().for_each(|key| self.queue().rows.want(key));
                if self.follow().await.is_err() {
                    return false;
                }
                let queue = self.queue();
                let is_saved = |key: &String| queue.rows.has(key) || queue.owed_change(key).is_none();
                if queue.rows.has_all_notes() && keys.iter().all(is_saved) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(SAVED_WITHIN, saved).await.unwrap_or(false)
    }

    /// Waits until no row is left of these keys (`None`: of any) that says what the store has by now: the change that is
    /// answered next must not meet it after a restart. Returns at once where there is none.
    pub(crate) async fn forgotten(self: &Arc<Self>, keys: Option<&[String]>) {
        let is_outdated = self.queue().rows.is_outdated(keys);
        if is_outdated {
            _ = tokio::time::timeout(SAVED_WITHIN, self.follow()).await;
        }
    }

    /// Has a row written that is no key's, or deleted.
    pub(crate) fn write_down(self: &Arc<Self>, name: &str, record: Option<&Record>) {
        let row = record.and_then(|record| record.encode(&[]));
        let mut queue = self.queue();
        queue.rows.note(name.to_owned(), row);
        self.start_worker(queue);
    }

    /// Notes a bulk invalidation that waits and has no form on disk, or that it waits no longer.
    pub(crate) fn count_unsaveable(&self, waits: bool) {
        let mut queue = self.queue();
        queue.rows.unsaveable = if waits { queue.rows.unsaveable + 1 } else { queue.rows.unsaveable.saturating_sub(1) };
    }

    /// Whether all bulk invalidations that wait have a form on disk.
    pub(crate) fn bulk_is_saveable(&self) -> bool {
        self.queue().rows.unsaveable == 0
    }

    /// The invalidations of other processes were heard up to `position` at `at`.
    pub(crate) fn heard(&self, position: Option<&Position>, at: Timestamp) {
        let (last_read_at, position_heard) = (Some(Instant::now()), position.cloned());
        self.others.send_replace(Others { last_read_at, position: position_heard, is_refused: false });
        if self.journal.is_some() {
            self.queue().rows.heard(position.cloned(), at);
        }
    }

    /// Has all that waits on disk, and leaves the file to the next process.
    pub(crate) async fn close_journal(self: &Arc<Self>) {
        let Some(journal) = &self.journal else { return };
        self.save(&self.unconfirmed()).await;
        journal.close();
    }

    /// Why what waits is not kept on disk; `None` while it is, or need not be.
    pub(crate) fn journal_trouble(&self) -> Option<String> {
        self.journal.as_ref()?.trouble().map(|why| why.to_string())
    }

    /// Writes rows until the file holds all owed changes. One caller at a time writes for all.
    async fn follow(self: &Arc<Self>) -> Result<(), JournalError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let _turn = journal.turn.lock().await;
        loop {
            let taken = self.queue().take_unsaved(journal.most_bytes);
            if taken.is_empty() {
                return Ok(());
            }
            // Given back however this ends, unless it was written.
            let mut taken = Taken { behind: self, rows: taken };
            match write(journal, &taken.rows).await {
                Written::Yes => {
                    taken.rows.clear();
                    self.queue().rows.written();
                }
                Written::Replaced => self.queue().rows.begun_again(),
                Written::No(why) => return Err(why),
            }
        }
    }

    /// Begins to write what no caller waits for, unless that is being done.
    pub(in crate::write_behind) fn start_saving(self: &Arc<Self>) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        {
            let mut queue = self.queue();
            if !queue.rows.is_unsaved() || queue.rows.is_saving {
                return;
            }
            queue.rows.is_saving = true;
        }
        tokio::spawn(Saver(Arc::downgrade(self)).keep_saving());
    }
}

async fn write(journal: &Arc<Journal>, taken: &[(String, Wanted)]) -> Written {
    let wanted: Vec<(String, Wanted)> = taken
        .iter()
        .map(|(key, wanted)| match wanted {
            Wanted::Change(change) => (key.clone(), Wanted::Change(change.clone())),
            Wanted::Note(row) => ([&journal.namespace, &**key].concat(), Wanted::Note(row.clone())),
        })
        .collect();
    let journal = Arc::clone(journal);
    // Packing bodies takes as long as the disk does.
    let written = tokio::task::spawn_blocking(move || {
        let row = |(key, wanted): (String, Wanted)| {
            let row: Option<Bytes> = match wanted {
                Wanted::Change(change) => change.and_then(|change| Record::row_of(&key, &change)),
                Wanted::Note(row) => row,
            };
            (key, row)
        };
        journal.write(&wanted.into_iter().map(row).collect::<Vec<_>>())
    });
    written.await.unwrap_or_else(|why| Written::No(JournalError::Ended(why.to_string())))
}

/// Rows that are being written.
struct Taken<'a> {
    behind: &'a WriteBehind,
    rows: Vec<(String, Wanted)>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.behind.queue().give_back_unsaved(std::mem::take(&mut self.rows));
    }
}

/// The task that writes what no caller waits for.
struct Saver(Weak<WriteBehind>);

impl Saver {
    async fn keep_saving(self) {
        while let Some(behind) = self.0.upgrade() {
            let ended = behind.follow().await;
            if ended.is_ok() {
                let mut queue = behind.queue();
                if !queue.rows.is_unsaved() {
                    // Under the same lock: a key touched after this begins another.
                    queue.rows.is_saving = false;
                    return;
                }
            }
            drop(behind);
            if ended.is_err() {
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        if let Some(behind) = self.0.upgrade() {
            behind.queue().rows.is_saving = false;
        }
    }
}
