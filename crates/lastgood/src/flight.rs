//! Single flight: one load of a key at a time in this process, whatever becomes of those who wait for it.
//!
//! The load runs in a task of its own, so that no caller has to live as long as it does: any of them may be
//! dropped. What the task holds is a [`LeaderGuard`], whose drop releases the waiters even when the load panics.
//!
//! An invalidation *detaches* the flight: later reads begin a new one, and the detached one can no longer write. That
//! check and the write to memory happen under the same lock as the invalidation's, so no order of the two resurrects.
//! A detached flight remembers what came over it, because its callers are answered all the same: see `given.rs`.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use quick_cache::DefaultHashBuilder;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::entry::Entry;
use crate::error::{Error, Reason};
use crate::memory::{Key, KeyRef};
use crate::sync::{Mutex, MutexGuard};

mod leader;
mod voids;

pub(crate) use self::leader::LeaderGuard;
pub(crate) use self::voids::{Void, Voids};

/// How a load ended: an entry and where it came from, or one error for all who waited.
pub(crate) type Completed = Result<(Arc<Entry>, Origin), Arc<Error>>;

/// Where a flight got its entry from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Memory held it after all: an earlier flight completed while this one was started.
    Memory,
    /// The store held it, fresh.
    Store,
    /// The store held it, stale; the flight goes on to refresh it.
    StaleStore,
    /// The source was asked.
    Source,
}

/// One load in progress.
pub(crate) struct Flight {
    completed: OnceLock<Completed>,
    done: Notify,
    overdue_at: Instant,
    /// Whether the flight reads the store alone: it has no waiters, and a load takes its place.
    is_look: bool,
    /// Set, under the table's lock, when the load has ended.
    ended: AtomicBool,
    /// What the store holds for bad days: memory may have no room for it.
    kept: OnceLock<Arc<Entry>>,
    /// Names that the store was asked for together with this key, and holds nothing of.
    absent: Mutex<Vec<String>>,
    /// The load that begins when this one has ended, for readers who want none that began before they asked.
    successor: OnceLock<Arc<Flight>>,
    /// Wakes the task of this flight when the one before it has ended.
    may_begin: Notify,
    /// What came over it; changed and read under the table's lock.
    voids: Mutex<Voids>,
}

impl Flight {
    fn due_by(overdue_at: Instant) -> Arc<Flight> {
        Flight::of(overdue_at, false)
    }

    fn of(overdue_at: Instant, is_look: bool) -> Arc<Flight> {
        Arc::new(Flight {
            completed: OnceLock::new(),
            done: Notify::new(),
            overdue_at,
            is_look,
            ended: AtomicBool::new(false),
            kept: OnceLock::new(),
            absent: Mutex::default(),
            successor: OnceLock::new(),
            may_begin: Notify::new(),
            voids: Mutex::default(),
        })
    }

    /// Waits for the load. Waiting past the flight's own deadline means that its task hangs in code that never
    /// yields, and ends in [`Reason::TimedOut`].
    pub(crate) async fn wait(&self) -> Completed {
        self.wait_until(self.overdue_at).await.unwrap_or_else(|| self.overdue())
    }

    /// As [`Flight::wait`]; `None` where that takes longer than until `patience` ends. One timer is for both.
    pub(crate) async fn wait_until(&self, patience: Instant) -> Option<Completed> {
        let leader = async {
            loop {
                let done = self.done.notified();
                if let Some(completed) = self.completed.get() {
                    return completed.clone();
                }
                done.await;
            }
        };
        match tokio::time::timeout_at(patience.min(self.overdue_at), leader).await {
            Ok(completed) => Some(completed),
            Err(_) => (self.overdue_at <= patience).then(|| self.overdue()),
        }
    }

    fn overdue(&self) -> Completed {
        Err(Arc::new(Error::new(Reason::TimedOut, "the load did not end within its hard timeout")))
    }

    fn absent(&self) -> MutexGuard<'_, Vec<String>> {
        self.absent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store holds for when the load fails.
    pub(crate) fn kept(&self) -> Option<Arc<Entry>> {
        self.kept.get().cloned()
    }

    /// Whether it ended by giving way.
    pub(crate) fn has_yielded(&self) -> bool {
        let completed = self.completed.get();
        completed.is_some_and(|completed| completed.as_ref().is_err_and(|error| error.reason == Reason::Yielded))
    }

    /// Whether a load is under way that others may wait for.
    fn is_joined_at(&self, now: Instant) -> bool {
        !self.is_look && self.overdue_at > now
    }

    /// Whether its load has ended; asked under the table's lock.
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn void(&self, void: &Void) {
        self.voids.lock().unwrap_or_else(PoisonError::into_inner).add(void);
    }

    fn complete(&self, completed: Completed) {
        // The first word counts: a stale answer handed out early is not taken back by what the load finds later.
        let _ = self.completed.set(completed);
        self.done.notify_waiters();
    }
}

/// The moment `wait` from now; as good as never where the policy says "as long as it takes".
pub(crate) fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(LONGEST)
}

/// As good as never.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const SHARDS: usize = 16;

/// All flights of a cache.
pub(crate) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    hasher: DefaultHashBuilder,
}

/// The flights of some keys.
#[derive(Default)]
struct Shard {
    /// Those that readers join, and that write.
    current: HashMap<Key, Arc<Flight>, DefaultHashBuilder>,
    /// Those that go on for the readers that they have.
    detached: HashMap<Key, Vec<Arc<Flight>>, DefaultHashBuilder>,
}

impl Shard {
    /// Puts `flight` in the place of another, which goes on without it.
    fn replace(&mut self, key: &Key, flight: &Arc<Flight>) {
        if let Some(before) = self.current.insert(key.clone(), Arc::clone(flight)) {
            self.detached.entry(key.clone()).or_default().push(before);
        }
    }

    fn detach(&mut self, key: &Key, void: &Void) {
        if let Some(flight) = self.current.remove(key) {
            self.detached.entry(key.clone()).or_default().push(flight);
        }
        self.detached.get(key).into_iter().flatten().for_each(|flight| flight.void(void));
    }

    fn forget_detached(&mut self, key: &Key, flight: &Arc<Flight>) {
        if let Some(detached) = self.detached.get_mut(key) {
            detached.retain(|other| !Arc::ptr_eq(other, flight));
            if detached.is_empty() {
                self.detached.remove(key);
            }
        }
    }
}

/// The place of a caller among those who want a key.
pub(crate) enum JoinOrStart {
    /// It is not being loaded yet: the holder of the leader must, or drop it.
    First(LeaderGuard),
    /// Somebody does: wait.
    Joined(Arc<Flight>),
}

/// The place of a caller who wants a load of a key that begins from now on.
pub(crate) enum Next {
    /// Nothing is under way: the holder begins the load.
    Now(LeaderGuard),
    /// A load is under way: the holder begins the next one when that has ended.
    Later(LeaderGuard, Arc<Flight>),
    /// The next load is planned already: wait for it.
    Joined(Arc<Flight>),
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Flights { shards: Default::default(), hasher: DefaultHashBuilder::default() })
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) as usize) % SHARDS;
        // A panic under this lock leaves the maps whole: only inserts and removes happen there.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of `key`, or begins one that must complete within `within`. A flight that is overdue hangs and
    /// is given up for a new one.
    pub(crate) fn join_or_start(self: &Arc<Self>, key: Key, within: Duration) -> JoinOrStart {
        let mut shard = self.shard(&key);
        if let Some(flight) = shard.current.get(&key)
            && flight.is_joined_at(Instant::now())
        {
            return JoinOrStart::Joined(Arc::clone(flight));
        }
        let flight = Flight::due_by(after(within));
        shard.replace(&key, &flight);
        drop(shard);
        JoinOrStart::First(LeaderGuard { flights: Arc::clone(self), key, flight })
    }

    /// The right to take what the store holds of `key` into memory, until a load or an invalidation comes; `None` where a
    /// load is under way, or another looks already.
    pub(crate) fn look(self: &Arc<Self>, key: Key, within: Duration) -> Option<LeaderGuard> {
        let mut shard = self.shard(&key);
        if shard.current.get(&key).is_some_and(|flight| flight.overdue_at > Instant::now()) {
            return None;
        }
        let flight = Flight::of(after(within), true);
        shard.replace(&key, &flight);
        drop(shard);
        Some(LeaderGuard { flights: Arc::clone(self), key, flight })
    }

    /// Joins the load of `key` that has not begun yet, or plans it: it begins when the one under way has ended. Never
    /// joins a load that is under way already.
    pub(crate) fn join_or_start_next(self: &Arc<Self>, key: Key, within: Duration) -> Next {
        let mut shard = self.shard(&key);
        let now = Instant::now();
        let current = shard.current.get(&key).filter(|flight| flight.is_joined_at(now)).map(Arc::clone);
        let Some(current) = current else {
            let flight = Flight::due_by(after(within));
            shard.replace(&key, &flight);
            return Next::Now(LeaderGuard { flights: Arc::clone(self), key, flight });
        };
        if let Some(planned) = current.successor.get() {
            return Next::Joined(Arc::clone(planned));
        }
        let flight = Flight::due_by(current.overdue_at + within.min(LONGEST));
        // Under the lock of the key, so nothing else has set it since.
        let _ = current.successor.set(Arc::clone(&flight));
        Next::Later(LeaderGuard { flights: Arc::clone(self), key, flight }, current)
    }

    /// Detaches the flight of `key` and runs `change` (the change to memory) before any later flight can begin.
    pub(crate) fn invalidate<T>(&self, key: &Key, void: &Void, change: impl FnOnce() -> T) -> T {
        let mut shard = self.shard(key);
        shard.detach(key, void);
        change()
    }

    /// Runs `change` (to memory) while no flight of `key` writes; one that is under way goes on.
    pub(crate) fn alone<T>(&self, key: &Key, change: impl FnOnce() -> T) -> T {
        let _shard = self.shard(key);
        change()
    }

    /// Puts `flight` in the place of `before` where that hangs there, or where an invalidation has left none: its load
    /// begins after it.
    fn take_place(&self, key: &Key, before: &Flight, flight: &Arc<Flight>) {
        let mut shard = self.shard(key);
        if shard.current.get(key).is_none_or(|current| std::ptr::eq(&raw const **current, before)) {
            shard.replace(key, flight);
        }
    }

    /// Detaches all flights of some keys.
    pub(crate) fn invalidate_where(&self, void: &Void, doomed: impl Fn(&KeyRef<'_>) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keys: Vec<Key> = shard.current.keys().chain(shard.detached.keys()).cloned().collect();
            keys.retain(|key| doomed(&key.borrowed()));
            // A key that has flights of both kinds is there twice, which changes nothing.
            keys.iter().for_each(|key| shard.detach(key, void));
        }
    }

    /// What [`LeaderGuard::note_absent`] noted of the flight of `key`.
    pub(crate) fn absent(&self, key: &Key) -> Vec<String> {
        let flight = self.shard(key).current.get(key).map(Arc::clone);
        flight.map(|flight| flight.absent().clone()).unwrap_or_default()
    }

    /// Whether a load of `key` is under way.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.shard(key).current.get(key).is_some_and(|flight| flight.is_joined_at(Instant::now()))
    }

    /// Loads under way that an invalidation has not detached.
    pub(crate) fn len(&self) -> usize {
        let loads = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.current.values().filter(|flight| !flight.is_look).count()
        };
        self.shards.iter().map(loads).sum()
    }
}
