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
    /// Nothing was broken: the machine is so busy that Redis answers later than a gateway may wait.
    Machine,
}

/// Pauses of the machine that are closer together than this are one, in milliseconds.
const CLOSE: u64 = 1_000;

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

    /// Notes that the machine kept Redis from answering for a while.
    pub(crate) fn paused(&self, from: u64, to: u64) {
        let mut entries = self.entries();
        let is_of_machine = |entry: &&mut Entry| entry.struck == Struck::Machine;
        match entries.iter_mut().rev().take(32).find(is_of_machine) {
            Some(entry) if entry.ended.is_some_and(|end| end + CLOSE >= from) => entry.ended = Some(to),
            _ => {
                let name = "the machine is too busy for Redis".to_owned();
                entries.push(Entry { name, struck: Struck::Machine, began: from, ended: Some(to) });
            }
        }
    }

    /// How many faults there were that somebody chose.
    pub(crate) fn count(&self) -> usize {
        self.entries().iter().filter(|entry| entry.struck != Struck::Machine).count()
    }

    /// For how many milliseconds altogether the machine was too busy.
    pub(crate) fn paused_for(&self) -> u64 {
        let entries = self.entries();
        let of_machine = entries.iter().filter(|entry| entry.struck == Struck::Machine);
        of_machine.map(|entry| entry.ended.unwrap_or(entry.began) - entry.began).sum()
    }

    /// Whether such a fault was under way at any time from `from` to `to`.
    pub(crate) fn any(&self, from: u64, to: u64, is_meant: impl Fn(Struck) -> bool) -> bool {
        let entries = self.entries();
        // Faults last for seconds: older ones are over.
        let mut recent = entries.iter().rev().take(32);
        recent.any(|entry| is_meant(entry.struck) && entry.began <= to && entry.ended.is_none_or(|end| end >= from))
    }

    /// The faults from `from` to `to`, in words.
    pub(crate) fn between(&self, from: u64, to: u64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_the_machine_that_follow_each_other_are_one_and_are_not_counted_as_faults() {
        let log = FaultLog::default();
        let number = log.begin("Redis is stopped", Struck::Store, 1_000);
        log.paused(2_000, 2_040);
        log.paused(2_900, 2_950);
        log.end(number, 3_000);
        log.paused(9_000, 9_100);
        assert_eq!((log.count(), log.paused_for()), (1, 950 + 100));
        let is_paused = |from, to| log.any(from, to, |struck| struck == Struck::Machine);
        assert_eq!([is_paused(1_000, 1_999), is_paused(2_500, 2_500), is_paused(3_000, 8_000)], [false, true, false]);
    }
}
