//! Streams that misbehave on demand.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use crate::support::{Exchange, HOUR, MINUTE, NOW};

#[tokio::test]
async fn a_silent_stream_is_alive_and_tells_nothing() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    let mut other = Client::open(&exchange, "/market/ws/btcusdt@ticker").await;
    client.event().await;
    other.event().await;
    exchange.fault(json!({"kind": "stream_silent", "path_prefix": "/ws"}));
    exchange.sim.advance(1_000);
    assert_eq!(other.event().await["E"], json!(NOW + 1_000), "another path");
    client.assert_silent().await;
    exchange.sim.advance(20_000);
    assert!(matches!(client.message().await, Some(Ok(Message::Ping(_)))), "it still pings");
    exchange.sim.clear_faults();
    exchange.sim.advance(1_000);
    assert_eq!(client.event().await["E"], json!(NOW + 22_000));
    let mut new = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    assert_eq!(new.event().await["E"], json!(NOW + 22_000));
}

#[tokio::test]
async fn as_many_events_are_lost_as_the_fault_says() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    client.event().await;
    exchange.fault(json!({"kind": "stream_silent", "times": 2}));
    for _ in 0..2 {
        exchange.sim.advance(1_000);
        client.assert_silent().await;
    }
    exchange.sim.advance(1_000);
    assert_eq!(client.event().await["E"], json!(NOW + 3_000));
}

#[tokio::test]
async fn garbage_on_a_stream_is_no_json() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    client.event().await;
    exchange.fault(json!({"kind": "stream_garbage", "times": 1}));
    exchange.sim.advance(1_000);
    let text = client.text().await;
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    exchange.sim.advance(1_000);
    assert_eq!(client.event().await["E"], json!(NOW + 2_000));
}

#[tokio::test]
async fn a_drop_breaks_open_connections_without_a_word_and_nothing_else() {
    let exchange = Exchange::start().await;
    let mut first = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    let mut second = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    let mut other = Client::open(&exchange, "/market/ws/btcusdt@ticker").await;
    exchange.fault(json!({"kind": "stream_drop", "path_prefix": "/ws", "times": 1}));
    assert_eq!(first.end().await, None);
    assert_eq!(second.list().await.len(), 1, "only the oldest");
    assert_eq!(exchange.post("/_sim/faults", r#"{"kind":"stream_drop","path_prefix":"/ws"}"#).await.status, 200);
    assert_eq!(second.end().await, None);
    assert_eq!(other.list().await.len(), 1, "another path");
    assert_eq!(exchange.json("/_sim/faults").await, json!([]), "it is over");
    let mut new = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    new.event().await;
}

#[tokio::test]
async fn a_refused_connection_is_answered_with_503() {
    let exchange = Exchange::start().await;
    let mut open = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    exchange.fault(json!({"kind": "stream_refuse", "path_prefix": "/ws", "times": 2}));
    assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
    for _ in 0..2 {
        assert_eq!(Client::try_open(&exchange, "/ws").await.err().unwrap().0, 503);
    }
    Client::open(&exchange, "/ws").await;
    open.event().await;
    exchange.fault(json!({"kind": "status", "status": 502, "path_prefix": "/ws", "times": 1}));
    assert_eq!(Client::try_open(&exchange, "/ws").await.err().unwrap().0, 502, "a fault of requests strikes too");
    Client::open(&exchange, "/ws").await;
}

#[tokio::test]
async fn a_shutdown_is_announced_ten_minutes_ahead() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws").await;
    exchange.fault(json!({"kind": "stream_shutdown"}));
    assert_eq!(client.event().await, json!({"e": "serverShutdown", "E": NOW}));
    exchange.sim.advance(9 * MINUTE);
    assert_eq!(client.list().await.len(), 0);
    exchange.sim.advance(MINUTE);
    assert_eq!(u16::from(client.end().await.unwrap().code), 1001);
    let mut new = Client::open(&exchange, "/ws").await;
    exchange.sim.advance(HOUR);
    assert_eq!(new.list().await.len(), 0, "only what was open");
}
