//! Changes: keys, tags, symbols, everything.

use lastgood_settings::Settings;
use lastgood_testing::RedisServer;

use super::*;
use crate::support::Sink;

#[tokio::test]
async fn what_applications_put_comes_back_byte_for_byte_under_any_key() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    for store in ["memory:", "embedded:", &redis.url()] {
        let gateway = start(&exchange, &[("store", store)]).await;
        let bytes: Vec<u8> = (0..=255).collect();
        for key in ["kv:plain", "kv:a/b/../c?symbol=X&y=%5B1%5D#z", "kv:币安 + \"x\":1", "kv:?"] {
            let name = segment(key.strip_prefix("kv:").unwrap());
            let url = gateway.url(&format!("/v1/kv/kv/{name}?fresh_for=90s&tags=one,%20two"));
            let put = |body: Vec<u8>| client().put(&url).header("content-type", "image/x-icon; v=1").body(body);
            let got = read(put(bytes.clone()).send().await.unwrap()).await;
            assert_eq!(got.status, 201, "{store} {key}: {}", got.text());
            assert_eq!(read(put(bytes.clone()).send().await.unwrap()).await.status, 204, "it is there by now");
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
        let got = ask(&gateway, Method::PUT, "/api/cache/key/kv:x", "1").await;
        assert_eq!((got.status, got.header("content-type")), (405, "application/problem+json"), "{store}");
        let got = ask(&gateway, Method::DELETE, "/api/cache/key/kv:x", "").await;
        assert_eq!(got.status, 404);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn no_client_puts_market_data_in_and_unencoded_questions_are_understood() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("store", &redis.url())]).await;
    fill(&gateway).await;
    let mut regions: Vec<String> = stats(&gateway).await["regions"].as_object().unwrap().keys().cloned().collect();
    assert!(regions.len() > 16 && regions.iter().all(|region| region != "nodes"), "{regions:?}");
    let all = listed(&gateway, "limit=1000").await;
    assert!(all.iter().all(|key| !key.starts_with("nodes:")), "the gateway's own are no keys of anybody: {all:?}");
    regions.push("nodes".to_owned());
    let of_applications = Settings::default().application_regions();
    let is_sealed = |region: &&String| of_applications.iter().all(|(name, _)| name != *region);
    for region in regions.iter().filter(is_sealed) {
        let got = ask(&gateway, Method::PUT, &format!("/v1/kv/{region}/x"), "[]").await;
        // The gateway's own region is no name that applications know.
        let status = if region == "nodes" { 404 } else { 403 };
        assert_eq!((got.status, got.header("content-type")), (status, "application/problem+json"), "{region}");
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
            let done = invalidate(&gateway, asked).await;
            assert_eq!(done["dry_run"], true);
            assert!(done["matched"].as_u64() >= Some(least), "{store} {body}: {done}");
        }
        for target in ["/api/cache/clear/BTCUSDT", "/api/cache/flush"] {
            let done = post(&gateway, target, json!({ "dry_run": true })).await;
            assert!(done["matched"].as_u64() > Some(2) && done["removed"] == 0, "{target}: {done}");
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
async fn an_expired_entry_stands_in_for_a_failing_exchange_and_a_removed_one_does_not() {
    let redis = RedisServer::start();
    for store in ["memory:", "embedded:", &redis.url()] {
        let mut exchange = exchange().await;
        let gateway = start(&exchange, &[("store", store), ("namespace", "other")]).await;
        fill(&gateway).await;
        let done = invalidate(&gateway, json!({ "region": "depth" })).await;
        assert_eq!(done, json!({ "matched": 2, "expired": 2, "dry_run": false }));
        let done = invalidate(&gateway, json!({ "pattern": "ticker_*", "hard": true })).await;
        assert_eq!(done, json!({ "matched": 1, "removed": 1, "dry_run": false }));
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
    for (name, tags) in [("1", "pipeline"), ("2", "pipeline,symbol:BTCUSDT"), ("3", "other")] {
        assert_eq!(ask(&gateway, Method::PUT, &format!("/v1/kv/kv/{name}?tags={tags}"), "1").await.status, 201);
    }
    let done = invalidate(&gateway, json!({ "tag": "pipeline" })).await;
    assert_eq!(done, json!({ "matched": 2, "expired": 2, "dry_run": false }));
    assert_eq!(
        (&explained(&gateway, "kv:1").await["freshness"], &explained(&gateway, "kv:3").await["freshness"]),
        (&json!("kept"), &json!("fresh"))
    );
    let done = post(&gateway, "/api/cache/clear/btcusdt", json!({})).await;
    assert_eq!(done["removed"], 1, "{done}");
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
        assert!(cache.sync(Duration::from_secs(5)).await);
        let done = post(&gateway, "/api/cache/clear/%20btcusdt", json!({})).await;
        // Depth, the application's, and a tail and a block at least for each interval.
        assert!(done["removed"].as_u64() >= Some(6) && done["expired"].as_u64() >= Some(1), "{done}");
        assert!(cache.sync(Duration::from_secs(5)).await);
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
async fn clearing_a_symbol_leaves_analyses_and_values_that_do_not_name_it() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("store", "embedded:")]).await;
    let body = |symbol: &str| format!(r#"{{"input": {{"symbol": "{symbol}"}}, "analysis": "of {symbol}"}}"#);
    for symbol in ["BTCUSDT", "DOGEUSDT"] {
        let tags = if symbol == "DOGEUSDT" { "?tags=symbol:DOGEUSDT" } else { "" };
        let got = ask(&gateway, Method::PUT, &format!("/v1/llm/mood{tags}"), &body(symbol)).await;
        assert_eq!(got.status, 201, "{}", got.text());
        let got = ask(&gateway, Method::PUT, &format!("/v1/kv/kv/report%20{symbol}"), "1").await;
        assert_eq!(got.status, 201, "{}", got.text());
    }
    let done = post(&gateway, "/api/cache/clear/DOGEUSDT", json!({})).await;
    assert_eq!((&done["matched"], &done["removed"]), (&json!(2), &json!(2)), "{done}");
    let find = async |symbol: &str| {
        let asked = format!(r#"{{"input": {{"symbol": "{symbol}"}}}}"#);
        ask(&gateway, Method::POST, "/v1/llm/mood", &asked).await.status
    };
    assert_eq!((find("BTCUSDT").await, find("DOGEUSDT").await), (200, 404));
    assert_eq!(get(gateway.url("/v1/kv/kv/report%20BTCUSDT")).await.cache(), "HIT");
    assert_eq!(get(gateway.url("/v1/kv/kv/report%20DOGEUSDT")).await.status, 404);
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
        // The warning says what would be lost, and how much: what only the store holds, too.
        assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
        let keys = listed(&gateway, "pattern=[!n]*").await.len();
        let warned = ask(&gateway, Method::POST, "/api/cache/flush", "{}").await.json();
        let detail = warned["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(&format!("remove {keys} entries")) && detail.contains("last good"),
            "{store}: {detail}"
        );
        assert_eq!(warned["matched"], keys, "{store}");
        let counted = post(&gateway, "/api/cache/flush", json!({ "dry_run": true })).await;
        assert_eq!((&counted["matched"], &counted["removed"]), (&json!(keys), &json!(0)), "{store}");
        assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT");
        let done = post(&gateway, "/api/cache/flush", json!({ "confirm": true })).await;
        assert!(done["removed"].as_u64() >= Some(5), "{done}");
        assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
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
    assert_eq!(post(&gateway, "/api/cache/enable", json!({})).await, json!({ "enabled": true }));
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT");
}

#[tokio::test]
async fn every_change_leaves_a_line_that_says_who_and_holds_no_token() {
    let sink = Sink::of_the_log("info");
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
    let tagged = lastgood::Loaded { tags: vec!["a".to_owned()], ..lastgood::Loaded::default() };
    gateway.gateway.cache().region_named("kv").unwrap().put("x\ny", tagged).await;
    for (method, target, body, words) in [
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
