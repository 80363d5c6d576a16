//! The statistics: of the store, over its whole life, and what it costs.

use std::time::Duration;

use lastgood_testing::{RedisServer, UpstashFront};
use serde_json::{Value, json};

use crate::redis::health;
use crate::support::{Exchange, Running, client, eventually, get, settings_of};
use crate::upstash::TOKEN;

const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
const SUMMARY: &str = "/cache/stats";

/// Answers stay fresh for longer than a test takes.
const CALM: [(&str, &str); 2] = [("preset", "dashboard"), ("regions.ticker_price.fresh_for", "10m")];

async fn over(exchange: &Exchange, more: &[(&str, &str)]) -> Running {
    Running::start(&exchange.url(), &[&CALM[..], more].concat()).await
}

async fn summary(gateway: &Running) -> Value {
    get(gateway.url(SUMMARY)).await.json()
}

async fn stats(gateway: &Running) -> Value {
    get(gateway.url("/api/cache/stats")).await.json()
}

/// A miss and this many hits.
async fn ask(gateway: &Running, hits: usize) {
    for _ in 0..=hits {
        assert_eq!(get(gateway.url(PRICE)).await.status, 200);
    }
}

async fn connected(gateway: &Running) {
    eventually("the store is connected", async || summary(gateway).await["connected"] == true).await;
}

#[tokio::test]
async fn health_shows_redis_own_memory_next_to_the_gateways() {
    let redis = RedisServer::start_with(&["--maxmemory", "64mb"]);
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &[("store", &redis.url())]).await;
    let memory = async || health(&gateway).await["cache"]["store_memory"].clone();
    eventually("Redis tells", async || memory().await.is_object()).await;
    let said = memory().await;
    assert!(said["used"].as_u64() > Some(100_000), "{said}");
    assert!(said["used_human"].as_str().is_some_and(|text| text.ends_with(['K', 'M'])), "{said}");
    assert_eq!((&said["limit"], &said["evicted_keys"]), (&json!(64 << 20), &json!(0)), "{said}");
    assert!(health(&gateway).await["cache"]["memory_used"].is_u64());
    redis.stop();
    eventually("no old figure is shown while it is silent", async || memory().await.is_null()).await;
    redis.cont();
    eventually("it is back by itself", async || memory().await.is_object()).await;
}

#[tokio::test]
async fn the_embedded_store_tells_its_file_and_memory_alone_tells_nothing() {
    let exchange = Exchange::start().await;
    let embedded = over(&exchange, &[("store", "embedded:")]).await;
    let memory = async |gateway: &Running| health(gateway).await["cache"]["store_memory"].clone();
    eventually("the file is measured", async || memory(&embedded).await["file"].as_u64() > Some(1_000)).await;
    assert!(memory(&embedded).await["used_human"].is_null());
    let none = over(&exchange, &[]).await;
    ask(&none, 1).await;
    assert!(memory(&none).await.is_null());
    let said = summary(&none).await;
    assert_eq!((&said["enabled"], &said["connected"]), (&json!(true), &json!(false)), "{said}");
    assert!(said["keys"].as_u64() >= Some(1) && said["memory_used"].as_u64() > Some(0), "{said}");
    assert!(stats(&none).await["cluster"]["lifetime"].is_null());
}

#[tokio::test]
async fn one_body_has_the_statistics_and_the_longer_one_begins_with_it() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &[("store", &redis.url())]).await;
    connected(&gateway).await;
    ask(&gateway, 3).await;
    let said = summary(&gateway).await;
    let names = ["connected", "enabled", "errors", "hit_rate", "hits", "keys", "last_good", "memory_used", "misses"];
    assert_eq!(said.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), names, "{said}");
    let (hits, misses) = (said["hits"].as_u64().unwrap(), said["misses"].as_u64().unwrap());
    assert!(hits >= 3 && misses >= 1 && said["errors"] == 0, "{said}");
    let rate = hits as f64 / (hits + misses) as f64;
    assert!((said["hit_rate"].as_f64().unwrap() - rate).abs() < 0.001, "{said}");
    assert!(said["memory_used"].as_u64() > Some(100_000) && said["keys"].is_u64(), "{said}");
    let longer = stats(&gateway).await;
    for name in names {
        assert!(!longer[name].is_null(), "{name} of {longer}");
    }
    assert!(longer["cluster"]["nodes"].is_u64() && longer["regions"]["ticker_price"].is_object(), "{longer}");
    drop(redis);
    eventually("it says that Redis is gone", async || summary(&gateway).await["connected"] == false).await;
    let gone = summary(&gateway).await;
    assert!(gone["memory_used"].is_null() && gone["keys"].is_null(), "nothing is made up: {gone}");
    assert!(gone["hits"].as_u64() >= Some(hits), "{gone}");
}

#[tokio::test]
async fn the_statistics_in_one_body_are_for_those_whom_the_longer_ones_are_for() {
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &[("admin.token", "a-token-of-this-test")]).await;
    for path in [SUMMARY, "/api/cache/stats"] {
        assert_eq!(get(gateway.url(path)).await.status, 401, "{path}");
        let request = client().get(gateway.url(path)).bearer_auth("a-token-of-this-test");
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(client().post(gateway.url(SUMMARY)).send().await.unwrap().status(), 405);
}

#[test]
fn a_declared_route_cannot_take_the_path_of_the_statistics() {
    let route = |path: &str| {
        format!(
            "[sources.files]\nkind = \"object\"\nurl = \"file:///tmp\"\n\
             [[routes]]\npath = \"{path}\"\nsource = \"files\"\nobject = \"x.json\"\nregion = \"kv\"\n"
        )
    };
    for path in ["/cache/stats", "/cache/{name}"] {
        let problems = settings_of(&route(path), &[]).unwrap_err().to_string();
        assert!(problems.contains("/cache/stats belongs to the gateway"), "{problems}");
    }
}

#[tokio::test]
async fn counters_outlive_every_gateway_and_each_counts_once() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let store = [("store", &*redis.url())];
    let lifetime = async |gateway: &Running| stats(gateway).await["cluster"]["lifetime"].clone();
    let first = over(&exchange, &store).await;
    connected(&first).await;
    ask(&first, 9).await;
    let before = lifetime(&first).await;
    assert!(before["hits"].as_u64() >= Some(9) && before["since"].as_u64() > Some(1_700_000_000_000), "{before}");
    // The last additions are made when it ends.
    first.stop().await;
    let second = over(&exchange, &store).await;
    connected(&second).await;
    let after = lifetime(&second).await;
    let count = |said: &Value, name: &str| said[name].as_u64().unwrap_or_else(|| panic!("{name} of {said}"));
    assert!(count(&after, "hits") >= count(&before, "hits"), "{after}");
    assert!(count(&after, "misses") >= count(&before, "misses"), "{after}");
    assert_eq!(after["since"], before["since"]);
    let third = over(&exchange, &store).await;
    connected(&third).await;
    ask(&third, 4).await;
    let own = stats(&third).await["regions"]["ticker_price"]["hits"].clone();
    assert!(own["memory"].as_u64() >= Some(4), "{own}");
    third.stop().await;
    second.stop().await;
    // What Redis holds is what anybody may add to, and expires.
    let hits = redis.command(&["HGET", "lastgood:{counters}:v1", "hits"]);
    let hits: u64 = hits.lines().nth(1).and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| panic!("{hits}"));
    assert!(hits >= count(&after, "hits") + 4 && hits < count(&after, "hits") + 50, "{hits} after {after}");
    let ttl = redis.command(&["TTL", "lastgood:{counters}:v1"]);
    let ttl: u64 = ttl.trim_start_matches(':').trim().parse().unwrap();
    assert!(ttl > 30 * 24 * 3_600, "{ttl}");
    let last = over(&exchange, &store).await;
    connected(&last).await;
    let metrics = get(last.url("/metrics")).await;
    let line = metrics.text().lines().find(|line| line.starts_with("lastgood_lifetime_reads_total{outcome=\"hit\"}"));
    let shown: u64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("the lifetime's hits");
    assert!(shown >= hits, "{shown} after {hits}");
    assert!(metrics.text().contains("lastgood_store_memory_bytes "), "{}", metrics.text());
}

#[tokio::test]
async fn counters_of_the_embedded_store_outlive_a_restart() {
    let exchange = Exchange::start().await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().display().to_string();
    let store = [("store", "embedded:"), ("data_dir", folder.as_str())];
    let first = over(&exchange, &store).await;
    ask(&first, 7).await;
    first.stop().await;
    let second = over(&exchange, &store).await;
    connected(&second).await;
    assert!(summary(&second).await["hits"].as_u64() >= Some(7), "{}", summary(&second).await);
}

#[tokio::test]
async fn commands_to_upstash_are_counted_and_a_day_of_them_is_priced() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    let rest = [("store_token", TOKEN), ("store_budget", "5s")];
    let gateway = over(&exchange, &[&[("store", &*front.url())][..], &rest].concat()).await;
    connected(&gateway).await;
    ask(&gateway, 5).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    let said = stats(&gateway).await["store"].clone();
    let commands = said["commands"].as_u64().expect("commands");
    assert!(commands >= front.asked() && commands <= front.asked() + 10, "{said}, {} requests", front.asked());
    let (per_day, cost) = (said["commands_per_day"].as_u64().unwrap(), said["cost_per_day_usd"].as_f64().unwrap());
    assert!(per_day > commands, "{said}");
    assert!((cost - per_day as f64 * 0.2 / 100_000.0).abs() < 0.001, "{said}");
    // What the gateway asks by itself goes on meanwhile: more of it shortly after its start, and where the machine is slow.
    eventually("fifty hits in memory ask nothing", async || {
        let before = front.asked();
        ask(&gateway, 50).await;
        front.asked() <= before + 3
    })
    .await;
    let dear = over(&exchange, &[&[("store", &*front.url()), ("store_price", "20")][..], &rest].concat()).await;
    connected(&dear).await;
    let said = stats(&dear).await["store"].clone();
    let (per_day, cost) = (said["commands_per_day"].as_u64().unwrap(), said["cost_per_day_usd"].as_f64().unwrap());
    assert!((cost - per_day as f64 * 20.0 / 100_000.0).abs() < 0.01, "{said}");
    let plain = over(&exchange, &[("store", &redis.url())]).await;
    connected(&plain).await;
    let said = stats(&plain).await["store"].clone();
    assert!(said["commands"].as_u64() > Some(0) && said["cost_per_day_usd"].is_null(), "{said}");
}

#[test]
fn a_database_at_upstash_is_known_by_its_host_and_a_price_by_its_number() {
    let url = |url: &'static str| ("REDIS_URL", url);
    for (redis, at_upstash) in [
        ("rediss://default:t@eu1-x.upstash.io:6379", true),
        ("rediss://default:t@EU1-X.UPSTASH.IO:6379", true),
        ("redis://127.0.0.1", false),
        ("rediss://default:t@upstash.io.example.com", false),
    ] {
        assert_eq!(settings_of("", &[url(redis)]).unwrap().store.is_at_upstash(), at_upstash, "{redis}");
    }
    assert_eq!(settings_of("store_price = 0.4", &[]).unwrap().store_price, Some(0.4));
    assert_eq!(settings_of("", &[("LASTGOOD_STORE_PRICE", "1")]).unwrap().store_price, Some(1.0));
    for wrong in ["-1", "cheap", "inf", "NaN", "1e9"] {
        let problems = settings_of("", &[("LASTGOOD_STORE_PRICE", wrong)]).unwrap_err().to_string();
        assert!(problems.contains("no price in US dollars"), "{problems}");
    }
}

#[tokio::test]
async fn rest_derived_from_redis_url_alone_serves_what_redis_protocol_stored() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    let over_protocol = over(&exchange, &[("store", &redis.url())]).await;
    let loaded = get(over_protocol.url(PRICE)).await;
    assert!(over_protocol.gateway.cache().sync(Duration::from_secs(5)).await);
    let password = TOKEN.replace('=', "%3D");
    let redis_url = format!("redis://default:{password}@{}", front.address());
    let env = [("REDIS_URL", redis_url.as_str()), ("LASTGOOD_STORE_URL", "upstash-rest:")];
    let mut settings = crate::support::settings(&exchange.url(), &[&CALM[..], &[("store_budget", "5s")]].concat());
    let derived = settings_of("", &env).unwrap();
    (settings.store, settings.store_token) = (derived.store, derived.store_token);
    let data = tempfile::tempdir().unwrap();
    settings.data_dir = data.path().to_owned();
    let over_rest = Running::serve(&settings, data).await;
    let found = get(over_rest.url(PRICE)).await;
    assert_eq!((found.cache(), &found.body), ("HIT", &loaded.body), "{}", found.header("cache-status"));
    assert!(front.asked() > 0);
}
