//! What strangers may ask for, and what they get beyond it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Exchange, Running, client, get, read};

#[tokio::test]
async fn a_long_url_is_refused_in_the_shape_of_its_path() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("limits.max_url_bytes", "1KiB")]).await;
    let long = "x".repeat(2_000);
    let refused = get(gateway.url(&format!("/api/v3/klines?symbol={long}"))).await;
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (414, Some(-1008)));
    let refused = get(gateway.url(&format!("/health?{long}"))).await;
    assert_eq!((refused.status, refused.header("content-type")), (414, "application/problem+json"));
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_sent_on() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("limits.max_body_bytes", "1KiB")]).await;
    let sent = client().post(gateway.url("/api/v3/order")).body(vec![b'x'; 100_000]).send().await.unwrap();
    let refused = read(sent).await;
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (413, Some(-1100)));
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn an_oversized_head_ends_its_connection_alone() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let line = format!("X-Filler: {}\r\n", "x".repeat(8_000));
    for _ in 0..20 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get(gateway.url("/livez")).await.status, 200);
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_hung_up_on() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("limits.header_timeout", "100ms")]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: ").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn a_client_that_asks_no_more_is_hung_up_on_and_a_page_that_is_open_is_not() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("limits.header_timeout", "100ms")]).await;
    let mut page = client().get(gateway.url("/page/live")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // The events of a page are further apart than the time that a head may take.
    for _ in 0..3 {
        let event = tokio::time::timeout(Duration::from_secs(10), page.chunk()).await.expect("an event");
        assert!(event.expect("the stream goes on").is_some(), "the stream has ended");
    }
}

#[tokio::test]
async fn errors_outside_the_exchanges_paths_are_problems_in_json() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for (path, status) in [
        ("/nothing", 404),
        ("/page", 404),
        ("/page/nothing", 404),
        ("/api", 404),
        ("/api/cache/nothing", 404),
        ("/futures/x", 404),
    ] {
        let got = get(gateway.url(path)).await;
        assert_eq!((got.status, got.header("content-type")), (status, "application/problem+json"), "{path}");
        assert_eq!(got.json()["status"], status, "{path}");
    }
    let wrong = read(client().post(gateway.url("/health")).send().await.unwrap()).await;
    assert_eq!((wrong.status, wrong.header("content-type")), (405, "application/problem+json"));
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn health_readiness_and_metrics_are_there() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let gateway = Running::start(&exchange.url(), &[("regions.klines.fresh_for", "5m")]).await;
    get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1h")).await;
    get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1h")).await;
    let health = get(gateway.url("/health")).await.json();
    assert_eq!((&health["status"], &health["cache"]["status"]), (&"ok".into(), &"ok".into()), "{health}");
    assert!(health["cache"]["memory_used"].as_u64() > Some(0), "{health}");
    assert_eq!(get(gateway.url("/livez")).await.status, 200);
    assert_eq!(get(gateway.url("/readyz")).await.status, 200);
    let metrics = get(gateway.url("/metrics")).await;
    for line in [
        "lastgood_reads_total{region=\"klines\",outcome=\"hit_memory\"} 1",
        "lastgood_reads_total{region=\"klines\",outcome=\"miss\"} 1",
        "lastgood_upstream_weight_total{venue=\"spot\",exchange=\"spot@127.0.0.1:",
        "lastgood_load_duration_seconds_count{region=\"klines\"} 1",
        "# EOF",
    ] {
        assert!(metrics.text().contains(line), "no {line} in\n{}", metrics.text());
    }
}

#[tokio::test]
async fn a_stopping_gateway_answers_what_was_asked() {
    let exchange = Exchange::start().await;
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 300}));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let url = gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1h");
    let asked = tokio::spawn(async move { get(url).await.status });
    let arrived = async {
        while exchange.asked() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), arrived).await.expect("the exchange is asked");
    let address = gateway.address;
    gateway.stop().await;
    assert_eq!(asked.await.unwrap(), 200);
    assert!(TcpStream::connect(address).await.is_err());
}
