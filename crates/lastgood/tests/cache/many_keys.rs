//! Far more keys in a real Redis than memory has room for: what lists, counts and removes them takes a bounded time and a
//! bounded part of memory, and readers of other keys notice nothing.
//!
//! `make test` runs it with two hundred thousand keys, `make ten-million-keys` with ten million.

#![expect(clippy::print_stdout, reason = "measured times are for a reader of the output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lastgood::store::{Guard, RedisOptions, RedisStore};
use lastgood::{Cache, Freshness, Loaded, Mode, Outcome, Region, Selector, Value};
use lastgood_testing::{RedisServer, eventually};
use tokio::time::Instant;

use crate::memory_taken::resident;
use crate::support::{HOUR, a_minute, region};

const LIMIT: u64 = 32 << 20;
/// By so much this process may grow meanwhile, however many keys there are: the names that are noted so that none counts
/// twice, and what the allocator keeps.
const GROWTH: u64 = 160 << 20;
/// How long one question about many keys may take, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(10);
/// How long nearly all readers of other keys may have to wait: not for the many.
const SERVED_WITHIN: Duration = Duration::from_millis(250);

fn wanted() -> u64 {
    std::env::var("LASTGOOD_KEYS").map_or(200_000, |text| text.parse().expect("LASTGOOD_KEYS is a number"))
}

/// Redis makes this many keys of a region by itself, some at a time: it answers nothing else meanwhile.
fn fill(server: &RedisServer, region: &str, mut keys: u64) {
    for part in 0.. {
        let now = keys.min(20_000);
        let prefix = format!("lastgood:{region}:v1:k{part}");
        let reply = server.command(&["DEBUG", "POPULATE", &now.to_string(), &prefix, "8"]);
        assert!(reply.starts_with("+OK"), "{reply}");
        keys -= now;
        if keys == 0 {
            return;
        }
    }
}

fn keys_of(server: &RedisServer) -> u64 {
    server.command(&["DBSIZE"]).trim().trim_start_matches(':').parse().expect("a number")
}

/// Readers of a region that is small, and what they saw.
struct Readers {
    ends: AtomicBool,
    reads: AtomicU64,
    /// Those that found what they read.
    hits: AtomicU64,
    /// Those that took longer than [`SERVED_WITHIN`].
    late: AtomicU64,
    /// The longest, in ms.
    slowest: AtomicU64,
    most_memory: AtomicU64,
}

impl Readers {
    async fn read(&self, served: Region) {
        while !self.ends.load(Ordering::Relaxed) {
            let number = self.reads.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let load = || async { Ok(Loaded::from(Value::new("v1"))) };
            let hot = served.get_or_load("hot", load).await.expect("there is an answer");
            // From Redis where the machine was too busy to hear the log in time.
            let is_hit = matches!(hot.outcome(), Outcome::Hit(_));
            self.hits.fetch_add(u64::from(is_hit), Ordering::Relaxed);
            assert_eq!((&hot.body()[..], hot.freshness()), (&b"v1"[..], Freshness::Fresh), "{:?}", hot.outcome());
            if number.is_multiple_of(16) {
                let cold = served.get_or_load(&format!("cold{number}"), load).await.expect("it loads");
                assert_eq!(cold.outcome(), Outcome::Miss);
            }
            let took = began.elapsed();
            self.late.fetch_add(u64::from(took > SERVED_WITHIN), Ordering::Relaxed);
            self.slowest.fetch_max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.most_memory.fetch_max(resident(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Runs a question, which must not take longer than `within`.
async fn timed<T>(what: &str, within: Duration, question: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let answer = question.await;
    println!("{what}: {:?}", began.elapsed());
    assert!(began.elapsed() <= within, "{what} took {:?}", began.elapsed());
    answer
}

/// Counts, lists and removes: half of the keys by a bulk invalidation, the others by a clear.
async fn tidy_up(cache: &Cache, prices: &Region, others: &Region, half: u64) {
    let usage = timed("stats", AT_ONCE, cache.probe_store()).await.expect("a store").expect("it answers");
    assert!(usage.keys.is_some_and(|keys| keys >= 2 * half), "{usage:?}");
    // The store is looked through no longer than the caller allows.
    let within = Duration::from_secs(1);
    let listed = timed("list", within + AT_ONCE, prices.names(None, 100, within, &|_: &str| true)).await;
    assert!((listed.names.len(), listed.has_more) == (100, true) || !listed.is_complete, "{listed:?}");
    let some = timed("names", AT_ONCE, prices.stored_names("k", 1_000)).await.expect("it answers");
    assert_eq!(some.len(), 1_000);

    let all_prices = Selector::Region("prices".to_owned());
    let counted = timed("count", HOUR, cache.invalidate(&all_prices, None)).await.expect("it answers");
    assert_eq!((counted.matched, counted.changed, counted.unreached), (half, 0, None));
    let removed = timed("remove", HOUR, cache.invalidate(&all_prices, Some(Mode::Remove))).await.expect("it is done");
    assert_eq!((removed.matched, removed.changed, removed.unreached), (half, half, None));

    timed("clear", AT_ONCE, others.clear()).await;
    assert!(matches!(others.try_stored("k0:5").await, Ok(None)), "an entry that is still there is not served");
    assert!(timed("clear, until it is done", HOUR, cache.sync(HOUR)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_more_keys_in_redis_than_memory_holds_are_counted_listed_and_removed_while_others_are_served() {
    let half = wanted() / 2;
    let server = RedisServer::start_with(&["--enable-debug-command", "yes"]);
    fill(&server, "prices", half);
    fill(&server, "others", half);
    let store = RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"));
    // A machine that also compiles is no subject of this.
    let guard = Guard { budget: Duration::from_millis(200), ..Guard::default() };
    let builder = Cache::builder().store(Arc::new(store)).guard(guard).memory_limit(LIMIT);
    let cache = builder.build().expect("the limit is sound");
    let (prices, others) = (region(&cache, a_minute()), cache.region("others", a_minute()).expect("it is sound"));
    let served = cache.region("served", lastgood::Policy::fresh_for(2 * HOUR)).expect("it is sound");
    eventually("attached", async || cache.probe_store().await.is_some_and(|probe| probe.is_ok())).await;
    served.put("hot", Loaded::from(Value::new("v1"))).await;
    assert!(cache.sync(HOUR).await);

    let before = resident();
    let readers = Arc::new(Readers {
        ends: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        hits: AtomicU64::new(0),
        late: AtomicU64::new(0),
        slowest: AtomicU64::new(0),
        most_memory: AtomicU64::new(before),
    });
    let reading = tokio::spawn({
        let (readers, served) = (Arc::clone(&readers), served.clone());
        async move { readers.read(served).await }
    });
    tidy_up(&cache, &prices, &others, half).await;
    readers.ends.store(true, Ordering::Relaxed);
    reading.await.expect("no reader fails");

    let growth = readers.most_memory.load(Ordering::Relaxed).saturating_sub(before);
    let [reads, hits, late, slowest] =
        [&readers.reads, &readers.hits, &readers.late, &readers.slowest].map(|count| count.load(Ordering::Relaxed));
    let summary = format!("{reads} reads, {hits} hits, {late} of them late, the slowest {slowest} ms");
    println!("{} keys: {summary}; memory grew by {} MiB", 2 * half, growth >> 20);
    assert!(reads > 50 && hits * 100 >= reads * 98 && late * 50 <= reads, "{summary}");
    assert!(growth <= GROWTH, "memory grew by {growth} bytes");
    // The rest are the keys that were served, the log and the like.
    assert!(keys_of(&server) <= reads / 16 + 10, "{} keys are left of {reads} reads", keys_of(&server));
    assert!(matches!(served.try_stored("hot").await, Ok(Some(_))), "what was not named stays");
}
