//! The regions of market data and their policies by preset.

use std::fmt;
use std::time::Duration;

use lastgood::{Keep, Policy};

mod overrides;

pub use self::overrides::PolicyOverride;

/// What kind of use the freshness times are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Bots: seconds.
    #[default]
    Trading,
    /// Screens: tens of seconds to hours.
    Dashboard,
}

impl Preset {
    /// Every preset, by its name in configuration.
    pub const ALL: [(&'static str, Preset); 2] = [("trading", Preset::Trading), ("dashboard", Preset::Dashboard)];

    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::Trading => "trading",
            Preset::Dashboard => "dashboard",
        }
    }
}

/// A region of market data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after what it holds")]
pub enum RegionName {
    ExchangeInfo,
    TickerPrice,
    Ticker24hr,
    BookTicker,
    TickerWindow,
    Depth,
    Trades,
    AggTrades,
    Klines,
    AvgPrice,
    FundingRate,
    FundingInfo,
    PremiumIndex,
    OpenInterest,
    FuturesData,
    SystemStatus,
    Symbols,
    FearGreed,
    Llm,
    Bars,
    Other,
}

impl RegionName {
    /// Every region, in the order of their discriminants.
    pub const ALL: [RegionName; 21] = [
        RegionName::ExchangeInfo,
        RegionName::TickerPrice,
        RegionName::Ticker24hr,
        RegionName::BookTicker,
        RegionName::TickerWindow,
        RegionName::Depth,
        RegionName::Trades,
        RegionName::AggTrades,
        RegionName::Klines,
        RegionName::AvgPrice,
        RegionName::FundingRate,
        RegionName::FundingInfo,
        RegionName::PremiumIndex,
        RegionName::OpenInterest,
        RegionName::FuturesData,
        RegionName::SystemStatus,
        RegionName::Symbols,
        RegionName::FearGreed,
        RegionName::Llm,
        RegionName::Bars,
        RegionName::Other,
    ];

    /// The name in configuration, keys, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            RegionName::ExchangeInfo => "exchange_info",
            RegionName::TickerPrice => "ticker_price",
            RegionName::Ticker24hr => "ticker_24hr",
            RegionName::BookTicker => "book_ticker",
            RegionName::TickerWindow => "ticker_window",
            RegionName::Depth => "depth",
            RegionName::Trades => "trades",
            RegionName::AggTrades => "agg_trades",
            RegionName::Klines => "klines",
            RegionName::AvgPrice => "avg_price",
            RegionName::FundingRate => "funding_rate",
            RegionName::FundingInfo => "funding_info",
            RegionName::PremiumIndex => "premium_index",
            RegionName::OpenInterest => "open_interest",
            RegionName::FuturesData => "futures_data",
            RegionName::SystemStatus => "system_status",
            RegionName::Symbols => "symbols",
            RegionName::FearGreed => "fear_greed",
            RegionName::Llm => "llm",
            RegionName::Bars => "bars",
            RegionName::Other => "other",
        }
    }

    /// The policy of the region before anybody configures it.
    ///
    /// `stale_while_revalidate` is the time within which a poller is served at once while the cache refreshes behind. It equals
    /// `fresh_for` for what moves by the second, and is zero for candles, whose list must not outlive its interval.
    pub fn policy(self, preset: Preset) -> Policy {
        const HOUR: Keep = Keep::For(Duration::from_secs(3_600));
        const DAY: Keep = Keep::For(Duration::from_secs(86_400));
        let (trading_ms, dashboard_ms, keep) = match self {
            RegionName::ExchangeInfo | RegionName::Symbols => (60_000, 300_000, Keep::Forever),
            RegionName::TickerPrice => (1_000, 15_000, HOUR),
            RegionName::Ticker24hr => (2_000, 10_000, HOUR),
            RegionName::BookTicker => (500, 10_000, HOUR),
            RegionName::TickerWindow => (5_000, 10_000, HOUR),
            RegionName::Depth => (500, 5_000, HOUR),
            RegionName::Trades | RegionName::AggTrades => (1_000, 10_000, HOUR),
            RegionName::Klines => (2_000, 120_000, Keep::Forever),
            RegionName::AvgPrice => (2_000, 15_000, HOUR),
            RegionName::FundingRate | RegionName::PremiumIndex => (3_000, 60_000, DAY),
            RegionName::FundingInfo => (300_000, 300_000, DAY),
            RegionName::OpenInterest => (5_000, 60_000, DAY),
            RegionName::FuturesData => (60_000, 60_000, DAY),
            // That all is well is not worth knowing for longer.
            RegionName::SystemStatus => (5_000, 30_000, Keep::For(Duration::from_secs(60))),
            // Trading takes the time that the index itself names instead.
            RegionName::FearGreed => (300_000, 300_000, Keep::Forever),
            RegionName::Llm | RegionName::Other => (300_000, 300_000, DAY),
            RegionName::Bars => (300_000, 300_000, Keep::Forever),
        };
        let fresh_for = Duration::from_millis(match preset {
            Preset::Trading => trading_ms,
            Preset::Dashboard => dashboard_ms,
        });
        let stale_while_revalidate = match self {
            RegionName::Klines => Duration::ZERO,
            // No source refreshes what an application put.
            RegionName::Bars => Duration::ZERO,
            RegionName::ExchangeInfo | RegionName::Symbols => Duration::from_secs(600),
            _ => fresh_for,
        };
        let policy = Policy::fresh_for(fresh_for).stale_while_revalidate(stale_while_revalidate).stale_if_error(keep);
        match self {
            // Its load tries one link of the source chain after the other.
            RegionName::Symbols => Policy { hard_timeout: Duration::from_secs(20), ..policy },
            // Models think long.
            RegionName::Llm => Policy { hard_timeout: Duration::from_secs(120), ..policy },
            _ => policy,
        }
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_are_indices_of_all() {
        for (index, region) in RegionName::ALL.into_iter().enumerate() {
            assert_eq!(region as usize, index, "{region}");
        }
    }
}
