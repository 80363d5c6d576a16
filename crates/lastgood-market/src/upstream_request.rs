//! A request to the exchange whose answer can be cached: what names the answer, what it costs, what it looks like.

use lastgood::{Timestamp, Value};

use crate::identity::MICROSECONDS;
use crate::projection::Projection;
use crate::query::{Params, symbol_list};
use crate::region::RegionName;
use crate::venue::{Endpoint, Kind, Recipe, Shape, Venue, weight_of};

mod freshness;

/// A request whose answer can be cached, and the part of that answer that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamRequest {
    /// The line of the endpoint table.
    pub endpoint: &'static Endpoint,
    /// The key in the endpoint's region.
    pub key: String,
    /// The query to ask the upstream with.
    pub query: String,
    /// What asking costs.
    pub weight: u32,
    /// What a good answer looks like: never [`Shape::ObjectForSymbol`].
    pub(crate) shape: Shape,
    /// What part of it was asked for.
    pub projection: Projection,
    /// Whether response times are wanted in microseconds.
    pub micros: bool,
    pub(crate) asked: Asked,
}

/// The bounds of the question: an answer keeps to them, and they bear on how long it stays true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    interval: Option<String>,
    limit: Option<u64>,
    pub(crate) from_id: Option<u64>,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    /// The symbols that are named; all others' rows are somebody else's.
    pub(crate) symbols: Vec<String>,
    pub(crate) pair: Option<String>,
    /// The most rows that the answer may have, where that is certain.
    pub(crate) most_rows: Option<u64>,
    /// Whether `type=MINI` is asked for, which leaves fields out.
    pub(crate) is_mini: bool,
    /// Whether an array is a list of symbols, which is never empty.
    pub(crate) lists_symbols: bool,
    /// Whether only symbols of some kind are wanted: there may be none.
    pub(crate) is_narrowed: bool,
}

impl Asked {
    fn of(endpoint: &Endpoint, params: &Params<'_>) -> Asked {
        let limit = params.number("limit").or(endpoint.limit.map(|(default, _)| u64::from(default)));
        let is_spot = endpoint.venue == Venue::Spot;
        // Futures know no list of symbols, and pass over what they do not know.
        let symbols = match (params.get("symbol"), params.get("symbols").filter(|_| is_spot)) {
            _ if !is_spot && takes_no_symbol(endpoint) => Vec::new(),
            (Some(symbol), None) => vec![symbol.to_owned()],
            (None, Some(list)) => symbol_list(list).unwrap_or_default(),
            _ => Vec::new(),
        };
        // Some pages are longer than the default where no limit is given, such as those between two times.
        let is_certain = params.get("limit").is_some() || endpoint.recipe != Recipe::Page;
        let lists_symbols = matches!(endpoint.content, Kind::Object([(_, Kind::OwnSymbol), ..]));
        // Of a symbol and a pair that contradict each other, the answer may be the symbol's.
        let is_pairs = !(lists_symbols && params.get("symbol").is_some());
        Asked {
            interval: params.get("interval").or(params.get("period")).map(str::to_owned),
            limit,
            from_id: params.number("fromId"),
            start: params.number("startTime").map(to_millis),
            end: params.number("endTime").map(to_millis),
            symbols,
            pair: params.get("pair").filter(|_| is_pairs).map(str::to_owned),
            // An endpoint without a limit passes over it, or refuses.
            most_rows: endpoint.limit.and(limit).filter(|_| is_certain),
            is_mini: is_spot && params.get("type") == Some("MINI"),
            lists_symbols,
            is_narrowed: !params.only(&["symbol", "symbols", "type", "showPermissionSets"]),
        }
    }
}

/// Whether an endpoint of the futures answers with every symbol, even if one is named.
fn takes_no_symbol(endpoint: &Endpoint) -> bool {
    endpoint.recipe == Recipe::ExchangeInfo || endpoint.region == RegionName::FundingInfo
}

/// An answer of the exchange.
#[derive(Clone, Debug)]
pub struct Received {
    /// The answer, checked to be what was asked for.
    pub value: Value,
    /// When the request that it answers was sent, by this machine's clock: after waiting for the budget, and after other hosts
    /// had failed. Of two answers the one that was asked for later is the newer.
    pub asked_at: Timestamp,
}

impl UpstreamRequest {
    /// A question that could not be normalised: keyed as it stands, for the exchange to judge. `exchange` is what keys of the
    /// exchange begin with.
    pub(crate) fn raw(exchange: &str, endpoint: &'static Endpoint, query: &str, micros: bool) -> UpstreamRequest {
        UpstreamRequest {
            endpoint,
            key: key(exchange, endpoint, query, micros),
            query: query.to_owned(),
            weight: weight_of(endpoint, &Params::default()),
            shape: Shape::Any,
            projection: Projection::Whole,
            micros,
            // A request that is not understood may ask for so little that there is none of it.
            asked: Asked { is_narrowed: true, ..Asked::default() },
        }
    }

    /// The whole answer to a query.
    pub(crate) fn direct(
        exchange: &str,
        endpoint: &'static Endpoint,
        params: &Params<'_>,
        micros: bool,
    ) -> UpstreamRequest {
        let shape = match endpoint.shape {
            Shape::ObjectForSymbol if params.get("symbol").is_some() => Shape::Object,
            Shape::ObjectForSymbol => Shape::Array,
            known => known,
        };
        let asked = Asked::of(endpoint, params);
        let query = params.to_query();
        let (key, weight) = (key(exchange, endpoint, &query, micros), weight_of(endpoint, params));
        UpstreamRequest { endpoint, key, weight, query, shape, projection: Projection::Whole, micros, asked }
    }

    /// The region of the answer.
    pub fn region(&self) -> RegionName {
        self.endpoint.region
    }
}

/// Longer keys are replaced by their hash: stores take 1,024 bytes, prefix included.
const LONGEST_KEY: usize = 256;

fn key(exchange: &str, endpoint: &Endpoint, query: &str, micros: bool) -> String {
    let unit = if micros { MICROSECONDS } else { "" };
    let plain = [unit, exchange, endpoint.path, "?", query].concat();
    if plain.len() <= LONGEST_KEY {
        return plain;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, plain.as_bytes());
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{unit}{exchange}{}?sha256={hex}", endpoint.path)
}

/// Times come in milliseconds or microseconds; 10^14 ms is the year 5138.
pub(crate) fn to_millis(time: u64) -> u64 {
    if time > 100_000_000_000_000 { time / 1_000 } else { time }
}
