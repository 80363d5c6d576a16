//! A Redis that turns the gateway away, or holds what it cannot read: the log says it once, `/health` for as long.

use std::io::{Read, Write};
use std::time::Duration;

use lastgood_testing::RedisServer;
use serde_json::json;

use super::{health, lines, metric};
use crate::support::{Exchange, Running, Sink, client, eventually, get};

const NO_PLACE: &str = "ERR max number of clients reached";

/// The one connection that a Redis takes.
struct Place(std::net::TcpStream);

impl Place {
    fn tell(&mut self, command: &str) {
        self.0.write_all(format!("{command}\r\n").as_bytes()).expect("it is read");
        assert!(self.0.read(&mut [0; 64]).expect("it is answered") > 0, "{command}");
    }
}

async fn put(gateway: &Running, key: &str) -> u16 {
    let request = client().put(gateway.url(&format!("/v1/kv/kv/{key}?fresh_for=1h"))).body("ours");
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_redis_without_a_place_is_said_once_in_its_own_words_and_connected_is_not() {
    let log = Sink::of_the_log("info");
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let gateway = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    eventually("attached", async || health(&gateway).await["cache"]["state"] == "ok").await;
    assert_eq!(put(&gateway, "early").await, 201);
    let mut place = Place(std::net::TcpStream::connect(("127.0.0.1", redis.port())).expect("it listens"));
    place.tell("CONFIG SET maxclients 1");
    place.tell("CLIENT KILL TYPE normal SKIPME yes");
    eventually("its words are in /health", async || {
        health(&gateway).await["reasons"][0].as_str().is_some_and(|why| why.contains(NO_PLACE))
    })
    .await;
    for round in 0..20 {
        assert_eq!(put(&gateway, &format!("late{round}")).await, 202);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = health(&gateway).await;
        assert!(now["reasons"][0].as_str().is_some_and(|why| why.contains(NO_PLACE)), "{now}");
    }
    let text = log.text();
    assert_eq!(["a store fails", ": connected"].map(|what| lines(&text, what).len()), [1, 1], "{text}");
    assert!(lines(&text, "fails").iter().any(|line| line.contains(NO_PLACE)), "{text}");
    assert!(lines(&text, "a store still fails").len() <= 1, "{text}");
    place.tell("CONFIG SET maxclients 1000");
    eventually("it is well", async || health(&gateway).await["status"] == "ok").await;
    let text = log.text();
    assert_eq!(["a store works again", ": connected"].map(|what| lines(&text, what).len()), [1, 2], "{text}");
}

#[tokio::test]
async fn a_value_that_another_program_wrote_over_is_said_once_and_is_the_reason_of_last_good_answers() {
    let log = Sink::of_the_log("info");
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let gateway = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    eventually("attached", async || health(&gateway).await["cache"]["state"] == "ok").await;
    assert_eq!(put(&gateway, "a").await, 201);
    let value = async || get(gateway.url("/v1/kv/kv/a")).await;
    assert_eq!(value().await.cache(), "HIT");
    let keys = redis.command(&["KEYS", "*kv*a"]);
    let key = keys.lines().find(|line| line.ends_with(":a")).unwrap_or_else(|| panic!("{keys}"));
    redis.command(&["SET", key, "theirs", "PX", "600000"]);
    eventually("the last good one stands in", async || value().await.cache() == "LAST-GOOD").await;
    for _ in 0..20 {
        let kept = value().await;
        assert_eq!((kept.text(), kept.cache()), ("ours", "LAST-GOOD"));
        assert!(kept.header("cache-status").contains("last-good:unreadable"), "{}", kept.header("cache-status"));
    }
    let now = health(&gateway).await;
    let expected = (json!("degraded"), json!(["region kv serves last good: unreadable"]));
    assert_eq!((now["status"].clone(), now["reasons"].clone()), expected, "{now}");
    assert_eq!(now["last_good"][0]["reason"], "unreadable", "{now}");
    assert!(metric(&gateway, "lastgood_unreadable_entries_total{region=\"kv\"}").await >= Some(20.0));
    let text = log.text();
    let said = lines(&text, "stored values cannot be read");
    assert!(said.len() == 1 && said[0].contains("region=\"kv\"") && said[0].contains("count=1"), "{text}");
    assert_eq!(put(&gateway, "a").await, 204);
    assert_eq!(value().await.cache(), "HIT");
    eventually("nothing is last good", async || health(&gateway).await["reasons"] == json!([])).await;
}
