//! A thousand candles: what they take in memory and in Redis, and how fast they are read, next to the layouts that
//! other programs keep them in. Prints one table; `cargo bench -p lastgood-benches --bench candles`.
//!
//! Without a redis-server the rows that need one are left out.
//!
//! `candles --bench counted` writes a thousand candles twenty times, and reads them into a process that has just started, in one
//! thread, to be counted under callgrind, the reads by `reads_counted`:
//!
//! ```sh
//! cargo bench -p lastgood-benches --bench candles --no-run
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect=candles::writes_counted target/release/deps/candles-* --bench counted
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that times and prints"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::store::{Guard, RedisOptions, RedisStore, Store};
use lastgood::{Cache, Clock, Error, Loaded, Policy, Reason, Value};
use lastgood_benches::resident;
use lastgood_market::UpstreamRequest;
use lastgood_market::candles::{Candles, Exchange, Question};
use lastgood_market::{Identities, Plan, Preset, Priority, Received, RegionName, Request, Venue, plan};
use lastgood_testing::RedisServer;
use tokio::runtime::Runtime;

const MINUTE: u64 = 60_000;
const CANDLES: u64 = 1_000;
/// Series that are kept to see what memory they take.
const SERIES: u64 = 300;

/// An exchange with the minutes until now, written as the real one writes them. Its answer is there before it is asked.
struct Minutes {
    body: Option<Bytes>,
}

fn rows() -> Vec<String> {
    let newest = Clock::system().now().as_millis() / MINUTE;
    (newest + 1 - CANDLES..=newest).map(row).collect()
}

fn body() -> Bytes {
    format!("[{}]", rows().join(",")).into()
}

fn row(minute: u64) -> String {
    let (open, noise) = (minute * MINUTE, minute.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
    let price = |salt: u64| format!("{}.{:02}000000", 97_000 + (noise + salt) % 900, (noise * 7 + salt) % 100);
    let amount = |salt: u64| format!("{}.{:08}", (noise + salt) % 40, (noise * 104_729 + salt * 7_919) % 100_000_000);
    let turnover = |salt: u64| format!("{}{}", (noise + salt) % 900_000, amount(salt));
    format!(
        r#"[{open},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]"#,
        price(1),
        price(2),
        price(3),
        price(4),
        amount(5),
        open + MINUTE - 1,
        turnover(6),
        noise % 5_000,
        amount(7),
        turnover(8)
    )
}

#[async_trait]
impl Exchange for Minutes {
    async fn receive(&self, _: UpstreamRequest, _: Priority) -> Result<Received, Error> {
        let unreachable = || Error::new(Reason::Unreachable, "not asked here");
        let body = self.body.clone().ok_or_else(unreachable)?;
        Ok(Received { value: Value::new(body), asked_at: Clock::system().now() })
    }

    fn forming_fresh_for(&self, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

fn question(query: &str) -> Arc<Question> {
    question_of("BTCUSDT", query)
}

fn question_of(symbol: &str, query: &str) -> Arc<Question> {
    let query = format!("symbol={symbol}&interval=1m&{query}");
    let request = Request { is_get: true, path: "/api/v3/klines", query: &query, ..Request::default() };
    match plan(&Identities::public(), Venue::Spot, request) {
        Plan::Candles(question) => question,
        other => unreachable!("{other:?}"),
    }
}

fn candles(store: Option<&Arc<dyn Store>>, is_there: bool) -> (Cache, Candles) {
    let clock = Clock::system();
    let patient = Guard { budget: Duration::from_secs(1), ..Guard::default() };
    let mut builder = Cache::builder().clock(clock.clone()).guard(patient);
    if let Some(store) = store {
        builder = builder.store(Arc::clone(store));
    }
    let cache = builder.build().unwrap();
    let region = cache.region("klines", RegionName::Klines.policy(Preset::Trading)).unwrap();
    let candles = Candles::new(region, store.is_some(), clock.clone(), Arc::new(Minutes { body: is_there.then(body) }));
    (cache, candles)
}

/// The median of this many runs.
async fn median<F: Future>(runs: usize, mut run: impl FnMut() -> F) -> Duration {
    let timed = || {
        let running = run();
        async {
            let began = Instant::now();
            std::hint::black_box(running.await);
            began.elapsed()
        }
    };
    median_of(runs, timed).await
}

/// The median of the times that this many runs report.
async fn median_of<F: Future<Output = Duration>>(runs: usize, mut run: impl FnMut() -> F) -> Duration {
    let mut took = Vec::with_capacity(runs);
    for _ in 0..runs {
        took.push(run().await);
    }
    took.sort_unstable();
    took[runs / 2]
}

fn line(layout: &str, write: &str, read: &str, last: &str, bytes: &str) {
    println!("{layout:<52} {write:>10} {read:>12} {last:>10} {bytes:>10}");
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_nanos() as f64 / 1_000.0)
}

async fn in_memory() {
    let (cache, candles) = candles(None, true);
    let newest = question("limit=1000");
    candles.answer(&newest).await.unwrap();
    let body = body();
    let read = median(20_000, || candles.answer(&newest)).await;
    let last = question("limit=1");
    let read_last = median(20_000, || candles.answer(&last)).await;
    line("lastgood, memory: newest 1000 / newest 1", "", &micros(read), &micros(read_last), "");
    let now = Clock::system().now().as_millis();
    let slice = question(&format!("startTime={}&endTime={}&limit=1000", now - 900 * MINUTE, now - 100 * MINUTE));
    candles.answer(&slice).await.unwrap();
    let sliced = median(20_000, || candles.answer(&slice)).await;
    line("lastgood, memory: 800 from an arbitrary offset", "", &micros(sliced), "", "");
    let whole = cache.region("whole", Policy::fresh_for(Duration::from_secs(3_600))).unwrap();
    whole.put("body", Loaded::from(body.clone())).await;
    let hit = median(20_000, || whole.get_or_load("body", || async { unreachable!("it is there") })).await;
    line("a whole body by its URL, memory", "", &micros(hit), "", &body.len().to_string());
}

/// What a candle takes of the process, everything that is kept of its series included.
async fn resident_bytes() {
    let (_cache, candles) = candles(None, true);
    let answer = async |number: u64| {
        let newest = question_of(&format!("SYMBOL{number}USDT"), "limit=1000");
        candles.answer(&newest).await.unwrap();
    };
    answer(0).await;
    let before = resident();
    for number in 1..=SERIES {
        answer(number).await;
    }
    let (taken, text) = ((resident() - before) / SERIES / CANDLES, body().len() as u64 / CANDLES);
    println!("{:>78} bytes of the process a candle of {text} bytes of text", taken);
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The bytes that Redis has for the keys of a pattern.
fn used(server: &RedisServer, pattern: &str) -> String {
    let keys = server.command(&["KEYS", pattern]);
    let keys = keys.lines().filter(|key| !key.starts_with(['*', '$']));
    let bytes = |key| server.command(&["MEMORY", "USAGE", key]).trim().trim_start_matches(':').parse::<u64>().ok();
    keys.filter_map(bytes).sum::<u64>().to_string()
}

async fn in_redis(server: &RedisServer) {
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).unwrap()));
    while store.probe().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    blocks_in_redis(server, &store).await;
    one_text_in_redis(server, &*store).await;
    a_key_a_bar_in_redis(server, &*store).await;
}

/// How long it takes to read a value of 150 bytes that was just written.
async fn bare_read(store: &Arc<dyn Store>) -> Duration {
    store.put("bare", Bytes::from(vec![b'x'; 150]), YEAR).await.unwrap();
    let began = Instant::now();
    std::hint::black_box(store.get("bare").await.unwrap());
    began.elapsed()
}

/// As lastgood keeps them, read by a cache that has just been started.
async fn blocks_in_redis(server: &RedisServer, store: &Arc<dyn Store>) {
    let newest = question("limit=1000");
    let other = question_of("ETHUSDT", "limit=1000");
    let bare = std::sync::Mutex::new(Vec::new());
    let write = median_of(100, || async {
        server.command(&["FLUSHALL"]);
        let (cache, candles) = candles(Some(store), true);
        // A process asks for the time by Redis' clock, and begins to hear of invalidations, once.
        candles.answer(&other).await.unwrap();
        assert!(cache.sync(Duration::from_secs(5)).await);
        let took = bare_read(store).await;
        bare.lock().unwrap().push(took);
        let began = Instant::now();
        candles.answer(&newest).await.unwrap();
        assert!(cache.sync(Duration::from_secs(5)).await);
        began.elapsed()
    });
    let write = write.await;
    let mut bare = bare.into_inner().unwrap();
    bare.sort_unstable();
    line("a bare read of 150 bytes, between the writes", "", &micros(bare[bare.len() / 2]), "", "");
    let cold = async |question: &Arc<Question>| {
        let (_cache, candles) = candles(Some(store), false);
        assert!(candles.answer(&other).await.is_ok(), "it is stored");
        let began = Instant::now();
        std::hint::black_box(candles.answer(question).await.unwrap());
        began.elapsed()
    };
    let read = median_of(300, || cold(&newest)).await;
    let last = question("limit=1");
    let last = median_of(300, || cold(&last)).await;
    let layout = "lastgood, Redis, cold cache (packed blocks of 256)";
    line(layout, &micros(write), &micros(read), &micros(last), &used(server, "*klines*BTCUSDT*"));
}

async fn one_text_in_redis(server: &RedisServer, store: &dyn Store) {
    let body = body();
    let write = median(300, || store.put("blob", body.clone(), YEAR)).await;
    let read = median(300, || store.get("blob")).await;
    line("one JSON text, Redis", &micros(write), &micros(read), &micros(read), &used(server, "blob"));
}

async fn a_key_a_bar_in_redis(server: &RedisServer, store: &dyn Store) {
    let keys: Vec<String> = (0..CANDLES).map(|bar| format!("bar:{bar}")).collect();
    let rows = rows();
    let write = median(5, || async {
        for (key, row) in keys.iter().zip(&rows) {
            store.put(key, Bytes::from(row.clone()), YEAR).await.unwrap();
        }
    });
    let write = write.await;
    let read = median(100, || store.get_many(&keys)).await;
    let last = median(300, || store.get(&keys[999])).await;
    let layout = "a key a bar, MGET of known keys, Redis";
    line(layout, &micros(write), &micros(read), &micros(last), &used(server, "bar:*"));
}

fn main() {
    // `cargo test` runs benches too, to see that they work; it passes no `--bench`.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    match (has("--bench"), has("counted")) {
        (true, false) => timed(),
        (true, true) => counted(),
        (false, _) => {}
    }
}

/// Runs in a task of its own, as the handlers of requests do: where no other task works, a thread that only waits for a
/// task is woken late.
#[tokio::main]
async fn timed() {
    tokio::spawn(print()).await.unwrap();
}

const COUNTED: usize = 20;

fn counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let entered = runtime.enter();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).unwrap()));
    drop(entered);
    let cold = |is_there: bool| {
        let started = runtime.block_on(async {
            while store.probe().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            candles(Some(&store), is_there)
        });
        writes(&runtime, &started.0, &started.1, &[question("limit=1000")]);
        started
    };
    let questions = (0..COUNTED).map(|number| question_of(&format!("SYMBOL{number}USDT"), "limit=1000"));
    let questions: Vec<_> = questions.collect();
    let (cache, candles) = cold(true);
    writes_counted(&runtime, &cache, &candles, &questions);
    let (_cache, candles) = cold(false);
    reads_counted(&runtime, &candles, &questions);
}

#[inline(never)]
fn reads_counted(runtime: &Runtime, candles: &Candles, questions: &[Arc<Question>]) {
    runtime.block_on(async {
        for question in questions {
            candles.answer(question).await.unwrap();
        }
    });
}

#[inline(never)]
fn writes_counted(runtime: &Runtime, cache: &Cache, candles: &Candles, questions: &[Arc<Question>]) {
    writes(runtime, cache, candles, questions);
}

/// Asks for all, and waits until what came is written.
fn writes(runtime: &Runtime, cache: &Cache, candles: &Candles, questions: &[Arc<Question>]) {
    runtime.block_on(async {
        for question in questions {
            candles.answer(question).await.unwrap();
            assert!(cache.sync(Duration::from_secs(5)).await);
        }
    });
}

async fn print() {
    println!("medians in µs; 1000 candles\n");
    line("layout", "write", "read 1000", "last", "bytes");
    in_memory().await;
    resident_bytes().await;
    if std::process::Command::new("redis-server").arg("--version").output().is_ok() {
        in_redis(&RedisServer::start()).await;
    }
}
