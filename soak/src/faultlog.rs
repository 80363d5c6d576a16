//! Which faults were under way when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Struck {
    /// Redis, or the way to it.
    Store,
    /// A gateway is stopped or killed.
    Gateway(usize),
    Upstream,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    struck: Struck,
    began: u64,
    ended: Option<u64>,
}

/// The faults so far. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultLog(Arc<Mutex<Vec<Entry>>>);

impl FaultLog {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a fault begins, and gives back its number.
    pub(crate) fn begin(&self, name: &str, struck: Struck, now: u64) -> usize {
        let mut entries = self.entries();
        entries.push(Entry { name: name.to_owned(), struck, began: now, ended: None });
        entries.len() - 1
    }

    pub(crate) fn end(&self, number: usize, now: u64) {
        if let Some(entry) = self.entries().get_mut(number) {
            entry.ended = Some(now);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.entries().len()
    }

    /// Whether such a fault was under way at any time from `from` to `to`.
    pub(crate) fn any(&self, from: u64, to: u64, is_meant: impl Fn(Struck) -> bool) -> bool {
        let entries = self.entries();
        // Faults last for seconds: older ones are over.
        let mut recent = entries.iter().rev().take(32);
        recent.any(|entry| is_meant(entry.struck) && entry.began <= to && entry.ended.is_none_or(|end| end >= from))
    }

    /// The faults from `from` to `to`, in words.
    pub(crate) fn told(&self, from: u64, to: u64) -> String {
        let entries = self.entries();
        let words = entries.iter().filter(|entry| entry.began <= to && entry.ended.is_none_or(|end| end >= from));
        let words: Vec<String> = words
            .map(|entry| match entry.ended {
                Some(end) if end < to => format!("{} (over for {:.1} s)", entry.name, (to - end) as f64 / 1_000.0),
                _ => format!("{} (for {:.1} s)", entry.name, to.saturating_sub(entry.began) as f64 / 1_000.0),
            })
            .collect();
        if words.is_empty() { "no fault".to_owned() } else { words.join(", ") }
    }
}
