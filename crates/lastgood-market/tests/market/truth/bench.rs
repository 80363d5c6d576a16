//! A node over a store and the simulated exchange, restarted and judged.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use lastgood::store::{Cursor, EmbeddedStore, MemoryStore, Page, RedisOptions, RedisStore, Store, StoreError, Usage};
use lastgood::{Cache, Clock, Error, Outcome, Timestamp};
use lastgood_sim::Lie;
use tokio::runtime::Runtime;

use super::exchange::{Mood, Recorded, series_of};
use super::judge::{exact, is_candles, is_page, is_part, lags_for_long, newest, plausible, refusal};
use super::reader::Reader;
use super::{BEGIN, KEPT_FOR, fresh_for};

/// What lies under memory.
pub(crate) enum Backing {
    None,
    Memory(MemoryStore),
    /// A file, opened again by each process.
    Embedded(tempfile::TempDir),
    Redis(Arc<RealTime>, String),
}

/// What was answered, and when.
struct Given {
    at: u64,
    answer: Result<(Bytes, Outcome), Error>,
}

/// The requests of one question follow each other within this many ms.
const AT_ONCE: u64 = 500;

pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(crate) exchange: Arc<Recorded>,
    backing: Backing,
    pub(crate) reader: Reader,
    /// When it began to lie; its answers since then may be believed until some time after it is well.
    ill_since: Option<u64>,
    /// When each question was answered last with something loaded just then, by this process or by one whose store it has.
    answered: HashMap<String, u64>,
    /// The newest that was answered to each question.
    newest: HashMap<String, u64>,
    /// The last answer to each question for a page of the past.
    pages: HashMap<String, Bytes>,
    pub(crate) trace: Vec<String>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let clock = Clock::paused_at(Timestamp::from_millis(BEGIN));
        let store = MemoryStore::new(clock.clone(), 64 << 20);
        Bench::over(clock, Backing::Memory(store))
    }

    pub(crate) fn at(now: u64) -> Bench {
        let clock = Clock::paused_at(Timestamp::from_millis(now));
        let store = MemoryStore::new(clock.clone(), 64 << 20);
        Bench::over(clock, Backing::Memory(store))
    }

    pub(crate) fn over(clock: Clock, backing: Backing) -> Bench {
        let exchange = Recorded::new(&clock);
        let reader = process(&backing, &exchange);
        let (answered, newest, pages) = Default::default();
        Bench { clock, exchange, backing, reader, ill_since: None, answered, newest, pages, trace: Vec::new() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    pub(crate) fn note(&mut self, what: impl fmt::Display) {
        self.trace.push(format!("{} {what}", self.now()));
    }

    pub(crate) async fn wait(&mut self, time: Duration) {
        // Answers on their way arrive before the time leaps.
        let settling = time.min(Duration::from_millis(100));
        if self.exchange.latency_ms.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(settling).await;
            tokio::time::advance(time - settling).await;
        } else {
            // So do writes on their way to the store.
            self.reader.cache.sync(Duration::from_secs(1)).await;
            tokio::time::advance(time).await;
        }
        // Abandoned loads end.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    /// The process ends as it should, and another begins with the same store.
    pub(crate) async fn restart(&mut self) {
        self.note("restart");
        self.reader.cache.sync(Duration::from_secs(60)).await;
        if let Backing::Embedded(_) = self.backing {
            let closing = self.reader.cache.close(Duration::from_secs(60));
            standing_still(closing).await.expect("the file is closed");
        }
        // The old process's file must be closed before the next opens it.
        self.reader = process(&Backing::None, &self.exchange);
        self.reader = process(&self.backing, &self.exchange);
        self.newest.clear();
        self.pages.clear();
        if let Backing::None = self.backing {
            self.answered.clear();
        }
    }

    pub(crate) fn fall_ill(&mut self, mood: Mood) {
        self.note(format!("{mood:?}"));
        self.ill_since.get_or_insert(self.now());
        self.exchange.mood(mood);
    }

    /// One answer is this lie.
    pub(crate) fn lie_once(&mut self, lie: Lie, seed: u64) {
        self.fall_ill(Mood { lies: vec![lie], one_in: 1, left: 1, seed, cap: None });
    }

    pub(crate) fn heal(&mut self) {
        self.note("well again");
        self.exchange.be_well();
    }

    /// The time goes by after which nothing wrong is believed any more.
    pub(crate) async fn convalesce(&mut self, within: Duration) {
        self.heal();
        self.wait(within).await;
        self.ill_since = None;
    }

    pub(crate) async fn ask(&mut self, target: &str) -> Result<Bytes, Error> {
        let Given { answer, .. } = self.given(target).await;
        answer.map(|(body, _)| body)
    }

    async fn given(&mut self, target: &str) -> Given {
        let answer = self.reader.ask(target).await;
        let given = Given { at: self.now(), answer };
        self.note_given(target, &given);
        given
    }

    fn note_given(&mut self, target: &str, given: &Given) {
        let what = match &given.answer {
            Ok((body, outcome)) => format!("{} bytes, {outcome:?}", body.len()),
            Err(error) => format!("{error:?}"),
        };
        self.trace.push(format!("{} {target} → {what}", given.at));
    }

    /// Asks, and judges the answer by what may be answered now.
    pub(crate) async fn judged(&mut self, target: &str) -> Result<(), String> {
        let given = self.given(target).await;
        self.judge(target, given)
    }

    /// The same of several questions that are asked at once. Each answer is judged by the time at which it was given: a hit is
    /// given before the answer that another waits for.
    pub(crate) async fn judged_together(&mut self, targets: &[String]) -> Result<(), String> {
        let answers = targets.iter().map(async |target| {
            let answer = self.reader.ask(target).await;
            Given { at: self.now(), answer }
        });
        let answers = join_all(answers).await;
        for (target, given) in targets.iter().zip(answers) {
            self.note_given(target, &given);
            self.judge(target, given)?;
        }
        Ok(())
    }

    fn judge(&mut self, target: &str, Given { at, answer }: Given) -> Result<(), String> {
        let (answer, outcome) = match answer {
            Ok(answer) => answer,
            // What the exchange refuses, it refuses.
            Err(error) if refusal(&self.exchange, target).is_some_and(|refusal| is_refusal(&error, &refusal)) => {
                return Ok(());
            }
            // Wrong again and again to one question, and only parts are kept: its own answer is passed on.
            Err(_) if self.lied_repeatedly(target, at) => return Ok(()),
            // While it is ill, an answer that is refused leaves nothing where nothing was before.
            Err(_) if self.ill_since.is_some() && !self.is_kept(target, at) => return Ok(()),
            Err(error) => return Err(format!("{target}: an error although there was an answer before: {error:?}")),
        };
        let judged = match self.ill_since {
            Some(since) => plausible(&self.exchange, target, &answer, since, at),
            None => exact(&self.exchange, target, &answer, fresh_for(target), at),
        };
        judged.map_err(|why| format!("{target} {why}"))?;
        if !self.is_kept(target, at) {
            // An answer no longer kept cannot be compared with.
            self.newest.remove(target);
            self.pages.remove(target);
        }
        let is_from_before = matches!(outcome, Outcome::LastGood(_) | Outcome::Stale);
        if is_candles(target) || !is_from_before {
            self.answered.insert(target.to_owned(), at);
        }
        self.goes_on(target, answer, at)
    }

    /// Notes an answer, and complains of one that is older than the one before it, or that only lacks rows of it.
    fn goes_on(&mut self, target: &str, answer: Bytes, at: u64) -> Result<(), String> {
        if let Some(newest) = newest(&self.exchange, target, &answer) {
            let before = self.newest.insert(target.to_owned(), newest);
            if let Some(before) = before.filter(|before| newest < *before)
                && !self.lied_repeatedly(target, at)
                && !(is_candles(target) && lags_for_long(&self.exchange, target, before, at))
            {
                return Err(format!("{target} goes back from {before} to {newest}"));
            }
        }
        if is_page(target) {
            let before = self.pages.insert(target.to_owned(), answer.clone());
            if before.is_some_and(|before| is_part(&answer, &before)) {
                return Err(format!("{target} has lost rows that were answered before, and has no other"));
            }
        }
        Ok(())
    }

    /// Whether the exchange has answered a question for candles wrongly more than once just before `at`. One wrong answer
    /// must harm no question; of several that differ the right one is unknown, and the exchange's answer to the question as it
    /// was asked is passed on.
    fn lied_repeatedly(&self, target: &str, at: u64) -> bool {
        let Some((path, query)) = target.split_once('?').filter(|_| is_candles(target)) else { return false };
        let series = series_of(path, query);
        let log = self.exchange.log.lock().unwrap();
        let recent = log.iter().rev().take_while(|answered| answered.at + AT_ONCE >= at);
        let of_series = recent.filter(|answered| answered.series == series && answered.at <= at);
        of_series.filter(|answered| answered.lie.is_some()).count() > 1
    }

    /// Whether there is a good answer from before. Anything but candles is kept from when it was loaded, however often it was
    /// served since.
    fn is_kept(&self, target: &str, at: u64) -> bool {
        let kept_since = if is_candles(target) { 0 } else { at - KEPT_FOR.as_millis() as u64 };
        self.answered.get(target).is_some_and(|answered| *answered > kept_since)
    }

    /// Asks, and demands the exchange's own answer.
    pub(crate) async fn exact(&mut self, target: &str) -> Result<(), String> {
        let Given { at, answer } = self.given(target).await;
        let (answer, _) = answer.map_err(|error| format!("{target}: {error:?}"))?;
        exact(&self.exchange, target, &answer, fresh_for(target), at).map_err(|why| format!("{target} {why}"))
    }

    /// What happened, for the report of a failure.
    pub(crate) fn story(&self) -> String {
        let log = self.exchange.log.lock().unwrap();
        let asked: Vec<String> = log.iter().map(|answered| format!("upstream {}", answered.line())).collect();
        let mut lines: Vec<&String> = self.trace.iter().chain(&asked).collect();
        let time = |line: &str| line.trim_start_matches("upstream ").split(' ').next().map(str::to_owned);
        lines.sort_by_key(|line| time(line));
        let skipped = lines.len().saturating_sub(60);
        let lines: Vec<&str> = lines[skipped..].iter().map(|line| line.as_str()).collect();
        format!("({skipped} earlier lines)\n{}", lines.join("\n"))
    }

    /// The same as an assertion.
    pub(crate) async fn is_exact(&mut self, target: &str) {
        if let Err(why) = self.exact(target).await {
            panic!("{why}\n{}", self.story());
        }
    }
}

/// Waits for something that happens in real time. Tokio moves the paused time on only when nothing runs, and what runs on
/// its threads for blocking work counts.
async fn standing_still<T>(work: impl Future<Output = T>) -> T {
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let guard = tokio::task::spawn_blocking(move || waits.recv().is_err());
    let outcome = work.await;
    drop(done);
    guard.await.expect("no panic");
    outcome
}

fn is_refusal(error: &Error, refusal: &Bytes) -> bool {
    error.answer.as_ref().is_some_and(|answer| answer.body == *refusal)
}

/// A process over a store.
fn process(backing: &Backing, exchange: &Arc<Recorded>) -> Reader {
    let clock = exchange.clock.clone();
    let builder = Cache::builder().clock(clock.clone());
    let store: Option<Arc<dyn Store>> = match backing {
        Backing::None => None,
        Backing::Memory(store) => Some(Arc::new(store.clone())),
        Backing::Embedded(folder) => {
            let path: PathBuf = folder.path().join("cache.redb");
            Some(Arc::new(EmbeddedStore::open(path, clock, 64 << 20).expect("a file").0))
        }
        Backing::Redis(store, _) => Some(Arc::clone(store) as Arc<dyn Store>),
    };
    let builder = match backing {
        Backing::Redis(_, namespace) => builder.namespace(namespace),
        _ => builder,
    };
    let has_store = store.is_some();
    let builder = match store {
        Some(store) => builder.store(store),
        None => builder,
    };
    Reader::new(builder.build().expect("a cache"), has_store, exchange)
}

/// A Redis that lives in real time. While it is asked, the paused time of the test stands still.
pub(crate) struct RealTime {
    runtime: Option<Runtime>,
    store: Arc<RedisStore>,
}

impl RealTime {
    pub(crate) fn redis(url: &str) -> RealTime {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let store = runtime.block_on(async { RedisStore::connect(RedisOptions::parse(url).expect("a URL")) });
        for _ in 0..500 {
            if runtime.block_on(store.probe()).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        RealTime { runtime: Some(runtime), store: Arc::new(store) }
    }

    async fn there<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(Arc<RedisStore>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, handle) = (Arc::clone(&self.store), self.runtime.as_ref().expect("threads").handle().clone());
        let done = tokio::task::spawn_blocking(move || handle.block_on(work(store))).await;
        done.expect("no panic in the store")
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for RealTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RealTime")
    }
}

impl fmt::Display for RealTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Redis in real time")
    }
}

#[async_trait]
impl Store for RealTime {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.there(async move |store| store.get(&key).await).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let keys = keys.to_vec();
        self.there(async move |store| store.get_many(&keys).await).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.there(async move |store| store.put(&key, value, ttl).await).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        self.there(async move |store| store.remove(&keys).await).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let prefix = prefix.to_owned();
        self.there(async move |store| store.list(&prefix, cursor, limit).await).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.there(async move |store| store.probe().await).await
    }
}
