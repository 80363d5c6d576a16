//! Values while the store is away, or never takes them.

use super::*;

#[tokio::test]
async fn values_outlive_a_restart_in_the_embedded_store_and_in_redis() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    for store in ["embedded:", &redis.url()] {
        let settings = [("store", store), ("data_dir", folder)];
        let gateway = start(&settings).await;
        assert_eq!(put(&gateway, "/v1/kv/kv/a?tags=t", &[("content-type", "text/x-a")], b"kept").await.status, 201);
        let attached = async { while !gateway.gateway.cache().sync(Duration::from_millis(200)).await {} };
        tokio::time::timeout(Duration::from_secs(20), attached).await.expect("it is written");
        gateway.stop().await;
        let gateway = start(&settings).await;
        let found = async {
            loop {
                let got = get(&gateway, "/v1/kv/kv/a").await;
                if got.status == 200 {
                    return got;
                }
            }
        };
        let got = tokio::time::timeout(Duration::from_secs(20), found).await.expect("it is found");
        assert_eq!((got.text(), got.header("content-type"), got.cache()), ("kept", "text/x-a", "HIT"), "{store}");
        assert!(got.header("cache-status").contains("detail=store"), "{}", got.header("cache-status"));
        let again = get(&gateway, "/v1/kv/kv/a").await;
        assert!(again.header("cache-status").contains("detail=memory"), "{}", again.header("cache-status"));
        let replaced = put(&gateway, "/v1/kv/kv/a", &[("if-match", got.header("etag"))], b"2").await;
        assert_eq!(replaced.status, 204, "what the store held counts for conditions");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn with_redis_gone_values_are_taken_and_served_from_memory() {
    let mut redis = RedisServer::start();
    let gateway = start(&[("store", &redis.url())]).await;
    redis.kill();
    for round in 0..20 {
        let target = format!("/v1/kv/kv/{round}");
        assert_eq!(get(&gateway, &target).await.status, 503, "another gateway may have put it");
        let taken = put(&gateway, &target, &[], b"x").await;
        assert_eq!((taken.status, taken.json()["pending"].as_bool()), (202, Some(true)), "{}", taken.text());
        let kept = get(&gateway, &target).await;
        assert_eq!((kept.text(), kept.header("etag")), ("x", taken.header("etag")));
    }
}

/// Asks for a value that another gateway put, and for one never put, while the store does not answer.
async fn says_that_it_does_not_know(gateway: &Running, how: &str) {
    for target in ["/v1/kv/kv/theirs", "/v1/kv/kv/nobodys", "/v1/bars/my:BTC/1h", "/v1/bars/my:BTC/1h/latest"] {
        let got = get(gateway, target).await;
        assert_eq!((got.status, got.cache(), got.header("retry-after")), (503, "ERROR", "1"), "{how} {target}");
        assert!(got.header("cache-status").contains("store-unavailable"), "{how}: {}", got.header("cache-status"));
        let problem = got.json();
        assert!(problem["detail"].as_str().unwrap().contains("not known now"), "{how}: {problem}");
        assert!(problem["hint"].as_str().is_some_and(|hint| hint.contains("/health")), "{how}: {problem}");
    }
    let conditional = send(gateway, Method::GET, "/v1/kv/kv/theirs", &[("if-none-match", "*")], b"").await;
    assert_eq!(conditional.status, 503, "{how}");
    let created = put(gateway, "/v1/kv/kv/theirs", &[("if-none-match", "*")], b"other").await;
    assert_eq!(created.status, 503, "{how}: there may be one");
    // An application computes what it does not find, so this stays a miss; but it is not said that there is none.
    let analysis = send(gateway, Method::POST, "/v1/llm/mood", &[], br#"{"input": 1}"#).await;
    assert_eq!(analysis.status, 404, "{how}");
    assert!(analysis.header("cache-status").contains("store-unavailable"), "{how}");
    assert!(analysis.text().contains("not known now") && !analysis.text().contains("No analysis"), "{how}");
    let given_up = send(gateway, Method::DELETE, &format!("/v1/llm/mood?claim={}", "e".repeat(96)), &[], b"").await;
    assert_eq!((given_up.status, given_up.header("retry-after")), (503, "1"), "{how}: {}", given_up.text());
    assert!(given_up.text().contains("not known now") && given_up.json()["hint"].is_string(), "{how}");
    let kept = get(gateway, "/api/cache/key/kv:theirs").await;
    assert_eq!((kept.status, kept.header("retry-after")), (503, "1"), "{how}");
    assert!(kept.json()["hint"].is_string() && kept.header("cache-status").contains("store-unavailable"), "{how}");
    for key in ["kv:theirs", "kv:nobodys", "klines:spot/BTCUSDT:1m:0:"] {
        let explained = get(gateway, &format!("/api/cache/explain/{key}")).await;
        assert_eq!(explained.status, 200, "{how} {key}: {}", explained.text());
        let explained = explained.json();
        assert!(explained["store_error"].is_string(), "{how}: {explained}");
        assert_eq!([&explained["freshness"], &explained["tier"]], ["unknown", "unknown"], "{how}: {explained}");
    }
    for body in [r#"{"key": "kv:theirs", "dry_run": true}"#, r#"{"region": "kv", "dry_run": true}"#] {
        let counted = send(gateway, Method::POST, "/api/cache/invalidate", &[], body.as_bytes()).await;
        assert_eq!((counted.status, counted.header("retry-after")), (503, "1"), "{how} {body}: {}", counted.text());
        assert!(counted.json()["hint"].is_string(), "{how}: {}", counted.text());
    }
    let listed = get(gateway, "/api/cache/keys?region=kv").await.json();
    assert_eq!(listed["complete"], false, "{how}: {listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_cannot_be_asked_a_value_is_unknown_and_not_absent() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let theirs = start(&[("store", &redis.url())]).await;
    assert!(matches!(put(&theirs, "/v1/kv/kv/theirs?fresh_for=1h", &[], b"value").await.status, 201 | 202));
    assert!(theirs.gateway.cache().sync(Duration::from_secs(10)).await);
    for how in ["stopped", "black hole", "refused", "killed"] {
        // A gateway that has nothing in memory yet.
        let gateway = start(&[("store", &redis.url_through(proxy.port()))]).await;
        eventually("attached", async || get(&gateway, "/v1/kv/kv/nobodys").await.status == 404).await;
        match how {
            "stopped" => redis.stop(),
            "black hole" => proxy.set(Chaos::BlackHole),
            "refused" => proxy.set(Chaos::Refuse),
            _ => redis.kill(),
        }
        says_that_it_does_not_know(&gateway, how).await;
        // What was removed here is known to be gone, whatever the store still holds.
        let removed = send(&gateway, Method::DELETE, "/v1/kv/kv/nobodys", &[], b"").await;
        assert_eq!(removed.status, 202, "{how}");
        assert_eq!(get(&gateway, "/v1/kv/kv/nobodys").await.status, 404, "{how}");
        match how {
            "stopped" => redis.cont(),
            "killed" => redis.restart(),
            _ => proxy.set(Chaos::Pass),
        }
        eventually("it is found", async || get(&gateway, "/v1/kv/kv/theirs").await.text() == "value").await;
        assert_eq!(get(&gateway, "/v1/kv/kv/never").await.status, 404, "{how}");
        assert_eq!(get(&gateway, "/v1/bars/my:BTC/1h").await.status, 404, "{how}");
        gateway.stop().await;
    }
}
