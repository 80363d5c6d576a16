//! A bot that asks for one symbol pays for one, once it is clear that it is alone.

use lastgood::store::MemoryStore;
use lastgood::{Cache, Clock, Keep};
use lastgood_market::engine::{Asked, EngineOptions, SharedStore};
use lastgood_market::region::PolicyOverride;
use lastgood_market::upstream::{BaseUrl, Options};
use lastgood_market::{Bucket, Engine, Line};

use super::overload::Desk;
use super::*;

/// An engine whose prices are never fresh for long.
async fn desk(exchange: &Exchange, shared: Option<SharedStore>) -> Desk {
    let upstream = Options { spot: vec![BaseUrl::parse(&exchange.url).unwrap()], ..Options::default() };
    let briefly = PolicyOverride {
        fresh_for: Some(Duration::from_millis(1)),
        stale_while_revalidate: Some(Duration::ZERO),
        stale_if_error: Some(Keep::For(Duration::ZERO)),
        ..PolicyOverride::default()
    };
    let overrides = [(RegionName::TickerPrice, briefly)].into();
    let options = EngineOptions { upstream, overrides, shared, ..EngineOptions::default() };
    let clock = Clock::paused_with_tokio();
    let cache = Cache::builder().clock(clock.clone()).build().unwrap();
    Desk::over(Engine::build(cache, clock, options).await.unwrap())
}

/// The weight that a price costs, asked for this long after the one before.
async fn weight(desk: &Desk, symbol: &str, after: Duration) -> u64 {
    tokio::time::pause();
    tokio::time::advance(after).await;
    tokio::time::resume();
    let spent = || desk.engine.budgets()[0].1.standing().buckets[Bucket::Weight as usize].spent;
    let before = spent();
    let line = price(desk, symbol);
    let answered = desk.engine.ask(Asked::Entry(&line), desk).await.unwrap();
    drop(answered);
    spent() - before
}

fn price(desk: &Desk, symbol: &str) -> Line {
    let query = format!("symbol={symbol}");
    let request = Request { is_get: true, path: "/api/v3/ticker/price", query: &query, ..Request::default() };
    match plan(desk.engine.identities(), Venue::Spot, request) {
        Plan::Cached(line) => line,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lone_bot_pays_for_its_symbol_alone_after_a_minute_and_for_all_symbols_once_it_has_company() {
    let exchange = Exchange::start().await;
    let desk = desk(&exchange, None).await;
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(weight(&desk, "BTCUSDT", second).await, 4, "others may come");
    assert_eq!(weight(&desk, "BTCUSDT", second).await, 4);
    assert_eq!(weight(&desk, "BTCUSDT", minute).await, 2);
    assert_eq!(weight(&desk, "BTCUSDT", second).await, 2);
    assert_eq!(weight(&desk, "ETHUSDT", second).await, 4);
    assert_eq!(weight(&desk, "BTCUSDT", second).await, 4);
    assert_eq!(weight(&desk, "BTCUSDT", minute).await, 2);
}

#[tokio::test]
async fn where_a_store_is_shared_a_lone_bot_loads_for_those_of_the_other_gateways() {
    let exchange = Exchange::start().await;
    let store = Arc::new(MemoryStore::new(Clock::system(), 1 << 20));
    let desk = desk(&exchange, Some(SharedStore { store, one_address: false, budget: None })).await;
    for _ in 0..3 {
        assert_eq!(weight(&desk, "BTCUSDT", Duration::from_secs(60)).await, 4);
    }
}
