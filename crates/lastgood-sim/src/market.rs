//! Tickers at a moment.

use crate::Venue;
use crate::book::{Book, Side};
use crate::price::{STEP, price, quantity, text};
use crate::random::fraction;
use crate::symbols::Symbol;
use crate::tape::trade_id;

/// Prices stand for a step, so that all that is asked within it agrees.
pub(crate) fn step(now: u64) -> u64 {
    now / STEP * STEP
}

pub(crate) fn ticker_price(symbol: &Symbol, now: u64) -> String {
    let at = step(now);
    let price = text(symbol, price(symbol, at));
    match symbol.venue {
        Venue::Spot => format!(r#"{{"symbol":"{}","price":"{price}"}}"#, symbol.name),
        Venue::UsdM => format!(r#"{{"symbol":"{}","price":"{price}","time":{at}}}"#, symbol.name),
        Venue::CoinM => {
            format!(r#"{{"symbol":"{}","ps":"{}","price":"{price}","time":{at}}}"#, symbol.name, symbol.pair)
        }
    }
}

/// The best offers, as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Quotes {
    /// The update of the book that they are of.
    pub(crate) update_id: u64,
    pub(crate) bid: String,
    pub(crate) bid_quantity: String,
    pub(crate) ask: String,
    pub(crate) ask_quantity: String,
}

/// The best offers in the step that begins at `at`.
pub(crate) fn quotes(symbol: &Symbol, at: u64) -> Quotes {
    let book = Book::at(symbol, at);
    let ((bid, bid_quantity), (ask, ask_quantity)) = (book.best(Side::Bids), book.best(Side::Asks));
    Quotes { update_id: book.id(), bid, bid_quantity, ask, ask_quantity }
}

impl Quotes {
    fn fields(&self) -> String {
        let Quotes { bid, bid_quantity, ask, ask_quantity, .. } = self;
        format!(r#""bidPrice":"{bid}","bidQty":"{bid_quantity}","askPrice":"{ask}","askQty":"{ask_quantity}""#)
    }
}

pub(crate) fn book_ticker(symbol: &Symbol, now: u64) -> String {
    let at = step(now);
    let quotes = quotes(symbol, at);
    let (core, id) = (quotes.fields(), quotes.update_id);
    match symbol.venue {
        Venue::Spot => format!(r#"{{"symbol":"{}",{core}}}"#, symbol.name),
        Venue::UsdM => format!(r#"{{"symbol":"{}",{core},"time":{at},"lastUpdateId":{id}}}"#, symbol.name),
        Venue::CoinM => {
            format!(r#"{{"lastUpdateId":{id},"symbol":"{}","pair":"{}",{core},"time":{at}}}"#, symbol.name, symbol.pair)
        }
    }
}

/// How much statistics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All statistics of the last day.
    Day,
    /// The statistics of other windows: no quotes, no trade before it.
    Window,
    Mini,
}

/// What happened in a window of time, its numbers as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) open: String,
    pub(crate) high: String,
    pub(crate) low: String,
    pub(crate) last: String,
    pub(crate) last_quantity: String,
    /// What the last trade before the window cost.
    pub(crate) before: String,
    pub(crate) change: String,
    pub(crate) change_percent: String,
    pub(crate) average: String,
    pub(crate) volume: String,
    pub(crate) quote_volume: String,
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
}

impl Statistics {
    pub(crate) fn count(&self) -> u64 {
        self.last_id - self.first_id + 1
    }
}

/// The statistics of the time from `begin` to now.
pub(crate) fn statistics(symbol: &Symbol, begin: u64, now: u64) -> Statistics {
    let at = step(now);
    let length = at.saturating_sub(begin);
    // A few looks at the window have to do for its extremes.
    let probes: [f64; 5] = std::array::from_fn(|probe| price(symbol, begin + length * probe as u64 / 4));
    let (open, last) = (probes[0], probes[4]);
    let (high, low) = probes.iter().fold((open, open), |(high, low), probe| (high.max(*probe), low.min(*probe)));
    let average = (open + last + high + low) / 4.0;
    let volume =
        (fraction(symbol.salt, 40, at / 60_000) + 0.5) * length as f64 / 1_000.0 / symbol.level.max(0.01) * 90.0;
    let money = |amount| text(symbol, amount);
    let amount = |of| quantity(symbol, of);
    Statistics {
        begin,
        end: at,
        open: money(open),
        high: money(high),
        low: money(low),
        last: money(last),
        last_quantity: amount(fraction(symbol.salt, 3, at)),
        before: money(price(symbol, begin.saturating_sub(STEP))),
        change: money(last - open),
        change_percent: format!("{:.3}", (last / open - 1.0) * 100.0),
        average: money(average),
        volume: amount(volume),
        quote_volume: amount(volume * average),
        first_id: trade_id(symbol, begin),
        last_id: trade_id(symbol, at),
    }
}

/// The statistics of the time from `begin` to now, as an answer.
pub(crate) fn window(symbol: &Symbol, begin: u64, form: Form, micros: bool, now: u64) -> String {
    let of = statistics(symbol, begin, now);
    let unit = if micros { 1_000 } else { 1 };
    let tail = format!(
        r#""openTime":{},"closeTime":{},"firstId":{},"lastId":{},"count":{}"#,
        of.begin * unit,
        of.end * unit,
        of.first_id,
        of.last_id,
        of.count()
    );
    let levels = format!(r#""openPrice":"{}","highPrice":"{}","lowPrice":"{}","#, of.open, of.high, of.low);
    let flow = format!(r#""volume":"{}","quoteVolume":"{}","#, of.volume, of.quote_volume);
    let (name, last) = (&symbol.name, &of.last);
    if form == Form::Mini {
        return format!(r#"{{"symbol":"{name}",{levels}"lastPrice":"{last}",{flow}{tail}}}"#);
    }
    let change = format!(
        r#""priceChange":"{}","priceChangePercent":"{}","weightedAvgPrice":"{}","#,
        of.change, of.change_percent, of.average
    );
    if form == Form::Window {
        return format!(r#"{{"symbol":"{name}",{change}{levels}"lastPrice":"{last}",{flow}{tail}}}"#);
    }
    let closing = format!(r#""lastPrice":"{last}","lastQty":"{}","#, of.last_quantity);
    match symbol.venue {
        Venue::Spot => format!(
            r#"{{"symbol":"{name}",{change}"prevClosePrice":"{}",{closing}{},{levels}{flow}{tail}}}"#,
            of.before,
            quotes(symbol, of.end).fields()
        ),
        // USD-M statistics have no bid and ask.
        Venue::UsdM => format!(r#"{{"symbol":"{name}",{change}{closing}{levels}{flow}{tail}}}"#),
        Venue::CoinM => {
            format!(
                r#"{{"symbol":"{name}","pair":"{}",{change}{closing}{levels}{}{tail}}}"#,
                symbol.pair,
                flow.replace("quoteVolume", "baseVolume")
            )
        }
    }
}

pub(crate) fn avg_price(symbol: &Symbol, micros: bool, now: u64) -> String {
    let at = step(now);
    let closed = if micros { at * 1_000 } else { at };
    format!(r#"{{"mins":5,"price":"{}","closeTime":{closed}}}"#, text(symbol, price(symbol, at)))
}
