//! Writes that are not on disk yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;

/// What a pending write costs beyond its key and value.
const OVERHEAD: u64 = 128;

/// A value and its end.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) value: Bytes,
    pub(super) expires: Timestamp,
}

impl Row {
    pub(super) fn live(&self, now: Timestamp) -> Option<&Bytes> {
        (self.expires > now).then_some(&self.value)
    }
}

/// One write to be made: a row, or `None` for a removal.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) key: Arc<str>,
    pub(super) row: Option<Row>,
    number: u64,
}

impl Write {
    /// A write that is made at once, and waits nowhere.
    pub(super) fn of(key: &str, row: Option<Row>) -> Write {
        Write { key: key.into(), row, number: 0 }
    }
}

/// The latest write of every key that is not on disk yet; readers look here first.
#[derive(Default)]
pub(super) struct Overlay {
    writes: BTreeMap<Arc<str>, Write>,
    bytes: u64,
    last_number: u64,
    settled: u64,
    /// The number of the last write up to which all are on disk.
    written_to: u64,
}

impl Overlay {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Changes whenever writes went from here to disk.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    pub(super) fn cost(key: &str, row: Option<&Row>) -> u64 {
        2 * key.len() as u64 + row.map_or(0, |row| row.value.len() as u64) + OVERHEAD
    }

    /// The number of the write that was taken last.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Whether the write of this number is on disk, and all before it.
    pub(super) fn is_written_to(&self, number: u64) -> bool {
        self.writes.is_empty() || self.written_to >= number
    }

    /// All up to this number are on disk.
    pub(super) fn written_to(&mut self, number: u64) {
        self.written_to = number;
    }

    /// The keys of all pending writes.
    pub(super) fn keys(&self) -> impl Iterator<Item = Arc<str>> {
        self.writes.keys().cloned()
    }

    /// The pending write of `key`, if there is one.
    pub(super) fn get(&self, key: &str) -> Option<&Write> {
        self.writes.get(key)
    }

    /// Takes a write, and gives back the pending one that it replaces.
    pub(super) fn insert(&mut self, key: &str, row: Option<Row>) -> Option<Write> {
        self.last_number += 1;
        let write = Write { key: key.into(), row, number: self.last_number };
        self.bytes += Self::cost(key, write.row.as_ref());
        let replaced = self.writes.insert(Arc::clone(&write.key), write);
        if let Some(replaced) = &replaced {
            self.bytes -= Self::cost(key, replaced.row.as_ref());
        }
        replaced
    }

    /// Everything that is to be written now.
    pub(super) fn batch(&self) -> Vec<Write> {
        self.writes.values().cloned().collect()
    }

    /// Forgets what was written, except where a newer write has come meanwhile.
    pub(super) fn settle(&mut self, batch: &[Write]) {
        for written in batch {
            if self.writes.get(&written.key).is_some_and(|write| write.number == written.number) {
                self.writes.remove(&written.key);
                self.bytes -= Self::cost(&written.key, written.row.as_ref());
            }
        }
        self.settled += 1;
    }

    /// At most `most` pending writes of keys with `prefix` behind `after`, in order; and the last of them where there may be
    /// more.
    pub(super) fn range(&self, prefix: &str, after: Option<&str>, most: usize) -> (Vec<Write>, Option<Arc<str>>) {
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let range = self.writes.range::<str, _>((start, Bound::Unbounded));
        let writes: Vec<Write> = range
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(most)
            .map(|(_, write)| Write { row: write.row.clone(), key: Arc::clone(&write.key), number: write.number })
            .collect();
        let end = writes.last().filter(|_| writes.len() == most).map(|write| Arc::clone(&write.key));
        (writes, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &'static str) -> Option<Row> {
        Some(Row { value: value.into(), expires: Timestamp::FOREVER })
    }

    #[test]
    fn a_write_that_came_during_the_commit_stays_pending() {
        let mut overlay = Overlay::default();
        overlay.insert("a", row("old"));
        overlay.insert("b", row("old"));
        let batch = overlay.batch();
        overlay.insert("a", row("new"));
        overlay.settle(&batch);
        assert_eq!(overlay.len(), 1);
        let pending = overlay.get("a").and_then(|write| write.row.clone()).expect("still pending");
        assert_eq!(pending.value, "new");
        overlay.settle(&overlay.batch());
        assert_eq!((overlay.len(), overlay.bytes()), (0, 0));
    }
}
