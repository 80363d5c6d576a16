//! Gateways on one store that leave by one address: they spend one request weight together.

use std::time::Duration;

use futures_util::future::join_all;
use lastgood_sim::{ClockMode, SimConfig, Venue};
use lastgood_testing::RedisServer;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Exchange, Running, eventually, get};
use crate::word::Stub;

const LIMIT: u32 = 600;

/// An exchange that allows little, and counts all of it in one minute, which has just begun: gateways go by the
/// exchange's minutes as far as they know its clock, and that goes on for them.
async fn exchange() -> Exchange {
    let config = SimConfig { seed: 7, symbols: 300, weight_limit_spot: LIMIT, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    let minute = lastgood::Clock::system().now().as_millis() / 60_000 * 60_000;
    exchange.sim.set_clock(ClockMode::Frozen(minute + 1_000));
    exchange
}

async fn start(exchange: &Exchange, redis: &RedisServer, more: &[(&str, &str)]) -> Running {
    let url = redis.url();
    let flags: Vec<_> = [("store", url.as_str())].into_iter().chain(more.iter().copied()).collect();
    Running::start(&exchange.url(), &flags).await
}

fn average(symbol: &str) -> String {
    format!("/api/v3/avgPrice?symbol={symbol}")
}

/// How the budget of the spot market stands.
async fn budget(gateway: &Running) -> Value {
    get(gateway.url("/health")).await.json()["upstreams"][0]["budgets"][0].clone()
}

async fn weight(gateway: &Running) -> Value {
    budget(gateway).await["buckets"][0].clone()
}

/// Asks one gateway after the other for the next symbol, all at once; says how many were answered.
async fn ask_all(gateways: &[&Running], symbols: &[String]) -> usize {
    let asked = symbols.iter().enumerate().map(|(number, symbol)| {
        let gateway = gateways[number % gateways.len()];
        async move { get(gateway.url(&average(symbol))).await.status == 200 }
    });
    join_all(asked).await.into_iter().filter(|answered| *answered).count()
}

fn assert_never_too_much(exchange: &Exchange) {
    let statuses = exchange.sim.counters().statuses;
    assert_eq!((statuses.get(&429), statuses.get(&418)), (None, None), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_on_one_address_never_ask_for_more_together_than_it_may() {
    for (latency, at_once) in [(0, true), (40, true), (0, false)] {
        let (redis, exchange) = (RedisServer::start(), exchange().await);
        if latency > 0 {
            exchange.fault(serde_json::json!({"kind": "latency", "ms": latency}));
        }
        let (one, other) = (start(&exchange, &redis, &[]).await, start(&exchange, &redis, &[]).await);
        eventually("they know of each other", async || {
            budget(&one).await["gateways"] == 2 && budget(&other).await["gateways"] == 2
        })
        .await;
        assert_eq!(get(one.url("/api/v3/exchangeInfo")).await.status, 200);
        eventually("the limit is known", async || weight(&other).await["limit"] == LIMIT).await;
        let symbols = exchange.sim.symbols(Venue::Spot);
        let answered = match at_once {
            // 1,200 in weight, where 600 are allowed.
            true => {
                let (first, second) = ([&one, &other], [&other, &one]);
                let (a, b) = tokio::join!(ask_all(&first, &symbols), ask_all(&second, &symbols));
                a + b
            }
            // One has used nearly all when the other begins, before anything can have been published.
            false => ask_all(&[&one], &symbols[..250]).await + ask_all(&[&other], &symbols[50..]).await,
        };
        assert_never_too_much(&exchange);
        let used = exchange.sim.counters().total;
        println!("latency {latency} ms, at once {at_once}: {answered} answered, {used} asked");
        assert!(used * 2 > u64::from(LIMIT) / 2, "most of the weight is used: {used} calls of weight 2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_late_knows_the_sum_at_once_and_all_know_it_within_a_second() {
    loop {
        let (redis, exchange) = (RedisServer::start(), exchange().await);
        let minute = || lastgood::Clock::system().now().as_millis() / 60_000;
        let began_in = minute();
        let (one, other) = (start(&exchange, &redis, &[]).await, start(&exchange, &redis, &[]).await);
        let symbols = exchange.sim.symbols(Venue::Spot);
        ask_all(&[&one], &symbols[..60]).await;
        ask_all(&[&other], &symbols[60..100]).await;
        let began = Instant::now();
        eventually("each knows what the other sent", async || {
            let (one, other) = (weight(&one).await, weight(&other).await);
            (&one["own"], &one["others"], &other["own"], &other["others"])
                == (&120.into(), &80.into(), &80.into(), &120.into())
        })
        .await;
        let took = began.elapsed();
        let late = start(&exchange, &redis, &[]).await;
        let (known, gateways) = (weight(&late).await, budget(&late).await["gateways"].clone());
        if minute() != began_in {
            continue; // The minute turned meanwhile.
        }
        assert!(took < Duration::from_millis(1_500), "{took:?}");
        assert_eq!((&known["own"], &known["others"], &gateways), (&0.into(), &200.into(), &3.into()), "{known}");
        assert!(known["used"].as_u64() >= Some(200), "{known}");
        let metrics = get(late.url("/metrics")).await;
        let line = metrics.text().lines().find(|line| {
            line.starts_with("lastgood_budget_others{venue=\"spot\"") && line.contains("bucket=\"weight\"")
        });
        assert!(line.is_some_and(|line| line.ends_with(" 200")), "{line:?}");
        return;
    }
}

/// A path of each bucket that a 429 may name, and what the exchange says there.
const PAUSED: [(&str, &str, &str); 3] = [
    ("/sapi/v1/system/status", "sapi", r#"{"code":-1003,"msg":"Too many requests."}"#),
    ("/fapi/v1/fundingRate?symbol=BTCUSDT", "funding", r#"{"code":-1003,"msg":"Too many requests."}"#),
    (
        "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m",
        "statistics",
        r#"{"code":-1003,"msg":"Too many requests."}"#,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_one_bucket_at_one_gateway_stops_the_others_within_a_second() {
    let redis = RedisServer::start();
    let stub = Stub::start(|path| match PAUSED.iter().find(|(target, _, _)| target.starts_with(path)) {
        Some((_, _, body)) => (429, vec![("retry-after", "120".to_owned())], (*body).to_owned()),
        None => (200, Vec::new(), r#"{"mins":5,"price":"9.35","closeTime":1700000000000}"#.to_owned()),
    })
    .await;
    let url = redis.url();
    let flags = [("store", url.as_str())];
    let (paused, other) = (Running::start(&stub.url, &flags).await, Running::start(&stub.url, &flags).await);
    for (target, bucket, _) in PAUSED {
        assert_eq!(get(paused.url(target)).await.status, 429, "{target}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = stub.asked();
        let refused = get(other.url(target)).await;
        assert_eq!((refused.status, stub.asked()), (429, asked), "{target}: {}", refused.text());
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((100..=121).contains(&seconds), "{seconds}");
        let bans = get(other.url("/health")).await.json()["bans"].clone();
        assert!(bans.as_array().unwrap().iter().any(|ban| ban["bucket"] == bucket), "{bans}");
        // Nothing else is stopped.
        assert_eq!(get(other.url(&average(&bucket.to_uppercase()))).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_one_gateway_learns_is_known_to_the_others_and_the_newest_word_counts() {
    let redis = RedisServer::start();
    let limit = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(900));
    let stated = std::sync::Arc::clone(&limit);
    let stub = Stub::start(move |_| {
        let limit = stated.load(std::sync::atomic::Ordering::Relaxed);
        let body = format!(
            r#"{{"timezone":"UTC","serverTime":1700000000000,"rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{limit}}}],"exchangeFilters":[],"symbols":[{{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"}}]}}"#
        );
        (200, Vec::new(), body)
    })
    .await;
    let url = redis.url();
    let flags = [("store", url.as_str()), ("regions.exchange_info.fresh_for", "1ms")];
    let (one, other) = (Running::start(&stub.url, &flags).await, Running::start(&stub.url, &flags).await);
    for (asks, hears, states) in [(&one, &other, 900), (&other, &one, 7_000), (&one, &other, 1_200)] {
        limit.store(states, std::sync::atomic::Ordering::Relaxed);
        eventually("the one that asks knows", async || {
            get(asks.url("/api/v3/exchangeInfo")).await;
            weight(asks).await["limit"] == states
        })
        .await;
        eventually("the other hears", async || weight(hears).await["limit"] == states).await;
        assert_eq!(weight(asks).await["limit"], states, "and nothing older comes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_each_goes_on_by_itself() {
    for is_hung in [false, true] {
        let (mut redis, exchange) = (RedisServer::start(), exchange().await);
        let (one, other) = (start(&exchange, &redis, &[]).await, start(&exchange, &redis, &[]).await);
        eventually("they know of each other", async || budget(&one).await["gateways"] == 2).await;
        match is_hung {
            true => redis.stop(),
            false => redis.kill(),
        }
        let symbols = exchange.sim.symbols(Venue::Spot);
        let began = Instant::now();
        assert_eq!(ask_all(&[&one, &other], &symbols[..100]).await, 100);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        eventually("each knows that it goes by itself", async || budget(&one).await["gateways"].is_null()).await;
        assert_eq!(ask_all(&[&one, &other], &symbols[100..150]).await, 50);
        assert_never_too_much(&exchange);
        match is_hung {
            true => redis.cont(),
            false => redis.restart(),
        }
        eventually("they know of each other again", async || {
            budget(&one).await["gateways"] == 2 && budget(&other).await["gateways"] == 2
        })
        .await;
    }
}

#[tokio::test]
async fn gateways_with_addresses_of_their_own_share_neither_weight_nor_pauses() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let own = [("upstream.share_budget", "false")];
    let (one, other) = (start(&exchange, &redis, &own).await, start(&exchange, &redis, &own).await);
    ask_all(&[&one], &exchange.sim.symbols(Venue::Spot)[..20]).await;
    exchange.fault(serde_json::json!({"kind": "banned_spot", "times": 1, "path_prefix": "/api"}));
    assert_eq!(get(one.url("/api/v3/ticker/price")).await.status, 418);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((weight(&other).await["others"].as_u64(), budget(&other).await["gateways"].is_null()), (Some(0), true));
    assert_eq!(get(other.url("/api/v3/ticker/price")).await.status, 200, "the ban is of another address");
    assert_eq!(redis.command(&["EXISTS", "lastgood:@budget:v1", "lastgood:bans:v1:all"]).trim(), ":0");
}
