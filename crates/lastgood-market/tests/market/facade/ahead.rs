//! What a program has before it asks: pushed by the exchange, or loaded ahead.

use std::collections::HashSet;

use lastgood_market::market::StreamHealth;
use lastgood_market::warm::{Filter, WarmOptions};

use super::*;

async fn streams(market: &Market, venue: Venue) -> Option<StreamHealth> {
    market.health().await.venues[venue as usize].streams
}

#[tokio::test]
async fn what_a_program_asked_for_is_kept_fresh_by_streams_at_no_request_weight() {
    let exchange = Exchange::start().await;
    let base = exchange.url.replace("http://", "ws://");
    let market = Market::builder().namespace("iftb").exchange(&exchange.url).unwrap();
    let market = market.streams(Venue::Spot, &[&base]).unwrap().build().await.unwrap();
    let asked = || exchange.sim.counters().paths.get("/api/v3/ticker/24hr").copied().unwrap_or(0);
    let taken = async || streams(&market, Venue::Spot).await.unwrap().taken;
    assert_eq!(market.ticker(Venue::Spot, "BTCUSDT").await.unwrap().outcome, Outcome::Miss);
    eventually("a ticker is pushed", async || taken().await > 0).await;
    assert!(streams(&market, Venue::Spot).await.unwrap().connected);
    assert_eq!(streams(&market, Venue::UsdM).await, None);
    let (before, first) = (asked(), taken().await);
    // One is pushed each second; what was loaded is fresh for two.
    eventually("tickers go on coming", async || {
        market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        taken().await >= first + 5
    })
    .await;
    assert!(asked() <= before + 1, "{} requests", asked() - before);
    let refused = |venue, urls: &[&str]| Market::builder().streams(venue, urls).unwrap_err().to_string();
    assert!(refused(Venue::Spot, &["https://stream.binance.com"]).contains("wss"));
    assert!(refused(Venue::CoinM, &["wss://h"]).contains("COIN-M has no streams"));
}

#[tokio::test]
async fn popular_symbols_come_first_and_the_others_by_their_volume() {
    let exchange = Exchange::start().await;
    let market = exchange.builder().popular(&["ETHUSDT"]).build().await.unwrap();
    for venue in [Venue::Spot, Venue::UsdM] {
        let list = market.popular_symbols(venue).await.unwrap();
        let listed: Vec<&str> = list.value.iter().map(|row| row.symbol.as_str()).collect();
        assert_eq!(listed[0], "ETHUSDT");
        let all = market.symbols(venue).await.unwrap();
        let by_name: Vec<&str> = all.value.iter().map(|row| row.symbol.as_str()).collect();
        assert_eq!(listed.iter().collect::<HashSet<_>>(), by_name.iter().collect());
        assert_ne!(listed[1..], by_name[1..], "not by name");
        let again = market.popular_symbols(venue).await.unwrap();
        assert_eq!((again.value, again.outcome), (list.value, Outcome::Hit(Tier::Memory)));
    }
    assert_eq!(market.popular_symbols(Venue::CoinM).await.unwrap_err().reason, Reason::NotFound);
    // Another program finds no list, and says why.
    exchange.break_down(FaultKind::Status { status: 503 });
    let other = exchange.builder().build().await.unwrap();
    other.popular_symbols(Venue::Spot).await.unwrap_err();
    assert!(other.health().await.failing.contains(&RegionName::Symbols));
}

#[tokio::test]
async fn declared_questions_are_loaded_ahead_of_their_readers_and_on_demand() {
    let exchange = Exchange::start().await;
    let warm = WarmOptions {
        markets: vec![Venue::Spot],
        symbols: vec!["BTCUSDT".to_owned()],
        intervals: vec!["1h".to_owned()],
        tickers: false,
        ..WarmOptions::default()
    };
    let market = exchange.builder().warm(warm).build().await.unwrap();
    eventually("a round ends", async || market.warmed().rounds == 1).await;
    let round = market.warmed().round;
    assert_eq!((round.of, round.failed, round.refused), (3, 0, 0), "an exchangeInfo, its list and a series");
    exchange.break_down(FaultKind::Status { status: 503 });
    let bars = market.get_bars(Venue::Spot, "BTCUSDT", "1h", 100).await.unwrap();
    assert_eq!((bars.bars.len(), bars.outcome), (100, Outcome::Hit(Tier::Memory)));
    assert_eq!(market.popular_symbols(Venue::Spot).await.unwrap().outcome, Outcome::Hit(Tier::Memory));
    exchange.sim.clear_faults();
    let only = Filter { symbol: Some("ETHUSDT".to_owned()), ..Filter::default() };
    assert_eq!(market.warm_now(only).await.unwrap().loaded, 1);
    let idle = exchange.builder().build().await.unwrap();
    assert_eq!(idle.warm_now(Filter::default()).await.unwrap().of, 0, "nothing is warmed by default");
}
