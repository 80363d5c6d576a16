//! What a store cannot be asked for is unknown, and not absent.

use std::time::Duration;

use lastgood::store::StoreError;
use lastgood::testing::Fault;
use lastgood::{Cache, Freshness, Loaded, Region, Selector, Value, WasThere};
use lastgood_testing::{RedisServer, eventually};

use super::Nodes;
use super::redis::on_redis;
use crate::support::{MINUTE, loaded, text};

const NAMES: [&str; 2] = ["theirs", "nobodys"];

fn names() -> [String; 2] {
    NAMES.map(str::to_owned)
}

/// Asks in every way for what another process put, and for what no process put. Memory holds neither.
async fn nothing_is_said_of_what_the_store_holds(cache: &Cache, prices: &Region, how: &str) {
    let stored = prices.stored(&names()).await;
    assert!(matches!(stored[..], [Err(_), Err(_)]), "{how}: {stored:?}");
    for name in NAMES {
        assert!(prices.try_stored(name).await.is_err(), "{how} {name}");
        assert!(prices.newest(name).await.is_err(), "{how} {name}");
        let explained = prices.explain(name).await;
        assert!(explained.answer.is_none() && explained.store_error.is_some(), "{how} {name}: {explained:?}");
        let key = Selector::Key { region: "prices".to_owned(), name: name.to_owned() };
        assert!(cache.invalidate(&key, None).await.is_err(), "{how} {name}");
    }
    assert!(cache.invalidate(&Selector::Region("prices".to_owned()), None).await.is_err(), "{how}");
    let listed = prices.names(None, 10, Duration::from_secs(1), &|_: &str| true).await;
    assert!(listed.names.is_empty() && !listed.is_complete, "{how}: {listed:?}");
    assert!(prices.stored_names("t", 10).await.is_err(), "{how}");
}

#[tokio::test]
async fn what_a_frozen_or_lost_redis_cannot_be_asked_for_is_unknown_and_not_absent() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    for how in ["frozen", "gone"] {
        let (theirs, of_theirs) = on_redis(&server).await;
        of_theirs.put("theirs", Loaded::from(Value::new(how))).await;
        assert!(theirs.sync(MINUTE).await, "{how}");
        let (cache, prices) = on_redis(&server).await;
        eventually("both answers are known", async || {
            matches!(prices.stored(&names()).await[..], [Ok(Some(_)), Ok(None)])
        })
        .await;
        assert_eq!(prices.expire("nobodys").await, WasThere::No, "{how}");
        assert!(cache.sync(MINUTE).await, "{how}");
        match how {
            "frozen" => server.stop(),
            _ => server.kill(),
        }
        // First each question is waited for, and then the breaker is open.
        for _ in 0..20 {
            nothing_is_said_of_what_the_store_holds(&cache, &prices, how).await;
        }
        let never_holds = |_: Option<&lastgood::Answer>| false;
        assert!(prices.put_if("theirs", Loaded::from(Value::new("v2")), never_holds).await.is_err(), "{how}");
        assert!(prices.remove_if("nobodys", never_holds).await.is_err(), "{how}");
        for name in NAMES {
            let was_there = prices.expire(name).await;
            assert!(matches!(was_there, WasThere::Unknown(_)), "{how} {name}: {was_there:?}");
        }
        // What was removed here is known to be gone, whatever the store still holds.
        prices.remove("nobodys").await;
        assert!(matches!(prices.stored(&names()).await[..], [Err(_), Ok(None)]), "{how}");
        match how {
            "frozen" => server.cont(),
            _ => server.restart(),
        }
        eventually("what was there is expired", async || {
            let stored = prices.try_stored("theirs").await.ok().flatten();
            stored.is_some_and(|stored| stored.freshness() == Freshness::Kept && text(&stored) == how)
        })
        .await;
        assert!(cache.sync(MINUTE).await, "{how}");
        assert!(matches!(prices.try_stored("nobodys").await, Ok(None)), "{how}");
        prices.remove("theirs").await;
        assert!(cache.sync(MINUTE).await, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_tags_cannot_be_judged_is_unknown_and_not_absent() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.prices.put("tagged", Loaded { tags: vec!["oil".to_owned()], ..loaded("v1") }).await;
    one.prices.put("plain", loaded("v1")).await;
    one.flush().await;
    let names = ["tagged", "plain", "nobodys"].map(str::to_owned);
    assert!(matches!(other.prices.stored(&names).await[..], [Ok(Some(_)), Ok(Some(_)), Ok(None)]));
    // The entries are given within the budget of 25 ms, and the marks of their tags are not.
    other.way.set_reads(Fault::Delay(Duration::from_millis(15)));
    let stored = other.prices.stored(&names).await;
    assert!(matches!(stored[..], [Err(StoreError::Timeout), Ok(Some(_)), Ok(None)]), "{stored:?}");
    assert_eq!(other.prices.expire("tagged").await, WasThere::Unknown(StoreError::Timeout));
}
