//! Which keys the file may hold, in memory: a key that was never written is answered without a look at the disk, which would
//! have to wait for a thread that may block. Each first question of a key begins with such a read.
//!
//! A Bloom filter. Each write enters its key, and after a start the keys of the file are read through once, a page at a time. It
//! takes one or two bytes a key, never denies a key that is there, and takes one or two in a hundred others for one that
//! may be.

use std::array;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use quick_cache::DefaultHashBuilder;

/// Bits that stand for a key.
const PROBES: usize = 4;
/// Bits for each key of a new filter, and those from which on a larger one is made.
const ROOMY: usize = 16;
const FULL: usize = 8;
/// The smallest and the largest filter: 16 KiB and 8 MiB.
const LEAST_BITS: usize = 1 << 17;
const MOST_BITS: usize = 1 << 26;

/// The known state of the keys of the file, and of those that wait for the disk.
#[derive(Default)]
pub(super) struct Keys {
    /// Has them all; none before the file was read through.
    whole: Option<Filter>,
    /// Is to take its place: has those that were written since it was begun, and those of the file up to a place.
    next: Option<Next>,
    /// They could not be read: the disk is asked until the next start.
    given_up: bool,
}

struct Next {
    filter: Filter,
    /// The last key of the file that was read.
    read_to: Option<String>,
}

struct Filter {
    bits: Box<[u64]>,
    hasher: DefaultHashBuilder,
    /// About how many keys it has.
    keys: usize,
    /// Beyond them it is to be made again: larger, or without the keys that are gone since.
    most_keys: usize,
}

impl Keys {
    /// Of a file that holds nothing.
    pub(super) fn none() -> Keys {
        Keys { whole: Some(Filter::for_keys(0)), ..Keys::default() }
    }

    /// Of a file that is still to be read through.
    pub(super) fn unread() -> Keys {
        Keys::default()
    }

    /// Takes note of a key that is written.
    pub(super) fn insert(&mut self, key: &str) {
        let next = self.next.as_mut().map(|next| &mut next.filter);
        self.whole.iter_mut().chain(next).for_each(|filter| filter.insert(key));
    }

    /// Whether `key` is known not to be there.
    pub(super) fn lack(&self, key: &str) -> bool {
        self.whole.as_ref().is_some_and(|filter| !filter.may_have(key))
    }

    /// Whether the keys of the file are to be read.
    pub(super) fn are_to_be_read(&self) -> bool {
        !self.given_up && (self.next.is_some() || self.whole.as_ref().is_none_or(Filter::is_full))
    }

    /// Behind which key of the file to read on. Begins where nothing was read yet, for about `count` keys of the file and with those
    /// that wait for the disk.
    pub(super) fn read_on(&mut self, count: usize, waiting: impl Iterator<Item = Arc<str>>) -> Option<String> {
        if self.next.is_none() {
            let mut filter = Filter::for_keys(count);
            waiting.for_each(|key| filter.insert(&key));
            self.next = Some(Next { filter, read_to: None });
        }
        self.next.as_ref()?.read_to.clone()
    }

    /// Takes some keys of the file.
    pub(super) fn take(&mut self, keys: &[String]) {
        if let Some(next) = &mut self.next {
            keys.iter().for_each(|key| next.filter.insert(key));
        }
    }

    /// All keys up to this one were taken; all of the file where there is none.
    pub(super) fn are_read_to(&mut self, end: Option<String>) {
        match (end, self.next.take()) {
            (Some(end), Some(next)) => self.next = Some(Next { read_to: Some(end), ..next }),
            (None, Some(next)) => self.whole = Some(next.filter),
            (_, None) => {}
        }
    }

    /// They cannot be read.
    pub(super) fn give_up(&mut self) {
        (self.next, self.given_up) = (None, true);
    }
}

impl Filter {
    fn for_keys(count: usize) -> Filter {
        let bits = count.saturating_mul(ROOMY).clamp(LEAST_BITS, MOST_BITS).next_power_of_two();
        let most_keys = (bits / FULL).max(count.saturating_mul(2));
        Filter {
            bits: vec![0; bits / u64::BITS as usize].into(),
            hasher: DefaultHashBuilder::default(),
            keys: 0,
            most_keys,
        }
    }

    /// The places of a key's bits: a word, and a bit of it.
    fn places(&self, key: &str) -> [(usize, u64); PROBES] {
        let (hash, mask) = (self.hasher.hash_one(key), self.bits.len() * u64::BITS as usize - 1);
        let (first, step) = (hash as usize, (hash >> 32) as usize | 1);
        array::from_fn(|probe| {
            let place = first.wrapping_add(step.wrapping_mul(probe)) & mask;
            (place / u64::BITS as usize, 1 << (place % u64::BITS as usize))
        })
    }

    fn insert(&mut self, key: &str) {
        let places = self.places(key);
        self.keys += usize::from(places.iter().any(|(word, bit)| self.bits[*word] & bit == 0));
        places.iter().for_each(|(word, bit)| self.bits[*word] |= bit);
    }

    fn may_have(&self, key: &str) -> bool {
        self.places(key).iter().all(|(word, bit)| self.bits[*word] & bit != 0)
    }

    fn is_full(&self) -> bool {
        self.keys > self.most_keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> String {
        format!("lastgood:average:v1:spot/api/v3/avgPrice?symbol={number}")
    }

    /// Reads keys as the writer does, in pages.
    fn read(keys: &mut Keys, file: &[String]) {
        while keys.are_to_be_read() {
            let after = keys.read_on(file.len(), std::iter::empty());
            let from = after.map_or(0, |after| file.iter().position(|key| *key == after).map_or(0, |at| at + 1));
            let page = &file[from..file.len().min(from + 1_000)];
            keys.take(page);
            keys.are_read_to(page.last().filter(|_| from + 1_000 < file.len()).cloned());
        }
    }

    #[test]
    fn a_key_that_was_written_is_never_denied_and_few_others_are_taken_for_one() {
        let mut keys = Keys::none();
        let mut file = Vec::new();
        for number in 0..40_000 {
            keys.insert(&key(number));
            file.push(key(number));
            if keys.are_to_be_read() {
                read(&mut keys, &file);
            }
        }
        assert!((0..40_000).all(|number| !keys.lack(&key(number))));
        let mistaken = (40_000..80_000).filter(|number| !keys.lack(&key(*number))).count();
        assert!(mistaken < 2_000, "{mistaken} of 40,000");
    }

    #[test]
    fn nothing_is_denied_before_the_file_was_read_through() {
        let file: Vec<String> = (0..2_500).map(key).collect();
        let mut keys = Keys::unread();
        assert!(keys.are_to_be_read() && !keys.lack("never written"));
        assert_eq!(keys.read_on(file.len(), [Arc::from("waits")].into_iter()), None);
        keys.take(&file[..1_000]);
        keys.are_read_to(Some(file[999].clone()));
        keys.insert("written meanwhile");
        assert!(keys.are_to_be_read() && !keys.lack("never written"));
        read(&mut keys, &file);
        assert!(!keys.are_to_be_read() && keys.lack("never written"));
        assert!(["waits", "written meanwhile"].iter().all(|key| !keys.lack(key)));
        assert!(file.iter().all(|key| !keys.lack(key)));
    }

    #[test]
    fn keys_that_cannot_be_read_are_looked_for_on_the_disk() {
        let mut keys = Keys::unread();
        keys.read_on(10, std::iter::empty());
        keys.give_up();
        keys.insert("written");
        assert!(!keys.are_to_be_read() && !keys.lack("written") && !keys.lack("never written"));
    }
}
