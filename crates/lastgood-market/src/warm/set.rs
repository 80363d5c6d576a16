//! The set to keep warm, in the order in which it is loaded.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::WarmOptions;
use crate::candles::Question;
use crate::plan::{Plan, Request, plan};
use crate::symbol_chain::{SymbolChain, request};
use crate::{Identities, RegionName, UpstreamRequest, Venue};

/// The regions that can be kept warm, in the order in which they are loaded.
pub const WARMED: [RegionName; 4] =
    [RegionName::ExchangeInfo, RegionName::Symbols, RegionName::Ticker24hr, RegionName::Klines];

/// What was declared.
#[derive(Hash)]
pub(super) struct Set {
    /// Gateways of other exchanges keep other things warm.
    identities: Identities,
    markets: Vec<Venue>,
    symbols: Vec<String>,
    popular: usize,
    intervals: Vec<String>,
    candles: usize,
    tickers: bool,
}

/// One thing to keep warm.
#[derive(Clone)]
pub(super) enum Item {
    /// An answer of the exchange's: an exchangeInfo, or the tickers of all symbols.
    Request(Arc<UpstreamRequest>),
    /// The prepared list of a market.
    List(Venue),
    /// The newest candles of a series.
    Candles(Arc<Question>),
}

/// A part of what was declared; all of it by default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only the candles of this symbol.
    pub symbol: Option<String>,
    /// Only items of these regions.
    pub regions: Option<Vec<RegionName>>,
}

impl Filter {
    pub(super) fn is_all(&self) -> bool {
        self.symbol.is_none() && self.regions.is_none()
    }

    fn takes_region(&self, region: RegionName) -> bool {
        self.regions.as_ref().is_none_or(|regions| regions.contains(&region))
    }

    fn takes(&self, item: &Item) -> bool {
        let of_region = self.takes_region(item.region());
        let symbol = match item {
            Item::Candles(question) => Some(question.series.symbol()),
            Item::Request(_) | Item::List(_) => None,
        };
        of_region && (self.symbol.is_none() || self.symbol.as_deref() == symbol)
    }
}

impl fmt::Display for Item {
    /// Its region, and what of it, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region();
        match self {
            Item::Request(request) => write!(f, "{region} of {}", request.endpoint.venue),
            Item::List(venue) => write!(f, "{region} of {venue}"),
            Item::Candles(question) => {
                let series = &question.series;
                write!(f, "{region} of {} {}, {}", series.symbol(), series.interval, series.endpoint.venue)
            }
        }
    }
}

impl Item {
    /// Whether a key in its region is its own.
    pub(super) fn names(&self, chain: &SymbolChain, name: &str) -> bool {
        match self {
            Item::Request(request) => request.key == name,
            Item::List(venue) => chain.name(*venue) == name,
            Item::Candles(question) => name.starts_with(question.series.prefix()),
        }
    }

    pub(super) fn region(&self) -> RegionName {
        match self {
            Item::Request(request) => request.region(),
            Item::List(_) => RegionName::Symbols,
            Item::Candles(_) => RegionName::Klines,
        }
    }
}

impl Set {
    pub(super) fn of(warm: &WarmOptions, identities: &Identities) -> Set {
        Set {
            identities: identities.clone(),
            markets: warm.markets.clone(),
            symbols: warm.symbols.clone(),
            popular: warm.popular,
            intervals: warm.intervals.clone(),
            candles: warm.candles,
            tickers: warm.tickers,
        }
    }

    /// The regions of what was declared, in the order in which they are loaded.
    pub(super) fn regions(&self) -> Vec<RegionName> {
        let has = |region: &RegionName| match region {
            RegionName::Ticker24hr => self.tickers,
            RegionName::Klines => !self.intervals.is_empty(),
            _ => true,
        };
        WARMED.into_iter().filter(|region| !self.markets.is_empty() && has(region)).collect()
    }

    /// Why `only` takes nothing of what was declared, for people: what would have to be declared.
    pub(super) fn why_nothing(&self, only: &Filter) -> String {
        let is_of = |region: &RegionName| only.takes_region(*region);
        if !WARMED.iter().any(is_of) {
            let warmed = WARMED.map(RegionName::as_str).join(", ");
            let asked = only.regions.iter().flatten().map(|region| region.as_str()).collect::<Vec<_>>().join(", ");
            return format!("{asked} is no region of the exchange that can be kept warm; those are {warmed}");
        }
        if self.markets.is_empty() {
            return "no market is declared: set warm.markets, or preset = \"dashboard\"".to_owned();
        }
        // A symbol is asked for its candles alone.
        let is_of_candles = is_of(&RegionName::Klines);
        match &only.symbol {
            Some(symbol) if !is_of_candles => format!("of {symbol} the candles alone can be kept warm: name klines"),
            _ if is_of_candles && self.intervals.is_empty() => {
                "no interval of candles is declared: set warm.intervals".to_owned()
            }
            Some(symbol) => format!("no market of warm.markets has {symbol} in its list of symbols"),
            None if is_of_candles => "no symbol is declared: set warm.symbols or warm.popular".to_owned(),
            None => "the tickers are not kept warm: set warm.tickers".to_owned(),
        }
    }

    /// The same for nodes that are configured to keep the same warm, in these regions.
    pub(super) fn fingerprint(&self, regions: &[RegionName]) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self, regions).hash(&mut hasher);
        hasher.finish()
    }

    /// The first loads: lists of symbols, each after the exchangeInfo it is made of, then tickers.
    pub(super) fn lists(&self, chain: &SymbolChain, only: &Filter) -> Vec<Item> {
        let request = |venue: Venue, endpoint: &str| request(&self.identities, venue, endpoint).ok().map(Item::Request);
        let lists = self
            .markets
            .iter()
            .flat_map(|&venue| [request(venue, "exchangeInfo"), Some(Item::List(venue))].into_iter().flatten());
        let ticked = self.markets.iter().filter(|_| self.tickers);
        let tickers = ticked.filter_map(|&venue| request(venue, "ticker/24hr"));
        lists.chain(tickers).filter(|item| only.takes(item) || self.ranks_by(item, chain, only)).collect()
    }

    /// Whether an item is a list that memory lacks and that says which candles `only` takes.
    fn ranks_by(&self, item: &Item, chain: &SymbolChain, only: &Filter) -> bool {
        let by_rank = self.popular > 0 && !self.intervals.is_empty() && only.symbol.is_none();
        let is_absent = |item: &Item| matches!(item, Item::List(venue) if chain.kept(*venue).is_none());
        by_rank && only.takes_region(RegionName::Klines) && is_absent(item)
    }

    /// The candles, by the rank of their symbols, as far as the lists in memory know it.
    pub(super) fn candles(&self, chain: &SymbolChain, only: &Filter) -> Vec<Item> {
        let ranked: Vec<(Venue, Vec<String>)> =
            self.markets.iter().map(|&venue| (venue, self.ranked(chain, venue, only))).collect();
        let longest = ranked.iter().map(|(_, symbols)| symbols.len()).max().unwrap_or_default();
        let of_rank =
            |rank: usize| ranked.iter().filter_map(move |(venue, symbols)| Some((*venue, symbols.get(rank)?)));
        let series = (0..longest).flat_map(of_rank);
        let items = series.flat_map(|(venue, symbol)| {
            self.intervals.iter().filter_map(move |interval| self.question(venue, symbol, interval))
        });
        items.filter(|item| only.takes(item)).collect()
    }

    fn ranked(&self, chain: &SymbolChain, venue: Venue, only: &Filter) -> Vec<String> {
        let listed = listed(chain, venue);
        let declared = only.symbol.iter().chain(&self.symbols);
        // Without a list the exchange says what it does not know.
        let declared = declared.filter(|symbol| listed.is_empty() || listed.contains(symbol));
        let popular = listed.iter().take(self.popular);
        let mut ranked: Vec<String> = Vec::new();
        for symbol in declared.chain(popular) {
            if !ranked.contains(symbol) {
                ranked.push(symbol.clone());
            }
        }
        ranked
    }

    fn question(&self, venue: Venue, symbol: &str, interval: &str) -> Option<Item> {
        let path = match venue {
            Venue::Spot => "/api/v3/klines",
            Venue::UsdM => "/fapi/v1/klines",
            Venue::CoinM => "/dapi/v1/klines",
        };
        let symbol = utf8_percent_encode(symbol, NON_ALPHANUMERIC);
        let query = format!("symbol={symbol}&interval={interval}&limit={}", self.candles);
        match plan(&self.identities, venue, Request { is_get: true, path, query: &query, ..Request::default() }) {
            Plan::Candles(question) => Some(Item::Candles(question)),
            Plan::Cached(_) | Plan::Local(_) | Plan::Pass(_) => None,
        }
    }
}

/// The names in a market's list, in its order; none while there is no list.
fn listed(chain: &SymbolChain, venue: Venue) -> Vec<String> {
    #[derive(Deserialize)]
    struct Row {
        symbol: String,
    }
    let held = chain.kept(venue);
    let rows: Vec<Row> = held.and_then(|list| serde_json::from_slice(list.body()).ok()).unwrap_or_default();
    rows.into_iter().map(|row| row.symbol).collect()
}
