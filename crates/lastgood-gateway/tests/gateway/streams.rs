//! Entries in use are kept fresh by streams, and whatever becomes of them, readers are answered.

use std::time::Duration;

use lastgood_sim::{ClockMode, Sim};
use serde_json::json;

use crate::support::{Exchange, Got, Running, get};

const CANDLES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5";
const FUTURES: &str = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=5";
const TICKER: &str = "/api/v3/ticker/24hr?symbol=BTCUSDT";

/// An exchange whose clock goes on, and a gateway that is pointed at its streams.
async fn streaming(more: &[(&str, &str)]) -> (Exchange, Running) {
    let exchange = Exchange::start().await;
    let streams = exchange.url().replace("http://", "ws://");
    let mut flags = vec![("binance.ws_url", streams.as_str()), ("binance.futures_ws_url", streams.as_str())];
    flags.extend_from_slice(more);
    let gateway = Running::start(&exchange.url(), &flags).await;
    (exchange, gateway)
}

/// Polls a question until it is answered as `wanted`, for a bounded time.
async fn until(gateway: &Running, question: &str, mut wanted: impl FnMut(&Got) -> bool) -> Got {
    let polling = async {
        loop {
            let got = get(gateway.url(question)).await;
            if wanted(&got) {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), polling).await.expect("it happens in time")
}

fn asked(sim: &Sim, path: &str) -> u64 {
    sim.counters().paths.get(path).copied().unwrap_or(0)
}

/// Polls for some seconds, and says how many requests of `path` that cost.
async fn cost_of_polling(exchange: &Exchange, gateway: &Running, question: &str, seconds: u64) -> u64 {
    exchange.sim.reset_counters();
    for _ in 0..seconds * 4 {
        let got = get(gateway.url(question)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    asked(&exchange.sim, question.split('?').next().unwrap())
}

async fn subscribed(exchange: &Exchange, at_least: u64) {
    let there = async {
        while exchange.sim.counters().streams.subscribed < at_least {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), there).await.expect("the gateway subscribes");
}

#[tokio::test]
async fn entries_in_use_are_kept_fresh_at_no_request_weight() {
    let (exchange, gateway) = streaming(&[]).await;
    for question in [CANDLES, FUTURES, TICKER] {
        assert_eq!(get(gateway.url(question)).await.status, 200);
    }
    subscribed(&exchange, 3).await;
    for question in [CANDLES, FUTURES, TICKER] {
        let before = gateway.gateway.streamed();
        until(&gateway, question, |_| gateway.gateway.streamed() > before + 3).await;
    }
    // Without streams five seconds of polling would cost four or five. A candle that closes meanwhile costs one.
    for question in [CANDLES, FUTURES, TICKER] {
        let cost = cost_of_polling(&exchange, &gateway, question, 5).await;
        assert!(cost <= 1, "{cost} requests for {question}");
    }
    assert!(get(gateway.url("/metrics")).await.text().contains("lastgood_stream_messages_total"));
}

#[tokio::test]
async fn a_streamed_candle_is_the_exchange_s_row() {
    let (exchange, gateway) = streaming(&[]).await;
    get(gateway.url(CANDLES)).await;
    subscribed(&exchange, 1).await;
    let seen = until(&gateway, CANDLES, |_| gateway.gateway.streamed() > 2).await;
    assert_eq!(seen.cache(), "HIT");
    // With its clock stopped the exchange sends nothing new, and both say the same.
    exchange.sim.set_clock(ClockMode::Frozen(exchange.sim.now()));
    let direct = get(format!("{}{CANDLES}", exchange.url())).await;
    until(&gateway, CANDLES, |got| got.body == direct.body).await;
}

#[tokio::test]
async fn streams_that_are_silent_are_given_up() {
    let (exchange, gateway) = streaming(&[]).await;
    exchange.fault(json!({"kind": "stream_silent"}));
    get(gateway.url(CANDLES)).await;
    subscribed(&exchange, 1).await;
    let connections = exchange.sim.counters().streams.total;
    until(&gateway, CANDLES, |got| {
        assert_eq!(got.status, 200);
        exchange.sim.counters().streams.total > connections
    })
    .await;
    exchange.sim.clear_faults();
    until(&gateway, CANDLES, |_| gateway.gateway.streamed() > 0).await;
}

#[tokio::test]
async fn streams_that_break_off_are_resumed_and_meanwhile_readers_load() {
    let (exchange, gateway) = streaming(&[]).await;
    get(gateway.url(CANDLES)).await;
    subscribed(&exchange, 1).await;
    exchange.fault(json!({"kind": "stream_drop"}));
    for _ in 0..8 {
        assert_eq!(get(gateway.url(CANDLES)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    subscribed(&exchange, 1).await;
    let before = gateway.gateway.streamed();
    until(&gateway, CANDLES, |_| gateway.gateway.streamed() > before).await;
}

#[tokio::test]
async fn an_exchange_that_refuses_streams_or_sends_garbage_costs_no_reader_an_answer() {
    let (exchange, gateway) = streaming(&[]).await;
    exchange.fault(json!({"kind": "stream_refuse"}));
    for _ in 0..4 {
        assert_eq!(get(gateway.url(CANDLES)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    exchange.sim.clear_faults();
    subscribed(&exchange, 1).await;
    exchange.fault(json!({"kind": "stream_garbage"}));
    for _ in 0..8 {
        let got = get(gateway.url(CANDLES)).await;
        assert_eq!((got.status, got.json().as_array().map(Vec::len)), (200, Some(5)));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn before_the_exchange_shuts_down_a_new_connection_takes_over() {
    let (exchange, gateway) = streaming(&[]).await;
    get(gateway.url(CANDLES)).await;
    subscribed(&exchange, 1).await;
    until(&gateway, CANDLES, |_| gateway.gateway.streamed() > 0).await;
    let connections = exchange.sim.counters().streams.total;
    exchange.fault(json!({"kind": "stream_shutdown"}));
    until(&gateway, CANDLES, |_| exchange.sim.counters().streams.total > connections).await;
    let before = gateway.gateway.streamed();
    until(&gateway, CANDLES, |_| gateway.gateway.streamed() > before + 2).await;
}

#[tokio::test]
async fn the_dashboard_needs_no_streams() {
    let (exchange, gateway) = streaming(&[("preset", "dashboard")]).await;
    get(gateway.url(CANDLES)).await;
    // So long it takes a gateway that wants streams.
    let (other_exchange, other) = streaming(&[]).await;
    get(other.url(CANDLES)).await;
    subscribed(&other_exchange, 1).await;
    assert_eq!(exchange.sim.counters().streams.subscribed, 0);
}
