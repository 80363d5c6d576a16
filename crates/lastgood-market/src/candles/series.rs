//! The candles of a question: which series, and which part of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::block::Tail;
use crate::interval;
use crate::query::Params;
use crate::upstream_request::UpstreamRequest;
use crate::venue::{Endpoint, Venue};

/// One series of candles: a market's endpoint, a symbol or pair, an interval and a time zone.
#[derive(Debug)]
pub struct Series {
    /// The endpoint that has it.
    pub endpoint: &'static Endpoint,
    /// What every key of the series begins with; it ends with a colon.
    pub(super) prefix: String,
    /// The interval's name, such as `15m`.
    pub interval: Box<str>,
    /// The interval's length in ms; the longest, for months.
    pub(super) length: u64,
    /// Whether times are given in microseconds.
    micros: bool,
    /// The parameters that name the series.
    names: Vec<(&'static str, String)>,
    /// When it was last noted that the series is asked for, in ms; zero for never.
    pub(super) noted_at: AtomicU64,
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.prefix == other.prefix
    }
}

/// The part of a series that is asked for.
#[derive(Debug, PartialEq)]
pub struct Question {
    /// The series.
    pub series: Arc<Series>,
    /// Candles that open from this ms on.
    pub start: Option<u64>,
    /// Candles that open up to this ms.
    pub end: Option<u64>,
    /// The most candles in the answer.
    pub limit: usize,
    /// The question as it was asked, for when its answer cannot be put together.
    pub direct: Arc<UpstreamRequest>,
}

/// What the exchange is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) start: Option<u64>,
    pub(super) end: Option<u64>,
    pub(super) limit: usize,
}

/// A block holds the candles of this many intervals: some 40 KB of text, under a quarter of it packed, rewritten with
/// each candle that closes.
const BLOCK: u64 = 256;
/// COIN-M answers no question for a longer time.
pub(super) const COIN_SPAN: u64 = 200 * 86_400_000;
/// No exchange is so late with a candle whose pair still trades, in ms.
const NEVER_SO_LATE: u64 = 30_000;
/// The longest that the end of a series without trading is believed.
const HALTED_AT_MOST: Duration = Duration::from_secs(3_600);
/// February's length.
const SHORTEST_MONTH: u64 = 28 * 86_400_000;
/// Symbols are shorter; longer text is for the exchange to refuse.
const LONGEST_NAME: usize = 64;
const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl Series {
    /// The series that a query names; `None` if it is not wholly understood.
    fn of(exchange: &str, endpoint: &'static Endpoint, params: &Params<'_>, micros: bool) -> Option<Series> {
        let known: &[&str] = match endpoint.venue {
            Venue::Spot => &["symbol", "interval", "timeZone", "startTime", "endTime", "limit"],
            _ => &["symbol", "pair", "contractType", "interval", "startTime", "endTime", "limit"],
        };
        let interval = params.get("interval").filter(|interval| interval::is_of_candles(endpoint.venue, interval))?;
        let named = params.get("symbol").is_some() != params.get("pair").is_some();
        if !params.only(known) || !named {
            return None;
        }
        let mut names = Vec::new();
        let mut prefix = format!("{exchange}{}:", endpoint.path);
        for name in ["symbol", "pair", "contractType", "timeZone"] {
            // Zone 0 is what nothing said means.
            let value = params.get(name).filter(|value| name != "timeZone" || *value != "0");
            if value.is_some_and(|value| value.is_empty() || value.len() > LONGEST_NAME) {
                return None;
            }
            if let Some(value) = value {
                prefix.extend([utf8_percent_encode(value, KEEP).to_string().as_str(), ":"]);
                names.push((name, value.to_owned()));
            }
        }
        prefix.extend([interval, if micros { ":us:" } else { ":" }]);
        let length = u64::try_from(interval::length(interval)?.as_millis()).ok()?;
        Some(Series { endpoint, prefix, interval: interval.into(), length, micros, names, noted_at: AtomicU64::new(0) })
    }

    /// The symbol or pair that is asked for, as it is written.
    pub fn symbol(&self) -> &str {
        self.names.first().map_or("", |(_, symbol)| symbol)
    }

    /// What every key of the series begins with; it ends with a colon.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether its rows are as a stream has them: in milliseconds, by UTC.
    pub(crate) fn is_streamed(&self) -> bool {
        !self.micros && self.names.iter().all(|(name, _)| *name != "timeZone")
    }

    pub(super) fn key(&self, part: &str) -> String {
        [&self.prefix, part].concat()
    }

    pub(super) fn block_key(&self, index: u64) -> String {
        self.key(&index.to_string())
    }

    /// The block that candles that open at `time` belong to.
    pub(super) fn block_at(&self, time: u64) -> u64 {
        time / (self.length * BLOCK)
    }

    /// The first and the last ms of a block.
    pub(super) fn block_span(&self, index: u64) -> (u64, u64) {
        let span = self.length * BLOCK;
        let begin = index.saturating_mul(span);
        (begin, begin.saturating_add(span - 1))
    }

    /// Whether a stretch is longer than a block is.
    pub(super) fn is_longer_than_a_block(&self, from: u64, to: u64) -> bool {
        to.saturating_sub(from) >= self.length * BLOCK
    }

    /// How many candles may open in `from..=to`.
    pub(super) fn candles_in(&self, from: u64, to: u64) -> usize {
        usize::try_from(to.saturating_sub(from) / self.length).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// Whether a whole candle fits into `from..=to`.
    pub(super) fn has_room(&self, from: u64, to: u64) -> bool {
        // Months are not all as long as the longest.
        let shortest = if &*self.interval == "1M" { SHORTEST_MONTH } else { self.length };
        from <= to && to - from >= shortest - 1
    }

    /// Whether the exchange answers for so long a time.
    pub(super) fn allows(&self, from: u64, to: u64) -> bool {
        self.endpoint.venue != Venue::CoinM || to.saturating_sub(from) <= COIN_SPAN
    }

    /// How long a closed candle may still be corrected.
    pub(super) fn grace(&self) -> u64 {
        (self.length / 2).min(15_000)
    }

    /// The most candles that one answer brings.
    pub(super) fn most(&self) -> usize {
        self.endpoint.limit.map_or(500, |(_, most)| most as usize)
    }

    /// Whether `more` candles can be asked for at the price of `limit`.
    pub(super) fn costs_no_more(&self, limit: usize, more: usize) -> bool {
        let weight = |limit: usize| self.request(Fetch { limit, ..Fetch::default() }).weight;
        more <= self.most() && weight(more) == weight(limit)
    }

    /// The most candles that can be asked for at the price of `limit`, less one for a witness.
    pub(super) fn most_for_the_price_of(&self, limit: usize) -> usize {
        [1_499, 999, 498, 98].into_iter().find(|more| self.costs_no_more(limit, more + 1)).unwrap_or(limit).max(limit)
    }

    /// What names the series among all keys.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    pub(super) fn request(&self, fetch: Fetch) -> UpstreamRequest {
        let mut params = Params::default();
        for (name, value) in &self.names {
            params.set(name, Some(value.clone()));
        }
        params.set("interval", Some(self.interval.to_string()));
        params.set("startTime", fetch.start.map(|time| time.to_string()));
        params.set("endTime", fetch.end.map(|time| time.to_string()));
        params.set("limit", Some(fetch.limit.to_string()));
        let mut request = UpstreamRequest::direct("", self.endpoint, &params, self.micros);
        // Whatever part of it is fetched, it is the series, and so the exchange, that is asked for.
        request.key.clone_from(&self.prefix);
        request
    }

    /// How long an answer that ends in a candle that closes at `close` may be believed at `now`; both in ms.
    pub(super) fn fresh_for(&self, close: Option<u64>, now: u64, forming: Duration) -> Duration {
        match close {
            Some(close) if close >= now => forming.min(Duration::from_millis(close + 1 - now)),
            // The candle that has begun is missing: the exchange is late, and is asked again soon.
            _ => forming.min(Duration::from_secs(1)),
        }
    }

    /// How long the end of a series in which nothing is traded may be believed that was believed for `before` and came
    /// back the same: the longer ago trading stopped, the less often it is looked at, so that its return is seen after
    /// a thousandth of the pause.
    pub(super) fn halted_for(&self, close: u64, now: u64, before: Duration, forming: Duration) -> Duration {
        let at_most = Duration::from_millis((now - close.min(now)) / 1_000).min(HALTED_AT_MOST);
        (2 * before).min(at_most).max(forming)
    }

    /// Whether the newest candle closed so long ago that the exchange is not merely late with the next.
    pub(super) fn is_halted(&self, close: u64, now: u64) -> bool {
        close.saturating_add(self.length.max(NEVER_SO_LATE)) < now
    }
}

impl Question {
    /// The question of a query; `None` if it is not wholly understood, so that the exchange must judge.
    pub(crate) fn of(
        exchange: &str,
        endpoint: &'static Endpoint,
        params: &Params<'_>,
        direct: UpstreamRequest,
        micros: bool,
    ) -> Option<Question> {
        let series = Series::of(exchange, endpoint, params, micros)?;
        let time = |name: &str| match params.get(name) {
            None => Some(None),
            Some(_) => params.number(name).map(Some),
        };
        // Times may be in µs; a candle of a later ms than a start within one has not opened by then.
        let rounded_up = |time: u64| if time > 100_000_000_000_000 { time.saturating_add(999) } else { time };
        let start = time("startTime")?.map(|time| crate::upstream_request::to_millis(rounded_up(time)));
        let end = time("endTime")?.map(crate::upstream_request::to_millis);
        let (default, most) = endpoint.limit?;
        let limit = match params.get("limit") {
            None => u64::from(default),
            Some(_) => params.number("limit").filter(|limit| (1..=u64::from(most)).contains(limit))?,
        };
        let is_theirs = match (start, end) {
            (Some(start), Some(end)) => start > end || (endpoint.venue == Venue::CoinM && end - start > COIN_SPAN),
            // Which candles COIN-M means by a start alone is its own business.
            (Some(_), None) => endpoint.venue == Venue::CoinM,
            _ => false,
        };
        let limit = usize::try_from(limit).ok()?;
        (!is_theirs).then(|| Question { series: Arc::new(series), start, end, limit, direct: Arc::new(direct) })
    }

    /// Whether the newest candles before the end are meant, not the oldest from the start on. COIN-M counts back from
    /// the end when both are given.
    pub(super) fn is_backward(&self) -> bool {
        self.start.is_none() || (self.series.endpoint.venue == Venue::CoinM && self.end.is_some())
    }

    /// Whether candles before the end of the series are counted from that end.
    pub(super) fn reaches(&self, tail: Option<&Tail>) -> bool {
        self.is_backward() && tail.is_some_and(|tail| self.end.is_none_or(|end| end >= tail.from))
    }

    /// How many of the newest candles it takes to answer, as far as it is counted from the end.
    pub(super) fn wants_of_the_end(&self, now: u64) -> usize {
        let later = self.end.filter(|end| *end < now).map_or(0, |end| self.series.candles_in(end, now));
        let from_start = self.start.filter(|start| *start < now).map(|start| self.series.candles_in(start, now));
        match self.is_backward() {
            true => self.limit.saturating_add(later).min(from_start.unwrap_or(usize::MAX)),
            false => 0,
        }
    }

    /// The oldest of the newest candles that may be part of an answer that reaches the end of the series.
    pub(super) fn oldest_wanted(&self, now: u64) -> u64 {
        let wanted = match self.is_backward() {
            true => self.wants_of_the_end(now),
            false => self.start.map_or(0, |start| self.series.candles_in(start, now)),
        };
        let wanted = wanted.min(self.series.most()) as u64;
        now.saturating_sub(self.series.length.saturating_mul(wanted))
    }
}
