//! The endpoint table: every market-data path that is cached, with its recipe, region, limits and weight. What is not
//! here passes through untouched. Weights and limits after the exchange's published documentation.

use super::Recipe::{Depth, ExchangeInfo, Klines, Page, Period, Ping, Query, Ticker, Time};
use super::Shape::{Any, Array, Object, ObjectForSymbol};
use super::Weight::{Each, Fixed, Limit, Symbols};
use super::{Endpoint, Recipe, Shape, Venue, Weight};
use crate::region::RegionName as R;

type Line = (&'static str, Recipe, R, Option<(u32, u32)>, Weight, Shape);

const SPOT_DEPTH: Weight = Limit(&[(100, 5), (500, 25), (1_000, 50), (5_000, 250)]);
const FUTURES_DEPTH: Weight = Limit(&[(50, 2), (100, 5), (500, 10), (1_000, 20)]);
const FUTURES_KLINES: Weight = Limit(&[(99, 1), (499, 2), (1_000, 5), (1_500, 10)]);
const TICKER_24HR: Weight = Symbols { one: 2, few: 2, many: 40, all: 80 };
const TICKER: Weight = Symbols { one: 2, few: 4, many: 4, all: 4 };
const WINDOW: Weight = Each { each: 4, cap: 200 };
const FUTURES_24HR: Weight = Symbols { one: 1, few: 40, many: 40, all: 40 };
const FUTURES_PRICE: Weight = Symbols { one: 1, few: 2, many: 2, all: 2 };
const FUTURES_BOOK: Weight = Symbols { one: 2, few: 5, many: 5, all: 5 };
const PREMIUM: Weight = Symbols { one: 1, few: 10, many: 10, all: 10 };

const K: Option<(u32, u32)> = Some((500, 1_500));
const T: Option<(u32, u32)> = Some((500, 1_000));
const P: Option<(u32, u32)> = Some((30, 500));

#[rustfmt::skip]
const SPOT: &[Line] = &[
    // path                          recipe        region            limit               weight       shape
    ("/api/v3/ping",                 Ping,         R::Other,         None,               Fixed(1),    Object),
    ("/api/v3/time",                 Time,         R::Other,         None,               Fixed(1),    Object),
    ("/api/v3/exchangeInfo",         ExchangeInfo, R::ExchangeInfo,  None,               Fixed(20),   Object),
    ("/api/v3/depth",                Depth,        R::Depth,         Some((100, 5_000)), SPOT_DEPTH,  Object),
    ("/api/v3/trades",               Query,        R::Trades,        T,                  Fixed(25),   Array),
    ("/api/v3/historicalTrades",     Page,         R::Trades,        T,                  Fixed(25),   Array),
    ("/api/v3/aggTrades",            Page,         R::AggTrades,     T,                  Fixed(4),    Array),
    ("/api/v3/klines",               Klines,       R::Klines,        T,                  Fixed(2),    Array),
    ("/api/v3/uiKlines",             Klines,       R::Klines,        T,                  Fixed(2),    Array),
    ("/api/v3/avgPrice",             Query,        R::AvgPrice,      None,               Fixed(2),    Object),
    ("/api/v3/ticker/24hr",          Ticker,       R::Ticker24hr,    None,               TICKER_24HR, ObjectForSymbol),
    ("/api/v3/ticker/price",         Ticker,       R::TickerPrice,   None,               TICKER,      ObjectForSymbol),
    ("/api/v3/ticker/bookTicker",    Ticker,       R::BookTicker,    None,               TICKER,      ObjectForSymbol),
    ("/api/v3/ticker/tradingDay",    Query,        R::TickerWindow,  None,               WINDOW,      ObjectForSymbol),
    ("/api/v3/ticker",               Query,        R::TickerWindow,  None,               WINDOW,      ObjectForSymbol),
];

#[rustfmt::skip]
const FUTURES: &[Line] = &[
    ("/fapi/v1/ping",                Ping,         R::Other,         None,               Fixed(1),       Object),
    ("/fapi/v1/time",                Time,         R::Other,         None,               Fixed(1),       Object),
    ("/fapi/v1/exchangeInfo",        ExchangeInfo, R::ExchangeInfo,  None,               Fixed(1),       Object),
    ("/fapi/v1/depth",               Depth,        R::Depth,         T,                  FUTURES_DEPTH,  Object),
    ("/fapi/v1/trades",              Query,        R::Trades,        T,                  Fixed(5),       Array),
    ("/fapi/v1/aggTrades",           Page,         R::AggTrades,     T,                  Fixed(20),      Array),
    ("/fapi/v1/klines",              Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/fapi/v1/continuousKlines",    Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/fapi/v1/indexPriceKlines",    Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/fapi/v1/markPriceKlines",     Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/fapi/v1/premiumIndexKlines",  Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/fapi/v1/premiumIndex",        Ticker,       R::PremiumIndex,  None,               PREMIUM,        ObjectForSymbol),
    ("/fapi/v1/fundingRate",         Page,         R::FundingRate,   Some((100, 1_000)), Fixed(0),       Array),
    ("/fapi/v1/fundingInfo",         Query,        R::FundingInfo,   None,               Fixed(0),       Array),
    ("/fapi/v1/openInterest",        Query,        R::OpenInterest,  None,               Fixed(1),       Object),
    ("/fapi/v1/ticker/24hr",         Ticker,       R::Ticker24hr,    None,               FUTURES_24HR,   ObjectForSymbol),
    ("/fapi/v1/ticker/price",        Ticker,       R::TickerPrice,   None,               FUTURES_PRICE,  ObjectForSymbol),
    ("/fapi/v2/ticker/price",        Ticker,       R::TickerPrice,   None,               FUTURES_PRICE,  ObjectForSymbol),
    ("/fapi/v1/ticker/bookTicker",   Ticker,       R::BookTicker,    None,               FUTURES_BOOK,   ObjectForSymbol),
    ("/futures/data/openInterestHist",            Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/topLongShortAccountRatio",    Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/topLongShortPositionRatio",   Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/globalLongShortAccountRatio", Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/takerlongshortRatio",         Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/basis",                       Period, R::FuturesData, P,             Fixed(0),       Array),
];

#[rustfmt::skip]
const COIN: &[Line] = &[
    ("/dapi/v1/ping",                Ping,         R::Other,         None,               Fixed(1),       Object),
    ("/dapi/v1/time",                Time,         R::Other,         None,               Fixed(1),       Object),
    ("/dapi/v1/exchangeInfo",        ExchangeInfo, R::ExchangeInfo,  None,               Fixed(1),       Object),
    ("/dapi/v1/depth",               Depth,        R::Depth,         T,                  FUTURES_DEPTH,  Object),
    ("/dapi/v1/trades",              Query,        R::Trades,        T,                  Fixed(5),       Array),
    ("/dapi/v1/aggTrades",           Page,         R::AggTrades,     T,                  Fixed(20),      Array),
    ("/dapi/v1/klines",              Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/dapi/v1/continuousKlines",    Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/dapi/v1/indexPriceKlines",    Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/dapi/v1/markPriceKlines",     Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    ("/dapi/v1/premiumIndexKlines",  Klines,       R::Klines,        K,                  FUTURES_KLINES, Array),
    // COIN-M takes a symbol or a pair, and answers both with arrays.
    ("/dapi/v1/premiumIndex",        Ticker,       R::PremiumIndex,  None,               Fixed(10),      Any),
    ("/dapi/v1/fundingRate",         Page,         R::FundingRate,   Some((100, 1_000)), Fixed(1),       Array),
    ("/dapi/v1/fundingInfo",         Query,        R::FundingInfo,   None,               Fixed(0),       Array),
    ("/dapi/v1/openInterest",        Query,        R::OpenInterest,  None,               Fixed(1),       Object),
    ("/dapi/v1/ticker/24hr",         Ticker,       R::Ticker24hr,    None,               FUTURES_24HR,   Any),
    ("/dapi/v1/ticker/price",        Ticker,       R::TickerPrice,   None,               FUTURES_PRICE,  Any),
    ("/dapi/v1/ticker/bookTicker",   Ticker,       R::BookTicker,    None,               FUTURES_BOOK,   Any),
    ("/futures/data/openInterestHist",            Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/topLongShortAccountRatio",    Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/topLongShortPositionRatio",   Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/globalLongShortAccountRatio", Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/takerBuySellVol",             Period, R::FuturesData, P,             Fixed(0),       Array),
    ("/futures/data/basis",                       Period, R::FuturesData, P,             Fixed(0),       Array),
];

const COUNT: usize = SPOT.len() + FUTURES.len() + COIN.len();

/// Every line of the table.
pub static ENDPOINTS: [Endpoint; COUNT] = {
    const fn line(venue: Venue, line: &Line) -> Endpoint {
        let (path, recipe, region, limit, weight, shape) = *line;
        // bookTicker and v2 price are documented to state a wrong used weight on futures.
        let misstates = matches!(venue, Venue::Futures | Venue::Coin)
            && (matches!(region, R::BookTicker) || path.as_bytes()[7] == b'2');
        Endpoint { venue, path, region, recipe, limit, weight, shape, states_weight: !misstates }
    }
    let mut table = [const { line(Venue::Spot, &SPOT[0]) }; COUNT];
    let mut index = 0;
    while index < COUNT {
        table[index] = if index < SPOT.len() {
            line(Venue::Spot, &SPOT[index])
        } else if index < SPOT.len() + FUTURES.len() {
            line(Venue::Futures, &FUTURES[index - SPOT.len()])
        } else {
            line(Venue::Coin, &COIN[index - SPOT.len() - FUTURES.len()])
        };
        index += 1;
    }
    table
};

/// The line for a path of a venue.
pub fn endpoint(venue: Venue, path: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path && endpoint.venue == venue)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::weight_of;
    use super::*;
    use crate::query::Params;

    #[test]
    fn every_path_belongs_to_its_venue_and_stands_once() {
        let mut seen = HashSet::new();
        for endpoint in &ENDPOINTS {
            let query = if endpoint.venue == Venue::Coin { "pair=BTCUSD" } else { "" };
            assert_eq!(Venue::of(endpoint.path, query), Some(endpoint.venue), "{}", endpoint.path);
            assert!(seen.insert((endpoint.venue, endpoint.path)), "{} stands twice", endpoint.path);
        }
    }

    #[test]
    fn weights_follow_the_published_table() {
        fn weight(venue: Venue, path: &str, query: &str) -> u32 {
            weight_of(endpoint(venue, path).unwrap(), &Params::parse(query).unwrap())
        }
        let spot = |path: &str, query: &str| weight(Venue::Spot, path, query);
        assert_eq!(spot("/api/v3/depth", "symbol=X"), 5);
        assert_eq!(spot("/api/v3/depth", "symbol=X&limit=101"), 25);
        assert_eq!(spot("/api/v3/depth", "symbol=X&limit=9999"), 250);
        assert_eq!(spot("/api/v3/ticker/24hr", "symbol=X"), 2);
        assert_eq!(spot("/api/v3/ticker/24hr", &format!("symbols=[{}]", vec!["X"; 21].join(","))), 40);
        assert_eq!(spot("/api/v3/ticker/24hr", ""), 80);
        assert_eq!(spot("/api/v3/ticker", &format!("symbols=[{}]", vec!["X"; 90].join(","))), 200);
        let futures = |query: &str| weight(Venue::Futures, "/fapi/v1/klines", query);
        assert_eq!(
            [futures("limit=99"), futures("limit=100"), futures("limit=500"), futures("limit=1500")],
            [1, 2, 5, 10]
        );
    }

    #[test]
    fn two_headers_are_not_believed() {
        let doubted: Vec<_> = ENDPOINTS.iter().filter(|endpoint| !endpoint.states_weight).map(|e| e.path).collect();
        assert_eq!(doubted, ["/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker", "/dapi/v1/ticker/bookTicker"]);
    }
}
