//! Whether what came back is what was asked for. Nothing else may enter the cache.

use std::time::Duration;

use bytes::Bytes;
use lastgood::{Error, Reason, Timestamp, Value};
use serde::Deserialize;

use crate::budget::bounds;
use crate::upstream_request::{Asked, UpstreamRequest};
use crate::venue::{Endpoint, Recipe, Shape};

mod content;
mod unfit;

pub(crate) use self::content::is_decimal;
use self::unfit::Unfit;

/// An HTTP answer of the exchange, read to its end.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// The `Content-Type`, empty if there was none.
    pub content_type: String,
    /// `Retry-After`, if it was a number of seconds or a date. Not bounded as yet.
    pub retry_after: Option<Duration>,
    /// The body, decompressed.
    pub body: Bytes,
}

/// The shape of the exchange's errors.
struct ErrorBody {
    code: i64,
    msg: String,
}

/// What of it an answer has: a good one is looked at, too, and lacks these.
#[derive(Deserialize)]
struct MaybeError {
    #[serde(default)]
    code: Option<i64>,
    #[serde(default)]
    msg: Option<String>,
}

/// The largest error answer that is remembered and relayed.
const LARGEST_ERROR: usize = 4 << 10;

/// Not authorized; invalid ID of a key; a key of a wrong form; a key that is invalid, or not for this address or action;
/// locked keys.
const KEY_REFUSALS: [i64; 5] = [-1002, -2008, -2014, -2015, -2017];

impl Fetched {
    /// The answer as a value, with its content type remembered; or why it is no answer to `request`.
    ///
    /// # Errors
    ///
    /// [`Reason::NotFound`] with the exchange's own answer when it refused the question; [`Reason::RateLimited`] and
    /// [`Reason::Banned`] with the time to wait; [`Reason::Firewall`]; [`Reason::Upstream`] for its own trouble; [`Reason::Malformed`] for
    /// anything that is not of the shape asked for.
    pub fn into_value(self, request: &UpstreamRequest, now: Timestamp) -> Result<Value, Error> {
        if self.status != 200 {
            return Err(self.into_error(now));
        }
        if self.error_body().is_some_and(|error| error.code < 0) {
            return Err(self.into_error(now));
        }
        match check(&self, request) {
            Ok(()) => Ok(Value::new(self.body).with_meta(self.content_type)),
            Err(unfit) => Err(Error::new(Reason::Malformed, format!("the exchange's answer {unfit}"))),
        }
    }

    fn error_body(&self) -> Option<ErrorBody> {
        // Good answers are large or are no object of these two fields; only a small body is worth the parse.
        let said: MaybeError =
            (self.body.len() <= LARGEST_ERROR).then(|| serde_json::from_slice(&self.body).ok()).flatten()?;
        Some(ErrorBody { code: said.code?, msg: said.msg? })
    }

    /// Whether it refuses the API key that it was asked with, rather than the question or this address. A page of the
    /// firewall's does not speak of the key.
    pub(crate) fn refuses_key(&self) -> bool {
        let refuses = |error: ErrorBody| KEY_REFUSALS.contains(&error.code);
        let by_status = matches!(self.status, 401 | 403) && !self.is_page();
        by_status || self.error_body().is_some_and(refuses)
    }

    /// Whether it is a page for people.
    pub(crate) fn is_page(&self) -> bool {
        self.content_type.to_ascii_lowercase().contains("html")
    }

    /// How long the answer asks to wait, `now` being the exchange's time: the longest that can be meant, of what its
    /// header and its message name; as long as is usual if neither names any time to come.
    pub(crate) fn wait(&self, reason: Reason, now: Timestamp) -> Duration {
        let until = self.error_body().and_then(|error| banned_until(&error.msg));
        let left = until.map(|until| until.since(now)).filter(|left| !left.is_zero());
        bounds::named(reason, [left, self.retry_after]).unwrap_or(bounds::usual(reason))
    }

    /// Why an answer that is an error is one, with a time to wait within [`bounds`].
    pub fn into_error(self, now: Timestamp) -> Error {
        let error = self.error_body();
        let code = error.as_ref().map_or(0, |error| error.code);
        let wait = |reason| bounds::within(reason, self.wait(reason, now), 1).0;
        let made = match (self.status, code) {
            (418, _) => Error::new(Reason::Banned, "the exchange has banned this address")
                .with_retry_after(wait(Reason::Banned)),
            (429, _) | (_, -1003) => Error::new(Reason::RateLimited, "the exchange asks for a pause")
                .with_retry_after(wait(Reason::RateLimited)),
            (403, _) => {
                Error::new(Reason::Firewall, "the exchange's firewall refuses requests from this address (403)")
            }
            (400 | 404, code) if is_of_the_question(code) => {
                Error::new(Reason::NotFound, format!("the exchange refused the question with {code}"))
            }
            (status, _) => {
                let made = Error::new(Reason::Upstream, format!("the exchange answered {status}"));
                match self.retry_after {
                    Some(wait) => made.with_retry_after(wait.min(bounds::LONGEST_PAUSE)),
                    None => made,
                }
            }
        };
        match error {
            Some(_) => {
                let meta = format!("{} {}", self.status, self.content_type);
                made.with_answer(Value::new(self.body).with_meta(meta))
            }
            None => made,
        }
    }
}

/// Whether a code is a verdict on a public question. The others speak of the exchange's own trouble, of keys, clocks and orders,
/// which no public question has: they take the place of no last good answer.
fn is_of_the_question(code: i64) -> bool {
    const QUESTIONS: std::ops::RangeInclusive<i64> = -1_199..=-1_100;
    QUESTIONS.contains(&code)
}

/// The end of a ban, from either wording of its message: in ms, as it is published, or in s or µs.
pub(crate) fn banned_until(msg: &str) -> Option<Timestamp> {
    const WORDS: &str = "banned until ";
    let at = msg.to_ascii_lowercase().find(WORDS)? + WORDS.len();
    let digits = msg[at..].split(|c: char| !c.is_ascii_digit()).next()?;
    let time: u64 = digits.parse().ok()?;
    match digits.len() {
        10 => Some(Timestamp::from_millis(time * 1_000)),
        13 => Some(Timestamp::from_millis(time)),
        16 => Some(Timestamp::from_millis(time / 1_000)),
        _ => None,
    }
}

/// Whether `text` is an answer to `request` by its shape and content.
///
/// # Errors
///
/// When it is none.
pub(crate) fn check_answer(text: &str, request: &UpstreamRequest) -> Result<(), Unfit> {
    content::check(text, request.shape, request.endpoint.content, &request.asked)
}

/// Whether `row` is a row of the answers of an endpoint.
pub(crate) fn is_row(row: &[u8], endpoint: &Endpoint) -> bool {
    let text = std::str::from_utf8(row).map(|row| format!("[{row}]"));
    text.is_ok_and(|text| content::check(&text, Shape::Array, endpoint.content, &Asked::default()).is_ok())
}

/// Whether an answer that is no error fits the question.
fn check(fetched: &Fetched, request: &UpstreamRequest) -> Result<(), Unfit> {
    if !fetched.content_type.to_ascii_lowercase().contains("json") {
        return Err(Unfit::ContentType(fetched.content_type.clone()));
    }
    let text = std::str::from_utf8(&fetched.body).map_err(Unfit::NotText)?;
    check_answer(text, request)?;
    if keeps_to_bounds(text, request) { Ok(()) } else { Err(Unfit::OtherCandles) }
}

/// Whether a list of candles, which ascend, lies within the times that were asked for.
fn keeps_to_bounds(text: &str, request: &UpstreamRequest) -> bool {
    if request.endpoint.recipe != Recipe::Klines {
        return true;
    }
    let open = |row: &str| row.split(',').next()?.trim().parse().ok().map(crate::upstream_request::to_millis);
    let first = text.split('[').nth(2).and_then(open);
    let last = text.rsplit('[').next().and_then(open);
    first.is_none_or(|first| request.asked.start.is_none_or(|start| first >= start))
        && last.is_none_or(|last| request.asked.end.is_none_or(|end| last <= end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identities;
    use crate::plan::{Plan, Request, plan};
    use crate::venue::Venue;

    fn request(target: &str) -> UpstreamRequest {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { is_get: true, path, query, time_unit: None, binary: false };
        match plan(&Identities::public(), Venue::of(path, query).unwrap(), request) {
            Plan::Cached(line) => UpstreamRequest::clone(line.load()),
            Plan::Candles(question) => UpstreamRequest::clone(&question.direct),
            other => panic!("{other:?}"),
        }
    }

    fn answer(status: u16, body: &str) -> Fetched {
        let content_type = "application/json;charset=UTF-8".to_owned();
        Fetched { status, content_type, retry_after: None, body: Bytes::from(body.to_owned()) }
    }

    fn reason(target: &str, fetched: Fetched) -> Option<Reason> {
        fetched.into_value(&request(target), Timestamp::EPOCH).err().map(|error| error.reason)
    }

    #[test]
    fn garbage_is_never_a_value() {
        const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
        for body in
            ["", "[", "[]", "{}", "<html></html>", "null", r#"[{"symbol":"A""#, "{\"code\":-1000,\"msg\":\"x\"}"]
        {
            assert!(reason(PRICE, answer(200, body)).is_some(), "{body}");
        }
        assert_eq!(reason(PRICE, answer(200, r#"[{"symbol":"A","price":"1.0"}]"#)), None);
        let text = Fetched { content_type: "text/plain".to_owned(), ..answer(200, r#"[{"symbol":"A"}]"#) };
        assert_eq!(reason(PRICE, text), Some(Reason::Malformed));
    }

    #[test]
    fn what_futures_pass_over_in_a_question_does_not_bear_on_the_answer() {
        const PRICES: &str = r#"[{"symbol":"A","price":"1.0","time":1},{"symbol":"B","price":"2.0","time":1}]"#;
        const FUNDING: &str = r#"[{"symbol":"A","adjustedFundingRateCap":"0.1","adjustedFundingRateFloor":"-0.1","fundingIntervalHours":8}]"#;
        let row = r#"{"symbol":"A","status":"TRADING","contractStatus":"TRADING","pair":"A","baseAsset":"A","quoteAsset":"B"}"#;
        let info = format!(r#"{{"serverTime":1,"rateLimits":[],"symbols":[{row}]}}"#);
        for (target, body) in [
            ("/fapi/v2/ticker/price?symbols=[%22A%22]&type=MINI", PRICES),
            ("/fapi/v1/fundingInfo?symbol=B&limit=0", FUNDING),
            ("/fapi/v1/exchangeInfo?symbol=B", &info),
            ("/dapi/v1/exchangeInfo?symbol=B", &info),
        ] {
            assert_eq!(reason(target, answer(200, body)), None, "{target}");
        }
        // `MINI` leaves fields out on spot alone.
        let mini = r#"{"symbol":"A","openPrice":"1","highPrice":"1","lowPrice":"1","lastPrice":"1","volume":"1","quoteVolume":"1","openTime":1,"closeTime":2,"firstId":1,"lastId":1,"count":1}"#;
        assert_eq!(reason("/api/v3/ticker/24hr?symbol=A&type=MINI", answer(200, mini)), None);
        assert_eq!(reason("/fapi/v1/ticker/24hr?symbol=A&type=MINI", answer(200, mini)), Some(Reason::Malformed));
        // Spot reads a list of symbols, and futures read `symbol`.
        let (list, interest) = (format!("[{mini}]"), r#"{"openInterest":"1.0","symbol":"A","time":1}"#);
        assert_eq!(reason("/api/v3/ticker/24hr?symbols=[%22A%22]&type=MINI", answer(200, &list)), None);
        assert_eq!(
            reason("/api/v3/ticker/24hr?symbols=[%22C%22]&type=MINI", answer(200, &list)),
            Some(Reason::Malformed)
        );
        assert_eq!(reason("/fapi/v1/openInterest?symbol=A", answer(200, interest)), None);
        assert_eq!(reason("/fapi/v1/openInterest?symbol=C", answer(200, interest)), Some(Reason::Malformed));
    }

    #[test]
    fn a_pair_that_contradicts_the_symbol_does_not_bear_on_the_symbols_row() {
        let row = r#"[{"symbol":"BTCUSD_PERP","ps":"BTCUSD","price":"1.0","time":1}]"#;
        let asked = |query: &str| reason(&format!("/dapi/v1/ticker/price?{query}"), answer(200, row));
        assert_eq!(asked("symbol=BTCUSD_PERP&pair=ETHUSD"), None);
        assert_eq!(asked("symbol=ETHUSD_PERP&pair=BTCUSD"), Some(Reason::Malformed));
        assert_eq!(asked("pair=ETHUSD"), Some(Reason::Malformed));
    }

    #[test]
    fn a_list_of_symbols_may_be_empty_where_it_is_not_understood_which_are_wanted() {
        let none = r#"{"timezone":"UTC","serverTime":1,"rateLimits":[],"symbols":[]}"#;
        let asked = |query: &str| reason(&format!("/api/v3/exchangeInfo?{query}"), answer(200, none));
        assert_eq!(asked("permissions=+1&symbolStatus=HALT"), None);
        assert_eq!(asked("showPermissionSets=false"), Some(Reason::Malformed));
    }

    #[test]
    fn a_refused_question_is_not_found_and_keeps_the_exchanges_words() {
        let refused = answer(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#);
        let error = refused.into_value(&request("/api/v3/klines?symbol=X&interval=1m"), Timestamp::EPOCH).unwrap_err();
        assert_eq!(error.reason, Reason::NotFound);
        assert_eq!(error.answer.unwrap().meta.as_deref(), Some("400 application/json;charset=UTF-8"));
        let trouble = answer(400, r#"{"code":-1001,"msg":"Internal error."}"#);
        assert_eq!(reason("/api/v3/avgPrice?symbol=X", trouble), Some(Reason::Upstream));
    }

    #[test]
    fn both_wordings_of_a_ban_are_understood() {
        for msg in [
            "Way too much request weight used; IP banned until 1615183669840. Please use WebSocket Streams",
            "Way too many requests; IP(1.2.3.4) banned until 1615183669840.",
        ] {
            assert_eq!(banned_until(msg), Some(Timestamp::from_millis(1_615_183_669_840)));
        }
        assert_eq!(banned_until("IP Banned until 1615183669"), Some(Timestamp::from_millis(1_615_183_669_000)));
        for none in ["banned until tomorrow", "banned until 12345", "banned until 99999999999999999999999", "banned"] {
            assert_eq!(banned_until(none), None, "{none}");
        }
        let now = Timestamp::from_millis(1_615_183_669_840 - 5_000);
        let body = r#"{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until 1615183669840."}"#;
        let error = answer(418, body).into_error(now);
        assert_eq!((error.reason, error.retry_after), (Reason::Banned, Some(Duration::from_secs(5))));
    }

    #[test]
    fn a_refusal_of_the_key_is_distinct_from_one_of_the_question_and_of_the_address() {
        const KEY: &str = r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#;
        for (status, body) in [(401, KEY), (400, KEY), (200, KEY), (401, ""), (403, "{}")] {
            assert!(answer(status, body).refuses_key(), "{status} {body}");
        }
        assert!(answer(400, r#"{"code":-2014,"msg":"API-key format invalid."}"#).refuses_key());
        for (status, body) in [
            (400, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
            (418, r#"{"code":-1003,"msg":"banned"}"#),
            (429, r#"{"code":-1003,"msg":"wait"}"#),
            (500, ""),
            (200, "[]"),
        ] {
            assert!(!answer(status, body).refuses_key(), "{status} {body}");
        }
        assert!(!Fetched { content_type: "text/html".to_owned(), ..answer(403, "<html>") }.refuses_key());
    }

    #[test]
    fn a_page_of_the_firewall_is_reported_as_that() {
        let page = Fetched { content_type: "text/html".to_owned(), ..answer(403, "<html>denied</html>") };
        assert_eq!(reason("/api/v3/avgPrice?symbol=X", page), Some(Reason::Firewall));
    }
}
