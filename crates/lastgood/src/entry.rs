//! An answer with its times, and its form on the wire.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::policy::{Policy, Times};

mod codec;
mod columnar;
#[cfg(feature = "testing")]
pub(crate) mod hold;
mod wire;

pub(crate) use self::wire::{
    Retimed, Stamp, Unreadable, decode, decode_any_version, encode, is_put, stamp, started_at, under_key, with_times,
};

/// What a source answered: the bytes, untouched, and the caller's note to remember with them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Value {
    /// The answer's own bytes.
    pub body: Bytes,
    /// Opaque to the cache; kept and given back with the body. The gateway keeps the content type here.
    pub meta: Option<Arc<str>>,
}

impl Value {
    /// A value of bytes alone.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Value { body: body.into(), meta: None }
    }

    /// Adds a note to remember with the bytes (at most 64 KiB).
    #[must_use]
    pub fn with_meta(mut self, meta: impl Into<Arc<str>>) -> Self {
        self.meta = Some(meta.into());
        self
    }
}

impl fmt::Debug for Value {
    /// Sizes only: answers can be large, and may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes, meta {:?})", self.body.len(), self.meta)
    }
}

/// What a loader gives back: a value, with freshness and tags of its own where the source states them.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The answer.
    pub value: Value,
    /// The source's own freshness; replaces the policy's `fresh_for` for this answer, and is not jittered.
    pub fresh_for: Option<Duration>,
    /// A true end in place of the policy's `stale_if_error`: this long after it was written the answer is gone from every
    /// tier, and stands in for no failing source. It also ends an answer that would be fresh for longer.
    pub ttl: Option<Duration>,
    /// When the source was asked for it, where that is not when the load began: its times count from then.
    pub as_of: Option<Timestamp>,
    /// When the source was asked for it, where that was later than the load began: the loader waited, or asked others in vain.
    /// Of two answers the one that was asked for later is the newer. Unlike `as_of` it leaves freshness to count from the end
    /// of the load.
    pub asked_at: Option<Timestamp>,
    /// Names under which the answer can be invalidated together with others.
    pub tags: Vec<String>,
    /// When the value goes to the store.
    pub persist: Persist,
    /// What [`Answer::memoised`](crate::Answer::memoised) is to give, where it is known already.
    pub memoised: Memoised,
}

/// Something worked out of a value before it is kept; see [`Answer::memoised`](crate::Answer::memoised).
#[derive(Clone, Default)]
pub struct Memoised(Option<Arc<dyn Any + Send + Sync>>);

impl Memoised {
    /// What the value's readers will ask for, in the type that they ask for.
    pub fn new<T: Clone + Send + Sync + 'static>(memoised: T) -> Self {
        Memoised(Some(Arc::new(memoised)))
    }
}

impl Memoised {
    /// Whether the loader worked nothing out of the body.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Memoised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Memoised" } else { "None" })
    }
}

/// When a value goes to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    /// With each write.
    #[default]
    Always,
    /// At most once in so long: between, memory alone has the newest. For what changes by the second, where each
    /// write costs.
    Every(Duration),
    /// Not: the store has it already.
    Never,
}

impl Loaded {
    /// Sets the source's own freshness.
    #[must_use]
    pub fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.fresh_for = Some(fresh_for);
        self
    }

    /// Sets a true end; see [`Loaded::ttl`].
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl From<Value> for Loaded {
    fn from(value: Value) -> Self {
        Loaded { value, ..Loaded::default() }
    }
}

impl From<Bytes> for Loaded {
    fn from(body: Bytes) -> Self {
        Value::new(body).into()
    }
}

/// A value with its times, as it lies in memory. Freshness is never stored, always judged: see [`Entry::freshness`].
pub(crate) struct Entry {
    pub(crate) value: Value,
    /// When the load began: what the answer can know of the world is no younger. Orders entries of one key.
    pub(crate) fetch_started_at: Timestamp,
    pub(crate) written_at: Timestamp,
    pub(crate) times: Times,
    /// When the entry, or the one it replaced without being stored itself, was last given to the store.
    pub(crate) stored_at: Timestamp,
    /// When this process took it in, by its own clock: what happened to the key elsewhere since, it must hear of.
    pub(crate) taken_at: Timestamp,
    pub(crate) tags: Box<[String]>,
    /// The checksum of its form in the store, where it came from there or was encoded for it: a number above 32 bits. Zero
    /// while it has none.
    checksum: AtomicU64,
    memoised: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// How good an entry still is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Served without asking.
    Fresh,
    /// Served while one load refreshes it behind.
    Stale,
    /// Served only when the source gives nothing.
    Kept,
    /// Never served.
    Gone,
}

impl Entry {
    pub(crate) fn new(loaded: Loaded, fetch_started_at: Timestamp, written_at: Timestamp, times: Times) -> Self {
        let (value, tags) = (loaded.value, loaded.tags.into_boxed_slice());
        let memoised = loaded.memoised.0.map_or_else(OnceLock::new, OnceLock::from);
        let (stored_at, taken_at, checksum) = (written_at, written_at, AtomicU64::new(0));
        Entry { value, fetch_started_at, written_at, times, stored_at, taken_at, tags, checksum, memoised }
    }

    /// Notes which bytes stand for it in the store.
    pub(crate) fn note_stored(&self, bytes: &[u8]) {
        if let Some(checksum) = bytes.last_chunk().map(|end| u32::from_le_bytes(*end)) {
            self.checksum.store(1 << 32 | u64::from(checksum), Ordering::Relaxed);
        }
    }

    /// The checksum of its form in the store, if it ever had one.
    pub(crate) fn checksum(&self) -> Option<u32> {
        let noted = self.checksum.load(Ordering::Relaxed);
        (noted != 0).then_some(noted as u32)
    }

    /// How good the entry is at `now`. The one place that judges.
    pub(crate) fn freshness(&self, now: Timestamp) -> Freshness {
        if now < self.times.fresh_until {
            Freshness::Fresh
        } else if now < self.times.stale_until {
            Freshness::Stale
        } else if now < self.times.keep_until {
            Freshness::Kept
        } else {
            Freshness::Gone
        }
    }

    /// The same answer, no longer fresh nor stale from `now` on: the next read revalidates, last good may serve as long
    /// as `policy` says after the end of freshness, and no longer than before.
    pub(crate) fn expired_at(&self, now: Timestamp, policy: &Policy) -> Self {
        let times = self.times.ended(now, policy);
        let loaded = Loaded { tags: self.tags.to_vec(), ..Loaded::from(self.value.clone()) };
        let mut entry = Entry::new(loaded, self.fetch_started_at, self.written_at, times);
        entry.taken_at = self.taken_at;
        // The store has had it: where that holds nothing any more, it was removed.
        entry.checksum = AtomicU64::new(self.checksum.load(Ordering::Relaxed));
        entry
    }

    /// Whether a load brought it. A put value is written at the moment at which it begins.
    pub(crate) fn was_loaded(&self) -> bool {
        self.fetch_started_at < self.written_at
    }

    /// Distinguishes the answer of a load that took less than a millisecond from a put value.
    pub(crate) fn note_loaded(&mut self) {
        if !self.was_loaded() {
            let is_to_be_stored = self.stored_at == self.written_at;
            self.written_at = self.fetch_started_at.plus(Duration::from_millis(1));
            if is_to_be_stored {
                self.stored_at = self.written_at;
            }
        }
    }

    /// The same answer, without what was worked out of it.
    pub(crate) fn copied(&self) -> Self {
        let loaded = Loaded { tags: self.tags.to_vec(), ..Loaded::from(self.value.clone()) };
        let mut entry = Entry::new(loaded, self.fetch_started_at, self.written_at, self.times);
        (entry.stored_at, entry.taken_at) = (self.stored_at, self.taken_at);
        entry
    }

    /// The same answer with its times by a clock that is `by` milliseconds ahead.
    pub(crate) fn shift(&mut self, by: i64) {
        self.fetch_started_at = self.fetch_started_at.shifted(by);
        self.written_at = self.written_at.shifted(by);
        self.stored_at = self.stored_at.shifted(by);
        self.times = self.times.shifted(by);
    }

    /// When an entry is said to have been taken in that may have been deleted in the store by another program: long before
    /// anything was heard.
    pub(crate) const DOUBTED: Timestamp = Timestamp::from_millis(1);

    /// The same answer, taken in at another time.
    fn taken_in(&self, at: Timestamp) -> Self {
        let loaded = Loaded { tags: self.tags.to_vec(), ..Loaded::from(self.value.clone()) };
        let mut entry = Entry::new(loaded, self.fetch_started_at, self.written_at, self.times);
        entry.stored_at = self.stored_at;
        entry.taken_at = at;
        entry.checksum = AtomicU64::new(self.checksum.load(Ordering::Relaxed));
        entry
    }

    /// The same answer, after another process changed what the store holds for its key.
    pub(crate) fn superseded(&self) -> Self {
        self.taken_in(Timestamp::EPOCH)
    }

    /// The same answer, after something happened to its key in the store: what that was, the next read finds out.
    pub(crate) fn doubted(&self) -> Self {
        self.taken_in(Entry::DOUBTED)
    }

    /// The same answer, which the store was seen to hold nothing newer than.
    pub(crate) fn believed(&self, at: Timestamp) -> Self {
        self.taken_in(at)
    }

    /// When this process's clock read the times of the entry, or would have.
    pub(crate) fn read_at(&self) -> Timestamp {
        if self.taken_at > Entry::DOUBTED { self.taken_at } else { self.written_at }
    }

    /// Whether something happened to its key in the store that is not known yet.
    pub(crate) fn is_doubted(&self) -> bool {
        self.taken_at == Entry::DOUBTED
    }

    /// Whether another process changed what the store holds for its key.
    pub(crate) fn is_superseded(&self) -> bool {
        self.taken_at == Timestamp::EPOCH
    }

    /// See [`Answer::memoised`](crate::Answer::memoised).
    pub(crate) fn memoised<T: Clone + Send + Sync + 'static>(&self, make: impl FnOnce(&Value) -> T) -> T {
        let mut make = Some(make);
        let held = self.memoised.get_or_init(|| match make.take() {
            Some(make) => Arc::new(make(&self.value)),
            None => Arc::new(()),
        });
        match (held.downcast_ref::<T>(), make) {
            (Some(held), _) => held.clone(),
            (None, Some(make)) => make(&self.value),
            (None, None) => unreachable!("what was just made has the type that was made"),
        }
    }

    /// Whether the body looks as if it could be packed, and compared, in some thirty microseconds for each 16 KiB.
    pub(crate) fn packs_quickly(&self) -> bool {
        columnar::are_likely(&self.value.body)
    }

    /// Bytes charged to the memory limit besides the key's: what each of its allocations takes, and what may be worked out
    /// of it.
    pub(crate) fn weight(&self) -> u64 {
        let body = self.value.body.len();
        let tags: u64 = self.tags.iter().map(|tag| allocated(tag.len())).sum();
        let meta = self.value.meta.as_ref().map_or(0, |meta| allocated(COUNTS + meta.len()));
        let memoised = MEMOISED + if body < MEMOISED_FROM { 0 } else { body as u64 / 2 };
        // The bytes count their users in an allocation of its own, once there is a second.
        let own = allocated(COUNTS + size_of::<Entry>()) + allocated(body) + allocated(size_of::<[usize; 3]>());
        own + meta + allocated(size_of_val(&*self.tags)) + tags + memoised
    }

    /// The same entry, its body in an allocation of its own size.
    pub(crate) fn compacted(mut self) -> Self {
        self.value.body = compact(self.value.body);
        self
    }
}

/// The largest body whose entry weighs no more than `weight`, where nothing else of the entry is large.
pub(crate) fn largest_body(weight: u64) -> u64 {
    weight.saturating_sub(AROUND_A_BODY) / 3 * 2
}

/// What the name of a type, tags and the bookkeeping of an entry may take, and the key.
const AROUND_A_BODY: u64 = 16 << 10;
/// The memoised parts of a small body: a content type, a tag, the places of the rest.
const MEMOISED: u64 = 384;
/// Larger bodies are packed and indexed, too.
const MEMOISED_FROM: usize = 1_400;

/// The two counts of an [`Arc`].
pub(crate) const COUNTS: usize = size_of::<[usize; 2]>();

/// What an allocation takes of the process's memory: the allocator rounds up, and keeps a word of its own.
pub(crate) const fn allocated(bytes: usize) -> u64 {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes as u64 + 8).next_multiple_of(16),
    }
}

/// Bodies up to this size are copied without a look at where they lie.
const COPIED: usize = 64 << 10;

/// The same bytes in an allocation of their own size: a slice would keep all that it is cut from in memory.
pub(crate) fn compact(body: Bytes) -> Bytes {
    if body.len() <= COPIED {
        return Bytes::copy_from_slice(&body);
    }
    match body.try_into_mut() {
        Ok(alone) if alone.capacity() - alone.len() <= alone.len() / 8 => alone.freeze(),
        Ok(alone) => Bytes::copy_from_slice(&alone),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("value", &self.value)
            .field("written_at", &self.written_at)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_expired_is_still_known_to_have_been_in_the_store() {
        let (now, policy) = (Timestamp::from_millis(1_000), Policy::fresh_for(Duration::from_secs(60)));
        let entry = Entry::new(Loaded::default(), now, now, policy.times(now, None, None, 0.0));
        assert_eq!(entry.expired_at(now, &policy).checksum(), None);
        entry.note_stored(b"in the store");
        assert!(entry.checksum().is_some());
        assert_eq!(entry.expired_at(now, &policy).checksum(), entry.checksum());
    }
}
