//! What each endpoint's answer is made of.

use serde_json::Value;

use crate::support::{Exchange, escape, list};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted(keys: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = keys.split(' ').collect();
    keys.sort_unstable();
    keys
}

const DAY_SPOT: &str = "symbol priceChange priceChangePercent weightedAvgPrice prevClosePrice lastPrice lastQty bidPrice bidQty askPrice askQty openPrice highPrice lowPrice volume quoteVolume openTime closeTime firstId lastId count";
const WINDOW: &str = "symbol priceChange priceChangePercent weightedAvgPrice openPrice highPrice lowPrice lastPrice volume quoteVolume openTime closeTime firstId lastId count";
const DAY_FUTURES: &str = "symbol priceChange priceChangePercent weightedAvgPrice lastPrice lastQty openPrice highPrice lowPrice volume quoteVolume openTime closeTime firstId lastId count";
const DAY_COIN: &str = "symbol pair priceChange priceChangePercent weightedAvgPrice lastPrice lastQty openPrice highPrice lowPrice volume baseVolume openTime closeTime firstId lastId count";
const MINI: &str =
    "symbol openPrice highPrice lowPrice lastPrice volume quoteVolume openTime closeTime firstId lastId count";

#[tokio::test]
async fn every_object_has_the_exchanges_fields() {
    let exchange = Exchange::start().await;
    for (target, fields) in [
        ("/api/v3/time", "serverTime"),
        ("/fapi/v1/time", "serverTime"),
        ("/api/v3/exchangeInfo?symbol=BTCUSDT", "timezone serverTime rateLimits exchangeFilters symbols"),
        ("/fapi/v1/exchangeInfo", "timezone serverTime futuresType rateLimits exchangeFilters assets symbols"),
        ("/dapi/v1/exchangeInfo", "timezone serverTime rateLimits exchangeFilters symbols"),
        ("/api/v3/depth?symbol=BTCUSDT", "lastUpdateId bids asks"),
        ("/fapi/v1/depth?symbol=BTCUSDT", "lastUpdateId E T bids asks"),
        ("/dapi/v1/depth?symbol=BTCUSD_PERP", "lastUpdateId symbol pair E T bids asks"),
        ("/api/v3/avgPrice?symbol=BTCUSDT", "mins price closeTime"),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT", DAY_SPOT),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&type=FULL", DAY_SPOT),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI", MINI),
        ("/api/v3/ticker/tradingDay?symbol=BTCUSDT&type=MINI", MINI),
        ("/api/v3/ticker/tradingDay?symbol=BTCUSDT", WINDOW),
        ("/api/v3/ticker?symbol=BTCUSDT&type=FULL", WINDOW),
        ("/api/v3/ticker?symbol=BTCUSDT&type=MINI", MINI),
        ("/api/v3/ticker/price?symbol=BTCUSDT", "symbol price"),
        ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", "symbol bidPrice bidQty askPrice askQty"),
        ("/fapi/v1/ticker/24hr?symbol=BTCUSDT", DAY_FUTURES),
        ("/fapi/v1/ticker/price?symbol=BTCUSDT", "symbol price time"),
        ("/fapi/v2/ticker/price?symbol=BTCUSDT", "symbol price time"),
        ("/fapi/v1/ticker/bookTicker?symbol=BTCUSDT", "symbol bidPrice bidQty askPrice askQty time lastUpdateId"),
        (
            "/fapi/v1/premiumIndex?symbol=BTCUSDT",
            "symbol markPrice indexPrice estimatedSettlePrice lastFundingRate interestRate nextFundingTime time",
        ),
        ("/fapi/v1/openInterest?symbol=BTCUSDT", "openInterest symbol time"),
        ("/dapi/v1/openInterest?symbol=BTCUSD_PERP", "openInterest symbol pair contractType time"),
        ("/sapi/v1/system/status", "status msg"),
        ("/api/v3/executionRules?symbol=BTCUSDT", "symbolRules"),
        ("/api/v3/referencePrice?symbol=BTCUSDT", "symbol referencePrice timestamp"),
        ("/fapi/v1/rpiDepth?symbol=BTCUSDT", "lastUpdateId E T bids asks"),
        ("/fapi/v1/constituents?symbol=BTCUSDT", "symbol time constituents"),
        ("/dapi/v1/constituents?symbol=BTCUSD", "symbol time constituents"),
        ("/fapi/v1/insuranceBalance?symbol=BTCUSDT", "symbols assets"),
        ("/fapi/v1/symbolAdlRisk?symbol=BTCUSDT", "symbol adlRisk updateTime"),
        ("/fapi/v1/tradingSchedule", "updateTime marketSchedules"),
    ] {
        assert_eq!(keys(&exchange.json(target).await), sorted(fields), "{target}");
    }
    for venue in ["/api/v3", "/fapi/v1", "/dapi/v1"] {
        assert_eq!(exchange.get(&format!("{venue}/ping")).await.text(), "{}");
    }
}

#[tokio::test]
async fn every_list_has_rows_of_the_exchanges_fields() {
    let exchange = Exchange::start().await;
    let ratio = "symbol longAccount longShortRatio shortAccount timestamp";
    for (target, fields) in [
        ("/api/v3/trades?symbol=BTCUSDT", "id price qty quoteQty time isBuyerMaker isBestMatch"),
        ("/api/v3/historicalTrades?symbol=BTCUSDT", "id price qty quoteQty time isBuyerMaker isBestMatch"),
        ("/fapi/v1/trades?symbol=BTCUSDT", "id price qty quoteQty time isBuyerMaker"),
        ("/api/v3/aggTrades?symbol=BTCUSDT", "a p q f l T m M"),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT", "a p q f l T m"),
        ("/api/v3/ticker/24hr", DAY_SPOT),
        ("/fapi/v1/ticker/24hr", DAY_FUTURES),
        ("/dapi/v1/ticker/24hr", DAY_COIN),
        ("/dapi/v1/ticker/24hr?symbol=BTCUSD_PERP", DAY_COIN),
        ("/dapi/v1/ticker/24hr?pair=BTCUSD", DAY_COIN),
        ("/dapi/v1/ticker/price?symbol=BTCUSD_PERP", "symbol ps price time"),
        (
            "/dapi/v1/ticker/bookTicker?symbol=BTCUSD_PERP",
            "symbol pair bidPrice bidQty askPrice askQty time lastUpdateId",
        ),
        (
            "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP",
            "symbol pair markPrice indexPrice estimatedSettlePrice lastFundingRate interestRate nextFundingTime time",
        ),
        ("/fapi/v1/fundingRate?symbol=BTCUSDT", "symbol fundingTime fundingRate markPrice"),
        (
            "/fapi/v1/fundingInfo",
            "symbol adjustedFundingRateCap adjustedFundingRateFloor fundingIntervalHours disclaimer",
        ),
        (
            "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m",
            "symbol sumOpenInterest sumOpenInterestValue CMCCirculatingSupply timestamp",
        ),
        ("/futures/data/topLongShortAccountRatio?symbol=BTCUSDT&period=5m", ratio),
        ("/futures/data/topLongShortPositionRatio?symbol=BTCUSDT&period=1h", ratio),
        ("/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=1d", ratio),
        ("/futures/data/takerlongshortRatio?symbol=BTCUSDT&period=4h", "buySellRatio buyVol sellVol timestamp"),
        (
            "/futures/data/basis?pair=BTCUSDT&contractType=PERPETUAL&period=5m",
            "indexPrice contractType basisRate futuresPrice annualizedBasisRate basis pair timestamp",
        ),
    ] {
        let rows = exchange.rows(target).await;
        assert!(!rows.is_empty(), "{target}");
        for row in rows {
            assert_eq!(keys(&row), sorted(fields), "{target}");
        }
    }
}

#[tokio::test]
async fn one_symbol_is_an_object_and_a_list_of_one_an_array() {
    let exchange = Exchange::start().await;
    let one = list(&["BTCUSDT"]);
    for path in ["ticker/24hr", "ticker/price", "ticker/bookTicker", "ticker/tradingDay", "ticker"] {
        let alone = exchange.get(&format!("/api/v3/{path}?symbol=BTCUSDT")).await;
        let listed = exchange.get(&format!("/api/v3/{path}?symbols={one}")).await;
        assert!(alone.json().is_object(), "{path}");
        assert_eq!(listed.text(), format!("[{}]", alone.text()), "{path}");
    }
    for path in ["ticker/24hr", "ticker/price", "ticker/bookTicker"] {
        assert!(exchange.rows(&format!("/api/v3/{path}")).await.len() > 200, "{path}");
        assert!(exchange.json(&format!("/fapi/v1/{path}?symbol=BTCUSDT")).await.is_object(), "{path}");
        assert!(exchange.rows(&format!("/fapi/v1/{path}")).await.len() > 50, "{path}");
        assert_eq!(exchange.rows(&format!("/dapi/v1/{path}?symbol=BTCUSD_PERP")).await.len(), 1, "{path}");
        let of_pair = exchange.rows(&format!("/dapi/v1/{path}?pair=BTCUSD")).await;
        assert_eq!(of_pair.len(), 2, "the perpetual and the quarter: {path}");
    }
}

#[tokio::test]
async fn the_futures_know_no_symbols_parameter_and_pass_over_what_they_do_not_know() {
    let exchange = Exchange::start().await;
    let all = exchange.get("/fapi/v1/ticker/price").await;
    let listed = exchange.get(&format!("/fapi/v1/ticker/price?symbols={}&x=1", list(&["BTCUSDT"]))).await;
    assert_eq!(listed.body, all.body);
}

#[tokio::test]
async fn a_candle_is_a_row_of_twelve() {
    let exchange = Exchange::start().await;
    let quarter = exchange.sim.symbols(lastgood_sim::Venue::CoinM).into_iter().find(|name| name.contains('_')).unwrap();
    for target in [
        "/api/v3/klines?symbol=BTCUSDT&interval=1h".to_owned(),
        "/api/v3/uiKlines?symbol=BTCUSDT&interval=1h".to_owned(),
        format!("/api/v3/klines?symbol={}&interval=1h", escape("币安人生USDT")),
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1h".to_owned(),
        "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h".to_owned(),
        "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=CURRENT_QUARTER&interval=1h".to_owned(),
        "/fapi/v1/indexPriceKlines?pair=BTCUSDT&interval=1h".to_owned(),
        "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h".to_owned(),
        "/fapi/v1/premiumIndexKlines?symbol=BTCUSDT&interval=1h".to_owned(),
        "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h".to_owned(),
        format!("/dapi/v1/klines?symbol={quarter}&interval=1h"),
    ] {
        let rows = exchange.rows(&target).await;
        assert_eq!(rows.len(), 500, "{target}");
        for row in &rows {
            let row = row.as_array().unwrap();
            let texts = [1, 2, 3, 4, 5, 7, 9, 10, 11].iter().all(|at| row[*at].is_string());
            assert!(row.len() == 12 && texts && [0, 6, 8].iter().all(|at| row[*at].is_u64()), "{target}: {row:?}");
            assert_eq!(row[11], "0", "{target}");
        }
    }
}

#[tokio::test]
async fn the_futures_know_the_candles_of_coin_m() {
    let exchange = Exchange::start().await;
    for question in [
        "klines?symbol=BTCUSD_PERP&interval=1h",
        "markPriceKlines?symbol=BTCUSD_PERP&interval=1h",
        "indexPriceKlines?pair=BTCUSD&interval=1h",
        "continuousKlines?pair=BTCUSD&contractType=PERPETUAL&interval=1h",
    ] {
        let here = exchange.get(&format!("/fapi/v1/{question}")).await;
        assert_eq!(here.status, 200, "{question}");
        assert_eq!(here.body, exchange.get(&format!("/dapi/v1/{question}")).await.body, "{question}");
    }
    assert_eq!(exchange.get("/fapi/v1/depth?symbol=BTCUSD_PERP").await.error(), (400, -1121));
}

#[tokio::test]
async fn every_answer_carries_the_exchanges_headers() {
    let exchange = Exchange::start().await;
    for target in ["/api/v3/ping", "/api/v3/klines?symbol=BTCUSDT&interval=1h", "/api/v3/depth", "/nowhere"] {
        let got = exchange.get(target).await;
        assert_eq!(got.header("content-type"), "application/json;charset=UTF-8", "{target}");
        for name in ["x-mbx-uuid", "x-mbx-used-weight", "x-mbx-used-weight-1m"] {
            assert!(!got.header(name).is_empty(), "{name} of {target}");
        }
    }
}

#[tokio::test]
async fn microseconds_go_to_those_who_ask_for_them() {
    let exchange = Exchange::start().await;
    let micro = [("x-mbx-time-unit", "MICROSECOND")];
    let both = async |target: &str| (exchange.json(target).await, exchange.get_with(target, &micro).await.json());
    for (target, pointer) in [
        ("/api/v3/time", "/serverTime"),
        ("/api/v3/exchangeInfo", "/serverTime"),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1h", "/499/0"),
        ("/api/v3/trades?symbol=BTCUSDT", "/0/time"),
        ("/api/v3/aggTrades?symbol=BTCUSDT", "/0/T"),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT", "/openTime"),
        ("/api/v3/ticker?symbol=BTCUSDT", "/closeTime"),
        ("/api/v3/avgPrice?symbol=BTCUSDT", "/closeTime"),
    ] {
        let (millis, micros) = both(target).await;
        let at = |body: &Value| body.pointer(pointer).and_then(Value::as_u64).unwrap();
        assert_eq!(at(&micros), at(&millis) * 1_000, "{target}");
    }
    let (millis, micros) = both("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1").await;
    assert_eq!(micros[0][6].as_u64().unwrap(), millis[0][6].as_u64().unwrap() * 1_000 + 999);
    let (millis, micros) = both("/fapi/v1/time").await;
    assert_eq!(millis, micros, "the futures know no such header");
}

#[tokio::test]
async fn long_bodies_come_packed_to_those_who_take_it() {
    let exchange = Exchange::start().await;
    let long = "/api/v3/klines?symbol=BTCUSDT&interval=1h";
    let plain = exchange.get(long).await;
    assert_eq!(plain.header("content-encoding"), "");
    for accepted in ["gzip", "deflate, gzip;q=0.5, br", "GZIP"] {
        for (target, plain) in [(long, &plain), ("/api/v3/exchangeInfo", &exchange.get("/api/v3/exchangeInfo").await)] {
            let got = exchange.get_with(target, &[("accept-encoding", accepted)]).await;
            assert_eq!(got.header("content-encoding"), "gzip", "{accepted}");
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(got.body.as_slice()), &mut unpacked).unwrap();
            assert!(unpacked == plain.body && got.body.len() < plain.body.len() / 2, "{target}");
        }
    }
    for (target, accepted) in [(long, "identity, gzip;q=0"), (long, "br"), ("/api/v3/ping", "gzip")] {
        let got = exchange.get_with(target, &[("accept-encoding", accepted)]).await;
        assert_eq!(got.header("content-encoding"), "", "{target} {accepted}");
    }
    // And a client in common use unpacks it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("http://{}/api/v3/exchangeInfo", exchange.address);
    let body = reqwest::Client::new().get(url).send().await.unwrap().bytes().await.unwrap();
    assert!(body == exchange.get("/api/v3/exchangeInfo").await.body);
}
