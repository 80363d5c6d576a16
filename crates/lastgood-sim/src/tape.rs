//! Trades. Their numbers follow from the time, so that any page can be asked for.

use std::fmt::Write as _;

use crate::Venue;
use crate::price::{price, quantity, text};
use crate::random::{fraction, one_in};
use crate::rows::array;
use crate::symbols::Symbol;

/// A trade happens this often, in ms.
const EVERY: u64 = 200;
/// The number of trades that are one in aggTrades, at the time of the last of them.
const AGGREGATED: u64 = 3;

/// Which trades are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) from: Option<u64>,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) limit: usize,
    pub(crate) micros: bool,
}

impl Page {
    fn stamp(&self, time: u64) -> u64 {
        if self.micros { time * 1_000 } else { time }
    }
}

/// The number of the last trade at a time; zero before the first.
pub(crate) fn trade_id(symbol: &Symbol, at: u64) -> u64 {
    at.saturating_sub(symbol.listed_at) / EVERY
}

fn trade_time(symbol: &Symbol, id: u64) -> u64 {
    symbol.listed_at + id * EVERY
}

/// A trade, its numbers as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Trade {
    pub(crate) id: u64,
    pub(crate) time: u64,
    pub(crate) price: String,
    pub(crate) quantity: String,
    quote_quantity: String,
    pub(crate) is_buyer_maker: bool,
}

pub(crate) fn trade(symbol: &Symbol, id: u64) -> Trade {
    let time = trade_time(symbol, id);
    let (cost, amount) = (price(symbol, time), fraction(symbol.salt, 21, id) + 0.01);
    Trade {
        id,
        time,
        price: text(symbol, cost),
        quantity: quantity(symbol, amount),
        quote_quantity: quantity(symbol, amount * cost),
        is_buyer_maker: one_in(2, symbol.salt, 22, id),
    }
}

/// Trades that are one in aggTrades, its numbers as they are written.
#[derive(Clone, Debug)]
pub(crate) struct AggTrade {
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) time: u64,
    pub(crate) price: String,
    pub(crate) quantity: String,
    pub(crate) is_buyer_maker: bool,
}

pub(crate) fn agg_trade(symbol: &Symbol, id: u64) -> AggTrade {
    let (first, last) = (id * AGGREGATED, id * AGGREGATED + AGGREGATED - 1);
    let time = trade_time(symbol, last);
    AggTrade {
        id,
        first,
        last,
        time,
        price: text(symbol, price(symbol, time)),
        quantity: quantity(symbol, fraction(symbol.salt, 23, id) + 0.01),
        is_buyer_maker: one_in(2, symbol.salt, 24, id),
    }
}

/// How many trades there were up to a time: the number of the first one after it.
pub(crate) fn trades_until(symbol: &Symbol, at: u64) -> u64 {
    at.checked_sub(symbol.listed_at).map_or(0, |since| since / EVERY + 1)
}

/// The same of aggregated trades.
pub(crate) fn agg_trades_until(symbol: &Symbol, at: u64) -> u64 {
    let earliest = trade_time(symbol, AGGREGATED - 1);
    at.checked_sub(earliest).map_or(0, |since| since / (AGGREGATED * EVERY) + 1)
}

/// The page's trades: from a number on, or the newest.
pub(crate) fn trades(symbol: &Symbol, page: &Page, now: u64) -> String {
    let end = trades_until(symbol, now);
    let from = page.from.unwrap_or(end.saturating_sub(page.limit as u64));
    array((from..end).take(page.limit), |out, id| {
        let Trade { id, time, price, quantity, quote_quantity, is_buyer_maker } = trade(symbol, id);
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            r#"{{"id":{id},"price":"{price}","qty":"{quantity}","quoteQty":"{quote_quantity}","time":{},"isBuyerMaker":{is_buyer_maker}"#,
            page.stamp(time),
        );
        out.push_str(if symbol.venue == Venue::Spot { r#","isBestMatch":true}"# } else { "}" });
    })
}

/// Block trades are as far apart, in ms.
const BLOCK_EVERY: u64 = 3_600_000;

/// The page's block trades, from a number on.
pub(crate) fn block_trades(symbol: &Symbol, page: &Page, now: u64) -> String {
    let last = now.saturating_sub(symbol.listed_at) / BLOCK_EVERY;
    array((page.from.unwrap_or(0).max(1)..=last).take(page.limit), |out, id| {
        let time = symbol.listed_at + id * BLOCK_EVERY;
        let (cost, amount) = (price(symbol, time), fraction(symbol.salt, 25, id) * 900.0 + 100.0);
        let _ = write!(
            out,
            r#"{{"id":{id},"price":"{}","qty":"{}","quoteQty":"{}","time":{},"isBuyerMaker":{}}}"#,
            text(symbol, cost),
            quantity(symbol, amount),
            quantity(symbol, amount * cost),
            page.stamp(time),
            one_in(2, symbol.salt, 26, id),
        );
    })
}

/// The page's trades in threes: from a number on, within bounds of time, or the newest.
pub(crate) fn agg_trades(symbol: &Symbol, page: &Page, now: u64) -> String {
    let end = agg_trades_until(symbol, page.end.map_or(now, |end| end.min(now)));
    let first = match (page.from, page.start) {
        (Some(id), _) => id,
        (None, Some(start)) => start.saturating_sub(trade_time(symbol, AGGREGATED - 1)).div_ceil(AGGREGATED * EVERY),
        (None, None) => end.saturating_sub(page.limit as u64),
    };
    array((first..end).take(page.limit), |out, id| {
        let AggTrade { id, first, last, time, price, quantity, is_buyer_maker } = agg_trade(symbol, id);
        let _ = write!(
            out,
            r#"{{"a":{id},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{},"m":{is_buyer_maker}"#,
            page.stamp(time),
        );
        out.push_str(if symbol.venue == Venue::Spot { r#","M":true}"# } else { "}" });
    })
}
