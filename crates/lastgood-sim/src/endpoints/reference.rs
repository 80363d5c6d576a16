//! Endpoints that change seldom or describe the exchange itself: rules, indices, funds, schedules.

use serde_json::{Value, json};

use super::{Context, depth_of};
use crate::content::Content;
use crate::market::step;
use crate::params::{ApiError, Asked, find, invalid_symbol, not_valid};
use crate::price::{price, text};
use crate::random::{fraction, one_in};
use crate::symbols::{Contract, Symbol};
use crate::tape;
use crate::{Venue, rows};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// Symbols without a reference price are one in this many.
const WITHOUT_REFERENCE: u64 = 7;

pub(super) fn system_status(_: &Context<'_>) -> Result<Content, ApiError> {
    Ok(json!({"status": 0, "msg": "normal"}).to_string().into())
}

pub(super) fn execution_rules(context: &Context<'_>) -> Result<Content, ApiError> {
    let status = context.params.status()?;
    let symbols: Vec<&Symbol> = match context.params.symbols(context.catalogue, context.venue)? {
        Asked::One(symbol) => vec![symbol],
        Asked::Some(symbols) => symbols,
        Asked::All => context.catalogue.all(context.venue).iter().collect(),
    };
    let symbols = symbols.into_iter().filter(|symbol| status.is_none_or(|status| status.is_of(symbol)));
    let rule = json!({
        "ruleType": "PRICE_RANGE", "bidLimitMultUp": "1.1500", "bidLimitMultDown": "0.8500",
        "askLimitMultUp": "1.1500", "askLimitMultDown": "0.8500",
    });
    let rows: Vec<Value> = symbols.map(|symbol| json!({"symbol": symbol.name, "rules": [rule]})).collect();
    Ok(json!({ "symbolRules": rows }).to_string().into())
}

pub(super) fn reference_price(context: &Context<'_>) -> Result<Content, ApiError> {
    let symbol = context.symbol()?;
    let at = step(context.now);
    let reference = (!one_in(WITHOUT_REFERENCE, symbol.salt, 61, 0)).then(|| text(symbol, price(symbol, at)));
    let stamp = if context.micros { at * 1_000 } else { at };
    Ok(json!({"symbol": symbol.name, "referencePrice": reference, "timestamp": stamp}).to_string().into())
}

pub(super) fn reference_calculation(context: &Context<'_>) -> Result<Content, ApiError> {
    let symbol = context.symbol()?;
    if one_in(WITHOUT_REFERENCE, symbol.salt, 61, 0) {
        return Err(ApiError::new(400, -2043, "This symbol has no reference price."));
    }
    let body =
        json!({"symbol": symbol.name, "calculationType": "ARITHMETIC_MEAN", "bucketCount": 80, "bucketWidthMs": 3_750});
    Ok(body.to_string().into())
}

pub(super) fn block_trades(context: &Context<'_>) -> Result<Content, ApiError> {
    context.params.mandatory("fromId")?;
    let page = context.page(context.params.number("fromId")?, (None, None))?;
    Ok(tape::block_trades(context.symbol()?, &page, context.now).into())
}

pub(super) fn rpi_depth(context: &Context<'_>) -> Result<Content, ApiError> {
    match context.params.number("limit")? {
        None | Some(1_000) => depth_of(context, 1_000),
        Some(limit) => Err(ApiError::new(400, -4021, format!("'{limit}' is not valid depth limit."))),
    }
}

pub(super) fn constituents(context: &Context<'_>) -> Result<Content, ApiError> {
    let name = context.params.mandatory("symbol")?;
    let symbol = context.catalogue.of_pair(context.venue, name).map_or_else(|| context.symbol(), Ok)?;
    let at = step(context.now);
    let part = |exchange: &str, weight: &str| json!({"exchange": exchange, "symbol": symbol.pair, "price": format!("{:.8}", price(symbol, at)), "weight": weight});
    let body = json!({
        "symbol": symbol.pair, "time": at,
        "constituents": [part("binance", "0.50000000"), part("coinbase", "0.30000000"), part("kraken", "0.20000000")],
    });
    Ok(body.to_string().into())
}

/// The last perpetual stands for one on a composite index.
pub(super) fn index_info(context: &Context<'_>) -> Result<Content, ApiError> {
    let composite = context.catalogue.all(Venue::UsdM).iter().rfind(|symbol| symbol.contract == Contract::Perpetual);
    let composite = composite.ok_or_else(invalid_symbol)?;
    if context.params.get("symbol").is_some_and(|asked| asked != composite.name) {
        return Err(invalid_symbol());
    }
    let part = |asset: &str, weight: &str| json!({"baseAsset": asset, "quoteAsset": "USDT", "weightInQuantity": "1.04406228", "weightInPercentage": weight});
    let body = json!([{
        "symbol": composite.name, "time": step(context.now), "component": "baseAsset",
        "baseAssetList": [part("BTC", "0.60000000"), part("ETH", "0.40000000")],
    }]);
    Ok(body.to_string().into())
}

/// An answer for each of `symbols`, or for the one that is asked for.
fn each<'a>(
    context: &Context<'_>,
    symbols: impl Iterator<Item = (String, &'a Symbol)>,
    body: impl Fn(&str, &Symbol) -> Value,
) -> Result<Content, ApiError> {
    let mut symbols = symbols;
    match context.params.get("symbol") {
        Some(asked) => {
            let (name, symbol) = symbols.find(|(name, _)| name == asked).ok_or_else(invalid_symbol)?;
            Ok(body(&name, symbol).to_string().into())
        }
        None => Ok(rows::array(symbols, |out, (name, symbol)| out.push_str(&body(&name, symbol).to_string())).into()),
    }
}

pub(super) fn asset_index(context: &Context<'_>) -> Result<Content, ApiError> {
    let perpetual = context.catalogue.trading(Venue::CoinM).filter(|symbol| symbol.contract == Contract::Perpetual);
    let at = step(context.now);
    each(context, perpetual.map(|symbol| (symbol.pair.clone(), symbol)), |name, symbol| {
        let index = price(symbol, at);
        let of = |part: f64| format!("{:.8}", index * part);
        json!({
            "symbol": name, "time": at, "index": of(1.0), "bidBuffer": "0.05000000", "askBuffer": "0.05000000",
            "bidRate": of(0.95), "askRate": of(1.05), "autoExchangeBidBuffer": "0.02500000",
            "autoExchangeAskBuffer": "0.02500000", "autoExchangeBidRate": of(0.975), "autoExchangeAskRate": of(1.025),
        })
    })
}

pub(super) fn adl_risk(context: &Context<'_>) -> Result<Content, ApiError> {
    let at = context.now / (HOUR / 2) * (HOUR / 2);
    let trading = context.catalogue.trading(Venue::UsdM).map(|symbol| (symbol.name.clone(), symbol));
    each(context, trading, |name, symbol| {
        let risk = if one_in(9, symbol.salt, 62, at) { "HIGH" } else { "LOW" };
        json!({"symbol": name, "adlRisk": risk, "updateTime": at})
    })
}

/// All symbols share one fund, but for every tenth, which has one of its own.
pub(super) fn insurance(context: &Context<'_>) -> Result<Content, ApiError> {
    let at = context.now / HOUR * HOUR;
    let alone = |symbol: &Symbol| symbol.salt.is_multiple_of(10);
    let fund = |symbols: Vec<&str>, salt: u64| {
        let balance = format!("{:.7}", fraction(salt, 63, at) * 1e9);
        json!({"symbols": symbols, "assets": [{"asset": "USDT", "marginBalance": balance, "updateTime": at}]})
    };
    let trading: Vec<&Symbol> = context.catalogue.trading(Venue::UsdM).collect();
    let shared =
        || fund(trading.iter().filter(|symbol| !alone(symbol)).map(|symbol| symbol.name.as_str()).collect(), 1);
    let body = match context.params.get("symbol") {
        Some(asked) => match find(context.catalogue, Venue::UsdM, asked)? {
            symbol if alone(symbol) => fund(vec![&symbol.name], symbol.salt),
            _ => shared(),
        },
        None => {
            let alone = trading.iter().filter(|symbol| alone(symbol));
            let funds: Vec<Value> =
                std::iter::once(shared()).chain(alone.map(|symbol| fund(vec![&symbol.name], symbol.salt))).collect();
            json!(funds)
        }
    };
    Ok(body.to_string().into())
}

pub(super) fn schedule(context: &Context<'_>) -> Result<Content, ApiError> {
    let today = context.now / DAY * DAY;
    let session = |day: u64, from: u64, to: u64, kind: &str| json!({"startTime": day + from * HOUR, "endTime": day + to * HOUR, "type": kind});
    let week = (0..7).flat_map(|day| {
        let day = today - DAY + day * DAY;
        [session(day, 0, 14, "NO_TRADING"), session(day, 14, 21, "REGULAR"), session(day, 21, 24, "NO_TRADING")]
    });
    let week: Vec<Value> = week.collect();
    let body = json!({
        "updateTime": context.now / HOUR * HOUR,
        "marketSchedules": {"EQUITY": {"sessions": week}, "COMMODITY": {"sessions": week}},
    });
    Ok(body.to_string().into())
}

/// The quarters that have ended, the newest first.
pub(super) fn delivery_prices(context: &Context<'_>) -> Result<Content, ApiError> {
    const QUARTER: u64 = 91 * DAY;
    let pair = context.params.mandatory("pair")?;
    let symbol = context.catalogue.of_pair(context.venue, pair).ok_or_else(|| not_valid("pair"))?;
    let ended = (symbol.listed_at.div_ceil(QUARTER)..=context.now / QUARTER).rev().take(12);
    let rows: Vec<Value> = ended
        .map(|quarter| {
            let at = quarter * QUARTER;
            let delivered = (price(symbol, at) * 100.0).round() / 100.0;
            json!({"deliveryTime": at, "deliveryPrice": delivered})
        })
        .collect();
    Ok(json!(rows).to_string().into())
}
