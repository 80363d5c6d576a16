//! Which rows the file has, and which it is still to be given.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::store::Position;
use crate::write_behind::change::Change;
use crate::write_behind::queue::Queue;

/// What one commit writes at most, but for a single larger row.
const TOGETHER: u64 = 8 << 20;
/// What a row takes beyond its key and body.
const OVERHEAD: u64 = 512;
/// The row that says how far others were heard.
pub(super) const HEARD: &str = "@heard";

/// A change of a row.
pub(super) enum Wanted {
    /// It says this change, or is gone.
    Change(Option<Change>),
    /// It says what these bytes say, or is gone.
    Note(Option<Bytes>),
}

/// The rows of the file, as far as the queue has to know.
#[derive(Default)]
pub(in crate::write_behind) struct Rows {
    /// Whether there is a file.
    pub(in crate::write_behind) is_on: bool,
    /// The keys whose change is on disk, or about to be, and what its row takes.
    on_disk: HashMap<String, u64>,
    bytes: u64,
    /// Keys whose row does not hold the owed change.
    unsaved: HashSet<String>,
    /// Keys whose row is being deleted.
    deleting: HashSet<String>,
    /// Rows that are no key's.
    notes: HashMap<String, Option<Bytes>>,
    /// How far the other processes were heard, and whether the file knows.
    heard: Option<(Option<Position>, Timestamp)>,
    is_heard_saved: bool,
    /// Bulk invalidations that wait and cannot be written down.
    pub(in crate::write_behind) unsaveable: usize,
    pub(super) is_saving: bool,
}

impl Rows {
    /// The owed change of `key` is another.
    pub(in crate::write_behind) fn touch(&mut self, key: &str) {
        if self.on_disk.contains_key(key) {
            self.unsaved.insert(key.to_owned());
        }
    }

    /// The owed change of `key` has to be on disk.
    pub(in crate::write_behind) fn want(&mut self, key: &str) {
        if self.is_on && !self.on_disk.contains_key(key) {
            self.unsaved.insert(key.to_owned());
        }
    }

    pub(super) fn note(&mut self, name: String, row: Option<Bytes>) {
        if self.is_on {
            self.notes.insert(name, row);
        }
    }

    pub(in crate::write_behind) fn note_record(&mut self, name: &str, record: &super::Record) {
        self.note(name.to_owned(), record.encode(&[]));
    }

    pub(super) fn heard(&mut self, position: Option<Position>, at: Timestamp) {
        (self.heard, self.is_heard_saved) = (Some((position, at)), false);
    }

    /// The rows that earlier processes left.
    pub(super) fn found(&mut self, key: &str, cost: u64) {
        if self.on_disk.insert(key.to_owned(), cost).is_none() {
            self.bytes += cost;
        }
    }

    /// Whether the file is to be written.
    pub(in crate::write_behind) fn is_unsaved(&self) -> bool {
        self.is_on && !(self.unsaved.is_empty() && self.notes.is_empty())
    }

    /// Whether a row of these keys (`None`: of any) may be out of date.
    pub(super) fn is_outdated(&self, keys: Option<&[String]>) -> bool {
        match keys {
            None => self.is_unsaved() || !self.deleting.is_empty(),
            Some(keys) => keys.iter().any(|key| self.on_disk.contains_key(key) || self.deleting.contains(key)),
        }
    }

    /// What was taken is on disk.
    pub(super) fn written(&mut self) {
        self.deleting.clear();
    }

    /// Whether all that is owed of `key` is on disk.
    pub(super) fn has(&self, key: &str) -> bool {
        self.on_disk.contains_key(key) && !self.unsaved.contains(key)
    }

    pub(super) fn has_all_notes(&self) -> bool {
        self.notes.is_empty()
    }

    /// The file was replaced by an empty one.
    pub(super) fn begun_again(&mut self) {
        self.unsaved.extend(self.on_disk.keys().cloned());
        self.is_heard_saved = false;
    }

    fn forget(&mut self, key: &str) -> bool {
        let cost = self.on_disk.remove(key);
        self.bytes -= cost.unwrap_or(0);
        cost.is_some()
    }
}

impl Queue {
    /// The rows that are to be written next. What there is no room for is left out.
    pub(super) fn take_unsaved(&mut self, most_bytes: u64) -> Vec<(String, Wanted)> {
        let mut taken: Vec<(String, Wanted)> = Vec::new();
        let mut bytes = 0;
        let unsaved: Vec<String> = self.rows.unsaved.iter().cloned().collect();
        for key in unsaved {
            if bytes > TOGETHER {
                break;
            }
            self.rows.unsaved.remove(&key);
            let had_row = self.rows.forget(&key);
            let owed = self.owed_change(&key);
            let cost = owed.as_ref().map(|change| 2 * key.len() as u64 + change.body_bytes() + OVERHEAD);
            let owed = owed.filter(|_| cost.is_some_and(|cost| self.rows.bytes + cost <= most_bytes));
            if let (Some(_), Some(cost)) = (&owed, cost) {
                self.rows.found(&key, cost);
                bytes += cost;
            }
            if owed.is_none() && had_row {
                self.rows.deleting.insert(key.clone());
            }
            if owed.is_some() || had_row {
                taken.push((key, Wanted::Change(owed)));
            }
        }
        taken.extend(self.rows.notes.drain().map(|(name, row)| (name, Wanted::Note(row))));
        if !taken.is_empty() && !self.rows.is_heard_saved && self.rows.heard.is_some() {
            self.rows.is_heard_saved = true;
            let row = self.rows.heard.as_ref().and_then(|(position, at)| {
                let position = position.as_ref().map(|position| position.0.clone());
                super::Record::Heard { at: at.as_millis(), position }.encode(&[])
            });
            taken.push((HEARD.to_owned(), Wanted::Note(row)));
        }
        taken
    }

    /// These keys, and those of the removals by prefix that they are part of.
    pub(super) fn with_clears(&self, keys: &[String]) -> Vec<String> {
        let meant = |prefix: &&String| keys.iter().any(|key| key.starts_with(&**prefix));
        let clears = self.clearing.iter().filter(meant);
        let clears = clears.filter_map(|prefix| prefix.strip_suffix(':')).map(str::to_owned);
        keys.iter().cloned().chain(clears).collect()
    }

    /// All that is owed is to be on disk: there was no file before.
    pub(super) fn want_all(&mut self) {
        let keys: Vec<String> = self.waiting.keys().chain(self.active.keys()).cloned().collect();
        for key in keys {
            if self.owed_change(&key).is_some() {
                self.rows.want(&key);
            }
        }
    }

    /// What was taken was not written.
    pub(super) fn give_back_unsaved(&mut self, taken: Vec<(String, Wanted)>) {
        for (key, wanted) in taken {
            match wanted {
                Wanted::Change(_) => {
                    // An older row may be there.
                    self.rows.on_disk.entry(key.clone()).or_insert(0);
                    self.rows.unsaved.insert(key);
                }
                Wanted::Note(_) if key == HEARD => self.rows.is_heard_saved = false,
                Wanted::Note(row) => drop(self.rows.notes.entry(key).or_insert(row)),
            }
        }
    }
}
