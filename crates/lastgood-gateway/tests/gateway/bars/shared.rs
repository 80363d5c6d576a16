//! Bars over an outage of Redis, and among gateways.

use super::*;

#[tokio::test]
async fn with_redis_away_and_back_no_bar_is_lost() {
    let mut redis = RedisServer::start();
    let settings = [("store", redis.url())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = start(&settings).await;
    put(&gateway, SERIES, &list(&[row(3, "1.3")])).await;
    written(&gateway).await;
    redis.command(&["SAVE"]);
    redis.kill();
    let waits = put(&gateway, SERIES, &list(&[row(2, "1.2")])).await;
    assert_eq!((waits.status, &waits.json()["pending"], &waits.json()["stored"]), (202, &json!(true), &json!(1)));
    assert_eq!(get(&gateway, SERIES).await.text(), list(&[row(3, "1.3"), row(2, "1.2")]));
    gateway.stop().await;
    // Bars put while it was away are gone with the process, and its own are there: they are not read yet.
    let gateway = start(&settings).await;
    let unknown = get(&gateway, SERIES).await;
    assert_eq!((unknown.status, unknown.cache(), unknown.header("retry-after")), (503, "ERROR", "1"));
    assert!(unknown.header("cache-status").contains("store-unavailable"), "{}", unknown.header("cache-status"));
    assert!(unknown.text().contains("not known now"), "{}", unknown.text());
    assert_eq!(put(&gateway, SERIES, &list(&[row(1, "1.1")])).await.status, 202);
    assert_eq!(get(&gateway, SERIES).await.text(), list(&[row(1, "1.1")]));
    redis.restart();
    let all = list(&[row(3, "1.3"), row(1, "1.1")]);
    eventually("both are there", async || get(&gateway, SERIES).await.text() == all).await;
    written(&gateway).await;
    gateway.stop().await;
    let gateway = start(&settings).await;
    eventually("they are found", async || get(&gateway, SERIES).await.status == 200).await;
    assert_eq!(get(&gateway, SERIES).await.text(), all);
}

#[tokio::test]
async fn what_one_gateway_takes_another_on_the_same_redis_serves() {
    let redis = RedisServer::start();
    let url = redis.url();
    let (one, other) = (start(&[("store", &url)]).await, start(&[("store", &url)]).await);
    written(&one).await;
    written(&other).await;
    put(&one, SERIES, &list(&[row(2, "1.2")])).await;
    eventually("it is heard of", async || get(&other, SERIES).await.status == 200).await;
    // Each adds to what the other has written.
    for (back, gateway) in [(1, &other), (0, &one)] {
        put(gateway, SERIES, &list(&[row(back, "1.5")])).await;
        written(gateway).await;
    }
    let all = list(&[row(2, "1.2"), row(1, "1.5"), row(0, "1.5")]);
    for gateway in [&one, &other] {
        eventually("all are there", async || get(gateway, SERIES).await.text() == all).await;
    }
    assert_eq!(delete(&one, SERIES).await.status, 204);
    eventually("it is gone everywhere", async || get(&other, SERIES).await.status == 404).await;
}
