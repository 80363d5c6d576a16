//! What the exchange says to questions that it does not like.

use crate::support::{Exchange, NOW, list};

#[tokio::test]
async fn every_bad_question_gets_the_exchanges_code() {
    let exchange = Exchange::start().await;
    let twice = list(&["BTCUSDT", "BTCUSDT"]);
    let (unknown, one, none) = (list(&["BTCUSDT", "NOPE"]), list(&["BTCUSDT"]), list(&[""; 0]));
    let many: Vec<String> = exchange.sim.symbols(lastgood_sim::Venue::Spot).into_iter().take(101).collect();
    let many = list(&many);
    let crowd: String = (0..200).map(|number| format!("&x{number}=1")).collect();
    for (target, code) in [
        ("/api/v3/klines?symbol=BTC!USDT&interval=1h".to_owned(), -1100),
        ("/api/v3/klines?symbol=btcusdt&interval=1h".to_owned(), -1100),
        ("/api/v3/klines?symbol=ABCDEFGHIJKLMNOPQRSTUVWXYZ&interval=1h".to_owned(), -1100),
        ("/api/v3/klines?symbol=%FF%FE&interval=1h".to_owned(), -1100),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=ten".to_owned(), -1100),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=-1".to_owned(), -1100),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=+1".to_owned(), -1100),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1.5".to_owned(), -1100),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&type=BIG".to_owned(), -1100),
        ("/api/v3/ticker?symbol=BTCUSDT&windowSize=60m".to_owned(), -1100),
        ("/api/v3/ticker/price?symbols=BTCUSDT".to_owned(), -1100),
        (format!("/api/v3/ticker/price?symbols={none}"), -1100),
        ("/api/v3/klines?symbol=BTCUSDT&symbol=ETHUSDT&interval=1h".to_owned(), -1101),
        (format!("/api/v3/ticker/price?symbols={twice}"), -1101),
        (format!("/api/v3/ticker?symbols={many}"), -1101),
        (format!("/api/v3/ticker/tradingDay?symbols={many}"), -1101),
        (format!("/api/v3/ping?a=1{crowd}"), -1101),
        ("/api/v3/klines?interval=1h".to_owned(), -1102),
        ("/api/v3/klines?symbol=BTCUSDT".to_owned(), -1102),
        ("/api/v3/depth".to_owned(), -1102),
        ("/fapi/v1/indexPriceKlines?symbol=BTCUSDT&interval=1h".to_owned(), -1102),
        ("/fapi/v1/continuousKlines?pair=BTCUSDT&interval=1h".to_owned(), -1102),
        ("/futures/data/openInterestHist?symbol=BTCUSDT".to_owned(), -1102),
        ("/futures/data/openInterestHist?period=5m".to_owned(), -1102),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h&pair=BTCUSDT".to_owned(), -1104),
        ("/api/v3/ping?x=1".to_owned(), -1104),
        ("/api/v3/trades?symbol=BTCUSDT&fromId=1".to_owned(), -1104),
        ("/api/v3/ticker/24hr?pair=BTCUSD".to_owned(), -1104),
        ("/api/v3/klines?symbol=&interval=1h".to_owned(), -1105),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=".to_owned(), -1105),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1y".to_owned(), -1120),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1H".to_owned(), -1120),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1s".to_owned(), -1120),
        ("/api/v3/klines?symbol=NOPE&interval=1h".to_owned(), -1121),
        (format!("/api/v3/ticker/price?symbols={unknown}"), -1121),
        ("/api/v3/exchangeInfo?symbol=NOPE".to_owned(), -1121),
        ("/fapi/v1/klines?symbol=NOPE&interval=1h".to_owned(), -1121),
        ("/fapi/v1/indexPriceKlines?pair=NOPE&interval=1h".to_owned(), -1121),
        ("/dapi/v1/ticker/price?pair=NOPE".to_owned(), -1121),
        ("/dapi/v1/klines?symbol=BTCUSDT&interval=1h".to_owned(), -1121),
        ("/api/v3/exchangeInfo?symbolStatus=SLEEPING".to_owned(), -1122),
        ("/api/v3/ticker/price?symbolStatus=trading".to_owned(), -1122),
        ("/api/v3/depth?symbol=BTCUSDT&symbolStatus=X".to_owned(), -1122),
        ("/api/v3/ticker/price?symbol=BTCUSDT&symbolStatus=BREAK".to_owned(), -1220),
        (format!("/api/v3/ticker/price?symbol=BTCUSDT&symbols={one}"), -1128),
        (format!("/api/v3/exchangeInfo?symbol=BTCUSDT&symbols={one}"), -1128),
        ("/api/v3/exchangeInfo?symbol=BTCUSDT&symbolStatus=TRADING".to_owned(), -1128),
        ("/api/v3/ticker".to_owned(), -1128),
        ("/api/v3/ticker/tradingDay".to_owned(), -1128),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1501".to_owned(), -1130),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=0".to_owned(), -1130),
        ("/dapi/v1/trades?symbol=BTCUSD_PERP&limit=1001".to_owned(), -1130),
        ("/fapi/v1/fundingRate?limit=1001".to_owned(), -1130),
        ("/futures/data/basis?pair=BTCUSDT&contractType=PERPETUAL&period=3m".to_owned(), -1130),
        ("/futures/data/openInterestHist?symbol=BTCUSDT&period=5m&startTime=1".to_owned(), -1130),
        ("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=WEEKLY&interval=1h".to_owned(), -1130),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7".to_owned(), -4021),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime=2&endTime=1".to_owned(), -1023),
        ("/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h&startTime=2&endTime=1".to_owned(), -1023),
        ("/fapi/v1/fundingRate?startTime=2&endTime=1".to_owned(), -1023),
        (format!("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=1&endTime={NOW}"), -1127),
        (format!("/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d&startTime=1&endTime={NOW}"), -1127),
    ] {
        let got = exchange.get(&target).await;
        assert_eq!(got.error(), (400, code), "{target}: {}", got.text());
    }
}

#[tokio::test]
async fn messages_are_the_exchanges_own() {
    let exchange = Exchange::start().await;
    for (target, message) in [
        ("/api/v3/klines?symbol=NOPE&interval=1h", "Invalid symbol."),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1y", "Invalid interval."),
        ("/api/v3/klines?symbol=BTCUSDT", "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."),
        ("/api/v3/klines?symbol=&interval=1h", "Parameter 'symbol' was empty."),
        ("/api/v3/ticker/price?symbolStatus=X", "Invalid symbolStatus."),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=9999", "Data sent for parameter 'limit' is not valid."),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime=2&endTime=1", "Start time is greater than end time."),
        (
            "/api/v3/klines?symbol=a&interval=1h",
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ),
    ] {
        assert_eq!(exchange.get(target).await.json()["msg"], message, "{target}");
    }
}

#[tokio::test]
async fn spot_has_an_empty_answer_for_a_start_after_the_end() {
    let exchange = Exchange::start().await;
    for path in ["klines?symbol=BTCUSDT&interval=1h", "uiKlines?symbol=BTCUSDT&interval=1h", "aggTrades?symbol=BTCUSDT"]
    {
        let got = exchange.get(&format!("/api/v3/{path}&startTime={NOW}&endTime={}", NOW - 1)).await;
        assert_eq!((got.status, got.text()), (200, "[]"), "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_not_found() {
    let exchange = Exchange::start().await;
    for target in [
        "/",
        "/api",
        "/api/v3",
        "/api/v3/",
        "/api/v1/klines?symbol=BTCUSDT&interval=1h",
        "/api/v3/fundingRate",
        "/api/v3/openInterestHist?symbol=BTCUSDT&period=5m",
        "/fapi/v1/avgPrice?symbol=BTCUSDT",
        "/fapi/v1/openInterestHist?symbol=BTCUSDT&period=5m",
        "/fapi/v2/klines?symbol=BTCUSDT&interval=1h",
        "/futures/data/klines?symbol=BTCUSDT&interval=1h",
        "/futures/data/ping",
        "/_simple",
    ] {
        assert_eq!(exchange.get(target).await.status, 404, "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let got = exchange.send(method, "/api/v3/ticker/price", &[], b"").await.unwrap();
        assert_eq!(got.status, 404, "{method}");
    }
}

#[tokio::test]
async fn a_body_larger_than_any_request_is_refused() {
    let exchange = Exchange::start().await;
    let got = exchange.send("POST", "/api/v3/order", &[], &vec![b'a'; (1 << 20) + 1]).await;
    assert!(got.is_none_or(|got| got.status == 413), "refused, or the connection is closed on it");
    assert_eq!(exchange.get("/api/v3/ping").await.status, 200);
}
