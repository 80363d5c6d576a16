//! What may be answered: the truth, a fresh enough earlier truth, or a wrong answer of the exchange a while ago.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use lastgood_market::query::Params;
use lastgood_market::{Plan, Request, Venue, plan};
use lastgood_sim::{Lie, SimRequest};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::exchange::{Answered, Recorded, series_of};
use super::{FORMING_FRESH_FOR, REFUSED_FOR};

/// The rows of a list as they are written; nothing of anything else.
pub(crate) fn row_texts(body: &[u8]) -> Vec<&str> {
    let rows: Vec<&RawValue> = serde_json::from_slice(body).unwrap_or_default();
    rows.into_iter().map(RawValue::get).collect()
}

/// The candles of a list by their open times, in its order, without their brackets; nothing of anything else. Split and not
/// parsed: a test reads millions.
pub(crate) fn opens(body: &[u8]) -> Vec<(u64, &str)> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let Some(rows) = text.strip_prefix("[[").and_then(|rows| rows.strip_suffix("]]")) else { return Vec::new() };
    let open = |row: &str| row.split_once(',')?.0.parse().ok();
    rows.split("],[").filter_map(|row| Some((open(row)?, row))).collect()
}

pub(crate) fn is_candles(target: &str) -> bool {
    target.split('?').next().is_some_and(|path| path.to_ascii_lowercase().ends_with("klines"))
}

/// Whether an answer that was given at `now` is the exchange's of that moment, or of one at which it was asked and that was
/// still fresh.
pub(crate) fn exact(exchange: &Recorded, target: &str, answer: &Bytes, fresh_ms: u64, now: u64) -> Result<(), String> {
    let request = SimRequest::of(target);
    let truth = exchange.honest_at(request, now).body;
    if truth == *answer {
        return Ok(());
    }
    let log = exchange.log.lock().unwrap();
    let since = now.saturating_sub(fresh_ms + exchange.latency_ms.load(Ordering::SeqCst));
    let recent = log.iter().rev().take_while(|answered| answered.at >= since);
    let mut moments: Vec<u64> = recent.filter(|answered| answered.path == request.path).map(|a| a.at).collect();
    drop(log);
    moments.dedup();
    match moments.into_iter().any(|at| exchange.honest_at(request, at).body == *answer) {
        true => Ok(()),
        false => Err(format!("is not the exchange's answer: {}", difference(&truth, answer))),
    }
}

/// In which rows two answers differ, in words.
fn difference(truth: &Bytes, answer: &Bytes) -> String {
    let (truth, answer) = (row_texts(truth), row_texts(answer));
    let short = |row: &str| row.chars().take(60).collect::<String>();
    let lacking: Vec<String> = truth.iter().filter(|row| !answer.contains(row)).map(|row| short(row)).collect();
    let more: Vec<String> = answer.iter().filter(|row| !truth.contains(row)).map(|row| short(row)).collect();
    let some = |rows: &[String]| format!("{} {:?}", rows.len(), rows.iter().take(2).collect::<Vec<_>>());
    format!("{} rows for {}; lacks {}; has of its own {}", answer.len(), truth.len(), some(&lacking), some(&more))
}

/// Whether an answer may be given at `now` while the exchange is ill or has not been well for long: every row of it is one
/// that the exchange has or had, or wrongly gave since `since`.
pub(crate) fn plausible(exchange: &Recorded, target: &str, answer: &Bytes, since: u64, now: u64) -> Result<(), String> {
    match is_candles(target) {
        true => plausible_candles(exchange, target, answer, since, now),
        false => plausible_rows(exchange, target, answer, |answered| answered.lie.is_none() || answered.at >= since),
    }
}

fn plausible_candles(exchange: &Recorded, target: &str, answer: &Bytes, since: u64, now: u64) -> Result<(), String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let params = Params::parse(query).expect("a query of ours");
    let rows = opens(answer);
    let series = series_of(path, query);
    // Anything not put together from candles is the exchange's own answer, whatever it is.
    if is_direct(path, query) {
        let log = exchange.log.lock().unwrap();
        let of_series = log.iter().filter(|answered| answered.series == series && answered.at >= since);
        if of_series.into_iter().any(|answered| answered.given == *answer) {
            return Ok(());
        }
    }
    if !rows.is_sorted_by(|before, after| before.0 < after.0) {
        return Err("has rows that do not ascend".to_owned());
    }
    let (start, end) = (params.number("startTime").unwrap_or(0), params.number("endTime").unwrap_or(u64::MAX));
    let limit = params.number("limit").unwrap_or(500) as usize;
    if rows.len() > limit || rows.iter().any(|(open, _)| !(start..=end).contains(open)) {
        return Err(format!("has {} rows, or some that were not asked for", rows.len()));
    }
    let truth = exchange.honest_at(SimRequest::of(target), now).body;
    let truth = opens(&truth);
    let log = exchange.log.lock().unwrap();
    let log: Vec<&Answered> = log.iter().filter(|answered| answered.series == series).collect();
    let counts = |answered: &&&Answered| answered.lie.is_none() || answered.at >= since;
    for (open, row) in &rows {
        let is_true = truth.binary_search_by_key(open, |row| row.0).is_ok_and(|at| truth[at].1 == *row);
        let was_answered = || {
            log.iter().filter(counts).any(|answered| answered.answered_rows.get(open).is_some_and(|given| given == row))
        };
        if !is_true && !was_answered() && !is_settled_truth(exchange, path, query, *open, row) {
            return Err(format!("has a row that the exchange did not give, or not lately: {row}"));
        }
    }
    let lies: Vec<&&Answered> = log.iter().filter(|answered| answered.lie.is_some() && answered.at >= since).collect();
    let newest = rows.last().map_or(0, |row| row.0);
    let fresh_ms = FORMING_FRESH_FOR.as_millis() as u64 + exchange.latency_ms.load(Ordering::SeqCst);
    let fresh_since = now.saturating_sub(fresh_ms);
    let denied = |open: u64| {
        let by_lie = |lie: &&&Answered| lie.true_rows.contains_key(&open) && !lie.answered_rows.contains_key(&open);
        // An older answer than the truth ends before it: last good, or a list that was fresh a moment ago.
        lies.iter().any(by_lie) || (open > newest && (!lies.is_empty() || open > fresh_since))
    };
    let is_lacking = |open: &u64| rows.binary_search_by_key(open, |row| row.0).is_err();
    let lacking: Vec<u64> = truth.iter().map(|row| row.0).filter(is_lacking).filter(|open| !denied(*open)).collect();
    let more = rows.iter().filter(|(open, _)| truth.binary_search_by_key(open, |row| row.0).is_err()).count();
    match lacking.len() > more {
        true => Err(format!(
            "lacks {} candles that no lie denied since {since}, the first of {}",
            lacking.len(),
            lacking[0]
        )),
        false => Ok(()),
    }
}

fn is_direct(path: &str, query: &str) -> bool {
    let venue = Venue::of(path, query).expect("a path of the exchange's");
    matches!(
        plan(
            &lastgood_market::Identities::public(),
            venue,
            Request { is_get: true, path, query, ..Request::default() }
        ),
        Plan::Cached { .. }
    )
}

fn is_settled_truth(exchange: &Recorded, path: &str, query: &str, open: u64, row: &str) -> bool {
    let names = ["symbol", "pair", "contractType", "timeZone", "interval"];
    let params = Params::parse(query).expect("a query of ours");
    let fields = names.iter().filter_map(|name| Some(format!("{name}={}", params.get(name)?)));
    let query = fields.collect::<Vec<_>>().join("&") + &format!("&startTime={open}&endTime={open}&limit=1");
    let single = exchange.sim.honest(SimRequest { path, query: &query, micros: false }).body;
    opens(&single) == [(open, row)]
}

/// The rows of a list or of the symbols of a document, a book by its number and its best offers, another object as one row.
pub(crate) fn pieces(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let after = |name: &str, most: usize| {
        let from = text.find(name)?;
        Some(text[from..].chars().take(most).collect::<String>())
    };
    let of_book = || Some([after("\"lastUpdateId\":", 29)?, after("\"bids\":", 90)?, after("\"asks\":", 90)?].concat());
    let is_document = text.starts_with('{') && text.contains("\"symbols\":[");
    match &text {
        list if list.starts_with('[') => row_texts(body).into_iter().map(str::to_owned).collect(),
        document if is_document => {
            #[derive(Deserialize)]
            struct Document<'a> {
                #[serde(borrow)]
                symbols: Vec<&'a RawValue>,
            }
            let document: Document<'_> = serde_json::from_str(document).expect("a document");
            document.symbols.into_iter().map(|row| row.get().to_owned()).collect()
        }
        other => vec![of_book().unwrap_or_else(|| other.to_string())],
    }
}

/// Whether all of an answer occurs in the answers that count.
fn plausible_rows(
    exchange: &Recorded,
    target: &str,
    answer: &Bytes,
    counts: impl Fn(&Answered) -> bool,
) -> Result<(), String> {
    let path = target.split('?').next().unwrap_or(target);
    let log = exchange.log.lock().unwrap();
    let given: Vec<&Answered> = log.iter().filter(|answered| answered.path == path && counts(answered)).collect();
    let unknown = pieces(answer).into_iter().find(|piece| !given.iter().any(|given| given.pieces().contains(piece)));
    unknown
        .map_or(Ok(()), |piece| Err(format!("has a part that the exchange did not give, or not lately: {piece:.200}")))
}

/// What the exchange refuses a question with, if it does.
pub(crate) fn refusal(exchange: &Recorded, target: &str) -> Option<Bytes> {
    let answer = exchange.honest_at(SimRequest::of(target), exchange.clock.now().as_millis());
    (answer.status != 200).then_some(answer.body)
}

/// The newest time or number in an answer, where it has one that grows with time; nothing of an answer that is not true.
pub(crate) fn newest(exchange: &Recorded, target: &str, answer: &Bytes) -> Option<u64> {
    if is_candles(target) {
        let (path, query) = target.split_once('?')?;
        let params = Params::parse(query)?;
        // What comes first from a start on may come earlier once a hole is filled; the newest are never older.
        if params.get("startTime").is_some() {
            return None;
        }
        let mut rows = opens(answer).into_iter().rev();
        return rows.find(|(open, _)| is_candle(exchange, path, query, *open)).map(|row| row.0);
    }
    // The last row of a page of the past says nothing of the present.
    if is_page(target) {
        return None;
    }
    let of_others = [Lie::OtherSymbol, Lie::OtherSymbolsRow, Lie::ForeignRow];
    plausible_rows(exchange, target, answer, |lie| lie.lie.is_none_or(|lie| !of_others.contains(&lie))).ok()?;
    if let Some((_, number)) = pieces(answer).first().and_then(|book| book.split_once("\"lastUpdateId\":")) {
        return number.split(',').next()?.parse().ok();
    }
    let body: Value = serde_json::from_slice(answer).ok()?;
    let of = |row: &Value| {
        ["id", "a", "closeTime", "time", "timestamp", "fundingTime"].iter().find_map(|name| row[name].as_u64())
    };
    match &body {
        Value::Array(rows) => rows.iter().filter_map(of).max(),
        row => of(row),
    }
}

/// Whether a part of the past is asked for, and no candles.
pub(crate) fn is_page(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let params = Params::parse(query).expect("a query of ours");
    !is_candles(target) && ["fromId", "startTime", "endTime"].iter().any(|bound| params.get(bound).is_some())
}

/// Whether `answer` has nothing but rows of `before`, and not all of them. Of two answers that each have a row of their own,
/// either may be wrong.
pub(crate) fn is_part(answer: &Bytes, before: &Bytes) -> bool {
    let (rows, before) = (row_texts(answer), row_texts(before));
    rows.len() < before.len() && rows.iter().all(|row| before.contains(row))
}

/// Whether the exchange has given nothing but ends of a series from before the candle that opens at `newest`, and that for as
/// long as such ends are refused: then they are believed, and RELIABILITY.md says so under "Not promised".
pub(crate) fn lags_for_long(exchange: &Recorded, target: &str, newest: u64, now: u64) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let series = series_of(path, query);
    let mut since = None;
    let log = exchange.log.lock().unwrap();
    for answered in log.iter().filter(|answered| answered.series == series && answered.at <= now) {
        let params = Params::parse(&answered.query).expect("a query of ours");
        let is_full = params.number("limit").is_some_and(|limit| answered.answered_rows.len() as u64 >= limit);
        let is_of_the_end =
            params.number("endTime").is_none_or(|end| end >= newest) && (params.get("startTime").is_none() || !is_full);
        if answered.answered_rows.keys().any(|open| *open >= newest) {
            since = None;
        } else if is_of_the_end {
            since = since.or(Some(answered.at));
        }
    }
    since.is_some_and(|since| since + REFUSED_FOR.as_millis() as u64 <= now)
}

/// Whether the exchange has a candle that opens then, whatever it answered.
fn is_candle(exchange: &Recorded, path: &str, query: &str, open: u64) -> bool {
    let series = series_of(path, query);
    let log = exchange.log.lock().unwrap();
    let mut given = log.iter().filter(|answered| answered.series == series);
    given.any(|answered| answered.true_rows.contains_key(&open))
}
