//! Loads ahead of time, and loads that give way.

use std::time::Duration;

use lastgood::{Error, Filled, Policy, Reason, Region, Siblings};
use tokio::time::advance;

use crate::support::{
    HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, peeked, region, settle, summary,
};

async fn refresh(region: &Region, ahead: Duration, source: &Source) -> Result<bool, Reason> {
    let source = source.clone();
    region.refresh("BTCUSDT", ahead, move || source.load()).await.map_err(|error| error.reason)
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_ends_too_soon_is_loaded_while_readers_are_served_a_fresh_one() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    assert_eq!(refresh(&prices, Duration::ZERO, &source).await, Ok(true), "nothing was there");
    assert_eq!(refresh(&prices, SECOND * 59, &source).await, Ok(false), "it lasts long enough");
    advance(SECOND * 50).await;
    source.set("v2");
    source.pause();
    let refreshing = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { refresh(&prices, SECOND * 10, &source).await }
    });
    settle().await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
    source.resume();
    assert_eq!(refreshing.await.unwrap(), Ok(true));
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"));
    advance(SECOND * 59).await;
    assert_eq!((summary(source.read(&prices, "BTCUSDT").await), source.loads()), (good("v2", "HIT"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_and_the_readers_who_miss_share_one_load() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.pause();
    let refreshing = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { refresh(&prices, MINUTE, &source).await }
    });
    settle().await;
    let reader = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { summary(source.read(&prices, "BTCUSDT").await) }
    });
    settle().await;
    source.resume();
    assert_eq!((refreshing.await.unwrap(), reader.await.unwrap()), (Ok(true), good("v1", "JOINED")));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_takes_nothing_from_those_who_are_served() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.unwrap();
    for reason in [Reason::NotFound, Reason::Banned, Reason::Malformed] {
        source.fail(reason);
        assert_eq!(refresh(&prices, HOUR, &source).await, Err(reason));
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
        let loads = source.loads();
        assert_eq!(refresh(&prices, HOUR, &source).await, Err(reason), "it is remembered");
        assert_eq!(source.loads(), loads);
        prices.put("BTCUSDT", loaded("v1")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_comes_between_a_refresh_and_its_write() {
    let prices = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.unwrap();
    source.set("from before");
    source.pause();
    let refreshing = tokio::spawn({
        let (prices, source) = (prices.clone(), source.clone());
        async move { refresh(&prices, HOUR, &source).await }
    });
    settle().await;
    prices.remove("BTCUSDT").await;
    source.resume();
    refreshing.await.unwrap().unwrap();
    assert_eq!(peeked(&prices, "BTCUSDT"), None);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_stored_lately_is_taken_before_the_source_is_asked() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    let (other, source) = (region(&stored.restarted(), a_minute()), Source::answering("v2"));
    assert_eq!(refresh(&other, SECOND * 30, &source).await, Ok(false));
    assert_eq!(peeked(&other, "BTCUSDT").as_deref(), Some("v1"));
    advance(SECOND * 40).await;
    assert_eq!(refresh(&other, SECOND * 30, &source).await, Ok(true));
    assert_eq!((peeked(&other, "BTCUSDT").as_deref(), source.loads()), (Some("v2"), 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_load_that_gives_way_loads_for_themselves() {
    let prices = region(&memory_only(), a_minute());
    let (warming, source) = (Source::failing(Reason::Yielded), Source::answering("v1"));
    warming.pause();
    let refreshing = tokio::spawn({
        let (prices, warming) = (prices.clone(), warming.clone());
        async move { refresh(&prices, MINUTE, &warming).await }
    });
    settle().await;
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let (prices, source) = (prices.clone(), source.clone());
            tokio::spawn(async move { summary(source.read(&prices, "BTCUSDT").await).map(|(body, _)| body) })
        })
        .collect();
    settle().await;
    warming.resume();
    assert_eq!(refreshing.await.unwrap(), Err(Reason::Yielded));
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_deref(), Ok("v1"));
    }
    assert_eq!(source.loads(), 1, "one of them for all");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_gave_way_leaves_no_backoff() {
    let prices = region(&memory_only(), Policy { stale_while_revalidate: Duration::ZERO, ..a_minute() });
    let (warming, source) = (Source::failing(Reason::Yielded), Source::answering("v1"));
    assert_eq!(refresh(&prices, MINUTE, &warming).await, Err(Reason::Yielded));
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    let yields = || async { Err::<Filled, _>(Error::new(Reason::Yielded, "for another").into()) };
    assert_eq!(prices.composite().fill("all", yields).await.unwrap_err().reason, Reason::Yielded);
    assert!(prices.composite().fill("all", || async { Ok(Filled::from(Siblings::new())) }).await.unwrap());
}
