//! A store that takes no writes fails until it takes one, whatever else it answers meanwhile.

use std::time::Duration;

use lastgood_testing::{Disk, RedisServer};
use reqwest::Method;
use serde_json::json;

use super::{health, lines, metric};
use crate::support::{Exchange, Got, Running, Sink, client, eventually, get, read};

async fn send(gateway: &Running, method: Method, target: &str, body: impl Into<reqwest::Body>) -> Got {
    read(client().request(method, gateway.url(target)).body(body).send().await.expect("an answer")).await
}

async fn put(gateway: &Running, key: &str, body: impl Into<reqwest::Body>) -> u16 {
    send(gateway, Method::PUT, &format!("/v1/kv/kv/{key}?fresh_for=1h"), body).await.status
}

async fn invalidate(gateway: &Running, body: serde_json::Value) -> Got {
    send(gateway, Method::POST, "/api/cache/invalidate", body.to_string()).await
}

/// Asks the store for all that it answers without room for more, and each time how it is said to be.
async fn fails_throughout(gateway: &Running) {
    for round in 0..20 {
        assert_eq!(get(gateway.url("/api/cache/keys?pattern=*")).await.status, 200);
        assert_eq!(invalidate(gateway, json!({"pattern": "kv:*", "dry_run": true})).await.status, 200);
        send(gateway, Method::DELETE, &format!("/v1/kv/kv/small{round}"), "").await;
        let now = health(gateway).await;
        assert_eq!((&now["status"], &now["cache"]["state"]), (&json!("degraded"), &json!("failing")), "{round}: {now}");
        assert_eq!(metric(gateway, "lastgood_store_in_trouble").await, Some(1.0), "{round}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_well_again(gateway: &Running, log: &Sink) {
    eventually("it takes writes again", async || {
        put(gateway, "later", "1").await;
        health(gateway).await["cache"]["state"] == "ok"
    })
    .await;
    assert_eq!(metric(gateway, "lastgood_store_in_trouble").await, Some(0.0));
    let text = log.text();
    let counts = ["a store fails", "a store works again"].map(|what| lines(&text, what).len());
    assert_eq!(counts, [1, 1], "one line a change: {text}");
}

#[tokio::test]
async fn a_full_redis_fails_until_it_takes_writes_whatever_else_it_answers() {
    let log = Sink::of_the_log("info");
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let gateway = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    eventually("attached", async || health(&gateway).await["cache"]["status"] == "ok").await;
    for round in 0..20 {
        assert_eq!(put(&gateway, &format!("small{round}"), "1").await, 201);
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(put(&gateway, "new", "1").await, 202);
    fails_throughout(&gateway).await;
    // What it takes none of is not waited for, and is said once.
    let began = tokio::time::Instant::now();
    let cleared = invalidate(&gateway, json!({"pattern": "kv:*"})).await;
    assert_eq!(cleared.status, 202, "{}", cleared.text());
    assert!(cleared.text().contains("OOM") && !cleared.text().contains(".."), "{}", cleared.text());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    is_well_again(&gateway, &log).await;
}

#[tokio::test]
async fn a_full_disk_is_one_line_of_the_log_and_so_is_its_end() {
    let disk = Disk::new("12m");
    if !disk.is_small() {
        return;
    }
    let log = Sink::of_the_log("info");
    let data = disk.path().join("data");
    let more = [("store", "embedded:"), ("data_dir", data.to_str().unwrap())];
    let gateway = Running::start("http://127.0.0.1:9", &more).await;
    assert_eq!(put(&gateway, "early", "value").await, 201);
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    let ballast = disk.path().join("ballast");
    assert!(std::fs::write(&ballast, vec![1; 12 << 20]).is_err(), "the disk is small");
    eventually("the disk is full", async || {
        // What cannot be packed.
        let noise: Vec<u8> =
            (0..100_000_u64).map(|at| (at.wrapping_mul(at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect();
        put(&gateway, &format!("noise{}", tokio::time::Instant::now().elapsed().as_nanos()), noise).await;
        health(&gateway).await["cache"]["state"] == "failing"
    })
    .await;
    fails_throughout(&gateway).await;
    assert_eq!(get(gateway.url("/v1/kv/kv/early")).await.text(), "value");
    let text = log.text();
    assert!(lines(&text, "a store fails")[0].contains("No space left"), "{text}");
    assert_eq!(lines(&text, "gives trouble").len(), 0, "{text}");
    std::fs::remove_file(&ballast).unwrap();
    is_well_again(&gateway, &log).await;
    gateway.stop().await;
}
