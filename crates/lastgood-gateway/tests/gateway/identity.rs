//! What came from one exchange is never served as another's, whatever store or data directory they share.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood_sim::{ClockMode, SimConfig};
use lastgood_testing::RedisServer;
use serde_json::{Value, json};

use crate::support::{Exchange, Got, Running, Sink, client, eventually, get, half_past, read};

/// Questions of every kind, to every market.
const TARGETS: [&str; 31] = [
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/depth?symbol=BTCUSDT",
    "/api/v3/trades?symbol=BTCUSDT",
    "/api/v3/aggTrades?symbol=BTCUSDT",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=300",
    "/api/v3/klines?symbol=BTCUSDT&interval=1d&startTime=1700000000000&limit=50",
    "/api/v3/uiKlines?symbol=BTCUSDT&interval=1h&limit=10",
    "/api/v3/avgPrice?symbol=BTCUSDT",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/ticker/24hr",
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/ticker/price",
    "/api/v3/ticker/bookTicker?symbol=BTCUSDT",
    "/api/v3/ticker/tradingDay?symbol=BTCUSDT",
    "/api/v3/ticker?symbol=BTCUSDT",
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/depth?symbol=BTCUSDT",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=300",
    "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=20",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h&limit=20",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/fundingRate?symbol=BTCUSDT",
    "/fapi/v1/openInterest?symbol=BTCUSDT",
    "/fapi/v1/ticker/price?symbol=BTCUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=1h",
    "/dapi/v1/exchangeInfo",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h&limit=20",
    "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP",
    "/dapi/v1/ticker/price?symbol=BTCUSD_PERP",
    "/fng/?limit=3&format=json",
];
const LISTS: [&str; 2] = ["/v1/symbols/spot", "/v1/symbols/futures"];

async fn exchange(seed: u64) -> Exchange {
    let exchange = Exchange::start_with(SimConfig { seed, symbols: 120, ..SimConfig::default() }).await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    exchange
}

/// A gateway of an exchange that is patient with a busy machine.
async fn gateway(exchange: &Exchange, more: &[(&str, &str)]) -> Running {
    let url = exchange.url();
    let flags = [&[("fear_greed.url", url.as_str()), ("store_budget", "5s")], more].concat();
    Running::start(&url, &flags).await
}

/// What the exchange itself answers; a gateway's list of symbols is compared by its rows.
async fn direct(exchange: &Exchange) -> BTreeMap<&'static str, String> {
    let mut answers = BTreeMap::new();
    for target in TARGETS {
        let answer = get(format!("{}{target}", exchange.url())).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answers.insert(target, answer.text().to_owned());
    }
    let alone = gateway(exchange, &[]).await;
    for target in LISTS {
        answers.insert(target, said(target, &get(alone.url(target)).await));
    }
    exchange.sim.reset_counters();
    answers
}

fn said(target: &str, answer: &Got) -> String {
    match target.starts_with("/v1/symbols") {
        true => format!("{} {}", answer.json()["version"], answer.json()["symbols"]),
        false => answer.text().to_owned(),
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Asks everything; each answer is the exchange's own.
async fn answers_as(gateway: &Running, own: &BTreeMap<&'static str, String>, what: &str) {
    for (target, expected) in own {
        let answer = get(gateway.url(target)).await;
        assert_eq!((answer.status, &said(target, &answer)), (200, expected), "{what}: {target} ({})", answer.cache());
    }
    assert!(gateway.gateway.cache().sync(Duration::from_secs(20)).await);
}

/// Asks everything while the exchange is gone: its own last good answer, or none.
async fn answers_as_or_fails(gateway: &Running, own: &BTreeMap<&'static str, String>, what: &str) -> usize {
    let mut answered = 0;
    for (target, expected) in own {
        let answer = get(gateway.url(target)).await;
        if answer.status == 200 {
            assert_eq!(&said(target, &answer), expected, "{what}: {target} ({})", answer.cache());
            answered += 1;
        }
    }
    answered
}

#[tokio::test]
async fn two_gateways_of_different_exchanges_on_one_redis_never_meet() {
    let redis = RedisServer::start();
    let (mut one, mut other) = (exchange(7).await, exchange(8).await);
    let (of_one, of_other) = (direct(&one).await, direct(&other).await);
    let differ = of_one.iter().filter(|(target, answer)| of_other[*target] != **answer).count();
    assert!(differ >= of_one.len() - 3, "the exchanges are too much alike: {differ} of {}", of_one.len());
    let url = redis.url();
    let flags = [("store", url.as_str())];
    let first = gateway(&one, &flags).await;
    eventually("it is attached", async || get(first.url("/health")).await.json()["cache"]["log"] == "heard").await;
    answers_as(&first, &of_one, "the first").await;
    let second = gateway(&other, &flags).await;
    answers_as(&second, &of_other, "the second").await;
    answers_as(&first, &of_one, "the first again").await;
    first.stop().await;
    second.stop().await;
    // Nothing in memory: what Redis has is each exchange's own.
    for (exchange, own) in [(&one, &of_one), (&other, &of_other)] {
        let restarted = gateway(exchange, &flags).await;
        answers_as(&restarted, own, "restarted").await;
        restarted.stop().await;
    }
    one.stop().await;
    other.stop().await;
    for (exchange, own) in [(&one, &of_one), (&other, &of_other)] {
        let alone = gateway(exchange, &flags).await;
        let answered = answers_as_or_fails(&alone, own, "without its exchange").await;
        assert!(answered >= own.len() / 2, "{answered} of {} are kept", own.len());
        alone.stop().await;
    }
}

#[tokio::test]
async fn a_data_directory_that_is_used_with_another_exchange_serves_none_of_the_first_and_says_so_once() {
    let log = Sink::of_the_log("warn");
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let flags = [("data_dir", folder), ("store", "embedded:")];
    let (mut one, other) = (exchange(7).await, exchange(8).await);
    let (of_one, of_other) = (direct(&one).await, direct(&other).await);
    let warnings = || log.text().matches("the exchange is another one than at the last start").count();
    for (exchange, own, lines) in
        [(&one, &of_one, 0), (&one, &of_one, 0), (&other, &of_other, 1), (&other, &of_other, 1)]
    {
        let gateway = gateway(exchange, &flags).await;
        answers_as(&gateway, own, &exchange.url()).await;
        gateway.stop().await;
        assert_eq!(warnings(), lines, "{}", log.text());
    }
    let line = format!("spot: {} before, {} now", one.address, other.address);
    assert!(log.text().contains(&line), "{}", log.text());
    // What was kept of the first exchange is still its own.
    one.stop().await;
    let gateway = gateway(&one, &flags).await;
    let answered = answers_as_or_fails(&gateway, &of_one, "back again").await;
    assert!(answered >= of_one.len() / 2, "{answered} of {} are kept", of_one.len());
    assert_eq!(warnings(), 2);
}

#[tokio::test]
async fn a_ban_of_one_exchange_does_not_stop_a_gateway_of_another() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let url = redis.url();
    let flags = [("store", url.as_str()), ("data_dir", data.path().to_str().unwrap())];
    let (one, other) = (exchange(7).await, exchange(8).await);
    let banned = gateway(&one, &flags).await;
    one.fault(json!({"kind": "banned_spot", "times": 1}));
    assert_eq!(get(banned.url(TARGETS[8])).await.status, 418);
    eventually("the ban is shared", async || {
        redis.command(&["GET", "lastgood:bans:v1:all"]).contains(&one.address.to_string())
    })
    .await;
    // Neither by the store nor by the file, which the next start of the same directory reads.
    banned.stop().await;
    let free = gateway(&other, &flags).await;
    assert_eq!(get(free.url(TARGETS[8])).await.status, 200);
    free.stop().await;
    let again = gateway(&one, &flags).await;
    assert_eq!(get(again.url(TARGETS[9])).await.status, 418, "its own ban is remembered");
}

#[tokio::test]
async fn the_name_of_the_own_exchange_may_be_left_out_of_keys_and_patterns() {
    let exchange = exchange(7).await;
    let gateway = gateway(&exchange, &[]).await;
    for target in ["/api/v3/ticker/price?symbol=BTCUSDT", "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5"] {
        assert_eq!(get(gateway.url(target)).await.status, 200);
    }
    let full = format!("ticker_price:spot@{}/api/v3/ticker/price?", exchange.address);
    for written in ["ticker_price:spot/api/v3/ticker/price?", &full] {
        let segment = encoded(written);
        let explained = get(gateway.url(&format!("/api/cache/explain/{segment}"))).await;
        assert_eq!((explained.status, &explained.json()["key"]), (200, &Value::from(full.as_str())), "{written}");
    }
    for pattern in ["ticker_price:spot/*", "ticker_price:spot@127.0.0.1:*", "ticker_price:*price\\?"] {
        let encoded = encoded(pattern);
        let listed = get(gateway.url(&format!("/api/cache/keys?pattern={encoded}"))).await.json();
        assert_eq!(listed["keys"][0]["key"], full.as_str(), "{pattern}: {listed}");
    }
    let expire = json!({"pattern": "klines:spot/api/v3/klines:BTCUSDT:*", "hard": true}).to_string();
    let expired = read(client().post(gateway.url("/api/cache/invalidate")).body(expire).send().await.unwrap()).await;
    assert!(expired.json()["removed"].as_u64() >= Some(1), "{}", expired.text());
    let cleared = read(client().post(gateway.url("/api/cache/clear/BTCUSDT")).send().await.unwrap()).await;
    assert!(cleared.json()["matched"].as_u64() >= Some(1), "{}", cleared.text());
}
