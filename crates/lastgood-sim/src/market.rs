//! Tickers, books and trades at a moment.

use std::fmt::Write as _;

use serde_json::json;

use crate::Venue;
use crate::price::{STEP, price, quantity, text, to_tick};
use crate::random::{fraction, mix};
use crate::symbols::Symbol;

const DAY: u64 = 86_400_000;
/// A trade happens this often.
const TRADE_EVERY: u64 = 200;

/// Prices stand for a step, so that all that is asked within it agrees.
fn step(now: u64) -> u64 {
    now / STEP * STEP
}

pub(crate) fn ticker_price(symbol: &Symbol, version: u8, now: u64) -> String {
    let at = step(now);
    let price = text(symbol, price(symbol, at));
    match (symbol.venue, version) {
        (Venue::Spot, _) => format!(r#"{{"symbol":"{}","price":"{price}"}}"#, symbol.name),
        (Venue::Futures, _) => format!(r#"{{"symbol":"{}","price":"{price}","time":{at}}}"#, symbol.name),
        (Venue::Coin, _) => {
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
    let last = price(symbol, at);
    let tick = 10f64.powi(-(symbol.decimals as i32));
    (to_tick(symbol, last - tick), to_tick(symbol, last + tick))
}

/// The statistics of a window that ends now.
pub(crate) fn window(symbol: &Symbol, length: u64, mini: bool, micros: bool, now: u64) -> String {
    let at = step(now);
    let begin = at.saturating_sub(length);
    let probes = (0..=8).map(|probe| price(symbol, begin + length * probe / 8));
    let (mut high, mut low) = (f64::MIN, f64::MAX);
    for probe in probes {
        (high, low) = (high.max(probe), low.min(probe));
    }
    let (open, last) = (price(symbol, begin), price(symbol, at));
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
    if mini {
        return format!(r#"{{"symbol":"{name}",{levels}"lastPrice":"{}",{flow}{tail}}}"#, money(last));
    }
    let change = format!(
        r#""priceChange":"{}","priceChangePercent":"{:.3}","weightedAvgPrice":"{}","#,
        money(last - open),
        (last / open - 1.0) * 100.0,
        money(average)
    );
    let (bid, ask) = best(symbol, at);
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

pub(crate) fn ticker_24hr(symbol: &Symbol, mini: bool, micros: bool, now: u64) -> String {
    window(symbol, DAY, mini, micros, now)
}

/// An order book of `levels` a side.
pub(crate) fn depth(symbol: &Symbol, levels: usize, now: u64) -> String {
    let at = now / 250 * 250;
    let (bid, ask) = best(symbol, step(now));
    let tick = 10f64.powi(-(symbol.decimals as i32));
    let side = |best: f64, direction: f64, salt: u64| {
        let mut rows = String::with_capacity(levels * 40);
        for level in 0..levels {
            let price = to_tick(symbol, best + direction * tick * level as f64);
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

/// The number of the last trade at a time.
pub(crate) fn trade_id(symbol: &Symbol, at: u64) -> u64 {
    at.saturating_sub(symbol.listed_at) / TRADE_EVERY
}

fn trade_time(symbol: &Symbol, id: u64) -> u64 {
    symbol.listed_at + id * TRADE_EVERY
}

/// `limit` trades from number `from` on, or the newest.
pub(crate) fn trades(symbol: &Symbol, from: Option<u64>, limit: usize, micros: bool, now: u64) -> String {
    let last = trade_id(symbol, now);
    let from = from.unwrap_or((last + 1).saturating_sub(limit as u64));
    let rows = (from..=last).take(limit).map(|id| {
        let time = trade_time(symbol, id);
        let (cost, amount) = (price(symbol, time), fraction(symbol.salt, 21, id) + 0.01);
        let time = if micros { time * 1_000 } else { time };
        let core = format!(
            r#""id":{id},"price":"{}","qty":"{}","quoteQty":"{}","time":{time},"isBuyerMaker":{}"#,
            text(symbol, cost),
            quantity(symbol, amount),
            quantity(symbol, amount * cost),
            mix(symbol.salt, 22, id) % 2 == 0
        );
        match symbol.venue {
            Venue::Spot => format!(r#"{{{core},"isBestMatch":true}}"#),
            _ => format!("{{{core}}}"),
        }
    });
    array(rows)
}

/// Trades in threes: `from` a number, within `start` and `end`, or the newest.
pub(crate) fn agg_trades(
    symbol: &Symbol,
    from: Option<u64>,
    bounds: (Option<u64>, Option<u64>),
    limit: usize,
    micros: bool,
    now: u64,
) -> String {
    let newest = trade_id(symbol, now) / 3;
    let by_time = |at: u64| trade_id(symbol, at) / 3;
    let last = bounds.1.map_or(newest, |end| by_time(end).min(newest));
    let first = match (from, bounds.0) {
        (Some(id), _) => id,
        (None, Some(start)) => by_time(start.max(symbol.listed_at) + TRADE_EVERY * 3 - 1),
        (None, None) => (last + 1).saturating_sub(limit as u64),
    };
    let rows = (first..=last).take(limit).map(|id| {
        let time = trade_time(symbol, id * 3);
        let cost = text(symbol, price(symbol, time));
        let amount = quantity(symbol, fraction(symbol.salt, 23, id) + 0.01);
        let time = if micros { time * 1_000 } else { time };
        let core = format!(
            r#""a":{id},"p":"{cost}","q":"{amount}","f":{},"l":{},"T":{time},"m":{}"#,
            id * 3,
            id * 3 + 2,
            mix(symbol.salt, 24, id) % 2 == 0
        );
        match symbol.venue {
            Venue::Spot => format!(r#"{{{core},"M":true}}"#),
            _ => format!("{{{core}}}"),
        }
    });
    array(rows)
}

pub(crate) fn avg_price(symbol: &Symbol, now: u64) -> String {
    format!(r#"{{"mins":5,"price":"{}","closeTime":{}}}"#, text(symbol, price(symbol, step(now))), step(now))
}

/// Eight hours, between two settlements of funding.
const FUNDING: u64 = 8 * 3_600_000;

fn funding_rate(symbol: &Symbol, number: u64) -> String {
    format!("{:.8}", (fraction(symbol.salt, 31, number) - 0.45) * 0.000_4)
}

pub(crate) fn premium_index(symbol: &Symbol, now: u64) -> String {
    let at = step(now);
    let mark = price(symbol, at);
    let next = (at / FUNDING + 1) * FUNDING;
    let pair = if symbol.venue == Venue::Coin { format!(r#""pair":"{}","#, symbol.pair) } else { String::new() };
    format!(
        r#"{{"symbol":"{}",{pair}"markPrice":"{mark:.8}","indexPrice":"{:.8}","estimatedSettlePrice":"{:.8}","lastFundingRate":"{}","interestRate":"0.00010000","nextFundingTime":{next},"time":{at}}}"#,
        symbol.name,
        mark * 0.999_9,
        mark * 1.000_1,
        funding_rate(symbol, at / FUNDING),
    )
}

pub(crate) fn funding_history(
    symbols: &[&Symbol],
    start: Option<u64>,
    end: Option<u64>,
    limit: usize,
    now: u64,
) -> String {
    let mut rows = Vec::new();
    for symbol in symbols {
        let last = end.unwrap_or(now).min(now) / FUNDING;
        let first = match start {
            Some(start) => start.max(symbol.listed_at).div_ceil(FUNDING),
            None => (last + 1).saturating_sub(limit as u64),
        };
        rows.extend((first..=last).take(limit).map(|number| {
            let at = number * FUNDING;
            format!(
                r#"{{"symbol":"{}","fundingTime":{at},"fundingRate":"{}","markPrice":"{:.8}"}}"#,
                symbol.name,
                funding_rate(symbol, number),
                price(symbol, at)
            )
        }));
    }
    array(rows.into_iter().take(limit))
}

pub(crate) fn funding_info(symbol: &Symbol) -> String {
    format!(
        r#"{{"symbol":"{}","adjustedFundingRateCap":"0.02500000","adjustedFundingRateFloor":"-0.02500000","fundingIntervalHours":8,"disclaimer":false}}"#,
        symbol.name
    )
}

pub(crate) fn open_interest(symbol: &Symbol, now: u64) -> String {
    let at = step(now);
    let amount = (fraction(symbol.salt, 41, at / 10_000) + 1.0) * 10_000.0;
    let pair = if symbol.venue == Venue::Coin {
        format!(r#""pair":"{}","contractType":"PERPETUAL","#, symbol.pair)
    } else {
        String::new()
    };
    format!(r#"{{"openInterest":"{amount:.3}","symbol":"{}",{pair}"time":{at}}}"#, symbol.name)
}

/// One row a period of the statistics under `/futures/data`; some periods are missing, as they are.
pub(crate) fn statistics(
    kind: &str,
    symbol: &Symbol,
    period: u64,
    bounds: (Option<u64>, Option<u64>),
    limit: usize,
    now: u64,
) -> String {
    let last = bounds.1.unwrap_or(now).min(now) / period;
    let first = bounds.0.map_or((last + 1).saturating_sub(limit as u64), |start| start.div_ceil(period));
    let rows = (first..=last).filter(|number| mix(symbol.salt, 50, *number) % 29 != 0).take(limit).map(|number| {
        let at = number * period;
        let share = fraction(symbol.salt, 51, number) * 0.4 + 0.3;
        let ratio = format!("{:.4}", share / (1.0 - share));
        match kind {
            "openInterestHist" => json!({"symbol": symbol.name, "sumOpenInterest": format!("{:.8}", share * 20_000.0), "sumOpenInterestValue": format!("{:.8}", share * 20_000.0 * price(symbol, at)), "CMCCirculatingSupply": "19000000.00000000", "timestamp": at}),
            "takerlongshortRatio" => json!({"buySellRatio": ratio, "buyVol": format!("{:.4}", share * 900.0), "sellVol": format!("{:.4}", (1.0 - share) * 900.0), "timestamp": at}),
            "basis" => json!({"indexPrice": format!("{:.8}", price(symbol, at)), "contractType": "PERPETUAL", "basisRate": "0.0004", "futuresPrice": format!("{:.2}", price(symbol, at) * 1.0004), "annualizedBasisRate": "", "basis": format!("{:.8}", price(symbol, at) * 0.0004), "pair": symbol.pair, "timestamp": at}),
            _ => json!({"symbol": symbol.name, "longAccount": format!("{share:.4}"), "longShortRatio": ratio, "shortAccount": format!("{:.4}", 1.0 - share), "timestamp": at}),
        }
        .to_string()
    });
    array(rows)
}

/// Rows between brackets.
pub(crate) fn array(rows: impl Iterator<Item = String>) -> String {
    let mut out = String::from("[");
    for row in rows {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&row);
    }
    out.push(']');
    out
}
