//! Order books start from a snapshot that was taken after they asked for it.

use std::time::Duration;

use lastgood_sim::{ClockMode, SimConfig};
use serde_json::json;

use crate::support::{Exchange, Got, Running, get, half_past};

/// Questions that can start a book, with a shallow one of the same book.
const BOOKS: [(&str, &str); 4] = [
    ("/api/v3/depth?symbol=BTCUSDT&limit=5000", "/api/v3/depth?symbol=BTCUSDT&limit=5"),
    ("/api/v3/depth?symbol=ETHUSDT&limit=500", "/api/v3/depth?symbol=ETHUSDT&limit=100"),
    ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "/fapi/v1/depth?symbol=BTCUSDT&limit=20"),
    ("/dapi/v1/depth?symbol=BTCUSD_PERP", "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=100"),
];

fn id(book: &Got) -> u64 {
    assert_eq!(book.status, 200, "{}", book.text());
    book.json()["lastUpdateId"].as_u64().unwrap_or_else(|| panic!("no book: {}", book.text()))
}

#[tokio::test]
async fn a_depth_that_can_start_a_book_is_loaded_after_the_question_and_serves_shallower_ones() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[("regions.depth.fresh_for", "5m")]).await;
    for (deep, shallow) in BOOKS {
        let first = get(gateway.url(deep)).await;
        exchange.sim.advance(1_000);
        let second = get(gateway.url(deep)).await;
        assert_eq!((first.cache(), second.cache()), ("MISS", "MISS"), "{deep}");
        let own = get(exchange.url() + deep).await;
        assert_eq!((id(&second), &second.body), (id(&own), &own.body), "{deep}");
        assert!(id(&first) < id(&second), "{deep}");
        exchange.sim.advance(1_000);
        let cut = get(gateway.url(shallow)).await;
        assert_eq!((cut.cache(), id(&cut)), ("HIT", id(&second)), "{shallow}");
    }
}

#[tokio::test]
async fn books_that_start_at_once_share_a_load_that_began_after_all_of_them() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let (deep, _) = BOOKS[0];
    exchange.fault(json!({"kind": "latency", "ms": 300}));
    let ask = || {
        let url = gateway.url(deep);
        tokio::spawn(async move { get(url).await })
    };
    let first = ask();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others: Vec<_> = (0..50).map(|_| ask()).collect();
    let first = first.await.unwrap();
    let mut answers = Vec::new();
    for other in others {
        answers.push(other.await.unwrap());
    }
    assert_eq!(exchange.asked(), 2, "one load, and one for all who came while it was under way");
    assert_eq!(first.cache(), "MISS");
    assert_eq!(answers.iter().filter(|got| got.cache() == "MISS").count(), 1);
    assert_eq!(answers.iter().filter(|got| got.cache() == "JOINED").count(), 49);
    assert!(answers.iter().all(|got| id(got) > id(&first) && got.body == answers[0].body));
}

#[tokio::test]
async fn when_the_exchange_fails_a_book_gets_the_last_good_snapshot_which_says_so() {
    let mut exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("regions.depth.fresh_for", "5m")]).await;
    let mut kept = Vec::new();
    for (deep, _) in BOOKS {
        kept.push(get(gateway.url(deep)).await);
    }
    exchange.fault(json!({"kind": "status", "status": 503}));
    for ((deep, shallow), kept) in BOOKS.iter().zip(&kept) {
        let got = get(gateway.url(deep)).await;
        assert_eq!((got.status, got.cache(), &got.body), (200, "LAST-GOOD", &kept.body), "{deep}");
        assert!(got.header("cache-status").ends_with("last-good:upstream-error"), "{}", got.header("cache-status"));
        assert_eq!(get(gateway.url(shallow)).await.cache(), "HIT", "{shallow}");
    }
    exchange.sim.clear_faults();
    exchange.stop().await;
    // Of 500 levels nothing was ever kept, but 5,000 hold them.
    let got = get(gateway.url("/api/v3/depth?symbol=BTCUSDT&limit=500")).await;
    assert_eq!((got.cache(), id(&got)), ("LAST-GOOD", id(&kept[0])));
    assert_eq!(got.json()["bids"].as_array().unwrap().len(), 500);
    let never = get(gateway.url("/api/v3/depth?symbol=BNBUSDT&limit=500")).await;
    assert!(never.status >= 500 && never.json()["code"].as_i64().unwrap() < 0, "{}", never.text());
}

#[tokio::test]
async fn a_slow_exchange_is_waited_for_where_an_older_snapshot_is_of_no_use() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let (deep, shallow) = BOOKS[0];
    let first = get(gateway.url(deep)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    exchange.fault(json!({"kind": "latency", "ms": 1_000}));
    assert_eq!(get(gateway.url(shallow)).await.cache(), "LAST-GOOD", "a poller does not wait");
    let second = get(gateway.url(deep)).await;
    assert_eq!(second.cache(), "MISS");
    assert!(id(&second) > id(&first));
}

#[tokio::test]
async fn books_stay_within_the_budget_and_then_get_the_last_good_snapshot() {
    let config = SimConfig { seed: 7, symbols: 60, weight_limit_spot: 1_200, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[]).await;
    get(gateway.url("/api/v3/exchangeInfo")).await;
    let mut labels = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let got = get(gateway.url("/api/v3/depth?symbol=BTCUSDT&limit=1000")).await;
        id(&got);
        if got.cache() == "LAST-GOOD" {
            assert!(got.header("cache-status").ends_with("last-good:rate-limited"), "{}", got.header("cache-status"));
        }
        *labels.entry(got.cache().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["LAST-GOOD", "MISS"], "{labels:?}");
    assert_eq!(exchange.sim.counters().statuses.get(&429), None);
    assert!(gateway.traffic().weight_spent <= 1_200);
    // Other requests are not starved by it.
    let other = get(gateway.url("/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=5")).await;
    assert_eq!((other.status, other.cache()), (200, "MISS"));
}
