//! The Cache API and its verbs.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Exchange, Got, Running, client, get, half_past, read};

mod away;
mod bulk;
mod changing;
mod reading;
mod verbs;

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
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
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
