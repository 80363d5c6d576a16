//! The explanation of a key, and of the keys of a region.

use std::time::Duration;

use lastgood::store::StoreError;
use lastgood::testing::Fault;
use lastgood::{Freshness, Keep, Outcome, Policy, Reason, Tier, Tiers};
use tokio::time::advance;

use crate::support::{MINUTE, SECOND, Source, Stored, a_minute, memory_only, region, settle};

#[tokio::test(start_paused = true)]
async fn a_key_is_explained_through_its_life() {
    let policy = Policy {
        jitter: 0.0,
        ..Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE).stale_if_error(Keep::For(MINUTE * 4))
    };
    let prices = region(&memory_only(), policy);
    let source = Source::answering("v1");
    let unknown = prices.explain("BTCUSDT").await;
    assert_eq!((unknown.freshness, unknown.tiers, unknown.is_loading), (Freshness::Gone, Tiers::default(), false));
    source.read(&prices, "BTCUSDT").await.unwrap();
    let fresh = prices.explain("BTCUSDT").await;
    assert_eq!(fresh.freshness, Freshness::Fresh);
    let answer = fresh.answer.unwrap();
    assert_eq!(
        (answer.age(), answer.fresh_for(), answer.outcome()),
        (Duration::ZERO, MINUTE, Outcome::Hit(Tier::Memory))
    );
    assert_eq!(fresh.stale_until.unwrap().since(answer.given_at()), MINUTE * 2);
    assert_eq!(fresh.kept_until.unwrap().since(answer.given_at()), MINUTE * 5);
    advance(MINUTE).await;
    assert_eq!(prices.explain("BTCUSDT").await.freshness, Freshness::Stale);
    advance(MINUTE).await;
    source.fail(Reason::Upstream);
    source.pause();
    let reading = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { source.read(&prices, "BTCUSDT").await }
    });
    settle().await;
    assert!(prices.explain("BTCUSDT").await.is_loading);
    source.resume();
    reading.await.unwrap().unwrap();
    let kept = prices.explain("BTCUSDT").await;
    let backoff = kept.backoff.unwrap();
    assert_eq!((kept.freshness, kept.is_loading, backoff.reason), (Freshness::Kept, false, Reason::Upstream));
    assert_eq!((backoff.in_a_row, backoff.retry_in, backoff.message.as_str()), (1, SECOND, "injected"));
    advance(MINUTE * 4).await;
    let gone = prices.explain("BTCUSDT").await;
    assert!(gone.freshness == Freshness::Gone && gone.answer.is_none() && gone.backoff.is_none());
}

#[tokio::test(start_paused = true)]
async fn explaining_asks_the_store_and_neither_counts_nor_keeps() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    Source::answering("v1").read(&prices, "BTCUSDT").await.unwrap();
    stored.flush().await;
    assert_eq!(prices.explain("BTCUSDT").await.tiers, Tiers { memory: true, store: true });
    let restarted = stored.restarted();
    let again = region(&restarted, a_minute());
    let before = restarted.stats();
    for _ in 0..2 {
        let known = again.explain("BTCUSDT").await;
        assert_eq!((known.tiers, known.tiers.as_str()), (Tiers { memory: false, store: true }, "store"));
        assert_eq!(known.answer.unwrap().outcome(), Outcome::Hit(Tier::Store));
    }
    assert_eq!((restarted.stats(), again.peek("BTCUSDT").is_none()), (before, true));
    stored.faulty.set(Fault::Fail(StoreError::Timeout));
    let known = prices.explain("BTCUSDT").await;
    assert_eq!((known.tiers.memory, known.tiers.store, known.store_error.is_some()), (true, false, true));
}

#[tokio::test(start_paused = true)]
async fn names_come_in_order_a_page_at_a_time_from_both_tiers() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    for name in ["d", "b", "a", "c"] {
        source.read(&prices, name).await.unwrap();
    }
    stored.flush().await;
    let restarted = stored.restarted();
    let again = region(&restarted, a_minute());
    source.read(&again, "b").await.unwrap();
    let first = again.names(None, 2, MINUTE, &|_: &str| true).await;
    let both = Tiers { memory: true, store: true };
    let store = Tiers { memory: false, store: true };
    assert_eq!(first.names, [("a".to_owned(), store), ("b".to_owned(), both)]);
    assert!(first.has_more && first.is_complete);
    let second = again.names(Some("b"), 2, MINUTE, &|name: &str| name != "c").await;
    assert_eq!((second.names, second.has_more), (vec![("d".to_owned(), store)], false));
    stored.faulty.set(Fault::Fail(StoreError::Timeout));
    let without = prices.names(None, 10, MINUTE, &|_: &str| true).await;
    assert_eq!((without.names.len(), without.is_complete), (4, false));
}

#[tokio::test]
async fn of_256_hits_of_a_thread_one_is_timed() {
    let cache = memory_only_in_real_time();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    for _ in 0..1_000 {
        source.read(&prices, "BTCUSDT").await.unwrap();
    }
    let (_, stats) = &cache.stats()[0];
    assert_eq!((stats.hits_memory, stats.memory_hits.times), (999, 3));
    assert!(stats.memory_hits.mean().is_some_and(|mean| mean > Duration::ZERO && mean < SECOND));
    assert_eq!(stats.store_finds.mean(), None, "there is no store");
    assert!(stats.mean_load().is_some());
}

fn memory_only_in_real_time() -> lastgood::Cache {
    lastgood::Cache::builder().build().expect("the defaults are sound")
}
