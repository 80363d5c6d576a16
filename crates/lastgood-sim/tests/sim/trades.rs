//! Trades.

use lastgood_sim::ClockMode;
use serde_json::Value;

use crate::support::{Exchange, HOUR, NOW, escape, open_time};

fn numbers(rows: &[Value], field: &str) -> Vec<u64> {
    rows.iter().map(|row| row[field].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn trades_are_numbered_without_a_hole_and_none_is_of_the_future() {
    let exchange = Exchange::start().await;
    for (target, id, time) in [
        ("/api/v3/trades?symbol=BTCUSDT", "id", "time"),
        ("/api/v3/aggTrades?symbol=BTCUSDT", "a", "T"),
        ("/fapi/v1/trades?symbol=BTCUSDT", "id", "time"),
        ("/dapi/v1/aggTrades?symbol=BTCUSD_PERP", "a", "T"),
    ] {
        let rows = exchange.rows(target).await;
        assert!(numbers(&rows, id).windows(2).all(|pair| pair[0] + 1 == pair[1]), "{target}");
        assert!(numbers(&rows, time).is_sorted(), "{target}");
        let last = *numbers(&rows, time).last().unwrap();
        assert!(last <= NOW && NOW - last < 2_000, "{target}");
    }
}

#[tokio::test]
async fn a_full_page_from_a_number_is_immutable() {
    let exchange = Exchange::start().await;
    for (target, id) in [("historicalTrades", "id"), ("aggTrades", "a")] {
        let target = format!("/api/v3/{target}?symbol=BTCUSDT&fromId=1000000&limit=100");
        let before = exchange.get(&target).await;
        let rows = before.json().as_array().unwrap().clone();
        assert_eq!(numbers(&rows, id), (1_000_000..1_000_100).collect::<Vec<_>>());
        exchange.sim.advance(99 * HOUR);
        assert_eq!(exchange.get(&target).await.text(), before.text());
    }
}

#[tokio::test]
async fn aggregated_trades_keep_to_their_bounds_and_follow_each_other() {
    let exchange = Exchange::start().await;
    let (start, end) = (NOW - HOUR, NOW - HOUR + 60_000);
    let target = format!("/api/v3/aggTrades?symbol=BTCUSDT&startTime={start}&endTime={end}&limit=1000");
    let rows = exchange.rows(&target).await;
    assert_eq!(rows.len(), 100, "one in 600 ms");
    assert!(numbers(&rows, "T").iter().all(|time| (start..=end).contains(time)));
    for pair in rows.windows(2) {
        assert_eq!(pair[0]["l"].as_u64().unwrap() + 1, pair[1]["f"].as_u64().unwrap());
    }
    let newest = exchange.rows(&format!("/api/v3/aggTrades?symbol=BTCUSDT&endTime={end}&limit=7")).await;
    assert_eq!(newest[..], rows[93..]);
}

#[tokio::test]
async fn there_are_no_trades_before_the_listing_nor_after_now() {
    let exchange = Exchange::start().await;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).iter().step_by(17) {
        let name = escape(symbol);
        let first = exchange.rows(&format!("/api/v3/klines?symbol={name}&interval=1s&startTime=0&limit=1")).await;
        let listed = open_time(&first[0]);
        let base = format!("/api/v3/aggTrades?symbol={name}");
        for bounds in [
            "&endTime=0".to_owned(),
            format!("&endTime={}", listed - 1),
            format!("&startTime=0&endTime={}", listed - 1),
            format!("&startTime={}", NOW + 1),
            "&fromId=99999999999999".to_owned(),
        ] {
            assert!(exchange.rows(&format!("{base}{bounds}")).await.is_empty(), "{symbol} {bounds}");
        }
        let oldest = exchange.rows(&format!("{base}&startTime=0&limit=3")).await;
        assert_eq!(numbers(&oldest, "a"), [0, 1, 2], "{symbol}");
        assert!(numbers(&oldest, "T")[0] >= listed, "{symbol}");
    }
    exchange.sim.set_clock(ClockMode::Frozen(1_000));
    for path in ["trades", "historicalTrades", "aggTrades", "klines"] {
        let interval = if path == "klines" { "&interval=1h" } else { "" };
        let rows = exchange.rows(&format!("/api/v3/{path}?symbol=BTCUSDT{interval}")).await;
        assert!(rows.is_empty(), "{path} before the listing");
    }
}
