//! Everything follows from the seed.

use lastgood_sim::{SimConfig, Venue};

use crate::support::Exchange;

async fn of_seed(seed: u64) -> Exchange {
    Exchange::start_with(SimConfig { seed, symbols: 320, ..SimConfig::default() }).await
}

const QUESTIONS: &[&str] = &[
    "/api/v3/exchangeInfo",
    "/fapi/v1/exchangeInfo",
    "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h",
    "/api/v3/depth?symbol=BTCUSDT",
    "/api/v3/ticker/24hr",
    "/fapi/v1/ticker/bookTicker",
    "/dapi/v1/premiumIndex",
    "/api/v3/trades?symbol=ETHUSDT",
    "/api/v3/aggTrades?symbol=ETHUSDT",
    "/fapi/v1/fundingRate?symbol=BTCUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=1h",
];

#[tokio::test]
async fn two_exchanges_of_one_seed_agree_byte_for_byte() {
    let (one, two) = (of_seed(9).await, of_seed(9).await);
    for venue in Venue::ALL {
        assert_eq!(one.sim.symbols(venue), two.sim.symbols(venue));
    }
    for target in QUESTIONS {
        let (one, two) = (one.get(target).await, two.get(target).await);
        assert_eq!(one.status, 200, "{target}");
        assert!(one.body == two.body, "{target}");
    }
}

#[tokio::test]
async fn another_seed_is_another_market() {
    let (one, two) = (of_seed(9).await, of_seed(10).await);
    for target in QUESTIONS.iter().filter(|target| !target.starts_with("/fapi/v1/exchangeInfo")) {
        assert!(one.get(target).await.body != two.get(target).await.body, "{target}");
    }
}

#[tokio::test]
async fn the_smallest_exchanges_work_too() {
    for symbols in [0, 1, 12] {
        let exchange = Exchange::start_with(SimConfig { symbols, ..SimConfig::default() }).await;
        assert_eq!(exchange.rows("/api/v3/ticker/24hr").await.len(), symbols);
        assert_eq!(exchange.json("/api/v3/exchangeInfo").await["symbols"].as_array().unwrap().len(), symbols);
        assert!(exchange.rows("/fapi/v1/ticker/price").await.len() >= 12);
    }
}
