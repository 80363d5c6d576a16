//! The endpoint table: every public path with its weight, its parameters and who answers it.

use crate::candles::{Series, Wanted, klines};
use crate::catalogue::Catalogue;
use crate::interval::Interval;
use crate::limits::Bucket;
use crate::params::{ApiError, Asked, Params, find, invalid_symbol};
use crate::symbols::{Contract, Symbol};
use crate::{SimConfig, Venue, info, market};

/// What a handler may look at.
pub(crate) struct Context<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) config: &'a SimConfig,
    pub(crate) venue: Venue,
    /// The path behind its prefix and version: `klines`, `ticker/price`.
    pub(crate) name: &'a str,
    pub(crate) version: u8,
    pub(crate) params: &'a Params,
    pub(crate) now: u64,
    pub(crate) micros: bool,
    pub(crate) tail_missing: bool,
    pub(crate) revised: bool,
}

type Handler = fn(&Context<'_>) -> Result<String, ApiError>;
type Weigh = fn(Venue, &Params) -> u32;

/// A public endpoint.
pub(crate) struct Endpoint {
    venues: &'static [Venue],
    name: &'static str,
    pub(crate) params: &'static [&'static str],
    pub(crate) weight: Weigh,
    pub(crate) answer: Handler,
}

const ALL: &[Venue] = &Venue::ALL;
const SPOT: &[Venue] = &[Venue::Spot];
const CONTRACTS: &[Venue] = &[Venue::Futures, Venue::Coin];
const RANGE: &[&str] = &["symbol", "pair", "contractType", "interval", "startTime", "endTime", "timeZone", "limit"];
const STATISTICS: &[&str] = &["symbol", "pair", "contractType", "period", "startTime", "endTime", "limit"];

#[rustfmt::skip]
static ENDPOINTS: &[Endpoint] = &[
    Endpoint { venues: ALL, name: "ping", params: &[], weight: |_, _| 1, answer: |_| Ok("{}".to_owned()) },
    Endpoint { venues: ALL, name: "time", params: &[], weight: |_, _| 1, answer: time },
    Endpoint { venues: SPOT, name: "exchangeInfo", params: &["symbol", "symbols", "permissions", "symbolStatus", "showPermissionSets"], weight: |_, _| 20, answer: spot_info },
    Endpoint { venues: CONTRACTS, name: "exchangeInfo", params: &[], weight: |_, _| 1, answer: contract_info },
    Endpoint { venues: ALL, name: "depth", params: &["symbol", "limit", "symbolStatus"], weight: depth_weight, answer: depth },
    Endpoint { venues: ALL, name: "trades", params: &["symbol", "limit"], weight: |venue, _| if venue == Venue::Spot { 25 } else { 5 }, answer: trades },
    Endpoint { venues: SPOT, name: "historicalTrades", params: &["symbol", "limit", "fromId"], weight: |_, _| 25, answer: trades },
    Endpoint { venues: ALL, name: "aggTrades", params: &["symbol", "fromId", "startTime", "endTime", "limit"], weight: |venue, _| if venue == Venue::Spot { 4 } else { 20 }, answer: agg_trades },
    Endpoint { venues: ALL, name: "klines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: SPOT, name: "uiKlines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "continuousKlines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "indexPriceKlines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "markPriceKlines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "premiumIndexKlines", params: RANGE, weight: klines_weight, answer: candles },
    Endpoint { venues: SPOT, name: "avgPrice", params: &["symbol"], weight: |_, _| 2, answer: |c| Ok(market::avg_price(c.symbol()?, c.now)) },
    Endpoint { venues: ALL, name: "ticker/24hr", params: &["symbol", "symbols", "pair", "type", "symbolStatus"], weight: day_weight, answer: ticker },
    Endpoint { venues: ALL, name: "ticker/price", params: &["symbol", "symbols", "pair", "symbolStatus"], weight: price_weight, answer: ticker },
    Endpoint { venues: ALL, name: "ticker/bookTicker", params: &["symbol", "symbols", "pair", "symbolStatus"], weight: book_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker/tradingDay", params: &["symbol", "symbols", "timeZone", "type", "symbolStatus"], weight: window_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker", params: &["symbol", "symbols", "windowSize", "type", "symbolStatus"], weight: window_weight, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "premiumIndex", params: &["symbol", "pair"], weight: |_, p| if p.get("symbol").is_some() { 1 } else { 10 }, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "fundingRate", params: &["symbol", "startTime", "endTime", "limit"], weight: |_, _| 0, answer: funding_rate },
    Endpoint { venues: CONTRACTS, name: "fundingInfo", params: &[], weight: |_, _| 0, answer: |c| Ok(market::array(c.catalogue.trading(c.venue).map(market::funding_info))) },
    Endpoint { venues: CONTRACTS, name: "openInterest", params: &["symbol"], weight: |_, _| 1, answer: |c| Ok(market::open_interest(c.symbol()?, c.now)) },
    Endpoint { venues: CONTRACTS, name: "openInterestHist", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "topLongShortAccountRatio", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "topLongShortPositionRatio", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "globalLongShortAccountRatio", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "takerlongshortRatio", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "takerBuySellVol", params: STATISTICS, weight: |_, _| 0, answer: statistics },
    Endpoint { venues: CONTRACTS, name: "basis", params: STATISTICS, weight: |_, _| 0, answer: statistics },
];

/// The endpoint of a name on a venue.
pub(crate) fn endpoint(venue: Venue, name: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.name == name && endpoint.venues.contains(&venue))
}

/// The bucket that an endpoint counts in besides the weight.
pub(crate) fn bucket(name: &str, is_statistics: bool) -> Option<Bucket> {
    match name {
        "fundingRate" | "fundingInfo" => Some(Bucket::Funding),
        _ => is_statistics.then_some(Bucket::Statistics),
    }
}

fn by_limit(params: &Params, default: u64, bounds: &[(u64, u32)]) -> u32 {
    let limit = params.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(default);
    bounds.iter().find(|(bound, _)| limit <= *bound).or(bounds.last()).map_or(1, |(_, weight)| *weight)
}

fn depth_weight(venue: Venue, params: &Params) -> u32 {
    match venue {
        Venue::Spot => by_limit(params, 100, &[(100, 5), (500, 25), (1_000, 50), (5_000, 250)]),
        _ => by_limit(params, 500, &[(50, 2), (100, 5), (500, 10), (1_000, 20)]),
    }
}

fn klines_weight(venue: Venue, params: &Params) -> u32 {
    match venue {
        Venue::Spot => 2,
        _ => by_limit(params, 500, &[(99, 1), (499, 2), (1_000, 5), (1_500, 10)]),
    }
}

fn named(params: &Params) -> (bool, usize) {
    (params.get("symbol").is_some(), params.get("symbols").map_or(0, |list| list.split(',').count()))
}

fn day_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params)) {
        (Venue::Spot, (true, _) | (false, 1..=20)) => 2,
        (Venue::Spot, (false, 21..=100)) => 40,
        (Venue::Spot, _) => 80,
        (_, (one, _)) => {
            if one {
                1
            } else {
                40
            }
        }
    }
}

fn price_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params).0) {
        (Venue::Spot, one) => {
            if one {
                2
            } else {
                4
            }
        }
        (_, one) => {
            if one {
                1
            } else {
                2
            }
        }
    }
}

fn book_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params).0) {
        (Venue::Spot, one) => {
            if one {
                2
            } else {
                4
            }
        }
        (_, one) => {
            if one {
                2
            } else {
                5
            }
        }
    }
}

fn window_weight(_: Venue, params: &Params) -> u32 {
    (named(params).1.max(1) as u32 * 4).min(200)
}

impl Context<'_> {
    fn symbol(&self) -> Result<&Symbol, ApiError> {
        self.params.symbol(self.catalogue, self.venue)
    }

    fn pair(&self) -> Result<&Symbol, ApiError> {
        let pair = self.params.mandatory("pair")?;
        self.catalogue.of_pair(self.venue, pair).ok_or_else(invalid_symbol)
    }

    fn bounds(&self) -> Result<(Option<u64>, Option<u64>), ApiError> {
        let bounds = (self.params.time("startTime")?, self.params.time("endTime")?);
        match bounds {
            // Spot has an empty answer for this, futures an error.
            (Some(start), Some(end)) if start > end && self.venue != Venue::Spot => {
                Err(ApiError::new(400, -1023, "Start time is greater than end time."))
            }
            bounds => Ok(bounds),
        }
    }
}

fn time(context: &Context<'_>) -> Result<String, ApiError> {
    let unit = if context.micros { 1_000 } else { 1 };
    Ok(format!(r#"{{"serverTime":{}}}"#, context.now * unit))
}

fn spot_info(context: &Context<'_>) -> Result<String, ApiError> {
    let params = context.params;
    let sets = params.get("showPermissionSets") != Some("false");
    let asked = params.symbols(context.catalogue, context.venue)?;
    let status = params.get("symbolStatus");
    if status.is_some() && !matches!(asked, Asked::All) {
        return Err(ApiError::new(
            400,
            -1128,
            "Combination of optional parameters invalid. Recommendation: 'symbolStatus' must not be sent with 'symbol' or 'symbols'.",
        ));
    }
    if status.is_some_and(|status| !matches!(status, "TRADING" | "HALT" | "BREAK")) {
        return Err(ApiError::new(400, -1122, "Invalid symbolStatus."));
    }
    let permitted = params.get("permissions").is_none_or(|wanted| wanted.contains("SPOT") || wanted.contains("MARGIN"));
    let wanted = |symbol: &Symbol| {
        let of_status = status.is_none_or(|status| (status == "TRADING") == symbol.trading && status != "HALT");
        let of_name = match &asked {
            Asked::One(one) => one.name == symbol.name,
            Asked::Some(some) => some.iter().any(|one| one.name == symbol.name),
            Asked::All => true,
        };
        permitted && of_status && of_name
    };
    Ok(info::exchange_info(context.catalogue, context.config, context.venue, context.now, wanted, sets))
}

fn contract_info(context: &Context<'_>) -> Result<String, ApiError> {
    Ok(info::exchange_info(context.catalogue, context.config, context.venue, context.now, |_| true, false))
}

fn depth(context: &Context<'_>) -> Result<String, ApiError> {
    let symbol = context.symbol()?;
    let levels = match context.venue {
        Venue::Spot => context.params.limit(Venue::Spot, 100, 5_000)?,
        venue => {
            let levels = context.params.limit(venue, 500, 1_000)?;
            match [5, 10, 20, 50, 100, 500, 1_000].contains(&levels) {
                true => levels,
                false => return Err(ApiError::new(400, -4021, format!("'{levels}' is not valid depth limit."))),
            }
        }
    };
    Ok(market::depth(symbol, levels, context.now))
}

fn trades(context: &Context<'_>) -> Result<String, ApiError> {
    let limit = context.params.limit(context.venue, 500, 1_000)?;
    let from = context.params.number("fromId")?;
    Ok(market::trades(context.symbol()?, from, limit, context.micros, context.now))
}

fn agg_trades(context: &Context<'_>) -> Result<String, ApiError> {
    let limit = context.params.limit(context.venue, 500, 1_000)?;
    let from = context.params.number("fromId")?;
    Ok(market::agg_trades(context.symbol()?, from, context.bounds()?, limit, context.micros, context.now))
}

fn candles(context: &Context<'_>) -> Result<String, ApiError> {
    let params = context.params;
    let symbol = match context.name {
        "continuousKlines" => {
            let contract = params.mandatory("contractType")?;
            match contract {
                "PERPETUAL" | "CURRENT_QUARTER" => {
                    let pair = context.pair()?;
                    let of = |symbol: &&Symbol| symbol.pair == pair.pair && symbol.contract.as_str() == contract;
                    context.catalogue.all(context.venue).iter().find(of).ok_or_else(invalid_symbol)?
                }
                _ => return Err(ApiError::new(400, -1130, "Data sent for parameter 'contractType' is not valid.")),
            }
        }
        "indexPriceKlines" => context.pair()?,
        _ => context.symbol()?,
    };
    let interval = params.mandatory("interval")?;
    let interval = Interval::parse(interval)
        .filter(|_| context.venue == Venue::Spot || interval != "1s")
        .ok_or_else(|| ApiError::new(400, -1120, "Invalid interval."))?;
    let (start, end) = context.bounds()?;
    let most = if context.venue == Venue::Spot { 1_000 } else { 1_500 };
    let series = match context.name {
        "indexPriceKlines" => Series::Derived(1),
        "markPriceKlines" => Series::Derived(2),
        "premiumIndexKlines" => Series::Derived(3),
        _ => Series::Trades,
    };
    let wanted = Wanted {
        interval,
        start,
        end,
        limit: params.limit(context.venue, 500, most)?,
        zone: time_zone(params)?,
        from_end: context.venue == Venue::Coin,
        micros: context.micros,
        series,
        tail_missing: context.tail_missing,
        revised: context.revised,
    };
    match (start, end) {
        (Some(start), Some(end)) if start > end => Ok("[]".to_owned()),
        _ => Ok(klines(symbol, &wanted, context.now)),
    }
}

/// `timeZone`: hours and minutes from −12:00 to +14:00.
fn time_zone(params: &Params) -> Result<i64, ApiError> {
    let Some(zone) = params.get("timeZone") else { return Ok(0) };
    let invalid =
        || ApiError::new(400, -1102, "Mandatory parameter 'timeZone' was not sent, was empty/null, or malformed.");
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.trim_start_matches('+')),
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let (hours, minutes): (i64, i64) = (hours.parse().map_err(|_| invalid())?, minutes.parse().map_err(|_| invalid())?);
    let offset = sign * (hours * 60 + minutes);
    match (-12 * 60..=14 * 60).contains(&offset) && (0..60).contains(&minutes) && hours >= 0 {
        true => Ok(offset * 60_000),
        false => Err(invalid()),
    }
}

fn ticker(context: &Context<'_>) -> Result<String, ApiError> {
    let params = context.params;
    let mini = match params.get("type") {
        None | Some("FULL") => false,
        Some("MINI") => true,
        Some(_) => {
            return Err(ApiError::new(
                400,
                -1100,
                "Illegal characters found in parameter 'type'; legal range is 'FULL|MINI'.",
            ));
        }
    };
    let day = 86_400_000;
    let length = match (context.name, params.get("windowSize")) {
        ("ticker", Some(size)) => window_size(size)?,
        ("ticker/tradingDay", _) => (context.now % day).max(1_000),
        _ => day,
    };
    let row = |symbol: &Symbol| match context.name {
        "ticker/price" => market::ticker_price(symbol, context.version, context.now),
        "ticker/bookTicker" => market::book_ticker(symbol, context.now),
        "ticker/24hr" => market::ticker_24hr(symbol, mini, context.micros, context.now),
        "premiumIndex" => market::premium_index(symbol, context.now),
        _ => market::window(symbol, length, mini, context.micros, context.now),
    };
    if let (Venue::Coin, Some(pair)) = (context.venue, params.get("pair")) {
        let of_pair = context.catalogue.trading(Venue::Coin).filter(|symbol| symbol.pair == pair);
        return Ok(market::array(of_pair.map(row)));
    }
    match params.symbols(context.catalogue, context.venue)? {
        // COIN-M answers with an array even for one symbol.
        Asked::One(symbol) if context.venue == Venue::Coin => Ok(market::array(std::iter::once(row(symbol)))),
        Asked::One(symbol) => Ok(row(symbol)),
        Asked::Some(symbols) => Ok(market::array(symbols.into_iter().map(row))),
        Asked::All if matches!(context.name, "ticker" | "ticker/tradingDay") => Err(ApiError::new(
            400,
            -1128,
            "Combination of optional parameters invalid. Recommendation: 'symbol' or 'symbols' must be sent.",
        )),
        Asked::All => Ok(market::array(context.catalogue.trading(context.venue).map(row))),
    }
}

fn window_size(size: &str) -> Result<u64, ApiError> {
    let invalid = || {
        ApiError::new(
            400,
            -1100,
            "Illegal characters found in parameter 'windowSize'; legal range is '1m-59m, 1h-23h, 1d-7d'.",
        )
    };
    let (count, unit) = size.split_at_checked(size.len().saturating_sub(1)).ok_or_else(invalid)?;
    let count: u64 = count.parse().map_err(|_| invalid())?;
    match (unit, count) {
        ("m", 1..=59) => Ok(count * 60_000),
        ("h", 1..=23) => Ok(count * 3_600_000),
        ("d", 1..=7) => Ok(count * 86_400_000),
        _ => Err(invalid()),
    }
}

fn funding_rate(context: &Context<'_>) -> Result<String, ApiError> {
    let (start, end) = context.bounds()?;
    let limit = context.params.limit(context.venue, 100, 1_000)?;
    let symbols: Vec<&Symbol> = match context.params.get("symbol") {
        Some(name) => vec![find(context.catalogue, context.venue, name)?],
        None => {
            context.catalogue.trading(context.venue).filter(|symbol| symbol.contract == Contract::Perpetual).collect()
        }
    };
    Ok(market::funding_history(&symbols, start, end, limit, context.now))
}

fn statistics(context: &Context<'_>) -> Result<String, ApiError> {
    let symbol = match context.params.get("pair") {
        Some(_) => context.pair()?,
        None => context.symbol()?,
    };
    let period = context.params.mandatory("period")?;
    let period = match period {
        "5m" | "15m" | "30m" | "1h" | "2h" | "4h" | "6h" | "12h" | "1d" => Interval::parse(period),
        _ => None,
    };
    let period = period.ok_or_else(|| ApiError::new(400, -1130, "Data sent for parameter 'period' is not valid."))?;
    let limit = context.params.limit(context.venue, 30, 500)?;
    Ok(market::statistics(context.name, symbol, period.length(), context.bounds()?, limit, context.now))
}
