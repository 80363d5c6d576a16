//! Invalidating by tag, by region and by pattern: in memory, in the store, and in the store of those who come later.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::StoreError;
use lastgood::testing::Fault;
use lastgood::{Cache, Invalidated, Loaded, Mode, Reason, Region, Selector, WasThere};
use tokio::time::advance;

use crate::support::{HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, peeked, region, settle, told};

const MILLISECOND: Duration = Duration::from_millis(1);

fn tagged(body: &str, tags: &[&str]) -> Loaded {
    Loaded { tags: tags.iter().map(ToString::to_string).collect(), ..loaded(body) }
}

/// Two stocks of one tag and one of another, in both tiers.
async fn stocks(stored: &Stored) -> Region {
    let prices = region(&stored.cache, a_minute());
    prices.put("AAPL", tagged("1", &["tech", "symbol:AAPL"])).await;
    prices.put("MSFT", tagged("2", &["tech"])).await;
    prices.put("XOM", tagged("3", &["oil"])).await;
    stored.flush().await;
    advance(MILLISECOND).await;
    prices
}

fn tag(name: &str) -> Selector {
    Selector::Tag(name.to_owned())
}

fn matching(needle: &'static str) -> Selector {
    Selector::Matching(Arc::new(move |_, name| name.contains(needle)))
}

async fn invalidated(cache: &Cache, selector: &Selector, mode: Option<Mode>) -> (u64, u64) {
    let Invalidated { matched, changed, unreached } =
        cache.invalidate(selector, mode).await.expect("the store answers");
    assert_eq!(unreached, None, "{selector:?}");
    (matched, changed)
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_removed_everywhere_even_where_only_the_store_holds_it() {
    let stored = Stored::new();
    stocks(&stored).await;
    // Nothing of it is in this memory.
    let other = stored.restarted();
    let prices = region(&other, a_minute());
    assert_eq!(invalidated(&other, &tag("tech"), Some(Mode::Remove)).await, (0, 0), "memory holds none");
    assert!(other.sync(MINUTE).await);
    let source = Source::answering("new");
    for name in ["AAPL", "MSFT"] {
        assert_eq!(told(source.read(&prices, name).await), good("new", "MISS"), "{name}");
    }
    assert_eq!(told(source.read(&prices, "XOM").await), good("3", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_tag_stays_removed_for_a_program_that_starts_later() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    // As another process may do: what was loaded before comes to the store after.
    let raw = stored.keys().await.into_iter().find(|key| key.ends_with(":AAPL")).expect("it is stored");
    use lastgood::store::Store as _;
    let before = stored.memory.get(&raw).await.expect("it answers").expect("it is there");
    assert_eq!(invalidated(&stored.cache, &tag("tech"), Some(Mode::Remove)).await, (2, 2));
    assert_eq!((peeked(&prices, "AAPL"), peeked(&prices, "XOM")), (None, Some("3".to_owned())));
    stored.flush().await;
    stored.memory.put(&raw, before, MINUTE).await.expect("it answers");
    let later = region(&stored.restarted(), a_minute());
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(told(source.read(&later, "AAPL").await), Err(Reason::Unreachable));
    assert_eq!(told(source.read(&later, "XOM").await), good("3", "HIT"));
    // What is loaded after it is believed.
    source.answer(Ok(loaded("new")));
    source.tag("tech");
    advance(MINUTE).await;
    assert_eq!(told(source.read(&later, "AAPL").await), good("new", "MISS"));
    settle().await;
    assert_eq!(told(source.read(&region(&stored.restarted(), a_minute()), "AAPL").await), good("new", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_tag_leaves_the_last_good_answers() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    let other = stored.restarted();
    let cold = region(&other, a_minute());
    assert_eq!(invalidated(&stored.cache, &tag("tech"), None).await, (2, 0), "only counted");
    assert_eq!(invalidated(&stored.cache, &tag("tech"), Some(Mode::Expire)).await, (2, 2));
    stored.flush().await;
    let source = Source::failing(Reason::Unreachable);
    for region in [&prices, &cold] {
        let answer = told(source.read(region, "MSFT").await);
        assert_eq!(answer, good("2", "LAST-GOOD"));
        assert_eq!(told(source.read(region, "XOM").await), good("3", "HIT"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_only_the_mark_tells_leaves_the_last_good_answer_too() {
    let stored = Stored::new();
    stocks(&stored).await;
    let other = stored.restarted();
    let prices = region(&other, a_minute());
    invalidated(&other, &tag("tech"), Some(Mode::Expire)).await;
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(told(source.read(&prices, "AAPL").await), good("1", "LAST-GOOD"));
    let unasked = Source::answering("new");
    advance(SECOND).await;
    assert_eq!(told(unasked.read(&prices, "AAPL").await), good("new", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_the_store_refuses_is_heeded_here_and_written_when_it_can_be() {
    let stored = Stored::new();
    stocks(&stored).await;
    stored.faulty.set_writes(Fault::Fail(StoreError::Refused("full".to_owned())));
    let prices = region_of(&stored.cache);
    prices.remove("nothing").await;
    invalidated(&stored.cache, &tag("oil"), Some(Mode::Remove)).await;
    settle().await;
    assert!(stored.cache.status().store.expect("there is one").unconfirmed_removals > 0);
    stored.faulty.heal();
    advance(10 * SECOND).await;
    settle().await;
    stored.flush().await;
    assert_eq!(stored.cache.status().store.expect("there is one").unconfirmed_removals, 0);
    let keys = stored.keys().await;
    assert!(keys.iter().any(|key| key.ends_with(":removed:oil")), "{keys:?}");
}

fn region_of(cache: &Cache) -> Region {
    cache.region_named("prices").expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn entries_whose_marks_cannot_be_read_are_not_believed() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("tagged", tagged("1", &["tech"])).await;
    prices.put("plain", loaded("2")).await;
    stored.flush().await;
    use lastgood::store::Store as _;
    let garbled = bytes::Bytes::from_static(b"garbled");
    stored.memory.put("lastgood:@tags:expired:tech", garbled, MINUTE).await.expect("it answers");
    let cold = region(&stored.restarted(), a_minute());
    let source = Source::answering("new");
    assert_eq!(told(source.read(&cold, "tagged").await), good("new", "MISS"));
    assert_eq!(told(source.read(&cold, "plain").await), good("2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn entries_with_tags_beyond_bounds_stay_out_of_the_store() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("a", loaded("old")).await;
    stored.flush().await;
    let long = "x".repeat(257);
    prices.put("a", tagged("new", &[&long])).await;
    stored.flush().await;
    assert_eq!(peeked(&prices, "a").as_deref(), Some("new"));
    assert!(stored.keys().await.is_empty(), "neither the new one nor the old");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_is_about_both_tiers_and_counts_each_key_once() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    let other = stored.restarted();
    let cold = region(&other, a_minute());
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(told(source.read(&cold, "AAPL").await), good("1", "HIT"));
    for cache in [&stored.cache, &other] {
        assert_eq!(invalidated(cache, &matching("S"), None).await, (1, 0));
        assert_eq!(invalidated(cache, &matching("A"), None).await, (1, 0));
        assert_eq!(invalidated(cache, &Selector::Region("prices".to_owned()), None).await, (3, 0));
    }
    assert_eq!(invalidated(&other, &matching("M"), Some(Mode::Remove)).await, (2, 2));
    assert!(other.sync(MINUTE).await);
    let names: Vec<_> = stored.keys().await.into_iter().filter(|key| !key.contains('@')).collect();
    assert_eq!(names, ["lastgood:prices:v1:AAPL"]);
    settle().await;
    assert_eq!(
        invalidated(&stored.cache, &Selector::Region("prices".to_owned()), Some(Mode::Expire)).await,
        (1, 1),
        "it heard"
    );
    assert_eq!(told(source.read(&prices, "AAPL").await), good("1", "LAST-GOOD"));
    assert_eq!(invalidated(&stored.cache, &Selector::Region("nowhere".to_owned()), Some(Mode::Remove)).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_store_may_hold_of_a_pattern_is_not_believed_any_more() {
    let stored = Stored::new();
    stocks(&stored).await;
    let faulty = lastgood::testing::FaultyStore::new(Arc::new(stored.memory.clone()));
    let cache = crate::support::over(Arc::clone(&faulty) as _, &stored.clock);
    let prices = region(&cache, a_minute());
    faulty.set_writes(Fault::Fail(StoreError::Unavailable("gone".to_owned())));
    assert!(cache.invalidate(&matching("AAPL"), None).await.is_err(), "a count that cannot be made is no count");
    let done = cache.invalidate(&matching("AAPL"), Some(Mode::Remove)).await.expect("it is done in memory");
    let gone = Some(StoreError::Unavailable("gone".to_owned()));
    assert_eq!(done, Invalidated { matched: 0, changed: 0, unreached: gone });
    faulty.heal();
    advance(MINUTE / 2).await;
    let source = Source::answering("new");
    assert_eq!(told(source.read(&prices, "AAPL").await), good("new", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_store_that_is_away_is_counted_with_the_reason_and_done_when_it_is_back() {
    let stored = Stored::new();
    stocks(&stored).await;
    let faulty = lastgood::testing::FaultyStore::new(Arc::new(stored.memory.clone()));
    let cache = crate::support::over(Arc::clone(&faulty) as _, &stored.clock);
    let prices = region(&cache, a_minute());
    assert_eq!(cache.confirmed(MINUTE).await, None);
    let gone = StoreError::Unavailable("gone".to_owned());
    faulty.set_reads(Fault::Fail(gone.clone()));
    faulty.set_writes(Fault::Fail(gone.clone()));
    let key = Selector::Key { region: "prices".to_owned(), name: "AAPL".to_owned() };
    assert_eq!(cache.invalidate(&key, None).await, Err(gone.clone()), "whether it is there is not known");
    let scopes = [(key, Some(gone.clone())), (tag("oil"), None), (matching("AAPL"), Some(gone.clone()))];
    for (selector, unreached) in scopes {
        let done = cache.invalidate(&selector, Some(Mode::Remove)).await.expect("it is done in memory");
        assert_eq!((done.matched, done.unreached), (0, unreached), "{selector:?}");
    }
    let waits = cache.confirmed(MINUTE).await.expect("the store is away");
    assert_eq!((waits.waiting, waits.why), (3, Some(gone.clone())), "the key, the mark of the tag and the search");
    faulty.heal();
    assert_eq!(cache.confirmed(MINUTE).await.map(|waits| waits.why), Some(Some(gone)), "it is not asked yet");
    advance(MINUTE / 2).await;
    settle().await;
    assert_eq!(cache.confirmed(MINUTE).await, None);
    assert!(!stored.keys().await.contains(&"lastgood:prices:v1:AAPL".to_owned()));
    assert!(stored.keys().await.contains(&"lastgood:prices:v1:MSFT".to_owned()));
    // A whole region is removed by what its keys begin with, though nobody could list them.
    faulty.set_writes(Fault::Fail(StoreError::Unavailable("gone".to_owned())));
    let region = Selector::Region("prices".to_owned());
    assert!(cache.invalidate(&region, Some(Mode::Remove)).await.expect("it is done in memory").unreached.is_some());
    faulty.heal();
    advance(MINUTE / 2).await;
    settle().await;
    assert_eq!(cache.confirmed(MINUTE).await, None);
    let left = stored.keys().await.into_iter().filter(|key| key.contains("prices")).collect::<Vec<_>>();
    assert_eq!(left, Vec::<String>::new());
    assert!(prices.peek("MSFT").is_none());
}

mod large {
    //! More keys, and larger ones, than the queue of writes has room for.

    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};
    use lastgood::store::{EmbeddedStore, Guard, RedisOptions, RedisStore, Store};
    use lastgood::{Clock, Policy};
    use lastgood_testing::RedisServer;
    use tokio::time::Instant;

    use super::*;

    const KEYS: usize = 200_000;

    fn cache_over(store: Arc<dyn Store>, memory: u64) -> Cache {
        // A machine that builds beside it is no store that fails.
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

    /// Removes all of them, and sees that they are gone when that is told, and that a small one had its turn meanwhile.
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
        assert_eq!(
            invalidated(&cache, &Selector::Region("prices".to_owned()), Some(Mode::Remove)).await,
            (count, count)
        );
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
    async fn what_is_expired_while_the_store_is_away_and_the_queue_is_full_comes_to_the_store_later() {
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
        assert_eq!(told(gone), Err(Reason::Unreachable), "the older value is not seen again");
    }
}
