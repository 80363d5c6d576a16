//! The lines of COIN-M futures. Its tickers take a symbol or a pair and are arrays, so they are kept by their query.

use super::rows::{
    AGG_TRADE, CANDLE, CONSTITUENTS, DELIVERY_PRICE, DERIVED_CANDLE, EMPTY, FUNDING_INFO, FUNDING_RATE, TIME, TRADE,
};
use super::{BOOK_TICKER, DAY, DEPTH, F, K, KLINES, Line, NONE, P, PRICES, T};
use crate::region::RegionName as R;
use crate::venue::Kind::{
    self, Decimal, DecimalOrEmpty, Integer, List, Listing, Number, Object, OwnSymbol, Pair, Rows, Stamp, Symbol, Text,
    Tuple,
};
use crate::venue::Recipe::{Depth, ExchangeInfo, Klines, Page, Period, Ping, Query, Ticker, Time};
use crate::venue::Shape::{Any, Array, Object as One};
use crate::venue::Weight::Fixed;

const INFO: Kind = Object(&[
    ("serverTime", Integer),
    ("rateLimits", List(&EMPTY)),
    (
        "symbols",
        Listing(&Object(&[
            ("symbol", OwnSymbol),
            ("pair", Text),
            ("contractStatus", Text),
            ("baseAsset", Text),
            ("quoteAsset", Text),
        ])),
    ),
]);

const BOOK: Kind = Object(&[
    ("lastUpdateId", Integer),
    ("E", Integer),
    ("T", Integer),
    ("symbol", Symbol),
    ("pair", Text),
    ("bids", Rows(&Tuple(&[Decimal, Decimal]))),
    ("asks", Rows(&Tuple(&[Decimal, Decimal]))),
]);

const PREMIUM_ROW: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("pair", Pair),
    ("markPrice", Decimal),
    ("indexPrice", Decimal),
    ("lastFundingRate", DecimalOrEmpty),
    ("nextFundingTime", Integer),
    ("time", Integer),
]);

const OPEN_INTEREST: Kind = Object(&[("openInterest", Decimal), ("symbol", Symbol), ("pair", Text), ("time", Integer)]);

const DAY_ROW: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("pair", Pair),
    ("priceChange", Decimal),
    ("priceChangePercent", Decimal),
    ("weightedAvgPrice", Decimal),
    ("openPrice", Decimal),
    ("highPrice", Decimal),
    ("lowPrice", Decimal),
    ("lastPrice", Decimal),
    ("volume", Decimal),
    ("baseVolume", Decimal),
    ("openTime", Integer),
    ("closeTime", Integer),
    ("count", Integer),
]);

const PRICE: Kind = Object(&[("symbol", OwnSymbol), ("ps", Pair), ("price", Decimal), ("time", Integer)]);

const QUOTES: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("pair", Pair),
    ("bidPrice", Decimal),
    ("bidQty", Decimal),
    ("askPrice", Decimal),
    ("askQty", Decimal),
    ("time", Integer),
]);

const OPEN_INTEREST_HISTORY: Kind = Object(&[
    ("pair", Pair),
    ("contractType", Text),
    ("sumOpenInterest", Number),
    ("sumOpenInterestValue", Number),
    ("timestamp", Stamp),
]);

const LONG_SHORT: Kind = Object(&[
    ("pair", Pair),
    ("longShortRatio", Number),
    ("longAccount", Number),
    ("shortAccount", Number),
    ("timestamp", Stamp),
]);

const LONG_SHORT_POSITIONS: Kind = Object(&[
    ("pair", Pair),
    ("longShortRatio", Number),
    ("longPosition", Number),
    ("shortPosition", Number),
    ("timestamp", Stamp),
]);

const TAKERS: Kind = Object(&[
    ("pair", Pair),
    ("contractType", Text),
    ("takerBuyVol", Number),
    ("takerSellVol", Number),
    ("timestamp", Stamp),
]);

const BASIS: Kind = Object(&[
    ("pair", Pair),
    ("contractType", Text),
    ("indexPrice", Number),
    ("futuresPrice", Number),
    ("basis", Number),
    ("timestamp", Stamp),
]);

#[rustfmt::skip]
pub(super) const LINES: &[Line] = &[
    ("/dapi/v1/ping",                Ping,         R::Other,         NONE, Fixed(1),    One,   &EMPTY),
    ("/dapi/v1/time",                Time,         R::Other,         NONE, Fixed(1),    One,   &TIME),
    ("/dapi/v1/exchangeInfo",        ExchangeInfo, R::ExchangeInfo,  NONE, Fixed(1),    One,   &INFO),
    ("/dapi/v1/depth",               Depth,        R::Depth,         T,    DEPTH,       One,   &BOOK),
    ("/dapi/v1/trades",              Query,        R::Trades,        T,    Fixed(5),    Array, &TRADE),
    ("/dapi/v1/aggTrades",           Page,         R::AggTrades,     T,    Fixed(20),   Array, &AGG_TRADE),
    ("/dapi/v1/klines",              Klines,       R::Klines,        K,    KLINES,      Array, &CANDLE),
    ("/dapi/v1/continuousKlines",    Klines,       R::Klines,        K,    KLINES,      Array, &CANDLE),
    ("/dapi/v1/indexPriceKlines",    Klines,       R::Klines,        K,    KLINES,      Array, &DERIVED_CANDLE),
    ("/dapi/v1/markPriceKlines",     Klines,       R::Klines,        K,    KLINES,      Array, &DERIVED_CANDLE),
    ("/dapi/v1/premiumIndexKlines",  Klines,       R::Klines,        K,    KLINES,      Array, &DERIVED_CANDLE),
    ("/dapi/v1/premiumIndex",        Ticker,       R::PremiumIndex,  NONE, Fixed(10),   Any,   &PREMIUM_ROW),
    ("/dapi/v1/fundingRate",         Page,         R::FundingRate,   F,    Fixed(1),    Array, &FUNDING_RATE),
    ("/dapi/v1/fundingInfo",         Query,        R::FundingInfo,   NONE, Fixed(0),    Array, &FUNDING_INFO),
    ("/dapi/v1/openInterest",        Query,        R::OpenInterest,  NONE, Fixed(1),    One,   &OPEN_INTEREST),
    ("/dapi/v1/ticker/24hr",         Ticker,       R::Ticker24hr,    NONE, DAY,         Any,   &DAY_ROW),
    ("/dapi/v1/ticker/price",        Ticker,       R::TickerPrice,   NONE, PRICES,      Any,   &PRICE),
    ("/dapi/v1/ticker/bookTicker",   Ticker,       R::BookTicker,    NONE, BOOK_TICKER, Any,   &QUOTES),
    ("/dapi/v1/constituents",        Query,        R::PremiumIndex,  NONE, Fixed(2),    One,   &CONSTITUENTS),
    ("/futures/data/openInterestHist",            Period, R::FuturesData, P,    Fixed(0), Array, &OPEN_INTEREST_HISTORY),
    ("/futures/data/topLongShortAccountRatio",    Period, R::FuturesData, P,    Fixed(0), Array, &LONG_SHORT),
    ("/futures/data/topLongShortPositionRatio",   Period, R::FuturesData, P,    Fixed(0), Array, &LONG_SHORT_POSITIONS),
    ("/futures/data/globalLongShortAccountRatio", Period, R::FuturesData, P,    Fixed(0), Array, &LONG_SHORT),
    ("/futures/data/takerBuySellVol",             Period, R::FuturesData, P,    Fixed(0), Array, &TAKERS),
    ("/futures/data/basis",                       Period, R::FuturesData, P,    Fixed(0), Array, &BASIS),
    ("/futures/data/delivery-price",              Query,  R::FuturesData, NONE, Fixed(0), Array, &DELIVERY_PRICE),
];
