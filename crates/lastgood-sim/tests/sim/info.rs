//! exchangeInfo.

use lastgood_sim::{SimConfig, Venue};
use serde_json::Value;

use crate::support::{Exchange, NOW, list};

fn names(info: &Value) -> Vec<&str> {
    info["symbols"].as_array().unwrap().iter().map(|symbol| symbol["symbol"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn at_its_default_size_it_is_as_large_as_the_real_one() {
    let exchange = Exchange::start_with(SimConfig::default()).await;
    let got = exchange.get("/api/v3/exchangeInfo").await;
    assert!((1_800_000..2_600_000).contains(&got.body.len()), "{} bytes", got.body.len());
    let info = got.json();
    assert_eq!(names(&info).len(), 2_400);
    assert!(names(&info).contains(&"币安人生USDT"), "Unicode symbols exist");
    let unique: std::collections::HashSet<&str> = names(&info).into_iter().collect();
    assert_eq!(unique.len(), 2_400);
    for (venue, target) in [(Venue::UsdM, "/fapi/v1/exchangeInfo"), (Venue::CoinM, "/dapi/v1/exchangeInfo")] {
        let info = exchange.json(target).await;
        let listed = names(&info);
        assert!(exchange.sim.symbols(venue).iter().all(|symbol| listed.contains(&symbol.as_str())), "{target}");
    }
}

#[tokio::test]
async fn its_limits_are_those_that_are_enforced() {
    let exchange = Exchange::start().await;
    exchange.post("/_sim/limits", r#"{"spot":777,"futures":333}"#).await;
    for (target, limit) in
        [("/api/v3/exchangeInfo", 777), ("/fapi/v1/exchangeInfo", 333), ("/dapi/v1/exchangeInfo", 333)]
    {
        let info = exchange.json(target).await;
        let limits = info["rateLimits"].as_array().unwrap();
        let weight = limits.iter().find(|limit| limit["rateLimitType"] == "REQUEST_WEIGHT").unwrap();
        assert_eq!((&weight["interval"], &weight["intervalNum"]), (&"MINUTE".into(), &1.into()));
        assert_eq!(weight["limit"], limit, "{target}");
    }
    let spot = exchange.json("/api/v3/exchangeInfo").await;
    assert!(spot["rateLimits"].as_array().unwrap().iter().any(|limit| limit["limit"] == 300_000));
}

#[tokio::test]
async fn its_time_is_the_clocks() {
    let exchange = Exchange::start().await;
    for target in ["/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/api/v3/exchangeInfo?symbol=BTCUSDT"] {
        assert_eq!(exchange.json(target).await["serverTime"], exchange.sim.now(), "{target}");
        exchange.sim.advance(1_234);
        assert_eq!(exchange.json(target).await["serverTime"], exchange.sim.now(), "{target}");
    }
    assert!(exchange.sim.now() > NOW);
}

#[tokio::test]
async fn it_can_be_filtered_in_the_exchanges_ways() {
    let exchange = Exchange::start().await;
    let whole = exchange.json("/api/v3/exchangeInfo").await;
    let one = exchange.json("/api/v3/exchangeInfo?symbol=ETHUSDT").await;
    assert_eq!(names(&one), ["ETHUSDT"]);
    let same = whole["symbols"].as_array().unwrap().iter().find(|symbol| symbol["symbol"] == "ETHUSDT");
    assert_eq!(same, Some(&one["symbols"][0]));
    let two = exchange.json(&format!("/api/v3/exchangeInfo?symbols={}", list(&["ETHUSDT", "BTCUSDT"]))).await;
    assert_eq!(names(&two), ["BTCUSDT", "ETHUSDT"]);

    let broken = exchange.json("/api/v3/exchangeInfo?symbolStatus=BREAK").await;
    assert!(!names(&broken).is_empty());
    assert!(broken["symbols"].as_array().unwrap().iter().all(|symbol| symbol["status"] == "BREAK"));
    let trading = exchange.json("/api/v3/exchangeInfo?symbolStatus=TRADING").await;
    assert_eq!(names(&trading).len() + names(&broken).len(), names(&whole).len());
    assert_eq!(names(&trading), exchange.sim.symbols(Venue::Spot));
    assert!(names(&exchange.json("/api/v3/exchangeInfo?symbolStatus=HALT").await).is_empty());

    assert!(whole["symbols"][0]["permissionSets"][0].as_array().unwrap().contains(&"SPOT".into()));
    let bare = exchange.json("/api/v3/exchangeInfo?showPermissionSets=false").await;
    assert_eq!(bare["symbols"][0]["permissionSets"], serde_json::json!([]));
    assert_eq!(names(&exchange.json("/api/v3/exchangeInfo?permissions=SPOT").await).len(), names(&whole).len());
    assert!(names(&exchange.json("/api/v3/exchangeInfo?permissions=LEVERAGED").await).is_empty());
}

#[tokio::test]
async fn symbols_have_the_filters_that_clients_read() {
    let exchange = Exchange::start().await;
    let spot = exchange.json("/api/v3/exchangeInfo").await;
    for symbol in spot["symbols"].as_array().unwrap() {
        let filter = |kind: &str| {
            let filters = symbol["filters"].as_array().unwrap();
            filters.iter().find(|filter| filter["filterType"] == kind).unwrap_or_else(|| panic!("{kind}: {symbol}"))
        };
        let tick: f64 = filter("PRICE_FILTER")["tickSize"].as_str().unwrap().parse().unwrap();
        assert!(
            tick > 0.0 && filter("LOT_SIZE")["stepSize"].is_string() && filter("NOTIONAL")["minNotional"].is_string()
        );
        let name = format!("{}{}", symbol["baseAsset"].as_str().unwrap(), symbol["quoteAsset"].as_str().unwrap());
        assert_eq!(symbol["symbol"], name);
    }
    let futures = exchange.json("/fapi/v1/exchangeInfo").await;
    let kinds: Vec<&str> =
        futures["symbols"].as_array().unwrap().iter().map(|s| s["contractType"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"PERPETUAL") && kinds.contains(&"CURRENT_QUARTER"));
    let coin = exchange.json("/dapi/v1/exchangeInfo").await;
    assert!(
        coin["symbols"].as_array().unwrap().iter().all(|s| s["contractStatus"].is_string() && s["status"].is_null())
    );
}
