//! What only contracts have: funding, open interest and statistics.

use std::fmt::Write as _;

use serde_json::json;

use crate::Venue;
use crate::market::step;
use crate::price::price;
use crate::random::{fraction, one_in};
use crate::rows::array;
use crate::symbols::{Contract, Symbol};

/// Eight hours, between two settlements of funding.
const FUNDING: u64 = 8 * 3_600_000;
/// Statistics are kept for thirty days.
pub(crate) const STATISTICS_KEPT: u64 = 30 * 86_400_000;

/// Bounds of time and the most rows within them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) limit: usize,
}

fn funding_rate(symbol: &Symbol, number: u64) -> String {
    format!("{:.8}", (fraction(symbol.salt, 31, number) - 0.45) * 0.000_4)
}

/// A contract's mark and funding, as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    pub(crate) mark: String,
    pub(crate) index: String,
    pub(crate) settlement: String,
    /// Nothing for a delivery contract: it has no funding.
    pub(crate) rate: String,
    pub(crate) next_funding: u64,
}

pub(crate) fn mark(symbol: &Symbol, now: u64) -> Mark {
    let at = step(now);
    let mark = price(symbol, at);
    let (rate, next_funding) = match symbol.contract {
        Contract::Quarter(_) => (String::new(), 0),
        _ => (funding_rate(symbol, at / FUNDING), (at / FUNDING + 1) * FUNDING),
    };
    Mark {
        at,
        mark: format!("{mark:.8}"),
        index: format!("{:.8}", mark * 0.999_9),
        settlement: format!("{:.8}", mark * 1.000_1),
        rate,
        next_funding,
    }
}

pub(crate) fn premium_index(symbol: &Symbol, now: u64) -> String {
    let Mark { at, mark, index, settlement, rate, next_funding } = mark(symbol, now);
    let interest = if rate.is_empty() { "" } else { "0.00010000" };
    let pair = if symbol.venue == Venue::CoinM { format!(r#""pair":"{}","#, symbol.pair) } else { String::new() };
    format!(
        r#"{{"symbol":"{}",{pair}"markPrice":"{mark}","indexPrice":"{index}","estimatedSettlePrice":"{settlement}","lastFundingRate":"{rate}","interestRate":"{interest}","nextFundingTime":{next_funding},"time":{at}}}"#,
        symbol.name,
    )
}

/// Settled rates, the oldest first: the first from `start` on, or the newest.
pub(crate) fn funding_history(symbols: &[&Symbol], range: &Range, now: u64) -> String {
    let listed = symbols.iter().map(|symbol| symbol.listed_at).min().unwrap_or(now);
    let last = range.end.unwrap_or(now).min(now) / FUNDING;
    let first = range.start.unwrap_or(0).max(listed).div_ceil(FUNDING);
    let settled = |number: u64| {
        let listed = symbols
            .iter()
            .filter(move |symbol| symbol.contract == Contract::Perpetual && symbol.listed_at <= number * FUNDING);
        listed.map(move |symbol| (number, *symbol))
    };
    let rows: Vec<_> = match range.start {
        Some(_) => (first..=last).flat_map(settled).take(range.limit).collect(),
        None => {
            let newest = (first..=last).rev().flat_map(|number| settled(number).rev());
            let mut rows: Vec<_> = newest.take(range.limit).collect();
            rows.reverse();
            rows
        }
    };
    array(rows, |out, (number, symbol)| {
        let at = number * FUNDING;
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            r#"{{"symbol":"{}","fundingTime":{at},"fundingRate":"{}","markPrice":"{:.8}"}}"#,
            symbol.name,
            funding_rate(symbol, number),
            price(symbol, at)
        );
    })
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
    let pair = match symbol.venue {
        Venue::CoinM => format!(r#""pair":"{}","contractType":"{}","#, symbol.pair, symbol.contract.as_str()),
        _ => String::new(),
    };
    format!(r#"{{"openInterest":"{amount:.3}","symbol":"{}",{pair}"time":{at}}}"#, symbol.name)
}

/// COIN-M's statistics are of pairs, and count contracts.
fn coin_statistic(kind: &str, symbol: &Symbol, (at, share, ratio): (u64, f64, &str)) -> serde_json::Value {
    let (pair, contract) = (&symbol.pair, symbol.contract.as_str());
    let (long, short) = (format!("{share:.4}"), format!("{:.4}", 1.0 - share));
    match kind {
        "openInterestHist" => {
            json!({"pair": pair, "contractType": contract, "sumOpenInterest": format!("{:.0}", share * 20_000.0), "sumOpenInterestValue": format!("{:.8}", share * 200.0), "timestamp": at})
        }
        "takerBuySellVol" => {
            json!({"pair": pair, "contractType": contract, "takerBuyVol": format!("{:.0}", share * 900.0), "takerSellVol": format!("{:.0}", (1.0 - share) * 900.0), "takerBuyVolValue": long, "takerSellVolValue": short, "timestamp": at})
        }
        "topLongShortPositionRatio" => {
            json!({"pair": pair, "longShortRatio": ratio, "longPosition": long, "shortPosition": short, "timestamp": at})
        }
        _ => {
            json!({"pair": pair, "longShortRatio": ratio, "longAccount": long, "shortAccount": short, "timestamp": at})
        }
    }
}

/// One row a period of the statistics under `/futures/data`; some periods are missing, as they are.
pub(crate) fn statistics(kind: &str, symbol: &Symbol, period: u64, range: &Range, now: u64) -> String {
    let last = range.end.unwrap_or(now).min(now) / period;
    let kept = now.saturating_sub(STATISTICS_KEPT).max(symbol.listed_at).div_ceil(period);
    let first = match range.start {
        Some(start) => start.div_ceil(period),
        None => (last + 1).saturating_sub(range.limit as u64),
    };
    let known = (first.max(kept)..=last).filter(|number| !one_in(29, symbol.salt, 50, *number));
    array(known.take(range.limit), |out, number| {
        let at = number * period;
        let share = fraction(symbol.salt, 51, number) * 0.4 + 0.3;
        let ratio = format!("{:.4}", share / (1.0 - share));
        let row = match kind {
            _ if symbol.venue == Venue::CoinM && kind != "basis" => coin_statistic(kind, symbol, (at, share, &ratio)),
            "openInterestHist" => {
                json!({"symbol": symbol.name, "sumOpenInterest": format!("{:.8}", share * 20_000.0), "sumOpenInterestValue": format!("{:.8}", share * 20_000.0 * price(symbol, at)), "CMCCirculatingSupply": "19000000.00000000", "timestamp": at})
            }
            "takerlongshortRatio" => {
                json!({"buySellRatio": ratio, "buyVol": format!("{:.4}", share * 900.0), "sellVol": format!("{:.4}", (1.0 - share) * 900.0), "timestamp": at})
            }
            "basis" => {
                json!({"indexPrice": format!("{:.8}", price(symbol, at)), "contractType": "PERPETUAL", "basisRate": "0.0004", "futuresPrice": format!("{:.2}", price(symbol, at) * 1.0004), "annualizedBasisRate": "", "basis": format!("{:.8}", price(symbol, at) * 0.0004), "pair": symbol.pair, "timestamp": at})
            }
            _ => {
                json!({"symbol": symbol.name, "longAccount": format!("{share:.4}"), "longShortRatio": ratio, "shortAccount": format!("{:.4}", 1.0 - share), "timestamp": at})
            }
        };
        let _ = write!(out, "{row}");
    })
}
