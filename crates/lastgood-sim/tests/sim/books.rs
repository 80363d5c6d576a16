//! Order books.

use crate::support::{Exchange, escape, float};

#[tokio::test]
async fn a_book_is_sorted_has_its_levels_and_begins_with_the_best_quote() {
    let exchange = Exchange::start().await;
    for (venue, limit, levels) in [
        ("/api/v3", "", 100),
        ("/api/v3", "&limit=5", 5),
        ("/api/v3", "&limit=777", 777),
        ("/api/v3", "&limit=5000", 5_000),
        ("/api/v3", "&limit=9999", 5_000),
        ("/fapi/v1", "", 500),
        ("/fapi/v1", "&limit=1000", 1_000),
    ] {
        let book = exchange.json(&format!("{venue}/depth?symbol=BTCUSDT{limit}")).await;
        let prices =
            |side: &str| -> Vec<f64> { book[side].as_array().unwrap().iter().map(|level| float(&level[0])).collect() };
        let (bids, asks) = (prices("bids"), prices("asks"));
        assert_eq!((bids.len(), asks.len()), (levels, levels), "{venue}{limit}");
        assert!(bids.windows(2).all(|pair| pair[0] > pair[1]), "{venue}{limit}");
        assert!(asks.windows(2).all(|pair| pair[0] < pair[1]), "{venue}{limit}");
        let best = exchange.json(&format!("{venue}/ticker/bookTicker?symbol=BTCUSDT")).await;
        assert_eq!((bids[0], asks[0]), (float(&best["bidPrice"]), float(&best["askPrice"])));
        assert!(bids[0] < asks[0]);
    }
}

#[tokio::test]
async fn a_small_book_is_the_top_of_a_large_one() {
    let exchange = Exchange::start().await;
    let large = exchange.json("/api/v3/depth?symbol=ETHUSDT&limit=1000").await;
    let small = exchange.json("/api/v3/depth?symbol=ETHUSDT&limit=20").await;
    assert_eq!(large["lastUpdateId"], small["lastUpdateId"]);
    for side in ["bids", "asks"] {
        assert_eq!(large[side].as_array().unwrap()[..20], small[side].as_array().unwrap()[..]);
    }
}

#[tokio::test]
async fn every_symbol_has_a_book_whose_prices_differ() {
    let exchange = Exchange::start().await;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot) {
        let book = exchange.json(&format!("/api/v3/depth?symbol={}&limit=5000", escape(&symbol))).await;
        let bids: Vec<f64> = book["bids"].as_array().unwrap().iter().map(|level| float(&level[0])).collect();
        assert!(!bids.is_empty() && bids.iter().all(|bid| *bid > 0.0), "{symbol}");
        assert!(bids.windows(2).all(|pair| pair[0] > pair[1]), "{symbol}");
        assert!(bids[0] < float(&book["asks"][0][0]), "{symbol}");
    }
}

#[tokio::test]
async fn a_later_book_has_a_larger_number() {
    let exchange = Exchange::start().await;
    let number = async || exchange.json("/api/v3/depth?symbol=BTCUSDT").await["lastUpdateId"].as_u64().unwrap();
    let before = number().await;
    assert_eq!(before, number().await);
    exchange.sim.advance(1_000);
    assert!(number().await > before);
}
