//! Answers with a true end: past their `ttl` they are gone from every tier, and never stand in.

use lastgood::store::{Store, StoreError};
use lastgood::testing::Fault;
use lastgood::{Keep, Loaded, Reason, Region, WasThere};
use tokio::time::advance;

use crate::support::{
    HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, peeked, region, settle, summary,
};

/// For a minute fresh, and kept for a day.
fn policy() -> lastgood::Policy {
    a_minute().stale_if_error(Keep::For(24 * HOUR))
}

async fn put(prices: &Region, value: Loaded) {
    prices.put("BTCUSDT", value).await;
}

async fn with_a_failing_source(prices: &Region) -> Result<(String, &'static str), Reason> {
    summary(Source::failing(Reason::Unreachable).read(prices, "BTCUSDT").await)
}

#[tokio::test(start_paused = true)]
async fn past_its_end_an_answer_is_gone_and_no_last_good() {
    let cache = memory_only();
    let prices = region(&cache, policy());
    put(&prices, loaded("7").ttl(SECOND)).await;
    advance(SECOND - SECOND / 1_000).await;
    assert_eq!(with_a_failing_source(&prices).await, good("7", "HIT"));
    advance(SECOND / 1_000).await;
    assert_eq!(peeked(&prices, "BTCUSDT"), None);
    assert_eq!(with_a_failing_source(&prices).await, Err(Reason::Unreachable));
    assert!(prices.explain("BTCUSDT").await.answer.is_none());
}

#[tokio::test(start_paused = true)]
async fn past_its_freshness_and_before_its_end_it_is_the_last_good() {
    let cache = memory_only();
    let prices = region(&cache, policy());
    put(&prices, loaded("7").fresh_for(SECOND).ttl(2 * SECOND)).await;
    advance(SECOND).await;
    assert_eq!(with_a_failing_source(&prices).await, good("7", "LAST-GOOD"));
    let known = prices.explain("BTCUSDT").await;
    assert_eq!(known.kept_until.map(|until| until.since(prices.peek("BTCUSDT").unwrap().given_at())), Some(SECOND));
    advance(SECOND).await;
    assert_eq!(with_a_failing_source(&prices).await, Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn it_lasts_until_its_end_where_the_region_keeps_for_less() {
    let cache = memory_only();
    let prices = region(&cache, policy());
    put(&prices, loaded("7").ttl(72 * HOUR)).await;
    advance(71 * HOUR).await;
    assert_eq!(with_a_failing_source(&prices).await, good("7", "LAST-GOOD"));
    advance(HOUR).await;
    assert_eq!(peeked(&prices, "BTCUSDT"), None);
}

#[tokio::test(start_paused = true)]
async fn invalidating_it_makes_it_last_no_longer() {
    let cache = memory_only();
    let prices = region(&cache, policy());
    put(&prices, loaded("7").ttl(SECOND)).await;
    assert_eq!(prices.expire("BTCUSDT").await, WasThere::Yes);
    assert_eq!(with_a_failing_source(&prices).await, good("7", "LAST-GOOD"));
    advance(SECOND).await;
    assert_eq!(peeked(&prices, "BTCUSDT"), None);
}

#[tokio::test(start_paused = true)]
async fn a_later_put_has_a_time_of_its_own() {
    let cache = memory_only();
    let prices = region(&cache, policy());
    put(&prices, loaded("7").ttl(SECOND)).await;
    put(&prices, loaded("8")).await;
    advance(2 * SECOND).await;
    assert_eq!(with_a_failing_source(&prices).await, good("8", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn the_store_ends_it_too_and_a_restart_brings_nothing_back() {
    let stored = Stored::new();
    let prices = region(&stored.cache, policy());
    put(&prices, loaded("7").ttl(2 * SECOND)).await;
    stored.flush().await;
    let second = region(&stored.restarted(), policy());
    advance(SECOND).await;
    assert_eq!(with_a_failing_source(&second).await, good("7", "HIT"));
    advance(SECOND).await;
    assert_eq!(peeked(&second, "BTCUSDT"), None);
    assert_eq!(with_a_failing_source(&region(&stored.restarted(), policy())).await, Err(Reason::Unreachable));
    assert_eq!(stored.keys().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_it_too_long_is_not_believed() {
    let stored = Stored::new();
    let prices = region(&stored.cache, policy());
    put(&prices, loaded("7").ttl(SECOND)).await;
    stored.flush().await;
    let keys = stored.keys().await;
    let bytes = stored.memory.get(&keys[0]).await.unwrap().unwrap();
    stored.memory.put(&keys[0], bytes, HOUR).await.unwrap();
    advance(SECOND).await;
    let second = region(&stored.restarted(), policy());
    assert_eq!(with_a_failing_source(&second).await, Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn with_the_store_down_it_ends_and_what_it_replaced_stays_gone() {
    let stored = Stored::new();
    let prices = region(&stored.cache, policy());
    put(&prices, loaded("older")).await;
    stored.flush().await;
    stored.faulty.set(Fault::Fail(StoreError::Unavailable("injected".to_owned())));
    put(&prices, loaded("7").ttl(SECOND)).await;
    settle().await;
    assert_eq!(with_a_failing_source(&prices).await, good("7", "HIT"));
    advance(SECOND).await;
    assert_eq!(with_a_failing_source(&prices).await, Err(Reason::Unreachable));
    stored.faulty.heal();
    assert_eq!(prices.try_stored("BTCUSDT").await.map(|found| found.is_some()), Ok(false), "it is not asked yet");
    advance(MINUTE).await;
    stored.flush().await;
    settle().await;
    assert_eq!(stored.keys().await, [""; 0], "what it replaced is taken away in its stead");
    assert_eq!(with_a_failing_source(&region(&stored.restarted(), policy())).await, Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn another_process_that_holds_what_it_replaced_knows_that_it_is_over() {
    let stored = Stored::new();
    let other = stored.restarted();
    let (prices, others) = (region(&stored.cache, policy()), region(&other, policy()));
    settle().await;
    put(&prices, loaded("older")).await;
    stored.flush().await;
    settle().await;
    assert_eq!(with_a_failing_source(&others).await, good("older", "HIT"));
    put(&prices, loaded("7").ttl(SECOND)).await;
    stored.flush().await;
    settle().await;
    advance(SECOND).await;
    let held = others.peek("BTCUSDT").expect("it never learnt what replaced it");
    assert!(held.may_be_replaced());
    assert_eq!(others.try_stored("BTCUSDT").await.map(|found| found.is_some()), Ok(false));
}
