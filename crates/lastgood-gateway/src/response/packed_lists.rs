//! Lists of candles that were packed before: those who ask for the newest candles of a pair ask for the same.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::coding::Coding;
use super::list::List;

/// Lists that were packed before.
pub(crate) struct PackedLists {
    lists: Cache<u64, Arc<PackedList>, BySize>,
    places: RandomState,
}

/// A packed list, and the runs it is of, so that their places in memory stay theirs.
struct PackedList {
    runs: Vec<Bytes>,
    coding: Coding,
    body: Bytes,
}

/// Where a packed list is kept, for as long as it is.
pub(crate) struct Kept {
    key: u64,
    list: Weak<PackedList>,
}

#[derive(Clone)]
struct BySize;

impl Weighter<u64, Arc<PackedList>> for BySize {
    fn weight(&self, _: &u64, list: &Arc<PackedList>) -> u64 {
        (list.body.len() + list.runs.iter().map(Bytes::len).sum::<usize>() + 128) as u64
    }
}

/// The most bytes of lists that are kept packed, with what they are of: the newest of some hundred series.
const MOST_BYTES: u64 = 64 << 20;

impl PackedLists {
    /// What these lists may take of a memory limit.
    pub(crate) fn share_of(limit: u64) -> u64 {
        (limit / 16).min(MOST_BYTES)
    }

    /// No lists yet, and never more than `bytes` of them.
    pub(crate) fn of(bytes: u64) -> PackedLists {
        PackedLists { lists: Cache::with_weighter(1_024, bytes, BySize), places: RandomState::new() }
    }

    /// A list, packed as it was before if it is the same.
    pub(crate) async fn pack(&self, runs: Vec<Bytes>, coding: Coding) -> Option<Bytes> {
        let key = self.key(&runs, coding);
        if let Some(known) = self.known(key, &runs, coding) {
            return Some(known.body.clone());
        }
        let list = List::of(&runs);
        let body = tokio::task::spawn_blocking(move || coding.pack(&list.collect())).await.ok().flatten()?;
        self.lists.insert(key, Arc::new(PackedList { runs, coding, body: body.clone() }));
        Some(body)
    }

    fn key(&self, runs: &[Bytes], coding: Coding) -> u64 {
        self.places.hash_one((coding, runs.iter().map(place).collect::<Vec<_>>()))
    }

    fn known(&self, key: u64, runs: &[Bytes], coding: Coding) -> Option<Arc<PackedList>> {
        let is_it =
            |known: &Arc<PackedList>| known.coding == coding && known.runs.iter().map(place).eq(runs.iter().map(place));
        self.lists.get(&key).filter(is_it)
    }

    /// Where these runs are kept packed, if they are.
    pub(crate) fn kept(&self, runs: &[Bytes], coding: Coding) -> Option<Kept> {
        let key = self.key(runs, coding);
        self.known(key, runs, coding).map(|list| Kept { key, list: Arc::downgrade(&list) })
    }

    /// The kept value, if it still is.
    pub(crate) fn get(&self, kept: &Kept) -> Option<Bytes> {
        let list = self.lists.get(&kept.key)?;
        (Arc::as_ptr(&list) == kept.list.as_ptr()).then(|| list.body.clone())
    }
}

/// Where a run lies. While it is held, nothing else lies there.
fn place(run: &Bytes) -> (usize, usize) {
    (run.as_ptr() as usize, run.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_rows_are_packed_once_in_each_coding_and_others_apart() {
        let packed = PackedLists::of(1 << 20);
        let runs = vec![Bytes::from(vec![b'1'; 5_000])];
        let of = async |runs: &Vec<Bytes>, coding| packed.pack(runs.clone(), coding).await.expect("it is smaller");
        let first = of(&runs, Coding::Gzip).await;
        assert_eq!(of(&runs, Coding::Gzip).await.as_ptr(), first.as_ptr());
        let zstd = of(&runs, Coding::Zstd).await;
        assert_ne!(zstd, first);
        assert_eq!(of(&runs, Coding::Zstd).await.as_ptr(), zstd.as_ptr());
        let others = vec![Bytes::from(vec![b'2'; 5_000])];
        assert!(packed.kept(&others, Coding::Gzip).is_none());
        assert_ne!(of(&others, Coding::Gzip).await, first);
        let kept = packed.kept(&runs, Coding::Gzip).expect("they are packed");
        assert_eq!(packed.get(&kept), Some(first));
        packed.lists.clear();
        assert_eq!(packed.get(&kept), None);
    }
}
