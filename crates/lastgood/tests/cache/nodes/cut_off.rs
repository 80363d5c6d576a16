//! Processes that were cut off from the store, or from its log.

use lastgood::Freshness;

use super::*;

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_from_the_log_catches_up() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    other.way.set_log_reads(unavailable());
    settle().await;
    one.prices.remove("BTCUSDT").await;
    one.flush().await;
    advance(20 * SECOND).await;
    let unnoticed = source.read(&other.prices, "BTCUSDT").await.expect("memory has it");
    assert_eq!((unnoticed.outcome().tier(), unnoticed.is_unverified()), (Some(Tier::Memory), true), "and says so");
    other.way.heal();
    advance(3 * SECOND).await;
    settle().await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"), "long before it would have expired");
    let heard = source.read(&other.prices, "ETHUSDT").await.expect("memory has it");
    assert_eq!((heard.outcome().tier(), heard.is_unverified()), (Some(Tier::Memory), false), "it lost nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_for_the_store_is_verified_no_longer_where_memory_has_no_room_for_it() {
    let nodes = Nodes::new();
    let way = FaultyStore::new(Arc::new(nodes.store.clone()));
    let builder = Cache::builder().store(Arc::clone(&way) as _).clock(nodes.clock.clone()).memory_limit(1 << 20);
    let cache = builder.trust_for(2 * SECOND).build().expect("the limit is sound");
    let prices = region(&cache, a_minute());
    settle().await;
    way.set(unavailable());
    way.set_log_reads(unavailable());
    prices.put("BTCUSDT", loaded(&"v".repeat(2 << 20))).await;
    settle().await;
    assert_eq!(peeked(&prices, "BTCUSDT"), None, "memory has no room for it");
    let source = Source::answering("none");
    let freshness = async || {
        let read = source.read(&prices, "BTCUSDT").await.expect("it waits for the store").freshness();
        let newest = prices.newest("BTCUSDT").await.expect("it waits for the store").expect("it was put");
        assert_eq!(read, newest.freshness());
        read
    };
    advance(SECOND).await;
    assert_eq!(freshness().await, Freshness::Fresh, "within the bound");
    for _ in 0..10 {
        advance(SECOND).await;
        settle().await;
    }
    // Another process may have put something since.
    assert_eq!(freshness().await, Freshness::Kept);
}

#[tokio::test(start_paused = true)]
async fn who_missed_what_the_log_no_longer_holds_revalidates_what_it_has() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    other.way.set_log_reads(unavailable());
    settle().await;
    one.prices.remove("BTCUSDT").await;
    for _ in 0..KEPT_RECORDS {
        one.prices.remove("another").await;
        one.flush().await;
    }
    other.way.heal();
    advance(3 * SECOND).await;
    settle().await;
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, "ETHUSDT").await, good("v1", "HIT"), "the store has it still: no source is asked");
    source.set("v2");
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_for_long_revalidates_and_serves_the_last_good_answer_where_it_cannot() {
    let nodes = Nodes::new();
    let other = nodes.start().await;
    let source = Source::answering("v1");
    other.prices.put("BTCUSDT", loaded("v1").fresh_for(HOUR)).await;
    settle().await;
    other.way.set(unavailable());
    settle().await;
    advance(59 * SECOND).await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "HIT"));
    advance(2 * SECOND).await;
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "LAST-GOOD"));
    source.set("v2");
    advance(MINUTE).await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "HIT"), "what it loaded since is believed as long");
}

#[tokio::test(start_paused = true)]
async fn who_starts_without_the_store_does_not_believe_what_it_took_in_before_it_listens() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let way = FaultyStore::new(Arc::new(nodes.store.clone()));
    way.set(unavailable());
    let cache = over(Arc::clone(&way) as _, &nodes.clock);
    let prices = region(&cache, a_minute());
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
    way.heal();
    advance(3 * SECOND).await;
    settle().await;
    source.set("v2");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"));
}
