//! Several gateways on one Redis: what one invalidates or is given, the others know.

use std::time::Duration;

use lastgood_sim::ClockMode;
use lastgood_testing::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{Exchange, Got, Running, client, eventually, get, half_past, read};

const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
const CANDLES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=300";

/// Two gateways whose answers stay fresh for longer than a test takes.
struct Two {
    redis: RedisServer,
    exchange: Exchange,
    one: Running,
    other: Running,
}

impl Two {
    async fn start() -> Two {
        Two::start_on(RedisServer::start()).await
    }

    async fn start_on(redis: RedisServer) -> Two {
        let exchange = Exchange::start().await;
        exchange.sim.set_clock(ClockMode::Frozen(half_past()));
        let url = redis.url();
        let flags = [
            ("store", url.as_str()),
            ("regions.ticker_price.fresh_for", "10m"),
            ("regions.klines.fresh_for", "10m"),
            ("regions.kv.fresh_for", "10m"),
        ];
        let (one, other) =
            (Running::start(&exchange.url(), &flags).await, Running::start(&exchange.url(), &flags).await);
        let two = Two { redis, exchange, one, other };
        for gateway in [&two.one, &two.other] {
            eventually("it listens", async || log(gateway).await == "heard").await;
        }
        two
    }

    /// The answer is in the memory of both.
    async fn both_hold(&self, target: &str) -> Got {
        let first = get(self.one.url(target)).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert!(self.one.gateway.cache().sync(Duration::from_secs(5)).await);
        for gateway in [&self.one, &self.other] {
            eventually("memory holds it", async || {
                get(gateway.url(target)).await.header("cache-status").ends_with("detail=memory")
            })
            .await;
        }
        first
    }
}

async fn log(gateway: &Running) -> Value {
    get(gateway.url("/health")).await.json()["cache"]["log"].clone()
}

async fn ask(gateway: &Running, method: Method, target: &str, body: &str) -> Got {
    let got = read(client().request(method, gateway.url(target)).body(body.to_owned()).send().await.unwrap()).await;
    assert!(got.status < 300, "{target}: {}", got.text());
    got
}

#[tokio::test]
async fn an_entry_invalidated_at_one_gateway_is_served_by_no_other() {
    let two = Two::start().await;
    for (path, body) in [
        ("/api/cache/invalidate", json!({"key": "ticker_price:spot/api/v3/ticker/price?", "hard": true})),
        ("/api/cache/invalidate", json!({"pattern": "ticker_price:*"})),
        ("/api/cache/invalidate", json!({"region": "ticker_price", "hard": true})),
        ("/api/cache/flush", json!({"confirm": true})),
    ] {
        two.both_hold(PRICE).await;
        two.exchange.sim.reset_counters();
        ask(&two.one, Method::POST, path, &body.to_string()).await;
        eventually(&format!("{path} {body}"), async || get(two.other.url(PRICE)).await.cache() == "MISS").await;
        assert_eq!(two.exchange.asked(), 1);
    }
}

#[tokio::test]
async fn clearing_a_symbol_at_one_gateway_clears_its_candles_at_the_others() {
    let two = Two::start().await;
    let candles = two.both_hold(CANDLES).await;
    two.exchange.sim.reset_counters();
    ask(&two.one, Method::POST, "/api/cache/clear/BTCUSDT", "").await;
    eventually("they are loaded again", async || get(two.other.url(CANDLES)).await.cache() == "MISS").await;
    assert!(two.exchange.asked() >= 1);
    assert_eq!(get(two.other.url(CANDLES)).await.body, candles.body);
}

#[tokio::test]
async fn a_value_given_to_one_gateway_is_the_others_at_once_and_gone_when_it_is_deleted() {
    let two = Two::start().await;
    let value = "/v1/kv/kv/report";
    ask(&two.one, Method::PUT, value, "first").await;
    two.both_hold(value).await;
    ask(&two.one, Method::PUT, value, "second").await;
    eventually("the second is there", async || get(two.other.url(value)).await.text() == "second").await;
    ask(&two.other, Method::DELETE, value, "").await;
    eventually("it is gone", async || get(two.one.url(value)).await.status == 404).await;
}

#[tokio::test]
async fn while_redis_is_silent_answers_say_that_they_are_unverified() {
    let two = Two::start().await;
    const SETTLED: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3&endTime=1700000000000";
    for question in [PRICE, SETTLED] {
        two.both_hold(question).await;
    }
    two.redis.stop();
    eventually("it is cut off", async || log(&two.other).await == "cut off").await;
    for question in [PRICE, SETTLED] {
        let held = get(two.other.url(question)).await;
        assert_eq!(held.cache(), "HIT");
        let status = held.header("cache-status").to_owned();
        assert!(status.ends_with("; detail=memory; unverified"), "{question}: {status}");
    }
    two.exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": "/api/v3/ticker"}));
    eventually("it is believed no longer", async || get(two.other.url(PRICE)).await.cache() == "LAST-GOOD").await;
    let last_good = get(two.other.url(PRICE)).await;
    assert!(last_good.header("cache-status").ends_with("; unverified"), "{}", last_good.header("cache-status"));
    two.exchange.sim.clear_faults();
    two.redis.cont();
    eventually("it listens again", async || log(&two.other).await == "heard").await;
    let held = get(two.other.url(PRICE)).await;
    assert!(held.header("cache-status").ends_with("detail=memory"), "{}", held.header("cache-status"));
}

const DEPTH: &str = "/api/v3/depth?symbol=BTCUSDT&limit=5";

#[tokio::test]
async fn what_one_gateway_alone_holds_is_reached_by_every_invalidation_at_another() {
    let redis = RedisServer::start();
    // So that it keeps in memory what Redis gave up.
    redis.command(&["ACL", "SETUSER", "default", "-client|tracking"]);
    let two = Two::start_on(redis).await;
    for (path, body, question) in [
        ("/api/cache/invalidate", json!({"pattern": "ticker_price:*", "hard": true}), PRICE),
        ("/api/cache/invalidate", json!({"pattern": "ticker_price:*"}), PRICE),
        ("/api/cache/invalidate", json!({"region": "ticker_price", "hard": true}), PRICE),
        ("/api/cache/invalidate", json!({"region": "ticker_price"}), PRICE),
        ("/api/cache/invalidate", json!({"symbol": "BTCUSDT"}), CANDLES),
        ("/api/cache/clear/BTCUSDT", json!({}), PRICE),
        ("/api/cache/clear/BTCUSDT", json!({}), CANDLES),
        ("/api/cache/flush", json!({"confirm": true}), PRICE),
    ] {
        get(two.other.url(question)).await;
        assert!(two.other.gateway.cache().sync(Duration::from_secs(5)).await);
        // Redis gave it up, as it does for want of memory.
        for key in two.redis.command(&["KEYS", "lastgood:*:v*:*"]).lines() {
            two.redis.command(&["DEL", key.trim()]);
        }
        assert_eq!(get(two.other.url(question)).await.cache(), "HIT");
        ask(&two.one, Method::POST, path, &body.to_string()).await;
        eventually(&format!("{path} {body}"), async || get(two.other.url(question)).await.cache() != "HIT").await;
    }
    assert_eq!(get(two.one.url(DEPTH)).await.status, 200);
}

#[tokio::test]
async fn what_another_program_deletes_overwrites_or_flushes_is_loaded_again_and_a_value_without_a_source_goes_with_a_flush()
 {
    let two = Two::start().await;
    // Redis reports keys to both by then: keys flushed before that a gateway can only doubt.
    for gateway in [&two.one, &two.other] {
        two.both_hold(PRICE).await;
        for key in two.redis.command(&["KEYS", "lastgood:ticker_price:v*:*"]).lines() {
            two.redis.command(&["DEL", key.trim()]);
        }
        eventually("keys are reported to it", async || get(gateway.url(PRICE)).await.cache() != "HIT").await;
    }
    let value = "/v1/kv/kv/report";
    let ways: [&[&str]; 4] =
        [&["FLUSHALL"], &["DEL", "KEY"], &["SET", "KEY", "other bytes", "PX", "60000"], &["EXPIRE", "KEY", "0"]];
    for way in ways {
        two.both_hold(PRICE).await;
        ask(&two.one, Method::PUT, value, "given").await;
        two.both_hold(value).await;
        // What both wrote themselves is looked up by then, and found to be the same.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(get(two.other.url(value)).await.header("cache-status").ends_with("detail=memory"));
        two.exchange.sim.reset_counters();
        for key in two.redis.command(&["KEYS", "lastgood:*:v*:*"]).lines().filter(|line| line.starts_with("lastgood:"))
        {
            let words: Vec<&str> = way.iter().map(|word| if *word == "KEY" { key.trim() } else { word }).collect();
            two.redis.command(&words);
        }
        eventually(&format!("{way:?}"), async || get(two.other.url(PRICE)).await.cache() != "HIT").await;
        for gateway in [&two.one, &two.other] {
            // One key that is missing may have been evicted, and nothing would bring the value back.
            let (is_gone, status) = if way == ["FLUSHALL"] { ("gone", 404) } else { ("kept", 200) };
            eventually(&format!("{way:?} {is_gone}"), async || get(gateway.url(value)).await.status == status).await;
            assert_eq!(get(gateway.url(PRICE)).await.status, 200);
        }
        assert!(two.exchange.asked() >= 1, "{way:?}");
    }
}

#[tokio::test]
async fn what_one_gateway_expires_never_brings_back_what_another_put_before() {
    let two = Two::start().await;
    let value = "/v1/kv/kv/report";
    for (round, body) in [
        json!({"key": "kv:report"}),
        json!({"pattern": "kv:rep*"}),
        json!({"tag": "daily"}),
        json!({"region": "kv"}),
        json!({"pattern": "*"}),
    ]
    .into_iter()
    .enumerate()
    {
        let (before, after) = (format!("v{round}"), format!("w{round}"));
        ask(&two.one, Method::PUT, &format!("{value}?tags=daily"), &before).await;
        eventually("the other has it", async || get(two.other.url(value)).await.text() == before).await;
        ask(&two.one, Method::PUT, &format!("{value}?tags=daily"), &after).await;
        ask(&two.other, Method::POST, "/api/cache/invalidate", &body.to_string()).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::Instant::now() < until {
            let seen = get(two.other.url(value)).await;
            assert!(seen.text() == after || seen.text() == before, "{body}: {}", seen.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for gateway in [&two.one, &two.other] {
            assert_eq!(get(gateway.url(value)).await.text(), after, "{body}");
        }
    }
}

/// The first answer that comes: a connection that was idle for the while may be closed first.
async fn asked_on_waking(url: String) -> Got {
    match reqwest::get(&url).await {
        Ok(answer) => read(answer).await,
        Err(_) => get(url).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_stopped_for_longer_than_the_bound_serves_nothing_that_was_removed_meanwhile() {
    let two = Two::start().await;
    let folder = tempfile::tempdir().unwrap();
    let more = ["--set", "regions.kv.fresh_for=10m"];
    let child = Process::start_with(folder.path(), &two.redis.url(), &two.exchange.url(), &more);
    for round in 0..3 {
        let value = format!("/v1/kv/kv/report{round}");
        let there = format!("{}{value}", child.url);
        ask(&two.one, Method::PUT, &value, "given").await;
        eventually("it has it in memory", async || {
            get(there.clone()).await.header("cache-status").ends_with("detail=memory")
        })
        .await;
        child.signal("STOP");
        ask(&two.one, Method::DELETE, &value, "").await;
        // Asked before it wakes, so that the answers are the first thing that it does.
        let asked: Vec<_> = (0..5).map(|_| tokio::spawn(asked_on_waking(there.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        child.signal("CONT");
        for answer in asked {
            let got = answer.await.unwrap();
            assert_eq!(got.status, 404, "{}: {}", got.header("cache-status"), got.text());
        }
    }
}
