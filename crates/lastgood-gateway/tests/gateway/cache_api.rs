//! The Cache API and its verbs.

use std::process::Output;
use std::time::Duration;

use lastgood::testing::RedisServer;
use lastgood_gateway::config::{Log, LogFormat, Settings};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Exchange, Got, Running, Sink, client, get, half_past, read};

const PRICES: &str = "/api/v3/ticker/price";
const PRICES_KEY: &str = "ticker_price:spot/api/v3/ticker/price?";
const TOKEN: &str = "correct-horse-battery";

/// Answers that stay fresh for longer than a test takes.
const SLOW: [(&str, &str); 5] = [
    ("regions.ticker_price.fresh_for", "10m"),
    ("regions.ticker_24hr.fresh_for", "10m"),
    ("regions.depth.fresh_for", "10m"),
    ("regions.klines.fresh_for", "10m"),
    ("regions.exchange_info.fresh_for", "10m"),
];

async fn exchange() -> Exchange {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
    exchange
}

async fn start(exchange: &Exchange, more: &[(&str, &str)]) -> Running {
    let more: Vec<_> = SLOW.into_iter().chain(more.iter().copied()).collect();
    Running::start(&exchange.url(), &more).await
}

fn depth(symbol: &str) -> String {
    format!("/api/v3/depth?symbol={symbol}&limit=5")
}

fn klines(symbol: &str) -> String {
    format!("/api/v3/klines?symbol={symbol}&interval=1h&limit=50")
}

/// Asks for prices, and depth and candles of two symbols.
async fn fill(gateway: &Running) {
    for target in [PRICES.to_owned(), depth("BTCUSDT"), depth("ETHUSDT"), klines("BTCUSDT"), klines("ETHUSDT")] {
        assert_eq!(get(gateway.url(&target)).await.status, 200, "{target}");
    }
    assert!(gateway.gateway.cache().flush(Duration::from_secs(5)).await);
}

async fn ask(gateway: &Running, method: Method, target: &str, body: &str) -> Got {
    let request = client().request(method, gateway.url(target)).body(body.to_owned());
    read(request.send().await.unwrap()).await
}

async fn post(gateway: &Running, target: &str, body: Value) -> Value {
    let got = ask(gateway, Method::POST, target, &body.to_string()).await;
    assert_eq!(got.status, 200, "{target} {body}: {}", got.text());
    got.json()
}

async fn invalidate(gateway: &Running, body: Value) -> Value {
    post(gateway, "/api/cache/invalidate", body).await
}

async fn stats(gateway: &Running) -> Value {
    get(gateway.url("/api/cache/stats")).await.json()
}

async fn listed(gateway: &Running, query: &str) -> Vec<String> {
    let got = get(gateway.url(&format!("/api/cache/keys?{query}"))).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let keys = got.json()["keys"].as_array().unwrap().clone();
    keys.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

/// A key as one segment of a path.
fn segment(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn explained(gateway: &Running, key: &str) -> Value {
    let got = get(gateway.url(&format!("/api/cache/explain/{}", segment(key)))).await;
    assert_eq!(got.status, 200, "{key}: {}", got.text());
    got.json()
}

#[tokio::test]
async fn only_the_status_is_for_those_without_the_token() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    get(gateway.url(PRICES)).await;
    let key = format!("/api/cache/key/{}", segment(PRICES_KEY));
    let explain = format!("/api/cache/explain/{}", segment(PRICES_KEY));
    let all = [
        (Method::GET, "/api/cache/stats", "", 200),
        (Method::GET, "/api/cache/keys", "", 200),
        (Method::GET, explain.as_str(), "", 200),
        (Method::GET, key.as_str(), "", 200),
        (Method::PUT, key.as_str(), "1", 403),
        (Method::POST, "/api/cache/invalidate", r#"{"region": "depth"}"#, 200),
        (Method::POST, "/api/cache/clear/BTCUSDT", "", 200),
        (Method::POST, "/api/cache/disable", "", 200),
        (Method::POST, "/api/cache/enable", "", 200),
        (Method::POST, "/api/cache/warm", "", 200),
        (Method::DELETE, key.as_str(), "", 200),
        (Method::POST, "/api/cache/flush", r#"{"confirm": true}"#, 200),
    ];
    for (method, target, body, _) in &all {
        for token in [None, Some("correct-horse-batterx"), Some("")] {
            let mut request = client().request(method.clone(), gateway.url(target)).body(*body);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let got = read(request.send().await.unwrap()).await;
            let challenge = got.header("www-authenticate");
            assert_eq!((got.status, challenge), (401, "Bearer realm=\"lastgood\""), "{method} {target} {token:?}");
        }
    }
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT", "nothing was done");
    for (method, target, body, status) in all {
        let request = client().request(method.clone(), gateway.url(target)).body(body).bearer_auth(TOKEN);
        let got = read(request.send().await.unwrap()).await;
        assert_eq!(got.status, status, "{method} {target}: {}", got.text());
    }
    let status = get(gateway.url("/api/cache/status")).await;
    assert_eq!(status.json(), json!({ "enabled": true, "available": true, "store": "memory" }));
}

#[tokio::test]
async fn a_get_changes_nothing_and_other_methods_are_refused() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("store", "embedded:")]).await;
    fill(&gateway).await;
    let (before, keys, asked) = (stats(&gateway).await, listed(&gateway, "").await, exchange.asked());
    let of_key = ["key", "explain"].map(|kind| format!("/api/cache/{kind}/{}", segment(PRICES_KEY)));
    let gets = ["/api/cache/status", "/api/cache/stats", "/api/cache/keys", &of_key[0], &of_key[1]];
    for target in gets.iter().chain(&gets) {
        assert_eq!(get(gateway.url(target)).await.status, 200, "{target}");
    }
    assert_eq!((stats(&gateway).await, listed(&gateway, "").await, exchange.asked()), (before, keys.clone(), asked));
    let posts = ["invalidate", "clear/BTCUSDT", "flush", "enable", "disable", "warm"];
    for target in posts.map(|target| format!("/api/cache/{target}")) {
        let got = get(gateway.url(&target)).await;
        assert_eq!((got.status, got.header("allow")), (405, "POST"), "{target}: {}", got.text());
        assert_eq!(got.header("content-type"), "application/problem+json");
    }
    for target in &gets {
        let got = ask(&gateway, Method::POST, target, "").await;
        assert_eq!(got.status, 405, "{target}");
        assert!(got.header("allow").starts_with("GET"), "{target}: {}", got.header("allow"));
    }
    assert_eq!(listed(&gateway, "").await, keys);
}

#[tokio::test]
async fn stats_say_by_region_and_altogether_what_was_answered_and_how() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    // Of 256 reads of a thread one is timed.
    for _ in 0..600 {
        get(gateway.url(PRICES)).await;
    }
    let stats = stats(&gateway).await;
    let prices = &stats["regions"]["ticker_price"];
    assert_eq!((&prices["hits"], &prices["misses"]), (&json!({ "memory": 599, "store": 0 }), &json!(1)), "{prices}");
    assert_eq!((&prices["stale"], &prices["last_good"], &prices["errors"]), (&json!(0), &json!(0), &json!(0)));
    let rate = prices["hit_rate"].as_f64().unwrap();
    assert!((0.99..1.0).contains(&rate), "{rate}");
    for name in ["load_latency_ms", "hit_latency_us"] {
        assert!(prices[name].as_f64().unwrap() > 0.0, "{prices}");
    }
    assert!(prices["hit_latency_us"].as_f64().unwrap() < 5_000.0, "{prices}");
    assert!(prices["memory_bytes"].as_u64() > Some(1_000) && prices["keys"] == 1, "{prices}");
    let now = lastgood::Clock::system().now().as_millis();
    assert!(prices["last_refresh"].as_u64().unwrap().abs_diff(now) < 60_000, "{prices}");
    let idle = &stats["regions"]["depth"];
    assert_eq!(
        (&idle["hit_rate"], &idle["last_refresh"], &idle["hit_latency_us"]),
        (&json!(0.0), &Value::Null, &Value::Null)
    );
    let cluster = &stats["cluster"];
    assert_eq!((&cluster["nodes"], &cluster["hits"], &cluster["misses"]), (&json!(1), &json!(599), &json!(1)));
    assert_eq!(cluster["hit_rate"].as_f64(), Some(rate));
}

#[tokio::test]
async fn a_key_is_explained_while_it_is_fresh_expired_failing_and_gone() {
    let redis = RedisServer::start();
    let mut exchange = exchange().await;
    let gateway = start(&exchange, &[("store", &redis.url())]).await;
    fill(&gateway).await;
    let fresh = explained(&gateway, PRICES_KEY).await;
    assert_eq!(
        (&fresh["freshness"], &fresh["tier"], &fresh["key"]),
        (&json!("fresh"), &json!("both"), &json!(PRICES_KEY))
    );
    assert!(fresh["fresh_for_ms"].as_u64() > Some(300_000) && fresh["age_ms"].as_u64() < Some(60_000), "{fresh}");
    assert_eq!(fresh["content_type"], "application/json;charset=UTF-8");
    assert_eq!(fresh["bytes"].as_u64(), Some(get(gateway.url(PRICES)).await.body.len() as u64));
    assert_eq!(fresh["policy"]["fresh_for_ms"], 600_000);
    assert_eq!((&fresh["loading"], &fresh["last_error"]), (&json!(false), &Value::Null));
    assert_eq!(fresh["next_refresh"]["when"], "on the first read after");
    let info = get(gateway.url("/api/v3/exchangeInfo")).await;
    assert_eq!(info.status, 200);
    let forever = explained(&gateway, "exchange_info:spot/api/v3/exchangeInfo?").await;
    assert_eq!((&forever["kept_until"], &forever["policy"]["keep_for_ms"]), (&Value::Null, &Value::Null), "{forever}");

    invalidate(&gateway, json!({ "key": PRICES_KEY })).await;
    let kept = explained(&gateway, PRICES_KEY).await;
    assert_eq!((&kept["freshness"], &kept["fresh_for_ms"]), (&json!("kept"), &json!(0)), "{kept}");
    assert_eq!(kept["next_refresh"]["when"], "on next read");
    exchange.stop().await;
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "LAST-GOOD");
    let failing = explained(&gateway, PRICES_KEY).await;
    assert_eq!(
        (&failing["last_error"]["reason"], &failing["next_refresh"]["when"]),
        (&json!("unreachable"), &json!("throttled"))
    );
    assert!(failing["last_error"]["retry_in_ms"].as_u64() > Some(0), "{failing}");
    let kept = get(gateway.url(&format!("/api/cache/key/{}", segment(PRICES_KEY)))).await;
    assert_eq!((kept.cache(), kept.header("cache-status").contains("last-good:unreachable")), ("LAST-GOOD", true));

    for (key, word) in [
        ("ticker_price:spot/api/v3/ticker/prise?", PRICES_KEY),
        ("tickr_price:x", "ticker_price"),
        ("ticker_price:nothing", "/api/cache/keys?region=ticker_price"),
    ] {
        for kind in ["explain", "key"] {
            let got = get(gateway.url(&format!("/api/cache/{kind}/{}", segment(key)))).await;
            assert_eq!((got.status, got.header("content-type")), (404, "application/problem+json"), "{key}");
            assert!(got.json()["detail"].as_str().unwrap().contains(word), "{}", got.text());
        }
    }
    let got = get(gateway.url("/api/cache/explain/no-region-here")).await;
    assert!(got.status == 400 && got.text().contains("region:name"), "{}", got.text());
}

#[tokio::test]
async fn what_is_declared_is_explained_by_its_next_round() {
    let exchange = exchange().await;
    let more = [
        ("warm.markets", "spot"),
        ("warm.symbols", "BTCUSDT"),
        ("warm.popular", "0"),
        ("warm.intervals", "1h"),
        ("warm.every", "1d"),
    ];
    let gateway = start(&exchange, &more).await;
    post(&gateway, "/api/cache/warm", json!({})).await;
    get(gateway.url(&depth("BTCUSDT"))).await;
    for key in ["exchange_info:spot/api/v3/exchangeInfo?", "klines:spot/api/v3/klines:BTCUSDT:1h:tail"] {
        let known = explained(&gateway, key).await;
        let at = known["next_refresh"]["at"].as_u64();
        assert!(known["next_refresh"]["when"] == "warming" && at > known["fresh_for_ms"].as_u64(), "{known}");
    }
    let depths = listed(&gateway, "region=depth").await;
    assert_eq!(explained(&gateway, &depths[0]).await["next_refresh"]["when"], "on the first read after");
}

#[tokio::test]
async fn what_applications_put_comes_back_byte_for_byte_under_any_key() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    for store in ["memory:", "embedded:", &redis.url()] {
        let gateway = start(&exchange, &[("store", store), ("limits.max_body_bytes", "64KiB")]).await;
        let bytes: Vec<u8> = (0..=255).collect();
        for key in ["kv:plain", "kv:a/b/../c?symbol=X&y=%5B1%5D#z", "kv:币安 + \"x\":1", "kv:?"] {
            let url = gateway.url(&format!("/api/cache/key/{}?fresh_for=90s&tags=one,%20two", segment(key)));
            let put = |body: Vec<u8>| client().put(&url).header("content-type", "image/x-icon; v=1").body(body);
            let got = read(put(bytes.clone()).send().await.unwrap()).await;
            assert_eq!(got.status, 201, "{store} {key}: {}", got.text());
            assert_eq!(read(put(bytes.clone()).send().await.unwrap()).await.status, 200, "it is there by now");
            let url = gateway.url(&format!("/api/cache/key/{}", segment(key)));
            let got = get(&url).await;
            assert_eq!(
                (got.status, got.header("content-type"), got.cache()),
                (200, "image/x-icon; v=1", "HIT"),
                "{key}"
            );
            assert_eq!((&got.body[..], got.header("age")), (&bytes[..], "0"));
            assert!(got.header("cache-status").starts_with("lastgood; hit; ttl="), "{}", got.header("cache-status"));
            assert!((60..=90).contains(&(explained(&gateway, key).await["fresh_for_ms"].as_u64().unwrap() / 1_000)));
            let request = client().get(&url).header("if-none-match", got.header("etag"));
            assert_eq!(read(request.send().await.unwrap()).await.status, 304);
            let known = explained(&gateway, key).await;
            assert_eq!((&known["tags"], &known["key"]), (&json!(["one", "two"]), &json!(key)), "{known}");
            assert_eq!(listed(&gateway, "region=kv").await, [key]);
            let got = ask(&gateway, Method::DELETE, url.strip_prefix(&gateway.url("")).unwrap(), "").await;
            assert_eq!(got.json(), json!({ "matched": 1, "removed": 1, "dry_run": false }), "{key}");
            assert_eq!(get(&url).await.status, 404, "{key}");
            assert_eq!(listed(&gateway, "region=kv").await, [""; 0]);
        }
        for (query, word) in
            [("fresh_for=90", "fresh_for"), ("symbol=X", "%3F"), ("tags=1,2,3,4,5,6,7,8,9,0,a,b,c,d,e,f,g", "tags")]
        {
            let got = ask(&gateway, Method::PUT, &format!("/api/cache/key/kv:x?{query}"), "1").await;
            assert!(got.status == 400 && got.text().contains(word), "{query}: {} {}", got.status, got.text());
        }
        let request = client().put(gateway.url("/api/cache/key/kv:x")).header("content-type", "no type").body("1");
        assert_eq!(read(request.send().await.unwrap()).await.status, 400);
        let got = ask(&gateway, Method::PUT, "/api/cache/key/kv:x", &"x".repeat(70_000)).await;
        assert!(got.status == 413 && got.text().contains("limits.max_body_bytes"), "{}", got.text());
        let got = ask(&gateway, Method::DELETE, "/api/cache/key/kv:x", "").await;
        assert_eq!(got.status, 404);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn nobody_puts_market_data_in_and_unencoded_questions_are_understood() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("store", &redis.url())]).await;
    fill(&gateway).await;
    let regions: Vec<String> = stats(&gateway).await["regions"].as_object().unwrap().keys().cloned().collect();
    assert!(regions.len() > 17 && regions.iter().any(|region| region == "nodes"), "{regions:?}");
    let of_applications = Settings::default().application_regions();
    let is_sealed = |region: &&String| of_applications.iter().all(|(name, _)| name != *region);
    for region in regions.iter().filter(is_sealed) {
        let got = ask(&gateway, Method::PUT, &format!("/api/cache/key/{region}:x"), "[]").await;
        assert_eq!((got.status, got.header("content-type")), (403, "application/problem+json"), "{region}");
    }
    let plain = get(gateway.url(PRICES)).await;
    for key in [PRICES_KEY.to_owned(), segment(PRICES_KEY)] {
        assert_eq!(get(gateway.url(&format!("/api/cache/key/{key}"))).await.body, plain.body, "{key}");
    }
    let depths = listed(&gateway, "region=depth").await;
    assert!(depths[0].contains("symbol=BTCUSDT"), "{depths:?}");
    let got = get(gateway.url(&format!("/api/cache/explain/{}", depths[0]))).await;
    assert_eq!((got.status, &got.json()["key"]), (200, &json!(depths[0])));
    let got = get(gateway.url("/api/cache/key/ticker_price:%FF")).await;
    assert_eq!(got.status, 400, "{}", got.text());
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    for store in ["memory:", "embedded:", &redis.url()] {
        let gateway = start(&exchange, &[("store", store)]).await;
        fill(&gateway).await;
        let (before, keys) = (stats(&gateway).await["regions"].clone(), listed(&gateway, "").await);
        for (body, least) in [
            (json!({ "region": "depth" }), 2),
            (json!({ "pattern": "*symbol=BTC*" }), 1),
            (json!({ "pattern": "depth:*ETH[A-Z]SD?", "hard": true }), 1),
            (json!({ "key": PRICES_KEY }), 1),
            (json!({ "symbol": "btcusdt" }), 3),
            (json!({ "tag": "nothing has it" }), 0),
        ] {
            let mut asked = body.clone();
            asked["dry_run"] = true.into();
            let told = invalidate(&gateway, asked).await;
            assert_eq!(told["dry_run"], true);
            assert!(told["matched"].as_u64() >= Some(least), "{store} {body}: {told}");
        }
        for target in ["/api/cache/clear/BTCUSDT", "/api/cache/flush"] {
            let told = post(&gateway, target, json!({ "dry_run": true })).await;
            assert!(told["matched"].as_u64() > Some(2) && told["removed"] == 0, "{target}: {told}");
        }
        assert_eq!(
            (stats(&gateway).await["regions"]["depth"].clone(), listed(&gateway, "").await),
            (before["depth"].clone(), keys)
        );
        for target in [PRICES.to_owned(), depth("BTCUSDT"), klines("BTCUSDT")] {
            assert_eq!(get(gateway.url(&target)).await.cache(), "HIT", "{target}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_expires_stands_in_for_a_failing_exchange_and_what_is_removed_does_not() {
    let redis = RedisServer::start();
    for store in ["memory:", "embedded:", &redis.url()] {
        let mut exchange = exchange().await;
        let gateway = start(&exchange, &[("store", store), ("namespace", "other")]).await;
        fill(&gateway).await;
        let told = invalidate(&gateway, json!({ "region": "depth" })).await;
        assert_eq!(told, json!({ "matched": 2, "expired": 2, "dry_run": false }));
        let told = invalidate(&gateway, json!({ "pattern": "ticker_*", "hard": true })).await;
        assert_eq!(told, json!({ "matched": 1, "removed": 1, "dry_run": false }));
        let asked = exchange.asked();
        assert_eq!(get(gateway.url(&depth("ETHUSDT"))).await.cache(), "MISS");
        assert_eq!(exchange.asked(), asked + 1);
        exchange.stop().await;
        let got = get(gateway.url(&depth("BTCUSDT"))).await;
        assert_eq!((got.status, got.cache()), (200, "LAST-GOOD"), "{store}");
        assert!(get(gateway.url(PRICES)).await.status >= 500, "{store}");
        redis.command(&["FLUSHALL"]);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn tags_reach_whatever_has_them() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("store", "embedded:")]).await;
    for (key, tags) in [("kv:1", "pipeline"), ("kv:2", "pipeline,symbol:BTCUSDT"), ("kv:3", "other")] {
        assert_eq!(ask(&gateway, Method::PUT, &format!("/api/cache/key/{key}?tags={tags}"), "1").await.status, 201);
    }
    let told = invalidate(&gateway, json!({ "tag": "pipeline" })).await;
    assert_eq!(told, json!({ "matched": 2, "expired": 2, "dry_run": false }));
    assert_eq!(
        (&explained(&gateway, "kv:1").await["freshness"], &explained(&gateway, "kv:3").await["freshness"]),
        (&json!("kept"), &json!("fresh"))
    );
    let told = post(&gateway, "/api/cache/clear/btcusdt", json!({})).await;
    assert_eq!(told["removed"], 1, "{told}");
    assert_eq!(listed(&gateway, "region=kv").await, ["kv:1", "kv:3"]);
}

#[tokio::test]
async fn a_symbol_is_cleared_with_its_candles_and_the_others_are_left() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    for store in ["embedded:", &redis.url()] {
        let gateway = start(&exchange, &[("store", store)]).await;
        let cache = gateway.gateway.cache();
        let kv = cache.region_named("kv").unwrap();
        fill(&gateway).await;
        get(gateway.url(&klines("BTCUSDT").replace("1h", "1d"))).await;
        for name in ["latest/BTCUSDT.json", "BTCUSDTX", "1BTCUSDT", "BTCUSDT_260327"] {
            kv.put(name, lastgood::Loaded::default()).await;
        }
        assert!(cache.flush(Duration::from_secs(5)).await);
        let told = post(&gateway, "/api/cache/clear/%20btcusdt", json!({})).await;
        // Depth, the application's, and a tail and a block at least for each interval.
        assert!(told["removed"].as_u64() >= Some(6) && told["expired"].as_u64() >= Some(1), "{told}");
        assert!(cache.flush(Duration::from_secs(5)).await);
        let left = listed(&gateway, "limit=1000").await;
        let of_symbol: Vec<&String> = left.iter().filter(|key| key.contains("BTCUSDT")).collect();
        assert_eq!(of_symbol, ["kv:1BTCUSDT", "kv:BTCUSDTX", "kv:BTCUSDT_260327"], "{store}");
        assert_eq!(explained(&gateway, PRICES_KEY).await["freshness"], "kept", "it holds the symbol's price");
        for target in [depth("ETHUSDT"), klines("ETHUSDT")] {
            assert_eq!(get(gateway.url(&target)).await.cache(), "HIT", "{target}");
        }
        for target in [depth("BTCUSDT"), klines("BTCUSDT"), klines("BTCUSDT").replace("1h", "1d")] {
            let (asked, got) = (exchange.asked(), get(gateway.url(&target)).await);
            assert_eq!((got.status, got.cache(), exchange.asked() > asked), (200, "MISS", true), "{target}");
        }
        let got = ask(&gateway, Method::POST, "/api/cache/clear/BTC%2FUSDT", "").await;
        assert_eq!(got.status, 400, "{}", got.text());
        gateway.stop().await;
        redis.command(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn everything_goes_only_when_it_is_confirmed() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    for store in ["memory:", "embedded:", &redis.url()] {
        let gateway = start(&exchange, &[("store", store)]).await;
        fill(&gateway).await;
        for body in ["", "{}", r#"{"confirm": false}"#, r#"{"confirm": "yes"}"#, r#"{"confirmed": true}"#] {
            let got = ask(&gateway, Method::POST, "/api/cache/flush", body).await;
            assert!(got.status == 400 && got.text().contains("confirm"), "{body}: {}", got.text());
        }
        assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT");
        let told = post(&gateway, "/api/cache/flush", json!({ "confirm": true })).await;
        assert!(told["removed"].as_u64() >= Some(5), "{told}");
        assert!(gateway.gateway.cache().flush(Duration::from_secs(5)).await);
        assert_eq!(listed(&gateway, "pattern=[!n]*").await, [""; 0], "{store}");
        assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn switched_off_everything_passes_and_says_so() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    fill(&gateway).await;
    assert_eq!(post(&gateway, "/api/cache/disable", json!({})).await, json!({ "enabled": false }));
    let asked = exchange.asked();
    for _ in 0..2 {
        assert_eq!(get(gateway.url(PRICES)).await.cache(), "PASS");
    }
    assert_eq!(exchange.asked(), asked + 2);
    assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], false);
    assert_eq!(get(gateway.url("/health")).await.json()["status"], "disabled");
    assert_eq!(ask(&gateway, Method::PUT, "/api/cache/key/kv:x", "1").await.status, 409);
    assert_eq!(post(&gateway, "/api/cache/enable", json!({})).await, json!({ "enabled": true }));
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT");
}

#[tokio::test]
async fn wrong_bodies_and_parameters_are_refused_by_name() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    for (body, word) in [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "exactly one of"),
        (r#"{"patern": "*"}"#, "pattern"),
        (r#"{"region": "depth", "patern": "*"}"#, "unknown field \"patern\""),
        (r#"{"pattern": 1}"#, "pattern"),
        (r#"{"pattern": "["}"#, "pattern"),
        (r#"{"region": "depth", "hard": "yes"}"#, "hard"),
        (r#"{"region": "depth", "dry_run": 1}"#, "dry_run"),
        (r#"{"region": "depth", "tag": "x"}"#, "exactly one of"),
        (r#"{"key": "no region"}"#, "region:name"),
        (r#"{"symbol": "BTC/USDT"}"#, "symbol"),
        (r#"{"tag": ""}"#, "tag"),
    ] {
        let got = ask(&gateway, Method::POST, "/api/cache/invalidate", body).await;
        assert_eq!((got.status, got.header("content-type")), (400, "application/problem+json"), "{body}");
        assert!(got.json()["detail"].as_str().unwrap().contains(word), "{body}: {}", got.text());
    }
    let got = ask(&gateway, Method::POST, "/api/cache/invalidate", r#"{"region": "kline"}"#).await;
    assert!(got.status == 404 && got.text().contains("klines"), "{}", got.text());
    let got = ask(&gateway, Method::POST, "/api/cache/invalidate", &" ".repeat(70_000)).await;
    assert_eq!(got.status, 413);
    for (query, word) in [("limit=0", "limit"), ("limt=1", "limit"), ("pattern=%5B", "pattern")] {
        let got = get(gateway.url(&format!("/api/cache/keys?{query}"))).await;
        assert!(got.status == 400 && got.text().contains(word), "{query}: {}", got.text());
    }
    assert_eq!(get(gateway.url("/api/cache/keys?region=kline")).await.status, 404);
}

#[tokio::test]
async fn keys_are_listed_page_by_page_from_memory_and_the_store() {
    let exchange = exchange().await;
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().display().to_string();
    let more = [("store", "embedded:"), ("data_dir", directory.as_str())];
    let gateway = start(&exchange, &more).await;
    fill(&gateway).await;
    let all = listed(&gateway, "limit=1000").await;
    assert!(all.is_sorted() && all.len() > 6 && all.contains(&PRICES_KEY.to_owned()), "{all:?}");
    gateway.stop().await;

    // Nothing is in memory now.
    let gateway = start(&exchange, &more).await;
    let (mut paged, mut after, mut tiers) = (Vec::new(), String::new(), Vec::new());
    loop {
        let got = get(gateway.url(&format!("/api/cache/keys?limit=2&after={after}"))).await.json();
        assert_eq!(got["complete"], true);
        for row in got["keys"].as_array().unwrap() {
            paged.push(row["key"].as_str().unwrap().to_owned());
            tiers.push(row["tier"].as_str().unwrap().to_owned());
        }
        let Some(next) = got["next"].as_str() else { break };
        after = segment(next);
    }
    assert_eq!(paged, all);
    assert!(tiers.iter().all(|tier| tier == "store"), "{tiers:?}");
    assert_eq!(listed(&gateway, "pattern=*ETHUSDT*&region=depth").await.len(), 1);
    assert_eq!(explained(&gateway, PRICES_KEY).await["tier"], "store");
}

#[tokio::test]
async fn what_memory_cannot_keep_is_refused_where_nothing_else_would() {
    let exchange = exchange().await;
    let more = [("memory.limit", "1MiB"), ("limits.max_body_bytes", "8MiB")];
    let gateway = start(&exchange, &more).await;
    let got = ask(&gateway, Method::PUT, "/api/cache/key/kv:x", &"x".repeat(4 << 20)).await;
    assert!(got.status == 413 && got.text().contains("memory.limit"), "{}", got.text());
    assert_eq!(get(gateway.url("/api/cache/key/kv:x")).await.status, 404);
}

#[tokio::test]
async fn every_change_leaves_a_line_that_says_who_and_holds_no_token() {
    let sink = Sink::default();
    let writer = sink.clone();
    let log = Log { level: "info".to_owned(), format: LogFormat::Text, ..Settings::default().log };
    let subscriber = lastgood_gateway::logging::subscriber(&log, false, move || writer.clone()).expect("a filter");
    // For the whole process: nextest gives each test its own.
    tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    let audited = || {
        let log = sink.text();
        log.lines().filter(|line| line.contains("lastgood::audit")).map(str::to_owned).collect::<Vec<_>>()
    };
    let send = async |method: Method, target: &str, body: &str| {
        let request = client().request(method, gateway.url(target)).body(body.to_owned()).bearer_auth(TOKEN);
        let got = read(request.send().await.unwrap()).await;
        assert!(got.status < 300, "{target}: {}", got.text());
    };
    for (method, target, body, words) in [
        (Method::PUT, "/api/cache/key/kv:x%0Ay?tags=a", "1", "what=\"put\" scope=\"kv:x\\ny\" matched=1 changed=1"),
        (
            Method::POST,
            "/api/cache/invalidate",
            r#"{"tag": "a"}"#,
            "what=\"expire\" scope=\"tag a\" matched=1 changed=1",
        ),
        (Method::DELETE, "/api/cache/key/kv:x%0Ay", "", "what=\"remove\" scope=\"kv:x\\ny\" matched=1 changed=1"),
        (Method::POST, "/api/cache/clear/BTCUSDT", "", "what=\"clear\" scope=\"symbol BTCUSDT\""),
        (Method::POST, "/api/cache/disable", "", "what=\"disable\""),
        (Method::POST, "/api/cache/enable", "", "what=\"enable\""),
        (Method::POST, "/api/cache/warm", "", "what=\"warm\""),
        (Method::POST, "/api/cache/flush", r#"{"confirm": true}"#, "what=\"flush\" scope=\"everything\""),
    ] {
        let before = audited().len();
        send(method, target, body).await;
        let lines = audited();
        assert_eq!(lines.len(), before + 1, "{target}: {lines:?}");
        let line = lines.last().unwrap();
        assert!(
            line.contains(words) && line.contains("admitted_by=\"bearer\"") && line.contains("127.0.0.1:"),
            "{line}"
        );
    }
    let before = audited().len();
    send(Method::POST, "/api/cache/invalidate", r#"{"region": "kv", "dry_run": true}"#).await;
    let wrong = client().post(gateway.url("/api/cache/disable")).bearer_auth("a-wrong-token-for-this");
    assert_eq!(read(wrong.send().await.unwrap()).await.status, 401);
    assert_eq!(audited().len(), before, "nothing was changed");
    let log = sink.text();
    assert!(!log.contains(TOKEN) && !log.contains("a-wrong-token"), "{log}");
}

/// Runs the command without holding up this thread, which the gateway runs on, too.
async fn command(gateway: &Running, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).env_clear().env("LASTGOOD_URL", gateway.url("")).env("LASTGOOD_ADMIN_TOKEN", TOKEN);
    command.output().await.expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_verbs_that_ask_print_tables_and_json_and_bodies_as_they_are() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    fill(&gateway).await;
    let output = command(&gateway, &["stats"]).await;
    let table = out(&output);
    assert!(output.status.success() && table.contains("HIT RATE") && table.contains("ticker_price"), "{table}");
    assert!(table.contains("TOTAL") && !table.contains("book_ticker"), "{table}");
    assert!(out(&command(&gateway, &["stats", "--all"]).await).contains("book_ticker"));
    let stats: Value = serde_json::from_slice(&command(&gateway, &["stats", "--json"]).await.stdout).unwrap();
    assert_eq!(stats["regions"]["ticker_price"]["misses"], 1);

    let body = get(gateway.url(PRICES)).await.body;
    let output = command(&gateway, &["get", PRICES_KEY]).await;
    assert!(output.status.success() && output.stdout == body, "{}", told(&output));
    assert!(told(&output).contains("x-cache: HIT"), "{}", told(&output));
    let shown: Value = serde_json::from_slice(&command(&gateway, &["get", "--json", PRICES_KEY]).await.stdout).unwrap();
    assert!(shown["body"].is_array() && shown["x_cache"] == "HIT", "{shown}");

    let output = command(&gateway, &["keys", "--pattern", "*symbol=*", "--limit", "1"]).await;
    assert!(out(&output).contains("depth:") && told(&output).contains("--after"), "{} {}", out(&output), told(&output));
    let depths: Value =
        serde_json::from_slice(&command(&gateway, &["keys", "--region", "depth", "--json"]).await.stdout).unwrap();
    let key = depths["keys"][0]["key"].as_str().unwrap();
    let output = command(&gateway, &["explain", key]).await;
    let table = out(&output);
    assert!(output.status.success() && table.contains("freshness") && table.contains("fresh"), "{table}");
    assert!(table.contains("next_refresh.when") && table.contains("policy.keep_for_ms"), "{table}");
    let known: Value = serde_json::from_slice(&command(&gateway, &["explain", key, "--json"]).await.stdout).unwrap();
    assert_eq!(known["key"], key);

    for arguments in [&["get", "depth:nothing"][..], &["explain", "depht:x"]] {
        let output = command(&gateway, arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(told(&output).contains("depth") && !told(&output).contains("older version"), "{}", told(&output));
    }
    let output = command(&gateway, &["stats", "--token", "a-wrong-token-for-this"]).await;
    assert!(output.status.code() == Some(1) && told(&output).contains("LASTGOOD_ADMIN_TOKEN"), "{}", told(&output));
}

#[tokio::test]
async fn the_verbs_that_change_do_it_and_ask_before_they_remove_much() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    fill(&gateway).await;
    let run = async |arguments: &[&str]| {
        let output = command(&gateway, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
        out(&output)
    };
    let json_of = async |arguments: &[&str]| -> Value { serde_json::from_str(&run(arguments).await).unwrap() };
    let table = run(&["expire", "--region", "depth", "--dry-run"]).await;
    assert!(table.contains("MATCHED") && table.contains("dry run"), "{table}");
    assert_eq!(get(gateway.url(&depth("BTCUSDT"))).await.cache(), "HIT");
    let done = json_of(&["expire", "--region", "depth", "--json"]).await;
    assert_eq!(done, json!({ "matched": 2, "expired": 2, "dry_run": false }));
    let done = json_of(&["expire", "--key", PRICES_KEY, "--hard", "--json"]).await;
    assert_eq!(done, json!({ "matched": 1, "removed": 1, "dry_run": false }));
    let done = json_of(&["remove", "--pattern", "depth:*", "--json"]).await;
    assert_eq!(done, json!({ "matched": 2, "removed": 2, "dry_run": false }));
    let done = json_of(&["remove", "--symbol", "btcusdt", "--json"]).await;
    assert!(done["removed"].as_u64() >= Some(2), "{done}");
    assert_eq!(json_of(&["remove", "--tag", "none", "--json"]).await["matched"], 0);
    fill(&gateway).await;
    let done = json_of(&["clear", "--symbol", "ETHUSDT", "--json"]).await;
    assert!(done["removed"].as_u64() >= Some(3) && done["expired"].as_u64() >= Some(1), "{done}");
    for refused in [
        &["clear", "--region", "depth"][..],
        &["clear", "--all"],
        &["flush"],
        &["clear"],
        &["expire"],
        &["remove", "--tag", "x", "--region", "depth"],
        &["keys", "--limit", "0"],
        &["get"],
    ] {
        let output = command(&gateway, refused).await;
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {}", told(&output));
    }
    assert_eq!(get(gateway.url(&depth("BTCUSDT"))).await.cache(), "HIT");
    assert_eq!(json_of(&["clear", "--region", "depth", "--yes", "--json"]).await["removed"], 1);
    assert!(json_of(&["flush", "--dry-run", "--json"]).await["matched"].as_u64() > Some(0));
    assert!(run(&["flush", "--yes"]).await.contains("REMOVED"));
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
    run(&["clear", "--all", "--yes"]).await;
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
    let output = command(&gateway, &["remove", "--key", "depht:x"]).await;
    assert!(output.status.code() == Some(1) && told(&output).contains("depth"), "{}", told(&output));
}
