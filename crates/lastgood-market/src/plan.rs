//! What to do with a request: answer it here, fetch and cache, or let it through.

use std::sync::Arc;

use lastgood::BypassReason;

use crate::candles::Question;
use crate::identity::Identities;
use crate::line::Line;
use crate::projection::Projection;
use crate::query::{Params, is_symbol, symbol_list};
use crate::region::RegionName;
use crate::upstream_request::UpstreamRequest;
use crate::venue::{Endpoint, Recipe, Venue, Weight, endpoint};

mod memo;
mod pass;

pub use self::memo::Plans;
pub use self::pass::{is_signed, reason_to_pass};
use self::pass::{names_credential, names_signature};

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
    Cached(Line),
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

impl Request<'_> {
    /// Whether path and query alone determine the question: anything else that bears on it is absent.
    pub fn is_all_in_target(&self) -> bool {
        self.is_get && self.time_unit.is_none() && !self.binary
    }
}

/// What to do with a request to `venue`, whose answers are kept as those of its exchange in `identities`.
pub fn plan(identities: &Identities, venue: Venue, request: Request<'_>) -> Plan {
    if !request.is_get || names_signature(request.query) {
        return Plan::Pass(BypassReason::Private);
    }
    let Some(endpoint) = endpoint(venue, request.path).filter(|_| !names_credential(request.query)) else {
        return Plan::Pass(reason_to_pass(&request));
    };
    match endpoint.recipe {
        // Spot refuses parameters that it does not read, futures do not.
        Recipe::Ping if !request.query.is_empty() => return Plan::Pass(BypassReason::Uncacheable),
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
    let exchange = identities.of(venue);
    let Some(mut params) = Params::parse(request.query) else {
        let line = Line::only(UpstreamRequest::raw(exchange, endpoint, request.query, micros));
        return Plan::Cached(line.starting_a_book(endpoint.recipe == Recipe::Depth));
    };
    settle_limit(endpoint, &mut params);
    let question = Asking { exchange, endpoint, params, micros };
    match endpoint.recipe {
        Recipe::Klines => question.candles(),
        Recipe::Ticker => question.ticker(),
        Recipe::ExchangeInfo => question.exchange_info(),
        Recipe::Depth => question.depth(),
        Recipe::Query | Recipe::Page if matches!(endpoint.region, RegionName::Trades | RegionName::AggTrades) => {
            question.trades()
        }
        _ => question.as_asked(),
    }
}

/// Brings `limit` to its one form: clamped where the venue clamps, absent where it is the default.
fn settle_limit(endpoint: &Endpoint, params: &mut Params<'_>) {
    let (Some((default, most)), Some(limit)) = (endpoint.limit, params.number("limit")) else { return };
    let limit = match endpoint.venue {
        Venue::Spot if limit > LARGEST_LIMIT => return,
        // Spot clamps to the maximum; futures refuse, so that their text must come from upstream.
        Venue::Spot => limit.min(u64::from(most)),
        Venue::UsdM | Venue::CoinM => limit,
    };
    params.set("limit", (limit != u64::from(default)).then(|| limit.to_string()));
}

/// A larger limit may be no number to the exchange.
const LARGEST_LIMIT: u64 = i32::MAX as u64;

/// A question that could be normalised. Wherever it is not certain that the exchange would answer it, it is asked as it
/// stands: an answer made from something else must be what the exchange would have said.
struct Asking<'a> {
    /// What keys of its exchange begin with.
    exchange: &'a str,
    endpoint: &'static Endpoint,
    params: Params<'a>,
    micros: bool,
}

impl Asking<'_> {
    fn candles(&self) -> Plan {
        let direct = self.direct();
        match Question::of(self.exchange, self.endpoint, &self.params, direct.clone(), self.micros) {
            Some(question) => Plan::Candles(Arc::new(question)),
            None => self.as_asked(),
        }
    }

    /// Answered by itself alone.
    fn as_asked(&self) -> Plan {
        Plan::Cached(Line::only(self.direct()))
    }

    /// The question as it was asked.
    fn direct(&self) -> UpstreamRequest {
        self.request(&self.params, Projection::Whole)
    }

    fn request(&self, params: &Params<'_>, projection: Projection) -> UpstreamRequest {
        let mut request = UpstreamRequest::direct(self.exchange, self.endpoint, params, self.micros);
        request.projection = projection;
        request
    }

    /// The same question with another limit.
    fn limited(&self, limit: u64, projection: Projection) -> UpstreamRequest {
        let default = self.endpoint.limit.map_or(0, |(default, _)| u64::from(default));
        let mut params = self.params.clone();
        params.set("limit", (limit != default).then(|| limit.to_string()));
        self.request(&params, projection)
    }

    /// The limit that is asked for; `None` where it is written in any but the plainest way.
    fn limit(&self) -> Option<u64> {
        match self.params.get("limit") {
            None => Some(self.endpoint.limit.map_or(0, |(default, _)| u64::from(default))),
            Some(_) => self.params.number("limit"),
        }
    }

    fn names_a_symbol(&self) -> bool {
        self.params.get("symbol").is_some_and(is_symbol)
    }

    /// The symbols that are asked for, as far as they can be found in an answer for all.
    fn symbols(&self) -> Option<Vec<String>> {
        match (self.params.get("symbol"), self.params.get("symbols")) {
            (Some(symbol), None) => is_symbol(symbol).then(|| vec![symbol.to_owned()]),
            (None, Some(list)) => symbol_list(list),
            _ => None,
        }
    }

    /// Tickers: the all-symbols answer serves every subset, and is loaded for one where it costs little more.
    fn ticker(&self) -> Plan {
        let known: &[&str] = match (self.endpoint.venue, self.endpoint.region) {
            (Venue::Spot, RegionName::Ticker24hr) => &["symbol", "symbols", "symbolStatus", "type"],
            (Venue::Spot, _) => &["symbol", "symbols", "symbolStatus"],
            // Futures know no list of symbols, and pass over what they do not know.
            (Venue::UsdM | Venue::CoinM, _) => &["symbol"],
        };
        let is = |name: &str, values: &[&str]| self.params.get(name).is_none_or(|value| values.contains(&value));
        let is_known = self.params.only(known)
            && is("type", &["FULL", "MINI"])
            && is("symbolStatus", &["TRADING", "HALT", "BREAK"]);
        let Some(mut symbols) = self.symbols().filter(|_| is_known) else { return self.as_asked() };
        // An object for `symbol`, but on COIN-M; a list for `symbols`.
        let projection = match symbols.pop() {
            Some(one) if self.params.get("symbol").is_some() && self.endpoint.venue != Venue::CoinM => {
                Projection::Row(one)
            }
            last => Projection::Rows(symbols.into_iter().chain(last).collect()),
        };
        let mut of_all = self.params.clone();
        of_all.set("symbol", None);
        of_all.set("symbols", None);
        let (all, direct) = (self.request(&of_all, projection), self.direct());
        // Three singles of a 2-weight ticker cost more than one 4-weight snapshot that serves all bots.
        Plan::Cached(match all.weight <= direct.weight * 3 {
            true => Line::new(all, Some(direct), []),
            false => Line::new(direct, None, [all]),
        })
    }

    fn exchange_info(&self) -> Plan {
        // USD-M and COIN-M know no filter and send everything.
        let filters = self.endpoint.venue == Venue::Spot && self.params.only(&["symbol", "symbols"]);
        match self.symbols().filter(|_| filters) {
            Some(symbols) => {
                let load = self.request(&Params::default(), Projection::Symbols(symbols));
                Plan::Cached(Line::new(load, Some(self.direct()), []))
            }
            None => self.as_asked(),
        }
    }

    /// Depth: the smallest book of the same weight is loaded, and any deeper one serves.
    fn depth(&self) -> Plan {
        let limit = self.limit();
        // A limit that is not understood may be as deep as any.
        let starts_book = limit.is_none_or(|limit| limit >= BOOK_LEVELS);
        let direct = || Plan::Cached(Line::only(self.direct()).starting_a_book(starts_book));
        let known = |limit: &u64| match self.endpoint.venue {
            Venue::Spot => *limit > 0,
            Venue::UsdM | Venue::CoinM => FUTURES_LIMITS.contains(limit),
        };
        let is_plain = self.names_a_symbol() && self.params.only(&["symbol", "limit"]);
        let (Weight::Limit(bounds), Some(limit), true) = (self.endpoint.weight, limit.filter(known), is_plain) else {
            return direct();
        };
        let levels = usize::try_from(limit).unwrap_or(usize::MAX);
        let bounds = bounds.iter().map(|(bound, _)| u64::from(*bound)).filter(|bound| *bound >= limit);
        let projection = |bound| if bound == limit { Projection::Whole } else { Projection::Levels(levels) };
        let mut books = bounds.map(|bound| self.limited(bound, projection(bound)));
        match books.next() {
            Some(load) => Plan::Cached(Line::new(load, None, books).starting_a_book(starts_book)),
            None => direct(),
        }
    }

    /// The newest trades: the end of a longer list is a shorter one.
    fn trades(&self) -> Plan {
        let (Some((default, most)), Some(limit)) = (self.endpoint.limit, self.limit()) else { return self.as_asked() };
        let is_plain = self.names_a_symbol() && self.params.only(&["symbol", "limit"]);
        if !is_plain || !(1..=u64::from(most)).contains(&limit) {
            return self.as_asked();
        }
        let last = Projection::Last(usize::try_from(limit).unwrap_or(usize::MAX));
        let longer = [default, most].map(u64::from).into_iter().filter(|longer| *longer > limit);
        Plan::Cached(Line::new(self.direct(), None, longer.map(|longer| self.limited(longer, last.clone()))))
    }
}

/// A book of this many levels a side can start a local order book, which the diff streams then keep: one from before
/// the question may be older than the first event that the client has buffered, and never joins them. The exchange's
/// own recipe takes 5,000 levels on spot and 1,000 on futures, ccxt and node-binance-api 500 to 1,000, python-binance
/// 500; shallower ones are polled.
const BOOK_LEVELS: u64 = 500;

/// The depth limits that futures accept; any other is refused upstream.
const FUTURES_LIMITS: [u64; 7] = [5, 10, 20, 50, 100, 500, 1_000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Shape;

    fn get(venue: Venue, target: &str) -> Plan {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        plan(&Identities::public(), venue, Request { is_get: true, path, query, time_unit: None, binary: false })
    }

    fn line(target: &str) -> Line {
        match get(Venue::of(target.split('?').next().unwrap(), "").unwrap(), target) {
            Plan::Cached(line) => line,
            Plan::Candles(question) => Line::only(question.direct.clone()),
            other => panic!("{target}: {other:?}"),
        }
    }

    fn load(target: &str) -> UpstreamRequest {
        UpstreamRequest::clone(line(target).load())
    }

    #[test]
    fn signed_or_unknown_or_changing_requests_pass() {
        let private = Plan::Pass(BypassReason::Private);
        assert_eq!(get(Venue::Spot, "/api/v3/account"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&signature=1"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&sign%61ture=1"), private);
        assert_eq!(get(Venue::Spot, "/api/v3/klines?symbol=X&Signature"), private);
        let post = Request { is_get: false, path: "/api/v3/klines", query: "", time_unit: None, binary: false };
        assert_eq!(plan(&Identities::public(), Venue::Spot, post), private);
        assert_eq!(get(Venue::Spot, "/api/v3/time"), Plan::Pass(BypassReason::Uncacheable));
        assert_eq!(get(Venue::Spot, "/api/v3/ping"), Plan::Local("{}"));
    }

    #[test]
    fn what_carries_an_api_key_becomes_no_key_of_the_cache() {
        let passed = Plan::Pass(BypassReason::NeedsKey);
        for name in [
            "apiKey",
            "APIKEY",
            "api_key",
            "api-key",
            "%61piKey",
            "X-MBX-APIKEY",
            "apiKey2",
            "myApiKey",
            "secret",
            "clientSecret",
            "token",
            "access_token",
            "listenKey",
            "passwd",
            "session_id",
            "Authorization",
            "key",
        ] {
            for path in
                ["/api/v3/ticker/price", "/api/v3/klines", "/api/v3/depth", "/api/v3/exchangeInfo", "/api/v3/what"]
            {
                assert_eq!(get(Venue::Spot, &format!("{path}?symbol=BTCUSDT&{name}=x")), passed, "{path} {name}");
            }
        }
    }

    #[test]
    fn a_ping_with_parameters_is_for_the_exchange_to_refuse() {
        assert_eq!(get(Venue::Spot, "/api/v3/ping?x=1"), Plan::Pass(BypassReason::Uncacheable));
    }

    #[test]
    fn one_symbol_of_a_cheap_ticker_loads_the_snapshot() {
        let line = line("/api/v3/ticker/price?symbol=BTCUSDT");
        let load = line.load();
        assert_eq!((load.query.as_str(), load.weight, load.shape), ("", 4, Shape::Array));
        assert_eq!(load.projection, Projection::Row("BTCUSDT".to_owned()));
        assert_eq!(line.question().query, "symbol=BTCUSDT");
        let keys: Vec<&str> = line.candidates().iter().map(|request| request.key.as_str()).collect();
        let path = "spot/api/v3/ticker/price?";
        let all = [path.to_owned(), format!("{path}symbol=BTCUSDT"), format!("{path}#before")];
        assert_eq!(keys, all, "the list, the question itself, and the list from before");
    }

    #[test]
    fn one_symbol_of_a_dear_ticker_is_loaded_alone_but_may_come_of_a_snapshot() {
        let line = line("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI");
        let load = line.load();
        assert_eq!((load.query.as_str(), load.weight, load.shape), ("symbol=BTCUSDT&type=MINI", 2, Shape::Object));
        assert_eq!(line.candidates()[1].query, "type=MINI");
    }

    #[test]
    fn a_coin_m_ticker_of_one_symbol_is_a_list_of_one() {
        let line = line("/dapi/v1/ticker/price?symbol=BTCUSD_PERP");
        assert_eq!(line.load().projection, Projection::Rows(vec!["BTCUSD_PERP".to_owned()]));
        assert_eq!(get(Venue::CoinM, "/dapi/v1/ticker/price?pair=BTCUSD"), {
            let direct = self::load("/dapi/v1/ticker/price?pair=BTCUSD");
            assert_eq!(direct.projection, Projection::Whole);
            Plan::Cached(Line::only(direct))
        });
    }

    #[test]
    fn depth_is_loaded_at_the_bound_of_its_weight() {
        let line = line("/api/v3/depth?symbol=X&limit=5");
        assert_eq!((line.load().query.as_str(), line.load().weight), ("symbol=X", 5));
        assert_eq!(line.load().projection, Projection::Levels(5));
        assert_eq!(line.candidates().len(), 4);
        let deep = load("/api/v3/depth?limit=20000&symbol=X");
        assert_eq!((deep.query.as_str(), deep.projection), ("limit=5000&symbol=X", Projection::Whole));
        let load = load("/fapi/v1/depth?symbol=X&limit=20");
        assert_eq!((load.query.as_str(), load.weight), ("limit=50&symbol=X", 2));
        let load = self::load("/fapi/v1/depth?symbol=X&limit=7");
        assert_eq!(load.query, "limit=7&symbol=X", "for the exchange to refuse");
    }

    #[test]
    fn a_depth_of_five_hundred_levels_or_of_an_unknown_number_may_start_a_book() {
        for (target, starts_book) in [
            ("/api/v3/depth?symbol=X", false),
            ("/api/v3/depth?symbol=X&limit=499", false),
            ("/api/v3/depth?symbol=X&limit=499&symbolStatus=TRADING", false),
            ("/api/v3/depth?symbol=X&limit=500", true),
            ("/api/v3/depth?symbol=X&limit=1000&symbolStatus=TRADING", true),
            ("/api/v3/depth?symbol=X&limit=9999", true),
            ("/api/v3/depth?symbol=X&limit=0500", true),
            ("/api/v3/depth?symbol=X&limit=%2B500", true),
            ("/api/v3/depth?symbol=X&limit=+500", true),
            ("/fapi/v1/depth?symbol=X&limit=100", false),
            ("/fapi/v1/depth?symbol=X", true),
            ("/dapi/v1/depth?symbol=X&limit=1000", true),
        ] {
            assert_eq!(line(target).starts_book(), starts_book, "{target}");
        }
    }

    #[test]
    fn the_newest_trades_are_the_end_of_any_longer_list() {
        let line = line("/api/v3/trades?symbol=X&limit=5");
        let others: Vec<_> =
            line.candidates()[1..].iter().map(|request| (request.query.as_str(), &request.projection)).collect();
        assert_eq!(others, [("symbol=X", &Projection::Last(5)), ("limit=1000&symbol=X", &Projection::Last(5))]);
        assert_eq!(line.load().query, "limit=5&symbol=X");
        assert_eq!(self::line("/api/v3/aggTrades?symbol=X&limit=5&fromId=1").candidates().len(), 1);
        assert_eq!(self::line("/fapi/v1/aggTrades?symbol=X&limit=1001").candidates().len(), 1);
    }

    #[test]
    fn what_the_exchange_may_refuse_is_asked_as_it_stands() {
        for target in [
            "/api/v3/ticker/price?symbols=[\"A\",%20\"B\"]",
            "/api/v3/ticker/price?symbols=[\"A\",\"A\"]",
            "/api/v3/ticker/price?symbols=[\"\\u0041\"]",
            "/api/v3/ticker/price?symbols=[]",
            "/api/v3/ticker/price?symbols=",
            "/api/v3/ticker/price?symbol=",
            "/api/v3/ticker/price?symbol=btcusdt",
            "/api/v3/ticker/price?symbol=A%20",
            "/api/v3/ticker/price?symbol=A&symbols=[\"A\"]",
            "/api/v3/ticker/price?symbol=A&type=MINI",
            "/api/v3/ticker/24hr?symbol=A&type=mini",
            "/api/v3/ticker/price?symbol=A&symbolStatus=X",
            "/api/v3/ticker/price?symbol=A&x=1",
            "/api/v3/exchangeInfo?symbol=btcusdt",
            "/api/v3/exchangeInfo?symbols=[\"A\",\"A\"]",
            "/api/v3/exchangeInfo?symbol=A&permissions=SPOT",
            "/api/v3/depth?limit=5",
            "/api/v3/depth?symbol=A&limit=0",
            "/api/v3/depth?symbol=A&limit=-5",
            "/api/v3/depth?symbol=A&limit=05",
            "/api/v3/depth?symbol=A&limit=99999999999",
            "/api/v3/trades?symbol=A&limit=",
            "/fapi/v1/ticker/price?symbol=A&x=1",
            "/fapi/v1/ticker/price?symbols=[\"A\"]",
        ] {
            let line = line(target);
            assert_eq!((line.candidates().len(), &line.load().projection), (1, &Projection::Whole), "{target}");
            let (_, query) = target.split_once('?').unwrap();
            assert_eq!(line.load().query, Params::parse(query).unwrap().to_query(), "{target}");
        }
        let unicode = load("/api/v3/ticker/price?symbols=[\"币安人生USDT\"]");
        assert_eq!(unicode.projection, Projection::Rows(vec!["币安人生USDT".to_owned()]));
    }

    #[test]
    fn equal_questions_have_equal_keys() {
        let key = |target: &str| load(target).key;
        let klines = key("/api/v3/klines?symbol=X&interval=1m");
        assert_eq!(klines, key("/api/v3/klines?interval=1m&symbol=X&limit=500"));
        assert_ne!(klines, key("/api/v3/klines?interval=1M&symbol=X"));
        assert_ne!(klines, key("/api/v3/uiKlines?interval=1m&symbol=X"));
        assert_eq!(key("/api/v3/trades?symbol=X&limit=5000"), key("/api/v3/trades?symbol=X&limit=1000"));
    }

    #[test]
    fn long_questions_have_short_keys() {
        let many = (0..100).map(|n| format!("%22SYMBOL{n}%22")).collect::<Vec<_>>().join(",");
        let load = load(&format!("/api/v3/ticker?symbols=[{many}]"));
        assert!(load.key.len() <= 256);
        assert!(load.query.len() > 256);
    }

    #[test]
    fn the_time_unit_is_part_of_the_key() {
        let with = |time_unit| {
            plan(
                &Identities::public(),
                Venue::Spot,
                Request { is_get: true, path: "/api/v3/trades", query: "symbol=X", time_unit, binary: false },
            )
        };
        assert_ne!(with(None), with(Some("MICROSECOND")));
        assert_eq!(with(None), with(Some("millisecond")));
        assert_eq!(with(Some("FORTNIGHT")), Plan::Pass(BypassReason::Uncacheable));
    }
}
