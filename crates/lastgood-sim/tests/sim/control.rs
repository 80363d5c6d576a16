//! The switches under `/_sim/`.

use lastgood_sim::{ClockMode, Counters};
use serde_json::json;

use crate::support::{Exchange, NOW};

#[tokio::test]
async fn the_front_page_explains_the_switches() {
    let exchange = Exchange::start().await;
    for target in ["/_sim", "/_sim/"] {
        let got = exchange.get(target).await;
        assert_eq!((got.status, got.header("content-type")), (200, "text/plain"));
        for word in ["counters", "faults", "clock", "limits", "stale_tail"] {
            assert!(got.text().contains(word), "{word}");
        }
    }
}

#[tokio::test]
async fn the_clock_stands_goes_and_jumps_on_command() {
    let exchange = Exchange::start().await;
    let time = async || exchange.json("/api/v3/time").await["serverTime"].as_u64().unwrap();
    let switch = async |body: &str| exchange.post("/_sim/clock", body).await.status;
    assert_eq!(switch(r#"{"mode":"frozen","at":1600000000000}"#).await, 200);
    assert_eq!((time().await, time().await), (1_600_000_000_000, 1_600_000_000_000));
    assert_eq!(switch(r#"{"advance_ms":60000}"#).await, 200);
    assert_eq!((time().await, exchange.sim.now()), (1_600_000_060_000, 1_600_000_060_000));
    assert_eq!(switch(r#"{"mode":"live"}"#).await, 200);
    let live = time().await;
    assert!(live > NOW - 400 * 86_400_000, "{live}");
    assert!(time().await >= live);
}

#[tokio::test]
async fn no_switch_of_the_clock_breaks_the_exchange() {
    let exchange = Exchange::start().await;
    for mode in [ClockMode::Frozen(0), ClockMode::Frozen(u64::MAX), ClockMode::Live] {
        exchange.sim.set_clock(mode);
        for _ in 0..2 {
            for target in [
                "/api/v3/time",
                "/api/v3/klines?symbol=BTCUSDT&interval=1M",
                "/api/v3/klines?symbol=BTCUSDT&interval=1d&timeZone=14",
                "/api/v3/ticker/24hr",
                "/api/v3/ticker/tradingDay?symbol=BTCUSDT&timeZone=-12",
                "/api/v3/trades?symbol=BTCUSDT",
                "/fapi/v1/premiumIndex",
                "/fapi/v1/fundingRate",
                "/futures/data/openInterestHist?symbol=BTCUSDT&period=1d",
                "/fapi/v1/depth?symbol=BTCUSDT",
            ] {
                let got = exchange.get_with(target, &[("x-mbx-time-unit", "microsecond")]).await;
                assert_eq!(got.status, 200, "{mode:?} {target}: {}", got.text());
            }
            exchange.sim.advance(u64::MAX);
        }
    }
}

#[tokio::test]
async fn counters_tell_paths_statuses_and_the_last_requests() {
    let exchange = Exchange::start().await;
    exchange.get("/api/v3/ping").await;
    exchange.get_with("/api/v3/klines?symbol=NOPE&interval=1h", &[("x-other", "secret")]).await;
    let reply: Counters = serde_json::from_value(exchange.json("/_sim/counters").await).unwrap();
    assert_eq!((reply.total, reply.paths["/api/v3/ping"], reply.statuses[&200], reply.statuses[&400]), (2, 1, 1, 1));
    let last = reply.log.back().unwrap();
    assert_eq!((last.method.as_str(), last.query.as_str()), ("GET", "symbol=NOPE&interval=1h"));
    assert!(last.headers.contains(&"x-other".to_owned()) && !format!("{reply:?}").contains("secret"));
    assert_eq!(exchange.post("/_sim/reset", "").await.status, 200);
    assert_eq!(exchange.sim.counters().total, 0, "questions to the switches are not counted");
}

#[tokio::test]
async fn memory_of_past_pauses_is_bounded() {
    let exchange = Exchange::start().await;
    let long = "x".repeat(20_000);
    for number in 0..1_200 {
        let tail = if number < 20 { long.as_str() } else { "" };
        exchange.get(&format!("/made/up/{number}{tail}?q={tail}")).await;
    }
    let reply = exchange.sim.counters();
    assert_eq!((reply.total, reply.paths.len(), reply.log.len()), (1_200, 1_000, 200));
    assert!(reply.paths.keys().all(|path| path.len() <= 256));
    exchange.sim.reset_counters();
    exchange.get(&format!("/a?q={long}")).await;
    assert!(exchange.sim.counters().log[0].query.len() <= 8_192);
}

#[tokio::test]
async fn faults_are_set_listed_and_ended() {
    let exchange = Exchange::start().await;
    let fault = json!({"kind": "latency", "ms": 1, "path_prefix": "/api", "times": 3});
    assert_eq!(exchange.post("/_sim/faults", &fault.to_string()).await.status, 200);
    for kind in [
        "hang",
        "reset",
        "html",
        "truncated",
        "empty",
        "rate_limited",
        "banned_spot",
        "banned_futures",
        "error_in_200",
        "wrong_content_type",
        "garbage",
        "revise_closed_candle",
        "stale_tail",
    ] {
        let body = json!({"kind": kind, "path_prefix": "/nowhere"}).to_string();
        assert_eq!(exchange.post("/_sim/faults", &body).await.status, 200, "{kind}");
    }
    let listed = exchange.rows("/_sim/faults").await;
    assert_eq!((listed.len(), &listed[0]), (14, &fault));
    let ended = exchange.send("DELETE", "/_sim/faults", &[], b"").await.unwrap();
    assert_eq!(ended.status, 200);
    assert!(exchange.rows("/_sim/faults").await.is_empty());
}

#[tokio::test]
async fn bad_switches_are_refused_with_a_hint_and_change_nothing() {
    let exchange = Exchange::start().await;
    for (path, body) in [
        ("faults", ""),
        ("faults", "null"),
        ("faults", "[]"),
        ("faults", "{}"),
        ("faults", r#"{"kind":"unknown"}"#),
        ("faults", r#"{"kind":"latency"}"#),
        ("faults", r#"{"kind":"latency","ms":-1}"#),
        ("faults", r#"{"kind":"status"}"#),
        ("faults", r#"{"kind":"status","status":200}"#),
        ("faults", r#"{"kind":"status","status":70000}"#),
        ("faults", r#"{"kind":"hang","times":-1}"#),
        ("faults", r#"{"kind":"hang","path_prefx":"/api"}"#),
        ("clock", ""),
        ("clock", "{}"),
        ("clock", r#"{"mode":"frozen"}"#),
        ("clock", r#"{"mode":"backwards"}"#),
        ("clock", r#"{"mode":"frozen","at":-5}"#),
        ("clock", r#"{"advance_ms":"1"}"#),
        ("clock", r#"{"advance_ms":1,"mode":"live"}"#),
        ("limits", ""),
        ("limits", r#"{"spot":-1}"#),
        ("limits", r#"{"spott":1}"#),
        ("limits", r#"{"spot":5000000000}"#),
    ] {
        let got = exchange.post(&format!("/_sim/{path}"), body).await;
        assert_eq!(got.status, 400, "{path} {body}: {}", got.text());
        assert!(got.json()["error"].is_string() && got.json()["hint"].is_string(), "{path} {body}");
    }
    for (method, target) in
        [("GET", "/_sim/clock"), ("GET", "/_sim/unknown"), ("PUT", "/_sim/faults"), ("GET", "/_sim/_sim/counters")]
    {
        let got = exchange.send(method, target, &[], b"").await.unwrap();
        assert_eq!(got.status, 404, "{method} {target}");
    }
    assert!(exchange.rows("/_sim/faults").await.is_empty());
    assert_eq!(exchange.sim.now(), NOW);
}

#[tokio::test]
async fn limits_can_be_switched_one_at_a_time() {
    let exchange = Exchange::start().await;
    assert_eq!(exchange.post("/_sim/limits", r#"{"futures":1}"#).await.status, 200);
    for status in [200, 429] {
        assert_eq!(exchange.get("/fapi/v1/ping").await.status, status);
    }
    for _ in 0..3 {
        assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
    }
}
