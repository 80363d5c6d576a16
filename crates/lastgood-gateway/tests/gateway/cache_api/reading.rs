//! Reads: counters, explanations, keys.

use lastgood_testing::RedisServer;

use super::*;

/// A key with the name of the exchange, as it is listed.
fn full(key: &str, exchange: &Exchange) -> String {
    key.replacen("spot/", &format!("spot@{}/", exchange.address), 1)
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
async fn keys_are_listed_by_their_tag_as_far_as_memory_holds_them() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let put = async |key: &str, tags: &str| {
        let url = gateway.url(&format!("/v1/kv/kv/{key}?tags={tags}"));
        assert_eq!(client().put(url).body("1").send().await.unwrap().status(), 201);
    };
    put("a", "daily,stocks").await;
    put("b", "daily").await;
    put("c", "dail").await;
    let listed = async |gateway: &Running, query: &str| {
        let listed = get(gateway.url(&format!("/api/cache/keys?{query}"))).await.json();
        let keys = listed["keys"].as_array().unwrap_or_else(|| panic!("{listed}")).iter();
        let keys: Vec<String> = keys.map(|key| key["key"].as_str().unwrap().to_owned()).collect();
        (keys.join(" "), listed["next"].clone(), listed["complete"].clone())
    };
    assert_eq!(listed(&gateway, "tag=daily").await, ("kv:a kv:b".to_owned(), Value::Null, json!(true)));
    assert_eq!(listed(&gateway, "tag=daily&limit=1").await, ("kv:a".to_owned(), json!("kv:a"), json!(true)));
    assert_eq!(listed(&gateway, "tag=daily&limit=1&after=kv:a").await.0, "kv:b");
    assert_eq!(listed(&gateway, "tag=daily&pattern=*b").await.0, "kv:b");
    assert_eq!(listed(&gateway, "tag=daily&region=llm").await.0, "");
    assert_eq!(listed(&gateway, "tag=nothing").await.0, "");
    // A store may hold more with the tag, and does not say so.
    let redis = RedisServer::start();
    let over_redis = start(&exchange, &[("store", &redis.url())]).await;
    assert_eq!(listed(&over_redis, "tag=daily").await.2, json!(false));
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
        (&json!("fresh"), &json!("both"), &json!(full(PRICES_KEY, &exchange)))
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
    assert_eq!(
        (&forever["kept_until"], &forever["policy"]["stale_if_error_ms"]),
        (&Value::Null, &Value::Null),
        "{forever}"
    );

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
        ("ticker_price:spot/api/v3/ticker/prise?", full(PRICES_KEY, &exchange).as_str()),
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
async fn an_explained_key_says_who_brought_it_as_far_as_this_gateway_knows() {
    let exchange = exchange().await;
    let alone = start(&exchange, &[]).await;
    fill(&alone).await;
    assert_eq!(client().put(alone.url("/v1/kv/kv/report")).body("1").send().await.unwrap().status(), 201);
    for (key, origin) in [
        (PRICES_KEY, json!("exchange")),
        ("klines:spot/api/v3/klines:BTCUSDT:1h:tail", json!("exchange")),
        ("kv:report", json!("application")),
    ] {
        assert_eq!(explained(&alone, key).await["origin"], origin, "{key}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("daily.json"), "[1, 2]").unwrap();
    let file = format!(
        "[regions.reports]\n[buckets.reports]\nurl = \"file:{}\"\n[[routes]]\npath = \"/v1/daily\"\nregion = \"reports\"\n\
         sources = [{{ bucket = \"reports\", object = \"daily.json\" }}]\n",
        folder.path().display()
    );
    let of_routes = Running::of_file(&file).await;
    assert_eq!(get(of_routes.url("/v1/daily")).await.status, 200);
    let key = listed(&of_routes, "region=reports").await.remove(0);
    assert_eq!(explained(&of_routes, &key).await["origin"], "source", "{key}");
    // What lies in a store that others use may be of any of them.
    let redis = RedisServer::start();
    let shared = start(&exchange, &[("store", &redis.url())]).await;
    fill(&shared).await;
    assert_eq!(explained(&shared, PRICES_KEY).await["origin"], Value::Null);
}

#[tokio::test]
async fn a_value_of_an_application_is_explained_by_its_own_freshness_and_has_no_next_refresh() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let url = gateway.url("/v1/kv/kv/short?fresh_for=1s");
    assert_eq!(client().put(url).body("1").send().await.unwrap().status(), 201);
    for _ in 0..2 {
        let known = explained(&gateway, "kv:short").await;
        let lifetime = known["freshness_lifetime_ms"].as_u64().unwrap_or_else(|| panic!("{known}"));
        // Each key has a jitter of its own, of a tenth.
        assert!((900..=1_100).contains(&lifetime) && known["policy"]["fresh_for_ms"] != 1_000, "{known}");
        assert_eq!(known["next_refresh"], json!({ "when": "never", "at": null }), "{known}");
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    }
    let known = explained(&gateway, "kv:short").await;
    assert!(known["freshness"] != "fresh" && known["fresh_until"].as_u64() <= known["stale_until"].as_u64(), "{known}");
}

#[tokio::test]
async fn keys_are_listed_by_their_symbol_as_a_change_of_it_matches_them() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    fill(&gateway).await;
    let tagged = gateway.url("/v1/kv/kv/mood?tags=symbol:BTCUSDT");
    assert_eq!(client().put(tagged).body("1").send().await.unwrap().status(), 201);
    for symbol in ["BTCUSDT", "btcusdt", "ETHUSDT", "BTC"] {
        let found = listed(&gateway, &format!("symbol={symbol}&limit=1000")).await;
        let would = invalidate(&gateway, json!({ "symbol": symbol, "dry_run": true })).await;
        assert_eq!(would["matched"], found.len(), "{symbol}: {found:?}");
        let has = |key: &str| found.iter().any(|one| one.contains(key));
        assert_eq!((has("BTCUSDT"), has("mood")), (symbol.starts_with('b') || symbol == "BTCUSDT", has("BTCUSDT")));
    }
    let got = get(gateway.url("/api/cache/keys?symbol=B/T")).await;
    assert!(got.status == 400 && got.text().contains("symbol"), "{}", got.text());
}

#[tokio::test]
async fn a_declared_key_is_explained_by_its_next_round() {
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
async fn keys_are_listed_page_by_page_from_memory_and_the_store() {
    let exchange = exchange().await;
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().display().to_string();
    let more = [("store", "embedded:"), ("data_dir", directory.as_str())];
    let gateway = start(&exchange, &more).await;
    fill(&gateway).await;
    let all = listed(&gateway, "limit=1000").await;
    assert!(all.is_sorted() && all.len() > 6 && all.contains(&full(PRICES_KEY, &exchange)), "{all:?}");
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
