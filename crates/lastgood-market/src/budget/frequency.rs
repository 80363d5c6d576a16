//! How often keys are asked for between two loads.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU32, Ordering};

use quick_cache::DefaultHashBuilder;

/// The number of counters in each of two rows.
const COUNTERS: usize = 8_192;

/// Counts requests by key since the key's last load, in a table of fixed size and without locks.
///
/// The count is the value of a refresh: the number of readers that it serves. A key has a counter in each of two rows
/// and is as hot as the colder of them, so that it is taken for hotter than it is only where others share both. A load
/// takes the key's own count out again and leaves that of a key it shares a counter with; else a rarely asked key next to a hot
/// one would never be worth a refresh.
#[derive(Debug)]
pub struct Frequency {
    rows: [Box<[AtomicU32]>; 2],
    hasher: DefaultHashBuilder,
}

/// Where the counters of a key are.
#[derive(Clone, Copy, Debug)]
pub struct Slot([u16; 2]);

impl Frequency {
    /// A table in which nothing was asked for.
    pub fn new() -> Self {
        let row = || (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        Frequency { rows: [row(), row()], hasher: DefaultHashBuilder::default() }
    }

    /// Where the counters of `key` are: found once, it is counted without being hashed again.
    pub fn slot(&self, key: &str) -> Slot {
        let hash = self.hasher.hash_one(key);
        Slot([hash, hash >> 32].map(|hash| (hash as usize % COUNTERS) as u16))
    }

    fn counters_at(&self, Slot([first, second]): Slot) -> [&AtomicU32; 2] {
        [&self.rows[0][usize::from(first)], &self.rows[1][usize::from(second)]]
    }

    /// Counts a request.
    pub fn count(&self, key: &str) {
        self.count_at(self.slot(key));
    }

    /// Counts a request for the key whose counters are there.
    pub fn count_at(&self, slot: Slot) {
        // A count lost to another thread is no matter; one that wraps would be.
        for counter in self.counters_at(slot) {
            counter.store(counter.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Requests since the key whose counters are there was last loaded.
    pub fn of_at(&self, slot: Slot) -> u32 {
        let [one, other] = self.counters_at(slot).map(|counter| counter.load(Ordering::Relaxed));
        one.min(other)
    }

    /// The key whose counters are there is being loaded.
    pub fn reset_at(&self, slot: Slot) {
        let own = self.of_at(slot);
        for counter in self.counters_at(slot) {
            counter.store(counter.load(Ordering::Relaxed).saturating_sub(own), Ordering::Relaxed);
        }
    }
}

impl Default for Frequency {
    fn default() -> Self {
        Frequency::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_own_counts() {
        let frequency = Frequency::new();
        let names: Vec<_> = (0..500).map(|number| format!("key {number}")).collect();
        for (count, name) in names.iter().enumerate() {
            (0..count).for_each(|_| frequency.count(name));
        }
        names.iter().skip(250).for_each(|name| frequency.reset_at(frequency.slot(name)));
        let wrong = |(count, name): &(usize, &String)| {
            frequency.of_at(frequency.slot(name)) != if *count < 250 { *count as u32 } else { 0 }
        };
        let shared = names.iter().enumerate().filter(wrong).count();
        assert!(shared < 10, "{shared} of 500 keys have not their own count");
    }
}
