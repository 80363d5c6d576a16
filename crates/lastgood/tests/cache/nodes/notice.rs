//! What other programs do to the keys of a real Redis, and what Redis does by itself: memory follows.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{RedisOptions, RedisStore, Store};
use lastgood::{Cache, Clock, Freshness, Loaded, Reason, Region, Value};
use lastgood_testing::{Chaos, ChaosProxy, RedisCluster, RedisSentinels, RedisServer};
use tokio::time::{Instant, sleep};

use crate::support::{HOUR, MINUTE, Source, good, summary, text};

mod silence;

/// How soon memory follows, as promised, and what a machine that is busy with other tests may add.
const BOUND: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

const KEY: &str = "lastgood:prices:v1:BTCUSDT";

struct Process {
    cache: Cache,
    prices: Region,
}

impl Process {
    async fn start(url: &str) -> Process {
        Process::start_in(url, "lastgood").await
    }

    async fn start_in(url: &str, namespace: &str) -> Process {
        let store = RedisStore::connect(RedisOptions::parse(url).expect("a good URL"));
        let builder = Cache::builder().store(Arc::new(store)).clock(Clock::system()).namespace(namespace);
        let cache = builder.build().expect("the defaults are sound");
        // Longer than any of these tests: nothing ends by itself.
        let policy = lastgood::Policy { jitter: 0.0, ..lastgood::Policy::fresh_for(HOUR) };
        let prices =
            cache.region("prices", policy.stale_if_error(lastgood::Keep::For(24 * HOUR))).expect("a sound policy");
        let process = Process { cache, prices };
        within(Duration::from_secs(20), "it is attached and listens", async || {
            process.cache.probe_store().await.is_some_and(|probe| probe.is_ok())
                && process.cache.status().store.is_some_and(|store| store.hears_others == Some(true))
        })
        .await;
        process
    }

    /// Has `name` in memory and in the store.
    async fn hold(&self, source: &Source, name: &str) {
        source.read(&self.prices, name).await.expect("it loads");
        assert!(self.cache.sync(MINUTE).await);
    }

    fn is_fresh(&self, name: &str) -> bool {
        self.prices.peek(name).is_some_and(|held| held.freshness() == Freshness::Fresh)
    }
}

/// Waits until `holds`, and says how long that took.
async fn within(bound: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < bound + SLACK, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}

/// Waits until the server tells the process of keys.
async fn is_tracked(servers: &[&RedisServer], process: &Process) {
    within(Duration::from_secs(20), "keys are reported to it", async || {
        servers.iter().all(|server| server.command(&["CLIENT", "LIST"]).contains("flags=tB"))
    })
    .await;
    // What was in memory by then is looked up, once.
    sleep(Duration::from_millis(300)).await;
    drop(process.cache.status());
}

/// The entry of another key, as bytes that a script writes.
fn overwrite(server: &RedisServer) {
    server.command(&["RENAME", "lastgood:prices:v1:ETHUSDT", KEY]);
}

fn evict(server: &RedisServer) {
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    // The next command makes room.
    server.command(&["SET", "another", "value"]);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
}

type Way = (&'static str, fn(&RedisServer));

const WAYS: [Way; 12] = [
    ("FLUSHALL", |server| drop(server.command(&["FLUSHALL"]))),
    ("FLUSHDB", |server| drop(server.command(&["FLUSHDB", "ASYNC"]))),
    ("DEL", |server| drop(server.command(&["DEL", KEY]))),
    ("UNLINK", |server| drop(server.command(&["UNLINK", KEY]))),
    ("GETDEL", |server| drop(server.command(&["GETDEL", KEY]))),
    ("RENAME away", |server| drop(server.command(&["RENAME", KEY, "elsewhere"]))),
    ("RENAME over it", overwrite),
    ("SET", |server| drop(server.command(&["SET", KEY, "what another program keeps there", "PX", "60000"]))),
    ("another type", |server| {
        server.command(&["DEL", KEY]);
        server.command(&["RPUSH", KEY, "1", "2"]);
    }),
    ("EXPIRE 0", |server| drop(server.command(&["EXPIRE", KEY, "0"]))),
    ("a script", |server| drop(server.command(&["EVAL", "return redis.call('DEL', KEYS[1])", "1", KEY]))),
    ("eviction", evict),
];

#[tokio::test]
async fn whatever_another_program_does_to_a_key_memory_follows_within_two_seconds() {
    for (what, change) in WAYS {
        let server = RedisServer::start();
        let process = Process::start(&server.url()).await;
        is_tracked(&[&server], &process).await;
        let source = Source::answering("v1");
        for name in ["BTCUSDT", "ETHUSDT"] {
            process.hold(&source, name).await;
        }
        assert_eq!(summary(source.read(&process.prices, "BTCUSDT").await), good("v1", "HIT"), "{what}");
        change(&server);
        within(BOUND, what, async || !process.is_fresh("BTCUSDT")).await;
        source.fail(Reason::Unreachable);
        assert_eq!(summary(source.read(&process.prices, "BTCUSDT").await), good("v1", "LAST-GOOD"), "{what}");
        source.set("v2");
        within(BOUND, what, async || {
            let read = summary(source.read(&process.prices, "BTCUSDT").await);
            assert!(read == good("v1", "LAST-GOOD") || read == good("v2", "MISS"), "{what}: {read:?}");
            read == good("v2", "MISS")
        })
        .await;
        assert_eq!(summary(source.read(&process.prices, "BTCUSDT").await), good("v2", "HIT"), "{what}");
    }
}

#[tokio::test]
async fn a_value_without_a_source_goes_with_a_flush_and_outlives_an_eviction_or_a_deletion_of_its_key() {
    for (what, change) in WAYS {
        let server = RedisServer::start();
        let process = Process::start(&server.url()).await;
        is_tracked(&[&server], &process).await;
        for name in ["BTCUSDT", "ETHUSDT"] {
            process.prices.put(name, Loaded::from(Value::new("given"))).await;
        }
        assert!(process.cache.sync(MINUTE).await);
        assert!(process.is_fresh("BTCUSDT"), "{what}");
        change(&server);
        let newest = async || process.prices.newest("BTCUSDT").await.expect("the store answers");
        if what.starts_with("FLUSH") {
            within(BOUND, what, async || newest().await.is_none()).await;
            continue;
        }
        within(BOUND, what, async || !process.is_fresh("BTCUSDT")).await;
        // Memory alone has it: Redis does not tell an eviction from a deletion, and nothing would bring it back.
        assert_eq!(newest().await.as_ref().map(text).as_deref(), Some("given"), "{what}");
    }
}

#[tokio::test]
async fn what_a_redis_has_lost_when_it_comes_back_memory_still_has() {
    let mut server = RedisServer::start();
    let process = Process::start(&server.url()).await;
    is_tracked(&[&server], &process).await;
    process.prices.put("BTCUSDT", Loaded::from(Value::new("given"))).await;
    assert!(process.cache.sync(MINUTE).await);
    server.kill();
    server.restart();
    is_tracked(&[&server], &process).await;
    assert_eq!(server.command(&["EXISTS", "lastgood:prices:v1:BTCUSDT"]).trim(), ":0", "it was never saved");
    // The background look at all of memory has been there by then.
    sleep(BOUND).await;
    let newest = process.prices.newest("BTCUSDT").await.expect("the store answers").expect("memory has it");
    assert!(!newest.may_be_replaced());
    // A key deleted by command is gone all the same.
    process.prices.put("BTCUSDT", Loaded::from(Value::new("again"))).await;
    assert!(process.cache.sync(MINUTE).await);
    server.command(&["FLUSHALL"]);
    within(BOUND, "flushed", async || process.prices.newest("BTCUSDT").await.is_ok_and(|newest| newest.is_none()))
        .await;
}

#[tokio::test]
async fn what_a_process_writes_itself_stays_in_its_memory_undoubted() {
    let server = RedisServer::start();
    let process = Process::start(&server.url()).await;
    is_tracked(&[&server], &process).await;
    let source = Source::answering("v1");
    let names: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    for round in 0..5 {
        for name in &names {
            process.prices.put(name, Loaded::from(Value::new(format!("{name} {round}")))).await;
        }
        assert!(process.cache.sync(MINUTE).await);
    }
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let doubted: Vec<&String> = names.iter().filter(|name| !process.is_fresh(name)).collect();
        assert!(doubted.is_empty(), "{doubted:?}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(source.loads(), 0);
}

#[tokio::test]
async fn what_another_process_loads_later_is_taken_and_what_it_touches_elsewhere_is_not() {
    let server = RedisServer::start();
    let (one, other) = (Process::start(&server.url()).await, Process::start(&server.url()).await);
    let apart = Process::start_in(&server.url(), "lastgood2").await;
    is_tracked(&[&server], &one).await;
    let source = Source::answering("v1");
    for process in [&one, &other, &apart] {
        process.hold(&source, "BTCUSDT").await;
    }
    sleep(Duration::from_millis(10)).await;
    source.set("v2");
    let load = source.clone();
    other.prices.refresh("BTCUSDT", 2 * HOUR, move || load.load()).await.expect("it loads");
    assert!(other.cache.sync(MINUTE).await);
    within(BOUND, "the later one is taken", async || {
        summary(source.read(&one.prices, "BTCUSDT").await) == good("v2", "HIT")
    })
    .await;
    assert_eq!(source.loads(), 3, "one each, and the refresh");
    server.command(&["DEL", KEY]);
    within(BOUND, "it is gone", async || !one.is_fresh("BTCUSDT")).await;
    assert!(apart.is_fresh("BTCUSDT"), "the other namespace is not concerned");
    assert_eq!(summary(source.read(&apart.prices, "BTCUSDT").await), good("v1", "HIT"));
}

#[tokio::test]
async fn keys_deleted_while_the_connections_are_reset_are_noticed_once_they_are_back() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let process = Process::start(&server.url_through(proxy.port())).await;
    is_tracked(&[&server], &process).await;
    let source = Source::answering("v1");
    for number in 0..200 {
        process.hold(&source, &number.to_string()).await;
    }
    process.hold(&source, "BTCUSDT").await;
    proxy.set(Chaos::Reset);
    sleep(Duration::from_millis(100)).await;
    server.command(&["DEL", KEY]);
    proxy.set(Chaos::Pass);
    within(Duration::from_secs(5), "it is noticed", async || {
        process.prices.peek("BTCUSDT").is_some_and(|held| !held.is_unverified() || held.freshness() != Freshness::Fresh)
            && summary(source.read(&process.prices, "BTCUSDT").await) != good("v1", "HIT")
    })
    .await;
    within(Duration::from_secs(5), "it hears again", async || {
        process.cache.status().store.is_some_and(|store| store.hears_others == Some(true))
    })
    .await;
    let loads = source.loads();
    assert_eq!(summary(source.read(&process.prices, "7").await), good("v1", "HIT"));
    assert_eq!(source.loads(), loads, "an entry that is still there is not loaded again");
}

#[tokio::test]
async fn a_redis_that_may_not_tell_of_keys_is_used_as_before() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "default", "-client|tracking"]);
    let process = Process::start(&server.url()).await;
    let source = Source::answering("v1");
    process.hold(&source, "BTCUSDT").await;
    server.command(&["DEL", KEY]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(summary(source.read(&process.prices, "BTCUSDT").await), good("v1", "HIT"));
    assert_eq!(process.cache.status().store.expect("there is one").hears_others, Some(true));
    server.command(&["FLUSHALL"]);
    sleep(Duration::from_secs(1)).await;
    source.set("v2");
    assert_eq!(summary(source.read(&process.prices, "another").await), good("v2", "MISS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_of_a_cluster_tells_of_its_keys_and_of_its_flush() {
    let mut redis = tokio::task::spawn_blocking(RedisCluster::start).await.expect("it starts");
    let url = redis.url();
    let process = Process::start(&url).await;
    let servers: Vec<&RedisServer> = redis.servers().iter().collect();
    is_tracked(&servers, &process).await;
    let source = Source::answering("v1");
    let names: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for name in &names {
        process.hold(&source, name).await;
    }
    for name in &names[..10] {
        for server in &servers {
            server.command(&["DEL", &format!("lastgood:prices:v1:{name}")]);
        }
    }
    within(BOUND, "deleted", async || names[..10].iter().all(|name| !process.is_fresh(name))).await;
    // On a busy machine the log may be silent for a moment.
    let others = async || names[10..].iter().all(|name| process.is_fresh(name));
    within(BOUND, "the others are not concerned", others).await;
    for server in &servers {
        server.command(&["FLUSHALL"]);
    }
    within(BOUND, "flushed", async || names.iter().all(|name| !process.is_fresh(name))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_primary_tells_of_keys() {
    let mut redis = tokio::task::spawn_blocking(RedisSentinels::start).await.expect("they start");
    let process = Process::start(&redis.url()).await;
    let before = redis.primary();
    redis.fail_over();
    let now = redis.primary_after(before);
    let server = &redis.servers()[now];
    is_tracked(&[server], &process).await;
    let source = Source::answering("v1");
    within(Duration::from_secs(20), "it is stored at the new primary", async || {
        process.prices.remove("BTCUSDT").await;
        source.read(&process.prices, "BTCUSDT").await.expect("it loads");
        process.cache.sync(MINUTE).await && server.command(&["EXISTS", KEY]).contains(":1")
    })
    .await;
    within(BOUND, "it is heard", async || process.is_fresh("BTCUSDT")).await;
    server.command(&["DEL", KEY]);
    within(BOUND, "deleted", async || !process.is_fresh("BTCUSDT")).await;
}

#[tokio::test]
async fn an_idle_process_asks_a_redis_eight_times_a_second_at_most_and_rarely_where_memory_is_believed_for_long() {
    for (trust_for, most) in [(None, 8.0), (Some(MINUTE), 1.6)] {
        let server = RedisServer::start();
        let store = RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"));
        let mut builder = Cache::builder().store(Arc::new(store));
        if let Some(trust_for) = trust_for {
            builder = builder.trust_for(trust_for);
        }
        let cache = builder.build().expect("the defaults are sound");
        sleep(Duration::from_secs(1)).await;
        let (before, since) = (cache.store_commands().expect("they are counted"), Instant::now());
        sleep(Duration::from_secs(5)).await;
        let commands = cache.store_commands().expect("they are counted") - before;
        let a_second = commands as f64 / since.elapsed().as_secs_f64();
        assert!(a_second <= most, "{a_second} commands a second, {trust_for:?}");
    }
    let store = RedisStore::connect(RedisOptions::parse("rediss://eu1.upstash.io:6379").expect("a good URL"));
    assert!(store.watch().is_none(), "each command is billed");
    assert_eq!(store.log().map(|log| log.trust_for()), Some(MINUTE));
}

#[tokio::test]
async fn answers_loaded_while_nothing_listens_at_the_port_of_redis_are_believed_as_long_as_that_lasts() {
    let mut server = RedisServer::start();
    let process = Process::start(&server.url()).await;
    let source = Source::answering("v1");
    process.hold(&source, "BTCUSDT").await;
    server.kill();
    source.set("v2");
    within(Duration::from_secs(3), "an entry from before is loaded once more", async || {
        summary(source.read(&process.prices, "BTCUSDT").await) == good("v2", "MISS")
    })
    .await;
    let until = Instant::now() + 2 * BOUND;
    while Instant::now() < until {
        let held = source.read(&process.prices, "BTCUSDT").await.expect("it is in memory");
        assert!(held.is_unverified());
        assert_eq!(summary(Ok(held)), good("v2", "HIT"), "it cannot have been removed from a server that is away");
        sleep(Duration::from_millis(10)).await;
    }
    server.restart();
    within(Duration::from_secs(10), "it hears again", async || {
        process.cache.status().store.is_some_and(|store| store.hears_others == Some(true))
    })
    .await;
}
