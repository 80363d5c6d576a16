//! The lines of USD-M futures.

use super::rows::{
    AGG_TRADE, CANDLE, CONSTITUENTS, DELIVERY_PRICE, DERIVED_CANDLE, EMPTY, FUNDING_INFO, FUNDING_RATE, FUTURES_BOOK,
    TIME, TRADE, WINDOW,
};
use super::{BOOK_TICKER, DAY, DEPTH, F, K, KLINES, Line, NONE, P, PRICES, T};
use crate::region::RegionName as R;
use crate::venue::Kind::{
    self, Decimal, DecimalOrEmpty, Integer, List, Listing, Number, Object, OwnSymbol, Pair, Stamp, Symbol, Text,
};
use crate::venue::Recipe::{Depth, ExchangeInfo, Klines, Page, Period, Ping, Query, Ticker, Time};
use crate::venue::Shape::{Any, Array, Object as One, ObjectForSymbol};
use crate::venue::Weight::{self, Fixed, Symbols};

const PREMIUM: Weight = Symbols { one: 1, few: 10, many: 10, all: 10 };
/// Published as 1; without a symbol, forty were seen to be charged.
const INSURANCES: Weight = Symbols { one: 1, few: 40, many: 40, all: 40 };

const INFO: Kind = Object(&[
    ("serverTime", Integer),
    ("rateLimits", List(&EMPTY)),
    (
        "symbols",
        Listing(&Object(&[("symbol", OwnSymbol), ("status", Text), ("baseAsset", Text), ("quoteAsset", Text)])),
    ),
]);

/// A delivery contract has no funding rate.
const PREMIUM_ROW: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("markPrice", Decimal),
    ("indexPrice", Decimal),
    ("lastFundingRate", DecimalOrEmpty),
    ("nextFundingTime", Integer),
    ("time", Integer),
]);

const OPEN_INTEREST: Kind = Object(&[("openInterest", Decimal), ("symbol", Symbol), ("time", Integer)]);

const PRICE: Kind = Object(&[("symbol", OwnSymbol), ("price", Decimal), ("time", Integer)]);

const QUOTES: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("bidPrice", Decimal),
    ("bidQty", Decimal),
    ("askPrice", Decimal),
    ("askQty", Decimal),
    ("time", Integer),
]);

/// There may be no composite index.
const INDEX: Kind =
    Object(&[("symbol", Symbol), ("time", Integer), ("baseAssetList", List(&Object(&[("baseAsset", Text)])))]);

const ASSET_INDEX: Kind =
    Object(&[("symbol", OwnSymbol), ("time", Integer), ("index", Decimal), ("bidRate", Decimal), ("askRate", Decimal)]);

const INSURANCE: Kind = Object(&[
    ("symbols", List(&Text)),
    ("assets", List(&Object(&[("asset", Text), ("marginBalance", Number), ("updateTime", Integer)]))),
]);

const ADL_RISK: Kind = Object(&[("symbol", OwnSymbol), ("adlRisk", Text), ("updateTime", Integer)]);

const SCHEDULE: Kind = Object(&[("updateTime", Integer), ("marketSchedules", EMPTY)]);

const OPEN_INTEREST_HISTORY: Kind =
    Object(&[("symbol", Symbol), ("sumOpenInterest", Number), ("sumOpenInterestValue", Number), ("timestamp", Stamp)]);

const LONG_SHORT: Kind = Object(&[
    ("symbol", Symbol),
    ("longShortRatio", Number),
    ("longAccount", Number),
    ("shortAccount", Number),
    ("timestamp", Stamp),
]);

const TAKERS: Kind = Object(&[("buySellRatio", Number), ("buyVol", Number), ("sellVol", Number), ("timestamp", Stamp)]);

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
    ("/fapi/v1/ping",                Ping,         R::Other,         NONE,                 Fixed(1),    One,             &EMPTY),
    ("/fapi/v1/time",                Time,         R::Other,         NONE,                 Fixed(1),    One,             &TIME),
    ("/fapi/v1/exchangeInfo",        ExchangeInfo, R::ExchangeInfo,  NONE,                 Fixed(1),    One,             &INFO),
    ("/fapi/v1/depth",               Depth,        R::Depth,         T,                    DEPTH,       One,             &FUTURES_BOOK),
    ("/fapi/v1/rpiDepth",            Depth,        R::Depth,         Some((1_000, 1_000)), Fixed(20),   One,             &FUTURES_BOOK),
    ("/fapi/v1/trades",              Query,        R::Trades,        T,                    Fixed(5),    Array,           &TRADE),
    ("/fapi/v1/aggTrades",           Page,         R::AggTrades,     T,                    Fixed(20),   Array,           &AGG_TRADE),
    ("/fapi/v1/klines",              Klines,       R::Klines,        K,                    KLINES,      Array,           &CANDLE),
    ("/fapi/v1/continuousKlines",    Klines,       R::Klines,        K,                    KLINES,      Array,           &CANDLE),
    ("/fapi/v1/indexPriceKlines",    Klines,       R::Klines,        K,                    KLINES,      Array,           &DERIVED_CANDLE),
    ("/fapi/v1/markPriceKlines",     Klines,       R::Klines,        K,                    KLINES,      Array,           &DERIVED_CANDLE),
    ("/fapi/v1/premiumIndexKlines",  Klines,       R::Klines,        K,                    KLINES,      Array,           &DERIVED_CANDLE),
    ("/fapi/v1/premiumIndex",        Ticker,       R::PremiumIndex,  NONE,                 PREMIUM,     ObjectForSymbol, &PREMIUM_ROW),
    ("/fapi/v1/fundingRate",         Page,         R::FundingRate,   F,                    Fixed(0),    Array,           &FUNDING_RATE),
    ("/fapi/v1/fundingInfo",         Query,        R::FundingInfo,   NONE,                 Fixed(0),    Array,           &FUNDING_INFO),
    ("/fapi/v1/openInterest",        Query,        R::OpenInterest,  NONE,                 Fixed(1),    One,             &OPEN_INTEREST),
    ("/fapi/v1/ticker/24hr",         Ticker,       R::Ticker24hr,    NONE,                 DAY,         ObjectForSymbol, &WINDOW),
    ("/fapi/v1/ticker/price",        Ticker,       R::TickerPrice,   NONE,                 PRICES,      ObjectForSymbol, &PRICE),
    ("/fapi/v2/ticker/price",        Ticker,       R::TickerPrice,   NONE,                 PRICES,      ObjectForSymbol, &PRICE),
    ("/fapi/v1/ticker/bookTicker",   Ticker,       R::BookTicker,    NONE,                 BOOK_TICKER, ObjectForSymbol, &QUOTES),
    ("/fapi/v1/constituents",        Query,        R::PremiumIndex,  NONE,                 Fixed(2),    One,             &CONSTITUENTS),
    ("/fapi/v1/indexInfo",           Query,        R::Other,         NONE,                 Fixed(1),    Any,             &INDEX),
    ("/fapi/v1/assetIndex",          Query,        R::PremiumIndex,  NONE,                 PREMIUM,     ObjectForSymbol, &ASSET_INDEX),
    ("/fapi/v1/insuranceBalance",    Query,        R::Other,         NONE,                 INSURANCES,  ObjectForSymbol, &INSURANCE),
    ("/fapi/v1/symbolAdlRisk",       Query,        R::Other,         NONE,                 Fixed(1),    ObjectForSymbol, &ADL_RISK),
    ("/fapi/v1/tradingSchedule",     Query,        R::Other,         NONE,                 Fixed(5),    One,             &SCHEDULE),
    ("/futures/data/openInterestHist",            Period, R::FuturesData, P,               Fixed(0),    Array,           &OPEN_INTEREST_HISTORY),
    ("/futures/data/topLongShortAccountRatio",    Period, R::FuturesData, P,               Fixed(0),    Array,           &LONG_SHORT),
    ("/futures/data/topLongShortPositionRatio",   Period, R::FuturesData, P,               Fixed(0),    Array,           &LONG_SHORT),
    ("/futures/data/globalLongShortAccountRatio", Period, R::FuturesData, P,               Fixed(0),    Array,           &LONG_SHORT),
    ("/futures/data/takerlongshortRatio",         Period, R::FuturesData, P,               Fixed(0),    Array,           &TAKERS),
    ("/futures/data/basis",                       Period, R::FuturesData, P,               Fixed(0),    Array,           &BASIS),
    ("/futures/data/delivery-price",              Query,  R::FuturesData, NONE,            Fixed(0),    Array,           &DELIVERY_PRICE),
];
