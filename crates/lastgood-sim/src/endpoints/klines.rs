//! Candles by parameters.

use super::{Context, within};
use crate::Venue;
use crate::candles::{Series, Wanted, klines};
use crate::content::Content;
use crate::interval::Interval;
use crate::params::{ApiError, invalid_symbol, not_valid};
use crate::symbols::Symbol;

/// COIN-M answers no questions for a longer time.
const LONGEST_SPAN: u64 = 200 * 86_400_000;

/// The symbol whose candles are asked for. Under `/fapi` it may be one of COIN-M.
fn series_symbol<'a>(context: &'a Context<'_>, venue: Venue) -> Result<&'a Symbol, ApiError> {
    let of_pair = || context.catalogue.of_pair(venue, context.params.mandatory("pair")?).ok_or_else(invalid_symbol);
    match context.name {
        "continuousKlines" => {
            let contract = context.params.mandatory("contractType")?;
            if !matches!(contract, "PERPETUAL" | "CURRENT_QUARTER") {
                return Err(not_valid("contractType"));
            }
            let pair = &of_pair()?.pair;
            let of = |symbol: &&Symbol| symbol.pair == *pair && symbol.contract.as_str() == contract;
            context.catalogue.all(venue).iter().find(of).ok_or_else(invalid_symbol)
        }
        "indexPriceKlines" => of_pair(),
        _ => context.params.symbol(context.catalogue, venue),
    }
}

pub(super) fn candles(context: &Context<'_>) -> Result<Content, ApiError> {
    let params = context.params;
    let symbol = series_symbol(context, context.venue).or_else(|error| match context.venue {
        Venue::UsdM if error == invalid_symbol() => series_symbol(context, Venue::CoinM),
        _ => Err(error),
    })?;
    let interval = params.mandatory("interval")?;
    let interval = Interval::parse(interval)
        .filter(|_| context.venue == Venue::Spot || interval != "1s")
        .ok_or_else(|| ApiError::new(400, -1120, "Invalid interval."))?;
    let (start, end) = context.bounds()?;
    if context.venue == Venue::CoinM {
        within((start, end), LONGEST_SPAN, "200 days")?;
    }
    let most = if context.venue == Venue::Spot { 1_000 } else { 1_500 };
    let series = match context.name {
        "indexPriceKlines" => Series::Derived(1),
        "markPriceKlines" => Series::Derived(2),
        "premiumIndexKlines" => Series::Premium,
        _ => Series::Trades,
    };
    let wanted = Wanted {
        interval,
        start,
        end,
        limit: params.limit(context.venue, 500, most)?,
        zone: if context.venue == Venue::Spot { params.time_zone()? } else { 0 },
        from_end: context.venue == Venue::CoinM,
        micros: context.micros,
        series,
        tail_missing: context.tail_missing,
        revised: context.revised,
    };
    match (start, end) {
        (Some(start), Some(end)) if start > end => Ok("[]".into()),
        _ => Ok(klines(symbol, &wanted, context.now).into()),
    }
}
