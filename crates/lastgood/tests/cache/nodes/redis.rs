//! The same on a real Redis.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{RedisOptions, RedisStore};
use lastgood::{Cache, Clock, Freshness, Loaded, Mode, Region, Selector, Value};
use lastgood_testing::{RedisServer, eventually};

use crate::support::{MINUTE, Source, a_minute, good, over, peeked, region, summary};

/// Two processes on one real Redis.
pub(super) async fn on_redis(server: &RedisServer) -> (Cache, Region) {
    let store = RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"));
    let cache = over(Arc::new(store), &Clock::system());
    let prices = region(&cache, a_minute());
    eventually("attached", async || cache.probe_store().await.is_some_and(|probe| probe.is_ok())).await;
    (cache, prices)
}

#[tokio::test]
async fn a_process_that_waits_for_anothers_load_hears_of_removals_as_soon_as_ever() {
    let server = RedisServer::start();
    let source = Source::answering("v1");
    let ((one, of_one), (other, of_other)) = (on_redis(&server).await, on_redis(&server).await);
    source.pause();
    let loads = [of_one.clone(), of_other.clone()].map(|prices| {
        let source = source.clone();
        tokio::spawn(async move { summary(source.read(&prices, "slow").await) })
    });
    eventually("one loads, and the other hears of ends", async || {
        source.loads() == 1 && server.command(&["CLIENT", "LIST"]).matches("cmd=xread").count() >= 3
    })
    .await;
    // Longer than one read of either log waits.
    for round in 0..10 {
        let name = format!("key{round}");
        of_other.put(&name, Loaded::from(Value::new("v1"))).await;
        assert!(other.sync(MINUTE).await);
        let began = tokio::time::Instant::now();
        of_one.remove(&name).await;
        assert!(one.sync(MINUTE).await);
        eventually("it is heard", async || peeked(&of_other, &name).is_none()).await;
        assert!(began.elapsed() < Duration::from_millis(250), "{:?} in round {round}", began.elapsed());
    }
    source.resume();
    for load in loads {
        assert_eq!(load.await.expect("no panic").expect("an answer").0, "v1");
    }
}

#[tokio::test]
async fn processes_on_one_redis_hear_of_each_other() {
    let server = RedisServer::start();
    let source = Source::answering("v1");
    let ((one, of_one), (other, of_other)) = (on_redis(&server).await, on_redis(&server).await);
    for name in ["removed", "expired", "put", "kept", "tagged"] {
        if name == "tagged" {
            source.tag("oil");
            source.set("v1");
        }
        source.read(&of_one, name).await.expect("it loads");
        assert!(one.sync(MINUTE).await);
        eventually("the other has it", async || {
            source.read(&of_other, name).await.expect("it reads");
            peeked(&of_other, name).is_some()
        })
        .await;
    }
    source.set("v2");
    of_one.remove("removed").await;
    of_one.expire("expired").await;
    of_one.put("put", Loaded::from(Value::new("v3"))).await;
    one.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Remove)).await.expect("Redis answers");
    eventually("all is heard", async || {
        let gone = |name: &str| peeked(&of_other, name).is_none();
        gone("removed") && gone("tagged")
    })
    .await;
    assert_eq!(summary(source.read(&of_other, "expired").await), good("v2", "MISS"));
    assert_eq!(summary(source.read(&of_other, "put").await).expect("it reads").0, "v3");
    assert_eq!(summary(source.read(&of_other, "kept").await), good("v1", "HIT"));
    // Nothing without a time to live, the log included.
    let keys = server.command(&["KEYS", "*"]);
    for key in keys.lines().filter(|line| line.starts_with("lastgood:")) {
        let left = server.command(&["PTTL", key]);
        assert!(left.trim().trim_start_matches(':').parse::<i64>().is_ok_and(|left| left > 0), "{key}: {left}");
    }
    drop(other);
}

#[tokio::test]
async fn a_log_that_is_deleted_is_noticed_with_the_next_record() {
    let server = RedisServer::start();
    let source = Source::answering("v1");
    let ((one, of_one), (_other, of_other)) = (on_redis(&server).await, on_redis(&server).await);
    of_one.remove("anything").await;
    assert!(one.sync(MINUTE).await);
    source.read(&of_one, "BTCUSDT").await.expect("it loads");
    assert!(one.sync(MINUTE).await);
    eventually("the other has it", async || {
        source.read(&of_other, "BTCUSDT").await.expect("it reads");
        of_other.peek("BTCUSDT").is_some_and(|held| !held.is_unverified())
    })
    .await;
    server.command(&["FLUSHALL"]);
    of_one.remove("anything").await;
    assert!(one.sync(MINUTE).await);
    eventually("it is not believed any more", async || {
        of_other.peek("BTCUSDT").is_none_or(|held| held.freshness() != Freshness::Fresh)
    })
    .await;
}

/// An account of Redis with every command but these.
fn account_without(server: &RedisServer, commands: &[&str]) -> String {
    let mut words = vec!["ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all"];
    words.extend(commands);
    assert!(server.command(&words).contains("OK"));
    server.url().replace("redis://", "redis://limited:secret@")
}

#[tokio::test]
async fn an_account_that_may_not_ask_for_the_time_shares_the_store_all_the_same() {
    let server = RedisServer::start();
    let url = account_without(&server, &["-time"]);
    let connect = || {
        let store = RedisStore::connect(RedisOptions::parse(&url).expect("a URL"));
        Cache::builder().store(Arc::new(store)).build().expect("the defaults are sound")
    };
    let (one, other) = (connect(), connect());
    let (here, there) = (region(&one, a_minute()), region(&other, a_minute()));
    let source = Source::answering("v1");
    for cache in [&one, &other] {
        for _ in 0..500 {
            if cache.probe_store().await.is_some_and(|probe| probe.is_ok()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    source.read(&here, "BTCUSDT").await.expect("it loads");
    assert!(one.sync(MINUTE).await);
    assert_eq!(summary(source.read(&there, "BTCUSDT").await), good("v1", "HIT"));
}
