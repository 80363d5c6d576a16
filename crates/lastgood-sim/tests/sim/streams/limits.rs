//! What a subscriber may do, and what ends a connection.

use std::time::Duration;

use lastgood_sim::{Sim, SimConfig, StreamCounters};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use crate::support::{Exchange, HOUR, MINUTE, NOW};

/// A connection whose bytes no library reads.
async fn raw(exchange: &Exchange, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(exchange.address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    // The key and its answer are those of RFC 6455.
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    stream
}

#[tokio::test]
async fn streams_are_subscribed_to_and_left_on_the_way() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    client.event().await;
    let names = json!(["ethusdt@ticker", "btcusdt@ticker", "nosuchusdt@ticker"]);
    let answer = client.ask_first(json!({"method": "SUBSCRIBE", "params": names, "id": 1})).await;
    assert_eq!(answer, json!({"result": null, "id": 1}), "the answer comes before the first event");
    assert_eq!(client.event().await["s"], json!("ETHUSDT"));
    assert_eq!(client.list().await, ["btcusdt@ticker", "ethusdt@ticker", "nosuchusdt@ticker"]);
    let answer = client.ask(json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@ticker", "other"], "id": "a-2"})).await;
    assert_eq!(answer, json!({"result": null, "id": "a-2"}));
    exchange.sim.advance(1_000);
    assert_eq!(client.event().await["s"], json!("ETHUSDT"));
    client.assert_silent().await;
}

#[tokio::test]
async fn a_malformed_request_is_answered_with_an_error_and_ends_nothing() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws").await;
    for (written, code, id) in [
        (Message::text("no json"), 3, None),
        (Message::binary(vec![0xff, 0]), 3, None),
        (Message::text(r#"{"method":"PING","id":4}"#), 2, Some(4)),
        (Message::text(r#"{"method":"SUBSCRIBE","params":[1],"id":5}"#), 2, Some(5)),
    ] {
        client.send(written).await;
        let answer = client.event().await;
        assert_eq!((&answer["error"]["code"], answer.get("id")), (&json!(code), id.map(|id| json!(id)).as_ref()));
        assert!(answer["error"]["msg"].is_string() && answer.get("result").is_none(), "{answer}");
    }
    assert_eq!(client.list().await.len(), 0);
}

#[tokio::test]
async fn one_message_too_many_in_a_second_ends_the_connection() {
    let exchange = Exchange::start().await;
    let messages = [Message::text("{}"), Message::Ping("x".into()), Message::Pong("y".into())];
    for (path, allowed) in [("/ws", 5), ("/public/ws", 10), ("/market/ws", 10)] {
        for kinds in [&messages[..1], &messages[..]] {
            let mut client = Client::open(&exchange, path).await;
            for message in kinds.iter().cycle().take(allowed + 1) {
                client.send(message.clone()).await;
            }
            let end = client.end().await.unwrap();
            assert_eq!((u16::from(end.code), end.reason.as_str()), (1008, "Too many requests"));
        }
        let mut client = Client::open(&exchange, path).await;
        for _ in 0..allowed {
            assert_eq!(client.list().await.len(), 0, "{path}: {allowed} are allowed");
        }
    }
}

#[tokio::test]
async fn requests_are_answered_under_the_number_or_the_name_they_came_with() {
    let exchange = Exchange::start().await;
    for path in ["/ws", "/public/ws", "/market/ws"] {
        let mut client = Client::open(&exchange, path).await;
        for id in [json!(3), json!("sub-1"), json!(null)] {
            let answer = client.ask_first(json!({"method": "SUBSCRIBE", "params": [], "id": id})).await;
            assert_eq!(answer, json!({"result": null, "id": id}), "{path}");
        }
    }
}

#[tokio::test]
async fn a_connection_has_room_for_1024_streams() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws").await;
    let names: Vec<String> = (0..1_024).map(|number| format!("s{number}@ticker")).collect();
    let answer = client.ask(json!({"method": "SUBSCRIBE", "params": names, "id": 1})).await;
    assert_eq!(answer, json!({"result": null, "id": 1}));
    let answer = client.ask(json!({"method": "SUBSCRIBE", "params": ["btcusdt@ticker"], "id": 2})).await;
    assert_eq!(answer, json!({"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 2}));
    assert_eq!(client.list().await.len(), 1_024);
    let many = format!("/stream?streams={}/x@ticker", names.join("/"));
    assert_eq!(Client::try_open(&exchange, &many).await.err().unwrap().0, 400);
    Client::open(&exchange, many.strip_suffix("/x@ticker").unwrap()).await;
}

#[tokio::test]
async fn attempts_to_connect_are_limited_for_five_minutes() {
    assert_eq!(SimConfig::default().stream_attempts, 300);
    let config = SimConfig { symbols: 20, stream_attempts: 3, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    exchange.fault(json!({"kind": "stream_refuse", "times": 1}));
    assert_eq!(Client::try_open(&exchange, "/ws").await.err().unwrap().0, 503);
    for _ in 0..2 {
        Client::open(&exchange, "/ws").await;
    }
    let (status, body) = Client::try_open(&exchange, "/ws").await.err().unwrap();
    assert!(status == 429 && body.contains("-1003"), "{status} {body}");
    Client::open(&exchange, "/market/ws").await;
    exchange.sim.advance(5 * MINUTE);
    Client::open(&exchange, "/ws").await;
}

#[tokio::test]
async fn pings_come_every_20_seconds_on_spot_and_every_3_minutes_on_the_futures() {
    let exchange = Exchange::start().await;
    for (path, period) in [("/ws", 20_000), ("/market/ws", 180_000)] {
        let mut client = Client::open(&exchange, path).await;
        for _ in 0..2 {
            exchange.sim.advance(period - 1);
            client.send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
            let answer = client.message().await.unwrap().unwrap();
            assert!(answer.is_text(), "{path}: no ping yet, but {answer:?}");
            exchange.sim.advance(1);
            let ping = client.message().await.unwrap().unwrap();
            assert_eq!(ping, Message::Ping(exchange.sim.now().to_string().into()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_cut_off() {
    let exchange = Exchange::start().await;
    let mut good = Client::open(&exchange, "/ws").await;
    let mut bad = raw(&exchange, "/ws").await;
    exchange.sim.advance(20_000);
    assert!(matches!(good.message().await, Some(Ok(Message::Ping(_)))));
    assert_eq!(good.list().await.len(), 0);
    exchange.sim.advance(MINUTE);
    let mut left = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), bad.read_to_end(&mut left)).await.expect("it ends").unwrap();
    assert_eq!(left[0], 0x89, "first the ping");
    assert!(left.ends_with(b"Pong timeout"), "{left:?}");
    assert_eq!(good.list().await.len(), 0);
    assert_eq!(exchange.sim.counters().streams.open, 1);
}

#[tokio::test]
async fn a_connection_ends_with_its_lifetime() {
    assert_eq!(SimConfig::default().stream_lifetime, Duration::from_secs(86_400));
    let config = SimConfig { symbols: 20, stream_lifetime: Duration::from_secs(3_600), ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    let mut client = Client::open(&exchange, "/ws").await;
    exchange.sim.advance(HOUR - 1);
    assert_eq!(client.list().await.len(), 0);
    exchange.sim.advance(1);
    assert_eq!(u16::from(client.end().await.unwrap().code), 1001);
    // Changes until then are sent before.
    let mut client = Client::open(&exchange, "/ws/btcusdt@kline_1d").await;
    client.event().await;
    exchange.sim.advance(24 * HOUR);
    assert_eq!(client.event().await["k"]["x"], json!(true));
    assert_eq!(client.event().await["k"]["x"], json!(false));
    assert_eq!(u16::from(client.end().await.unwrap().code), 1001);
}

#[tokio::test]
async fn counters_tell_connections_streams_and_messages() {
    let exchange = Exchange::start().await;
    let mut first = Client::open(&exchange, "/ws/btcusdt@ticker/ethusdt@ticker").await;
    first.event().await;
    first.event().await;
    let mut second = Client::open(&exchange, "/market/ws").await;
    second.ask(json!({"method": "SUBSCRIBE", "params": ["btcusdt@ticker"], "id": 1})).await;
    second.event().await;
    let expected = StreamCounters { open: 2, subscribed: 3, total: 2, messages: 4 };
    assert_eq!(exchange.sim.counters().streams, expected);
    assert_eq!(exchange.json("/_sim/counters").await["streams"], json!(expected));
    assert_eq!(exchange.sim.counters().statuses[&101], 2);
    exchange.fault(json!({"kind": "stream_drop", "times": 1}));
    first.end().await;
    exchange.sim.reset_counters();
    assert_eq!(
        exchange.sim.counters().streams,
        StreamCounters { open: 1, subscribed: 1, total: 0, messages: 0 },
        "open connections stay open"
    );
}

#[tokio::test]
async fn what_asks_for_no_connection_gets_none() {
    let exchange = Exchange::start().await;
    for path in ["/ws", "/stream?streams=btcusdt@ticker", "/market/ws/btcusdt@kline_1m"] {
        assert_eq!(exchange.get(path).await.error(), (400, -1000), "{path}");
    }
    for path in ["/market", "/market/other", "/wsx", "/private"] {
        assert_eq!(exchange.get(path).await.status, 404, "{path}");
        assert_eq!(Client::try_open(&exchange, path).await.err().unwrap().0, 404, "{path}");
    }
}

#[tokio::test]
async fn broken_frames_and_lost_subscribers_harm_no_one_else() {
    let exchange = Exchange::start().await;
    let mut good = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    good.event().await;
    let broken: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        // A text of four bytes without a mask, one that is no UTF-8, and one that claims to be huge.
        b"\x81\x04abcd",
        b"\x81\x81\0\0\0\0\xff",
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"",
    ];
    for bytes in broken {
        let mut bad = raw(&exchange, "/ws/btcusdt@ticker").await;
        bad.write_all(bytes).await.unwrap();
        bad.shutdown().await.unwrap();
        // The end may be a reset.
        let _ = tokio::time::timeout(Duration::from_secs(20), bad.read_to_end(&mut Vec::new())).await.expect("it ends");
    }
    exchange.sim.advance(1_000);
    assert_eq!(good.event().await["E"], json!(NOW + 1_000));
    assert_eq!(exchange.sim.counters().streams.open, 1);
}

#[tokio::test]
async fn an_exchange_that_stops_takes_its_connections_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sim = Sim::new(SimConfig { symbols: 20, ..SimConfig::default() });
    sim.set_clock(lastgood_sim::ClockMode::Frozen(NOW));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = sim.clone();
    let served = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or(()) };
        serving.serve(listener, stopped).await
    });
    let exchange = Exchange { sim, address };
    let mut client = Client::open(&exchange, "/ws/btcusdt@ticker").await;
    client.event().await;
    stop.send(()).unwrap();
    assert_eq!(client.end().await, None);
    served.await.unwrap().unwrap();
    assert_eq!(exchange.sim.counters().streams.open, 0);
}
