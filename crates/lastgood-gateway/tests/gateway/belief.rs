//! What the gateway believes of candles, seen from outside.

use lastgood_sim::ClockMode;
use serde_json::json;

use crate::support::{Exchange, Running, client, get, half_past};

const HOUR: u64 = 3_600_000;

async fn post(url: String, body: serde_json::Value) -> serde_json::Value {
    let request = client().post(url).header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

async fn same(gateway: &Running, exchange: &Exchange, question: &str) {
    let (through, direct) = (get(gateway.url(question)).await, get(format!("{}{question}", exchange.url())).await);
    assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{question}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hiccup_of_the_exchange_erases_no_candles_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().join("cache.redb").display());
    let exchange = Exchange::start().await;
    let now = half_past();
    exchange.sim.set_clock(ClockMode::Frozen(now));
    let first = Running::start(&exchange.url(), &[("store", &store)]).await;
    let newest = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=50";
    let old = format!("/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={}&limit=500", now - 20_000 * HOUR);
    same(&first, &exchange, newest).await;
    // The reported case: a start years ago is answered with nothing, once.
    exchange.fault(json!({"kind": "lie", "lie": "empty_list", "seed": 1, "times": 1}));
    assert_eq!(get(first.url(&old)).await.status, 200);
    for question in [newest, &old] {
        same(&first, &exchange, question).await;
    }
    first.stop().await;
    let second = Running::start(&exchange.url(), &[("store", &store)]).await;
    for question in [newest, &old] {
        same(&second, &exchange, question).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_candles_are_asked_for_again_and_reported_by_series_and_span() {
    let exchange = Exchange::start().await;
    let now = half_past();
    exchange.sim.set_clock(ClockMode::Frozen(now));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let (from, to) = (now - 300 * HOUR, now - 100 * HOUR);
    let question = format!("/fapi/v1/klines?symbol=ETHUSDT&interval=1h&startTime={from}&endTime={to}");
    same(&gateway, &exchange, &question).await;
    assert_eq!(get(gateway.url(&question)).await.cache(), "HIT");
    let done = post(gateway.url("/api/cache/invalidate"), json!({"symbol": "ETHUSDT"})).await;
    assert!(done["expired"].as_u64().unwrap() > 0 && done["candles"][0]["candles"].as_u64().unwrap() >= 150, "{done}");
    exchange.sim.reset_counters();
    let again = get(gateway.url(&question)).await;
    assert_eq!(again.cache(), "MISS");
    assert!(exchange.sim.counters().paths["/fapi/v1/klines"] > 0, "the exchange was asked");
    let key = "klines:futures/fapi/v1/klines:ETHUSDT:1h";
    let known = get(gateway.url(&format!("/api/cache/explain/{}", key.replace('/', "%2F")))).await;
    let spans = known.json()["candles"].clone();
    let spans = spans.as_array().unwrap_or_else(|| panic!("{}", known.text()));
    let candles: u64 = spans.iter().map(|span| span["candles"].as_u64().unwrap()).sum();
    assert!(
        candles >= 150 && spans.iter().any(|span| span["what"] == "candles" && span["confirmed"] == false),
        "{spans:?}"
    );
    // One series by its name, as a dry run and for good.
    let dry = post(gateway.url("/api/cache/invalidate"), json!({"key": key, "dry_run": true})).await;
    let done = post(gateway.url("/api/cache/invalidate"), json!({"key": key, "hard": true})).await;
    assert!(dry["matched"] == done["matched"] && done["removed"].as_u64().unwrap() > 0, "{dry} {done}");
    // What was expired stands in where the exchange fails.
    same(&gateway, &exchange, &question).await;
    post(gateway.url("/api/cache/invalidate"), json!({"key": key})).await;
    exchange.fault(json!({"kind": "status", "status": 503}));
    let kept = get(gateway.url(&question)).await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "{}", kept.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_the_exchange_changed_is_loaded_again_and_reported() {
    let exchange = Exchange::start().await;
    let now = half_past();
    exchange.sim.set_clock(ClockMode::Frozen(now));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let newest = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=200";
    same(&gateway, &exchange, newest).await;
    exchange.fault(json!({"kind": "revise_closed_candle"}));
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    for _ in 0..2 {
        same(&gateway, &exchange, newest).await;
    }
    let health = get(gateway.url("/health")).await.json();
    assert_eq!(health["candles"]["histories_changed"], 1, "{health}");
    assert!(health["candles"]["last_changed"][0]["series"].as_str().unwrap().contains("BTCUSDT:1h:"), "{health}");
    let metrics = get(gateway.url("/metrics")).await;
    assert!(metrics.text().contains("lastgood_candle_histories_changed_total 1"), "{}", metrics.text());
}
