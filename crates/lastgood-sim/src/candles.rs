//! Candles: gaps, off-grid opens and early closes included, the last one forming.

use std::fmt::Write as _;

use crate::interval::Interval;
use crate::price::{STEP, exact_price, quantity, reach, text, to_tick};
use crate::random::{fraction, mix, one_in};
use crate::symbols::Symbol;

/// The number of places at which a candle's extremes are looked for.
const QUARTERS: u64 = 4;

/// What series of a symbol is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// What was traded.
    Trades,
    /// Index, mark and such: no volumes, a slightly different level.
    Derived(u64),
    /// The premium of the future over its index: a small ratio of either sign.
    Premium,
}

/// A question for candles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) interval: Interval,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) limit: usize,
    /// The zone in which days begin, in ms east of UTC.
    pub(crate) zone: i64,
    /// Whether both bounds mean the newest before the end, as on COIN-M, and not the oldest from the start.
    pub(crate) from_end: bool,
    pub(crate) micros: bool,
    pub(crate) series: Series,
    /// The candle that is still forming is missing: a stale tail.
    pub(crate) tail_missing: bool,
    /// Closed candles have other values than before: a late revision.
    pub(crate) revised: bool,
}

/// The rows, as the exchange writes them.
pub(crate) fn klines(symbol: &Symbol, wanted: &Wanted, now: u64) -> String {
    let rows = match (wanted.start, wanted.end) {
        (None, None) => backwards(symbol, wanted, now, 0, now),
        (Some(start), None) => forwards(symbol, wanted, now, start, now),
        (None, Some(end)) => backwards(symbol, wanted, now, 0, end.min(now)),
        (Some(start), Some(end)) if wanted.from_end => backwards(symbol, wanted, now, start, end.min(now)),
        (Some(start), Some(end)) => forwards(symbol, wanted, now, start, end.min(now)),
    };
    let mut out = String::with_capacity(rows.len() * 170 + 2);
    out.push('[');
    for (position, begin) in rows.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_row(&mut out, &row(symbol, wanted, begin, now));
    }
    out.push(']');
    out
}

/// The begins of up to `limit` candles from `start` on that open by `end`.
fn forwards(symbol: &Symbol, wanted: &Wanted, now: u64, start: u64, end: u64) -> Vec<u64> {
    let mut begin = wanted.interval.begin(start.max(symbol.listed_at), wanted.zone);
    let mut begins = Vec::new();
    while begin <= end && begins.len() < wanted.limit {
        let opens = opens_at(symbol, wanted, begin);
        if opens >= start && opens <= end && exists(symbol, wanted, begin, now) {
            begins.push(begin);
        }
        begin = wanted.interval.next(begin, wanted.zone);
    }
    begins
}

/// The begins of up to `limit` candles that open by `end`, the newest, not before `start`.
fn backwards(symbol: &Symbol, wanted: &Wanted, now: u64, start: u64, end: u64) -> Vec<u64> {
    let mut begin = Some(wanted.interval.begin(end, wanted.zone));
    let mut begins = Vec::new();
    while let Some(at) = begin.filter(|begin| begins.len() < wanted.limit && *begin + wanted.interval.length() > start)
    {
        let opens = opens_at(symbol, wanted, at);
        if opens <= end && opens >= start && exists(symbol, wanted, at, now) {
            begins.push(at);
        }
        if at < symbol.listed_at {
            break;
        }
        begin = wanted.interval.previous(at, wanted.zone);
    }
    begins.reverse();
    begins
}

/// Only candles shorter than a day are missing or irregular.
fn is_short(wanted: &Wanted) -> bool {
    wanted.interval.length() < 86_400_000
}

fn exists(symbol: &Symbol, wanted: &Wanted, begin: u64, now: u64) -> bool {
    let length = wanted.interval.length();
    let number = begin / length;
    // In some blocks of fifty, ten in a row are missing.
    let gap = symbol.has_gaps
        && is_short(wanted)
        && one_in(4, symbol.salt, 300, number / 50)
        && (20..30).contains(&(number % 50));
    let listed = wanted.interval.next(begin, wanted.zone) > symbol.listed_at;
    let late = wanted.tail_missing && wanted.interval.next(begin, wanted.zone) > now;
    listed && !gap && !late && opens_at(symbol, wanted, begin) <= now
}

fn opens_at(symbol: &Symbol, wanted: &Wanted, begin: u64) -> u64 {
    let is_off_grid = symbol.off_grid && is_short(wanted) && wanted.interval.length() >= 60_000;
    if is_off_grid && one_in(97, symbol.salt, 400, begin) { begin + 7_000 } else { begin }
}

fn closes_at(symbol: &Symbol, wanted: &Wanted, begin: u64) -> u64 {
    let close = wanted.interval.next(begin, wanted.zone) - 1;
    let early = symbol.off_grid && is_short(wanted) && wanted.interval.length() >= 60_000;
    if early && one_in(89, symbol.salt, 500, begin) { close - 5_000 } else { close }
}

/// A candle as it stands, its numbers as they are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) open: String,
    pub(crate) high: String,
    pub(crate) low: String,
    pub(crate) close: String,
    pub(crate) volume: String,
    pub(crate) quote_volume: String,
    pub(crate) trades: u64,
    pub(crate) bought: String,
    pub(crate) quote_bought: String,
}

/// The candle that begins at `begin`, if there is one.
pub(crate) fn candle(symbol: &Symbol, wanted: &Wanted, begin: u64, now: u64) -> Option<Row> {
    exists(symbol, wanted, begin, now).then(|| row(symbol, wanted, begin, now))
}

fn row(symbol: &Symbol, wanted: &Wanted, begin: u64, now: u64) -> Row {
    let next = wanted.interval.next(begin, wanted.zone);
    let length = next - begin;
    // A forming candle moves every quarter second.
    let until = next.min(now / 250 * 250).max(begin + 1);
    let done = (until - begin) as f64 / length as f64;
    let salt = match wanted.series {
        Series::Trades => symbol.salt,
        Series::Derived(kind) => mix(symbol.salt, 600, kind),
        Series::Premium => mix(symbol.salt, 600, 3),
    };
    let shift = if wanted.series == Series::Trades { 1.0 } else { 1.0 + (fraction(salt, 1, 1) - 0.5) * 0.001 };
    let is_revised = wanted.revised && next <= now;
    let revision = if is_revised { 1.000_1 } else { 1.0 };
    let at = |time: u64| exact_price(symbol, time) * shift * revision;
    let (open, close) = (to_tick(symbol, at(begin)), to_tick(symbol, at(until / STEP * STEP)));
    // As long as it forms, a high never falls and a low never rises: each is a bound of all prices so far.
    let (mut high, mut low) = (f64::MIN, f64::MAX);
    for quarter in (0..QUARTERS).map(|quarter| begin + length * quarter / QUARTERS).filter(|quarter| *quarter < until) {
        let seen = at(quarter / STEP * STEP);
        (high, low) = (high.max(seen), low.min(seen));
    }
    let reach = reach(length / QUARTERS + STEP);
    let (high, low) = (to_tick(symbol, high * reach), to_tick(symbol, low / reach));
    let trades = (1.0 + fraction(salt, 900, begin) * length as f64 / 400.0 * done) as u64 + u64::from(is_revised);
    let volume = trades as f64 * (0.1 + fraction(salt, 1_000, begin)) * 100.0 / symbol.level.max(0.01);
    let unit = if wanted.micros { 1_000 } else { 1 };
    let (opened, closed) = (opens_at(symbol, wanted, begin) * unit, closes_at(symbol, wanted, begin) * unit + unit - 1);
    let money = |amount: f64| match wanted.series {
        Series::Premium => format!("{:.8}", (amount / symbol.level - 1.0) * 0.001),
        _ => text(symbol, amount),
    };
    let (volume, trades) = match wanted.series {
        Series::Trades => (volume, trades),
        Series::Derived(_) | Series::Premium => (0.0, trades),
    };
    let amount = |amount: f64| match wanted.series {
        Series::Trades => quantity(symbol, amount),
        Series::Derived(_) | Series::Premium => "0".to_owned(),
    };
    let bought = volume * 0.52;
    Row {
        opened,
        closed,
        open: money(open),
        high: money(high),
        low: money(low),
        close: money(close),
        volume: amount(volume),
        quote_volume: amount(volume * open),
        trades,
        bought: amount(bought),
        quote_bought: amount(bought * open),
    }
}

fn write_row(out: &mut String, row: &Row) {
    // Writing into a String cannot fail.
    let _ = write!(
        out,
        r#"[{},"{}","{}","{}","{}","{}",{},"{}",{},"{}","{}","0"]"#,
        row.opened,
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.closed,
        row.quote_volume,
        row.trades,
        row.bought,
        row.quote_bought,
    );
}
