//! One question has several keys that may hold its answer, and one answer: the newest.

use std::time::Duration;

use lastgood_sim::{ClockMode, SimConfig};
use serde_json::Value;

use crate::support::{Exchange, Got, Running, get, half_past};

mod strict;

/// Every region that one question may be answered from by several keys.
const REGIONS: [&str; 8] =
    ["ticker_price", "ticker_24hr", "book_ticker", "premium_index", "depth", "trades", "agg_trades", "exchange_info"];

/// A gateway whose answers are fresh for `fresh_for`, and served by no refresh behind them.
async fn gateway(exchange: &Exchange, fresh_for: &str) -> Running {
    let of = |key: &str, value: &str| REGIONS.map(|region| (format!("regions.{region}.{key}"), value.to_owned()));
    let flags: Vec<(String, String)> =
        of("fresh_for", fresh_for).into_iter().chain(of("stale_while_revalidate", "0s")).collect();
    let flags: Vec<(&str, &str)> = flags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    Running::start(&exchange.url(), &flags).await
}

/// A kept answer, and the questions that it answers.
const KEPT: &[(&str, &[&str])] = &[
    (
        "/api/v3/ticker/price",
        &[
            "/api/v3/ticker/price?symbol=BTCUSDT",
            "/api/v3/ticker/price?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]",
            "/api/v3/ticker/price?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT",
        ],
    ),
    (
        "/api/v3/ticker/24hr",
        &["/api/v3/ticker/24hr?symbol=ETHUSDT", "/api/v3/ticker/24hr?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]"],
    ),
    ("/api/v3/ticker/24hr?type=MINI", &["/api/v3/ticker/24hr?symbol=ETHUSDT&type=MINI"]),
    ("/api/v3/ticker/bookTicker", &["/api/v3/ticker/bookTicker?symbol=ETHUSDT"]),
    ("/api/v3/exchangeInfo", &["/api/v3/exchangeInfo?symbol=ETHUSDT"]),
    (
        "/api/v3/depth?symbol=BTCUSDT&limit=5000",
        &["/api/v3/depth?symbol=BTCUSDT&limit=5", "/api/v3/depth?symbol=BTCUSDT&limit=1000"],
    ),
    ("/api/v3/trades?symbol=BTCUSDT", &["/api/v3/trades?symbol=BTCUSDT&limit=7"]),
    ("/api/v3/aggTrades?symbol=BTCUSDT&limit=1000", &["/api/v3/aggTrades?symbol=BTCUSDT&limit=7"]),
    ("/fapi/v1/ticker/price", &["/fapi/v1/ticker/price?symbol=BTCUSDT"]),
    ("/fapi/v2/ticker/price", &["/fapi/v2/ticker/price?symbol=BTCUSDT"]),
    ("/fapi/v1/ticker/24hr", &["/fapi/v1/ticker/24hr?symbol=BTCUSDT"]),
    ("/fapi/v1/ticker/bookTicker", &["/fapi/v1/ticker/bookTicker?symbol=BTCUSDT"]),
    ("/fapi/v1/premiumIndex", &["/fapi/v1/premiumIndex?symbol=BTCUSDT"]),
    ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", &["/fapi/v1/depth?symbol=BTCUSDT&limit=20"]),
    ("/dapi/v1/ticker/price", &["/dapi/v1/ticker/price?symbol=BTCUSD_PERP"]),
    ("/dapi/v1/ticker/24hr", &["/dapi/v1/ticker/24hr?symbol=BTCUSD_PERP"]),
    ("/dapi/v1/premiumIndex", &["/dapi/v1/premiumIndex?symbol=BTCUSD_PERP"]),
    ("/dapi/v1/depth?symbol=BTCUSD_PERP&limit=1000", &["/dapi/v1/depth?symbol=BTCUSD_PERP&limit=50"]),
];

#[tokio::test]
async fn one_symbol_is_answered_from_the_kept_list_of_all_when_the_exchange_is_down() {
    let mut exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = gateway(&exchange, "1ms").await;
    let mut expected = Vec::new();
    for (kept, questions) in KEPT {
        for question in *questions {
            expected.push((question, get(exchange.url() + question).await));
        }
        assert_eq!(get(gateway.url(kept)).await.status, 200, "{kept}");
    }
    exchange.stop().await;
    for (question, direct) in expected {
        let got = get(gateway.url(question)).await;
        assert_eq!((got.status, &got.body), (200, &direct.body), "{question}: {}", got.text());
        assert_eq!(got.cache(), "LAST-GOOD", "{question}");
        assert!(got.header("cache-status").ends_with("last-good:unreachable"), "{}", got.header("cache-status"));
    }
    // What no key holds is an error still.
    assert!(get(gateway.url("/api/v3/ticker/price?symbol=NOSUCHCOIN")).await.status >= 500);
    assert!(get(gateway.url("/api/v3/trades?symbol=BTCUSDT&limit=501")).await.status >= 500);
}

#[tokio::test]
async fn the_list_of_all_that_lacks_a_symbol_is_passed_over_for_the_symbol_s_own_answer() {
    let mut exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    // A symbol that is not traded is in no list.
    let info = get(exchange.url() + "/api/v3/exchangeInfo").await.json();
    let symbols = info["symbols"].as_array().unwrap();
    let halted = symbols.iter().find(|symbol| symbol["status"] != "TRADING").expect("one that is not traded");
    let question = format!("/api/v3/ticker/price?symbol={}", halted["symbol"].as_str().unwrap());
    let gateway = gateway(&exchange, "1ms").await;
    let own = get(gateway.url(&question)).await;
    assert_eq!((own.status, own.cache()), (200, "MISS"));
    assert_eq!(get(gateway.url("/api/v3/ticker/price")).await.status, 200);
    exchange.stop().await;
    let kept = get(gateway.url(&question)).await;
    assert_eq!((kept.status, kept.cache(), &kept.body), (200, "LAST-GOOD", &own.body));
}

#[tokio::test]
async fn what_another_key_has_stands_in_for_a_slow_exchange_too() {
    let exchange = Exchange::start().await;
    let gateway = gateway(&exchange, "1ms").await;
    let book = get(gateway.url("/api/v3/depth?symbol=BTCUSDT&limit=1000")).await;
    exchange.fault(serde_json::json!({"kind": "hang"}));
    let shallow = tokio::time::timeout(Duration::from_secs(5), get(gateway.url("/api/v3/depth?symbol=BTCUSDT"))).await;
    let shallow = shallow.expect("no reader waits for an exchange that hangs");
    assert_eq!((shallow.cache(), id(&shallow)), ("LAST-GOOD", id(&book)));
    assert!(shallow.header("cache-status").ends_with("last-good:slow"), "{}", shallow.header("cache-status"));
}

fn id(book: &Got) -> u64 {
    book.json()["lastUpdateId"].as_u64().unwrap_or_else(|| panic!("no book: {}", book.text()))
}

/// Polls `question` while others ask `others` in turn; says what each answer states of its moment.
async fn moments(gateway: &Running, question: &str, others: &[&str], stated: fn(&Value) -> u64) -> Vec<u64> {
    let mut moments = Vec::new();
    for round in 0..80 {
        if round % 4 == 0 {
            let other = get(gateway.url(others[round / 4 % others.len()])).await;
            assert_eq!(other.status, 200, "{}", other.text());
        }
        let got = get(gateway.url(question)).await;
        assert_eq!(got.status, 200, "{}", got.text());
        moments.push(stated(&got.json()));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    moments
}

fn assert_never_goes_back(question: &str, moments: &[u64]) {
    assert!(moments.is_sorted(), "{question} went back in time: {moments:?}");
    assert!(moments.first() < moments.last(), "{question} never moved: {moments:?}");
}

#[tokio::test]
async fn a_depth_poller_never_sees_an_older_book_when_somebody_asks_for_a_deeper_one() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let stated = |book: &Value| book["lastUpdateId"].as_u64().unwrap();
    let spot = "/api/v3/depth?symbol=BTCUSDT&limit=5";
    let deeper = ["/api/v3/depth?symbol=BTCUSDT&limit=1000", "/api/v3/depth?symbol=BTCUSDT&limit=200"];
    let futures = "/fapi/v1/depth?symbol=BTCUSDT&limit=5";
    let deep = ["/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "/fapi/v1/depth?symbol=BTCUSDT&limit=100"];
    let coin = "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=5";
    let deepest = ["/dapi/v1/depth?symbol=BTCUSD_PERP", "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=100"];
    let (one, two, three) = tokio::join!(
        moments(&gateway, spot, &deeper, stated),
        moments(&gateway, futures, &deep, stated),
        moments(&gateway, coin, &deepest, stated)
    );
    for (question, moments) in [(spot, one), (futures, two), (coin, three)] {
        assert_never_goes_back(question, &moments);
    }
}

#[tokio::test]
async fn a_poller_of_tickers_or_trades_never_sees_an_older_one_when_others_ask_for_more() {
    let exchange = Exchange::start().await;
    // By default it is fresh for longer than it is polled here.
    let gateway = Running::start(&exchange.url(), &[("regions.ticker_24hr.fresh_for", "200ms")]).await;
    let day = "/api/v3/ticker/24hr?symbol=BTCUSDT";
    let days = ["/api/v3/ticker/24hr", "/api/v3/ticker/24hr?symbols=[%22BTCUSDT%22]"];
    let mark = "/fapi/v1/premiumIndex?symbol=BTCUSDT";
    let price = "/dapi/v1/ticker/price?symbol=BTCUSD_PERP";
    let trades = "/api/v3/trades?symbol=BTCUSDT&limit=5";
    let longer = ["/api/v3/trades?symbol=BTCUSDT", "/api/v3/trades?symbol=BTCUSDT&limit=1000"];
    let (one, two, three, four) = tokio::join!(
        moments(&gateway, day, &days, |ticker| ticker["closeTime"].as_u64().unwrap()),
        moments(&gateway, mark, &["/fapi/v1/premiumIndex"], |mark| mark["time"].as_u64().unwrap()),
        moments(&gateway, price, &["/dapi/v1/ticker/price"], |list| list[0]["time"].as_u64().unwrap()),
        moments(&gateway, trades, &longer, |list| list[4]["id"].as_u64().unwrap()),
    );
    for (question, moments) in [(day, one), (trades, four)] {
        assert_never_goes_back(question, &moments);
    }
    // Fresh for longer than they are polled here.
    assert!(two.is_sorted() && three.is_sorted(), "{two:?} {three:?}");
}

#[tokio::test]
async fn an_exchange_that_lags_behind_what_it_said_before_is_not_believed() {
    let exchange = Exchange::start().await;
    let now = half_past();
    exchange.sim.set_clock(ClockMode::Frozen(now));
    let gateway = gateway(&exchange, "1ms").await;
    let questions = [
        "/api/v3/depth?symbol=BTCUSDT&limit=5",
        "/api/v3/depth?symbol=BTCUSDT&limit=1000",
        "/fapi/v1/depth?symbol=BTCUSDT&limit=1000",
        "/api/v3/ticker/24hr?symbol=BTCUSDT",
        "/api/v3/ticker/24hr",
        "/api/v3/trades?symbol=BTCUSDT&limit=5",
        "/api/v3/aggTrades?symbol=BTCUSDT&limit=5",
        "/fapi/v1/ticker/price?symbol=BTCUSDT",
        "/fapi/v1/ticker/bookTicker?symbol=BTCUSDT",
        "/fapi/v1/premiumIndex?symbol=BTCUSDT",
        "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP",
    ];
    let mut before = Vec::new();
    for question in questions {
        before.push(get(gateway.url(question)).await);
    }
    exchange.sim.set_clock(ClockMode::Frozen(now - 10_000));
    for (question, before) in questions.iter().zip(&before) {
        let got = get(gateway.url(question)).await;
        assert_eq!((got.status, &got.body), (200, &before.body), "{question}");
        assert!(got.header("cache-status").ends_with("last-good:outdated"), "{question}: {:?}", got.headers);
    }
    // Another replica, or the same one when it has caught up, is believed as soon as it is asked again.
    exchange.sim.set_clock(ClockMode::Frozen(now + 10_000));
    let asked = questions.iter().zip(&before).map(|(question, before)| {
        let gateway = &gateway;
        async move {
            let newer = async || {
                let got = get(gateway.url(question)).await;
                assert_eq!(got.status, 200, "{question}");
                got.body != before.body
            };
            crate::support::eventually(question, newer).await;
        }
    });
    futures_util::future::join_all(asked).await;
}
