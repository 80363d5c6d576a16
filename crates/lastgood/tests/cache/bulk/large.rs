//! More keys, and larger ones, than the queue of writes has room for.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lastgood::store::{EmbeddedStore, Guard, RedisOptions, RedisStore, Store, StoreError};
use lastgood::{Clock, Policy};
use lastgood_testing::RedisServer;
use tokio::time::Instant;

use super::*;

const KEYS: usize = 200_000;

fn cache_over(store: Arc<dyn Store>, memory: u64) -> Cache {
    // A machine that also builds is no store that fails.
    let guard = Guard { budget: SECOND, write_budget: MINUTE, ..Guard::default() };
    Cache::builder().store(store).guard(guard).memory_limit(memory).build().expect("the limit is sound")
}

async fn attached(cache: &Cache) {
    for _ in 0..1_000 {
        if cache.probe_store().await.is_some_and(|probe| probe.is_ok()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the store never answered");
}

/// Puts bytes under many keys of the region `prices`, as any process may have.
async fn stored(store: &dyn Store) {
    let put = |number: usize| async move {
        let key = format!("lastgood:prices:v1:{number}");
        store.put(&key, Bytes::from_static(b"x"), HOUR).await.expect("there is room");
    };
    stream::iter(0..KEYS).map(put).buffer_unordered(256).for_each(|()| std::future::ready(())).await;
    if let Some(settling) = store.settling() {
        // So much at once takes a build without optimisation longer than anybody waits.
        while let Err(why) = settling.settle().await {
            assert_eq!(why, StoreError::Timeout);
        }
    }
}

async fn count(store: &dyn Store) -> usize {
    let (mut count, mut cursor) = (0, None);
    loop {
        let page = store.list("lastgood:prices:", cursor, 10_000).await.expect("it answers");
        count += page.keys.len();
        cursor = page.next;
        if cursor.is_none() {
            return count;
        }
    }
}

/// Removes all of them, and sees that they are gone when the call returns, and that a small one had its turn meanwhile.
async fn removes_all(store: Arc<dyn Store>) {
    let cache = cache_over(Arc::clone(&store), 256 << 20);
    let (_prices, others) = (region(&cache, a_minute()), cache.region("others", a_minute()).expect("sound"));
    attached(&cache).await;
    others.put("one", loaded("1")).await;
    assert!(cache.sync(MINUTE).await);
    stored(&*store).await;
    let all = matching("");
    let of_others = Selector::Region("others".to_owned());
    let began = Instant::now();
    let small = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let small = invalidated(&cache, &of_others, Some(Mode::Remove)).await;
        (small, began.elapsed())
    };
    let (large, (small, small_took)) = tokio::join!(invalidated(&cache, &all, Some(Mode::Remove)), small);
    let took = began.elapsed();
    assert!(large.0 >= KEYS as u64 && large.0 <= KEYS as u64 + 1 && large.1 == large.0, "{large:?}");
    assert!(small.0 <= 1 && small_took < took / 2, "{small:?} in {small_took:?}, all in {took:?}");
    assert!(took < MINUTE, "{took:?}");
    assert_eq!(count(&*store).await, 0, "none is left");
    let status = cache.status().store.expect("there is a store");
    assert_eq!((status.unconfirmed_removals, status.dropped_writes), (0, 0), "{status:?}");
}

#[tokio::test]
async fn two_hundred_thousand_keys_are_removed_from_redis_and_none_is_left() {
    let server = RedisServer::start();
    removes_all(Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).expect("a URL")))).await;
}

#[tokio::test]
async fn two_hundred_thousand_keys_are_removed_from_a_file_and_none_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = EmbeddedStore::open(folder.path().join("cache.redb"), Clock::system(), 4 << 30);
    removes_all(Arc::new(opened.expect("it opens").0)).await;
}

#[tokio::test]
async fn two_hundred_thousand_keys_are_removed_from_memory_and_none_is_left() {
    let cache = Cache::builder().memory_limit(1 << 30).build().expect("the limit is sound");
    let prices = region(&cache, a_minute());
    for number in 0..KEYS {
        prices.put(&number.to_string(), loaded("1")).await;
    }
    let count = KEYS as u64;
    assert_eq!(invalidated(&cache, &matching(""), Some(Mode::Expire)).await, (count, count));
    assert_eq!(invalidated(&cache, &Selector::Region("prices".to_owned()), Some(Mode::Remove)).await, (count, count));
    assert_eq!(invalidated(&cache, &matching(""), None).await, (0, 0));
    assert_eq!(cache.status().memory_bytes, 0);
}

#[tokio::test]
async fn a_hundred_large_values_that_are_expired_all_stay_as_last_good_answers() {
    let server = RedisServer::start();
    let connect = || Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).expect("a URL")));
    let policy = || Policy { compress_over: usize::MAX, ..a_minute() };
    // With room in memory for all of them, and for hardly any.
    for memory in [512 << 20, 8 << 20] {
        let cache = cache_over(connect(), memory);
        let prices = region(&cache, policy());
        attached(&cache).await;
        for number in 0..100 {
            prices.put(&number.to_string(), loaded(&number.to_string().repeat(1 << 19))).await;
        }
        assert_eq!(invalidated(&cache, &matching(""), Some(Mode::Expire)).await, (100, 100), "{memory}");
        assert!(cache.sync(MINUTE).await);
        let status = cache.status().store.expect("there is a store");
        assert_eq!(status.dropped_writes, 0, "{status:?}");
        for restarted in [cache, cache_over(connect(), memory)] {
            let prices = restarted.region_named("prices").unwrap_or_else(|| region(&restarted, policy()));
            attached(&restarted).await;
            let source = Source::failing(Reason::Unreachable);
            for number in 0..100 {
                let answer = source.read(&prices, &number.to_string()).await.expect("a last good answer");
                assert_eq!(answer.outcome().as_x_cache(), "LAST-GOOD", "{memory}: {number}");
                assert!(answer.body().starts_with(number.to_string().as_bytes()), "{number}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn expiries_while_the_store_is_away_and_the_queue_is_full_reach_the_store_later() {
    let stored = Stored::new();
    let builder = Cache::builder().store(Arc::clone(&stored.faulty) as _).clock(stored.clock.clone());
    // A part of memory may have to hold more than its share.
    let cache = builder.memory_limit(1 << 30).build().expect("the limit is sound");
    let prices = region(&cache, Policy { compress_over: usize::MAX, ..a_minute() });
    for number in 0..100 {
        prices.put(&number.to_string(), loaded(&"x".repeat(1 << 20))).await;
        settle().await;
    }
    assert!(cache.sync(MINUTE).await);
    stored.faulty.set(Fault::Fail(StoreError::Unavailable("away".to_owned())));
    let invalidated = cache.invalidate(&matching(""), Some(Mode::Expire)).await.expect("it is done in memory");
    assert_eq!((invalidated.matched, invalidated.changed), (100, 100));
    stored.faulty.heal();
    tokio::time::sleep(3 * SECOND).await;
    assert!(cache.sync(MINUTE).await);
    let other = region(&stored.restarted(), Policy { compress_over: usize::MAX, ..a_minute() });
    let source = Source::failing(Reason::Unreachable);
    for number in 0..100 {
        let answer = source.read(&other, &number.to_string()).await.expect("a last good answer");
        assert_eq!(answer.outcome().as_x_cache(), "LAST-GOOD", "{number}");
    }
}

const LARGE: usize = 600 << 10;
/// Loads that are not written for want of room, as the next loads will be.
const FILLERS: u64 = 8;

/// A cache with room for two large values in memory, and for less than one among the writes that wait.
fn small_cache(stored: &Stored) -> Cache {
    let builder = Cache::builder().store(Arc::clone(&stored.faulty) as _).clock(stored.clock.clone());
    builder.memory_limit(4 << 20).build().expect("the limit is sound")
}

fn uncompressed(cache: &Cache) -> Region {
    region(cache, Policy { compress_over: usize::MAX, ..a_minute() })
}

/// Takes the store away, and has memory give up everything after `change`.
async fn meanwhile(stored: &Stored, prices: &Region, change: impl AsyncFnOnce()) {
    stored.faulty.set(Fault::Fail(StoreError::Unavailable("away".to_owned())));
    change().await;
    let source = Source::answering(&"x".repeat(LARGE));
    for number in 0..FILLERS {
        source.read(prices, &format!("filler{number}")).await.expect("it loads");
    }
    for name in ["first", "second"] {
        assert_eq!(peeked(prices, name), None, "memory has given up {name}");
    }
    stored.faulty.heal();
    tokio::time::sleep(3 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_last_good_answer_that_memory_gave_up_before_its_expiry_was_written_is_expired_in_the_store() {
    let stored = Stored::new();
    let cache = small_cache(&stored);
    let prices = uncompressed(&cache);
    for name in ["first", "second"] {
        prices.put(name, loaded(&name.repeat(LARGE / name.len()))).await;
        assert!(cache.sync(MINUTE).await);
    }
    let expire = async || {
        for name in ["first", "second"] {
            assert_eq!(prices.expire(name).await, WasThere::Yes);
        }
    };
    meanwhile(&stored, &prices, expire).await;
    assert!(cache.sync(MINUTE).await);
    let other = uncompressed(&stored.restarted());
    let source = Source::failing(Reason::Unreachable);
    for name in ["first", "second"] {
        let answer = source.read(&other, name).await.expect("a last good answer");
        assert_eq!(answer.outcome().as_x_cache(), "LAST-GOOD", "{name}");
        assert!(answer.body().starts_with(name.as_bytes()), "{name}");
    }
    assert_eq!(source.loads(), 2, "both had expired");
    let status = cache.status().store.expect("there is a store");
    assert_eq!((status.unconfirmed_removals, status.dropped_writes), (0, FILLERS), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_put_for_which_there_was_no_room_anywhere_is_counted_and_leaves_nothing_older_behind() {
    let stored = Stored::new();
    let cache = small_cache(&stored);
    let prices = uncompressed(&cache);
    for name in ["first", "second"] {
        prices.put(name, loaded(&name.repeat(LARGE / name.len()))).await;
        assert!(cache.sync(MINUTE).await);
    }
    let put = async || {
        for name in ["first", "second"] {
            prices.put(name, loaded(&"newer".repeat(LARGE / 5))).await;
        }
    };
    meanwhile(&stored, &prices, put).await;
    assert!(cache.sync(MINUTE).await);
    let status = cache.status().store.expect("there is a store");
    assert_eq!(status.dropped_writes, FILLERS + 1, "{status:?}");
    let other = uncompressed(&stored.restarted());
    let gone = Source::failing(Reason::Unreachable).read(&other, "second").await;
    assert_eq!(summary(gone), Err(Reason::Unreachable), "the older value is not seen again");
}
