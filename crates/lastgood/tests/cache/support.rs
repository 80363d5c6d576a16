//! A scripted source, and caches to try it with.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::store::{Cursor, Guard, MemoryStore, Page, Store, StoreError, Usage};
use lastgood::testing::FaultyStore;
use lastgood::{Answer, Cache, Clock, Error, LoadError, Loaded, Policy, Reason, Region};
use tokio::sync::watch;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A source that counts its loads, fails and pauses on command.
#[derive(Clone)]
pub(crate) struct Source(Arc<Script>);

struct Script {
    answer: Mutex<Result<Loaded, Error>>,
    tags: Mutex<Vec<String>>,
    loads: AtomicU64,
    open: watch::Sender<bool>,
}

impl Source {
    pub(crate) fn answering(body: &str) -> Self {
        let (open, _) = watch::channel(true);
        Source(Arc::new(Script {
            answer: Mutex::new(Ok(loaded(body))),
            tags: Mutex::default(),
            loads: AtomicU64::new(0),
            open,
        }))
    }

    pub(crate) fn failing(reason: Reason) -> Self {
        let source = Self::answering("");
        source.fail(reason);
        source
    }

    pub(crate) fn set(&self, body: &str) {
        self.answer(Ok(loaded(body)));
    }

    pub(crate) fn fail(&self, reason: Reason) {
        self.answer(Err(Error::new(reason, "injected")));
    }

    pub(crate) fn answer(&self, answer: Result<Loaded, Error>) {
        *self.0.answer.lock().expect("no test panics with this lock") = answer;
    }

    /// From now on answers have this tag.
    pub(crate) fn tag(&self, tag: &str) {
        *self.0.tags.lock().expect("no test panics with this lock") = vec![tag.to_owned()];
    }

    /// Loads that begin from now on read their answer and pause, until [`Source::resume`].
    pub(crate) fn pause(&self) {
        self.0.open.send_replace(false);
    }

    pub(crate) fn resume(&self) {
        self.0.open.send_replace(true);
    }

    pub(crate) fn loads(&self) -> u64 {
        self.0.loads.load(Ordering::SeqCst)
    }

    pub(crate) fn load(&self) -> impl Future<Output = Result<Loaded, LoadError>> + Send + 'static + use<> {
        let script = Arc::clone(&self.0);
        async move {
            script.loads.fetch_add(1, Ordering::SeqCst);
            let mut answer = script.answer.lock().expect("no test panics with this lock").clone();
            if let Ok(loaded) = &mut answer {
                loaded.tags.clone_from(&script.tags.lock().expect("no test panics with this lock"));
            }
            let mut open = script.open.subscribe();
            open.wait_for(|open| *open).await.expect("the script outlives its loads");
            Ok(answer?)
        }
    }

    pub(crate) async fn read(&self, region: &Region, name: &str) -> Result<Answer, Error> {
        let source = self.clone();
        region.get_or_load(name, move || source.load()).await
    }
}

pub(crate) fn loaded(body: &str) -> Loaded {
    Loaded::from(Bytes::copy_from_slice(body.as_bytes()))
}

/// The answer's body and where it came from, or the reason that there is none.
pub(crate) fn summary(answer: Result<Answer, Error>) -> Result<(String, &'static str), Reason> {
    answer.map(|answer| (text(&answer), answer.outcome().as_x_cache())).map_err(|error| error.reason)
}

/// What [`summary`] says of an answer.
pub(crate) fn good(body: &str, x_cache: &'static str) -> Result<(String, &'static str), Reason> {
    Ok((body.to_owned(), x_cache))
}

pub(crate) fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body().to_vec()).expect("tests cache text")
}

pub(crate) fn peeked(region: &Region, name: &str) -> Option<String> {
    region.peek(name).as_ref().map(text)
}

/// Fresh for a minute to the millisecond, kept for a day.
pub(crate) fn a_minute() -> Policy {
    Policy { jitter: 0.0, ..Policy::fresh_for(MINUTE) }
}

pub(crate) fn region(cache: &Cache, policy: Policy) -> Region {
    cache.region("prices", policy).expect("the policy is sound")
}

/// A cache without a store.
pub(crate) fn memory_only() -> Cache {
    Cache::builder().clock(Clock::paused_with_tokio()).build().expect("the defaults are sound")
}

/// A cache over a store in memory that misbehaves on command.
pub(crate) struct Stored {
    pub(crate) cache: Cache,
    pub(crate) faulty: Arc<FaultyStore>,
    pub(crate) memory: MemoryStore,
    pub(crate) clock: Clock,
}

impl Stored {
    pub(crate) fn new() -> Self {
        let clock = Clock::paused_with_tokio();
        let memory = MemoryStore::new(clock.clone(), 256 << 20);
        let faulty = FaultyStore::new(Arc::new(memory.clone()));
        let cache = over(Arc::clone(&faulty) as _, &clock);
        Stored { cache, faulty, memory, clock }
    }

    /// The cache of the same program started again: nothing in memory, the same store, which works.
    pub(crate) fn restarted(&self) -> Cache {
        over(Arc::new(self.memory.clone()), &self.clock)
    }

    /// Waits until the store has, or has refused, all that was written.
    pub(crate) async fn flush(&self) {
        assert!(self.cache.sync(MINUTE).await, "the queue never drained");
    }

    /// The keys of the store.
    pub(crate) async fn keys(&self) -> Vec<String> {
        self.memory.list("", None, 1_000_000).await.expect("a store in memory answers").keys
    }
}

/// Its selectors are what names begin with, in capital letters.
pub(crate) fn over(store: Arc<dyn Store>, clock: &Clock) -> Cache {
    let selectors = |selector: &str| {
        let meant = selector.to_owned();
        let matches: lastgood::Matches = Arc::new(move |_: &str, name: &str| name.starts_with(&meant));
        selector.chars().all(|c| c.is_ascii_uppercase()).then_some(matches)
    };
    let builder = Cache::builder().store(store).clock(clock.clone()).selectors(Arc::new(selectors));
    builder.build().expect("the defaults are sound")
}

/// A cache whose store may take as long as it likes, for tests in which it answers on command.
pub(crate) fn patiently_over(store: Arc<dyn Store>, clock: &Clock) -> Cache {
    let guard = Guard { budget: HOUR, write_budget: HOUR, ..Guard::default() };
    Cache::builder().store(store).clock(clock.clone()).guard(guard).build().expect("the defaults are sound")
}

/// Lets every task that can run go on until it waits for something.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A store whose reads look at once but answer late: what they found may be over when it arrives.
#[derive(Debug)]
pub(crate) struct LateStore {
    inner: Arc<dyn Store>,
    open: watch::Sender<bool>,
}

impl LateStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(LateStore { inner, open: watch::Sender::new(true) })
    }

    pub(crate) fn hold_answers(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn let_answers_go(&self) {
        self.open.send_replace(true);
    }

    async fn late<T>(&self, work: impl Future<Output = T>) -> T {
        let found = work.await;
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the store outlives its calls");
        found
    }
}

#[async_trait]
impl Store for LateStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.late(self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.late(self.inner.get_many(keys)).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.inner.put(key, value, ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.inner.remove(keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.list(prefix, cursor, limit).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.inner.probe().await
    }
}

impl std::fmt::Display for LateStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LateStore({})", self.inner)
    }
}
