//! Tags over one real Redis: whose value a tag takes away.

use lastgood::{Cache, Loaded, Mode, Region, Selector};
use lastgood_testing::{RedisServer, eventually};

use super::redis::on_redis;
use crate::support::{MINUTE, Source, good, loaded, summary};

async fn put(to: &(Cache, Region), name: &str, body: &str, tags: &[&str]) {
    let tags = tags.iter().map(ToString::to_string).collect();
    to.1.put(name, Loaded { tags, ..loaded(body) }).await;
    assert!(to.0.sync(MINUTE).await, "Redis is there");
}

/// How many it says that it met and changed.
async fn invalidate(at: &(Cache, Region), tag: &str, mode: Option<Mode>) -> (u64, u64) {
    let ended = at.0.invalidate(&Selector::Tag(tag.to_owned()), mode).await.expect("Redis answers");
    assert!(at.0.sync(MINUTE).await, "Redis is there");
    (ended.matched, ended.changed)
}

async fn held(by: &(Cache, Region), name: &str) -> Option<String> {
    by.1.get(name).await.expect("Redis answers").map(|answer| crate::support::text(&answer))
}

#[tokio::test]
async fn a_tag_takes_nothing_away_that_another_process_has_put_without_it() {
    let server = RedisServer::start();
    let (one, other) = (on_redis(&server).await, on_redis(&server).await);
    let source = Source::answering("of the source");
    for (number, mode) in [Mode::Remove, Mode::Expire].into_iter().cycle().take(6).enumerate() {
        let name = format!("key{number}");
        put(&one, &name, "v1", &["red"]).await;
        put(&other, &name, "v2", if number < 3 { &["blue"] } else { &[] }).await;
        assert_eq!(invalidate(&one, "red", None).await, (0, 0), "{mode:?}");
        assert_eq!(invalidate(&one, "red", Some(mode)).await, (0, 0), "{mode:?}");
        let kept = (server.command(&["EXISTS", &format!("lastgood:prices:v1:{name}")]).trim()).to_owned();
        assert!(kept.ends_with('1'), "{kept}");
        for (_, prices) in [&one, &other] {
            eventually("what was put last is fresh", async || {
                summary(source.read(prices, &name).await).is_ok_and(|(body, _)| body == "v2")
            })
            .await;
        }
    }
    put(&one, "key", "v3", &["red"]).await;
    assert_eq!(invalidate(&one, "red", Some(Mode::Remove)).await, (1, 1));
    assert!(server.command(&["EXISTS", "lastgood:prices:v1:key"]).trim().ends_with('0'), "gone from Redis, too");
    assert_eq!(summary(source.read(&other.1, "key").await), good("of the source", "MISS"));
}

#[tokio::test]
async fn a_tag_takes_away_what_has_it_in_the_store_whatever_memory_holds() {
    let server = RedisServer::start();
    let (one, other) = (on_redis(&server).await, on_redis(&server).await);
    put(&one, "key", "v1", &["blue"]).await;
    put(&other, "key", "v2", &["red"]).await;
    invalidate(&one, "red", Some(Mode::Remove)).await;
    eventually("gone at both", async || held(&one, "key").await.or(held(&other, "key").await).is_none()).await;
    let third = on_redis(&server).await;
    assert_eq!((held(&third, "key").await, held(&one, "key").await), (None, None));
}
