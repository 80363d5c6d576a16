//! Changes of a key that take place only if it holds the expected bytes.

use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::entry::started_at;

/// How much of a value's beginning and end tells it from others: entries begin with their times, and end with a checksum
/// of all that they hold.
const HEAD: usize = 50;
const TAIL: usize = 4;
/// Precedes the time in a version that is no single one; no digit of others.
const NO_LATER_THAN: char = '<';
/// Precedes the time, at the end of a version, after which the change is not made any more.
const BY: char = ',';

/// Tells what a key holds from what it held before and after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub(super) String);

impl Version {
    /// The version of a value.
    pub fn of(value: &[u8]) -> Version {
        Ends::of(value).version()
    }

    /// Stands for whatever a key may hold but an entry whose load began later than `at`, by the store's clock: nothing, an
    /// older entry, a claim, or what cannot be read.
    pub(crate) fn no_later_than(at: Timestamp) -> Version {
        Version(format!("{NO_LATER_THAN}{}", at.as_millis()))
    }

    /// The same, or nothing, for a change that is not made after `by`, by the store's clock: its sender does not wait any
    /// longer.
    pub(crate) fn until(expected: Option<Version>, by: Timestamp) -> Version {
        let expected = expected.map_or_else(String::new, |version| version.0);
        Version(format!("{expected}{BY}{}", by.as_millis()))
    }

    /// The same, for a change that is not made after `by` either.
    pub(crate) fn no_later(&self, by: Timestamp) -> Version {
        let by = self.by().map_or(by, |before| before.min(by));
        Version::until(Some(self.whenever()), by)
    }

    /// After which time, by the store's clock, the change is not made any more.
    pub(crate) fn by(&self) -> Option<Timestamp> {
        let (_, millis) = self.0.split_once(BY)?;
        millis.parse().ok().map(Timestamp::from_millis)
    }

    /// The same, for a change that is made whenever it comes.
    pub(crate) fn whenever(&self) -> Version {
        Version(self.0.split(BY).next().unwrap_or_default().to_owned())
    }

    /// Whether a change that expects this comes too late at `now`, by the store's clock: [`StoreError::Late`], and nothing is
    /// changed. For stores of other crates.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.by().is_some_and(|by| now > by)
    }

    /// Whether this is the version of what a key holds, for stores of other crates.
    pub fn is_of(&self, value: Option<&[u8]>) -> bool {
        let expected = self.whenever();
        let limit = expected.0.strip_prefix(NO_LATER_THAN).and_then(|millis| millis.parse().ok());
        match (limit.map(Timestamp::from_millis), value) {
            (Some(limit), value) => value.and_then(started_at).is_none_or(|started_at| started_at <= limit),
            (None, Some(value)) => expected == Version::of(value),
            (None, None) => expected.0.is_empty(),
        }
    }
}

/// What of a value makes its version, which is written only for the reads that change something then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    bytes: [u8; HEAD + TAIL],
    /// How many of them there are: the rest is zero.
    length: u8,
}

impl Ends {
    pub(crate) fn of(value: &[u8]) -> Ends {
        let head = &value[..value.len().min(HEAD)];
        let tail = &value[value.len().saturating_sub(TAIL)..];
        let (mut bytes, length) = ([0; HEAD + TAIL], head.len() + tail.len());
        bytes[..head.len()].copy_from_slice(head);
        bytes[head.len()..length].copy_from_slice(tail);
        Ends { bytes, length: length as u8 }
    }

    pub(crate) fn version(&self) -> Version {
        // In hexadecimal, because a request over REST is text.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: &u8| [byte >> 4, byte & 0xf].map(|digit| char::from(DIGITS[usize::from(digit)]));
        let mut version = String::with_capacity(2 * (HEAD + TAIL));
        version.extend(self.bytes[..usize::from(self.length)].iter().flat_map(digits));
        Version(version)
    }
}

/// A change of a key that takes place only if the key holds the expected bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The key.
    pub key: String,
    /// What it must hold; `None` where it must hold nothing. A version may stand for several: ask [`Swap::is_expected`].
    pub expected: Option<Version>,
    /// What it holds from then on, and for how long; `None` where it is to hold nothing.
    pub to: Option<(Bytes, Duration)>,
}

impl Swap {
    /// The same change, made whenever it comes.
    pub(crate) fn whenever(&self) -> Swap {
        Swap { expected: self.expected.as_ref().map(Version::whenever), ..self.clone() }
    }

    /// As [`Version::is_late`], of the expected bytes.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.expected.as_ref().is_some_and(|expected| expected.is_late(now))
    }

    /// Whether a key that holds `value` may be changed, for stores of other crates.
    pub fn is_expected(&self, value: Option<&[u8]>) -> bool {
        match &self.expected {
            Some(expected) => expected.is_of(value),
            None => value.is_none(),
        }
    }
}

/// Swaps where no other process changes the key meanwhile.
pub(super) async fn swap_alone<S: Store + ?Sized>(store: &S, swap: &Swap) -> Result<bool, StoreError> {
    let held = store.get(&swap.key).await?;
    if !swap.is_expected(held.as_deref()) {
        return Ok(false);
    }
    match &swap.to {
        Some((value, ttl)) => store.put(&swap.key, value.clone(), *ttl).await?,
        None => drop(store.remove(std::slice::from_ref(&swap.key)).await?),
    }
    Ok(true)
}

/// Removes keys that hold the expected bytes, where no other process changes them meanwhile.
pub(super) async fn remove_alone<S: Store + ?Sized>(
    store: &S,
    removals: &[(String, Version)],
) -> Result<u64, StoreError> {
    let keys: Vec<String> = removals.iter().map(|(key, _)| key.clone()).collect();
    let held = store.get_many(&keys).await?;
    let expected = removals.iter().zip(held).filter(|((_, expected), held)| expected.is_of(held.as_deref()));
    let keys: Vec<String> = expected.map(|((key, _), _)| key.clone()).collect();
    store.remove(&keys).await
}
