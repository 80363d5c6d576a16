//! Bars that applications put, over HTTP.

use std::time::Duration;

use lastgood::Clock;
use lastgood_testing::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Exchange, Got, Running, client, eventually, read};

mod shared;

const HOUR: u64 = 3_600_000;
const SERIES: &str = "/v1/bars/my:BTC-PERP/1h";

async fn start(more: &[(&str, &str)]) -> Running {
    Running::start("http://127.0.0.1:9", more).await
}

async fn send(gateway: &Running, method: Method, target: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let mut request = client().request(method, gateway.url(target)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send().await.expect("an answer")).await
}

async fn put(gateway: &Running, target: &str, body: &str) -> Got {
    send(gateway, Method::PUT, target, &[], body).await
}

async fn get(gateway: &Running, target: &str) -> Got {
    send(gateway, Method::GET, target, &[], "").await
}

async fn delete(gateway: &Running, target: &str) -> Got {
    send(gateway, Method::DELETE, target, &[], "").await
}

/// When the hour opens that is this many before this one.
fn hour(back: u64) -> u64 {
    let now = Clock::system().now().as_millis();
    // The hour must not end before the test does.
    (now + 60_000) / HOUR * HOUR - HOUR - back * HOUR
}

fn row(back: u64, close: &str) -> String {
    format!(r#"[{},"1.10","9.9","0.5","{close}","12.500"]"#, hour(back))
}

fn list(rows: &[String]) -> String {
    format!("[{}]", rows.join(","))
}

/// Whether all that was put is in the store.
async fn written(gateway: &Running) {
    eventually("it is written", async || {
        let cache = gateway.gateway.cache();
        cache.sync(Duration::from_millis(200)).await && matches!(cache.probe_store().await, None | Some(Ok(_)))
    })
    .await;
}

fn stored_and_refused(got: &Got) -> (u16, Value, Vec<u64>) {
    let body = got.json();
    let refused = body["refused"].as_array().cloned().unwrap_or_default();
    (got.status, body["stored"].clone(), refused.iter().map(|one| one["index"].as_u64().unwrap()).collect())
}

#[tokio::test]
async fn bars_come_back_as_they_were_put_and_say_whose_they_are() {
    let gateway = start(&[]).await;
    // As the exchange writes them, with numbers, as objects, with what the application has besides.
    let closes_at = hour(3) + HOUR - 1;
    let bars = [
        format!(r#"[{},"1.10","9.9","0.5","1.5000","12.500",{closes_at},"18.75",3,"1","2","0"]"#, hour(3)),
        format!(r#"[{},1.10,9.90,1e-7,1.5,0]"#, hour(2)),
        format!(
            r#"{{"time": {}, "open":"1","high":"2","low":"1","close":"1.50","volume":7, "note":"ä [1,2]"}}"#,
            hour(1)
        ),
        row(0, "1.7"),
    ];
    let stored = put(&gateway, SERIES, &list(&bars)).await;
    assert_eq!(stored.json(), json!({ "stored": 4, "refused": [], "dropped": 0 }));
    let got = get(&gateway, "/v1/bars/my%3aBTC-PERP/1h").await;
    assert_eq!((got.status, got.text(), got.cache()), (200, list(&bars).as_str(), "HIT"));
    assert_eq!((got.header("content-type"), got.header("age")), ("application/json", "0"));
    let status = got.header("cache-status");
    assert!(status.starts_with("lastgood; hit; ttl=") && status.ends_with("; source=application"), "{status}");
    let latest = get(&gateway, &format!("{SERIES}/latest")).await;
    assert_eq!((latest.status, latest.text()), (200, bars[3].as_str()));
    let same = send(&gateway, Method::GET, SERIES, &[("if-none-match", got.header("etag"))], "").await;
    assert_eq!((same.status, same.body.len(), same.header("content-length")), (304, 0, ""));
    // The newest of one time stands, and the others stay.
    assert_eq!(stored_and_refused(&put(&gateway, SERIES, &list(&[row(0, "1.8")])).await), (200, json!(1), vec![]));
    let got = get(&gateway, SERIES).await;
    assert_eq!(got.text(), list(&[bars[0].clone(), bars[1].clone(), bars[2].clone(), row(0, "1.8")]));
    assert_eq!(get(&gateway, "/v1/bars/my:BTC-PERP/1d").await.status, 404, "another interval is another series");
    assert_eq!(get(&gateway, "/v1/bars/my:btc-perp/1h").await.status, 404, "and so is another name");
    let packed = send(&gateway, Method::GET, SERIES, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.status, 200);
}

#[tokio::test]
async fn ranges_are_those_of_the_exchanges_candles() {
    let gateway = start(&[]).await;
    let bars: Vec<String> = (0..6).rev().map(|back| row(back, "1.5")).collect();
    put(&gateway, SERIES, &list(&bars)).await;
    for (query, from, to) in [
        ("limit=2".to_owned(), 4, 6),
        (format!("start={}&limit=2", hour(5)), 0, 2),
        (format!("end={}&limit=2", hour(3) + 1), 1, 3),
        (format!("start={}&end={}", hour(4), hour(2)), 1, 4),
        (format!("start={}&end={}&limit=1", hour(4), hour(2)), 1, 2),
        (format!("start={}", hour(0) + 1), 0, 0),
        ("limit=5000".to_owned(), 0, 6),
    ] {
        let got = get(&gateway, &format!("{SERIES}?{query}")).await;
        assert_eq!((got.status, got.text()), (200, list(&bars[from..to]).as_str()), "{query}");
    }
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=5001", "limit"),
        ("limit=-1", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=x", "limit"),
        ("start=1.5", "start"),
        ("end=99999999999999999999", "end"),
        ("start=2&end=1", "start"),
        ("startTime=1", "startTime"),
        ("limit=1&limit=2", "limit"),
    ] {
        let got = get(&gateway, &format!("{SERIES}?{query}")).await;
        assert_eq!((got.status, &got.json()["parameter"]), (400, &json!(parameter)), "{query}: {}", got.text());
    }
    assert_eq!(get(&gateway, &format!("{SERIES}/latest?limit=1")).await.status, 400);
}

#[tokio::test]
async fn each_bar_that_is_wrong_is_refused_with_its_reason_and_the_others_are_kept() {
    let gateway = start(&[]).await;
    let at = hour(1);
    let wrong = [
        (format!(r#"[{at},"1","1","2","1","1"]"#), "high"),
        (format!(r#"[{at},"1","2","1.5","1.6","1"]"#), "low"),
        (format!(r#"[{at},"0","1","0","1","1"]"#), "not above zero"),
        (format!(r#"[{at},"1","1","1","1","-1"]"#), "volume is below zero"),
        (format!(r#"[{at},"NaN","1","1","1","1"]"#), "open is no decimal"),
        (format!(r#"[{at},"1","Infinity","1","1","1"]"#), "high is no decimal"),
        (format!(r#"[{at},"1","1","1","1"]"#), "6 columns"),
        (format!(r#"[{},"1","1","1","1","1"]"#, at + 1), "opens at"),
        (format!(r#"[{},"1","1","1","1","1"]"#, at + 4 * HOUR), "future"),
        (format!(r#"[{at},"1","1","1","1","1",{at}]"#), "close_time"),
        (format!(r#"{{"time":{at},"open":1,"high":1,"low":1,"close":1}}"#), "volume"),
        ("null".to_owned(), "neither a row"),
    ];
    let mut bars: Vec<String> = wrong.iter().map(|(bar, _)| bar.clone()).collect();
    bars.extend([row(1, "1.5"), row(1, "1.6"), row(1, "1.5")]);
    let got = put(&gateway, SERIES, &list(&bars)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let body = got.json();
    assert_eq!(body["stored"], 1);
    let refused = body["refused"].as_array().unwrap();
    assert_eq!(refused.len(), wrong.len() + 1, "{body}");
    for (index, (bar, reason)) in wrong.iter().enumerate() {
        assert_eq!(refused[index]["index"], index);
        assert!(refused[index]["reason"].as_str().unwrap().contains(reason), "{bar}: {}", refused[index]);
    }
    assert_eq!(refused[wrong.len()]["index"], wrong.len() + 1, "the same bar twice is one");
    assert_eq!(get(&gateway, SERIES).await.text(), list(&[row(1, "1.5")]));

    let none = put(&gateway, "/v1/bars/other/1h", &list(&bars[..3])).await;
    assert_eq!(none.header("content-type"), "application/problem+json");
    assert_eq!(stored_and_refused(&none), (422, json!(0), vec![0, 1, 2]));
    assert_eq!(get(&gateway, "/v1/bars/other/1h").await.status, 404);
    // Weeks open on Mondays, months on their first day; 2024-01-01 was both.
    let day = 86_400_000;
    let first = 1_704_067_200_000_u64;
    for (interval, opens, status) in [
        ("1w", first, 200),
        ("1w", first + day, 422),
        ("1w", first + 7 * day, 200),
        ("1M", first, 200),
        ("1M", first + 30 * day, 422),
        ("1M", first + 31 * day, 200),
        ("1M", first + 31 * day + 29 * day, 200),
    ] {
        let bar = format!("[[{opens},1,1,1,1,1]]");
        let got = put(&gateway, &format!("/v1/bars/calendar/{interval}"), &bar).await;
        assert_eq!(got.status, status, "{interval} {opens}: {}", got.text());
    }
}

#[tokio::test]
async fn anything_but_a_list_of_bars_is_refused_whole() {
    let gateway = start(&[("limits.max_body_bytes", "1MiB")]).await;
    for body in ["", "{}", "[]", "[[1", "nonsense", "null", "[[1]] x", "\u{feff}[]"] {
        let got = put(&gateway, SERIES, body).await;
        assert_eq!((got.status, got.header("content-type")), (400, "application/problem+json"), "{body}");
    }
    let many = put(&gateway, SERIES, &format!("[{}]", vec!["1"; 5_001].join(","))).await;
    assert!(many.status == 413 && many.text().contains("5000"), "{}", many.text());
    assert_eq!(put(&gateway, SERIES, &"[".repeat((1 << 20) + 1)).await.status, 413);
    assert_eq!(put(&gateway, SERIES, &"[".repeat(1 << 20)).await.status, 400);
    for (target, parameter) in [
        ("/v1/bars/a%20b/1h", "series"),
        ("/v1/bars/a%2Fb/1h", "series"),
        ("/v1/bars/a%00/1h", "series"),
        ("/v1/bars/%FF/1h", "series"),
        ("/v1/bars/..%2F../1h", "series"),
        ("/v1/bars/a:/1h", "series"),
        (&format!("/v1/bars/{}/1h", "x".repeat(65)), "series"),
        ("/v1/bars/BTCUSDT/2m", "interval"),
        ("/v1/bars/BTCUSDT/1H", "interval"),
        ("/v1/bars/BTCUSDT/latest", "interval"),
    ] {
        for got in [get(&gateway, target).await, put(&gateway, target, &list(&[row(1, "1.5")])).await] {
            assert_eq!((got.status, &got.json()["parameter"]), (400, &json!(parameter)), "{target}: {}", got.text());
        }
    }
    let bad = put(&gateway, &format!("{SERIES}?fresh_for=0s"), &list(&[row(1, "1.5")])).await;
    assert_eq!(bad.status, 400);
    assert_eq!(send(&gateway, Method::POST, SERIES, &[], "").await.status, 405);
    assert_eq!(get(&gateway, SERIES).await.status, 404, "nothing of it is kept");
}

#[tokio::test]
async fn head_says_whether_there_are_any_and_delete_removes_them() {
    let gateway = start(&[]).await;
    let head = async || send(&gateway, Method::HEAD, SERIES, &[], "").await;
    assert_eq!((head().await.status, delete(&gateway, SERIES).await.status), (404, 404));
    put(&gateway, SERIES, &list(&[row(1, "1.5")])).await;
    let there = head().await;
    assert_eq!((there.status, there.body.len(), there.cache()), (200, 0, "HIT"));
    assert_eq!(delete(&gateway, SERIES).await.status, 204);
    assert_eq!((head().await.status, get(&gateway, SERIES).await.cache()), (404, "MISS"));
    assert_eq!(get(&gateway, &format!("{SERIES}/latest")).await.status, 404);
}

#[tokio::test]
async fn past_their_freshness_they_are_the_last_good_ones() {
    let gateway = start(&[("regions.bars.fresh_for", "1h")]).await;
    put(&gateway, &format!("{SERIES}?fresh_for=1ms"), &list(&[row(1, "1.5")])).await;
    eventually("they are past it", async || get(&gateway, SERIES).await.cache() == "LAST-GOOD").await;
    let got = get(&gateway, SERIES).await;
    assert_eq!((got.status, got.text()), (200, list(&[row(1, "1.5")]).as_str()));
    assert!(got.header("cache-status").contains("detail=last-good:"), "{}", got.header("cache-status"));
    put(&gateway, SERIES, &list(&[row(0, "1.6")])).await;
    let got = get(&gateway, SERIES).await;
    let ttl: u64 = got.header("cache-status").split("ttl=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!(got.cache() == "HIT" && (3_000..=3_600).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn writing_takes_the_admin_token_and_reading_does_not() {
    let gateway = start(&[("admin.token", "0123456789abcdef")]).await;
    let body = list(&[row(1, "1.5")]);
    let token = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(put(&gateway, SERIES, &body).await.status, 401);
    assert_eq!(send(&gateway, Method::PUT, SERIES, &[token], &body).await.status, 200);
    assert_eq!(get(&gateway, SERIES).await.status, 200);
    assert_eq!(delete(&gateway, SERIES).await.status, 401);
    assert_eq!(send(&gateway, Method::DELETE, SERIES, &[token], "").await.status, 204);
    let open = start(&[]).await;
    let foreign = ("origin", "https://elsewhere.example");
    assert_eq!(send(&open, Method::PUT, SERIES, &[foreign], &body).await.status, 403);
}

#[tokio::test]
async fn switched_off_nothing_is_given_and_changes_count_afterwards() {
    let gateway = start(&[]).await;
    put(&gateway, SERIES, &list(&[row(1, "1.5")])).await;
    gateway.gateway.cache().set_enabled(false);
    assert_eq!(put(&gateway, SERIES, &list(&[row(0, "1.5")])).await.status, 200);
    assert_eq!(get(&gateway, SERIES).await.status, 404);
    gateway.gateway.cache().set_enabled(true);
    assert_eq!(get(&gateway, SERIES).await.text(), list(&[row(1, "1.5"), row(0, "1.5")]));
}

#[tokio::test]
async fn writers_of_one_series_at_once_lose_no_bar() {
    let gateway = start(&[]).await;
    let writers = (0..40).map(|back| {
        let request = client().put(gateway.url(SERIES)).body(list(&[row(back, "1.5")]));
        tokio::spawn(async move { request.send().await.unwrap().status().as_u16() })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(writer.await.unwrap(), 200);
    }
    let all: Vec<String> = (0..40).rev().map(|back| row(back, "1.5")).collect();
    assert_eq!(get(&gateway, SERIES).await.text(), list(&all));
}

#[tokio::test]
async fn in_no_store_are_they_ever_the_exchanges_candles_nor_those_the_applications() {
    let redis = RedisServer::start();
    let data = tempfile::tempdir().unwrap();
    let exchange = Exchange::start().await;
    let (own, candles) = ("/v1/bars/BTCUSDT/1h", "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3");
    for store in ["memory:", "embedded:", &redis.url()] {
        let settings = [("store", store), ("data_dir", data.path().to_str().unwrap())];
        let mut gateway = Running::start(&exchange.url(), &settings).await;
        written(&gateway).await;
        let body = list(&[row(1, "1.5"), row(0, "1.6")]);
        assert_eq!(put(&gateway, own, &body).await.status, 200, "{store}");
        for _ in 0..2 {
            let theirs = get(&gateway, candles).await;
            assert_eq!((theirs.status, theirs.json().as_array().unwrap().len()), (200, 3), "{store}");
            assert!(!theirs.text().contains(r#""1.10","9.9""#), "{store}: {}", theirs.text());
            assert!(!theirs.header("cache-status").contains("application"));
            for path in ["/api/v3/uiKlines", "/fapi/v1/klines"] {
                let others = get(&gateway, &candles.replace("/api/v3/klines", path)).await;
                assert!(!others.text().contains(r#""1.10","9.9""#), "{store} {path}");
            }
            assert_eq!(get(&gateway, own).await.text(), body, "{store}");
            assert_eq!(get(&gateway, "/v1/bars/ETHUSDT/1h").await.status, 404);
            get(&gateway, &candles.replace("BTC", "ETH")).await;
            assert_eq!(get(&gateway, "/v1/bars/ETHUSDT/1h").await.status, 404, "{store}");
            if store == "memory:" {
                break;
            }
            written(&gateway).await;
            gateway.stop().await;
            gateway = Running::start(&exchange.url(), &settings).await;
            written(&gateway).await;
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn no_other_path_puts_anything_among_them() {
    let gateway = start(&[]).await;
    let got = put(&gateway, "/v1/kv/bars/BTCUSDT%2F1h", "[[1]]").await;
    assert!(got.status == 403 && got.text().contains("/v1/bars/"), "{} {}", got.status, got.text());
    assert_eq!(get(&gateway, "/v1/bars/BTCUSDT/1h").await.status, 404);
}

#[tokio::test]
async fn the_cache_api_knows_them_by_symbol_tag_and_pattern() {
    let gateway = start(&[]).await;
    let body = list(&[row(1, "1.5")]);
    let targets = ["/v1/bars/BTCUSDT/1h", "/v1/bars/my:BTC-PERP/1h", "/v1/bars/my:BTC-PERP/4h", "/v1/bars/ETH/1h"];
    let fill = async || {
        for target in targets {
            let body = body.replace(&hour(1).to_string(), "1704067200000");
            assert_eq!(put(&gateway, target, &body).await.status, 200);
        }
    };
    let there = async || {
        let mut there = Vec::new();
        for target in targets {
            there.push(get(&gateway, target).await.status == 200);
        }
        there
    };
    let post = async |target: &str, body: Value| {
        let got = send(&gateway, Method::POST, target, &[], &body.to_string()).await;
        assert_eq!(got.status, 200, "{target} {body}: {}", got.text());
    };
    let invalidate = "/api/cache/invalidate";
    fill().await;
    post("/api/cache/clear/my:BTC-PERP", json!({})).await;
    assert_eq!(there().await, [true, false, false, true]);
    assert_eq!(get(&gateway, targets[0]).await.cache(), "HIT", "nor is another series expired");
    post("/api/cache/clear/BTCUSDT", json!({})).await;
    assert_eq!(there().await, [false, false, false, true]);
    fill().await;
    post(invalidate, json!({ "tag": "symbol:my:BTC-PERP", "hard": true })).await;
    assert_eq!(there().await, [true, false, false, true]);
    fill().await;
    post(invalidate, json!({ "pattern": "bars:*/1h", "hard": true })).await;
    assert_eq!(there().await, [false, false, true, false]);
    fill().await;
    post(invalidate, json!({ "region": "bars" })).await;
    assert_eq!(get(&gateway, targets[0]).await.cache(), "LAST-GOOD");
    post(invalidate, json!({ "key": "bars:ETH/1h", "hard": true })).await;
    assert_eq!(there().await, [true, true, true, false]);
    let explained = get(&gateway, "/api/cache/explain/bars:my:BTC-PERP%2F1h").await.json();
    assert_eq!(
        (&explained["tags"], &explained["tier"]),
        (&json!(["symbol:my:BTC-PERP"]), &json!("memory")),
        "{explained}"
    );
}
