//! The memory tier: decoded entries, bounded by bytes, expired ones included.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache as QuickCache;
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use crate::entry::{Entry, allocated, largest_body};
use crate::sync::point;

/// Which region of the cache; small, so that keys are.
pub(crate) type RegionId = u32;

/// The key of an entry, of its load, of its backoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) region: RegionId,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(region: RegionId, name: &str) -> Self {
        Key { region, name: name.into() }
    }

    pub(crate) fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { region: self.region, name: &self.name }
    }
}

/// A borrowed [`Key`], so that a hit allocates nothing.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    pub(crate) region: RegionId,
    pub(crate) name: &'a str,
}

impl KeyRef<'_> {
    fn to_key(self) -> Key {
        Key::new(self.region, self.name)
    }
}

/// All forms of a key hash alike.
#[inline]
fn hash(region: RegionId, name: &[u8], state: &mut impl Hasher) {
    state.write_u32(region);
    state.write(name);
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.region, self.name.as_bytes(), state);
    }
}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.region, self.name.as_bytes(), state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.region == key.region && self.name == &*key.name
    }
}

/// A key as the table has it: the region before the name, and nothing that counts its users.
#[derive(Clone, PartialEq, Eq)]
struct Held(Box<[u8]>);

/// Bytes of the region.
const REGION: usize = size_of::<RegionId>();

impl Held {
    fn of(key: &KeyRef<'_>) -> Held {
        Held([&key.region.to_le_bytes()[..], key.name.as_bytes()].concat().into())
    }

    #[inline]
    fn parts(&self) -> (RegionId, &[u8]) {
        let (region, name) = self.0.split_first_chunk::<REGION>().unwrap_or((&[0; REGION], &[]));
        (RegionId::from_le_bytes(*region), name)
    }

    fn borrowed(&self) -> KeyRef<'_> {
        let (region, name) = self.parts();
        KeyRef { region, name: str::from_utf8(name).unwrap_or_default() }
    }
}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (region, name) = self.parts();
        hash(region, name, state);
    }
}

impl Equivalent<Held> for KeyRef<'_> {
    #[inline]
    fn equivalent(&self, key: &Held) -> bool {
        let Some((region, name)) = key.0.split_first_chunk() else { return false };
        RegionId::from_le_bytes(*region) == self.region && name == self.name.as_bytes()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Held, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Held, entry: &Arc<Entry>) -> u64 {
        entry.weight() + allocated(key.0.len()) + OVERHEAD
    }
}

/// What the table takes for each entry, its room to grow included, in bytes.
const OVERHEAD: u64 = 112;

/// The part of a shard that entries in use may take, and so the largest one.
const HOT_PART: f64 = 0.97;

/// Each shard must hold the largest answer (a futures exchangeInfo is some 2 MB) many times over, or it would be
/// refused: capacity is per shard.
const MIN_SHARD_BYTES: u64 = 16 << 20;

/// A guess at what an entry takes. Half as many keys as entries are taken to find room are remembered once they are evicted, for
/// some 45 bytes each: one that comes again soon is kept for longer. Small entries take less than half of this; a quarter as many
/// keys as entries is as good as more.
const BYTES_OF_AN_ENTRY: u64 = 2_048;
/// The most entries that are taken to find room, for that.
const MOST: usize = 1 << 20;

/// The memory tier. S3-FIFO, which keeps repeatedly read entries over a single scan.
pub(crate) struct Memory {
    entries: QuickCache<Held, Arc<Entry>, ByBytes>,
    /// What a shard holds.
    shard_bytes: u64,
    changes: AtomicU64,
}

impl Memory {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        // The builder rounds up to a power of two; a shard must not get smaller by that.
        let shards = prev_power_of_two((max_bytes / MIN_SHARD_BYTES).clamp(1, cores * 4));
        let options = OptionsBuilder::new()
            .weight_capacity(max_bytes)
            .estimated_items_capacity(usize::try_from(max_bytes / BYTES_OF_AN_ENTRY).unwrap_or(MOST).clamp(64, MOST))
            .hot_allocation(HOT_PART)
            .shards(usize::try_from(shards).unwrap_or(1))
            .build()
            .unwrap_or_else(|fault| unreachable!("both capacities are set: {fault:?}"));
        let entries = QuickCache::with_options(options, ByBytes, Default::default(), Default::default());
        Memory { entries, shard_bytes: max_bytes / shards, changes: AtomicU64::new(0) }
    }

    /// The largest value that is kept, with what its key and its bookkeeping may take.
    pub(crate) fn largest_value(&self) -> u64 {
        largest_body((self.shard_bytes as f64 * HOT_PART) as u64)
    }

    #[inline]
    pub(crate) fn get(&self, key: &KeyRef<'_>) -> Option<Arc<Entry>> {
        point();
        self.entries.get(key)
    }

    /// Puts an entry in; one too large for a shard is not kept.
    pub(crate) fn insert(&self, key: &KeyRef<'_>, entry: Arc<Entry>) {
        point();
        self.entries.insert(Held::of(key), entry);
        self.changed();
    }

    pub(crate) fn remove(&self, key: &KeyRef<'_>) -> bool {
        point();
        let was_there = self.entries.remove(key).is_some();
        self.changed();
        was_there
    }

    /// Removes some keys and says how many there were. Walks all entries.
    pub(crate) fn remove_where(&self, doomed: impl Fn(&KeyRef<'_>) -> bool) -> u64 {
        let doomed: Vec<Held> =
            self.entries.iter().filter(|(key, _)| doomed(&key.borrowed())).map(|(key, _)| key).collect();
        let removed = doomed.iter().filter(|key| self.entries.remove(*key).is_some()).count() as u64;
        self.changed();
        removed
    }

    /// How many changes of it have ended: while that is the same, each key has the entry that it had. An evicted entry gives
    /// way to an insertion.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// The keys of some entries. Walks all of them.
    pub(crate) fn keys_where(&self, wanted: impl Fn(&KeyRef<'_>, &Entry) -> bool) -> Vec<Key> {
        let wanted = |(key, entry): (Held, Arc<Entry>)| {
            let key = key.borrowed();
            wanted(&key, &entry).then(|| key.to_key())
        };
        self.entries.iter().filter_map(wanted).collect()
    }

    /// Entries and bytes of each region, by [`RegionId`]. Walks all entries.
    pub(crate) fn usage(&self, regions: usize) -> Vec<(u64, u64)> {
        let mut usage = vec![(0, 0); regions];
        for (key, entry) in self.entries.iter() {
            if let Some((keys, bytes)) = usage.get_mut(key.parts().0 as usize) {
                *keys += 1;
                *bytes += ByBytes.weight(&key, &entry);
            }
        }
        usage
    }

    /// Bytes charged at the moment.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

fn prev_power_of_two(number: u64) -> u64 {
    1 << number.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::entry::{Loaded, Value};
    use crate::policy::Times;

    fn entry(bytes: usize) -> Arc<Entry> {
        let forever = Timestamp::FOREVER;
        let times = Times { fresh_until: forever, stale_until: forever, keep_until: forever };
        let loaded = Loaded::from(Value::new(vec![b'x'; bytes]));
        Arc::new(Entry::new(loaded, Timestamp::EPOCH, Timestamp::EPOCH, times))
    }

    #[test]
    fn borrowed_and_owned_keys_find_the_same_entry() {
        let memory = Memory::new(1 << 20);
        memory.insert(&KeyRef { region: 3, name: "币安人生USDT" }, entry(10));
        assert!(memory.get(&KeyRef { region: 3, name: "币安人生USDT" }).is_some());
        assert!(memory.get(&KeyRef { region: 4, name: "币安人生USDT" }).is_none());
        let key = Key::new(3, "币安人生USDT");
        assert!(memory.get(&key.borrowed()).is_some());
        assert_eq!(memory.keys_where(|key, _| key.region == 3), [key]);
    }

    #[test]
    fn memory_stays_within_its_bytes() {
        let memory = Memory::new(64 << 20);
        for number in 0..200 {
            memory.insert(&KeyRef { region: 0, name: &number.to_string() }, entry(1 << 20));
        }
        assert!(memory.bytes() <= 64 << 20, "{} bytes", memory.bytes());
        let largest = usize::try_from(memory.largest_value()).unwrap();
        memory.insert(&KeyRef { region: 0, name: "largest" }, entry(largest));
        assert!(memory.get(&KeyRef { region: 0, name: "largest" }).is_some());
        memory.insert(&KeyRef { region: 0, name: "oversize" }, entry(80 << 20));
        assert!(memory.get(&KeyRef { region: 0, name: "oversize" }).is_none());
    }

    #[test]
    fn a_region_is_removed_alone() {
        let memory = Memory::new(1 << 20);
        memory.insert(&KeyRef { region: 0, name: "a" }, entry(10));
        memory.insert(&KeyRef { region: 1, name: "a" }, entry(10));
        assert_eq!(memory.remove_where(|key| key.region == 0), 1);
        assert_eq!(memory.usage(2)[1].0, 1);
    }
}
