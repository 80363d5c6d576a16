//! Callers with bad intentions, or in great numbers.

use std::time::Duration;

use crate::support::{Exchange, NOW, escape};

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "999",
    "1000",
    "5001",
    "2147483648",
    "4294967296",
    "1502942399999",
    "1772600767250",
    "1772600767251",
    "100000000000000",
    "100000000000001",
    "253402300799999",
    "1772600767250000",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551014",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "-1",
    "+1",
    "1e3",
    "0x10",
    "1.5",
    "NaN",
    "一",
    " ",
    "%00",
];

const SPOT_CANDLES: &[&str] = &["startTime", "endTime", "limit", "timeZone"];
const CANDLES: &[&str] = &["startTime", "endTime", "limit"];

const QUESTIONS: &[(&str, &[&str])] = &[
    ("/api/v3/klines?symbol=BTCUSDT&interval=1s", SPOT_CANDLES),
    ("/api/v3/klines?symbol=BTCUSDT&interval=1h", SPOT_CANDLES),
    ("/api/v3/klines?symbol=BTCUSDT&interval=1w", SPOT_CANDLES),
    ("/api/v3/uiKlines?symbol=BTCUSDT&interval=1M", SPOT_CANDLES),
    ("/api/v3/depth?symbol=BTCUSDT", &["limit"]),
    ("/api/v3/trades?symbol=BTCUSDT", &["limit"]),
    ("/api/v3/historicalTrades?symbol=BTCUSDT", &["limit", "fromId"]),
    ("/api/v3/aggTrades?symbol=BTCUSDT", &["fromId", "startTime", "endTime", "limit"]),
    ("/api/v3/ticker/tradingDay?symbol=BTCUSDT", &["timeZone"]),
    ("/api/v3/ticker?symbol=BTCUSDT", &["windowSize"]),
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m", CANDLES),
    ("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1M", CANDLES),
    ("/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=3d", CANDLES),
    ("/fapi/v1/depth?symbol=BTCUSDT", &["limit"]),
    ("/fapi/v1/aggTrades?symbol=BTCUSDT", &["fromId", "startTime", "endTime", "limit"]),
    ("/fapi/v1/fundingRate?x=1", CANDLES),
    ("/fapi/v1/fundingRate?symbol=BTCUSDT", CANDLES),
    ("/futures/data/openInterestHist?symbol=BTCUSDT&period=5m", CANDLES),
    ("/futures/data/basis?pair=BTCUSD&contractType=PERPETUAL&period=1d", CANDLES),
    ("/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m", CANDLES),
    ("/dapi/v1/aggTrades?symbol=BTCUSD_PERP", &["fromId", "startTime", "endTime", "limit"]),
    ("/api/v3/account?signature=00", &["timestamp", "recvWindow"]),
    ("/api/v3/order?symbol=BTCUSDT&signature=00", &["timestamp", "orderId"]),
];

/// Asks and wants an answer of the exchange, soon.
async fn ask(exchange: &Exchange, target: &str) {
    let key = lastgood_sim::Sim::credentials().remove(0).key;
    let headers = [("x-mbx-apikey", key.as_str())];
    let asking = exchange.send("GET", target, &headers, b"");
    let got = tokio::time::timeout(Duration::from_secs(5), asking).await.unwrap_or_else(|_| panic!("slow: {target}"));
    let got = got.unwrap_or_else(|| panic!("no answer to {target}"));
    assert!(matches!(got.status, 200 | 400), "{target}: {} {}", got.status, got.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_in_any_parameter_breaks_the_exchange() {
    let exchange = Exchange::start().await;
    for (question, parameters) in QUESTIONS {
        exchange.sim.advance(5 * 60_000);
        for parameter in *parameters {
            for number in NUMBERS {
                ask(&exchange, &format!("{question}&{parameter}={}", escape(number))).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pair_of_bounds_breaks_the_exchange() {
    let exchange = Exchange::start().await;
    let numbers = &NUMBERS[..19];
    for (question, parameters) in QUESTIONS.iter().filter(|(_, parameters)| parameters.contains(&"endTime")) {
        for start in numbers.iter().step_by(2) {
            exchange.sim.advance(5 * 60_000);
            for end in numbers.iter().step_by(3) {
                let from = if parameters.contains(&"fromId") { "" } else { "&limit=1000" };
                ask(&exchange, &format!("{question}&startTime={start}&endTime={end}{from}")).await;
            }
        }
    }
}

#[tokio::test]
async fn the_ends_of_time_are_answered_at_once() {
    let exchange = Exchange::start().await;
    let symbols = exchange.sim.symbols(lastgood_sim::Venue::Spot);
    let begun = tokio::time::Instant::now();
    let mut questions = 0;
    for symbol in [&symbols[0], symbols.last().unwrap(), &symbols[24], &symbols[27]] {
        for interval in ["1s", "1m", "1d", "1M"] {
            for bounds in [
                "startTime=0",
                "startTime=0&endTime=1",
                "endTime=0",
                "endTime=1",
                "endTime=1502942400000",
                "startTime=18446744073709551615",
                "startTime=9999999999999&endTime=99999999999999",
                "startTime=0&endTime=99999999999999",
                "startTime=0&limit=1",
            ] {
                ask(&exchange, &format!("/api/v3/klines?symbol={symbol}&interval={interval}&{bounds}")).await;
                questions += 1;
            }
        }
    }
    ask(&exchange, "/fapi/v1/fundingRate?startTime=0&limit=1000").await;
    ask(&exchange, "/fapi/v1/fundingRate?endTime=0&limit=1000").await;
    // Unoptimised, on a busy machine; a scan over all seconds of a history would take minutes.
    let each = begun.elapsed() / questions;
    assert!(each < Duration::from_millis(60), "{each:?} for each");
}

#[tokio::test]
async fn odd_text_breaks_nothing() {
    let exchange = Exchange::start().await;
    let texts = [
        "币",
        "币安人生",
        "\u{1F600}",
        "m币",
        "%",
        "%E5%",
        "\u{7f}",
        "'\"<>",
        "\\",
        "a\u{0}b",
        "[\"",
        "[]",
        "{}",
        "null",
    ];
    for text in texts {
        for question in [
            "/api/v3/ticker?symbol=BTCUSDT&windowSize=",
            "/api/v3/klines?symbol=BTCUSDT&interval=",
            "/api/v3/klines?symbol=BTCUSDT&interval=1d&timeZone=",
            "/api/v3/klines?interval=1d&symbol=",
            "/api/v3/ticker/price?symbols=",
            "/api/v3/ticker/price?symbolStatus=",
            "/api/v3/ticker/24hr?type=",
            "/api/v3/exchangeInfo?permissions=",
            "/api/v3/exchangeInfo?symbols=",
            "/fapi/v1/continuousKlines?pair=BTCUSDT&interval=1h&contractType=",
            "/futures/data/basis?pair=BTCUSDT&period=",
            "/futures/data/basis?period=1d&pair=",
            "/dapi/v1/ticker/price?pair=",
            "/api/v3/ping?",
        ] {
            ask(&exchange, &format!("{question}{}", escape(text))).await;
        }
        let signature = format!("/api/v3/account?timestamp={NOW}&signature={}", escape(text));
        ask(&exchange, &signature).await;
    }
    for raw in ["/api/v3/klines?%", "/api/v3/klines?symbol=%ZZ", "/api/v3/klines?=&==&&&", "/api/v3/klines?symbol"] {
        ask(&exchange, raw).await;
    }
    let got = exchange.send("POST", "/api/v3/order", &[("x-mbx-apikey", "k")], &[0xff, 0xfe, 0]).await.unwrap();
    assert_eq!(got.error(), (401, -2015));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_at_once_are_all_answered() {
    let exchange = std::sync::Arc::new(Exchange::start().await);
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..200 {
        let exchange = std::sync::Arc::clone(&exchange);
        asking.spawn(async move {
            let target = match number % 3 {
                0 => "/api/v3/klines?symbol=BTCUSDT&interval=1m",
                1 => "/api/v3/ticker/price",
                _ => "/fapi/v1/depth?symbol=BTCUSDT",
            };
            exchange.get(target).await.status
        });
    }
    while let Some(status) = asking.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(exchange.sim.counters().total, 200);
}

#[tokio::test]
async fn garbage_on_a_connection_ends_only_that_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let exchange = Exchange::start().await;
    for garbage in [&b"\x16\x03\x01 not http\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(exchange.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
}
