//! Tickers by parameters.

use super::Context;
use crate::Venue;
use crate::content::Content;
use crate::interval::Interval;
use crate::market::Form;
use crate::params::{ApiError, Asked, digits, illegal, invalid_symbol};
use crate::symbols::Symbol;
use crate::{funding, market};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How many symbols may be asked for at once where each has its own weight.
const MOST_WEIGHED: usize = 100;

pub(super) fn ticker(context: &Context<'_>) -> Result<Content, ApiError> {
    let form = form(context)?;
    let begin = begin(context)?;
    let row = |symbol: &Symbol| match context.name {
        "ticker/price" => market::ticker_price(symbol, context.now),
        "ticker/bookTicker" => market::book_ticker(symbol, context.now),
        "premiumIndex" => funding::premium_index(symbol, context.now),
        _ => market::window(symbol, begin, form, context.micros, context.now),
    };
    let rows = |symbols: &mut dyn Iterator<Item = &Symbol>| {
        Ok(crate::rows::array(symbols, |out, symbol| out.push_str(&row(symbol))).into())
    };
    let (params, catalogue) = (context.params, context.catalogue);
    let asked = asked(context)?;
    // Futures pass over it, as over everything that they do not know.
    let status = if context.venue == Venue::Spot { params.status()? } else { None };
    match asked {
        // COIN-M answers with an array even for one symbol.
        Asked::One(symbol) if context.venue == Venue::CoinM => rows(&mut std::iter::once(symbol)),
        Asked::One(symbol) => {
            if context.venue == Venue::Spot {
                params.require_status(symbol)?;
            }
            Ok(row(symbol).into())
        }
        Asked::Some(symbols) => {
            rows(&mut symbols.into_iter().filter(|symbol| status.is_none_or(|status| status.is_of(symbol))))
        }
        Asked::All => match status {
            Some(status) => rows(&mut catalogue.all(context.venue).iter().filter(|symbol| status.is_of(symbol))),
            None => rows(&mut catalogue.trading(context.venue)),
        },
    }
}

fn asked<'a>(context: &Context<'a>) -> Result<Asked<'a>, ApiError> {
    let (params, catalogue) = (context.params, context.catalogue);
    match (context.venue, params.get("symbol"), params.get("pair")) {
        (Venue::Spot, ..) => {}
        (Venue::CoinM, None, Some(pair)) => {
            let of_pair: Vec<_> = catalogue.trading(Venue::CoinM).filter(|symbol| symbol.pair == pair).collect();
            return if of_pair.is_empty() { Err(invalid_symbol()) } else { Ok(Asked::Some(of_pair)) };
        }
        (_, None, _) => return Ok(Asked::All),
        (venue, Some(_), _) => return params.symbol(catalogue, venue).map(Asked::One),
    }
    let asked = params.symbols(catalogue, Venue::Spot)?;
    match (&asked, context.name) {
        (Asked::All, "ticker" | "ticker/tradingDay") => Err(ApiError::new(
            400,
            -1128,
            "Combination of optional parameters invalid. Recommendation: 'symbol' or 'symbols' must be sent.",
        )),
        (Asked::Some(symbols), "ticker" | "ticker/tradingDay") if symbols.len() > MOST_WEIGHED => Err(ApiError::new(
            400,
            -1101,
            format!("Too many parameters; expected '{MOST_WEIGHED}' and received '{}'.", symbols.len()),
        )),
        _ => Ok(asked),
    }
}

fn form(context: &Context<'_>) -> Result<Form, ApiError> {
    match (context.venue, context.params.get("type")) {
        (Venue::Spot, Some("MINI")) => Ok(Form::Mini),
        (Venue::Spot, Some(other)) if other != "FULL" => Err(illegal("type", "FULL|MINI")),
        (Venue::Spot, _) if context.name != "ticker/24hr" => Ok(Form::Window),
        _ => Ok(Form::Day),
    }
}

/// When the window of a ticker begins.
fn begin(context: &Context<'_>) -> Result<u64, ApiError> {
    let length = match (context.name, context.params.get("windowSize")) {
        ("ticker/tradingDay", _) => {
            let day = Interval::Fixed { length: DAY, anchor: 0 };
            return Ok(day.begin(context.now, context.params.time_zone()?));
        }
        ("ticker", Some(size)) => window_size(size)?,
        _ => DAY,
    };
    Ok(market::step(context.now).saturating_sub(length))
}

fn window_size(size: &str) -> Result<u64, ApiError> {
    let invalid = || illegal("windowSize", "1m-59m, 1h-23h, 1d-7d");
    let (count, unit) = size.split_at_checked(size.len().saturating_sub(1)).ok_or_else(invalid)?;
    match (unit, digits(count).ok_or_else(invalid)?) {
        ("m", count @ 1..=59) => Ok(count * MINUTE),
        ("h", count @ 1..=23) => Ok(count * HOUR),
        ("d", count @ 1..=7) => Ok(count * DAY),
        _ => Err(invalid()),
    }
}
