//! What a cache is made of.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quick_cache::sync::Cache as QuickCache;

use crate::cache::{Cache, check_name};
use crate::clock::Clock;
use crate::error::BuildError;
use crate::flight::Flights;
use crate::given::Given;
use crate::invalidation::Selectors;
use crate::lease::Leases;
use crate::memory::Memory;
use crate::notice::watch_the_store;
use crate::publisher::Publisher;
use crate::shared::{BACKOFF_BYTES, BACKOFFS, BySize, Shared, Tier};
use crate::store::{Guard, GuardedStore, Store};
use crate::subscriber::listen_to_others;
use crate::tags::Tags;
use crate::verification::{Pace, Verification};
use crate::write_behind::{Journal, MAX_WAITING_BYTES, WriteBehind};

/// What the rows of changes without a body may take in their file, besides the bodies that may wait.
const ROWS: u64 = 64 << 20;

impl Cache {
    /// A builder with every default.
    pub fn builder() -> CacheBuilder {
        CacheBuilder {
            memory_limit: 256 << 20,
            namespace: "lastgood".to_owned(),
            store: None,
            guard: Guard::default(),
            trust_for: None,
            clock: Clock::system(),
            selectors: None,
            leases: true,
            pending_file: None,
        }
    }
}

/// Collects what a [`Cache`] is made of.
pub struct CacheBuilder {
    memory_limit: u64,
    namespace: String,
    store: Option<Arc<dyn Store>>,
    guard: Guard,
    trust_for: Option<Duration>,
    clock: Clock,
    selectors: Option<Selectors>,
    leases: bool,
    pending_file: Option<PathBuf>,
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, namespace) = (self.memory_limit, &self.namespace);
        let f = &mut f.debug_struct("CacheBuilder");
        f.field("memory_limit", &limit)
            .field("namespace", namespace)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

impl CacheBuilder {
    /// The most bytes of memory that the cache may take, from 1 MiB: entries with their keys, their memoised values and
    /// bookkeeping get three quarters of it. Defaults to 256 MiB because that holds all candles a bot of
    /// a hundred pairs asks for, and fits the smallest rented machine.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The prefix of every key in the store. Defaults to `lastgood`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The tier below memory. It is put behind a guard; see [`CacheBuilder::guard`]. Defaults to none.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The deadline and breaker around the store. Defaults to [`Guard::default`].
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// How long memory is believed while the other processes' invalidations cannot be read from the store's log, from
    /// half a second. Entries held for longer are revalidated before they are served, or served as last good. Defaults
    /// to what the store says ([`Log::trust_for`](crate::store::Log::trust_for)): 2 s for a Redis, 60 s where commands
    /// are billed. From about half of it on [`Answer::is_unverified`](crate::Answer::is_unverified) says so. The log is asked
    /// six times in it.
    #[must_use]
    pub fn trust_for(mut self, unnoticed: Duration) -> Self {
        self.trust_for = Some(unnoticed);
        self
    }

    /// Whether the processes on one store load a key one at a time: a load waits for another process's load of the same key
    /// and takes its answer. It costs a load two commands more, and a read that the tiers answer none. Without it
    /// each process loads for itself; what overtook a load still keeps its answer out of the store. Defaults to true,
    /// because sources are slower and scarcer than stores.
    #[must_use]
    pub fn leases(mut self, are_on: bool) -> Self {
        self.leases = are_on;
        self
    }

    /// How the text of a [`Selector::Text`](crate::Selector::Text) is understood: which keys it names, by the names of
    /// their regions and themselves; `None` for a text that means nothing. Every process on one store needs the same, since
    /// they tell each other these texts. Defaults to none.
    #[must_use]
    pub fn selectors(mut self, selectors: Selectors) -> Self {
        self.selectors = Some(selectors);
        self
    }

    /// A file for the changes that the store has not taken, so that they outlive the process: puts without a source to
    /// come back from, removals, expiries, clears, bulk invalidations by selector and marks of tags. They are on disk before
    /// [`Cache::confirmed`] says so ([`Unconfirmed::is_on_disk`](crate::Unconfirmed)), are taken up by the next process
    /// with the same store, namespace and file, and are written once the store takes them. While the store takes
    /// everything, the file is not written.
    ///
    /// The file and its directory are made for their owner alone. It belongs to one process; while another has it, or the
    /// disk fails, changes wait in memory alone, and [`StoreStatus::pending_trouble`](crate::StoreStatus)
    /// says why. A damaged file is set aside. Defaults to none: waiting changes are lost when the process ends. Feature
    /// `embedded`.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn pending_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.pending_file = Some(path.into());
        self
    }

    /// Where time comes from. Defaults to the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the cache. Where several processes share the store, it has to happen inside a tokio runtime: there the task
    /// runs that hears of their invalidations. With a [`CacheBuilder::pending_file`] it blocks while that is read, usually
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// When the memory limit is under 1 MiB, or the namespace is empty or holds anything but letters, digits, `-`,
    /// `_` and `.`.
    pub fn build(self) -> Result<Cache, BuildError> {
        if self.memory_limit < 1 << 20 {
            return Err(BuildError(format!("memory limit is {} bytes, but must be at least 1 MiB", self.memory_limit)));
        }
        check_name("namespace", &self.namespace)?;
        let random = RandomState::new();
        let node = random.hash_one("node");
        let publisher = Arc::new(Publisher::new(&self.namespace, node));
        // A quarter is left for the rest: changes that wait for the store, remembered failures, and memory
        // that was freed in pieces too small for what comes next.
        let entries = self.memory_limit / 4 * 3;
        let most_waiting = (self.memory_limit / 8).min(MAX_WAITING_BYTES);
        let store = self.store.map(|store| {
            let store = GuardedStore::with_clock(store, self.guard, self.clock.clone());
            let journal = self.pending_file.map(|path| {
                Journal::new(path, self.clock.clone(), &store.to_string(), &self.namespace, most_waiting + ROWS)
            });
            let (clock, publisher) = (self.clock.clone(), Arc::clone(&publisher));
            let behind = WriteBehind::new(Arc::clone(&store), clock, publisher, most_waiting, journal);
            Tier { store, behind }
        });
        let pace = store.as_ref().and_then(|tier| tier.store.log()).map(|log| {
            let trust_for = self.trust_for.unwrap_or_else(|| log.trust_for());
            Pace::of(trust_for)
        });
        let verification =
            pace.map_or_else(Verification::without_a_log, |pace| Verification::since(self.clock.now(), pace));
        let shared = Shared {
            clock: self.clock,
            memory: Memory::new(entries),
            flights: Flights::new(),
            store,
            backoffs: QuickCache::with_weighter(BACKOFFS, BACKOFF_BYTES.min(self.memory_limit / 16), BySize),
            given: Given::within(self.memory_limit / 64),
            enabled: AtomicBool::new(true),
            random,
            tags: Tags::new(&self.namespace),
            leases: Leases::new(&self.namespace, node, self.leases),
            verification,
            publisher,
            listener: OnceLock::new(),
            watcher: OnceLock::new(),
            namespace: self.namespace,
            regions: Mutex::default(),
            selectors: self.selectors,
            owed_bulk: AtomicUsize::new(0),
            owed: Mutex::default(),
            heard_before: Mutex::default(),
        };
        let shared = Arc::new(shared);
        shared.take_up();
        if let Some(listener) = pace.and_then(|pace| listen_to_others(&shared, pace)) {
            _ = shared.listener.set(listener);
        }
        if let Some(watcher) = watch_the_store(&shared) {
            _ = shared.watcher.set(watcher);
        }
        Ok(Cache { shared })
    }
}
