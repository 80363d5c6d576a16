//! An entry is of one key: copied to another one, in any store, it is a counted miss.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::store::{EmbeddedStore, Guard, RedisOptions, RedisStore, Store};
use lastgood::{Cache, Clock, Mode, Reason, Region, Selector};
use lastgood_testing::RedisServer;

use crate::support::{HOUR, MINUTE, Source, Stored, a_minute, good, over, region, settle, summary};

const OWN: &str = "lastgood:prices:v1:BTCUSDT";

fn cache_in(namespace: &str, store: Arc<dyn Store>, clock: &Clock) -> Cache {
    // A read that a busy machine delays must not pass for one that found nothing.
    let guard = Guard { budget: MINUTE, write_budget: MINUTE, ..Guard::default() };
    let cache = Cache::builder().store(store).namespace(namespace).clock(clock.clone());
    cache.guard(guard).build().expect("the defaults are sound")
}

fn named(cache: &Cache, name: &str) -> Region {
    cache.region(name, a_minute()).expect("the policy is sound")
}

async fn attached(cache: &Cache) {
    for _ in 0..1_000 {
        if cache.probe_store().await.is_some_and(|probe| probe.is_ok()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the store never answered");
}

/// Stores the price of BTCUSDT, copies it byte for byte to other keys, and reads those.
async fn copies_are_misses(connect: impl Fn() -> Arc<dyn Store>, clock: Clock) {
    let store = connect();
    let writer = cache_in("lastgood", connect(), &clock);
    attached(&writer).await;
    let bitcoin = Source::answering("67012.5");
    bitcoin.read(&named(&writer, "prices"), "BTCUSDT").await.expect("it loads");
    assert!(writer.sync(MINUTE).await);
    let bytes = store.get(OWN).await.expect("it answers").expect("it was written");

    for (namespace, in_region, name) in [
        ("lastgood", "prices", "ETHUSDT"),
        ("lastgood", "prices", "BTCUSDC"),
        ("lastgood", "tickers", "BTCUSDT"),
        ("testnet", "prices", "BTCUSDT"),
    ] {
        let key = format!("{namespace}:{in_region}:v1:{name}");
        store.put(&key, bytes.clone(), HOUR).await.expect("there is room");
        let reader = cache_in(namespace, connect(), &clock);
        attached(&reader).await;
        let of_reader = named(&reader, in_region);
        assert!(of_reader.explain(name).await.answer.is_none(), "{key}");
        // Not even as the last good answer.
        let source = Source::failing(Reason::Unreachable);
        assert_eq!(summary(source.read(&of_reader, name).await), Err(Reason::Unreachable), "{key}");
        assert!(matches!(of_reader.stored(&[name.to_owned()]).await[..], [Ok(None)]), "{key}: a batch read");
        assert_eq!(store.get(&key).await.expect("it answers"), Some(bytes.clone()), "{key}: no reader deletes it");
        let counted = reader.stats().remove(0).1.unreadable;
        assert_eq!(counted, 3, "{key}: explain, read and batch read");

        // The right value is loaded, replaces the copy, and is read after a restart.
        let again = cache_in(namespace, connect(), &clock);
        attached(&again).await;
        let source = Source::answering("3500.25");
        assert_eq!(summary(source.read(&named(&again, in_region), name).await), good("3500.25", "MISS"), "{key}");
        assert!(again.sync(MINUTE).await);
        let restarted = cache_in(namespace, connect(), &clock);
        attached(&restarted).await;
        let none = Source::failing(Reason::Unreachable);
        assert_eq!(summary(none.read(&named(&restarted, in_region), name).await), good("3500.25", "HIT"), "{key}");
    }
    let reader = cache_in("lastgood", connect(), &clock);
    attached(&reader).await;
    let none = Source::failing(Reason::Unreachable);
    assert_eq!(summary(none.read(&named(&reader, "prices"), "BTCUSDT").await), good("67012.5", "HIT"));
    assert_eq!(reader.stats().remove(0).1.unreadable, 0);
}

#[tokio::test]
async fn an_entry_copied_to_another_key_of_a_real_redis_is_a_counted_miss() {
    let server = RedisServer::start();
    // As processes do, each cache has connections of its own.
    let connect = || Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"))) as _;
    copies_are_misses(connect, Clock::system()).await;
}

#[tokio::test]
async fn an_entry_copied_to_another_key_of_the_embedded_store_is_a_counted_miss() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (store, _) =
        EmbeddedStore::open(folder.path().join("cache.redb"), Clock::system(), 64 << 20).expect("it opens");
    let store: Arc<dyn Store> = Arc::new(store);
    copies_are_misses(|| Arc::clone(&store), Clock::system()).await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_copied_to_another_key_of_a_store_in_memory_is_a_counted_miss() {
    let stored = Stored::new();
    copies_are_misses(|| Arc::new(stored.memory.clone()), stored.clock.clone()).await;
}

/// As the version before wrote it: without the key in the checksum.
fn as_version_1(bytes: &Bytes) -> Bytes {
    let mut old = bytes[..bytes.len() - 4].to_vec();
    old[3] = 1;
    let checksum = crc32fast::hash(&old);
    old.extend_from_slice(&checksum.to_le_bytes());
    old.into()
}

#[tokio::test(start_paused = true)]
async fn tags_that_an_older_program_invalidated_do_not_shut_out_later_entries() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.cache.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Remove)).await.expect("the store answers");
    stored.flush().await;
    let mark = "lastgood:@tags:removed:oil";
    let bytes = stored.memory.get(mark).await.expect("it answers").expect("it was marked");
    stored.memory.put(mark, as_version_1(&bytes), HOUR).await.expect("there is room");

    tokio::time::advance(MINUTE).await;
    settle().await;
    let source = Source::answering("after the mark");
    source.tag("oil");
    source.read(&prices, "BRENT").await.expect("it loads");
    stored.flush().await;
    let restarted = over(Arc::new(stored.memory.clone()), &stored.clock);
    source.fail(Reason::Unreachable);
    let read = summary(source.read(&region(&restarted, a_minute()), "BRENT").await);
    assert_eq!(read, good("after the mark", "HIT"));
}
