//! What the rows of several markets have in common.

use crate::venue::Kind::{
    self, Any, Ascending, Boolean, Decimal, Integer, List, Number, Object, OwnSymbol, Rows, Stamp, Symbol, Text, Tuple,
    UnlessMini,
};

/// A price with its quantity.
const LEVEL: Kind = Tuple(&[Decimal, Decimal]);

/// A candle: opens, open, high, low, close, volume, closes, quote volume, trades, taker volumes, and one that is unused.
pub(super) const CANDLE: Kind =
    Tuple(&[Ascending, Decimal, Decimal, Decimal, Decimal, Decimal, Integer, Decimal, Integer, Decimal, Decimal, Any]);

/// A candle of something that is not traded: what would tell of trades is filled with this and that.
pub(super) const DERIVED_CANDLE: Kind =
    Tuple(&[Ascending, Decimal, Decimal, Decimal, Decimal, Any, Integer, Any, Any, Any, Any, Any]);

/// `{}`
pub(super) const EMPTY: Kind = Object(&[]);

pub(super) const TIME: Kind = Object(&[("serverTime", Integer)]);

/// A spot order book.
pub(super) const BOOK: Kind = Object(&[("lastUpdateId", Integer), ("bids", Rows(&LEVEL)), ("asks", Rows(&LEVEL))]);

/// An order book of a futures market.
pub(super) const FUTURES_BOOK: Kind = Object(&[
    ("lastUpdateId", Integer),
    ("E", Integer),
    ("T", Integer),
    ("bids", Rows(&LEVEL)),
    ("asks", Rows(&LEVEL)),
]);

pub(super) const TRADE: Kind =
    Object(&[("id", Ascending), ("price", Decimal), ("qty", Decimal), ("time", Integer), ("isBuyerMaker", Boolean)]);

pub(super) const AGG_TRADE: Kind = Object(&[
    ("a", Ascending),
    ("p", Decimal),
    ("q", Decimal),
    ("f", Integer),
    ("l", Integer),
    ("T", Integer),
    ("m", Boolean),
]);

/// Statistics of spot and USD-M, of a day or of another window.
pub(super) const WINDOW: Kind = Object(&[
    ("symbol", OwnSymbol),
    ("priceChange", UnlessMini(&Decimal)),
    ("priceChangePercent", UnlessMini(&Decimal)),
    ("weightedAvgPrice", UnlessMini(&Decimal)),
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

pub(super) const FUNDING_RATE: Kind = Object(&[("symbol", Symbol), ("fundingTime", Integer), ("fundingRate", Decimal)]);

/// Only of those that differ from the rule: there may be none.
pub(super) const FUNDING_INFO: Kind = Object(&[
    ("symbol", Symbol),
    ("adjustedFundingRateCap", Decimal),
    ("adjustedFundingRateFloor", Decimal),
    ("fundingIntervalHours", Integer),
]);

/// What an index is made of. Its symbol may be the pair of the contract that was asked for.
pub(super) const CONSTITUENTS: Kind = Object(&[
    ("symbol", Text),
    ("time", Integer),
    ("constituents", List(&Object(&[("exchange", Text), ("symbol", Text)]))),
]);

pub(super) const DELIVERY_PRICE: Kind = Object(&[("deliveryTime", Stamp), ("deliveryPrice", Number)]);
