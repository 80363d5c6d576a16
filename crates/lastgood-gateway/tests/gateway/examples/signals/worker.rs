//! The worker's own values, and the worker without lastgood.

use super::*;

#[tokio::test]
async fn the_worker_keeps_values_and_its_next_round_finds_them() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        warmed(&gateway).await;
        let (first, logged) = platform.round(&gateway.url(""), &[]).await;
        assert!(logged.contains("reads were hits (") && logged.contains("12 signals published"), "{logged}");
        let verdict = ok(&gateway, "/v1/kv/worker/verdict%3ABTCUSDT%3A1h").await;
        assert!(ttl(&verdict) > 60.0 && verdict.json()[0].is_string(), "Redis {redis:?}: {}", verdict.text());
        let over = get(gateway.url("/v1/kv/worker/round")).await;
        assert_eq!(over.status, 404, "what it deletes is gone, Redis {redis:?}");
        platform.exchange.sim.reset_counters();
        let (second, logged) = platform.round(&gateway.url(""), &[]).await;
        assert_eq!((&second["signals"], &second["hits"]), (&first["signals"], &second["reads"]), "{logged}");
        assert!(logged.contains("(100%)"), "Redis {redis:?}: {logged}");
        assert_eq!(platform.exchange.asked(), 0, "Redis {redis:?}");
    }
}

#[tokio::test]
async fn the_worker_goes_on_without_lastgood() {
    let platform = Platform::start().await;
    let unreachable = "http://127.0.0.1:9";
    let (written, logged) = platform.round(unreachable, &["--exchange", &platform.exchange.url()]).await;
    assert_eq!((&written["signals"], &written["invalidated"]), (&json!(12), &Value::Null), "{logged}");
    assert!(logged.contains("lastgood did not answer"), "{logged}");
    let (skipped, logged) = platform.round(unreachable, &[]).await;
    assert_eq!(skipped["signals"], 0);
    assert!(logged.contains("neither lastgood nor the exchange answers"), "{logged}");
}
