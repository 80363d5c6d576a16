//! Every endpoint's own answer is taken, and one that lacks what the exchange publishes is not.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Clock, Reason};
use lastgood_market::plan::{Request, plan};
use lastgood_market::upstream::{BanMemory, BaseUrl, Options, Upstreams};
use lastgood_market::validate::Fetched;
use lastgood_market::venue::{ENDPOINTS, Kind, Recipe};
use lastgood_market::{Identities, Plan, Priority, UpstreamRequest, Venue};
use lastgood_sim::{Sim, SimConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A question to every endpoint that is cached, with a symbol where it takes one.
const QUESTIONS: &[&str] = &[
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/executionRules?symbol=BTCUSDT",
    "/api/v3/executionRules",
    "/api/v3/depth?symbol=BTCUSDT&limit=500",
    "/api/v3/trades?symbol=BTCUSDT&limit=5",
    "/api/v3/historicalTrades?symbol=BTCUSDT&limit=5&fromId=1",
    "/api/v3/historicalBlockTrades?symbol=BTCUSDT&fromId=1&limit=5",
    "/api/v3/aggTrades?symbol=BTCUSDT&limit=5&fromId=7",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5",
    "/api/v3/uiKlines?symbol=BTCUSDT&interval=1h&limit=5",
    "/api/v3/avgPrice?symbol=BTCUSDT",
    "/api/v3/referencePrice?symbol=ETHUSDT",
    "/api/v3/referencePrice?symbol=BTCUSDT",
    "/api/v3/referencePrice/calculation?symbol=BTCUSDT",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/ticker/24hr",
    "/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI",
    "/api/v3/ticker/24hr?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]",
    "/api/v3/ticker/price",
    "/api/v3/ticker/bookTicker",
    "/api/v3/ticker/tradingDay?symbol=BTCUSDT",
    "/api/v3/ticker?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]",
    "/sapi/v1/system/status",
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/depth?symbol=BTCUSDT&limit=500",
    "/fapi/v1/rpiDepth?symbol=BTCUSDT",
    "/fapi/v1/trades?symbol=BTCUSDT&limit=5",
    "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=5",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=5",
    "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=5",
    "/fapi/v1/indexPriceKlines?pair=BTCUSDT&interval=1h&limit=5",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h&limit=5",
    "/fapi/v1/premiumIndexKlines?symbol=BTCUSDT&interval=1h&limit=5",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/premiumIndex",
    "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5",
    "/fapi/v1/fundingRate",
    "/fapi/v1/fundingInfo",
    "/fapi/v1/openInterest?symbol=BTCUSDT",
    "/fapi/v1/ticker/24hr?symbol=BTCUSDT",
    "/fapi/v1/ticker/price",
    "/fapi/v2/ticker/price",
    "/fapi/v1/ticker/bookTicker",
    "/fapi/v1/constituents?symbol=BTCUSDT",
    "/fapi/v1/indexInfo",
    "/fapi/v1/assetIndex",
    "/fapi/v1/assetIndex?symbol=BTCUSD",
    "/fapi/v1/insuranceBalance",
    "/fapi/v1/insuranceBalance?symbol=BTCUSDT",
    "/fapi/v1/symbolAdlRisk",
    "/fapi/v1/symbolAdlRisk?symbol=BTCUSDT",
    "/fapi/v1/tradingSchedule",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m",
    "/futures/data/topLongShortAccountRatio?symbol=BTCUSDT&period=5m",
    "/futures/data/topLongShortPositionRatio?symbol=BTCUSDT&period=5m",
    "/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=5m",
    "/futures/data/takerlongshortRatio?symbol=BTCUSDT&period=5m",
    "/futures/data/basis?pair=BTCUSDT&contractType=PERPETUAL&period=5m",
    "/futures/data/delivery-price?pair=BTCUSDT",
    "/dapi/v1/exchangeInfo",
    "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=500",
    "/dapi/v1/trades?symbol=BTCUSD_PERP&limit=5",
    "/dapi/v1/aggTrades?symbol=BTCUSD_PERP&limit=5",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h&limit=5",
    "/dapi/v1/continuousKlines?pair=BTCUSD&contractType=PERPETUAL&interval=1h&limit=5",
    "/dapi/v1/indexPriceKlines?pair=BTCUSD&interval=1h&limit=5",
    "/dapi/v1/markPriceKlines?symbol=BTCUSD_PERP&interval=1h&limit=5",
    "/dapi/v1/premiumIndexKlines?symbol=BTCUSD_PERP&interval=1h&limit=5",
    "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP",
    "/dapi/v1/premiumIndex?pair=BTCUSD",
    "/dapi/v1/premiumIndex",
    "/dapi/v1/fundingRate?symbol=BTCUSD_PERP&limit=5",
    "/dapi/v1/fundingInfo",
    "/dapi/v1/openInterest?symbol=BTCUSD_PERP",
    "/dapi/v1/ticker/24hr?symbol=BTCUSD_PERP",
    "/dapi/v1/ticker/price?pair=BTCUSD",
    "/dapi/v1/ticker/bookTicker?symbol=BTCUSD_PERP",
    "/dapi/v1/constituents?symbol=BTCUSD",
    "/futures/data/openInterestHist?pair=BTCUSD&contractType=PERPETUAL&period=5m",
    "/futures/data/topLongShortAccountRatio?pair=BTCUSD&period=5m",
    "/futures/data/topLongShortPositionRatio?pair=BTCUSD&period=5m",
    "/futures/data/globalLongShortAccountRatio?pair=BTCUSD&period=5m",
    "/futures/data/takerBuySellVol?pair=BTCUSD&contractType=PERPETUAL&period=5m",
    "/futures/data/basis?pair=BTCUSD&contractType=PERPETUAL&period=5m",
    "/futures/data/delivery-price?pair=BTCUSD",
];

/// The request for a question, where it is fetched for itself.
pub(crate) fn request(target: &str) -> UpstreamRequest {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let venue = Venue::of(path, query).unwrap();
    match plan(&Identities::public(), venue, Request { is_get: true, path, query, ..Request::default() }) {
        Plan::Cached(line) => UpstreamRequest::clone(line.question()),
        Plan::Candles(question) => UpstreamRequest::clone(&question.direct),
        other => panic!("{target}: {other:?}"),
    }
}

async fn exchange() -> Upstreams {
    let (listener, url) = host().await;
    let sim = Sim::new(SimConfig { seed: 7, symbols: 40, ..SimConfig::default() });
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    exchange_at(vec![url])
}

pub(crate) async fn host() -> (TcpListener, BaseUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, url)
}

pub(crate) fn exchange_at(hosts: Vec<BaseUrl>) -> Upstreams {
    let options = Options { spot: hosts.clone(), futures: hosts.clone(), coin: hosts, ..Options::default() };
    Upstreams::new(&options, &Clock::system(), BanMemory::without_file(None, "x")).unwrap()
}

#[tokio::test]
async fn an_answer_is_of_the_time_at_which_the_host_that_gave_it_was_asked() {
    let (listener, broken) = host().await;
    let (begun, broke_off) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        connection.readable().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        begun.send(Clock::system().now()).unwrap();
    });
    let (listener, well) = host().await;
    let sim = Sim::new(SimConfig { seed: 7, symbols: 40, ..SimConfig::default() });
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    let request = request("/api/v3/ticker/price?symbol=BTCUSDT");
    let received = exchange_at(vec![broken, well]).load(&request, Priority::Demand).await.unwrap();
    let broke_off = broke_off.await.unwrap();
    assert!(
        received.asked_at >= broke_off,
        "asked at {:?}, the first host broke off at {broke_off:?}",
        received.asked_at
    );
}

fn answer(body: impl Into<Bytes>) -> Fetched {
    Fetched {
        status: 200,
        content_type: "application/json;charset=UTF-8".to_owned(),
        retry_after: None,
        body: body.into(),
    }
}

/// What the answer is refused for, if it is.
fn refused(request: &UpstreamRequest, body: impl Into<Bytes>) -> Option<(Reason, String)> {
    let error = answer(body).into_value(request, lastgood::Timestamp::EPOCH).err()?;
    Some((error.reason, error.message))
}

/// The value with one thing wrong, for every thing that may be: a field missing, or not what it must be.
fn spoilt(kind: &Kind, value: &Value, is_mini: bool) -> Vec<Value> {
    let mut all: Vec<Value> = match kind {
        Kind::Any => return Vec::new(),
        Kind::Nullable(kind) if value.is_null() => {
            return spoilt(kind, &json!("1"), is_mini).into_iter().filter(|v| !v.is_null()).collect();
        }
        Kind::Nullable(kind) => return spoilt(kind, value, is_mini).into_iter().filter(|v| !v.is_null()).collect(),
        Kind::UnlessMini(_) if is_mini => return Vec::new(),
        Kind::UnlessMini(kind) => return spoilt(kind, value, is_mini),
        Kind::Decimal => vec![json!("NaN"), json!("Infinity"), json!("1,5"), json!(""), json!(1.5)],
        Kind::DecimalOrEmpty => vec![json!("NaN"), json!(1.5)],
        Kind::Number => vec![json!("NaN"), json!("")],
        Kind::Integer | Kind::Stamp | Kind::Ascending => vec![json!("soon"), json!(1.5)],
        Kind::Text | Kind::Symbol | Kind::OwnSymbol | Kind::Pair => vec![json!(""), json!(7)],
        Kind::Boolean => vec![json!("true"), json!(1)],
        Kind::Object(fields) => {
            let fields = fields
                .iter()
                .filter(|(name, kind)| !(is_mini && matches!(kind, Kind::UnlessMini(_))) || value.get(name).is_some());
            let spoil = |(name, kind): &(&str, Kind)| {
                let mut without = value.clone();
                without.as_object_mut().unwrap().remove(*name).unwrap_or_else(|| panic!("{value} has no {name}"));
                let other = spoilt(kind, &value[name], is_mini).into_iter().map(|spoilt| {
                    let mut value = value.clone();
                    value[name] = spoilt;
                    value
                });
                std::iter::once(without).chain(other).collect::<Vec<_>>()
            };
            fields.flat_map(spoil).collect()
        }
        Kind::List(kind) | Kind::Rows(kind) | Kind::Listing(kind) => {
            let rows = value.as_array().unwrap_or_else(|| panic!("{value} is no array"));
            let ends: BTreeSet<usize> =
                [0, rows.len().saturating_sub(1)].into_iter().filter(|at| *at < rows.len()).collect();
            ends.into_iter()
                .flat_map(|at| spoilt(kind, &rows[at], is_mini).into_iter().map(move |row| (at, row)))
                .map(|(at, row)| {
                    let mut value = value.clone();
                    value[at] = row;
                    value
                })
                .collect()
        }
        Kind::Tuple(kinds) => {
            let short = json!(value.as_array().unwrap()[..kinds.len() - 1]);
            let items = kinds
                .iter()
                .enumerate()
                .flat_map(|(at, kind)| spoilt(kind, &value[at], is_mini).into_iter().map(move |item| (at, item)));
            let items = items.map(|(at, item)| {
                let mut value = value.clone();
                value[at] = item;
                value
            });
            std::iter::once(short).chain(items).collect()
        }
    };
    all.extend([json!(null), json!({"Note": "Thank you for using"})].into_iter().filter(|other| {
        // An object that must have no fields of its own may have any.
        !(matches!(kind, Kind::Object([])) && other.is_object())
    }));
    all
}

#[tokio::test]
async fn an_answer_is_taken_as_it_is_and_refused_with_any_of_its_fields_missing_or_wrong() {
    let exchange = exchange().await;
    let mut asked = BTreeSet::new();
    let mut spoilings = 0;
    for question in QUESTIONS {
        let request = request(question);
        asked.insert((request.endpoint.venue.as_str(), request.endpoint.path));
        let good = exchange.load(&request, Priority::Demand).await.expect(question).value.body;
        assert_eq!(refused(&request, good.clone()), None, "{question}");
        let value: Value = serde_json::from_slice(&good).unwrap();
        assert!(value.as_array().is_none_or(|rows| !rows.is_empty()), "{question} tests nothing");
        let row = request.endpoint.content;
        let rows = Kind::Rows(row);
        let kind = if value.is_array() { &rows } else { row };
        for spoilt in spoilt(kind, &value, question.contains("type=MINI")) {
            let text = spoilt.to_string();
            let shown: String = text.chars().take(300).collect();
            assert_eq!(
                refused(&request, text).map(|(reason, _)| reason),
                Some(Reason::Malformed),
                "{question}: {shown}"
            );
            spoilings += 1;
        }
        // What the exchange adds some day is none of our business.
        let mut more = value.clone();
        let first = if more.is_array() { &mut more[0] } else { &mut more };
        match first {
            Value::Array(items) => items.push(json!({"new": true})),
            object => object["new"] = json!([null, {"of": "it"}]),
        }
        assert_eq!(refused(&request, more.to_string()), None, "{question}: {more}");
    }
    let cached = ENDPOINTS.iter().filter(|endpoint| !matches!(endpoint.recipe, Recipe::Ping | Recipe::Time));
    let all: BTreeSet<_> = cached.map(|endpoint| (endpoint.venue.as_str(), endpoint.path)).collect();
    assert_eq!(all.difference(&asked).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "endpoints without a question");
    assert!(spoilings > 2_000, "only {spoilings}");
}

#[tokio::test]
async fn nothing_that_merely_looks_like_an_answer_is_one_to_any_question() {
    let exchange = exchange().await;
    for question in QUESTIONS {
        let request = request(question);
        let good = exchange.load(&request, Priority::Demand).await.unwrap().value.body;
        let mut bad: Vec<Bytes> = [
            "",
            "null",
            "true",
            "1",
            "\"x\"",
            "{}",
            "[{}]",
            "[[]]",
            "[null]",
            "{\"Note\":\"Thank you for using\"}",
            "[{\"Note\":\"Thank you\"}]",
            "{\"code\":0,\"msg\":\"success\"}",
            "<html></html>",
            "{\"data\":[]}",
        ]
        .into_iter()
        .map(Bytes::from)
        .collect();
        bad.push(good.slice(..good.len() - 1));
        bad.push([&good[..], &good[..]].concat().into());
        // A byte of a text that is no UTF-8.
        let quote = good.iter().position(|byte| *byte == b'"').unwrap();
        bad.push([&good[..=quote], b"\xff\xfe", &good[quote + 1..]].concat().into());
        for body in bad {
            let shown: String = String::from_utf8_lossy(&body).chars().take(100).collect();
            assert!(refused(&request, body).is_some(), "{question}: {shown}");
        }
    }
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let price = |symbol: &str| format!(r#"{{"symbol":"{symbol}","price":"1.0","time":1}}"#);
    let one = request("/fapi/v1/ticker/price?symbol=BTCUSDT");
    assert_eq!(refused(&one, price("BTCUSDT")), None);
    assert_eq!(
        refused(&request("/fapi/v1/ticker/price?symbol=btcusdt"), price("BTCUSDT")),
        None,
        "as the futures read it"
    );
    assert!(refused(&one, price("ETHUSDT")).unwrap().1.contains("symbol"));
    let some = request("/api/v3/ticker/price?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]");
    let list =
        |symbols: &[&str]| format!("[{}]", symbols.iter().map(|symbol| price(symbol)).collect::<Vec<_>>().join(","));
    assert_eq!(refused(&some, list(&["BTCUSDT", "ETHUSDT"])), None);
    assert!(refused(&some, list(&["BTCUSDT", "XRPUSDT"])).is_some());
    let all = request("/api/v3/ticker/price");
    assert_eq!(refused(&all, list(&["BTCUSDT", "XRPUSDT"])), None);
    assert!(refused(&all, list(&["BTCUSDT", "BTCUSDT"])).is_some(), "a row twice");
    assert!(refused(&all, "[]".to_owned()).is_some(), "no list of all symbols");
    assert_eq!(refused(&request("/api/v3/ticker/price?symbolStatus=HALT"), "[]".to_owned()), None, "none is halted");
    let rate =
        |symbol: &str| format!(r#"[{{"symbol":"{symbol}","fundingTime":1,"fundingRate":"0.1","markPrice":""}}]"#);
    let funding = request("/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5");
    assert_eq!(refused(&funding, rate("BTCUSDT")), None);
    assert!(refused(&funding, rate("ETHUSDT")).is_some());
    let coin = request("/dapi/v1/ticker/price?pair=BTCUSD");
    let of_pair = |pair: &str| format!(r#"[{{"symbol":"{pair}_PERP","ps":"{pair}","price":"1","time":1}}]"#);
    assert_eq!(refused(&coin, of_pair("BTCUSD")), None);
    assert!(refused(&coin, of_pair("ETHUSD")).is_some());
    let basis = r#"[{"pair":"ETHUSDT","contractType":"PERPETUAL","indexPrice":"1","futuresPrice":"1","basis":"0","timestamp":1}]"#;
    assert!(refused(&request("/futures/data/basis?pair=BTCUSDT&contractType=PERPETUAL&period=5m"), basis).is_some());
}

#[test]
fn rows_keep_to_their_limit_and_the_numbers_of_trades_ascend() {
    let trade =
        |id: i64, time: i64| format!(r#"{{"a":{id},"p":"1","q":"1","f":{id},"l":{id},"T":{time},"m":true,"M":true}}"#);
    let list = |rows: &[(i64, i64)]| {
        format!("[{}]", rows.iter().map(|(id, time)| trade(*id, *time)).collect::<Vec<_>>().join(","))
    };
    let page = request("/api/v3/aggTrades?symbol=X&fromId=7&limit=3");
    assert_eq!(refused(&page, list(&[(7, 5), (8, 5), (9, 6)])), None);
    assert_eq!(refused(&page, "[]"), None, "there are no more");
    assert_eq!(refused(&page, list(&[(9, 5), (12, 6)])), None, "numbers may be left out");
    assert_eq!(refused(&page, list(&[(7, 9), (8, 5)])), None, "times in the exchange's history go back");
    assert!(refused(&page, list(&[(6, 5), (7, 5)])).is_some(), "not from there on");
    assert!(refused(&page, list(&[(8, 5), (7, 5)])).is_some(), "unordered");
    assert!(refused(&page, list(&[(7, 5), (7, 5)])).is_some(), "twice");
    assert!(refused(&page, list(&[(7, 5), (8, 5), (9, 5), (10, 5)])).is_some(), "more than three");
    // Between two times some exchanges send all there are where no limit is given.
    let span = request("/api/v3/aggTrades?symbol=X&startTime=1&endTime=2000");
    assert_eq!(refused(&span, list(&(0..1_200).map(|id| (id, 5)).collect::<Vec<_>>())), None);
    let side = |levels: usize| vec![r#"["1.0","2.0"]"#; levels].join(",");
    let book = |levels: usize| format!(r#"{{"lastUpdateId":1,"bids":[{}],"asks":[]}}"#, side(levels));
    let depth = request("/api/v3/depth?symbol=X&limit=500");
    assert_eq!(refused(&depth, book(500)), None);
    assert!(refused(&depth, book(501)).is_some());
    assert!(refused(&request("/api/v3/depth?symbol=X"), book(101)).is_some(), "a hundred where nothing is said");
}
