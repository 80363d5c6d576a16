//! Tickers.

use lastgood_sim::Venue;
use serde_json::Value;

use crate::support::{DAY, Exchange, HOUR, MINUTE, NOW, escape, float, list};

/// The rows of an array as they are written.
fn written(body: &str) -> Vec<&str> {
    serde_json::from_str::<Vec<&serde_json::value::RawValue>>(body).unwrap().iter().map(|row| row.get()).collect()
}

#[tokio::test]
async fn the_rows_of_all_symbols_are_the_single_bodies_byte_for_byte() {
    let exchange = Exchange::start().await;
    for (venue, paths) in [
        (Venue::Spot, &["/api/v3/ticker/24hr", "/api/v3/ticker/price", "/api/v3/ticker/bookTicker"][..]),
        (
            Venue::UsdM,
            &[
                "/fapi/v1/ticker/24hr",
                "/fapi/v1/ticker/price",
                "/fapi/v2/ticker/price",
                "/fapi/v1/ticker/bookTicker",
                "/fapi/v1/premiumIndex",
            ][..],
        ),
        (Venue::CoinM, &["/dapi/v1/ticker/24hr", "/dapi/v1/ticker/price", "/dapi/v1/ticker/bookTicker"][..]),
    ] {
        let symbols = exchange.sim.symbols(venue);
        for path in paths {
            let all = exchange.get(path).await;
            let rows = written(all.text());
            assert_eq!(rows.len(), symbols.len(), "{path}");
            for (row, symbol) in rows.iter().zip(&symbols).step_by(9) {
                let one = exchange.get(&format!("{path}?symbol={}", escape(symbol))).await;
                let one = if venue == Venue::CoinM { written(one.text())[0] } else { one.text() };
                assert_eq!(*row, one, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_comes_in_the_exchanges_order_and_may_name_a_unicode_symbol() {
    let exchange = Exchange::start().await;
    let names = ["币安人生USDT", "ETHUSDT", "BTCUSDT"];
    let rows = exchange.rows(&format!("/api/v3/ticker/price?symbols={}", list(&names))).await;
    let got: Vec<&str> = rows.iter().map(|row| row["symbol"].as_str().unwrap()).collect();
    assert_eq!(got, ["BTCUSDT", "ETHUSDT", "币安人生USDT"]);
    let hundred: Vec<String> = exchange.sim.symbols(Venue::Spot).into_iter().take(100).collect();
    assert_eq!(exchange.rows(&format!("/api/v3/ticker?symbols={}", list(&hundred))).await.len(), 100);
}

#[tokio::test]
async fn only_traded_symbols_have_rows_and_the_status_picks_others() {
    let exchange = Exchange::start().await;
    let broken = exchange.rows("/api/v3/ticker/price?symbolStatus=BREAK").await;
    assert!(!broken.is_empty() && broken.len() < 20, "{}", broken.len());
    let traded = exchange.get("/api/v3/ticker/price?symbolStatus=TRADING").await;
    assert_eq!(traded.text(), exchange.get("/api/v3/ticker/price").await.text());
    assert_eq!(exchange.get("/api/v3/ticker/price?symbolStatus=HALT").await.text(), "[]");
    let symbol = broken[0]["symbol"].as_str().unwrap();
    assert!(!traded.text().contains(&format!("\"{symbol}\"")));
    let mixed = list(&["BTCUSDT", symbol]);
    let only = exchange.rows(&format!("/api/v3/ticker/price?symbols={mixed}&symbolStatus=TRADING")).await;
    assert_eq!(only.len(), 1);
    assert_eq!(exchange.rows(&format!("/api/v3/ticker/price?symbols={mixed}")).await.len(), 2);
    let mismatch = exchange.get(&format!("/api/v3/depth?symbol={symbol}&symbolStatus=TRADING")).await;
    assert_eq!(mismatch.error(), (400, -1220));
}

fn check_day(row: &Value, length: u64) {
    let number = |name: &str| float(&row[name]);
    let (low, high) = (number("lowPrice"), number("highPrice"));
    assert!(low <= number("openPrice").min(number("lastPrice")), "{row}");
    assert!(high >= number("openPrice").max(number("lastPrice")), "{row}");
    let change = number("lastPrice") - number("openPrice");
    assert!((number("priceChange") - change).abs() < 1e-6, "{row}");
    let time = |name: &str| row[name].as_u64().unwrap();
    assert_eq!(time("closeTime") - time("openTime"), length, "{row}");
    assert_eq!(time("count"), time("lastId") - time("firstId") + 1, "{row}");
}

#[tokio::test]
async fn statistics_of_a_day_are_sound() {
    let exchange = Exchange::start().await;
    for target in ["/api/v3/ticker/24hr", "/fapi/v1/ticker/24hr", "/dapi/v1/ticker/24hr"] {
        for row in exchange.rows(target).await {
            check_day(&row, DAY);
        }
    }
    for row in exchange.rows("/api/v3/ticker/24hr").await {
        assert!(float(&row["bidPrice"]) < float(&row["askPrice"]), "{row}");
    }
}

#[tokio::test]
async fn windows_have_the_length_that_was_asked_for() {
    let exchange = Exchange::start().await;
    for (size, length) in [("1m", MINUTE), ("59m", 59 * MINUTE), ("1h", HOUR), ("23h", 23 * HOUR), ("7d", 7 * DAY)] {
        check_day(&exchange.json(&format!("/api/v3/ticker?symbol=BTCUSDT&windowSize={size}")).await, length);
    }
    check_day(&exchange.json("/api/v3/ticker?symbol=BTCUSDT").await, DAY);
    for size in
        ["0m", "60m", "24h", "8d", "1w", "1M", "m", "1", "+1m", "-1h", "1.5h", "分", "1分", "99999999999999999999d"]
    {
        let got = exchange.get(&format!("/api/v3/ticker?symbol=BTCUSDT&windowSize={}", escape(size))).await;
        assert_eq!(got.error(), (400, -1100), "{size}");
    }
}

#[tokio::test]
async fn a_trading_day_begins_at_midnight_of_its_time_zone() {
    let exchange = Exchange::start().await;
    let begin = async |zone: &str| {
        let target = format!("/api/v3/ticker/tradingDay?symbol=BTCUSDT&timeZone={}", escape(zone));
        exchange.json(&target).await["openTime"].as_u64().unwrap()
    };
    let today = NOW / DAY * DAY;
    assert_eq!(begin("0").await, today);
    assert_eq!(begin("8").await, today - 8 * HOUR);
    assert_eq!(begin("-6:00").await, today - 18 * HOUR);
    exchange.sim.advance(DAY - NOW % DAY);
    assert_eq!(begin("0").await, today + DAY, "the first millisecond of a day");
}

#[tokio::test]
async fn prices_agree_with_each_other_at_one_time_and_move_with_the_clock() {
    let exchange = Exchange::start().await;
    let price = exchange.json("/api/v3/ticker/price?symbol=BTCUSDT").await["price"].clone();
    assert_eq!(exchange.json("/api/v3/ticker/24hr?symbol=BTCUSDT").await["lastPrice"], price);
    assert_eq!(exchange.json("/api/v3/avgPrice?symbol=BTCUSDT").await["price"], price);
    assert_eq!(exchange.json("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1").await[0][4], price);
    exchange.sim.advance(10_000);
    assert_ne!(exchange.json("/api/v3/ticker/price?symbol=BTCUSDT").await["price"], price);
}
