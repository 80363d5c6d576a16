//! The exchange's market-data streams: their names and their messages. No network here.
//!
//! What a stream says is put down as the REST answer of the same thing has it: the same strings under the same names,
//! so that a client cannot tell which way an answer came.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::candles::{Series, StreamedCandle};
use crate::upstream_request::UpstreamRequest;
use crate::validate::is_decimal;
use crate::venue::{Recipe, Venue};

mod order;

pub(crate) use self::order::{Misplaced, Order, Stamp};

/// The most streams of one connection.
pub(crate) const STREAMS_A_CONNECTION: usize = 1_024;
/// The most messages that a client may send a second; one more closes the connection.
pub(crate) const MESSAGES_A_SECOND: u32 = 5;
/// The seconds after which the exchange closes each connection.
pub(crate) const LIFETIME_SECONDS: u64 = 24 * 3_600;

/// A message of a combined stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A candle changed.
    Candle {
        /// The name of the stream.
        stream: String,
        /// The exchange's time of it, in ms: what comes late must not undo what came in time.
        at: u64,
        /// The candle.
        candle: StreamedCandle,
    },
    /// A ticker changed.
    Ticker {
        /// The name of the stream.
        stream: String,
        /// The exchange's time of it, in ms; zero where it does not say.
        at: u64,
        /// The number of the update, where it has one.
        number: Option<u64>,
        /// The ticker, as a REST answer for one symbol has it.
        body: String,
    },
    /// A message under the name of a stream that it is not of: another symbol's, another interval's, another event.
    Mislabelled,
    /// The exchange is about to close the connection.
    Shutdown,
    /// An answer to a request of ours, with the error if it was refused.
    Reply(Option<String>),
    /// Something that was not subscribed to.
    Other,
}

/// The stream of a series' candles; `None` where no stream has them as REST does.
pub(crate) fn candle_stream(series: &Series) -> Option<String> {
    let has_stream = matches!(series.endpoint.path, "/api/v3/klines" | "/fapi/v1/klines");
    (has_stream && series.is_streamed())
        .then(|| format!("{}@kline_{}", series.symbol().to_lowercase(), series.interval))
}

/// The stream that keeps the answer to a request current; `None` where there is none.
pub(crate) fn ticker_stream(request: &UpstreamRequest) -> Option<String> {
    let symbol = request.query.strip_prefix("symbol=").filter(|rest| !rest.contains(['&', '%']))?;
    let kind = match request.endpoint.path {
        "/api/v3/ticker/24hr" | "/fapi/v1/ticker/24hr" => "ticker",
        "/api/v3/ticker/bookTicker" => "bookTicker",
        _ => return None,
    };
    (request.endpoint.recipe == Recipe::Ticker && !request.micros).then(|| format!("{}@{kind}", symbol.to_lowercase()))
}

/// The path below a host of streams that delivers the streams which this crate names.
///
/// Futures streams are routed: candles and tickers come under `/market` only, and another path stays silent.
pub(crate) fn stream_path(venue: Venue) -> &'static str {
    match venue {
        Venue::Spot => "/stream",
        Venue::UsdM | Venue::CoinM => "/market/stream",
    }
}

/// A request to begin or to end some streams.
pub(crate) fn request(begin: bool, streams: &[String], id: u64) -> String {
    let method = if begin { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
    serde_json::json!({ "method": method, "params": streams, "id": id }).to_string()
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error: Option<serde_json::Value>,
    code: Option<i64>,
    id: Option<serde_json::Value>,
    #[serde(rename = "e")]
    event: Option<Cow<'a, str>>,
}

/// What an event says of its own identity.
#[derive(Deserialize)]
struct Identity<'a> {
    #[serde(rename = "e", borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(rename = "s", borrow)]
    symbol: Option<Cow<'a, str>>,
    #[serde(rename = "k", borrow)]
    candle: Option<IdentityOfCandle<'a>>,
    /// Only order books and their best offers have one.
    #[serde(rename = "u")]
    update: Option<u64>,
    #[serde(rename = "A")]
    ask: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct IdentityOfCandle<'a> {
    #[serde(rename = "s", borrow)]
    symbol: Cow<'a, str>,
    #[serde(rename = "i", borrow)]
    interval: Cow<'a, str>,
}

impl Identity<'_> {
    /// The name of the stream that the event is of; `None` where none of those that this crate reads has such events.
    fn stream(&self) -> Option<String> {
        // Streams are named in small letters, and symbols are written in capitals.
        let is_sound = |symbol: &&Cow<'_, str>| !symbol.is_empty() && symbol.to_uppercase() == symbol.as_ref();
        let symbol = self.symbol.as_ref().filter(is_sound)?.to_lowercase();
        match (self.event.as_deref(), &self.candle) {
            (Some("kline"), Some(candle)) if self.symbol.as_ref() == Some(&candle.symbol) => {
                Some(format!("{symbol}@kline_{}", candle.interval))
            }
            (Some("24hrTicker"), None) => Some(format!("{symbol}@ticker")),
            // Spot's best offers do not say what they are.
            (Some("bookTicker") | None, None) if self.update.is_some() && self.ask.is_some() => {
                Some(format!("{symbol}@bookTicker"))
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Kline<'a> {
    #[serde(rename = "E")]
    at: u64,
    #[serde(borrow)]
    k: Candle<'a>,
}

#[derive(Deserialize)]
#[expect(non_snake_case, reason = "the exchange's names")]
struct Candle<'a> {
    t: u64,
    T: u64,
    o: &'a str,
    h: &'a str,
    l: &'a str,
    c: &'a str,
    v: &'a str,
    n: u64,
    x: bool,
    q: &'a str,
    V: &'a str,
    Q: &'a str,
}

/// A ticker's fields are copied one by one, so that their text stays the exchange's.
type Fields<'a> = std::collections::HashMap<&'a str, &'a RawValue>;

/// What a REST answer calls the fields of a stream, in its order. Futures tickers have no bid and no ask.
#[rustfmt::skip]
const TICKER: [(&str, &str, bool); 21] = [
    ("s", "symbol", true), ("p", "priceChange", true), ("P", "priceChangePercent", true),
    ("w", "weightedAvgPrice", true), ("x", "prevClosePrice", false), ("c", "lastPrice", true), ("Q", "lastQty", true),
    ("b", "bidPrice", false), ("B", "bidQty", false), ("a", "askPrice", false), ("A", "askQty", false),
    ("o", "openPrice", true), ("h", "highPrice", true), ("l", "lowPrice", true), ("v", "volume", true),
    ("q", "quoteVolume", true), ("O", "openTime", true), ("C", "closeTime", true), ("F", "firstId", true),
    ("L", "lastId", true), ("n", "count", true),
];
const BOOK_TICKER: [(&str, &str, bool); 5] = [
    ("s", "symbol", true),
    ("b", "bidPrice", true),
    ("B", "bidQty", true),
    ("a", "askPrice", true),
    ("A", "askQty", true),
];

/// A candle of a minute is not announced a second before it begins, by the exchange's own clock.
const EARLY: u64 = 1_000;
/// A ticker's statistics end when it is sent, or a little later.
const LATE: u64 = 60_000;

/// Reads a message of a venue's streams, combined or raw. `None` for anything else.
pub(crate) fn read(venue: Venue, text: &str) -> Option<Message> {
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    if envelope.event.as_deref() == Some("serverShutdown") {
        return Some(Message::Shutdown);
    }
    let (stream, data) = match (envelope.stream, envelope.data) {
        (Some(stream), Some(data)) => (Some(stream.into_owned()), data.get()),
        _ => {
            let is_reply = envelope.id.is_some() || envelope.error.is_some() || envelope.code.is_some();
            if is_reply {
                let fault = envelope.error.map(|error| error.to_string());
                return Some(Message::Reply(fault.or_else(|| envelope.code.map(|code| format!("code {code}")))));
            }
            (None, text)
        }
    };
    let kind = stream.as_deref().map(|stream| stream.split_once('@').map_or("", |(_, kind)| kind));
    if kind.is_some_and(|kind| !matches!(kind, "ticker" | "bookTicker") && !kind.starts_with("kline_")) {
        return Some(Message::Other);
    }
    let identity: Identity<'_> = serde_json::from_str(data).ok()?;
    let Some(own) = identity.stream() else {
        return match (stream, identity.event) {
            (None, _) => Some(Message::Other),
            (Some(_), Some(_)) => Some(Message::Mislabelled),
            (Some(_), None) => None,
        };
    };
    if stream.is_some_and(|stream| stream != own) {
        return Some(Message::Mislabelled);
    }
    match own.split_once('@')?.1 {
        "ticker" => ticker(own, data, &TICKER, venue == Venue::Spot),
        "bookTicker" => ticker(own, data, &BOOK_TICKER, true),
        _ => candle(own, data),
    }
}

fn candle(stream: String, data: &str) -> Option<Message> {
    let Kline { at, k } = serde_json::from_str(data).ok()?;
    let Candle { t, T: closes, o, h, l, c, v, n, x, q, V: bought, Q: paid } = k;
    if t > closes || t > at.saturating_add(EARLY) {
        return None;
    }
    let row = format!(r#"[{t},"{o}","{h}","{l}","{c}","{v}",{closes},"{q}",{n},"{bought}","{paid}","0"]"#);
    Some(Message::Candle { stream, at, candle: StreamedCandle { row: row.into(), is_closed: x } })
}

fn ticker(stream: String, data: &str, names: &[(&str, &str, bool)], with_book: bool) -> Option<Message> {
    let fields: Fields<'_> = serde_json::from_str(data).ok()?;
    let number = |name| fields.get(name).map(|number| number.get().parse::<u64>()).transpose().ok();
    // A time or a number that is none is no sign of an old exchange, but of a broken message.
    let (at, update, ends) = (number("E")?.unwrap_or(0), number("u")?, number("C")?.unwrap_or(0));
    if at > 0 && ends > at.saturating_add(LATE) {
        return None;
    }
    let mut body = String::with_capacity(data.len() * 2);
    for (from, to, always) in names {
        if *always || with_book {
            let (between, value) = (if body.is_empty() { '{' } else { ',' }, fields.get(from)?.get());
            is_sound(from, value).then_some(())?;
            // Writing into a String cannot fail.
            let _ = write!(body, "{between}\"{to}\":{value}");
        }
    }
    body.push('}');
    Some(Message::Ticker { stream, at, number: update, body })
}

/// Whether a field of a ticker is of its kind: times and counts are whole numbers, and all but the symbol is decimal.
fn is_sound(name: &str, value: &str) -> bool {
    let text = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match name {
        "s" => text.is_some(),
        "O" | "C" | "F" | "L" | "n" => value.parse::<i64>().is_ok(),
        _ => text.is_some_and(is_decimal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;
    use crate::plan::{Plan, Request, plan};

    fn planned(venue: Venue, target: &str) -> Plan {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        plan(&Identities::public(), venue, Request { is_get: true, path, query, ..Request::default() })
    }

    #[test]
    fn a_candle_is_the_row_that_rest_has() {
        let text = r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1700000030000,"s":"BTCUSDT","k":{"t":1700000000000,"T":1700000059999,"s":"BTCUSDT","i":"1m","f":1,"L":9,"o":"1.0","c":"1.50","h":"2.0","l":"0.5","v":"10","n":9,"x":true,"q":"15.00","V":"5","Q":"7.50","B":"0"}}}"#;
        let row = r#"[1700000000000,"1.0","2.0","0.5","1.50","10",1700000059999,"15.00",9,"5","7.50","0"]"#;
        let candle = StreamedCandle { row: row.into(), is_closed: true };
        let expected = Message::Candle { stream: "btcusdt@kline_1m".to_owned(), at: 1_700_000_030_000, candle };
        assert_eq!(read(Venue::Spot, text), Some(expected));
    }

    #[test]
    fn a_ticker_has_the_names_and_the_order_of_rest() {
        let data = r#"{"e":"24hrTicker","E":5,"s":"X","p":"1","P":"2","w":"3","x":"4","c":"5","Q":"6","b":"7","B":"8","a":"9","A":"10","o":"11","h":"12","l":"13","v":"14","q":"15","O":16,"C":17,"F":18,"L":19,"n":20}"#;
        let text = format!(r#"{{"stream":"x@ticker","data":{data}}}"#);
        let Some(Message::Ticker { body, at: 5, .. }) = read(Venue::Spot, &text) else { panic!("no ticker") };
        assert_eq!(
            body,
            r#"{"symbol":"X","priceChange":"1","priceChangePercent":"2","weightedAvgPrice":"3","prevClosePrice":"4","lastPrice":"5","lastQty":"6","bidPrice":"7","bidQty":"8","askPrice":"9","askQty":"10","openPrice":"11","highPrice":"12","lowPrice":"13","volume":"14","quoteVolume":"15","openTime":16,"closeTime":17,"firstId":18,"lastId":19,"count":20}"#
        );
        let Some(Message::Ticker { body, .. }) = read(Venue::UsdM, &text) else { panic!("no ticker") };
        assert!(!body.contains("bidPrice") && !body.contains("prevClosePrice"), "{body}");
        // What lacks a field is no ticker.
        assert_eq!(read(Venue::Spot, r#"{"stream":"x@ticker","data":{"s":"X"}}"#), None);
        let book = r#"{"stream":"x@bookTicker","data":{"u":400900217,"s":"X","b":"1.10","B":"2","a":"1.20","A":"3"}}"#;
        let Some(Message::Ticker { body, .. }) = read(Venue::Spot, book) else { panic!("no ticker") };
        assert_eq!(body, r#"{"symbol":"X","bidPrice":"1.10","bidQty":"2","askPrice":"1.20","askQty":"3"}"#);
    }

    #[test]
    fn replies_shutdowns_and_noise_are_distinguished() {
        let spot = |text: &str| read(Venue::Spot, text);
        assert_eq!(spot(r#"{"result":null,"id":1}"#), Some(Message::Reply(None)));
        assert!(matches!(
            spot(r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#),
            Some(Message::Reply(Some(_)))
        ));
        assert_eq!(spot(r#"{"e":"serverShutdown","E":1}"#), Some(Message::Shutdown));
        assert_eq!(spot(r#"{"stream":"x@depth","data":{}}"#), Some(Message::Other));
        assert_eq!(spot(r#"{"e":"aggTrade","E":1,"s":"X","p":"1"}"#), Some(Message::Other));
        for noise in ["", "{", "[]", "<html>", r#"{"stream":"x@kline_1m","data":{"k":{}}}"#, r#"{"stream":1,"data":2}"#]
        {
            assert_eq!(spot(noise), None, "{noise}");
        }
    }

    #[test]
    fn a_raw_message_is_of_the_stream_that_it_says() {
        let kline = r#"{"e":"kline","E":1700000030000,"s":"BTCUSDT","k":{"t":1700000000000,"T":1700000059999,"s":"BTCUSDT","i":"1m","o":"1","c":"1","h":"2","l":"1","v":"1","n":9,"x":true,"q":"1","V":"5","Q":"7"}}"#;
        let Some(Message::Candle { stream, .. }) = read(Venue::Spot, kline) else { panic!("no candle") };
        assert_eq!(stream, "btcusdt@kline_1m");
        let book = r#"{"u":400900217,"s":"BNBUSDT","b":"1.10","B":"2","a":"1.20","A":"3"}"#;
        let Some(Message::Ticker { stream, number, at, .. }) = read(Venue::Spot, book) else { panic!("no ticker") };
        assert_eq!((stream.as_str(), number, at), ("bnbusdt@bookTicker", Some(400_900_217), 0));
    }

    #[test]
    fn a_value_under_another_s_name_opens_for_no_user() {
        let kline = r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1700000030000,"s":"BTCUSDT","k":{"t":1700000000000,"T":1700000059999,"s":"BTCUSDT","i":"1m","o":"1","c":"1","h":"2","l":"1","v":"1","n":9,"x":true,"q":"1","V":"5","Q":"7"}}}"#;
        let ticker = r#"{"stream":"x@ticker","data":{"e":"24hrTicker","E":5,"s":"X","p":"1","P":"2","w":"3","x":"4","c":"5","Q":"6","b":"7","B":"8","a":"9","A":"10","o":"11","h":"12","l":"13","v":"14","q":"15","O":16,"C":17,"F":18,"L":19,"n":20}}"#;
        let book = r#"{"stream":"x@bookTicker","data":{"u":400900217,"s":"X","b":"1.10","B":"2","a":"1.20","A":"3"}}"#;
        for whole in [kline, ticker, book] {
            let message = read(Venue::Spot, whole);
            assert!(matches!(message, Some(Message::Candle { .. } | Message::Ticker { .. })), "{whole}");
        }
        for (whole, from, to) in [
            (kline, r#""s":"BTCUSDT","k""#, r#""s":"ETHUSDT","k""#),
            (kline, r#""s":"BTCUSDT","i""#, r#""s":"ETHUSDT","i""#),
            (kline, r#""BTCUSDT""#, r#""ETHUSDT""#),
            (kline, r#""i":"1m""#, r#""i":"1M""#),
            (kline, r#""i":"1m""#, r#""i":"5m""#),
            (kline, r#""e":"kline""#, r#""e":"continuous_kline""#),
            (kline, r#""e":"kline""#, r#""e":"24hrTicker""#),
            (kline, "btcusdt@kline_1m", "ethusdt@kline_1m"),
            (kline, "btcusdt@kline_1m", "btcusdt@ticker"),
            (ticker, r#""s":"X""#, r#""s":"Y""#),
            (ticker, r#""s":"X""#, r#""s":"x""#),
            (ticker, r#""s":"X""#, r#""s":"""#),
            (ticker, r#""s":"X","#, ""),
            (ticker, "24hrTicker", "24hrMiniTicker"),
            (ticker, "24hrTicker", "1hTicker"),
            (ticker, "x@ticker", "x@bookTicker"),
            (book, r#""s":"X""#, r#""s":"XY""#),
            (book, "x@bookTicker", "x@ticker"),
        ] {
            let changed = whole.replace(from, to);
            assert_ne!(changed, whole);
            assert_eq!(read(Venue::Spot, &changed), Some(Message::Mislabelled), "{changed}");
        }
        for (whole, from, to) in [
            (kline, r#""E":1700000030000"#, r#""E":1600000030000"#),
            (kline, r#""T":1700000059999"#, r#""T":1600000059999"#),
            (kline, r#""n":9"#, r#""n":"9""#),
            (kline, r#""x":true"#, r#""x":1"#),
            (kline, r#""o":"1""#, r#""o":1"#),
            (ticker, r#""C":17"#, r#""C":99999999999999"#),
            (ticker, r#""b":"7""#, r#""b":"NaN""#),
            (ticker, r#""a":"9""#, r#""a":9"#),
            (ticker, r#""n":20"#, r#""n":"20""#),
            (book, "1.10", "1,10"),
            (book, "1.20", ""),
            (ticker, r#""E":5"#, r#""E":"5""#),
            (ticker, r#""E":5"#, r#""E":-5"#),
            (book, r#""u":400900217,"#, ""),
            (book, "400900217", "-1"),
            (book, "400900217", r#""400900217""#),
        ] {
            let changed = whole.replace(from, to);
            assert_ne!(changed, whole);
            assert_eq!(read(Venue::Spot, &changed), None, "{changed}");
        }
    }

    #[test]
    fn only_what_a_stream_has_as_rest_has_it_is_streamed() {
        let candles = |venue, target: &str| match planned(venue, target) {
            Plan::Candles(question) => candle_stream(&question.series),
            other => panic!("{other:?}"),
        };
        let stream = Some("btcusdt@kline_1M".to_owned());
        assert_eq!(candles(Venue::Spot, "/api/v3/klines?symbol=BTCUSDT&interval=1M"), stream);
        assert_eq!(candles(Venue::UsdM, "/fapi/v1/klines?symbol=BTCUSDT&interval=1M"), stream);
        assert_eq!(candles(Venue::Spot, "/api/v3/klines?symbol=BTCUSDT&interval=1d&timeZone=8"), None);
        assert_eq!(candles(Venue::Spot, "/api/v3/uiKlines?symbol=BTCUSDT&interval=1d"), None);
        assert_eq!(candles(Venue::CoinM, "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d"), None);
        let ticker = |target: &str| match planned(Venue::Spot, target) {
            Plan::Cached(line) => ticker_stream(line.question()),
            other => panic!("{other:?}"),
        };
        assert_eq!(ticker("/api/v3/ticker/24hr?symbol=BTCUSDT").as_deref(), Some("btcusdt@ticker"));
        assert_eq!(ticker("/api/v3/ticker/bookTicker?symbol=BTCUSDT").as_deref(), Some("btcusdt@bookTicker"));
        assert_eq!(ticker("/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI"), None);
        assert_eq!(ticker("/api/v3/ticker/24hr"), None);
    }

    #[test]
    fn a_request_is_what_the_exchange_expects() {
        let text = request(true, &["a@ticker".to_owned()], 7);
        assert_eq!(text, r#"{"id":7,"method":"SUBSCRIBE","params":["a@ticker"]}"#);
    }
}
