//! Changes of many keys at once, and how many of them may wait.

use lastgood_testing::RedisServer;

use super::*;
use crate::support::eventually;

/// More than run and wait together.
const ASKED: usize = 60;

#[tokio::test]
async fn more_changes_of_many_keys_than_may_wait_are_refused_and_hold_up_no_read() {
    let (redis, exchange) = (RedisServer::start(), exchange().await);
    let more = [("store", redis.url()), ("store_trust_for", "1h".to_owned())];
    let gateway = start(&exchange, &more.each_ref().map(|(key, value)| (*key, value.as_str()))).await;
    fill(&gateway).await;
    eventually("attached", async || get(gateway.url("/health")).await.json()["cache"]["status"] == "ok").await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    // Each of them waits for a Redis that says nothing.
    redis.stop();
    let client = client();
    let asked = (0..ASKED).map(|number| {
        let body = json!({"pattern": format!("kv:none{number}*")}).to_string();
        let request = client.post(gateway.url("/api/cache/invalidate")).body(body);
        async { read(request.send().await.expect("an answer")).await }
    });
    let reads = async {
        for _ in 0..10 {
            assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT", "a read waits for none of them");
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asked), reads);
    let (refused, taken): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 503);
    assert!(!refused.is_empty(), "all {ASKED} were taken");
    for answer in refused {
        assert_eq!(answer.header("retry-after"), "1");
        assert!(answer.text().contains("wait for each other already"), "{}", answer.text());
    }
    assert!(!taken.is_empty() && taken.iter().all(|answer| answer.status == 202), "{taken:?}");
    redis.cont();
    eventually("they are taken again", async || {
        let request = client.post(gateway.url("/api/cache/invalidate")).body("{\"pattern\":\"kv:*\"}");
        read(request.send().await.expect("an answer")).await.status == 200
    })
    .await;
}
