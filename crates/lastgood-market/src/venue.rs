//! The exchange's markets and their endpoints.

use std::fmt;

mod bucket;
mod content;
mod endpoints;
mod pass_only;
mod weight;

pub use self::bucket::Bucket;
pub use self::content::Kind;
pub use self::endpoints::ENDPOINTS;
pub(crate) use self::endpoints::endpoint;
pub use self::pass_only::PassOnly;
pub use self::weight::Weight;
pub(crate) use self::weight::weight_of;

use crate::region::RegionName;

/// A market of the exchange, each with hosts and limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Venue {
    /// Spot: `/api`, `/sapi`, `/wapi`.
    Spot,
    /// USD-M futures: `/fapi`, `/futures/data`.
    UsdM,
    /// COIN-M futures: `/dapi`.
    CoinM,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Venue; 3] = [Venue::Spot, Venue::UsdM, Venue::CoinM];

    /// The word for keys, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Venue::Spot => "spot",
            Venue::UsdM => "futures",
            Venue::CoinM => "coin",
        }
    }

    /// Request weight per minute until the exchange states its own in `exchangeInfo.rateLimits`.
    pub const fn default_weight_limit(self) -> u32 {
        match self {
            Venue::Spot => 6_000,
            Venue::UsdM | Venue::CoinM => 2_400,
        }
    }

    /// The venue that a request path belongs to; `None` for paths that are not the exchange's. This alone chooses an
    /// upstream: no header, host or parameter does, but that COIN-M's half of `/futures/data` is recognised by its
    /// pairs (`BTCUSD`), because both markets publish under one path.
    pub fn of(path: &str, query: &str) -> Option<Venue> {
        let (_, rest) = path.split_once('/').filter(|(before, _)| before.is_empty())?;
        match rest.split_once('/')?.0 {
            "api" | "sapi" | "wapi" => Some(Venue::Spot),
            "fapi" => Some(Venue::UsdM),
            "dapi" => Some(Venue::CoinM),
            "futures" if rest.starts_with("futures/data/") => Some(futures_data_venue(query)),
            _ => None,
        }
    }
}

fn futures_data_venue(query: &str) -> Venue {
    let coin_pair = |field: &str| field.strip_prefix("pair=").is_some_and(|pair| pair.ends_with("USD"));
    if query.split('&').any(coin_pair) { Venue::CoinM } else { Venue::UsdM }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How requests of an endpoint are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// `{}`, from here.
    Ping,
    /// Never cached: clients sign with it.
    Time,
    /// Cached under its normalised query.
    Query,
    /// As `Query`, but a full page that lies wholly in the past never changes.
    Page,
    /// A slice of the candles that are known of a series; as `Query` where the question is not wholly understood.
    Klines,
    /// One canonical copy; `symbol` and `symbols` are cut out of it.
    ExchangeInfo,
    /// The all-symbols answer serves every subset of it.
    Ticker,
    /// A deep book serves a shallow one.
    Depth,
    /// Statistics published once a period.
    Period,
}

/// What a good answer looks like at its outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `{…}` when one symbol is asked for with `symbol`, else `[…]`.
    ObjectForSymbol,
    /// Either; COIN-M tickers are arrays even for one symbol.
    Any,
}

/// A line of the endpoint table.
#[derive(Debug)]
pub struct Endpoint {
    /// The market.
    pub venue: Venue,
    /// The path, as clients ask for it.
    pub path: &'static str,
    /// The region, and so the policy, of its answers.
    pub region: RegionName,
    /// How it is answered.
    pub recipe: Recipe,
    /// Default and maximum of `limit`, where it has one.
    pub limit: Option<(u32, u32)>,
    /// What it costs upstream.
    pub weight: Weight,
    /// What a good answer looks like.
    pub(crate) shape: Shape,
    /// What it must contain; where it is an array, each of its rows.
    pub content: &'static Kind,
    /// Whether the used-weight header of its answers can be believed; the exchange documents two that cannot.
    pub(crate) states_weight: bool,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.venue == other.venue
    }
}

impl Endpoint {
    /// Where a call counts besides its weight.
    pub fn bucket(&self) -> Bucket {
        Bucket::of_path(self.path)
    }
}

/// An error in the exchange's own shape, `{"code":-1121,"msg":"Invalid symbol."}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeError {
    /// The HTTP status.
    pub status: u16,
    /// The exchange's code, negative.
    pub code: i32,
    /// The message.
    pub msg: String,
}

impl ExchangeError {
    /// An error of its parts.
    pub fn new(status: u16, code: i32, msg: impl Into<String>) -> Self {
        ExchangeError { status, code, msg: msg.into() }
    }

    /// The body that clients parse.
    pub fn body(&self) -> String {
        serde_json::json!({ "code": self.code, "msg": self.msg }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_chooses_a_venue() {
        assert_eq!(Venue::of("/api/v3/depth", ""), Some(Venue::Spot));
        assert_eq!(Venue::of("/sapi/v1/capital/config/getall", ""), Some(Venue::Spot));
        assert_eq!(Venue::of("/fapi/v1/depth", "pair=BTCUSD"), Some(Venue::UsdM));
        assert_eq!(Venue::of("/dapi/v1/depth", ""), Some(Venue::CoinM));
        assert_eq!(Venue::of("/futures/data/basis", "pair=BTCUSDT"), Some(Venue::UsdM));
        assert_eq!(Venue::of("/futures/data/basis", "period=5m&pair=BTCUSD"), Some(Venue::CoinM));
        for path in
            ["//api/v3/depth", "api/v3/depth", "/", "", "/api", "/apix/v3/time", "/futures/x", "http://h/api/v3"]
        {
            assert_eq!(Venue::of(path, ""), None, "{path}");
        }
    }
}
