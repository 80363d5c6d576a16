//! Faults on demand.

use std::time::Duration;

use serde_json::json;

use crate::support::{DAY, Exchange, HOUR, NOW, close_time, open_time};

const KLINES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=50";

#[tokio::test]
async fn faults_that_answer_in_the_exchanges_stead() {
    let exchange = Exchange::start().await;
    for (fault, status, content_type, holds) in [
        (json!({"kind": "status", "status": 500}), 500, "application/json;charset=UTF-8", "\"code\":-1001"),
        (json!({"kind": "status", "status": 504}), 504, "application/json;charset=UTF-8", "\"code\":-1001"),
        (json!({"kind": "status", "status": 99}), 500, "application/json;charset=UTF-8", "\"code\":-1001"),
        (json!({"kind": "html"}), 403, "text/html", "<html>"),
        (json!({"kind": "error_in_200"}), 200, "application/json;charset=UTF-8", "\"code\":-1000"),
        (json!({"kind": "garbage"}), 200, "application/json;charset=UTF-8", "not json"),
    ] {
        exchange.fault(fault.clone());
        let got = exchange.get(KLINES).await;
        assert_eq!((got.status, got.header("content-type")), (status, content_type), "{fault}");
        assert!(got.text().contains(holds), "{fault}: {}", got.text());
        assert_eq!(exchange.sim.counters().statuses.get(&status), Some(&1), "{fault}");
        exchange.sim.clear_faults();
        exchange.sim.reset_counters();
    }
    exchange.fault(json!({"kind": "empty"}));
    let got = exchange.get(KLINES).await;
    assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, "0", 0));
    exchange.sim.clear_faults();
    assert_eq!(exchange.get(KLINES).await.status, 200);
}

#[tokio::test]
async fn refusals_on_demand_have_the_real_ones_words() {
    let exchange = Exchange::start().await;
    for (kind, status, words) in [
        ("rate_limited", 429, "Too much request weight used; ".to_owned()),
        ("banned_spot", 418, format!("Way too much request weight used; IP banned until {}.", NOW + 120_000)),
        ("banned_futures", 418, format!("Way too many requests; IP(127.0.0.1) banned until {}.", NOW + 120_000)),
    ] {
        exchange.fault(json!({"kind": kind, "times": 1}));
        let got = exchange.get(KLINES).await;
        assert_eq!(got.error(), (status, -1003), "{kind}");
        assert!(got.json()["msg"].as_str().unwrap().starts_with(&words), "{kind}: {}", got.text());
        assert_eq!(got.number("retry-after"), if status == 429 { 30 } else { 120 }, "{kind}");
        assert_eq!(exchange.get(KLINES).await.status, 200, "{kind} is over");
    }
}

#[tokio::test]
async fn a_reset_connection_says_nothing_and_a_truncated_answer_breaks_off() {
    let exchange = Exchange::start().await;
    let whole = exchange.get(KLINES).await;
    exchange.fault(json!({"kind": "reset", "times": 1}));
    assert!(exchange.send("GET", KLINES, &[], b"").await.is_none());
    exchange.fault(json!({"kind": "truncated"}));
    let got = exchange.get(KLINES).await;
    assert_eq!((got.status, got.number("content-length") as usize), (200, whole.body.len()));
    assert_eq!(got.body, whole.body[..whole.body.len() / 2]);
    let refused = exchange.get("/api/v3/klines?symbol=NOPE&interval=1h").await;
    assert_eq!(refused.status, 400, "a truncated error is still one");
}

#[tokio::test]
async fn a_hanging_request_is_never_answered_and_holds_up_no_other() {
    let exchange = Exchange::start().await;
    exchange.fault(json!({"kind": "hang", "path_prefix": "/api/v3/klines"}));
    let hanging = exchange.send("GET", KLINES, &[], b"");
    tokio::pin!(hanging);
    tokio::select! {
        got = &mut hanging => panic!("answered: {got:?}"),
        () = async {
            for _ in 0..20 {
                assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
            }
        } => {}
    }
    assert_eq!(exchange.sim.counters().paths["/api/v3/klines"], 1, "it arrived");
}

#[tokio::test]
async fn a_late_answer_is_the_same_answer_later() {
    let exchange = Exchange::start().await;
    let whole = exchange.get(KLINES).await;
    exchange.fault(json!({"kind": "latency", "ms": 60, "times": 1}));
    let before = tokio::time::Instant::now();
    let late = exchange.get(KLINES).await;
    assert!(before.elapsed() >= Duration::from_millis(60));
    assert_eq!((late.status, late.body), (200, whole.body));
}

#[tokio::test]
async fn a_wrong_content_type_is_on_a_good_body() {
    let exchange = Exchange::start().await;
    let whole = exchange.get(KLINES).await;
    exchange.fault(json!({"kind": "wrong_content_type"}));
    let got = exchange.get(KLINES).await;
    assert_eq!((got.status, got.header("content-type")), (200, "text/plain"));
    assert_eq!(got.body, whole.body);
}

#[tokio::test]
async fn revised_candles_differ_if_they_are_closed_and_only_then() {
    let exchange = Exchange::start().await;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).iter().step_by(13) {
        let target = format!("/api/v3/klines?symbol={}&interval=1h&limit=30", crate::support::escape(symbol));
        let before = exchange.rows(&target).await;
        exchange.fault(json!({"kind": "revise_closed_candle", "times": 1}));
        let after = exchange.rows(&target).await;
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old[0], new[0], "{symbol}");
            assert_eq!(old != new, close_time(old) < NOW || open_time(old) + HOUR <= NOW, "{symbol}: {old} {new}");
        }
        assert_eq!(exchange.rows(&target).await, before, "{symbol}");
    }
}

#[tokio::test]
async fn a_stale_tail_lacks_the_forming_candle() {
    let exchange = Exchange::start().await;
    for target in [KLINES, "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=50"] {
        let whole = exchange.rows(target).await;
        exchange.fault(json!({"kind": "stale_tail", "times": 1}));
        let stale = exchange.rows(target).await;
        assert_eq!(stale.len(), 50);
        assert_eq!(stale[1..], whole[..49], "{target}");
        assert!(open_time(stale.last().unwrap()) < NOW / DAY * DAY + DAY);
    }
}

#[tokio::test]
async fn a_fault_strikes_as_often_as_given_and_only_its_paths() {
    let exchange = Exchange::start().await;
    exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": "/api/v3/klines", "times": 2}));
    assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
    assert_eq!(exchange.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1h").await.status, 200);
    for status in [503, 503, 200] {
        assert_eq!(exchange.get(KLINES).await.status, status);
    }
    exchange.fault(json!({"kind": "status", "status": 502, "times": 0}));
    assert_eq!(exchange.get(KLINES).await.status, 200);
    exchange.fault(json!({"kind": "latency", "ms": 1}));
    exchange.fault(json!({"kind": "status", "status": 502, "times": 1}));
    assert_eq!(exchange.get(KLINES).await.status, 502, "faults add up");
    assert_eq!(exchange.get(KLINES).await.status, 200);
}

#[tokio::test]
async fn faults_use_no_weight_and_leave_the_switches_alone() {
    let exchange = Exchange::start().await;
    exchange.fault(json!({"kind": "status", "status": 503}));
    let got = exchange.get("/api/v3/exchangeInfo").await;
    assert_eq!((got.status, got.number("x-mbx-used-weight-1m")), (503, 0));
    assert_eq!(exchange.get("/_sim/counters").await.status, 200);
}
