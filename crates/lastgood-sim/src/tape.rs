//! Trades. Their numbers follow from the time, so that any page can be asked for.

use std::fmt::Write as _;

use crate::Venue;
use crate::price::{price, quantity, text};
use crate::random::{fraction, one_in};
use crate::rows::array;
use crate::symbols::Symbol;

/// A trade happens this often, in ms.
const EVERY: u64 = 200;
/// So many trades are one in aggTrades, at the time of the last of them.
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

/// The page's trades: from a number on, or the newest.
pub(crate) fn trades(symbol: &Symbol, page: &Page, now: u64) -> String {
    if now < symbol.listed_at {
        return "[]".to_owned();
    }
    let last = trade_id(symbol, now);
    let from = page.from.unwrap_or((last + 1).saturating_sub(page.limit as u64));
    array((from..=last).take(page.limit), |out, id| {
        let time = trade_time(symbol, id);
        let (cost, amount) = (price(symbol, time), fraction(symbol.salt, 21, id) + 0.01);
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            r#"{{"id":{id},"price":"{}","qty":"{}","quoteQty":"{}","time":{},"isBuyerMaker":{}"#,
            text(symbol, cost),
            quantity(symbol, amount),
            quantity(symbol, amount * cost),
            page.stamp(time),
            one_in(2, symbol.salt, 22, id),
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
    let earliest = trade_time(symbol, AGGREGATED - 1);
    let every = AGGREGATED * EVERY;
    let Some(since) = page.end.map_or(now, |end| end.min(now)).checked_sub(earliest) else {
        return "[]".to_owned();
    };
    let last = since / every;
    let first = match (page.from, page.start) {
        (Some(id), _) => id,
        (None, Some(start)) => start.saturating_sub(earliest).div_ceil(every),
        (None, None) => (last + 1).saturating_sub(page.limit as u64),
    };
    array((first..=last).take(page.limit), |out, id| {
        let (first, last) = (id * AGGREGATED, id * AGGREGATED + AGGREGATED - 1);
        let time = trade_time(symbol, last);
        let _ = write!(
            out,
            r#"{{"a":{id},"p":"{}","q":"{}","f":{first},"l":{last},"T":{},"m":{}"#,
            text(symbol, price(symbol, time)),
            quantity(symbol, fraction(symbol.salt, 23, id) + 0.01),
            page.stamp(time),
            one_in(2, symbol.salt, 24, id),
        );
        out.push_str(if symbol.venue == Venue::Spot { r#","M":true}"# } else { "}" });
    })
}
