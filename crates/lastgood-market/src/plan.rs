//! What to do with a request: answer it here, fetch and cache, or let it through.

use std::sync::Arc;

use lastgood::BypassReason;

use crate::candles::Question;
use crate::cut::Cut;
use crate::query::{Params, symbol_list};
use crate::region::RegionName;
use crate::source::Source;
use crate::venue::{Endpoint, Recipe, Venue, Weight, endpoint};

mod memo;
mod pass;

pub use self::memo::Plans;
use self::pass::names_signature;
pub use self::pass::reason_to_pass;

/// What to do with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Answer with this, at no cost.
    Local(&'static str),
    /// Let it through, byte for byte.
    Pass(BypassReason),
    /// Put the answer together from the candles.
    Candles(Arc<Question>),
    /// Answer from the cache.
    Cached {
        /// Answers that serve as well if they happen to be fresh, best first.
        reuse: Vec<Arc<Source>>,
        /// The one to load otherwise.
        load: Arc<Source>,
        /// The question as it was asked, for when `load` turns out not to hold the answer.
        direct: Option<Arc<Source>>,
    },
}

/// A request's parts that bear on its plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// Whether the method is GET.
    pub is_get: bool,
    /// The path, not decoded.
    pub path: &'a str,
    /// The query, not decoded, empty if there is none.
    pub query: &'a str,
    /// The `X-MBX-TIME-UNIT` header.
    pub time_unit: Option<&'a str>,
    /// Whether an `X-MBX-SBE` header asks for a binary answer.
    pub binary: bool,
}

/// What to do with a request to `venue`.
pub fn plan(venue: Venue, request: Request<'_>) -> Plan {
    if !request.is_get || names_signature(request.query) {
        return Plan::Pass(BypassReason::Private);
    }
    let Some(endpoint) = endpoint(venue, request.path) else {
        return Plan::Pass(reason_to_pass(&request));
    };
    match endpoint.recipe {
        Recipe::Ping => return Plan::Local("{}"),
        Recipe::Time => return Plan::Pass(BypassReason::Uncacheable),
        _ if request.binary => return Plan::Pass(BypassReason::Uncacheable),
        _ => {}
    }
    let micros = match request.time_unit {
        None => false,
        Some(unit) if unit.eq_ignore_ascii_case("microsecond") => true,
        Some(unit) if unit.eq_ignore_ascii_case("millisecond") => false,
        // For the exchange to refuse.
        Some(_) => return Plan::Pass(BypassReason::Uncacheable),
    };
    let Some(mut params) = Params::parse(request.query) else {
        return Plan::only(Source::raw(endpoint, request.query, micros));
    };
    settle_limit(endpoint, &mut params);
    let question = Asking { endpoint, params, micros };
    match endpoint.recipe {
        Recipe::Klines => question.candles(),
        Recipe::Ticker => question.ticker(),
        Recipe::ExchangeInfo => question.exchange_info(),
        Recipe::Depth => question.depth(),
        _ => Plan::only(question.direct()),
    }
}

/// Brings `limit` to its one form: clamped where the venue clamps, absent where it is the default.
fn settle_limit(endpoint: &Endpoint, params: &mut Params<'_>) {
    let (Some((default, most)), Some(limit)) = (endpoint.limit, params.number("limit")) else { return };
    // Spot clamps to the maximum; futures refuse, so that their text must come from upstream.
    let limit = if endpoint.venue == Venue::Spot { limit.min(u64::from(most)) } else { limit };
    params.set("limit", (limit != u64::from(default)).then(|| limit.to_string()));
}

impl Plan {
    fn only(load: Source) -> Plan {
        Plan::Cached { reuse: Vec::new(), load: Arc::new(load), direct: None }
    }
}

/// A question that could be normalised.
struct Asking<'a> {
    endpoint: &'static Endpoint,
    params: Params<'a>,
    micros: bool,
}

impl Asking<'_> {
    fn candles(&self) -> Plan {
        let direct = self.direct();
        match Question::of(self.endpoint, &self.params, direct.clone(), self.micros) {
            Some(question) => Plan::Candles(Arc::new(question)),
            None => Plan::only(direct),
        }
    }

    /// The question as it was asked.
    fn direct(&self) -> Source {
        self.source(&self.params, Cut::Whole)
    }

    fn source(&self, params: &Params<'_>, cut: Cut) -> Source {
        let mut source = Source::direct(self.endpoint, params, self.micros);
        source.cut = cut;
        source
    }

    /// Tickers: the all-symbols answer serves every subset, and is loaded for one where it costs little more.
    fn ticker(&self) -> Plan {
        let mut of_all = self.params.clone();
        of_all.set("symbol", None);
        of_all.set("symbols", None);
        let cut = match (self.params.get("symbol"), self.params.get("symbols")) {
            (None, None) => return Plan::only(self.direct()),
            (Some(symbol), None) => Cut::Row(symbol.to_owned()),
            (None, Some(list)) => match symbol_list(list) {
                Some(symbols) => Cut::Rows(symbols),
                None => return Plan::only(self.direct()),
            },
            (Some(_), Some(_)) => return Plan::only(self.direct()),
        };
        let all = self.source(&of_all, cut);
        let direct = self.direct();
        // A stream may keep the single one fresh.
        let reuse =
            if self.endpoint.region == RegionName::BookTicker { vec![Arc::new(direct.clone())] } else { Vec::new() };
        // Three singles of a 2-weight ticker cost more than one 4-weight snapshot that serves all bots.
        if all.weight <= direct.weight * 3 {
            Plan::Cached { reuse, load: Arc::new(all), direct: Some(Arc::new(direct)) }
        } else {
            Plan::Cached { reuse: vec![Arc::new(all)], load: Arc::new(direct), direct: None }
        }
    }

    fn exchange_info(&self) -> Plan {
        let symbols = match (self.params.get("symbol"), self.params.get("symbols")) {
            (Some(symbol), None) => Some(vec![symbol.to_owned()]),
            (None, Some(list)) => symbol_list(list),
            _ => None,
        };
        // USD-M and COIN-M know no filter and send everything.
        let filters = self.endpoint.venue == Venue::Spot && self.params.only(&["symbol", "symbols"]);
        match symbols.filter(|_| filters) {
            Some(symbols) => {
                let load = self.source(&Params::default(), Cut::Symbols(symbols));
                Plan::Cached { reuse: Vec::new(), load: Arc::new(load), direct: Some(Arc::new(self.direct())) }
            }
            None => Plan::only(self.direct()),
        }
    }

    /// Depth: the smallest book of the same weight is loaded, and any deeper fresh one serves.
    fn depth(&self) -> Plan {
        let Weight::Limit(bounds) = self.endpoint.weight else { return Plan::only(self.direct()) };
        let default = self.endpoint.limit.map_or(0, |(default, _)| u64::from(default));
        let limit = match self.params.get("limit") {
            None => Some(default),
            Some(_) => self.params.number("limit"),
        };
        let known = |limit: &u64| match self.endpoint.venue {
            Venue::Spot => *limit > 0,
            Venue::Futures | Venue::Coin => FUTURES_LIMITS.contains(limit),
        };
        let (Some(limit), true) = (limit.filter(known), self.params.only(&["symbol", "limit"])) else {
            return Plan::only(self.direct());
        };
        let levels = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut books = bounds.iter().filter(|(bound, _)| u64::from(*bound) >= limit).map(|(bound, _)| {
            let mut params = self.params.clone();
            params.set("limit", (u64::from(*bound) != default).then(|| bound.to_string()));
            Arc::new(self.source(&params, if u64::from(*bound) == limit { Cut::Whole } else { Cut::Levels(levels) }))
        });
        match books.next() {
            Some(load) => Plan::Cached { reuse: books.collect(), load, direct: None },
            None => Plan::only(self.direct()),
        }
    }
}

/// The depth limits that futures accept; any other is refused upstream.
const FUTURES_LIMITS: [u64; 7] = [5, 10, 20, 50, 100, 500, 1_000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Shape;

    fn get(venue: Venue, target: &str) -> Plan {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        plan(venue, Request { is_get: true, path, query, time_unit: None, binary: false })
    }

    fn cached(target: &str) -> (Vec<Arc<Source>>, Source, Option<Arc<Source>>) {
        match get(Venue::of(target.split('?').next().unwrap(), "").unwrap(), target) {
            Plan::Cached { reuse, load, direct } => (reuse, Source::clone(&load), direct),
            Plan::Candles(question) => (Vec::new(), Source::clone(&question.direct), None),
            other => panic!("{target}: {other:?}"),
        }
    }

    #[test]
    fn signed_or_unknown_or_changing_requests_pass() {
        let private = Plan::Pass(BypassReason::Private);
        assert_eq!(get(Venue::Spot, "/api/v3/account"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&signature=1"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&sign%61ture=1"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&Signature"), private);
        let post = Request { is_get: false, path: "/api/v3/klines", query: "", time_unit: None, binary: false };
        assert_eq!(plan(Venue::Spot, post), private);
        assert_eq!(get(Venue::Spot, "/api/v3/time"), Plan::Pass(BypassReason::Uncacheable));
        assert_eq!(get(Venue::Spot, "/api/v3/ping"), Plan::Local("{}"));
    }

    #[test]
    fn one_symbol_of_a_cheap_ticker_loads_the_snapshot() {
        let (reuse, load, direct) = cached("/api/v3/ticker/price?symbol=BTCUSDT");
        assert!(reuse.is_empty());
        assert_eq!((load.query.as_str(), load.weight, load.shape), ("", 4, Shape::Array));
        assert_eq!(load.cut, Cut::Row("BTCUSDT".to_owned()));
        assert_eq!(direct.unwrap().query, "symbol=BTCUSDT");
    }

    #[test]
    fn one_symbol_of_a_dear_ticker_is_loaded_alone_but_reuses_a_snapshot() {
        let (reuse, load, _) = cached("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI");
        assert_eq!((load.query.as_str(), load.weight, load.shape), ("symbol=BTCUSDT&type=MINI", 2, Shape::Object));
        assert_eq!(reuse[0].query, "type=MINI");
    }

    #[test]
    fn depth_is_loaded_at_the_bound_of_its_weight() {
        let (reuse, load, _) = cached("/api/v3/depth?symbol=X&limit=5");
        assert_eq!((load.query.as_str(), load.weight), ("symbol=X", 5));
        assert_eq!(load.cut, Cut::Levels(5));
        assert_eq!(reuse.len(), 3);
        let (_, load, _) = cached("/api/v3/depth?limit=20000&symbol=X");
        assert_eq!((load.query.as_str(), load.cut), ("limit=5000&symbol=X", Cut::Whole));
        let (_, load, _) = cached("/fapi/v1/depth?symbol=X&limit=20");
        assert_eq!((load.query.as_str(), load.weight), ("limit=50&symbol=X", 2));
        let (_, load, _) = cached("/fapi/v1/depth?symbol=X&limit=7");
        assert_eq!(load.query, "limit=7&symbol=X", "for the exchange to refuse");
    }

    #[test]
    fn equal_questions_have_equal_keys() {
        let key = |target: &str| cached(target).1.key;
        let klines = key("/api/v3/klines?symbol=X&interval=1m");
        assert_eq!(klines, key("/api/v3/klines?interval=1m&symbol=X&limit=500"));
        assert_ne!(klines, key("/api/v3/klines?interval=1M&symbol=X"));
        assert_ne!(klines, key("/api/v3/uiKlines?interval=1m&symbol=X"));
        assert_eq!(key("/api/v3/trades?symbol=X&limit=5000"), key("/api/v3/trades?symbol=X&limit=1000"));
    }

    #[test]
    fn long_questions_have_short_keys() {
        let many = (0..100).map(|n| format!("%22SYMBOL{n}%22")).collect::<Vec<_>>().join(",");
        let (_, load, _) = cached(&format!("/api/v3/ticker?symbols=[{many}]"));
        assert!(load.key.len() <= 256);
        assert!(load.query.len() > 256);
    }

    #[test]
    fn the_time_unit_is_part_of_the_key() {
        let with = |time_unit| {
            plan(
                Venue::Spot,
                Request { is_get: true, path: "/api/v3/trades", query: "symbol=X", time_unit, binary: false },
            )
        };
        assert_ne!(with(None), with(Some("MICROSECOND")));
        assert_eq!(with(None), with(Some("millisecond")));
        assert_eq!(with(Some("FORTNIGHT")), Plan::Pass(BypassReason::Uncacheable));
    }
}
