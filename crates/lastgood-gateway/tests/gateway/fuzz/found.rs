//! What the fuzzers found, each as a test of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::scene::Scene;
use crate::support::{Exchange, Running, get};

/// What the gateway says to these bytes until it closes the connection; `cut` says that no more will come.
async fn said(gateway: &Running, bytes: &[u8], cut: bool) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if cut {
        stream.shutdown().await.unwrap();
    }
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
    read.expect("an end").expect("no reset");
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_body_that_breaks_off_on_its_way_to_the_exchange_is_refused_as_the_clients_mistake() {
    let scene = Scene::start(true).await;
    for (bytes, cut) in [
        ("PUT /api/v3/ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", false),
        ("POST /sapi/v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n", false),
        ("POST /api/v3/order HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nsymbol=BTC", true),
        ("GET /fapi/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\nsymbol=BTC", true),
    ] {
        let said = said(&scene.gateway, bytes.as_bytes(), cut).await;
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("{\"code\":-1100,"), "{bytes}: {said}");
    }
    // Whole, and the client's side stays open: one that closes it counts as gone while its answer is awaited.
    let head = "POST /api/v3/order HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = "a".repeat(64 << 10);
    let large = format!("{head}{}0\r\n\r\n", format!("10000\r\n{chunk}\r\n").repeat(17));
    let said = said(&scene.gateway, large.as_bytes(), false).await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
}

#[tokio::test]
async fn connect_is_refused_and_not_passed_on() {
    let scene = Scene::start(true).await;
    for target in ["/fapi/v1/fundingInfo", "/api/v3/order", "/sapi/v1/x"] {
        let asked = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let said = said(&scene.gateway, asked.as_bytes(), false).await;
        assert!(said.starts_with("HTTP/1.1 405 ") && said.contains("allow: GET"), "{target}: {said}");
    }
    assert!(
        said(&scene.gateway, b"CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\n\r\n", true)
            .await
            .starts_with("HTTP/1.1 4")
    );
}

#[tokio::test]
async fn an_answer_arrives_whole_whatever_was_sent_behind_its_request() {
    let scene = Scene::start(true).await;
    let target = "/fng/?limit=0";
    let whole = get(scene.gateway.url(target)).await;
    assert!(whole.body.len() > 64 << 10, "{}", whole.body.len());
    let behind = [b"G@T / HTTP/1.1\r\n".as_slice(), &[b'x'; 300 << 10]].concat();
    for head in ["\r\n", "Connection: close\r\n\r\n"] {
        let mut stream = TcpStream::connect(scene.gateway.address).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{head}").as_bytes()).await.unwrap();
        stream.write_all(&behind).await.unwrap();
        // The client is slow to read: much of the answer is on its way when the gateway has done with the connection.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut said = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await.expect("an end");
        let body = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(said[body..].starts_with(&whole.body), "{} of {} bytes", said.len() - body, whole.body.len());
    }
}

#[tokio::test]
async fn a_question_that_contradicts_itself_is_answered_as_the_exchange_answers_it() {
    let scene = Scene::start(true).await;
    for target in [
        "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP&pair=999999999999",
        "/dapi/v1/ticker/price?symbol=BTCUSD_PERP&pair=ETHUSD",
        "/api/v3/exchangeInfo?permissions=+1&symbolStatus=HALT",
    ] {
        let direct = get(scene.exchange.url() + target).await;
        let got = get(scene.gateway.url(target)).await;
        assert_eq!((got.status, got.cache()), (direct.status, "MISS"), "{target}: {}", got.text());
    }
}

#[tokio::test]
async fn the_largest_number_is_a_time_like_any_other_to_candles() {
    let scene = Scene::start(true).await;
    for target in [
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=18446744073709551615",
        "/api/v3/uiKlines?symbol=BTCUSDT&interval=1m&startTime=18446744073709551615&timeZone=0",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=18446744073709551615&endTime=18446744073709551615",
        "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m&startTime=18446744073709551614&endTime=18446744073709551615",
    ] {
        let direct = get(scene.exchange.url() + target).await;
        let got = get(scene.gateway.url(target)).await;
        assert_eq!((got.status, &got.body), (direct.status, &direct.body), "{target}");
    }
}

#[tokio::test]
async fn an_empty_parameter_is_no_number_and_no_format_on_the_gateways_own_path_of_the_index() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("fear_greed.url", &exchange.url())]).await;
    for query in ["limit=", "format=", "limit", "limit=1&format="] {
        assert_eq!(get(gateway.url(&format!("/v1/fear-greed?{query}"))).await.status, 400, "{query}");
        assert_eq!(get(gateway.url(&format!("/fng/?{query}"))).await.status, 200, "{query}");
    }
}
