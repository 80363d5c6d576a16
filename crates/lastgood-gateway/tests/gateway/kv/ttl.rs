//! Values with a true end: past their `ttl` they are gone, whatever becomes of the store.

use std::time::Duration;

use lastgood_testing::RedisServer;
use reqwest::Method;
use serde_json::json;

use super::{get, put, refused, send, start};
use crate::support::{Running, eventually};

/// Waits for the end of a value that says `value` until then.
async fn ends(gateway: &Running, target: &str, value: &str) {
    eventually("the value ends", async || {
        let got = get(gateway, target).await;
        match got.status {
            200 => assert_eq!(got.text(), value),
            status => assert_eq!((status, got.cache()), (404, "MISS"), "{}", got.text()),
        }
        got.status == 404
    })
    .await;
}

async fn written(gateway: &Running) {
    eventually("the store has it", async || gateway.gateway.cache().sync(Duration::from_millis(200)).await).await;
}

#[tokio::test]
async fn past_its_ttl_a_value_is_gone_and_past_its_freshness_it_is_the_last_good() {
    let gateway = start(&[("regions.kv.stale_while_revalidate", "0s")]).await;
    put(&gateway, "/v1/kv/kv/old?fresh_for=1ms&ttl=1h", &[], b"old").await;
    eventually("it is no longer fresh", async || get(&gateway, "/v1/kv/kv/old").await.cache() == "LAST-GOOD").await;
    assert_eq!(get(&gateway, "/v1/kv/kv/old").await.text(), "old");

    put(&gateway, "/v1/kv/kv/short?fresh_for=1h&ttl=200ms&tags=t", &[], b"short").await;
    ends(&gateway, "/v1/kv/kv/short", "short").await;
    for target in ["/v1/kv/kv/short", "/api/cache/key/kv:short", "/api/cache/explain/kv:short"] {
        assert_eq!(get(&gateway, target).await.status, 404, "{target}");
    }
    let again = put(&gateway, "/v1/kv/kv/short?ttl=1h", &[("if-none-match", "*")], b"new").await;
    assert_eq!(again.status, 201, "there is none that a condition could name");
    assert_eq!(get(&gateway, "/v1/kv/kv/short").await.text(), "new");
    assert_eq!(get(&gateway, "/v1/kv/kv/old").await.text(), "old", "what has another end is not touched");
}

#[tokio::test]
async fn a_ttl_that_is_shorter_than_the_freshness_shortens_it_and_explain_tells_the_end() {
    let gateway = start(&[]).await;
    put(&gateway, "/v1/kv/kv/a?fresh_for=1h&ttl=1m", &[], b"1").await;
    let status = get(&gateway, "/v1/kv/kv/a").await.header("cache-status").to_owned();
    assert!(status.contains("ttl=59") || status.contains("ttl=60") || status.contains("ttl=5"), "{status}");
    let known = get(&gateway, "/api/cache/explain/kv:a").await.json();
    let (age, end) = (known["age_ms"].as_u64().unwrap(), known["kept_until"].as_u64().unwrap());
    let left = known["fresh_for_ms"].as_u64().unwrap();
    assert_eq!(age + left, 60_000, "{known}");
    let now = lastgood::Clock::system().now().as_millis();
    assert!(end.abs_diff(now + left) < 20_000, "{known}");
    // A day is what the region keeps; its own end is later.
    put(&gateway, "/v1/kv/kv/b?ttl=30d", &[], b"1").await;
    let known = get(&gateway, "/api/cache/explain/kv:b").await.json();
    let end = known["kept_until"].as_u64().unwrap();
    assert!(end > now + 29 * 86_400_000, "{known}");
}

#[tokio::test]
async fn a_ttl_beyond_its_bounds_is_refused_with_the_bounds() {
    let gateway = start(&[]).await;
    for ttl in ["0s", "0ms", "366d", "5", "soon", "", "-1s", "0.5ms"] {
        let got = put(&gateway, &format!("/v1/kv/kv/a?ttl={ttl}"), &[], b"1").await;
        refused(&got, 400, "ttl", "from 1ms to 365d");
        let body = json!({ "input": 1, "analysis": 2 }).to_string();
        let got = put(&gateway, &format!("/v1/llm/mood?ttl={ttl}"), &[], body.as_bytes()).await;
        refused(&got, 400, "ttl", "from 1ms to 365d");
    }
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.status, 404, "nothing that was refused is kept");
    for ttl in ["365d", "1h30m"] {
        assert_eq!(put(&gateway, &format!("/v1/kv/kv/{ttl}?ttl={ttl}"), &[], b"1").await.status, 201);
    }
}

#[tokio::test]
async fn an_analysis_has_an_end_too_even_for_who_would_take_the_last_good() {
    let gateway = start(&[]).await;
    let body = json!({ "input": { "symbol": "BTCUSDT" }, "analysis": "calm" }).to_string();
    assert_eq!(put(&gateway, "/v1/llm/mood?ttl=200ms&fresh_for=1h", &[], body.as_bytes()).await.status, 201);
    let question = json!({ "input": { "symbol": "BTCUSDT" } }).to_string();
    eventually("it ends", async || {
        let got = send(&gateway, Method::POST, "/v1/llm/mood?last_good=true", &[], question.as_bytes()).await;
        got.status == 404
    })
    .await;
}

#[tokio::test]
async fn a_restart_brings_no_value_back_and_cuts_none_short() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    for store in ["embedded:", &redis.url()] {
        let settings = [("store", store), ("data_dir", folder), ("store_budget", "2s")];
        let gateway = start(&settings).await;
        put(&gateway, "/v1/kv/kv/short?ttl=1s", &[], b"short").await;
        put(&gateway, "/v1/kv/kv/long?ttl=1h", &[], b"long").await;
        written(&gateway).await;
        gateway.stop().await;
        let gateway = start(&settings).await;
        eventually("the store is read", async || get(&gateway, "/v1/kv/kv/long").await.text() == "long").await;
        ends(&gateway, "/v1/kv/kv/short", "short").await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn in_redis_the_key_ends_with_its_value() {
    let redis = RedisServer::start();
    let gateway = start(&[("store", &redis.url())]).await;
    for (name, ttl) in [("a", "1h"), ("b", "200d")] {
        put(&gateway, &format!("/v1/kv/kv/{name}?ttl={ttl}"), &[], b"1").await;
    }
    written(&gateway).await;
    let left = |name: &str| -> u64 {
        let keys = redis.command(&["KEYS", &format!("lastgood:kv:*:{name}")]);
        let key = keys.lines().find(|line| line.starts_with("lastgood:")).unwrap_or_else(|| panic!("{keys}")).trim();
        redis.command(&["PTTL", key]).trim().trim_start_matches(':').parse().unwrap()
    };
    assert!((3_500_000..=3_600_000).contains(&left("a")), "{}", left("a"));
    let days = 24 * 3_600_000;
    assert!((199 * days..=200 * days).contains(&left("b")), "{}", left("b"));
}

#[tokio::test]
async fn with_redis_gone_a_value_ends_all_the_same_and_never_comes_back() {
    let mut redis = RedisServer::start();
    let gateway = start(&[("store", &redis.url())]).await;
    put(&gateway, "/v1/kv/kv/a", &[], b"older").await;
    written(&gateway).await;
    redis.kill();
    put(&gateway, "/v1/kv/kv/a?ttl=200ms", &[], b"7").await;
    ends(&gateway, "/v1/kv/kv/a", "7").await;
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.status, 404);
}

#[tokio::test]
async fn another_gateway_that_holds_what_it_replaced_says_that_it_is_gone() {
    let redis = RedisServer::start();
    let (url, budget) = (redis.url(), ("store_budget", "2s"));
    let one = start(&[("store", &url), budget]).await;
    let other = start(&[("store", &url), budget]).await;
    for gateway in [&one, &other] {
        let log = async || get(gateway, "/health").await.json()["cache"]["log"] == "heard";
        eventually("it listens", log).await;
    }
    put(&one, "/v1/kv/kv/a?ttl=1h", &[], b"older").await;
    written(&one).await;
    eventually("the other has it", async || get(&other, "/v1/kv/kv/a").await.text() == "older").await;
    put(&one, "/v1/kv/kv/a?ttl=300ms", &[], b"7").await;
    written(&one).await;
    eventually("it ends in Redis", async || redis.command(&["KEYS", "lastgood:kv:*:a"]).trim().ends_with('0')).await;
    eventually("the other has heard of it", async || get(&other, "/v1/kv/kv/a").await.status == 404).await;
    assert_eq!(get(&one, "/v1/kv/kv/a").await.status, 404);
}

/// Asserts that `key` is kept for `keep` from the end of its freshness, which comes `fresh_for` after it was written.
async fn is_kept_for(
    gateway: &Running,
    key: &str,
    (fresh_for, keep): (u64, u64),
    written: std::ops::RangeInclusive<u64>,
) {
    let known = get(gateway, &format!("/api/cache/explain/{key}")).await.json();
    let end = known["kept_until"].as_u64().unwrap_or_else(|| panic!("{known}"));
    // Two readings of the system's clock may be a moment apart.
    let slack = 2_000;
    let wanted = written.start() + fresh_for + keep - slack..=written.end() + fresh_for + keep + slack;
    assert!(wanted.contains(&end), "{key} is kept until {end}, not within {wanted:?}: {known}");
}

#[tokio::test]
async fn an_entry_is_kept_for_stale_if_error_from_the_end_of_its_freshness() {
    const MINUTE: u64 = 60_000;
    let now = || lastgood::Clock::system().now().as_millis();
    let exchange = crate::support::Exchange::start().await;
    let more = [
        ("regions.kv.fresh_for", "5m"),
        ("regions.kv.jitter", "0"),
        ("regions.kv.stale_while_revalidate", "0s"),
        ("regions.kv.stale_if_error", "10m"),
        ("regions.avg_price.fresh_for", "20m"),
        ("regions.avg_price.jitter", "0"),
        ("regions.avg_price.stale_while_revalidate", "0s"),
        ("regions.avg_price.stale_if_error", "10m"),
    ];
    let gateway = Running::start(&exchange.url(), &more).await;
    // A value with a freshness of its own, one with that of its region, and an answer of the exchange.
    for (fresh_for, query) in [(60 * MINUTE, "?fresh_for=1h"), (5 * MINUTE, ""), (MINUTE, "?fresh_for=1m")] {
        let before = now();
        put(&gateway, &format!("/v1/kv/kv/a{query}"), &[], b"1").await;
        is_kept_for(&gateway, "kv:a", (fresh_for, 10 * MINUTE), before..=now()).await;
    }
    let before = now();
    assert_eq!(get(&gateway, "/api/v3/avgPrice?symbol=BTCUSDT").await.cache(), "MISS");
    let key = "avg_price:spot%2Fapi%2Fv3%2FavgPrice%3Fsymbol=BTCUSDT";
    is_kept_for(&gateway, key, (20 * MINUTE, 10 * MINUTE), before..=now()).await;
    // An expiry ends freshness, and the time after it begins there.
    let (before, body) = (now(), json!({"region": "avg_price"}).to_string());
    assert_eq!(send(&gateway, Method::POST, "/api/cache/invalidate", &[], body.as_bytes()).await.status, 200);
    is_kept_for(&gateway, key, (0, 10 * MINUTE), before..=now()).await;
    exchange.fault(json!({"kind": "status", "status": 503}));
    assert_eq!(get(&gateway, "/api/v3/avgPrice?symbol=BTCUSDT").await.cache(), "LAST-GOOD");
}

#[tokio::test]
async fn a_value_that_is_kept_for_no_time_past_its_freshness_is_there_until_then_and_gone_after() {
    let more = [("regions.kv.stale_while_revalidate", "0s"), ("regions.kv.stale_if_error", "1ms")];
    let gateway = start(&more).await;
    put(&gateway, "/v1/kv/kv/a?fresh_for=1h", &[], b"1").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.cache(), "HIT", "fresh for longer than it would be kept");
    let body = json!({"key": "kv:a"}).to_string();
    assert_eq!(send(&gateway, Method::POST, "/api/cache/invalidate", &[], body.as_bytes()).await.status, 200);
    ends(&gateway, "/v1/kv/kv/a", "1").await;
}
