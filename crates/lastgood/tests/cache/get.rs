//! Reads that load nothing.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{MemoryStore, Store, StoreError};
use lastgood::testing::Fault;
use lastgood::{Clock, Keep, Outcome, Reason, Tier};
use tokio::time::{Instant, advance};

use crate::support::{
    HOUR, LateStore, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, patiently_over, peeked,
    region, settle, summary, text,
};

#[tokio::test(start_paused = true)]
async fn what_was_put_is_fresh_then_stale_then_last_good_and_then_gone() {
    let policy = a_minute().stale_while_revalidate(MINUTE).stale_if_error(Keep::For(HOUR));
    let prices = region(&memory_only(), policy);
    assert!(prices.get("BTCUSDT").await.unwrap().is_none());
    prices.put("BTCUSDT", loaded("v1")).await;
    for (after, outcome) in [
        (SECOND, Some(Outcome::Hit(Tier::Memory))),
        (MINUTE, Some(Outcome::Stale)),
        (2 * MINUTE, Some(Outcome::LastGood(Reason::Abandoned))),
        (HOUR, None),
    ] {
        advance(after).await;
        let found = prices.get("BTCUSDT").await.expect("there is no store");
        assert_eq!(found.as_ref().map(|answer| answer.outcome()), outcome);
        assert!(found.is_none_or(|answer| text(&answer) == "v1" && answer.age() >= after));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_had_is_in_memory_for_the_next_reader_and_each_read_is_counted() {
    let stored = Stored::new();
    region(&stored.cache, a_minute()).put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    advance(20 * SECOND).await;
    let again = stored.restarted();
    let prices = region(&again, a_minute());
    for tier in [Tier::Store, Tier::Memory] {
        let found = prices.get("BTCUSDT").await.expect("the store answers").expect("it was put");
        assert_eq!((found.outcome(), found.age(), found.fresh_for()), (Outcome::Hit(tier), 20 * SECOND, 40 * SECOND));
    }
    assert!(prices.get("ETHUSDT").await.expect("the store answers").is_none());
    let stats = &again.stats()[0].1;
    assert_eq!((stats.hits_store, stats.hits_memory, stats.misses, stats.loads), (1, 1, 1, 0));
    assert_eq!(stats.store_finds.times, 1);
}

#[tokio::test(start_paused = true)]
async fn past_its_freshness_an_answer_says_why_the_last_load_failed() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(2 * MINUTE).await;
    source.fail(Reason::Banned);
    source.read(&prices, "BTCUSDT").await.expect("the last good answer stands in");
    let found = prices.get("BTCUSDT").await.unwrap().expect("it is kept");
    assert_eq!(found.outcome(), Outcome::LastGood(Reason::Banned));

    source.fail(Reason::NotFound);
    advance(MINUTE).await;
    source.read(&prices, "BTCUSDT").await.expect_err("there is no such thing any more");
    assert!(prices.get("BTCUSDT").await.unwrap().is_none(), "nor for a read without a loader");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_leaves_unknown_what_memory_lacks_and_nothing_else() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("here", loaded("v1")).await;
    stored.flush().await;
    advance(2 * MINUTE).await;
    stored.faulty.set_reads(Fault::Hang);
    let begun = Instant::now();
    assert_eq!(prices.get("elsewhere").await.err(), Some(StoreError::Timeout));
    assert!(begun.elapsed() < Duration::from_millis(30), "one budget, and no more");
    let found = prices.get("here").await.expect("memory has it").expect("it is kept");
    assert_eq!(text(&found), "v1");
}

#[tokio::test(start_paused = true)]
async fn what_ends_before_the_store_took_it_is_gone_all_the_same() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set_writes(Fault::Fail(StoreError::Unavailable("injected".into())));
    prices.put("BTCUSDT", loaded("v1").ttl(SECOND)).await;
    advance(2 * SECOND).await;
    assert!(prices.newest("BTCUSDT").await.unwrap().is_none());
    assert!(prices.get("BTCUSDT").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn with_the_cache_switched_off_there_is_nothing() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.cache.set_enabled(false);
    assert!(prices.get("BTCUSDT").await.unwrap().is_none());
    stored.cache.set_enabled(true);
    assert!(prices.get("BTCUSDT").await.unwrap().is_some());
}

/// A cache that holds nothing yet, over a store that has `v1` and answers late.
async fn late() -> (Arc<LateStore>, lastgood::Cache) {
    let clock = Clock::paused_with_tokio();
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone(), 1 << 20));
    let before = patiently_over(Arc::clone(&memory), &clock);
    region(&before, a_minute()).put("BTCUSDT", loaded("v1")).await;
    assert!(before.sync(MINUTE).await);
    let store = LateStore::new(memory);
    (Arc::clone(&store), patiently_over(store, &clock))
}

#[tokio::test(start_paused = true)]
async fn no_load_waits_for_a_read_that_loads_nothing_or_ends_as_it_does() {
    let (store, cache) = late().await;
    let (prices, source) = (region(&cache, a_minute()), Source::answering("v2"));
    store.hold_answers();
    let read = tokio::spawn({
        let prices = prices.clone();
        async move { (prices.get("BTCUSDT").await, peeked(&prices, "BTCUSDT")) }
    });
    settle().await;
    assert_eq!(cache.status().loads, 0, "nothing is loaded");
    let reload = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { prices.reload("BTCUSDT", move || source.load()).await }
    });
    let many = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        let load = move |names: Vec<String>| async move {
            let loaded = source.load().await;
            Ok(names.into_iter().map(|name| (name, loaded.as_ref().map_err(|_| unreachable!()).cloned())).collect())
        };
        async move { prices.get_or_load_many(&["BTCUSDT"], load).await.pop().expect("one answer") }
    });
    settle().await;
    store.let_answers_go();
    assert_eq!(summary(reload.await.unwrap()), good("v2", "MISS"));
    assert_eq!(summary(many.await.unwrap()), good("v2", "JOINED"));
    let (found, held) = read.await.unwrap();
    let found = text(&found.expect("the store answers").expect("it has one"));
    assert_eq!(found, held.as_deref().unwrap_or("v1"), "what the store had, or later what others were answered with");
    assert_eq!(peeked(&prices, "BTCUSDT").as_deref(), Some("v2"), "memory keeps the later one");
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_loads_nothing_waits_for_no_load() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.pause();
    let load = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { source.read(&prices, "BTCUSDT").await }
    });
    settle().await;
    assert!(prices.get("BTCUSDT").await.unwrap().is_none());
    source.resume();
    assert_eq!(summary(load.await.unwrap()), good("v1", "MISS"));
    assert!(prices.get("BTCUSDT").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_entry_removed_while_the_store_answers_does_not_come_back() {
    for hard in [true, false] {
        let (store, cache) = late().await;
        let prices = region(&cache, a_minute());
        store.hold_answers();
        let read = tokio::spawn({
            let prices = prices.clone();
            async move { prices.get("BTCUSDT").await }
        });
        settle().await;
        match hard {
            true => _ = prices.remove("BTCUSDT").await,
            false => _ = prices.clear().await,
        }
        store.let_answers_go();
        read.await.unwrap().expect("the store answers");
        assert_eq!(peeked(&prices, "BTCUSDT"), None);
        assert!(prices.get("BTCUSDT").await.unwrap().is_none());
    }
}
