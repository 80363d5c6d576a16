//! An answer with its times, and its form on the wire.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use once_cell::race::OnceBox;

use crate::clock::Timestamp;
use crate::policy::{Policy, Times};

mod codec;
mod columnar;
#[cfg(feature = "testing")]
pub(crate) mod hold;
mod note;
mod rare;
mod size;
mod wire;

use self::note::Note;
use self::rare::{Rare, StoredAt, Tags};
use self::size::{COUNTS, MEMOISED, MEMOISED_FROM};
pub(crate) use self::size::{allocated, compact, largest_body};
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
#[repr(C)] // In this order: what a hit reads is next to the count that it raises, mostly in one line of the processor's cache.
pub(crate) struct Entry {
    pub(crate) times: Times,
    /// When this process took it in, by its own clock: what happened to the key elsewhere since, it must hear of.
    pub(crate) taken_at: Timestamp,
    /// When the load began: what the answer can know of the world is no younger. Orders entries of one key.
    pub(crate) fetch_started_at: Timestamp,
    pub(crate) written_at: Timestamp,
    /// The checksum of its form in the store, if it has one there; as [`notable`] has it. Zero while it has none.
    checksum: AtomicU32,
    pub(crate) body: Bytes,
    /// The loader's note.
    meta: Option<Note>,
    /// Made once there is something in it.
    rare: OnceBox<Rare>,
}

/// A checksum as entries note it: not zero, which stands for none.
pub(crate) fn notable(checksum: u32) -> u32 {
    checksum.max(1)
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
        let Loaded { value: Value { body, meta }, tags, memoised: Memoised(memoised), .. } = loaded;
        let tags = (!tags.is_empty()).then(|| Box::new(Tags(tags.into_boxed_slice())));
        let is_rare = tags.is_some() || memoised.is_some();
        let memoised = memoised.map_or_else(OnceLock::new, OnceLock::from);
        let rare = is_rare.then(|| Box::new(Rare { tags, stored_at: StoredAt::default(), memoised }));
        let rare = rare.map_or_else(OnceBox::new, OnceBox::with_value);
        let (checksum, meta) = (AtomicU32::new(0), meta.map(note::shared));
        Entry { body, fetch_started_at, written_at, times, taken_at: written_at, checksum, meta, rare }
    }

    /// The body and the note, as the loader gave them.
    pub(crate) fn value(&self) -> Value {
        Value { body: self.body.clone(), meta: self.meta.as_deref().cloned() }
    }

    /// The loader's note that is remembered with the body.
    pub(crate) fn meta(&self) -> Option<&str> {
        self.meta.as_deref().map(AsRef::as_ref)
    }

    /// The names under which it can be invalidated together with others.
    pub(crate) fn tags(&self) -> &[String] {
        self.rare.get().and_then(|rare| rare.tags.as_ref()).map_or(&[], |tags| &tags.0)
    }

    /// When the entry, or the one it replaced without being stored itself, was last given to the store.
    pub(crate) fn stored_at(&self) -> Timestamp {
        self.rare.get().and_then(|rare| rare.stored_at.get()).unwrap_or(self.written_at)
    }

    /// Notes when it was given to the store.
    pub(crate) fn note_stored_at(&mut self, at: Timestamp) {
        let stored_at = (at != self.written_at).then_some(at);
        if stored_at.is_some() || self.rare.get().is_some() {
            self.rare.get_or_init(Box::default).stored_at.set(stored_at);
        }
    }

    /// Notes which bytes stand for it in the store.
    pub(crate) fn note_stored(&self, bytes: &[u8]) {
        if let Some(checksum) = bytes.last_chunk().map(|end| u32::from_le_bytes(*end)) {
            self.checksum.store(notable(checksum), Ordering::Relaxed);
        }
    }

    /// The checksum of its form in the store, if it ever had one; as [`notable`] has it.
    pub(crate) fn checksum(&self) -> Option<u32> {
        let noted = self.checksum.load(Ordering::Relaxed);
        (noted != 0).then_some(noted)
    }

    /// How good the entry is at `now`. The one place that judges, but for `Region::at_once`, which knows of some that they are
    /// fresh.
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

    /// The same answer with other times; it was written when this one was.
    fn with_times(&self, times: Times) -> Self {
        let loaded = Loaded { tags: self.tags().to_vec(), ..Loaded::from(self.body.clone()) };
        let entry = Entry::new(loaded, self.fetch_started_at, self.written_at, times);
        Entry { taken_at: self.taken_at, meta: self.meta.clone(), ..entry }
    }

    /// The same answer, no longer fresh nor stale from `now` on: the next read revalidates, last good may serve as long
    /// as `policy` says after the end of freshness, and no longer than before.
    pub(crate) fn expired_at(&self, now: Timestamp, policy: &Policy) -> Self {
        let mut entry = self.with_times(self.times.ended(now, policy));
        // The store has had it: where that holds nothing any more, it was removed.
        entry.checksum = AtomicU32::new(self.checksum.load(Ordering::Relaxed));
        entry
    }

    /// Whether a load brought it. A put value is written at the moment at which it begins.
    pub(crate) fn was_loaded(&self) -> bool {
        self.fetch_started_at < self.written_at
    }

    /// Distinguishes the answer of a load that took less than a millisecond from a put value.
    pub(crate) fn note_loaded(&mut self) {
        if !self.was_loaded() {
            // One that is to be stored says of itself that it was when it was written; another's time is noted, and stays.
            self.written_at = self.fetch_started_at.plus(Duration::from_millis(1));
        }
    }

    /// The same answer, without what was worked out of it.
    pub(crate) fn copied(&self) -> Self {
        let mut entry = self.with_times(self.times);
        entry.note_stored_at(self.stored_at());
        entry
    }

    /// The same answer with its times by a clock that is `by` milliseconds ahead.
    pub(crate) fn shift(&mut self, by: i64) {
        let stored_at = self.rare.get().map(|_| self.stored_at().shifted(by));
        self.fetch_started_at = self.fetch_started_at.shifted(by);
        self.written_at = self.written_at.shifted(by);
        // Where nothing is noted, it is when it was written.
        stored_at.into_iter().for_each(|at| self.note_stored_at(at));
        self.times = self.times.shifted(by);
    }

    /// When an entry is said to have been taken in that may have been deleted in the store by another program: long before
    /// anything was heard.
    pub(crate) const DOUBTED: Timestamp = Timestamp::from_millis(1);

    /// The same answer, taken in at another time.
    fn taken_in(&self, at: Timestamp) -> Self {
        let mut entry = self.copied();
        entry.taken_at = at;
        entry.checksum = AtomicU32::new(self.checksum.load(Ordering::Relaxed));
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
        let held = self.rare.get().and_then(|rare| rare.memoised.get()?.downcast_ref::<T>());
        match held {
            Some(held) => held.clone(),
            None => self.memoise(make),
        }
    }

    #[cold]
    fn memoise<T: Clone + Send + Sync + 'static>(&self, make: impl FnOnce(&Value) -> T) -> T {
        let mut make = Some(make);
        let held = self.rare.get_or_init(Box::default).memoised.get_or_init(|| match make.take() {
            Some(make) => Arc::new(make(&self.value())),
            None => Arc::new(()),
        });
        match (held.downcast_ref::<T>(), make) {
            (Some(held), _) => held.clone(),
            (None, Some(make)) => make(&self.value()),
            (None, None) => unreachable!("what was just made has the type that was made"),
        }
    }

    /// Whether the body looks as if it could be packed, and compared, in some thirty microseconds for each 16 KiB.
    pub(crate) fn packs_quickly(&self) -> bool {
        columnar::are_likely(&self.body)
    }

    /// Bytes charged to the memory limit besides the key's: what each of its allocations takes, and what may be worked out
    /// of it.
    pub(crate) fn weight(&self) -> u64 {
        let body = self.body.len();
        let rare = self.rare.get();
        // Most share their note, but need not.
        let meta = self.meta().map_or(0, |meta| allocated(size_of::<[usize; 4]>()) + allocated(COUNTS + meta.len()));
        let tags = rare.and_then(|rare| rare.tags.as_ref()).map_or(0, |tags| tags.weight());
        let memoised = MEMOISED + if body < MEMOISED_FROM { 0 } else { body as u64 / 2 };
        // A memoised value makes the rare parts, and the bytes count their users in an allocation of its own, once there is
        // a second.
        let own =
            allocated(COUNTS + size_of::<Entry>()) + allocated(size_of::<Rare>()) + allocated(size_of::<[usize; 3]>());
        own + allocated(body) + meta + tags + memoised
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("value", &self.value())
            .field("written_at", &self.written_at)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_their_rare_parts_are_small() {
        // With the counts of its users, and what the allocator keeps, an entry takes 112 bytes, its rare parts 48.
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
        assert!(size_of::<Rare>() <= 40, "{}", size_of::<Rare>());
    }

    #[test]
    fn an_entry_says_when_it_was_stored_also_where_that_is_when_it_was_written() {
        let [early, now, late] = [1_000, 2_000, 3_000].map(Timestamp::from_millis);
        let policy = Policy::fresh_for(Duration::from_secs(60));
        let mut entry = Entry::new(Loaded::default(), now, now, policy.times(now, None, None, 0.0));
        assert_eq!(entry.stored_at(), now);
        entry.note_loaded();
        assert!(entry.was_loaded() && entry.stored_at() == entry.written_at);
        for at in [early, late, Timestamp::EPOCH] {
            entry.note_stored_at(at);
            assert_eq!((entry.stored_at(), entry.copied().stored_at(), entry.doubted().stored_at()), (at, at, at));
        }
        entry.note_stored_at(entry.written_at);
        entry.shift(500);
        assert!(entry.stored_at() == entry.written_at && entry.written_at == now.plus(Duration::from_millis(501)));
    }

    #[test]
    fn an_entry_has_its_note_and_its_tags_and_whatever_is_worked_out_of_it() {
        let (now, policy) = (Timestamp::from_millis(1_000), Policy::fresh_for(Duration::from_secs(60)));
        let of = |loaded| Entry::new(loaded, now, now, policy.times(now, None, None, 0.0));
        let value = Value::new("1.5").with_meta("application/json");
        let tagged = of(Loaded { tags: vec!["metal".to_owned()], ..Loaded::from(value.clone()) });
        for entry in [tagged.copied(), tagged.superseded(), tagged.expired_at(now, &policy), tagged] {
            assert_eq!((entry.value(), entry.meta()), (value.clone(), Some("application/json")));
            assert_eq!(entry.tags(), ["metal"]);
        }
        let plain = of(Loaded::from(Value::new("1.5")));
        assert_eq!((plain.meta(), plain.tags().len(), plain.memoised(|value| value.body.len())), (None, 0, 3));
        assert_eq!(plain.memoised(|_| 0_usize), 3, "worked out once");
        assert_eq!(plain.memoised(|_| "another type"), "another type");
        let known = of(Loaded { memoised: Memoised::new(7_u8), ..Loaded::default() });
        assert_eq!(known.memoised(|_| 0_u8), 7);
    }

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
