//! What a change says while Redis is away, and what becomes of it when Redis is back.

use std::process::Output;

use lastgood_testing::RedisServer;

use super::*;
use crate::support::{Sink, eventually};

/// A Redis that has its data again after a restart.
fn redis() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

async fn over(exchange: &Exchange, redis: &RedisServer) -> Running {
    let gateway = start(exchange, &[("store", &redis.url())]).await;
    fill(&gateway).await;
    eventually("Redis has the answers", async || stored(redis, "depth") == 2 && stored(redis, "BTCUSDT") > 1).await;
    gateway
}

/// How many keys in Redis hold this text in their names, marks of tags apart.
fn stored(redis: &RedisServer, part: &str) -> usize {
    let reply = redis.command(&["KEYS", "lastgood:*:v*:*"]);
    let names = reply.lines().filter(|line| !line.starts_with(['*', '$']));
    names.filter(|name| name.contains(part) && !name.contains("@tags") && !name.contains("counters")).count()
}

async fn verb(gateway: &Running, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    let desk = tempfile::tempdir().unwrap();
    command.args(arguments).env_clear().env("LASTGOOD_URL", gateway.url("")).current_dir(desk.path());
    let Output { status, stdout, stderr } = command.output().await.expect("the program starts");
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn says_what_it_could_not_reach(gateway: &Running, redis: &RedisServer, arguments: &[&str]) -> String {
    let (code, out, message) = verb(gateway, arguments).await;
    assert_eq!(code, Some(1), "{arguments:?}: {out}{message}");
    assert!(out.contains("MATCHED"), "{arguments:?}: {out}");
    let store = format!("The store redis://127.0.0.1:{}", redis.port());
    assert!(message.contains(&store) && message.contains("was not reached: "), "{arguments:?}: {message}");
    assert!(!message.contains("backing off"), "the reason is what made it leave Redis alone: {message}");
    message
}

#[tokio::test]
async fn clearing_a_symbol_with_redis_gone_says_so_in_one_log_line_and_is_done_when_it_is_back() {
    let (exchange, mut redis) = (exchange().await, redis());
    let gateway = over(&exchange, &redis).await;
    let log = Sink::of_the_log("warn");
    redis.kill();
    let message = says_what_it_could_not_reach(&gateway, &redis, &["clear", "--symbol", "BTCUSDT"]).await;
    assert!(message.contains("changes wait in the gateway") || message.contains("1 change waits"), "{message}");
    assert!(message.contains("Keys that only the store holds are not known"), "{message}");
    let lines: Vec<String> = log.text().lines().map(str::to_owned).collect();
    let about = lines.iter().filter(|line| line.contains("did not reach the store")).count();
    assert_eq!(about, 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("waiting=") && line.contains("matched=")), "{lines:?}");
    // Apart from that, the connection's end and the guard's decision to leave Redis alone are logged, once each.
    assert!(lines.iter().filter(|line| line.contains("WARN")).count() <= 3, "{lines:?}");
    assert!(gateway.gateway.cache().regions().iter().all(|region| region.peek("BTCUSDT").is_none()));
    redis.restart();
    eventually("it is removed there, too", async || stored(&redis, "BTCUSDT") == 0).await;
    assert!(stored(&redis, "ETHUSDT") > 1, "the other symbol stays");
    let (code, _, message) = verb(&gateway, &["clear", "--symbol", "BTCUSDT"]).await;
    assert_eq!((code, message.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn every_selector_says_what_a_frozen_redis_did_not_take_and_keeps_its_promise() {
    let (exchange, redis) = (exchange().await, redis());
    let gateway = over(&exchange, &redis).await;
    redis.stop();
    let depths = gateway.gateway.cache().region_named("depth").unwrap();
    let key = format!("depth:{}", depths.names(None, 1, Duration::ZERO, &|_| true).await.names[0].0);
    for (arguments, part) in [
        (&["remove", "--key", &key][..], "If the store holds a key"),
        (&["expire", "--tag", "pipeline"], "the mark of their tag"),
        (&["expire", "--pattern", "klines:*"], "Ask again when the store is back"),
        (&["expire", "--region", "ticker_price"], "Ask again when the store is back"),
        (&["remove", "--symbol", "ETHUSDT"], "Ask again when the store is back"),
        (&["remove", "--key", "klines:spot/api/v3/klines:BTCUSDT:1h"], "they are removed then, too"),
        (&["clear", "--region", "depth", "--yes"], "they are removed then, too"),
    ] {
        let message = says_what_it_could_not_reach(&gateway, &redis, arguments).await;
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    redis.cont();
    eventually("what waited is removed", async || {
        stored(&redis, "depth") == 0 && stored(&redis, "klines:v1:spot") == 0
    })
    .await;
    eventually("the mark is there", async || {
        redis.command(&["EXISTS", "lastgood:@tags:expired:pipeline"]).contains('1')
    })
    .await;
    redis.stop();
    for arguments in [&["clear", "--all", "--yes"][..], &["flush", "--yes"]] {
        let message = says_what_it_could_not_reach(&gateway, &redis, arguments).await;
        assert!(message.contains("they are removed then, too"), "{message}");
    }
    redis.cont();
    eventually("all is removed", async || stored(&redis, "") == 0).await;
}

#[tokio::test]
async fn the_cache_api_answers_202_for_what_waits_and_counts_only_what_it_knows() {
    let (exchange, mut redis) = (exchange().await, redis());
    let gateway = over(&exchange, &redis).await;
    let put = async |value: &str| ask(&gateway, Method::PUT, "/v1/kv/kv/report?fresh_for=1h", value).await;
    assert_eq!(put("early").await.status, 201);
    redis.kill();
    let done = put("late").await;
    assert_eq!(done.status, 202, "{}", done.text());
    let message = done.json();
    assert_eq!((&message["pending"], &message["store"]["reached"]), (&json!(true), &json!(false)));
    assert!(message["store"]["reason"].as_str().is_some_and(|why| !why.is_empty()), "{message}");
    for (target, body, matched) in [
        ("/api/cache/invalidate", json!({ "region": "depth" }), 2),
        ("/api/cache/invalidate", json!({ "key": "kv:none", "hard": true }), 0),
        ("/api/cache/clear/ETHUSDT", json!({}), 3),
    ] {
        let got = ask(&gateway, Method::POST, target, &body.to_string()).await;
        let message = got.json();
        assert_eq!(got.status, 202, "{target}: {message}");
        assert!(message["matched"].as_u64() >= Some(matched) && message["dry_run"] == false, "{target}: {message}");
        assert!(message["store"]["waiting"].as_u64() > Some(0) && message["detail"].is_string(), "{target}: {message}");
    }
    let got = ask(&gateway, Method::DELETE, "/api/cache/key/kv:unknown", "").await;
    assert_eq!((got.status, got.json()["matched"].as_u64()), (202, Some(0)), "{}", got.text());
    // What changes nothing only counts: where the store is part of the question, it says that it was not asked.
    for (target, body, status) in [
        ("/api/cache/invalidate", json!({ "pattern": "*", "dry_run": true }), 503),
        ("/api/cache/invalidate", json!({ "key": "kv:other", "dry_run": true }), 503),
        ("/api/cache/invalidate", json!({ "key": PRICES_KEY, "dry_run": true }), 200),
        ("/api/cache/flush", json!({ "dry_run": true }), 200),
    ] {
        let got = ask(&gateway, Method::POST, target, &body.to_string()).await;
        assert_eq!(got.status, status, "{target} {body}: {}", got.text());
    }
    let counted = post(&gateway, "/api/cache/flush", json!({ "dry_run": true })).await;
    assert!(counted["store"]["reached"] == false && counted["pending"].is_null(), "{counted}");
    let (code, _, said) = verb(&gateway, &["flush", "--dry-run"]).await;
    assert!(code == Some(1) && said.contains("not counted"), "{said}");
    redis.restart();
    eventually("the value is written", async || stored(&redis, "kv:v1:report") == 1).await;
    eventually("the symbol is removed", async || stored(&redis, "ETHUSDT") == 0).await;
    let got = put("later").await;
    assert_eq!((got.status, got.text()), (204, ""));
}
