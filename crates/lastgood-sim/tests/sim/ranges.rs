//! Bounds of time and limits.

use crate::support::{DAY, Exchange, HOUR, MINUTE, NOW, close_time, open_time};

const HOURLY: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h";
const COIN: &str = "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h";
const THIS_HOUR: u64 = NOW / HOUR * HOUR;

async fn opens(exchange: &Exchange, target: &str) -> Vec<u64> {
    exchange.rows(target).await.iter().map(open_time).collect()
}

fn hours(first: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| first + number * HOUR).collect()
}

#[tokio::test]
async fn without_bounds_the_newest_come() {
    let exchange = Exchange::start().await;
    assert_eq!(opens(&exchange, HOURLY).await, hours(THIS_HOUR - 499 * HOUR, 500));
    assert_eq!(opens(&exchange, &format!("{HOURLY}&limit=3")).await, hours(THIS_HOUR - 2 * HOUR, 3));
}

#[tokio::test]
async fn a_start_alone_brings_the_oldest_from_it() {
    let exchange = Exchange::start().await;
    let start = THIS_HOUR - 1_000 * HOUR;
    for (target, venue) in [(HOURLY, "spot"), (COIN, "coin")] {
        assert_eq!(opens(&exchange, &format!("{target}&limit=4&startTime={start}")).await, hours(start, 4), "{venue}");
    }
    let later = opens(&exchange, &format!("{HOURLY}&limit=4&startTime={}", start + 1)).await;
    assert_eq!(later, hours(start + HOUR, 4), "a candle that opened before the start is not in it");
    assert_eq!(opens(&exchange, &format!("{HOURLY}&startTime={THIS_HOUR}")).await, [THIS_HOUR]);
    assert!(opens(&exchange, &format!("{HOURLY}&startTime={}", THIS_HOUR + 1)).await.is_empty());
}

#[tokio::test]
async fn an_end_alone_brings_the_newest_up_to_it() {
    let exchange = Exchange::start().await;
    let end = THIS_HOUR - 1_000 * HOUR;
    assert_eq!(opens(&exchange, &format!("{HOURLY}&limit=4&endTime={end}")).await, hours(end - 3 * HOUR, 4));
    assert_eq!(opens(&exchange, &format!("{HOURLY}&limit=4&endTime={}", end - 1)).await, hours(end - 4 * HOUR, 4));
    let future = opens(&exchange, &format!("{HOURLY}&limit=2&endTime={}", NOW + DAY)).await;
    assert_eq!(future, hours(THIS_HOUR - HOUR, 2));
}

#[tokio::test]
async fn both_bounds_count_from_the_start_but_on_coin_m_from_the_end() {
    let exchange = Exchange::start().await;
    let (start, end) = (THIS_HOUR - 50 * HOUR, THIS_HOUR - 10 * HOUR);
    let both = format!("&startTime={start}&endTime={end}");
    for target in [HOURLY, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h"] {
        assert_eq!(opens(&exchange, &format!("{target}{both}&limit=5")).await, hours(start, 5), "{target}");
        assert_eq!(opens(&exchange, &format!("{target}{both}")).await, hours(start, 41), "{target}");
    }
    assert_eq!(opens(&exchange, &format!("{COIN}{both}&limit=5")).await, hours(end - 4 * HOUR, 5));
    assert_eq!(opens(&exchange, &format!("{COIN}{both}")).await, hours(start, 41));
    let odd = format!("{COIN}&startTime={}&endTime={}&limit=500", start + 1, end - 1);
    assert_eq!(opens(&exchange, &odd).await, hours(start + HOUR, 39));
}

#[tokio::test]
async fn a_start_that_is_the_end_brings_the_candle_that_opens_there() {
    let exchange = Exchange::start().await;
    for target in [HOURLY, COIN] {
        let at = THIS_HOUR - 9 * HOUR;
        assert_eq!(opens(&exchange, &format!("{target}&startTime={at}&endTime={at}")).await, [at], "{target}");
        let between = format!("{target}&startTime={0}&endTime={0}", at + 1);
        assert!(opens(&exchange, &between).await.is_empty(), "{target}");
    }
}

#[tokio::test]
async fn bounds_may_be_microseconds() {
    let exchange = Exchange::start().await;
    let (start, end) = (THIS_HOUR - 50 * HOUR, THIS_HOUR - 10 * HOUR);
    for target in [HOURLY, COIN, "/api/v3/aggTrades?symbol=BTCUSDT"] {
        let millis = exchange.get(&format!("{target}&startTime={start}&endTime={end}")).await;
        let micros = exchange.get(&format!("{target}&startTime={start}000&endTime={end}999")).await;
        assert_eq!(micros.text(), millis.text(), "{target}");
    }
}

#[tokio::test]
async fn limits_have_defaults_and_are_clamped_by_spot_and_refused_by_futures() {
    let exchange = Exchange::start().await;
    for (target, default, most, is_refused) in [
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m", 500, 1_000, false),
        ("/api/v3/uiKlines?symbol=BTCUSDT&interval=1m", 500, 1_000, false),
        ("/api/v3/trades?symbol=BTCUSDT", 500, 1_000, false),
        ("/api/v3/historicalTrades?symbol=BTCUSDT", 500, 1_000, false),
        ("/api/v3/aggTrades?symbol=BTCUSDT", 500, 1_000, false),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m", 500, 1_500, true),
        ("/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1m", 500, 1_500, true),
        ("/fapi/v1/trades?symbol=BTCUSDT", 500, 1_000, true),
        ("/fapi/v1/aggTrades?symbol=BTCUSDT", 500, 1_000, true),
        ("/fapi/v1/fundingRate?symbol=BTCUSDT", 100, 1_000, true),
        ("/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m", 500, 1_500, true),
    ] {
        assert_eq!(exchange.rows(target).await.len(), default, "{target}");
        for limit in [1, most] {
            assert_eq!(exchange.rows(&format!("{target}&limit={limit}")).await.len(), limit, "{target}");
        }
        let above = exchange.get(&format!("{target}&limit={}", most + 1)).await;
        match is_refused {
            true => assert_eq!(above.error(), (400, -1130), "{target}"),
            false => assert_eq!(above.json().as_array().unwrap().len(), most, "{target}"),
        }
    }
}

#[tokio::test]
async fn paging_forward_is_one_long_question() {
    let exchange = Exchange::start().await;
    let start = NOW - 12 * HOUR;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).iter().skip(5).step_by(23) {
        let base = format!("/api/v3/klines?symbol={}&interval=1m", crate::support::escape(symbol));
        let whole = exchange.rows(&format!("{base}&startTime={start}&limit=1000")).await;
        let (mut paged, mut next) = (Vec::new(), start);
        loop {
            let page = exchange.rows(&format!("{base}&startTime={next}&limit=97")).await;
            let Some(last) = page.last() else { break };
            next = close_time(last).max(open_time(last)) + 1;
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{symbol}");
    }
}

#[tokio::test]
async fn paging_backward_is_one_long_question_too() {
    let exchange = Exchange::start().await;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).iter().skip(5).step_by(23) {
        let base = format!("/api/v3/klines?symbol={}&interval=5m", crate::support::escape(symbol));
        let whole = exchange.rows(&format!("{base}&limit=1000")).await;
        let (mut paged, mut end) = (Vec::new(), NOW);
        while paged.len() < whole.len() {
            let mut page = exchange.rows(&format!("{base}&endTime={end}&limit=200")).await;
            end = open_time(&page[0]) - 1;
            page.extend(paged);
            paged = page;
        }
        assert_eq!(paged, whole, "{symbol}");
    }
}

#[tokio::test]
async fn history_begins_with_the_listing() {
    let exchange = Exchange::start().await;
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).iter().step_by(31) {
        for interval in ["1s", "1m", "1h", "1d", "3d", "1w", "1M"] {
            let base = format!("/api/v3/klines?symbol={}&interval={interval}", crate::support::escape(symbol));
            let first = exchange.rows(&format!("{base}&startTime=0&limit=2")).await;
            assert_eq!(first.len(), 2, "{symbol} {interval}");
            let listed = open_time(&first[0]);
            for end in [0, 1, 1_000_000, listed - 1] {
                assert!(exchange.rows(&format!("{base}&endTime={end}")).await.is_empty(), "{symbol} {interval} {end}");
            }
            let last = exchange.rows(&format!("{base}&endTime={}", open_time(&first[1]))).await;
            assert_eq!(last, first, "{symbol} {interval}");
        }
    }
}

#[tokio::test]
async fn statistics_and_funding_keep_to_their_bounds() {
    let exchange = Exchange::start().await;
    let at = |row: &serde_json::Value, field: &str| row[field].as_u64().unwrap();
    let (start, end) = (NOW - 2 * DAY, NOW - DAY);
    let base = "/futures/data/openInterestHist?symbol=BTCUSDT&period=15m";
    let rows = exchange.rows(&format!("{base}&startTime={start}&endTime={end}&limit=500")).await;
    assert!((70..97).contains(&rows.len()), "gaps are normal: {}", rows.len());
    assert!(rows.windows(2).all(|pair| at(&pair[0], "timestamp") < at(&pair[1], "timestamp")));
    assert!(rows.iter().all(|row| (start..=end).contains(&at(row, "timestamp"))));
    let newest = exchange.rows(&format!("{base}&limit=500")).await;
    assert!(NOW - at(newest.last().unwrap(), "timestamp") < 3 * 15 * MINUTE);
    let old = exchange.rows("/futures/data/openInterestHist?symbol=BTCUSDT&period=1d&limit=500").await;
    assert!(old.len() <= 30 && old.iter().all(|row| at(row, "timestamp") >= NOW - 30 * DAY));

    let base = "/fapi/v1/fundingRate?symbol=BTCUSDT";
    let rows = exchange.rows(&format!("{base}&startTime={start}&endTime={end}")).await;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| at(row, "fundingTime").is_multiple_of(8 * HOUR)));
    let all = exchange.rows("/fapi/v1/fundingRate?limit=200").await;
    assert_eq!(all.len(), 200);
    assert!(all.windows(2).all(|pair| at(&pair[0], "fundingTime") <= at(&pair[1], "fundingTime")));
    assert_eq!(at(&all[199], "fundingTime"), NOW / (8 * HOUR) * (8 * HOUR));
    let oldest = exchange.rows(&format!("{base}&startTime=0&limit=1000")).await;
    let young = exchange.sim.symbols(lastgood_sim::Venue::UsdM).pop().unwrap();
    assert!(!oldest.is_empty() && !young.is_empty());
}
