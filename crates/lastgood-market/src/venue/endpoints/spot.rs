//! The lines of spot.

use super::rows::{AGG_TRADE, BOOK, CANDLE, EMPTY, TIME, TRADE, WINDOW};
use super::{Line, NONE, T};
use crate::region::RegionName as R;
use crate::venue::Kind::{
    self, Decimal, Integer, List, Listing, Nullable, Object, OwnSymbol, Symbol, Text, UnlessMini,
};
use crate::venue::Recipe::{Depth, ExchangeInfo, Klines, Page, Ping, Query, Ticker, Time};
use crate::venue::Shape::{Array, Object as One, ObjectForSymbol};
use crate::venue::Weight::{self, Each, Fixed, Limit, Symbols};

const DEPTH: Weight = Limit(&[(100, 5), (500, 25), (1_000, 50), (5_000, 250)]);
const DAY: Weight = Symbols { one: 2, few: 2, many: 40, all: 80 };
const TICKER: Weight = Symbols { one: 2, few: 4, many: 4, all: 4 };
const WINDOWS: Weight = Each { each: 4, cap: 200 };
const RULES: Weight = Symbols { one: 2, few: 40, many: 40, all: 40 };

const INFO: Kind = Object(&[
    ("serverTime", Integer),
    ("rateLimits", List(&EMPTY)),
    (
        "symbols",
        Listing(&Object(&[("symbol", OwnSymbol), ("status", Text), ("baseAsset", Text), ("quoteAsset", Text)])),
    ),
]);

const AVERAGE: Kind = Object(&[("mins", Integer), ("price", Decimal)]);

const DAY_ROW: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("priceChange", UnlessMini(&Decimal)),
    ("priceChangePercent", UnlessMini(&Decimal)),
    ("weightedAvgPrice", UnlessMini(&Decimal)),
    ("bidPrice", UnlessMini(&Decimal)),
    ("askPrice", UnlessMini(&Decimal)),
    ("openPrice", Decimal),
    ("highPrice", Decimal),
    ("lowPrice", Decimal),
    ("lastPrice", Decimal),
    ("volume", Decimal),
    ("quoteVolume", Decimal),
    ("openTime", Integer),
    ("closeTime", Integer),
    ("count", Integer),
]);

const PRICE: Kind = Object(&[("symbol", OwnSymbol), ("price", Decimal)]);

const QUOTES: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("bidPrice", Decimal),
    ("bidQty", Decimal),
    ("askPrice", Decimal),
    ("askQty", Decimal),
]);

const EXECUTION_RULES: Kind = Object(&[(
    "symbolRules",
    List(&Object(&[("symbol", OwnSymbol), ("rules", List(&Object(&[("ruleType", Text)])))])),
)]);

/// A symbol may have no reference price.
const REFERENCE: Kind = Object(&[("symbol", Symbol), ("referencePrice", Nullable(&Decimal)), ("timestamp", Integer)]);

const CALCULATION: Kind = Object(&[("symbol", Symbol), ("calculationType", Text)]);

const STATUS: Kind = Object(&[("status", Integer), ("msg", Text)]);

#[rustfmt::skip]
pub(super) const LINES: &[Line] = &[
    // path                               recipe        region            limit               weight    shape            content
    ("/api/v3/ping",                      Ping,         R::Other,         NONE,               Fixed(1),  One,             &EMPTY),
    ("/api/v3/time",                      Time,         R::Other,         NONE,               Fixed(1),  One,             &TIME),
    ("/api/v3/exchangeInfo",              ExchangeInfo, R::ExchangeInfo,  NONE,               Fixed(20), One,             &INFO),
    ("/api/v3/executionRules",            Query,        R::Other,         NONE,               RULES,     One,             &EXECUTION_RULES),
    ("/api/v3/depth",                     Depth,        R::Depth,         Some((100, 5_000)), DEPTH,     One,             &BOOK),
    ("/api/v3/trades",                    Query,        R::Trades,        T,                  Fixed(25), Array,           &TRADE),
    ("/api/v3/historicalTrades",          Page,         R::Trades,        T,                  Fixed(25), Array,           &TRADE),
    ("/api/v3/historicalBlockTrades",     Page,         R::Trades,        T,                  Fixed(25), Array,           &TRADE),
    ("/api/v3/aggTrades",                 Page,         R::AggTrades,     T,                  Fixed(4),  Array,           &AGG_TRADE),
    ("/api/v3/klines",                    Klines,       R::Klines,        T,                  Fixed(2),  Array,           &CANDLE),
    ("/api/v3/uiKlines",                  Klines,       R::Klines,        T,                  Fixed(2),  Array,           &CANDLE),
    ("/api/v3/avgPrice",                  Query,        R::AvgPrice,      NONE,               Fixed(2),  One,             &AVERAGE),
    ("/api/v3/referencePrice",            Query,        R::AvgPrice,      NONE,               Fixed(2),  One,             &REFERENCE),
    ("/api/v3/referencePrice/calculation", Query,       R::Other,         NONE,               Fixed(2),  One,             &CALCULATION),
    ("/api/v3/ticker/24hr",               Ticker,       R::Ticker24hr,    NONE,               DAY,       ObjectForSymbol, &DAY_ROW),
    ("/api/v3/ticker/price",              Ticker,       R::TickerPrice,   NONE,               TICKER,    ObjectForSymbol, &PRICE),
    ("/api/v3/ticker/bookTicker",         Ticker,       R::BookTicker,    NONE,               TICKER,    ObjectForSymbol, &QUOTES),
    ("/api/v3/ticker/tradingDay",         Query,        R::TickerWindow,  NONE,               WINDOWS,   ObjectForSymbol, &WINDOW),
    ("/api/v3/ticker",                    Query,        R::TickerWindow,  NONE,               WINDOWS,   ObjectForSymbol, &WINDOW),
    ("/sapi/v1/system/status",            Query,        R::SystemStatus,  NONE,               Fixed(1),  One,             &STATUS),
];
