//! Queries of the gateway's own paths: read in one way, and refused where they say what cannot be acted upon.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
pub(crate) use lastgood_routes::query::{decoded, fields};
use lastgood_settings::{format_duration, parse_duration};

use crate::problem::Refused;

/// Path and query of a request, as they are written.
pub(crate) fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// The parameters of a query.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query that has no other parameters than `known`, each once.
    pub(crate) fn read(query: Option<&str>, known: &[&str]) -> Result<Parameters, Refused> {
        let refuse = |name: &str, value: &str, allowed: String| {
            Err(Refused::parameter(StatusCode::BAD_REQUEST, name, value, allowed))
        };
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in fields(query.unwrap_or_default()) {
            let value = match value {
                Ok(value) => value,
                Err(not_text) => return refuse(name, &not_text.written, "text in UTF-8".to_owned()),
            };
            if !known.contains(&name) {
                return refuse(name, &value, format!("the parameters {}", known.join(", ")));
            }
            if read.iter().any(|(earlier, _)| earlier == name) {
                return refuse(name, &value, "it once, not twice".to_owned());
            }
            read.push((name.to_owned(), value));
        }
        Ok(Parameters(read))
    }

    /// Refuses a query that says anything.
    pub(crate) fn read_none(query: Option<&str>) -> Result<(), Refused> {
        let Some(text) = query.filter(|text| !text.is_empty()) else { return Ok(()) };
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Err(Refused::parameter(StatusCode::BAD_REQUEST, name, value, "no parameters"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within bounds, if it is given, in digits alone; `allowed` says what it may be.
    pub(crate) fn number(
        &self,
        name: &str,
        bounds: RangeInclusive<u64>,
        allowed: &str,
    ) -> Result<Option<u64>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && bounds.contains(&number) => Ok(Some(number)),
            _ => Err(Refused::parameter(StatusCode::BAD_REQUEST, name, text, allowed)),
        }
    }

    /// A duration within bounds, if it is given.
    pub(crate) fn duration(&self, name: &str, least: Duration, most: Duration) -> Result<Option<Duration>, Refused> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match parse_duration(text) {
            Ok(span) if (least..=most).contains(&span) => Ok(Some(span)),
            _ => {
                let (least, most) = (format_duration(least), format_duration(most));
                let allowed = format!("a duration from {least} to {most}, such as 5m or 1m30s");
                Err(Refused::parameter(StatusCode::BAD_REQUEST, name, text, allowed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_within_its_bounds() {
        let number = |text: &str| {
            let query = format!("n={text}");
            Parameters::read(Some(&query), &["n"]).unwrap().number("n", 1..=10, "1 to 10").ok()
        };
        assert_eq!((number("1"), number("10")), (Some(Some(1)), Some(Some(10))));
        for wrong in ["", "0", "11", "-1", "+5", "%2B5", "5.0", "5 ", "٣", "99999999999999999999"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
        assert_eq!(Parameters::read(None, &["n"]).unwrap().number("n", 1..=10, "1 to 10").unwrap(), None);
    }

    #[test]
    fn unknown_repeated_or_non_text_parameters_are_refused() {
        assert!(Parameters::read(Some("a=1&b=2"), &["a", "b"]).is_ok_and(|read| read.get("b") == Some("2")));
        for query in ["c=1", "a=1&a=1", "a=%FF"] {
            assert!(Parameters::read(Some(query), &["a"]).is_err(), "{query}");
        }
        assert!(Parameters::read_none(None).is_ok() && Parameters::read_none(Some("a")).is_err());
    }
}
