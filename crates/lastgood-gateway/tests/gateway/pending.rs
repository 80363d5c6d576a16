//! What was answered as pending holds over a kill of the gateway, with Redis away before, at and after it.

use std::path::Path;
use std::time::Duration;

use lastgood_testing::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{Got, eventually, get};

/// No exchange is needed here.
fn start(data: &Path, redis: &str) -> Process {
    Process::start(data, redis, "http://127.0.0.1:9")
}

impl Process {
    async fn put(&self, key: &str, value: &str) -> u16 {
        self.send(Method::PUT, &format!("/v1/kv/kv/{key}?fresh_for=1h&tags={}", tag(key)), &json!(value)).await.status
    }

    async fn kept(&self, key: &str) -> Option<Value> {
        let got = get(format!("{}/v1/kv/kv/{key}", self.url)).await;
        (got.status == 200).then(|| got.json())
    }

    async fn waits(&self) -> u64 {
        self.health().await["cache"]["unconfirmed_removals"].as_u64().expect("a number")
    }
}

fn tag(key: &str) -> &str {
    if key.starts_with("tagged") { "oil" } else { "none" }
}

/// A pending change says so, and that it is on disk.
fn is_pending(got: &Got) {
    let report = got.json();
    assert_eq!(
        (got.status, &report["pending"], &report["store"]["on_disk"]),
        (202, &json!(true), &json!(true)),
        "{report}"
    );
}

/// A change of each kind, all while Redis is away.
async fn change_all(gateway: &Process) {
    is_pending(&gateway.send(Method::PUT, "/v1/kv/kv/put?fresh_for=1h", &json!("v2")).await);
    is_pending(&gateway.send(Method::PUT, "/v1/llm/mood", &json!({"input": 1, "analysis": "calm"})).await);
    is_pending(&gateway.send(Method::PUT, BARS, &json!([[1_699_999_200_000_u64, "1", "2", "1", "2", "3"]])).await);
    for change in [
        json!({"key": "kv:removed", "hard": true}),
        json!({"key": "kv:expired"}),
        json!({"tag": "oil", "hard": true}),
        json!({"pattern": "kv:matched*", "hard": true}),
    ] {
        is_pending(&gateway.send(Method::POST, "/api/cache/invalidate", &change).await);
    }
    is_pending(&gateway.send(Method::DELETE, "/v1/kv/kv/deleted", &Value::Null).await);
    is_pending(&gateway.send(Method::POST, "/api/cache/clear/BTCUSDT", &Value::Null).await);
}

const BARS: &str = "/v1/bars/my:S/1h";
const GONE: [&str; 5] = ["removed", "tagged", "matched1", "deleted", "BTCUSDT"];

/// What a gateway serves of it then.
async fn holds(gateway: &Process, when: &str) {
    assert_eq!(gateway.kept("put").await, Some(json!("v2")), "{when}");
    let analysis = gateway.send(Method::POST, "/v1/llm/mood", &json!({"input": 1})).await;
    assert!(
        analysis.status == 200 && analysis.text().contains("calm"),
        "{when}: {} {}",
        analysis.status,
        analysis.text()
    );
    let bars = get(format!("{}{BARS}", gateway.url)).await;
    assert!(bars.status == 200 && bars.text().contains("1699999200000"), "{when}: {} {}", bars.status, bars.text());
    for key in GONE {
        assert_eq!(gateway.kept(key).await, None, "{key}, {when}");
    }
}

#[tokio::test]
async fn what_was_answered_as_pending_holds_over_a_kill_of_the_gateway_and_reaches_redis() {
    let mut redis = RedisServer::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let data = tempfile::tempdir().unwrap();
    let gateway = start(&data.path().join("data"), &redis.url());
    gateway.is_attached().await;
    for key in GONE.into_iter().chain(["put", "expired", "other"]) {
        assert_eq!(gateway.put(key, "v1").await, 201, "{key}");
    }
    redis.kill();
    eventually("Redis is missed", async || gateway.health().await["status"] == "degraded").await;
    change_all(&gateway).await;
    gateway.kill();

    let gateway = start(&data.path().join("data"), &redis.url());
    holds(&gateway, "after the first kill").await;
    assert!(gateway.waits().await >= 7, "{}", gateway.waits().await);
    // Again, and this time Redis comes back.
    gateway.kill();
    let gateway = start(&data.path().join("data"), &redis.url());
    holds(&gateway, "after the second").await;
    redis.restart();
    eventually("all is written", async || {
        let health = gateway.health().await;
        health["status"] == "ok" && health["cache"]["unconfirmed_removals"] == 0
    })
    .await;
    holds(&gateway, "with Redis back").await;

    // A gateway that knows nothing finds it in Redis.
    let elsewhere = tempfile::tempdir().unwrap();
    let patient = ["--set", "store_budget=5s"];
    let other = Process::start_with(elsewhere.path(), &redis.url(), "http://127.0.0.1:9", &patient);
    other.is_attached().await;
    holds(&other, "elsewhere").await;
    assert_eq!(other.kept("other").await, Some(json!("v1")));
    let expired = get(format!("{}/v1/kv/kv/expired", other.url)).await;
    assert_eq!((expired.status, expired.cache()), (200, "LAST-GOOD"), "{}", expired.text());
}

#[tokio::test]
async fn what_redis_was_given_meanwhile_is_newer_than_what_a_killed_gateway_left() {
    let mut redis = RedisServer::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let gateway = start(data.path(), &redis.url());
    gateway.is_attached().await;
    let keys = GONE.into_iter().chain(["put", "expired"]);
    for key in keys.clone() {
        assert_eq!(gateway.put(key, "v1").await, 201);
    }
    redis.kill();
    eventually("Redis is missed", async || gateway.health().await["status"] == "degraded").await;
    change_all(&gateway).await;
    gateway.kill();
    redis.restart();
    let other = start(elsewhere.path(), &redis.url());
    other.is_attached().await;
    for key in keys.clone() {
        assert!(matches!(other.put(key, "v3").await, 201 | 204), "{key}");
    }
    let gateway = start(data.path(), &redis.url());
    eventually("all is done", async || gateway.health().await["status"] == "ok" && gateway.waits().await == 0).await;
    for key in keys {
        for (name, gateway) in [("the killed one", &gateway), ("the other", &other)] {
            eventually("it converges", async || gateway.kept(key).await == Some(json!("v3"))).await;
            let got = get(format!("{}/v1/kv/kv/{key}", gateway.url)).await;
            assert_eq!(got.cache(), "HIT", "{key} at {name}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_refuses_leaves_a_put_pending_and_is_given_it_when_it_takes_it() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let gateway = start(data.path(), &redis.url());
    gateway.is_attached().await;
    let ok = |words: &[&str]| assert!(redis.command(words).starts_with("+OK"), "{words:?}");
    let port = redis.port().to_string();
    let ways: [(&str, Vec<&str>, Vec<&str>); 4] = [
        ("OOM", vec!["CONFIG", "SET", "maxmemory", "1"], vec!["CONFIG", "SET", "maxmemory", "0"]),
        (
            "NOREPLICAS",
            vec!["CONFIG", "SET", "min-replicas-to-write", "1"],
            vec!["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        ("NOPERM", vec!["ACL", "SETUSER", "default", "-set"], vec!["ACL", "SETUSER", "default", "+set"]),
        ("READONLY", vec!["REPLICAOF", "127.0.0.1", &port], vec!["REPLICAOF", "NO", "ONE"]),
    ];
    for (code, refuse, allow) in &ways {
        for key in ["new", "old"] {
            let key = format!("{key}-{code}");
            if key.starts_with("old") {
                assert_eq!(gateway.put(&key, "v1").await, 201);
            }
        }
        ok(refuse);
        for key in ["new", "old"] {
            let key = format!("{key}-{code}");
            let got = gateway.send(Method::PUT, &format!("/v1/kv/kv/{key}?fresh_for=1h"), &json!("v2")).await;
            is_pending(&got);
            assert_eq!(gateway.kept(&key).await, Some(json!("v2")), "{key}");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(gateway.waits().await >= 2, "{code}: it goes on waiting");
        let health = gateway.health().await;
        let why = health["cache"]["reason"].as_str().unwrap_or_default();
        assert!(!why.contains("unreachable") && !why.contains("script: "), "a Redis that refuses is reached: {why}");
        // Of a script that lacks a permission Redis words it without the code.
        let begin = if *code == "NOPERM" { "ERR The user executing the script can't run" } else { *code };
        let is_worded = why.split_once(&format!("refused: {begin} ")).is_some_and(|(_, words)| !words.is_empty());
        assert!(begin == "READONLY" || is_worded, "the server's own words, and all of them: {why}");
        ok(allow);
        eventually("it is written", async || gateway.waits().await == 0).await;
        for key in ["new", "old"] {
            let found = redis.command(&["EXISTS", &format!("lastgood:kv:v1:{key}-{code}")]);
            assert_eq!(found.trim(), ":1", "{key}-{code}");
        }
    }
}

#[tokio::test]
async fn a_second_gateway_on_a_data_directory_says_that_what_waits_there_is_not_kept() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let first = start(data.path(), &redis.url());
    first.is_attached().await;
    let second = start(data.path(), &redis.url());
    let health = second.health().await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health["reasons"].to_string().contains("another process has it open"), "{health}");
    redis.stop();
    let got = second.send(Method::PUT, "/v1/kv/kv/put", &json!("v1")).await;
    assert_eq!((got.status, &got.json()["store"]["on_disk"]), (202, &json!(false)), "{}", got.text());
    redis.cont();
    first.kill();
    second.is_attached().await;
}
