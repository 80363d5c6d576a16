//! Tickers and books at a moment.

use std::fmt::Write as _;

use crate::Venue;
use crate::price::{STEP, price, quantity, text, to_tick};
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
        Venue::Futures => format!(r#"{{"symbol":"{}","price":"{price}","time":{at}}}"#, symbol.name),
        Venue::Coin => {
            format!(r#"{{"symbol":"{}","ps":"{}","price":"{price}","time":{at}}}"#, symbol.name, symbol.pair)
        }
    }
}

pub(crate) fn book_ticker(symbol: &Symbol, now: u64) -> String {
    let at = step(now);
    let (bid, ask) = best(symbol, at);
    let amount = |side| quantity(symbol, fraction(symbol.salt, side, at) * 10.0 + 0.1);
    let core = format!(
        r#""bidPrice":"{}","bidQty":"{}","askPrice":"{}","askQty":"{}""#,
        text(symbol, bid),
        amount(1),
        text(symbol, ask),
        amount(2)
    );
    match symbol.venue {
        Venue::Spot => format!(r#"{{"symbol":"{}",{core}}}"#, symbol.name),
        Venue::Futures => format!(r#"{{"symbol":"{}",{core},"time":{at},"lastUpdateId":{at}}}"#, symbol.name),
        Venue::Coin => {
            format!(r#"{{"lastUpdateId":{at},"symbol":"{}","pair":"{}",{core},"time":{at}}}"#, symbol.name, symbol.pair)
        }
    }
}

fn best(symbol: &Symbol, at: u64) -> (f64, f64) {
    around(symbol, price(symbol, at))
}

fn around(symbol: &Symbol, last: f64) -> (f64, f64) {
    let tick = 10f64.powi(-(symbol.decimals as i32));
    (to_tick(symbol, last - tick), to_tick(symbol, last + tick))
}

/// How much statistics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All that is told of the last day.
    Day,
    /// What is told of other windows: no quotes, no trade before it.
    Window,
    Mini,
}

/// The statistics of the time from `begin` to now.
pub(crate) fn window(symbol: &Symbol, begin: u64, form: Form, micros: bool, now: u64) -> String {
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
    let unit = if micros { 1_000 } else { 1 };
    let (first_id, last_id) = (trade_id(symbol, begin), trade_id(symbol, at));
    let tail = format!(
        r#""openTime":{},"closeTime":{},"firstId":{first_id},"lastId":{last_id},"count":{}"#,
        begin * unit,
        at * unit,
        last_id - first_id + 1
    );
    let levels = format!(r#""openPrice":"{}","highPrice":"{}","lowPrice":"{}","#, money(open), money(high), money(low));
    let flow = format!(r#""volume":"{}","quoteVolume":"{}","#, amount(volume), amount(volume * average));
    let name = &symbol.name;
    if form == Form::Mini {
        return format!(r#"{{"symbol":"{name}",{levels}"lastPrice":"{}",{flow}{tail}}}"#, money(last));
    }
    let change = format!(
        r#""priceChange":"{}","priceChangePercent":"{:.3}","weightedAvgPrice":"{}","#,
        money(last - open),
        (last / open - 1.0) * 100.0,
        money(average)
    );
    if form == Form::Window {
        return format!(r#"{{"symbol":"{name}",{change}{levels}"lastPrice":"{}",{flow}{tail}}}"#, money(last));
    }
    let (bid, ask) = around(symbol, last);
    let quotes = format!(
        r#""bidPrice":"{}","bidQty":"{}","askPrice":"{}","askQty":"{}","#,
        money(bid),
        amount(fraction(symbol.salt, 1, at) * 10.0 + 0.1),
        money(ask),
        amount(fraction(symbol.salt, 2, at) * 10.0 + 0.1)
    );
    let closing = format!(r#""lastPrice":"{}","lastQty":"{}","#, money(last), amount(fraction(symbol.salt, 3, at)));
    match symbol.venue {
        Venue::Spot => format!(
            r#"{{"symbol":"{name}",{change}"prevClosePrice":"{}",{closing}{quotes}{levels}{flow}{tail}}}"#,
            money(price(symbol, begin.saturating_sub(STEP)))
        ),
        // USD-M statistics have no bid and ask.
        Venue::Futures => format!(r#"{{"symbol":"{name}",{change}{closing}{levels}{flow}{tail}}}"#),
        Venue::Coin => {
            format!(
                r#"{{"symbol":"{name}","pair":"{}",{change}{closing}{levels}{}{tail}}}"#,
                symbol.pair,
                flow.replace("quoteVolume", "baseVolume")
            )
        }
    }
}

/// An order book of `levels` a side; bids end at the lowest price that there is.
pub(crate) fn depth(symbol: &Symbol, levels: usize, now: u64) -> String {
    let at = now / 250 * 250;
    let (bid, ask) = best(symbol, step(now));
    let tick = 10f64.powi(-(symbol.decimals as i32));
    let side = |best: f64, direction: f64, salt: u64| {
        let mut rows = String::with_capacity(levels * 40);
        for level in 0..levels {
            let price = best + direction * tick * level as f64;
            if price < tick / 2.0 {
                break;
            }
            let price = to_tick(symbol, price);
            let amount = fraction(symbol.salt ^ salt, at, level as u64) * 5.0 + 0.001;
            let comma = if level == 0 { "" } else { "," };
            let _ = write!(rows, r#"{comma}["{}","{}"]"#, text(symbol, price), quantity(symbol, amount));
        }
        rows
    };
    let (bids, asks) = (side(bid, -1.0, 11), side(ask, 1.0, 12));
    match symbol.venue {
        Venue::Spot => format!(r#"{{"lastUpdateId":{at},"bids":[{bids}],"asks":[{asks}]}}"#),
        Venue::Futures => format!(r#"{{"lastUpdateId":{at},"E":{at},"T":{at},"bids":[{bids}],"asks":[{asks}]}}"#),
        Venue::Coin => format!(
            r#"{{"lastUpdateId":{at},"symbol":"{}","pair":"{}","E":{at},"T":{at},"bids":[{bids}],"asks":[{asks}]}}"#,
            symbol.name, symbol.pair
        ),
    }
}

pub(crate) fn avg_price(symbol: &Symbol, micros: bool, now: u64) -> String {
    let at = step(now);
    let closed = if micros { at * 1_000 } else { at };
    format!(r#"{{"mins":5,"price":"{}","closeTime":{closed}}}"#, text(symbol, price(symbol, at)))
}

/// Rows between brackets.
pub(crate) fn array<T>(rows: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) -> String {
    let mut out = String::from("[");
    for row in rows {
        if out.len() > 1 {
            out.push(',');
        }
        write(&mut out, row);
    }
    out.push(']');
    out
}
