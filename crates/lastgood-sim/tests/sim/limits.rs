//! Weights, limits and bans.

use lastgood_sim::{SimConfig, Venue};

use crate::support::{DAY, Exchange, MINUTE, NOW, list};

#[tokio::test]
async fn every_request_weighs_what_the_exchange_says() {
    let exchange = Exchange::start().await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    let some = |count: usize| list(&symbols[..count]);
    let mut table: Vec<(String, u64)> = [
        ("/api/v3/ping", 1),
        ("/api/v3/time", 1),
        ("/api/v3/exchangeInfo", 20),
        ("/api/v3/depth?symbol=BTCUSDT", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=100", 5),
        ("/api/v3/depth?symbol=BTCUSDT&limit=101", 25),
        ("/api/v3/depth?symbol=BTCUSDT&limit=500", 25),
        ("/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("/api/v3/depth?symbol=BTCUSDT&limit=9000", 250),
        ("/api/v3/trades?symbol=BTCUSDT", 25),
        ("/api/v3/historicalTrades?symbol=BTCUSDT", 25),
        ("/api/v3/aggTrades?symbol=BTCUSDT", 4),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000", 2),
        ("/api/v3/uiKlines?symbol=BTCUSDT&interval=1h", 2),
        ("/api/v3/avgPrice?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/24hr", 80),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/price?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/price", 4),
        ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", 2),
        ("/api/v3/ticker/bookTicker", 4),
        ("/api/v3/ticker?symbol=BTCUSDT", 4),
        ("/api/v3/ticker/tradingDay?symbol=BTCUSDT", 4),
        ("/api/v3/klines?symbol=NOPE&interval=1h", 2),
        ("/fapi/v1/ping", 1),
        ("/fapi/v1/exchangeInfo", 1),
        ("/fapi/v1/depth?symbol=BTCUSDT", 10),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=50", 2),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=100", 5),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
        ("/fapi/v1/trades?symbol=BTCUSDT", 5),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT", 20),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=99", 1),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=100", 2),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=499", 2),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h", 5),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1000", 5),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1001", 10),
        ("/fapi/v1/premiumIndex?symbol=BTCUSDT", 1),
        ("/fapi/v1/premiumIndex", 10),
        ("/fapi/v1/openInterest?symbol=BTCUSDT", 1),
        ("/fapi/v1/ticker/24hr?symbol=BTCUSDT", 1),
        ("/fapi/v1/ticker/24hr", 40),
        ("/fapi/v1/ticker/price?symbol=BTCUSDT", 1),
        ("/fapi/v1/ticker/price", 2),
        ("/fapi/v1/ticker/bookTicker?symbol=BTCUSDT", 2),
        ("/fapi/v1/ticker/bookTicker", 5),
        ("/fapi/v1/fundingRate", 0),
        ("/futures/data/openInterestHist?symbol=BTCUSDT&period=5m", 0),
        ("/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h&limit=1500", 10),
    ]
    .map(|(target, weight)| (target.to_owned(), weight))
    .into();
    for (count, day, window) in [(1, 2, 4), (20, 2, 80), (21, 40, 84), (100, 40, 200)] {
        table.push((format!("/api/v3/ticker/24hr?symbols={}", some(count)), day));
        table.push((format!("/api/v3/ticker?symbols={}", some(count)), window));
        table.push((format!("/api/v3/ticker/tradingDay?symbols={}", some(count)), window));
        table.push((format!("/api/v3/ticker/price?symbols={}", some(count)), 4));
    }
    table.push((format!("/api/v3/ticker/24hr?symbols={}", some(101)), 80));
    for (target, weight) in table {
        let ping = format!("{}/ping", target.split('/').take(3).collect::<Vec<_>>().join("/"));
        let ping = if target.starts_with("/futures") { "/fapi/v1/ping".to_owned() } else { ping };
        let before = exchange.get(&ping).await.number("x-mbx-used-weight-1m");
        let got = exchange.get(&target).await;
        assert_eq!(got.number("x-mbx-used-weight-1m") - before, weight, "{target}: {}", got.status);
        assert_eq!(got.header("x-mbx-used-weight"), got.header("x-mbx-used-weight-1m"));
    }
}

#[tokio::test]
async fn the_count_restarts_with_the_minute_and_each_market_has_its_own() {
    let exchange = Exchange::start().await;
    let used = async |target: &str| exchange.get(target).await.number("x-mbx-used-weight-1m");
    assert_eq!(used("/api/v3/ping").await, 1);
    assert_eq!(used("/api/v3/exchangeInfo").await, 21);
    assert_eq!(used("/fapi/v1/ping").await, 1);
    assert_eq!(used("/dapi/v1/ping").await, 1);
    exchange.sim.advance(MINUTE - NOW % MINUTE - 1);
    assert_eq!(used("/api/v3/ping").await, 22);
    exchange.sim.advance(1);
    assert_eq!(used("/nowhere").await, 0, "a 404 weighs nothing");
    assert_eq!(used("/api/v3/ping").await, 1);
    let weight = exchange.sim.counters().weight;
    assert_eq!((weight[&Venue::Spot], weight[&Venue::UsdM], weight[&Venue::CoinM]), (23, 1, 1));
}

/// An exchange whose limits are used up by ten pings.
async fn tight() -> Exchange {
    let exchange = Exchange::start_with(SimConfig {
        symbols: 40,
        weight_limit_spot: 10,
        weight_limit_futures: 10,
        ..SimConfig::default()
    })
    .await;
    for ping in ["/api/v3/ping", "/fapi/v1/ping"] {
        for _ in 0..10 {
            assert_eq!(exchange.get(ping).await.status, 200);
        }
    }
    exchange
}

/// Goes on asking until it is banned; how many refusals came before.
async fn provoke(exchange: &Exchange, ping: &str) -> (u32, crate::support::Got) {
    let mut refusals = 0;
    for _ in 0..100 {
        let got = exchange.get(ping).await;
        match got.status {
            418 => return (refusals, got),
            429 => refusals += 1,
            200 if refusals == 0 => {}
            status => panic!("{status}: {}", got.text()),
        }
    }
    panic!("never banned");
}

#[tokio::test]
async fn who_uses_up_the_limit_is_refused_until_the_minute_ends() {
    let exchange = tight().await;
    let got = exchange.get("/api/v3/ping").await;
    assert_eq!(got.error(), (429, -1003));
    assert!(got.text().contains("Too much request weight used; current limit is 10 request weight per 1 MINUTE."));
    assert_eq!(got.number("retry-after"), 53, "it is 7.25 s past the minute");
    exchange.sim.advance(got.number("retry-after") * 1_000);
    assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
}

#[tokio::test]
async fn signed_requests_are_counted_and_refused_alike() {
    let exchange = tight().await;
    assert_eq!(exchange.get("/api/v3/account").await.error(), (429, -1003));
}

#[tokio::test]
async fn who_goes_on_is_banned_in_each_markets_words() {
    let exchange = tight().await;
    for (ping, begin, end) in [
        ("/api/v3/ping", "Way too much request weight used; IP banned until ", ". Please use WebSocket"),
        ("/fapi/v1/ping", "Way too many requests; IP(127.0.0.1) banned until ", ". Please use"),
    ] {
        let (refusals, got) = provoke(&exchange, ping).await;
        assert!(refusals > 1, "a warning comes first: {refusals}");
        assert_eq!(got.error(), (418, -1003));
        let message = got.json()["msg"].as_str().unwrap().to_owned();
        let until = message.strip_prefix(begin).and_then(|rest| rest.split_once(end)).expect(&message).0;
        assert_eq!(until.len(), 13, "{message}");
        let left = until.parse::<u64>().unwrap() - NOW;
        assert_eq!((left, got.number("retry-after")), (2 * MINUTE, 120), "{message}");
    }
    assert_eq!(exchange.get("/dapi/v1/ping").await.status, 200, "another market");
    assert_eq!(exchange.get("/_sim/counters").await.status, 200, "the switches know no ban");
}

#[tokio::test]
async fn a_ban_lasts_as_long_as_it_says_and_the_next_is_longer() {
    let exchange = tight().await;
    let mut lengths = Vec::new();
    for _ in 0..16 {
        let (_, banned) = provoke(&exchange, "/api/v3/ping").await;
        let left = banned.number("retry-after") * 1_000;
        lengths.push(left);
        exchange.sim.advance(left - 1);
        let got = exchange.get("/api/v3/ping").await;
        assert_eq!((got.status, got.number("retry-after")), (418, 1));
        exchange.sim.advance(1);
        assert_eq!(exchange.get("/api/v3/ping").await.status, 200, "the ban is over");
    }
    assert!(lengths.windows(2).all(|pair| pair[1] > pair[0] || pair[1] == 3 * DAY), "{lengths:?}");
    assert_eq!((lengths[0], lengths[1], lengths[15]), (2 * MINUTE, 4 * MINUTE, 3 * DAY));
}

#[tokio::test]
async fn funding_has_a_bucket_of_its_own() {
    let exchange = Exchange::start().await;
    for number in 0..500 {
        let path = if number % 2 == 0 { "fundingRate?symbol=BTCUSDT&limit=1" } else { "fundingInfo" };
        assert_eq!(exchange.get(&format!("/fapi/v1/{path}")).await.status, 200, "{number}");
    }
    let got = exchange.get("/fapi/v1/fundingInfo").await;
    assert_eq!(got.error(), (429, -1003));
    let window_left = (5 * MINUTE - NOW % (5 * MINUTE)).div_ceil(1_000);
    assert_eq!(got.number("retry-after"), window_left, "until the bucket's five minutes end");
    assert_eq!(got.number("x-mbx-used-weight-1m"), 0);
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 200);
    assert_eq!(exchange.get("/dapi/v1/fundingInfo").await.status, 200, "another market's bucket");
    exchange.sim.advance(window_left * 1_000);
    assert_eq!(exchange.get("/fapi/v1/fundingInfo").await.status, 200);
}

#[tokio::test]
async fn what_weighs_nothing_is_answered_when_the_weight_is_used_up() {
    let exchange = tight().await;
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 429);
    for target in ["/fapi/v1/fundingInfo", "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m"] {
        assert_eq!(exchange.get(target).await.status, 200, "{target}");
    }
}

#[tokio::test]
async fn statistics_have_a_bucket_of_their_own() {
    let exchange = Exchange::start().await;
    let target = "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&limit=1";
    for number in 0..1_000 {
        assert_eq!(exchange.get(target).await.status, 200, "{number}");
    }
    assert_eq!(exchange.get(target).await.error(), (429, -1003));
    assert_eq!(exchange.get("/fapi/v1/fundingInfo").await.status, 200);
    exchange.sim.advance(5 * MINUTE);
    assert_eq!(exchange.get(target).await.status, 200);
}
