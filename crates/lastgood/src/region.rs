//! A family of keys with one policy, and what can be done with it.

use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness, Loaded, Persist, compact};
use crate::error::{Error, LoadError};
use crate::flight::Void;
use crate::invalidation::Mode;
use crate::lease::{Lease, Right};
use crate::memory::{Key, KeyRef};
use crate::metrics::Stopwatch;
use crate::outcome::Outcome;
use crate::policy::Policy;
use crate::shared::{RegionShared, Shared};
use crate::store::StoreError;
use crate::tags;
use crate::write_behind::{Change, Expiry, Fill, Form, Removal, Room};

mod answer;
mod basis;
mod composite;
mod conditional;
mod get;
mod given;
mod typed;

pub use self::answer::Answer;
use self::answer::judged;
pub use self::basis::Basis;
pub(crate) use self::composite::single;
pub use self::composite::{Composed, Composite, Filled, Siblings};
pub use self::conditional::Conditional;
pub use self::typed::{TypedAnswer, TypedRegion};

/// A family of keys with one policy. Clones share everything.
#[derive(Clone)]
pub struct Region {
    pub(crate) cache: Arc<Shared>,
    pub(crate) shared: Arc<RegionShared>,
}

/// Whether there was anything under a key when it was changed. The change is made in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WasThere {
    /// There was.
    Yes,
    /// There was not.
    No,
    /// Memory held nothing, and the store did not say. What it holds is changed once it is back.
    Unknown(StoreError),
}

impl Region {
    /// The region's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the cache is switched on: while it is not, every read is the loader's.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.cache.enabled.load(Ordering::Relaxed)
    }

    /// Whether the invalidations of other processes on the same store cannot be heard at the moment.
    pub fn is_unverified(&self) -> bool {
        self.cache.clock.now() > self.cache.verification.verified_until()
    }

    /// The region's policy.
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// The answer for `name`, from a tier while it is fresh, else from `load`; the last good one when that fails.
    ///
    /// `load` runs in a task of its own, at most once at a time for a key in this process, and only if it is needed.
    /// Dropping the returned future stops nothing and harms no other caller.
    ///
    /// # Errors
    ///
    /// The loader's error, when nothing good is kept; [`crate::Reason::NotFound`] even then.
    pub async fn get_or_load<F, L>(&self, name: &str, load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Loaded, LoadError>> + Send + 'static,
    {
        let stopwatch = Stopwatch::start();
        let held = match self.at_once(name) {
            (Some(entry), Some(at)) => {
                self.shared.counters.count_hit(stopwatch);
                return Ok(Answer::fresh(entry, at));
            }
            (held, _) => held,
        };
        let answer = self.read_held(name, held, &[], || single(load())).await;
        self.count(&answer, stopwatch);
        answer
    }

    pub(crate) fn count(&self, answer: &Result<Answer, Error>, stopwatch: Stopwatch) {
        match answer {
            Ok(answer) => self.composite().count_timed(answer.outcome(), stopwatch),
            Err(error) => self.composite().count_failed(error),
        }
    }

    /// Stores an answer that the caller has, as if it had just been loaded. Loads under way do not overwrite it.
    ///
    /// With [`Persist::Every`] the store may go on holding an older one, which another process may read.
    pub async fn put(&self, name: &str, loaded: Loaded) {
        self.put_with(name, loaded, Siblings::new()).await;
    }

    async fn put_with(&self, name: &str, loaded: Loaded, siblings: Siblings) {
        let replaces = loaded.persist == Persist::Always;
        let room = if replaces { self.room(loaded.value.body.len()).await } else { None };
        let now = self.cache.clock.now();
        let entry = Arc::new(self.entry(name, loaded, now, now));
        self.invalidate(name, &Void::Removed(now), || {
            self.keep_with(name, entry, replaces, room.as_ref(), None);
            self.keep_siblings(siblings, now, now, &Right::Alone);
        });
    }

    /// Ends the freshness of `name`: the next read asks the source, and the last good answer stands in if it fails.
    /// Says whether anything was there.
    ///
    /// What the store holds is expired there, as it is: another process may have put something newer than memory has here.
    pub async fn expire(&self, name: &str) -> WasThere {
        let stored = match self.held(name) {
            Some(_) => Ok(true),
            None => self.try_read_store(name).await.map(|stored| stored.entry.is_some()),
        };
        let (at, policy) = (self.cache.clock.now(), &self.shared.policy);
        self.invalidate(name, &Void::Expired, || {
            let held = self.held(name);
            if let Some(entry) = &held {
                let expired = Arc::new(entry.expired_at(at, policy));
                self.cache.memory.insert(&self.key(name), expired);
            }
            let expiry = Expiry { at, schema: self.shared.schema, policy: Arc::clone(policy) };
            self.write_behind(name, Change::Expire(expiry));
            match stored {
                _ if held.is_some() => WasThere::Yes,
                Ok(true) => WasThere::Yes,
                Ok(false) => WasThere::No,
                Err(why) => WasThere::Unknown(self.cause(why)),
            }
        })
    }

    /// Expires or removes what the store holds for `name`, and what memory has of it, unless it was loaded or put after `at`.
    pub(crate) fn change_late(&self, name: &str, mode: Mode, at: Timestamp) {
        let policy = &self.shared.policy;
        self.invalidate(name, &Void::of(mode, at), || {
            let is_older = |held: &Arc<Entry>| self.began_at(held) <= self.present_of(at, at);
            if let Some(held) = self.held(name).filter(is_older) {
                match mode {
                    Mode::Expire => {
                        let expired = Arc::new(held.expired_at(at, policy));
                        self.cache.memory.insert(&self.key(name), expired);
                    }
                    Mode::Remove => _ = self.cache.memory.remove(&self.key(name)),
                }
            }
            let change = match mode {
                Mode::Expire => Change::Expire(Expiry { at, schema: self.shared.schema, policy: Arc::clone(policy) }),
                Mode::Remove => Change::Remove(Removal::at(at, true).late()),
            };
            if let Some(tier) = &self.cache.store {
                tier.behind.enqueue_late(self.store_key(name), change, at);
            }
        });
    }

    /// Removes `name` from every tier, but for what was loaded or put after `at`. Says whether memory held anything older.
    pub(crate) fn remove_as_of(&self, name: &str, at: Timestamp) -> bool {
        self.invalidate(name, &Void::Removed(at), || {
            let is_older = self.held(name).is_some_and(|held| held.fetch_started_at <= at);
            if is_older {
                self.cache.memory.remove(&self.key(name));
            }
            if let Some(tier) = &self.cache.store {
                tier.behind.enqueue_late(self.store_key(name), Change::Remove(Removal::at(at, true)), at);
            }
            is_older
        })
    }

    /// Waits for room to write a body of this many bytes behind.
    async fn room(&self, bytes: usize) -> Option<Room> {
        let tier = self.cache.store.as_ref()?;
        Some(tier.behind.room(bytes as u64).await)
    }

    /// Removes `name` from every tier, the last good answer included. Says whether memory held it.
    pub async fn remove(&self, name: &str) -> bool {
        let at = self.cache.clock.now();
        self.invalidate(name, &Void::Removed(at), || {
            self.write_behind(name, Change::Remove(Removal::at(at, true)));
            self.cache.memory.remove(&self.key(name))
        })
    }

    /// Removes every key of the region from every tier, last good answers included, and says how many memory held.
    /// The store is cleared behind; until it is, what it holds from before is not believed.
    pub async fn clear(&self) -> u64 {
        let at = self.cache.clock.now();
        self.shared.cleared_at.fetch_max(at.as_millis(), Ordering::Relaxed);
        self.cache.flights.invalidate_where(&Void::Removed(at), |key| key.region == self.shared.id);
        let removed = self.cache.memory.remove_where(|key| key.region == self.shared.id);
        self.cache.backoffs.retain(|key, _| key.region != self.shared.id);
        if let Some(tier) = &self.cache.store {
            tier.behind.clear(&self.shared.prefix, true);
        }
        removed
    }

    /// Removes every key that begins with `prefix` from every tier, last good answers included, and says how many
    /// memory held. Loads of such keys under way write nothing. The store is cleared behind; until it is, it is not
    /// asked for such keys.
    ///
    /// The prefix must end with a colon; one that does not matches nothing.
    pub async fn remove_prefix(&self, prefix: &str) -> u64 {
        if !prefix.ends_with(':') {
            return 0;
        }
        let doomed = |key: &KeyRef<'_>| key.region == self.shared.id && key.name.starts_with(prefix);
        let behind = self.cache.store.as_ref().map(|tier| (&tier.behind, self.store_key(prefix)));
        // Before the flights are detached: a later one must not find the entry that is to be removed in the store.
        behind.iter().for_each(|(behind, prefix)| behind.announce_clear(prefix));
        self.cache.flights.invalidate_where(&Void::Removed(self.cache.clock.now()), doomed);
        let removed = self.cache.memory.remove_where(doomed);
        self.cache.backoffs.retain(|key, _| !doomed(&key.borrowed()));
        behind.iter().for_each(|(behind, prefix)| behind.clear(prefix, true));
        removed
    }

    /// Detaches the load under way and its backoff, and changes memory before any later load can begin.
    pub(crate) fn invalidate<T>(&self, name: &str, void: &Void, change: impl FnOnce() -> T) -> T {
        let key = Key::new(self.shared.id, name);
        self.cache.flights.invalidate(&key, void, || {
            self.cache.backoffs.remove(&key);
            change()
        })
    }

    /// Whether something that was put, expired or removed here waits to be written to the store.
    pub fn is_waiting(&self, name: &str) -> bool {
        self.cache.store.as_ref().is_some_and(|tier| tier.behind.has(&self.store_key(name)))
    }

    #[inline]
    pub(crate) fn key<'a>(&self, name: &'a str) -> KeyRef<'a> {
        KeyRef { region: self.shared.id, name }
    }

    #[inline]
    pub(crate) fn held(&self, name: &str) -> Option<Arc<Entry>> {
        self.cache.memory.get(&self.key(name))
    }

    /// How good an entry of memory is, by its times and by what was heard of other processes.
    pub(crate) fn freshness(&self, entry: &Entry, at: Timestamp) -> Freshness {
        judged(entry, at, self.cache.verification.standing(entry, at))
    }

    pub(crate) fn answer(&self, entry: Arc<Entry>, outcome: Outcome, at: Timestamp) -> Answer {
        let standing = self.cache.verification.standing(&entry, at);
        Answer::new(entry, outcome, at, standing)
    }

    /// The entry of an answer whose load began at `started`, ending its freshness at a point within the jitter.
    pub(crate) fn entry(&self, name: &str, mut loaded: Loaded, started: Timestamp, now: Timestamp) -> Entry {
        // What was worked out of the body already may share it, so that a copy would add to it.
        if loaded.memoised.is_none() {
            loaded.value.body = compact(loaded.value.body);
        }
        let spread = (self.cache.random.hash_one((name, now)) >> 11) as f64 / (1u64 << 53) as f64;
        let started = loaded.asked_at.map_or(started, |asked_at| asked_at.clamp(started.min(now), now));
        let (started, since) = loaded.as_of.map_or((started, now), |as_of| (as_of.min(now), as_of.min(now)));
        let times = self.shared.policy.times(since, loaded.fresh_for, loaded.ttl, spread);
        let stored_at = match loaded.persist {
            Persist::Always => now,
            Persist::Never => Timestamp::EPOCH,
            Persist::Every(pause) => {
                let earlier = self.held(name).map(|held| held.stored_at());
                earlier.filter(|earlier| now.since(*earlier) < pause).unwrap_or(now)
            }
        };
        let mut entry = Entry::new(loaded, started, now, times);
        entry.note_stored_at(stored_at);
        entry
    }

    /// Puts what a load brought into memory and, where it has the right to that, behind into the store. Call it only where
    /// no invalidation can come between.
    pub(crate) fn keep(&self, name: &str, entry: Arc<Entry>, right: &Right) {
        match right {
            Right::Unfenced => {
                if let Some(tier) = self.cache.store.as_ref().filter(|_| entry.stored_at() == entry.written_at) {
                    tier.behind.dropped.fetch_add(1, Ordering::Relaxed);
                }
                self.cache.memory.insert(&self.key(name), entry);
            }
            Right::Alone | Right::Leased(_) => self.keep_with(name, entry, false, None, right.lease()),
        }
    }

    /// Puts an entry into memory and, behind, into the store, with the room that was waited for.
    fn keep_with(
        &self,
        name: &str,
        entry: Arc<Entry>,
        replaces: bool,
        room: Option<&Room>,
        lease: Option<&Arc<Lease>>,
    ) {
        self.cache.memory.insert(&self.key(name), Arc::clone(&entry));
        if !tags::are_storable(entry.tags()) {
            return self.write_behind(name, Change::Remove(Removal::at(self.cache.clock.now(), true)));
        }
        if entry.stored_at() != entry.written_at && !replaces {
            return;
        }
        let form = Form { schema: self.shared.schema, compress_over: self.shared.policy.compress_over };
        let has_room = room.is_some_and(Room::is_there);
        self.write_behind(
            name,
            Change::Put(Fill {
                entry,
                form,
                has_room,
                replaces,
                is_late: false,
                failed_at: None,
                expiry: None,
                lease: lease.map(Arc::clone),
            }),
        );
    }

    fn write_behind(&self, name: &str, change: Change) {
        if let Some(tier) = &self.cache.store {
            tier.behind.enqueue(self.store_key(name), change);
        }
    }

    pub(crate) fn store_key(&self, name: &str) -> String {
        [&self.shared.prefix, name].concat()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
