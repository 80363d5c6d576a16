//! More than there is room for: entries at hand are still served, and no client takes the room of others for long.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{Exchange, Got, Running, client, eventually, get, read};

mod child;
mod memory;
mod run;

const HOUR: &str = "1h";

/// What a memory hit needs: regions that stay fresh for as long as a test takes.
const FRESH: [(&str, &str); 3] =
    [("regions.klines.fresh_for", HOUR), ("regions.ticker_price.fresh_for", HOUR), ("regions.app.fresh_for", HOUR)];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    FRESH.iter().chain(more).copied().collect()
}

/// Sends requests that an exchange that hangs does not answer, and waits until they are under way.
async fn hanging(
    gateway: &Running,
    targets: &[&str],
) -> Vec<tokio::task::JoinHandle<reqwest::Result<reqwest::Response>>> {
    let tasks = targets.iter().map(|target| tokio::spawn(client().get(gateway.url(target)).send())).collect();
    let wanted = format!("lastgood_requests_active {}", targets.len());
    let busy = async || get(gateway.url("/metrics")).await.text().contains(&wanted);
    eventually("the requests wait", busy).await;
    tasks
}

const CANDLES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&endTime=1600000000000";
const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";

async fn put(gateway: &Running, key: &str, body: impl Into<reqwest::Body>) -> u16 {
    let url = gateway.url(&format!("/v1/kv/app/{key}"));
    read(client().put(url).body(body).send().await.expect("an answer")).await.status
}

#[tokio::test]
async fn with_every_place_taken_hits_and_health_are_answered_and_a_new_load_is_refused() {
    let exchange = Exchange::start().await;
    let more = with(&[("limits.max_concurrent_requests", "3"), ("regions.depth.fresh_for", "1ms")]);
    let gateway = Running::start(&exchange.url(), &more).await;
    let depth = "/api/v3/depth?symbol=BTCUSDT&limit=5";
    for target in [CANDLES, PRICE, depth, "/v1/symbols/spot"] {
        assert_eq!(get(gateway.url(target)).await.status, 200, "{target}");
    }
    assert_eq!(put(&gateway, "a", "1").await, 201);
    exchange.fault(serde_json::json!({"kind": "hang"}));
    let waiting = hanging(
        &gateway,
        &[
            "/api/v3/klines?symbol=ETHUSDT&interval=1m",
            "/api/v3/account?signature=1",
            "/api/v3/avgPrice?symbol=BNBUSDT",
        ],
    )
    .await;
    for _ in 0..20 {
        for target in [CANDLES, PRICE, "/v1/symbols/spot", "/v1/kv/app/a"] {
            let got = get(gateway.url(target)).await;
            assert_eq!((got.status, got.cache()), (200, "HIT"), "{target}: {}", got.text());
        }
        for target in ["/livez", "/readyz", "/health", "/metrics", "/api/cache/stats"] {
            assert_eq!(get(gateway.url(target)).await.status, 200, "{target}");
        }
    }
    // A small body has arrived with its head.
    assert_eq!(put(&gateway, "b", "2").await, 201);
    let kept = get(gateway.url(depth)).await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "the kept answer is served instead of waiting");
    for target in ["/api/v3/klines?symbol=BTCUSDT&interval=1m", "/api/v3/avgPrice?symbol=ETHUSDT", "/api/v3/order"] {
        let refused = get(gateway.url(target)).await;
        assert_eq!((refused.status, refused.json()["code"].as_i64()), (503, Some(-1008)), "{target}");
        assert!(
            refused.text().contains("waiting already") || refused.text().contains("overloaded"),
            "{}",
            refused.text()
        );
    }
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("the places are given back", async || {
        get(gateway.url("/metrics")).await.text().contains("lastgood_requests_active 0")
    })
    .await;
}

/// A connection that is kept open, and what comes over it.
struct Kept(TcpStream);

impl Kept {
    async fn open(gateway: &Running) -> Kept {
        Kept(TcpStream::connect(gateway.address).await.unwrap())
    }

    /// Asks for `/livez`; whether that was answered.
    async fn is_answered(&mut self) -> bool {
        let asked = self.0.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut answer)).await;
        asked.is_ok() && matches!(read, Ok(Ok(bytes)) if answer[..bytes].starts_with(b"HTTP/1.1 200"))
    }

    async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
    }
}

#[tokio::test]
async fn with_every_connection_taken_the_idlest_gives_way_to_the_next() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("limits.max_connections", "3")]).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut one = Kept::open(&gateway).await;
        assert!(one.is_answered().await);
        kept.push(one);
    }
    assert!(kept[0].is_answered().await);
    let mut newcomer = Kept::open(&gateway).await;
    assert!(newcomer.is_answered().await);
    assert!(kept[1].is_closed().await, "it had been idle longest");
    assert!(kept[0].is_answered().await && kept[2].is_answered().await && newcomer.is_answered().await);
}

#[tokio::test]
async fn connections_that_are_of_use_do_not_give_way() {
    let exchange = Exchange::start().await;
    exchange.fault(serde_json::json!({"kind": "hang"}));
    let gateway = Running::start(&exchange.url(), &[("limits.max_connections", "2")]).await;
    let ask = async || {
        let mut one = Kept::open(&gateway).await;
        one.0.write_all(b"GET /api/v3/account?signature=1 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        one
    };
    let (first, mut second) = (ask().await, ask().await);
    let passed = async || gateway.traffic().passed == 2;
    eventually("both are passed on", passed).await;
    let mut third = Kept::open(&gateway).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), third.is_answered()).await;
    assert!(waits.is_err(), "there is no place for it yet");
    drop(first);
    let mut answer = [0; 64];
    let read = tokio::time::timeout(Duration::from_secs(10), third.0.read(&mut answer)).await;
    assert!(matches!(read, Ok(Ok(bytes)) if answer[..bytes].starts_with(b"HTTP/1.1 200")), "the first left its place");
    let untouched = tokio::time::timeout(Duration::from_millis(100), second.0.read(&mut [0])).await;
    assert!(untouched.is_err(), "the second still waits for its answer");
}

/// Asks for a target, `times` at once, and hands over the socket, of which nothing was read.
async fn ask_and_leave(gateway: &Running, target: &str, said: &str, times: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{said}\r\n", gateway.address);
    stream.write_all(head.repeat(times).as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_never_reads_is_hung_up_on_and_one_that_reads_slowly_is_not() {
    let exchange = Exchange::start().await;
    let more = with(&[("limits.request_timeout", "1s"), ("limits.max_body_bytes", "32MiB"), ("memory.limit", "1GiB")]);
    let gateway = Running::start(&exchange.url(), &more).await;
    let (bytes, large) = (24 << 20, "/v1/kv/app/large");
    assert!(put(&gateway, "large", vec![b'x'; bytes]).await < 300);
    for _ in 0..2 {
        assert_eq!(get(gateway.url(CANDLES)).await.status, 200);
    }
    // As hyper reads requests, and as plain ones are read ahead of it: once, and many times over.
    let mut never = Vec::new();
    for (target, said, times) in
        [(large, "Connection: close\r\n", 1), (large, "", 1), (large, "X-Not: plain\r\n", 1), (CANDLES, "", 1_000)]
    {
        never.push((format!("{target} {said:?}"), ask_and_leave(&gateway, target, said, times).await));
    }
    let mut slow = ask_and_leave(&gateway, large, "Connection: close\r\n", 1).await;
    let (mut taken, began, mut part) = (0, Instant::now(), vec![0; 256 << 10]);
    loop {
        let read = slow.read(&mut part).await.expect("it is not cut off");
        taken += read;
        if read == 0 {
            break;
        }
        if began.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(taken > bytes && began.elapsed() > Duration::from_secs(3), "{taken} in {:?}", began.elapsed());
    for (what, mut never) in never {
        let mut got = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), never.read_to_end(&mut got)).await;
        assert!(end.is_ok(), "{what}: still open");
        assert!(got.len() < bytes, "{what}: what the kernel had taken is all there is: {}", got.len());
    }
}

/// Sends a head and then the body byte by byte; gives what comes back until the connection is closed, and how long that
/// took.
async fn drip(gateway: &Running, head: &str) -> (String, Duration) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let began = Instant::now();
    let dripping = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut answer) => {}
        () = dripping => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("still open: {head}"),
    }
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_body_that_drips_in_is_not_waited_for_on_any_path() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &with(&[("limits.request_timeout", "500ms")])).await;
    let paths = [
        "POST /api/cache/invalidate",
        "POST /api/cache/flush",
        "POST /api/cache/warm",
        "POST /api/cache/clear/BTCUSDT",
        "PUT /v1/kv/app/k",
        "POST /v1/llm/mood",
        "PUT /v1/llm/mood",
        "POST /api/v3/order",
        "POST /eapi/v1/order",
        "GET /livez",
        "GET /api/v3/ping",
    ];
    for path in paths {
        for length in ["Content-Length: 60000", "Transfer-Encoding: chunked"] {
            let prefix = if length.starts_with('T') { "ea60\r\n" } else { "" };
            let head = format!("{path} HTTP/1.1\r\nHost: {}\r\n{length}\r\n\r\n{prefix}", gateway.address);
            let (answer, took) = drip(&gateway, &head).await;
            assert!(took < Duration::from_secs(10), "{path}: {took:?}");
            let status: u16 = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!(matches!(status, 0 | 200 | 404 | 408), "{path}: {answer}");
        }
    }
}

fn hosts(health: &Got) -> Vec<String> {
    let health = health.json();
    let upstreams = health["upstreams"].as_array().expect("a list");
    let bases = upstreams.iter().flat_map(|upstream| upstream["bases"].as_array().expect("a list"));
    bases.map(|base| base["state"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn clients_that_hang_up_or_send_nonsense_say_nothing_of_the_host() {
    let exchange = Exchange::start().await;
    let more = with(&[("limits.request_timeout", "1s"), ("limits.max_body_bytes", "1KiB")]);
    let gateway = Running::start(&exchange.url(), &more).await;
    // They ask well-formed questions of a host that is slow, and leave.
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 400}));
    for _ in 0..6 {
        let asked = client().get(gateway.url("/api/v3/account?signature=1")).timeout(Duration::from_millis(100)).send();
        assert!(asked.await.is_err());
    }
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 0}));
    // They send bodies that are none, too large ones, and ones that end early.
    let order = "POST /api/v3/order HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let large = format!("Transfer-Encoding: chunked\r\n\r\n1000\r\n{}\r\n", "x".repeat(0x1000));
    for (rest, status) in [("Transfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n", "400"), (&large, "413")] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(format!("{order}{rest}").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
                .await
                .expect("an answer");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
    }
    for _ in 0..4 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(format!("{order}Content-Length: 100\r\n\r\nhalf").as_bytes()).await.unwrap();
    }
    for _ in 0..4 {
        drip(&gateway, &format!("{order}Content-Length: 1000\r\n\r\n")).await;
    }
    let health = get(gateway.url("/health")).await;
    assert!(hosts(&health).iter().all(|state| state != "unhealthy"), "{}", health.text());
    let metrics = get(gateway.url("/metrics")).await;
    assert!(metrics.text().contains("result=\"given-up\"} "), "{}", metrics.text());
    // The host's own silence still counts.
    exchange.fault(serde_json::json!({"kind": "hang"}));
    for _ in 0..3 {
        assert_eq!(get(gateway.url("/api/v3/account?signature=1")).await.status, 504);
    }
    let health = get(gateway.url("/health")).await;
    assert!(hosts(&health).iter().any(|state| state == "unhealthy"), "{}", health.text());
}
