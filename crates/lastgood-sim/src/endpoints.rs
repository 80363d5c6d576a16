//! The endpoint table: every public path with its weight, its parameters and who answers it.

mod klines;
mod reference;
mod ticker;
mod weights;

use std::sync::Arc;

use self::klines::candles;
use self::ticker::ticker;
use self::weights::{book_weight, day_weight, depth_weight, klines_weight, price_weight, rules_weight, window_weight};
use crate::catalogue::Catalogue;
use crate::content::Content;
use crate::funding::{self, Range, STATISTICS_KEPT};
use crate::info;
use crate::interval::Interval;
use crate::limits::Bucket;
use crate::params::{ApiError, Asked, Params, find, invalid_symbol, not_valid};
use crate::symbols::{Contract, Symbol};
use crate::tape::{self, Page};
use crate::{SimConfig, Venue, book, market};

/// What a handler may look at.
pub(crate) struct Context<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) config: &'a SimConfig,
    pub(crate) venue: Venue,
    /// The path behind its prefix and version: `klines`, `ticker/price`.
    pub(crate) name: &'a str,
    pub(crate) params: &'a Params,
    pub(crate) now: u64,
    pub(crate) micros: bool,
    pub(crate) tail_missing: bool,
    pub(crate) revised: bool,
}

type Handler = fn(&Context<'_>) -> Result<Content, ApiError>;
type Weigh = fn(Venue, &Params) -> u32;

/// A public endpoint.
pub(crate) struct Endpoint {
    venues: &'static [Venue],
    name: &'static str,
    /// Those that it reads.
    pub(crate) params: &'static [&'static str],
    pub(crate) weight: Weigh,
    pub(crate) answer: Handler,
}

const ALL: &[Venue] = &Venue::ALL;
const SPOT: &[Venue] = &[Venue::Spot];
const FUTURES: &[Venue] = &[Venue::UsdM];
const CONTRACTS: &[Venue] = &[Venue::UsdM, Venue::CoinM];
const CANDLES: &[&str] = &["symbol", "interval", "startTime", "endTime", "timeZone", "limit"];
const CONTRACT_CANDLES: &[&str] = &["symbol", "pair", "contractType", "interval", "startTime", "endTime", "limit"];

#[rustfmt::skip]
static ENDPOINTS: &[Endpoint] = &[
    Endpoint { venues: ALL, name: "ping", params: &[], weight: |_, _| 1, answer: |_| Ok("{}".into()) },
    Endpoint { venues: ALL, name: "time", params: &[], weight: |_, _| 1, answer: time },
    Endpoint { venues: SPOT, name: "exchangeInfo", params: &["symbol", "symbols", "permissions", "symbolStatus", "showPermissionSets"], weight: |_, _| 20, answer: spot_info },
    Endpoint { venues: CONTRACTS, name: "exchangeInfo", params: &[], weight: |_, _| 1, answer: contract_info },
    Endpoint { venues: ALL, name: "depth", params: &["symbol", "limit", "symbolStatus"], weight: depth_weight, answer: depth },
    Endpoint { venues: ALL, name: "trades", params: &["symbol", "limit"], weight: |venue, _| if venue == Venue::Spot { 25 } else { 5 }, answer: trades },
    Endpoint { venues: SPOT, name: "historicalTrades", params: &["symbol", "limit", "fromId"], weight: |_, _| 25, answer: trades },
    Endpoint { venues: ALL, name: "aggTrades", params: &["symbol", "fromId", "startTime", "endTime", "limit"], weight: |venue, _| if venue == Venue::Spot { 4 } else { 20 }, answer: agg_trades },
    Endpoint { venues: SPOT, name: "klines", params: CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: SPOT, name: "uiKlines", params: CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "klines", params: CONTRACT_CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "continuousKlines", params: CONTRACT_CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "indexPriceKlines", params: CONTRACT_CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "markPriceKlines", params: CONTRACT_CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: CONTRACTS, name: "premiumIndexKlines", params: CONTRACT_CANDLES, weight: klines_weight, answer: candles },
    Endpoint { venues: SPOT, name: "avgPrice", params: &["symbol"], weight: |_, _| 2, answer: |c| Ok(market::avg_price(c.symbol()?, c.micros, c.now).into()) },
    Endpoint { venues: SPOT, name: "ticker/24hr", params: &["symbol", "symbols", "type", "symbolStatus"], weight: day_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker/price", params: &["symbol", "symbols", "symbolStatus"], weight: price_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker/bookTicker", params: &["symbol", "symbols", "symbolStatus"], weight: book_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker/tradingDay", params: &["symbol", "symbols", "timeZone", "type", "symbolStatus"], weight: window_weight, answer: ticker },
    Endpoint { venues: SPOT, name: "ticker", params: &["symbol", "symbols", "windowSize", "type", "symbolStatus"], weight: window_weight, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "ticker/24hr", params: &["symbol", "pair"], weight: day_weight, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "ticker/price", params: &["symbol", "pair"], weight: price_weight, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "ticker/bookTicker", params: &["symbol", "pair"], weight: book_weight, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "premiumIndex", params: &["symbol", "pair"], weight: |_, p| if p.get("symbol").is_some() { 1 } else { 10 }, answer: ticker },
    Endpoint { venues: CONTRACTS, name: "fundingRate", params: &["symbol", "startTime", "endTime", "limit"], weight: |_, _| 0, answer: funding_rate },
    Endpoint { venues: CONTRACTS, name: "fundingInfo", params: &[], weight: |_, _| 0, answer: funding_info },
    Endpoint { venues: SPOT, name: "executionRules", params: &["symbol", "symbols", "symbolStatus"], weight: rules_weight, answer: reference::execution_rules },
    Endpoint { venues: SPOT, name: "referencePrice", params: &["symbol"], weight: |_, _| 2, answer: reference::reference_price },
    Endpoint { venues: SPOT, name: "referencePrice/calculation", params: &["symbol", "symbolStatus"], weight: |_, _| 2, answer: reference::reference_calculation },
    Endpoint { venues: SPOT, name: "historicalBlockTrades", params: &["symbol", "fromId", "limit"], weight: |_, _| 25, answer: reference::block_trades },
    Endpoint { venues: SPOT, name: SYSTEM_STATUS, params: &[], weight: |_, _| 1, answer: reference::system_status },
    Endpoint { venues: FUTURES, name: "rpiDepth", params: &["symbol", "limit"], weight: |_, _| 20, answer: reference::rpi_depth },
    Endpoint { venues: CONTRACTS, name: "constituents", params: &["symbol"], weight: |_, _| 2, answer: reference::constituents },
    Endpoint { venues: FUTURES, name: "indexInfo", params: &["symbol"], weight: |_, _| 1, answer: reference::index_info },
    Endpoint { venues: FUTURES, name: "assetIndex", params: &["symbol"], weight: |_, p| if p.get("symbol").is_some() { 1 } else { 10 }, answer: reference::asset_index },
    Endpoint { venues: FUTURES, name: "insuranceBalance", params: &["symbol"], weight: |_, p| if p.get("symbol").is_some() { 1 } else { 40 }, answer: reference::insurance },
    Endpoint { venues: FUTURES, name: "symbolAdlRisk", params: &["symbol"], weight: |_, _| 1, answer: reference::adl_risk },
    Endpoint { venues: FUTURES, name: "tradingSchedule", params: &[], weight: |_, _| 5, answer: reference::schedule },
    Endpoint { venues: CONTRACTS, name: "openInterest", params: &["symbol"], weight: |_, _| 1, answer: |c| Ok(funding::open_interest(c.symbol()?, c.now).into()) },
];

/// What `/futures/data` has.
const STATISTICS: &[&str] = &[
    "openInterestHist",
    "topLongShortAccountRatio",
    "topLongShortPositionRatio",
    "globalLongShortAccountRatio",
    "takerlongshortRatio",
    "takerBuySellVol",
    "basis",
];

/// Prices that contracts were delivered at.
static DELIVERY_PRICE: Endpoint =
    Endpoint { venues: CONTRACTS, name: "", params: &["pair"], weight: |_, _| 0, answer: reference::delivery_prices };

/// Under `/sapi`, unlike all else that is public.
pub(crate) const SYSTEM_STATUS: &str = "system/status";

/// All of that is asked for in the same way.
static STATISTIC: Endpoint = Endpoint {
    venues: CONTRACTS,
    name: "",
    params: &["symbol", "pair", "contractType", "period", "startTime", "endTime", "limit"],
    weight: |_, _| 0,
    answer: statistics,
};

/// The endpoint of a name on a venue; version zero is `/futures/data`, which has none.
pub(crate) fn endpoint(venue: Venue, version: u8, name: &str) -> Option<&'static Endpoint> {
    match version {
        0 if name == "delivery-price" => Some(&DELIVERY_PRICE),
        0 => STATISTICS.contains(&name).then_some(&STATISTIC),
        _ => ENDPOINTS.iter().find(|endpoint| endpoint.name == name && endpoint.venues.contains(&venue)),
    }
}

/// The bucket that an endpoint counts in besides the weight.
pub(crate) fn bucket(name: &str, version: u8) -> Option<Bucket> {
    match (name, version) {
        (_, 0) => Some(Bucket::Statistics),
        ("fundingRate" | "fundingInfo", _) => Some(Bucket::Funding),
        _ => None,
    }
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

    fn range(&self, default: usize, most: usize) -> Result<Range, ApiError> {
        let (start, end) = self.bounds()?;
        Ok(Range { start, end, limit: self.params.limit(self.venue, default, most)? })
    }

    fn page(&self, from: Option<u64>, (start, end): (Option<u64>, Option<u64>)) -> Result<Page, ApiError> {
        let limit = self.params.limit(self.venue, 500, 1_000)?;
        Ok(Page { from, start, end, limit, micros: self.micros })
    }

    /// The exchange's time in the unit that was asked for.
    fn stamp(&self) -> u64 {
        if self.micros { self.now * 1_000 } else { self.now }
    }
}

fn time(context: &Context<'_>) -> Result<Content, ApiError> {
    Ok(format!(r#"{{"serverTime":{}}}"#, context.stamp()).into())
}

fn spot_info(context: &Context<'_>) -> Result<Content, ApiError> {
    let params = context.params;
    let sets = params.get("showPermissionSets") != Some("false");
    let asked = params.symbols(context.catalogue, context.venue)?;
    let status = params.status()?;
    if status.is_some() && !matches!(asked, Asked::All) {
        return Err(ApiError::new(
            400,
            -1128,
            "Combination of optional parameters invalid. Recommendation: 'symbolStatus' must not be sent with 'symbol' or 'symbols'.",
        ));
    }
    let permissions = params.get("permissions");
    if matches!(asked, Asked::All) && status.is_none() && permissions.is_none() && sets {
        return Ok(whole_info(context));
    }
    let permitted = permissions.is_none_or(|wanted| wanted.contains("SPOT") || wanted.contains("MARGIN"));
    let wanted = |symbol: &Symbol| {
        let of_name = match &asked {
            Asked::One(one) => one.name == symbol.name,
            Asked::Some(some) => some.iter().any(|one| one.name == symbol.name),
            Asked::All => true,
        };
        permitted && of_name && status.is_none_or(|status| status.is_of(symbol))
    };
    let tail = info::tail(context.catalogue.all(context.venue), context.venue, wanted, sets);
    Ok((info::head(context.config, context.venue, context.stamp()) + &tail).into())
}

fn contract_info(context: &Context<'_>) -> Result<Content, ApiError> {
    Ok(whole_info(context))
}

fn whole_info(context: &Context<'_>) -> Content {
    let head = info::head(context.config, context.venue, context.stamp());
    Content::with_tail(head, Arc::clone(context.catalogue.info(context.venue)))
}

fn depth(context: &Context<'_>) -> Result<Content, ApiError> {
    let symbol = context.symbol()?;
    let levels = match context.venue {
        Venue::Spot => {
            context.params.require_status(symbol)?;
            context.params.limit(Venue::Spot, 100, 5_000)?
        }
        venue => {
            let levels = context.params.limit(venue, 500, 1_000)?;
            match [5, 10, 20, 50, 100, 500, 1_000].contains(&levels) {
                true => levels,
                false => return Err(ApiError::new(400, -4021, format!("'{levels}' is not valid depth limit."))),
            }
        }
    };
    depth_of(context, levels)
}

fn depth_of(context: &Context<'_>, levels: usize) -> Result<Content, ApiError> {
    Ok(book::depth(context.symbol()?, levels, context.now).into())
}

fn trades(context: &Context<'_>) -> Result<Content, ApiError> {
    let page = context.page(context.params.number("fromId")?, (None, None))?;
    Ok(tape::trades(context.symbol()?, &page, context.now).into())
}

fn agg_trades(context: &Context<'_>) -> Result<Content, ApiError> {
    let bounds = context.bounds()?;
    if context.venue != Venue::Spot {
        within(bounds, 3_600_000, "1 hours")?;
    }
    let page = context.page(context.params.number("fromId")?, bounds)?;
    Ok(tape::agg_trades(context.symbol()?, &page, context.now).into())
}

/// Refuses bounds that are further apart than `most` ms.
fn within(bounds: (Option<u64>, Option<u64>), most: u64, words: &str) -> Result<(), ApiError> {
    match bounds {
        (Some(start), Some(end)) if end.saturating_sub(start) > most => Err(ApiError::new(
            400,
            -1127,
            format!("Lookup interval is too big. More than {words} between startTime and endTime."),
        )),
        _ => Ok(()),
    }
}

fn funding_rate(context: &Context<'_>) -> Result<Content, ApiError> {
    let range = context.range(100, 1_000)?;
    let symbols: Vec<&Symbol> = match context.params.get("symbol") {
        Some(name) => vec![find(context.catalogue, context.venue, name)?],
        None => {
            context.catalogue.trading(context.venue).filter(|symbol| symbol.contract == Contract::Perpetual).collect()
        }
    };
    Ok(funding::funding_history(&symbols, &range, context.now).into())
}

fn funding_info(context: &Context<'_>) -> Result<Content, ApiError> {
    let perpetual = context.catalogue.trading(context.venue).filter(|symbol| symbol.contract == Contract::Perpetual);
    Ok(crate::rows::array(perpetual, |out, symbol| out.push_str(&funding::funding_info(symbol))).into())
}

fn statistics(context: &Context<'_>) -> Result<Content, ApiError> {
    let symbol = match context.params.get("pair") {
        Some(_) => context.pair()?,
        None => context.symbol()?,
    };
    let period = context.params.mandatory("period")?;
    let period = match period {
        "5m" | "15m" | "30m" | "1h" | "2h" | "4h" | "6h" | "12h" | "1d" => Interval::parse(period),
        _ => None,
    };
    let period = period.ok_or_else(|| not_valid("period"))?.length();
    let range = context.range(30, 500)?;
    if range.start.is_some_and(|start| start < context.now.saturating_sub(STATISTICS_KEPT)) {
        return Err(not_valid("startTime"));
    }
    Ok(funding::statistics(context.name, symbol, period, &range, context.now).into())
}
