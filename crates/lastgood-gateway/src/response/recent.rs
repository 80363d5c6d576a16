//! Values of header fields that a thread has made lately: of ages, weights and the seconds that are left, hits need few.

use std::cell::RefCell;

use http::HeaderValue;

/// How many are kept of a kind.
const KEPT: usize = 256;

/// The values that a thread keeps of one kind, by what they say.
pub(crate) struct Recent<K>(RefCell<Vec<Option<(K, HeaderValue)>>>);

impl<K: Copy + PartialEq> Recent<K> {
    pub(crate) const fn new() -> Recent<K> {
        Recent(RefCell::new(Vec::new()))
    }

    /// The value under `key`; one that is `near` to it takes its place when it is made next.
    pub(crate) fn get(&self, key: K, near: u64, make: impl FnOnce() -> HeaderValue) -> HeaderValue {
        let mut kept = self.0.borrow_mut();
        if kept.is_empty() {
            kept.resize(KEPT, None);
        }
        let kept = &mut kept[near as usize % KEPT];
        match kept {
            Some((known, value)) if *known == key => value.clone(),
            _ => kept.insert((key, make())).1.clone(),
        }
    }
}

/// A number as the value of a field.
pub(crate) fn numeral(number: u64) -> HeaderValue {
    thread_local!(static NUMBERS: Recent<u64> = const { Recent::new() });
    NUMBERS.with(|numbers| numbers.get(number, number, || HeaderValue::from(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_value() {
        for _ in 0..2 {
            for number in [0, 1, 255, 256, 257, 1 << 40, u64::MAX] {
                assert_eq!(numeral(number), number.to_string().as_str());
            }
        }
    }
}
