//! Links of the chain, and stores, that fail.

use super::*;

#[tokio::test]
async fn a_second_gateway_finds_the_lists_in_redis() {
    let mut scene = Scene::with(RedisIs::Up).await;
    let first = scene.warm_gateway(&BOTH, &[]).await;
    let (spot, futures) = (list(&first, SPOT).await, list(&first, FUTURES).await);
    eventually("both lists are in Redis", async || lists_in(&scene.redis).len() == 2).await;
    scene.exchange.stop().await;
    scene.testnet.stop().await;
    let second = scene.gateway(&BOTH, &[("warm.markets", "")]).await;
    eventually("attached", async || second.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok()))
        .await;
    for (path, expected) in [(SPOT, spot), (FUTURES, futures)] {
        let found = list(&second, path).await;
        assert_eq!((found.cache(), &found.body), ("HIT", &expected.body), "{}", found.header("cache-status"));
        assert!(found.header("cache-status").contains("detail=store"), "{}", found.header("cache-status"));
    }
}

/// A full Redis takes the connection and refuses each write.
#[tokio::test]
async fn a_full_redis_refuses_the_writes_which_are_only_logged() {
    let level = settings("tradebot", &[], &[]).log.level;
    let logged = Sink::of_the_log(&level);
    let redis = RedisServer::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let scene = Scene::over(redis).await;
    let gateway = scene.warm_gateway(&[], &[]).await;
    for path in [SPOT, FUTURES] {
        assert_eq!(list(&gateway, path).await.cache(), "HIT");
    }
    eventually("the failed writes are logged", async || logged.text().contains("write to the store failed")).await;
    assert!(lists_in(&scene.redis).is_empty());
}

#[tokio::test]
async fn when_redis_goes_down_the_lists_are_served_and_refreshed_on() {
    for stopped in [false, true] {
        let mut scene = Scene::with(RedisIs::Up).await;
        let gateway = scene.warm_gateway(&[], &[("regions.symbols.fresh_for", "1s")]).await;
        match stopped {
            true => scene.redis.stop(),
            false => scene.redis.kill(),
        }
        let before = list(&gateway, SPOT).await.json()["version"].clone();
        let loads = metric(&gateway, "lastgood_loads_total{region=\"symbols\"}").await;
        eventually("the lists are loaded again", async || {
            assert_eq!(list(&gateway, SPOT).await.json()["version"], before);
            metric(&gateway, "lastgood_loads_total{region=\"symbols\"}").await > loads
        })
        .await;
        assert_eq!(metric(&gateway, "lastgood_reads_total{region=\"symbols\",outcome=\"error\"}").await, 0.0);
    }
}
