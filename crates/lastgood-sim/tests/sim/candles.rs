//! What holds for candles, whatever is asked.

use std::collections::HashMap;

use lastgood_sim::{ClockMode, Venue};
use serde_json::{Value, json};

use crate::support::{Chance, DAY, Exchange, HOUR, MINUTE, NOW, close_time, escape, float, open_time};

const INTERVALS: &[(&str, u64)] = &[
    ("1s", 1_000),
    ("1m", MINUTE),
    ("3m", 3 * MINUTE),
    ("5m", 5 * MINUTE),
    ("15m", 15 * MINUTE),
    ("30m", 30 * MINUTE),
    ("1h", HOUR),
    ("2h", 2 * HOUR),
    ("4h", 4 * HOUR),
    ("6h", 6 * HOUR),
    ("8h", 8 * HOUR),
    ("12h", 12 * HOUR),
    ("1d", DAY),
    ("3d", 3 * DAY),
    ("1w", 7 * DAY),
    ("1M", 30 * DAY),
];

fn check(rows: &[Value], what: &str) {
    for row in rows {
        let [open, high, low, close] = [1, 2, 3, 4].map(|at| float(&row[at]));
        assert!(low > 0.0 && low <= open.min(close) && high >= open.max(close), "{what}: {row}");
        let [volume, quote, bought, bought_quote] = [5, 7, 9, 10].map(|at| float(&row[at]));
        assert!(volume >= bought && bought >= 0.0 && quote >= bought_quote, "{what}: {row}");
        assert!(close_time(row) > open_time(row) && row[8].as_u64().unwrap() > 0, "{what}: {row}");
    }
    for pair in rows.windows(2) {
        assert!(open_time(&pair[0]) < open_time(&pair[1]), "{what}: {pair:?}");
        assert!(close_time(&pair[0]) < open_time(&pair[1]), "{what}: {pair:?}");
    }
}

#[tokio::test]
async fn candles_are_sound_over_random_ranges() {
    let exchange = Exchange::start().await;
    let mut chance = Chance(1);
    let mut rows_seen = 0;
    for (venue, path) in [(Venue::Spot, "/api/v3"), (Venue::UsdM, "/fapi/v1"), (Venue::CoinM, "/dapi/v1")] {
        let symbols = exchange.sim.symbols(venue);
        let intervals = if venue == Venue::Spot { INTERVALS } else { &INTERVALS[1..] };
        for _ in 0..150 {
            let (symbol, (interval, length)) = (chance.pick(&symbols), *chance.pick(intervals));
            let start = NOW.saturating_sub(chance.below(400) * length);
            let end = start + chance.below(200).min(150 * DAY / length) * length + chance.below(length);
            let limit = 1 + chance.below(300) as usize;
            let bounds = format!("startTime={start}&endTime={end}&limit={limit}");
            let target = format!("{path}/klines?symbol={}&interval={interval}&{bounds}", escape(symbol));
            let rows = exchange.rows(&target).await;
            check(&rows, &target);
            assert!(rows.len() <= limit, "{target}");
            assert!(rows.iter().all(|row| (start..=end.min(NOW)).contains(&open_time(row))), "{target}");
            rows_seen += rows.len();
        }
    }
    assert!(rows_seen > 10_000, "{rows_seen}");
}

#[tokio::test]
async fn candles_open_on_the_grid_but_for_irregular_symbols_and_gaps_are_rare() {
    let exchange = Exchange::start().await;
    let (mut irregular, mut gapped) = (0, 0);
    let symbols = exchange.sim.symbols(Venue::Spot);
    for symbol in &symbols[..60] {
        let rows = exchange.rows(&format!("/api/v3/klines?symbol={symbol}&interval=5m&limit=1000")).await;
        let on_grid = |row: &Value| open_time(row).is_multiple_of(5 * MINUTE);
        let closes_early = |row: &&Value| !(close_time(row) + 1).is_multiple_of(5 * MINUTE);
        let is_irregular = !rows.iter().all(on_grid) || rows.iter().any(|row| closes_early(&row));
        let slots = (open_time(&rows[999]) / (5 * MINUTE)) - open_time(&rows[0]) / (5 * MINUTE) + 1;
        irregular += usize::from(is_irregular);
        gapped += usize::from(slots > 1_000);
        for interval in ["1s", "1d", "1M"] {
            let rows = exchange.rows(&format!("/api/v3/klines?symbol={symbol}&interval={interval}&limit=60")).await;
            assert!(rows.iter().all(|row| open_time(row).is_multiple_of(1_000)), "{symbol} {interval}");
        }
    }
    assert!((3..12).contains(&irregular), "{irregular} of 60 are irregular");
    assert!((4..15).contains(&gapped), "{gapped} of 60 have gaps");
    let well_known = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000").await;
    assert!(well_known.iter().zip(0..).all(|(row, at)| open_time(row) == NOW / MINUTE * MINUTE - (999 - at) * MINUTE));
}

#[tokio::test]
async fn a_closed_candle_never_changes_and_the_forming_one_does() {
    let exchange = Exchange::start().await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    for interval in ["1s", "1m", "1h", "1d", "1M"] {
        let mut closed: HashMap<(String, u64), Value> = HashMap::new();
        let mut forming_changed = 0;
        let mut before = Value::Null;
        for _ in 0..20 {
            for symbol in [&symbols[0], &symbols[24], &symbols[27], &symbols[38]] {
                let rows = exchange.rows(&format!("/api/v3/klines?symbol={symbol}&interval={interval}&limit=30")).await;
                for row in rows.iter().filter(|row| close_time(row) < exchange.sim.now()) {
                    let known = closed.entry((symbol.clone(), open_time(row))).or_insert_with(|| row.clone());
                    assert_eq!(known, row, "{symbol} {interval}");
                }
                if symbol == &symbols[0] {
                    let last = rows.last().unwrap().clone();
                    forming_changed += usize::from(last[0] == before[0] && last != before);
                    before = last;
                }
            }
            exchange.sim.advance(if interval == "1s" { 250 } else { 17_250 });
        }
        assert!(forming_changed > 5, "{interval}: {forming_changed}");
    }
}

#[tokio::test]
async fn while_a_candle_forms_its_high_never_falls_and_its_low_never_rises() {
    let exchange = Exchange::start().await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    for (interval, step) in [("1m", 1_750), ("1h", 97_250), ("1d", 2_345_500), ("1M", 55_555_250)] {
        exchange.sim.set_clock(ClockMode::Frozen(NOW / (30 * DAY) * (30 * DAY)));
        for symbol in [&symbols[0], &symbols[27], &symbols[90]] {
            let target = format!("/api/v3/klines?symbol={symbol}&interval={interval}&limit=1");
            let mut before = exchange.rows(&target).await.remove(0);
            for _ in 0..60 {
                exchange.sim.advance(step);
                let now = exchange.rows(&target).await.remove(0);
                if now[0] == before[0] {
                    assert_eq!(now[1], before[1], "{target}");
                    assert!(float(&now[2]) >= float(&before[2]), "{target}: {before} {now}");
                    assert!(float(&now[3]) <= float(&before[3]), "{target}: {before} {now}");
                    for sum in [5, 7, 9, 10] {
                        assert!(float(&now[sum]) >= float(&before[sum]), "{target}: {before} {now}");
                    }
                }
                before = now;
            }
        }
    }
}

#[tokio::test]
async fn gaps_stay_where_they_were_as_the_clock_advances() {
    let exchange = Exchange::start().await;
    let (start, end) = (NOW - 30 * HOUR, NOW - HOUR);
    let mut gaps = 0;
    let names = exchange.sim.symbols(Venue::Spot);
    let mut before = Vec::new();
    for round in 0..3 {
        for (at, symbol) in names[8..40].iter().enumerate() {
            let target =
                format!("/api/v3/klines?symbol={symbol}&interval=3m&startTime={start}&endTime={end}&limit=1000");
            let rows = exchange.rows(&target).await;
            gaps += rows.windows(2).filter(|pair| open_time(&pair[1]) - open_time(&pair[0]) > 5 * MINUTE).count();
            match before.get(at) {
                Some(known) if round > 0 => assert_eq!(known, &rows, "{symbol}"),
                _ => before.push(rows),
            }
        }
        exchange.sim.advance(11 * DAY + 12_345);
    }
    assert!(gaps > 0, "the test saw a gap");
}

#[tokio::test]
async fn the_newest_candle_is_that_of_the_clock() {
    let exchange = Exchange::start().await;
    for (interval, length) in &INTERVALS[..13] {
        let rows = exchange.rows(&format!("/api/v3/klines?symbol=BTCUSDT&interval={interval}&limit=1")).await;
        assert_eq!(open_time(&rows[0]), NOW / length * length, "{interval}");
        assert_eq!(close_time(&rows[0]), NOW / length * length + length - 1, "{interval}");
    }
    let last = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1").await;
    exchange.sim.advance(MINUTE - NOW % MINUTE - 1);
    let same = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1").await;
    assert_eq!(same[0][0], last[0][0], "one ms before the minute's end");
    exchange.sim.advance(1);
    let next = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2").await;
    assert_eq!((&next[0][0], open_time(&next[1])), (&last[0][0], open_time(&last[0]) + MINUTE));
    assert_eq!(next[0][4], next[1][1], "a candle closes where the next opens");
}

#[tokio::test]
async fn weeks_open_on_monday_and_months_by_the_calendar() {
    let exchange = Exchange::start().await;
    let weeks = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1w&limit=100").await;
    let monday = 1_772_409_600_000; // 2026-03-02
    assert_eq!(open_time(&weeks[99]), monday);
    assert!(weeks.iter().all(|row| (monday - open_time(row)).is_multiple_of(7 * DAY)));
    let months = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1M&limit=14").await;
    let begins: Vec<u64> = months.iter().map(open_time).collect();
    // From 2025-02 to 2026-03.
    let days = [28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28];
    let expected: Vec<u64> = std::iter::once(0)
        .chain(days)
        .scan(1_738_368_000_000, |at, days| {
            *at += days * DAY;
            Some(*at)
        })
        .collect();
    assert_eq!(begins, expected);
    assert_eq!(close_time(&months[12]), 1_772_323_200_000 - 1);
    let leap = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=1M&limit=1&startTime=1706745600000").await;
    assert_eq!(close_time(&leap[0]) + 1 - open_time(&leap[0]), 29 * DAY, "February 2024");
    let three = exchange.rows("/api/v3/klines?symbol=BTCUSDT&interval=3d&limit=3").await;
    assert!(three.iter().all(|row| open_time(row).is_multiple_of(3 * DAY)));
}

#[tokio::test]
async fn a_time_zone_moves_days_weeks_and_months_and_nothing_shorter() {
    let exchange = Exchange::start().await;
    let first = async |interval: &str, zone: &str| {
        let zone = crate::support::escape(zone);
        let target = format!("/api/v3/klines?symbol=BTCUSDT&interval={interval}&limit=1&timeZone={zone}");
        open_time(&exchange.rows(&target).await[0])
    };
    let today = NOW / DAY * DAY; // It is 05:06 in UTC.
    for (zone, day) in [
        ("0", today),
        ("8", today - 8 * HOUR),
        ("+8", today - 8 * HOUR),
        ("08:00", today - 8 * HOUR),
        ("14:00", today - 14 * HOUR),
        ("5:45", today - 5 * HOUR - 45 * MINUTE),
        ("-1:00", today + HOUR),
        ("-5", today + 5 * HOUR),
        ("-6", today + 6 * HOUR - DAY),
        ("-12:00", today + 12 * HOUR - DAY),
        ("-0:30", today + 30 * MINUTE),
    ] {
        assert_eq!(first("1d", zone).await, day, "{zone}");
        assert_eq!(first("1h", zone).await, NOW / HOUR * HOUR, "{zone}");
        assert_eq!(first("12h", zone).await, NOW / (12 * HOUR) * (12 * HOUR), "{zone}");
    }
    assert_eq!(first("1w", "8").await, 1_772_409_600_000 - 8 * HOUR);
    assert_eq!(first("1M", "8").await, 1_772_323_200_000 - 8 * HOUR);
    assert_eq!(first("1M", "-12:00").await, 1_772_323_200_000 + 12 * HOUR);
    for zone in
        ["15", "-13", "14:01", "-12:01", "8:60", "x", "+", "--8", "++8", ":", "8:", "8:-1", "9223372036854775807", "八"]
    {
        let target = format!("/api/v3/klines?symbol=BTCUSDT&interval=1d&timeZone={}", escape(zone));
        assert_eq!(exchange.get(&target).await.error(), (400, -1102), "{zone}");
    }
}

#[tokio::test]
async fn derived_series_have_no_volume_and_levels_of_their_own() {
    let exchange = Exchange::start().await;
    let traded = exchange.rows("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=5").await;
    for question in ["markPriceKlines?symbol", "indexPriceKlines?pair", "premiumIndexKlines?symbol"] {
        let rows = exchange.rows(&format!("/fapi/v1/{question}=BTCUSDT&interval=1h&limit=5")).await;
        assert!(rows.iter().all(|row| [5, 7, 9, 10].iter().all(|at| row[*at] == "0")), "{question}");
        assert_ne!(rows[0][1], traded[0][1], "{question}");
        assert_eq!(rows[0][0], traded[0][0], "{question}");
    }
    for row in exchange.rows("/fapi/v1/premiumIndexKlines?symbol=BTCUSDT&interval=1h&limit=500").await {
        let [open, high, low, close] = [1, 2, 3, 4].map(|at| float(&row[at]));
        assert!(low <= open.min(close) && high >= open.max(close) && high.abs() < 0.01, "a ratio: {row}");
    }
    let continuous =
        exchange.rows("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=5").await;
    assert_eq!(continuous, traded);
    let quarter =
        exchange.rows("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=CURRENT_QUARTER&interval=1h&limit=5").await;
    assert_ne!(quarter, traded);
    assert_eq!(json!(quarter[0][0]), traded[0][0]);
}
