//! Copying a cache from one store to another.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::migrate::{Counts, Migration, Progress, Side, Stopped};
use lastgood::store::{
    EmbeddedStore, MemoryStore, RedisOptions, RedisStore, Store, StoreError, UpstashOptions, UpstashStore,
};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Keep, Loaded, Mode, Policy, Reason, Region, Selector, Value};
use lastgood_testing::{RedisCluster, RedisServer, UpstashFront};
use tokio::sync::watch;
use tokio::time::{Instant, advance};

use crate::support::{HOUR, MINUTE, SECOND, Source, a_minute, good, loaded, over, region, summary};

mod failing;

const KEY: &str = "lastgood:prices:v1:BTCUSDT";

/// What a migration of these stores did.
async fn migrated(migration: &Migration) -> (Result<(), Stopped>, Progress) {
    let (sender, watched) = watch::channel(Progress::default());
    let ended = migration.run(&sender).await;
    let progress = watched.borrow().clone();
    (ended, progress)
}

async fn counts(migration: &Migration) -> Counts {
    let (ended, progress) = migrated(migration).await;
    ended.expect("both stores answer");
    assert_eq!(progress.failures, Vec::<String>::new());
    progress.counts
}

fn between(from: Arc<dyn Store>, to: Arc<dyn Store>, clock: &Clock) -> Migration {
    let name = || "lastgood".to_owned();
    let (namespace, to_namespace) = (name(), name());
    Migration { from, to, namespace, to_namespace, rate: None, dry_run: false, clock: clock.clone() }
}

async fn redis(url: &str) -> Arc<dyn Store> {
    let store = RedisStore::connect(RedisOptions::parse(url).expect("a good URL"));
    let attached = async {
        while store.probe().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), attached).await.expect("Redis answers");
    Arc::new(store)
}

fn kept() -> Policy {
    a_minute().stale_if_error(Keep::For(24 * HOUR))
}

/// Two stores in memory, each behind one that misbehaves on command, and a cache on the source.
struct Pair {
    clock: Clock,
    source: MemoryStore,
    target: MemoryStore,
    from: Arc<FaultyStore>,
    to: Arc<FaultyStore>,
    cache: Cache,
    prices: Region,
}

impl Pair {
    fn new() -> Pair {
        let clock = Clock::paused_with_tokio();
        let [source, target] = [(); 2].map(|()| MemoryStore::new(clock.clone(), 256 << 20));
        let cache = over(Arc::new(source.clone()), &clock);
        let prices = cache.region("prices", kept()).expect("the policy is sound");
        let (from, to) = (FaultyStore::new(Arc::new(source.clone())), FaultyStore::new(Arc::new(target.clone())));
        Pair { clock, source, target, from, to, cache, prices }
    }

    async fn with(keys: usize) -> Pair {
        let pair = Pair::new();
        for number in 0..keys {
            pair.prices.put(&format!("key-{number:05}"), loaded(&format!("value {number}"))).await;
        }
        assert!(pair.cache.sync(MINUTE).await);
        pair
    }

    fn migration(&self) -> Migration {
        between(Arc::clone(&self.from) as _, Arc::clone(&self.to) as _, &self.clock)
    }

    /// A cache that is started on the target.
    fn on_target(&self) -> (Cache, Region) {
        let cache = over(Arc::new(self.target.clone()), &self.clock);
        let prices = cache.region("prices", kept()).expect("the policy is sound");
        (cache, prices)
    }

    async fn held(&self, key: &str) -> Option<Bytes> {
        self.target.get(key).await.expect("a store in memory answers")
    }
}

#[tokio::test]
async fn a_cache_goes_from_store_to_store_and_arrives_byte_for_byte_with_the_rest_of_its_time() {
    let clock = Clock::system();
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = |name: &str| -> Arc<dyn Store> {
        let (store, _) = EmbeddedStore::open(folder.path().join(name), clock.clone(), 64 << 20).expect("it opens");
        Arc::new(store)
    };
    let (single, behind_front) = (RedisServer::start(), RedisServer::start());
    let front = UpstashFront::start(&behind_front, "token").await;
    let cluster = RedisCluster::start();
    let rest = UpstashStore::new(UpstashOptions::new(&front.url(), "token").expect("a good URL")).expect("a client");
    let stores: [Arc<dyn Store>; 5] = [
        embedded("first.redb"),
        redis(&single.url()).await,
        embedded("second.redb"),
        Arc::new(rest),
        redis(&cluster.url()).await,
    ];

    let first = over(Arc::clone(&stores[0]), &clock);
    let source = Source::answering("v1");
    let prices = region(&first, kept());
    for number in 0..300 {
        source.set(&format!("value {number}"));
        source.read(&prices, &format!("key-{number}")).await.expect("it loads");
    }
    let large = first.region("large", Policy::fresh_for(HOUR).stale_if_error(Keep::Forever)).expect("a sound policy");
    let body = r#"["1","2"],"#.repeat(60_000);
    large.put("all", Value::new(body.clone()).with_meta("application/json").into()).await;
    large.put("soon gone", loaded("v").ttl(40 * SECOND)).await;
    assert!(first.sync(MINUTE).await);

    for pair in stores.windows(2) {
        let done = counts(&between(Arc::clone(&pair[0]), Arc::clone(&pair[1]), &clock)).await;
        assert_eq!((done.read, done.copied, done.failed), (302, 302, 0), "{done:?}");
        let again = counts(&between(Arc::clone(&pair[0]), Arc::clone(&pair[1]), &clock)).await;
        assert_eq!((again.read, again.copied, again.present), (302, 0, 302), "{again:?}");
    }

    let keys = ["lastgood:prices:v1:key-7", "lastgood:large:v1:all", "lastgood:large:v1:soon gone"].map(str::to_owned);
    let expected = stores[0].get_many(&keys).await.expect("it answers");
    assert!(expected.iter().all(Option::is_some));
    for store in &stores[1..] {
        assert_eq!(store.get_many(&keys).await.expect("it answers"), expected, "{store}");
    }
    let left = |server: &RedisServer, key: &str| {
        let reply = server.command(&["PTTL", key]);
        reply.trim().trim_start_matches(':').parse::<u64>().unwrap_or_else(|why| panic!("{why}: {reply}"))
    };
    assert!((1..=40_000).contains(&left(&behind_front, &keys[2])));
    assert!(left(&behind_front, &keys[0]) > 23 * 3_600_000);
    assert!(left(&single, &keys[1]) > 80 * 24 * 3_600_000);

    let last = over(Arc::clone(&stores[4]), &clock);
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&region(&last, kept()), "key-7").await), good("value 7", "HIT"));
    let large = last.region("large", Policy::fresh_for(HOUR).stale_if_error(Keep::Forever)).expect("a sound policy");
    let answer = source.read(&large, "all").await.expect("it is there");
    assert_eq!((answer.body(), answer.meta()), (&Bytes::from(body), Some("application/json")));
}

#[tokio::test(start_paused = true)]
async fn a_later_entry_at_the_target_stays_and_an_earlier_one_is_replaced() {
    let pair = Pair::with(0).await;
    let (on_target, target_prices) = pair.on_target();
    target_prices.put("older there", loaded("old")).await;
    pair.prices.put("newer there", loaded("old")).await;
    pair.prices.put("expired there", loaded("v1").fresh_for(HOUR)).await;
    assert!(on_target.sync(MINUTE).await && pair.cache.sync(MINUTE).await);
    assert_eq!(counts(&pair.migration()).await.copied, 2);

    advance(SECOND).await;
    pair.prices.put("older there", loaded("new")).await;
    let (gateway, target_prices) = pair.on_target();
    target_prices.put("newer there", loaded("new")).await;
    target_prices.expire("expired there").await;
    assert!(gateway.sync(MINUTE).await && pair.cache.sync(MINUTE).await);
    let expired = pair.held("lastgood:prices:v1:expired there").await;
    let done = counts(&pair.migration()).await;
    assert_eq!((done.read, done.copied, done.newer, done.present), (3, 1, 1, 1), "{done:?}");
    assert_eq!(pair.held("lastgood:prices:v1:expired there").await, expired, "it is not made fresh again");

    let (_cache, prices) = pair.on_target();
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "older there").await), good("new", "HIT"));
    assert_eq!(summary(source.read(&prices, "newer there").await), good("new", "HIT"));
    assert_eq!(summary(source.read(&prices, "expired there").await), good("v1", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn an_expiry_at_the_source_reaches_what_was_copied_before() {
    let pair = Pair::with(1).await;
    assert_eq!(counts(&pair.migration()).await.copied, 1);
    pair.prices.expire("key-00000").await;
    assert!(pair.cache.sync(MINUTE).await);
    assert_eq!(counts(&pair.migration()).await.copied, 1);
    let (_cache, prices) = pair.on_target();
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "key-00000").await), good("value 0", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn foreign_keys_are_counted_and_left_where_they_are() {
    let pair = Pair::with(3).await;
    let v1 = include_bytes!("snapshots/entry-v1.bin");
    let v2 = include_bytes!("snapshots/entry-v2.bin");
    let mut damaged = v2.to_vec();
    damaged[60] ^= 1;
    let mut later = v2.to_vec();
    later[3] = 9;
    for (key, value) in [
        ("lastgood:prices:v7:BTCUSDT", v2.to_vec()),
        ("lastgood:prices:v7:of another key", v2.to_vec()),
        ("lastgood:prices:v7:damaged", damaged),
        ("lastgood:prices:v7:later", later),
        ("lastgood:prices:v7:earlier", v1.to_vec()),
        ("lastgood:warm:v1:0000", b"{}".to_vec()),
        ("lastgood:empty:v1:x", Vec::new()),
        ("lastgood:{counters}:v1", b"{}".to_vec()),
        ("lastgood2:prices:v7:BTCUSDT", v2.to_vec()),
        ("session:4711", b"another program's".to_vec()),
    ] {
        pair.source.put(key, Bytes::from(value), HOUR).await.expect("a store in memory takes it");
    }
    let done = counts(&pair.migration()).await;
    assert_eq!((done.read, done.copied, done.unreadable, done.outdated), (10, 4, 5, 1), "{done:?}");
    let keys = pair.target.list("", None, 1_000).await.expect("it answers").keys;
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert_eq!(pair.held("lastgood:prices:v7:BTCUSDT").await.as_deref(), Some(&v2[..]), "of any schema");
}

#[tokio::test]
async fn what_the_target_has_there_and_this_version_cannot_read_is_left_alone() {
    let pair = Pair::with(1).await;
    let key = "lastgood:prices:v1:key-00000";
    pair.target.put(key, Bytes::from_static(b"LGE\x09 of a later version"), HOUR).await.expect("it is taken");
    let done = counts(&pair.migration()).await;
    assert_eq!((done.copied, done.occupied), (0, 1), "{done:?}");
    assert_eq!(pair.held(key).await.as_deref(), Some(&b"LGE\x09 of a later version"[..]));

    let server = RedisServer::start();
    server.command(&["HSET", key, "field", "value"]);
    let done = counts(&between(Arc::clone(&pair.from) as _, redis(&server.url()).await, &pair.clock)).await;
    assert_eq!((done.copied, done.occupied), (0, 1), "{done:?}");
    assert!(server.command(&["HGET", key, "field"]).contains("value"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_and_writes_nothing() {
    let pair = Pair::with(100).await;
    let dry = Migration { dry_run: true, ..pair.migration() };
    let done = counts(&dry).await;
    assert_eq!((done.read, done.copied), (100, 100));
    assert_eq!(pair.to.writes(), 0);
    counts(&pair.migration()).await;
    assert_eq!(counts(&dry).await.present, 100, "nothing is missing");
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_was_interrupted_goes_on_where_it_stopped() {
    let pair = Pair::with(1_000).await;
    let paced = Migration { rate: NonZeroU32::new(100), ..pair.migration() };
    let (sender, watched) = watch::channel(Progress::default());
    let began = Instant::now();
    tokio::time::timeout(4 * SECOND, paced.run(&sender)).await.expect_err("it takes ten seconds");
    let first = watched.borrow().counts.clone();
    assert!((300..=500).contains(&first.copied), "{first:?}");
    assert_eq!(began.elapsed(), 4 * SECOND);

    let rest = counts(&paced).await;
    assert_eq!((rest.read, rest.copied + rest.present), (1_000, 1_000), "{rest:?}");
    assert!(rest.present >= first.copied && rest.copied <= 1_000 - first.copied, "{rest:?}");
    let took = began.elapsed() - 4 * SECOND;
    assert!((9 * SECOND..=11 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_tag_removed_at_the_source_is_not_back_at_the_target() {
    let (pair, source) = (Pair::with(0).await, Source::answering("v1"));
    source.tag("oil");
    source.set("v1");
    source.read(&pair.prices, "XOM").await.expect("it loads");
    assert!(pair.cache.sync(MINUTE).await);
    advance(SECOND).await;
    // Memory is empty: only the mark says that what the store holds is void.
    let other = over(Arc::new(pair.source.clone()), &pair.clock);
    other.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Remove)).await.expect("the store answers");
    assert!(other.sync(MINUTE).await);
    counts(&pair.migration()).await;
    assert!(pair.held("lastgood:@tags:removed:oil").await.is_some());
    let (_cache, prices) = pair.on_target();
    source.set("v2");
    assert_eq!(summary(source.read(&prices, "XOM").await), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn changes_at_the_source_during_the_copy_are_counted() {
    let pair = Pair::with(400).await;
    let paced = Migration { rate: NonZeroU32::new(100), ..pair.migration() };
    let (sender, _watched) = watch::channel(Progress::default());
    let remove = async {
        tokio::time::sleep(3 * SECOND).await;
        pair.prices.remove("key-00001").await;
        assert!(pair.cache.sync(MINUTE).await);
    };
    let (ended, ()) = tokio::join!(paced.run(&sender), remove);
    ended.expect("both answer");
    assert_eq!(sender.borrow().changed_meanwhile, Some(1));
    let (_, quiet) = migrated(&pair.migration()).await;
    assert_eq!(quiet.changed_meanwhile, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_cache_can_move_to_another_namespace_of_the_same_store() {
    let pair = Pair::with(20).await;
    let renamed =
        Migration { to: Arc::new(pair.source.clone()), to_namespace: "staging".to_owned(), ..pair.migration() };
    assert_eq!(counts(&renamed).await.copied, 20);
    assert_eq!(counts(&renamed).await.present, 20);
    let builder = Cache::builder().namespace("staging").store(Arc::new(pair.source.clone())).clock(pair.clock.clone());
    let staging = builder.build().expect("the defaults are sound");
    let prices = staging.region("prices", kept()).expect("a sound policy");
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "key-00007").await), good("value 7", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_time_is_up_is_not_copied() {
    let pair = Pair::new();
    pair.prices.put("BTCUSDT", Loaded::from(Value::new("v")).ttl(MINUTE)).await;
    assert!(pair.cache.sync(MINUTE).await);
    let bytes = pair.source.get(KEY).await.expect("it answers").expect("it is there");
    // A store that keeps it longer than it should.
    pair.source.put(KEY, bytes, HOUR).await.expect("it is taken");
    advance(2 * MINUTE).await;
    let done = counts(&pair.migration()).await;
    assert_eq!((done.read, done.expired, done.copied), (1, 1, 0), "{done:?}");
}
