//! The fear & greed index: one number a day for the mood of the market, 0 (extreme fear) to 100 (extreme greed).
//!
//! Its answers name the time of their next update, which is how long they stay true.

use std::error::Error;
use std::fmt;
use std::str::Utf8Error;
use std::time::Duration;

use lastgood::Timestamp;
use serde::{Deserialize, Deserializer};

#[cfg(feature = "http")]
mod source;

#[cfg(feature = "http")]
pub use self::source::FearGreed;

/// The index's publisher. Keys leave its name out.
const PUBLISHER: &str = "api.alternative.me";
/// The path below the API's base.
pub(crate) const PATH: &str = "/fng/";
/// The most readings that are asked for at once: more than the index has days.
pub const LARGEST_LIMIT: u32 = 10_000;

/// An answer is fresh at least and at most so long, whatever it says itself.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(86_400);

/// The index on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// 0 to 100.
    pub value: u8,
    /// The index's own word for it, such as `Extreme Fear`.
    pub classification: String,
    /// The day it is for.
    pub timestamp: Timestamp,
}

/// The query for the newest `limit` readings: at least one, at most [`LARGEST_LIMIT`].
pub(crate) fn query(limit: u32) -> String {
    format!("limit={}&format=json", limit.clamp(1, LARGEST_LIMIT))
}

/// The key of the answer to `query`, by the name of the site that it is of.
pub fn key(site: &str, query: &str) -> String {
    match site {
        PUBLISHER => query.to_owned(),
        other => format!("fng@{other}?{query}"),
    }
}

/// The values of `date_format`: the API then writes dates instead of seconds since the epoch.
pub const DATE_FORMATS: [&str; 4] = ["us", "cn", "kr", "world"];

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, with seconds since the epoch.
    Json,
    /// JSON, with dates.
    Dated,
    /// The API's `csv`: lines of text.
    Table,
}

/// Why a body is no answer of the index: the API reports errors with status 200.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotReadings {
    /// It is not the JSON of an answer.
    NotJson(serde_json::Error),
    /// It is no text.
    NotText(Utf8Error),
    /// It is no table, but JSON or a page.
    NotTable,
    /// It is an error of the API's own, shortened.
    Reported(String),
    /// There is no reading in it.
    Empty,
    /// A reading is not within 0 and 100.
    Value,
    /// A reading has no time.
    Time,
    /// A reading has no date.
    Date,
    /// Its readings are not the newest first.
    Order,
}

impl fmt::Display for NotReadings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(why) => write!(f, "it is no fear & greed answer: {why}"),
            Self::NotText(_) => f.write_str("it is no text"),
            Self::NotTable => f.write_str("it is no table"),
            Self::Reported(error) => write!(f, "the fear & greed API reports the error {error}"),
            Self::Empty => f.write_str("it holds no reading"),
            Self::Value => f.write_str("a reading is not within 0 and 100"),
            Self::Time => f.write_str("a reading has no time"),
            Self::Date => f.write_str("a reading has no date"),
            Self::Order => f.write_str("its readings are not the newest first"),
        }
    }
}

impl Error for NotReadings {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what this says.
            Self::NotJson(why) => why.source(),
            Self::NotText(why) => Some(why),
            _ => None,
        }
    }
}

impl Form {
    /// As [`check`], for an answer in this form.
    ///
    /// # Errors
    ///
    /// The problem with it, when it is no answer of the index in this form.
    pub fn check(self, body: &[u8]) -> Result<Duration, NotReadings> {
        match self {
            Form::Json => check(body),
            Form::Dated => check_dated(body),
            Form::Table => check_table(body),
        }
    }
}

fn check_dated(body: &[u8]) -> Result<Duration, NotReadings> {
    let answer: Answer<DatedRow> = read(body)?;
    let is_date = |text: &str| {
        (6..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || b"-/. ".contains(&byte))
    };
    let newest = answer.data.first().ok_or(NotReadings::Empty)?;
    if answer.data.iter().any(|row| !(0..=100).contains(&row.value)) {
        return Err(NotReadings::Value);
    }
    if answer.data.iter().any(|row| !is_date(&row.timestamp)) {
        return Err(NotReadings::Date);
    }
    Ok(left_until_update(newest.time_until_update))
}

/// The API puts lines of a reading, a word and a date, in some order, between the brackets of its JSON.
fn check_table(body: &[u8]) -> Result<Duration, NotReadings> {
    let text = std::str::from_utf8(body).map_err(NotReadings::NotText)?;
    // Its errors are JSON, and those of others are pages.
    if text.trim_start().starts_with('<') || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Err(NotReadings::NotTable);
    }
    let is_reading = |field: &str| field.trim().parse::<u8>().is_ok_and(|value| value <= 100);
    let is_row = |line: &str| line.split(',').count() == 3 && line.split(',').any(is_reading);
    match text.lines().any(is_row) {
        // It does not say when the next update is.
        true => Ok(LEAST),
        false => Err(NotReadings::Empty),
    }
}

/// How long `body` stays true: until the next update that it names, within 60 s and 24 h.
///
/// # Errors
///
/// The problem with it, when it is no answer of the index: the API reports errors with status 200.
pub(crate) fn check(body: &[u8]) -> Result<Duration, NotReadings> {
    let answer: Answer<Row> = read(body)?;
    let newest = answer.data.first().ok_or(NotReadings::Empty)?;
    if answer.data.iter().any(|row| !(0..=100).contains(&row.value)) {
        return Err(NotReadings::Value);
    }
    if answer.data.iter().any(|row| row.time().is_none()) {
        return Err(NotReadings::Time);
    }
    if answer.data.windows(2).any(|pair| pair[0].timestamp <= pair[1].timestamp) {
        return Err(NotReadings::Order);
    }
    Ok(left_until_update(newest.time_until_update))
}

fn read<'de, R: Deserialize<'de>>(body: &'de [u8]) -> Result<Answer<R>, NotReadings> {
    let answer: Answer<R> = serde_json::from_slice(body).map_err(NotReadings::NotJson)?;
    let reported = answer.metadata.as_ref().and_then(|metadata| metadata.error.as_ref());
    if let Some(error) = reported.filter(|error| !error.is_null()) {
        return Err(NotReadings::Reported(error.to_string().chars().take(200).collect()));
    }
    Ok(answer)
}

/// An update that is overdue is named with a negative time, or none.
fn left_until_update(seconds: Option<i64>) -> Duration {
    let left = seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    Duration::from_secs(left).clamp(LEAST, MOST)
}

/// The readings in a body that passes [`check`], newest first.
pub(crate) fn readings(body: &[u8]) -> Option<Vec<Reading>> {
    check(body).ok()?;
    let answer: Answer<Row> = serde_json::from_slice(body).ok()?;
    answer.data.into_iter().map(Row::into_reading).collect()
}

#[derive(Deserialize)]
struct Answer<R> {
    data: Vec<R>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(deserialize_with = "number")]
    value: i64,
    value_classification: String,
    /// Seconds since the epoch.
    #[serde(deserialize_with = "number")]
    timestamp: i64,
    /// Seconds; in the newest row only.
    #[serde(default, deserialize_with = "number_if_any")]
    time_until_update: Option<i64>,
}

#[derive(Deserialize)]
struct DatedRow {
    #[serde(deserialize_with = "number")]
    value: i64,
    timestamp: String,
    #[serde(default, deserialize_with = "number_if_any")]
    time_until_update: Option<i64>,
}

impl Row {
    fn into_reading(self) -> Option<Reading> {
        Some(Reading {
            value: u8::try_from(self.value).ok()?,
            timestamp: self.time()?,
            classification: self.value_classification,
        })
    }

    fn time(&self) -> Option<Timestamp> {
        u64::try_from(self.timestamp).ok()?.checked_mul(1_000).map(Timestamp::from_millis)
    }
}

/// A number as text, as the API writes it, or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Text(String),
}

impl Number {
    fn get<E: serde::de::Error>(self) -> Result<i64, E> {
        match self {
            Number::Plain(number) => Ok(number),
            Number::Text(text) => text.parse().map_err(|_| E::custom("a number was expected")),
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Number::deserialize(deserializer)?.get()
}

fn number_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<Number>::deserialize(deserializer)?.map(Number::get).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(rows: &[(&str, &str, Option<&str>)]) -> Vec<u8> {
        let row = |&(value, timestamp, left): &(&str, &str, Option<&str>)| {
            let left = left.map(|left| format!(r#","time_until_update":"{left}""#)).unwrap_or_default();
            format!(r#"{{"value":"{value}","value_classification":"Fear","timestamp":"{timestamp}"{left}}}"#)
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        format!(r#"{{"name":"Fear and Greed Index","data":[{}],"metadata":{{"error":null}}}}"#, rows.join(","))
            .into_bytes()
    }

    #[test]
    fn an_answer_is_true_until_its_next_update_within_bounds() {
        for (left, seconds) in
            [(Some("3599"), 3_599), (Some("5"), 60), (Some("-20"), 60), (None, 60), (Some("900000"), 86_400)]
        {
            assert_eq!(check(&body(&[("39", "1746148800", left)])).unwrap(), Duration::from_secs(seconds), "{left:?}");
        }
    }

    #[test]
    fn readings_are_numbers_newest_first() {
        let found = readings(&body(&[("39", "1746148800", Some("1")), ("100", "1746062400", None)])).unwrap();
        let expected = Reading {
            value: 39,
            classification: "Fear".to_owned(),
            timestamp: Timestamp::from_millis(1_746_148_800_000),
        };
        assert_eq!(found[0], expected);
        assert_eq!(found[1].value, 100);
    }

    #[test]
    fn errors_that_come_with_a_good_status_are_refused() {
        for (bad, why) in [
            (r#"{"name":"x","data":[],"metadata":{"error":"limit exceeded"}}"#.to_owned(), "limit exceeded"),
            (r#"{"name":"x","data":[],"metadata":{"error":null}}"#.to_owned(), "no reading"),
            (r#"{"Information":"the rate limit is 25 requests per day"}"#.to_owned(), "missing field"),
            ("<html>busy</html>".to_owned(), "no fear & greed answer"),
            (String::from_utf8(body(&[("101", "2", None)])).unwrap(), "not within"),
            (String::from_utf8(body(&[("-1", "2", None)])).unwrap(), "not within"),
            (String::from_utf8(body(&[("1", "2", None), ("1", "3", None)])).unwrap(), "newest first"),
            (String::from_utf8(body(&[("x", "2", None)])).unwrap(), "number"),
            (String::from_utf8(body(&[("1", "-2", None)])).unwrap(), "no time"),
        ] {
            let refused = check(bad.as_bytes()).expect_err(&bad);
            assert!(refused.to_string().contains(why), "{refused}");
            assert_eq!(readings(bad.as_bytes()), None);
        }
    }

    #[test]
    fn readings_of_another_site_have_keys_of_their_own() {
        assert_eq!(key("api.alternative.me", &query(7)), "limit=7&format=json");
        assert_eq!(key("127.0.0.1:9000", &query(7)), "fng@127.0.0.1:9000?limit=7&format=json");
    }

    #[test]
    fn dates_and_tables_are_held_to_their_form() {
        let dated = r#"{"data":[{"value":"39","value_classification":"Fear","timestamp":"05-02-2025","time_until_update":"99"}]}"#;
        assert_eq!(Form::Dated.check(dated.as_bytes()).unwrap(), Duration::from_secs(99));
        assert!(Form::Json.check(dated.as_bytes()).is_err());
        let table = "{\n\"name\": \"Fear and Greed Index\",\n\"data\": [\nfng_value,fng_classification,date\n02-05-2025,39,Fear\n]}";
        assert_eq!(Form::Table.check(table.as_bytes()).unwrap(), LEAST);
        for (form, bad) in [
            (Form::Dated, r#"{"data":[]}"#),
            (Form::Dated, r#"{"data":[{"value":"139","timestamp":"05-02-2025"}]}"#),
            (Form::Dated, r#"{"data":[{"value":"39","timestamp":"soon"}]}"#),
            (Form::Dated, r#"{"data":[{"value":"39","timestamp":"05-02-2025"}],"metadata":{"error":"no"}}"#),
            (Form::Table, dated),
            (Form::Table, "<html>a,1,b</html>"),
            (Form::Table, "fng_value,fng_classification,date"),
            (Form::Table, ""),
        ] {
            assert!(form.check(bad.as_bytes()).is_err(), "{form:?} {bad}");
        }
        assert!(Form::Table.check(b"a,1,\xff").is_err());
    }

    #[test]
    fn the_limit_is_bounded() {
        assert_eq!(query(7), "limit=7&format=json");
        assert_eq!(query(0), "limit=1&format=json");
        assert_eq!(query(u32::MAX), "limit=10000&format=json");
    }
}
