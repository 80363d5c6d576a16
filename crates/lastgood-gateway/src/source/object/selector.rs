//! Part of a JSON document, in the document's own text: nothing is read into numbers and written again.

use std::fmt;

use jiff::civil::Date;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::source::{Argument, Arguments};

/// What of a document is wanted. What it names must be there: otherwise the document is malformed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The fields to go down through; none is the document itself.
    pub(crate) path: Vec<String>,
    /// What to take of what is there.
    pub(crate) take: Take,
    /// Fields of the document to keep beside it. With any, the answer is an object of these and of the last field of
    /// the path; so there must be one.
    pub(crate) keep: Vec<String>,
}

/// What to take of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Take {
    /// All of it.
    #[default]
    All,
    /// The last item of an array.
    Last,
    /// An array's last items, in an array: all, if there are fewer.
    LastN(Count),
    /// An array's items of the last days, counted back from the latest day among them, which is one.
    LastDays {
        /// The items' field that holds a day, or a moment that begins with one: `2025-01-31…`.
        field: String,
        /// How many days.
        count: Count,
    },
}

/// How many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Always as many.
    Fixed(usize),
    /// As an integer parameter says: not given, all; below one, none.
    Parameter(String),
}

impl Count {
    fn value(&self, arguments: &Arguments) -> usize {
        match self {
            Count::Fixed(count) => *count,
            Count::Parameter(name) => match arguments.get(name) {
                Some(Argument::Integer(count)) => usize::try_from(*count).unwrap_or(0),
                _ => usize::MAX,
            },
        }
    }

    fn parameter(&self) -> Option<&str> {
        match self {
            Count::Fixed(_) => None,
            Count::Parameter(name) => Some(name),
        }
    }
}

impl Selector {
    /// Whether it can be right at all.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and the mend.
    pub(super) fn validate(&self, parameters: &[String]) -> Result<(), String> {
        if !self.keep.is_empty() && self.path.is_empty() {
            return Err("`keep` needs a field to keep others beside; name one, or take the whole".to_owned());
        }
        if let Some(name) = self.path.last().filter(|name| self.keep.contains(name)) {
            return Err(format!("`keep` names `{name}`, which is the field that is taken; leave it out"));
        }
        let count = match &self.take {
            Take::LastN(count) | Take::LastDays { count, .. } => count.parameter(),
            _ => None,
        };
        match count.filter(|name| !parameters.iter().any(|known| known == name)) {
            Some(name) => Err(format!("the number of items is `{name}`, which is not declared; declare it")),
            None => Ok(()),
        }
    }

    /// Whether the document is wanted as it is.
    pub(super) fn is_whole(&self) -> bool {
        self.path.is_empty() && self.take == Take::All
    }

    /// The wanted part.
    ///
    /// # Errors
    ///
    /// Why the document has no such part.
    pub(super) fn apply(&self, document: &[u8], arguments: &Arguments) -> Result<Vec<u8>, String> {
        if self.is_whole() {
            serde_json::from_slice::<IgnoredAny>(document).map_err(|_| "it is not JSON".to_owned())?;
            return Ok(document.to_vec());
        }
        let whole: &RawValue = serde_json::from_slice(document).map_err(|_| "it is not JSON".to_owned())?;
        let mut value = whole;
        for name in &self.path {
            value = Fields::of(value)?.get(name)?;
        }
        let taken = self.taken(value, arguments)?;
        let (Some(name), false) = (self.path.last(), self.keep.is_empty()) else { return Ok(taken) };
        let fields = Fields::of(whole)?;
        let mut out = vec![b'{'];
        for kept in &self.keep {
            push_field(&mut out, kept, fields.get(kept)?.get().as_bytes());
            out.push(b',');
        }
        push_field(&mut out, name, &taken);
        out.push(b'}');
        Ok(out)
    }

    fn taken(&self, value: &RawValue, arguments: &Arguments) -> Result<Vec<u8>, String> {
        if self.take == Take::All {
            return Ok(value.get().as_bytes().to_vec());
        }
        let items: Vec<&RawValue> =
            serde_json::from_str(value.get()).map_err(|_| "what is to be taken of is no array")?;
        Ok(match &self.take {
            Take::All | Take::Last => items.last().ok_or("the array is empty")?.get().as_bytes().to_vec(),
            Take::LastN(count) => {
                let skipped = items.len().saturating_sub(count.value(arguments));
                array(items.into_iter().skip(skipped))
            }
            Take::LastDays { field, count } => {
                let days = items.iter().map(|item| day(item, field)).collect::<Result<Vec<Date>, String>>()?;
                let latest = days.iter().max().copied();
                let count = i64::try_from(count.value(arguments)).unwrap_or(i64::MAX);
                let recent = |day: &Date| latest.is_some_and(|latest| between(*day, latest) < count);
                array(items.into_iter().zip(&days).filter(|(_, day)| recent(day)).map(|(item, _)| item))
            }
        })
    }
}

fn between(day: Date, later: Date) -> i64 {
    day.until((jiff::Unit::Day, later)).map_or(i64::MAX, |span| i64::from(span.get_days()))
}

fn day(item: &RawValue, field: &str) -> Result<Date, String> {
    let wrong = || format!("an item's `{field}` begins with no day");
    let text: String = serde_json::from_str(Fields::of(item)?.get(field)?.get()).map_err(|_| wrong())?;
    text.get(..10).and_then(|day| day.parse().ok()).ok_or_else(wrong)
}

fn array<'a>(items: impl Iterator<Item = &'a RawValue>) -> Vec<u8> {
    let mut out = vec![b'['];
    for item in items {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(item.get().as_bytes());
    }
    out.push(b']');
    out
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    // Writing to memory does not fail.
    _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
    out.extend_from_slice(value);
}

/// An object's fields, their values unread.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn of(value: &'a RawValue) -> Result<Fields<'a>, String> {
        serde_json::from_str(value.get()).map_err(|_| "what should hold fields is no object".to_owned())
    }

    fn get(&self, name: &str) -> Result<&'a RawValue, String> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value),
            (None, _) => Err(format!("it has no field `{name}`")),
            (Some(_), Some(_)) => Err(format!("it has two fields `{name}`")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = r#" {"symbol": "AAPL", "metadata": {"sector": "Tech", "cap": 1.10e3},
        "data_points": [{"date": "2025-01-29", "close": 1.10}, {"date": "2025-01-30T10:00:00Z", "close": 2.00},
            {"date":"2025-02-02", "close": 12345678901234567890.10}], "last_updated": "today"}"#;

    fn selector(path: &[&str], take: Take, keep: &[&str]) -> Selector {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selector { path: owned(path), take, keep: owned(keep) }
    }

    fn selected(selector: &Selector, document: &str, days: i64) -> Result<String, String> {
        let arguments = Arguments(vec![("days".to_owned(), Argument::Integer(days))]);
        selector.apply(document.as_bytes(), &arguments).map(|got| String::from_utf8(got).unwrap())
    }

    fn days() -> Count {
        Count::Parameter("days".to_owned())
    }

    #[test]
    fn a_part_comes_in_the_documents_own_text() {
        let cases = [
            (selector(&[], Take::All, &[]), 0, STOCK),
            (selector(&["metadata", "cap"], Take::All, &[]), 0, "1.10e3"),
            (
                selector(&["data_points"], Take::Last, &[]),
                0,
                r#"{"date":"2025-02-02", "close": 12345678901234567890.10}"#,
            ),
            (
                selector(&["data_points"], Take::LastN(days()), &[]),
                1,
                r#"[{"date":"2025-02-02", "close": 12345678901234567890.10}]"#,
            ),
            (selector(&["data_points"], Take::LastN(Count::Fixed(0)), &[]), 9, "[]"),
            (selector(&["data_points"], Take::LastN(days()), &[]), 0, "[]"),
            (selector(&["data_points"], Take::LastN(days()), &[]), -1, "[]"),
            (
                selector(&["metadata", "sector"], Take::All, &["symbol", "last_updated"]),
                0,
                r#"{"symbol":"AAPL","last_updated":"today","sector":"Tech"}"#,
            ),
        ];
        for (selector, count, wanted) in cases {
            assert_eq!(selected(&selector, STOCK, count).as_deref(), Ok(wanted), "{selector:?}");
        }
    }

    #[test]
    fn the_last_days_are_counted_by_the_calendar_from_the_latest() {
        let by_day = selector(&["data_points"], Take::LastDays { field: "date".to_owned(), count: days() }, &[]);
        for (count, items) in [(0, 0), (1, 1), (3, 1), (4, 2), (5, 3), (9, 3)] {
            let got: Vec<serde_json::Value> = serde_json::from_str(&selected(&by_day, STOCK, count).unwrap()).unwrap();
            assert_eq!(got.len(), items, "{count} days");
        }
    }

    #[test]
    fn what_is_not_of_the_wanted_shape_is_refused() {
        let last = selector(&["data_points"], Take::Last, &["symbol"]);
        let by_day = selector(&[], Take::LastDays { field: "date".to_owned(), count: days() }, &[]);
        let cases = [
            (&last, "<html>"),
            (&last, "{\"symbol\":\"A\",\"data_points\":[1]"),
            (&last, "[]"),
            (&last, r#"{"symbol":"A"}"#),
            (&last, r#"{"data_points":[1]}"#),
            (&last, r#"{"symbol":"A","data_points":{}}"#),
            (&last, r#"{"symbol":"A","data_points":[]}"#),
            (&last, r#"{"symbol":"A","data_points":[1],"data_points":[2]}"#),
            (&by_day, r#"[{"date":"yesterday"}]"#),
            (&by_day, r#"[{"date":1}]"#),
            (&Selector::default(), "{} {}"),
            (&Selector::default(), ""),
        ];
        for (selector, document) in cases {
            assert!(selected(selector, document, 1).is_err(), "{document}");
        }
    }

    #[test]
    fn a_document_nested_beyond_reason_does_no_harm() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        _ = selected(&Selector::default(), &deep, 1);
        _ = selected(&selector(&["a"], Take::Last, &[]), &format!("{{\"a\":{deep}}}"), 1);
    }

    #[test]
    fn a_selector_that_cannot_be_right_is_refused() {
        assert!(selector(&[], Take::All, &["symbol"]).validate(&[]).is_err());
        assert!(selector(&["a"], Take::All, &["a"]).validate(&[]).is_err());
        assert!(selector(&["a"], Take::LastN(days()), &[]).validate(&[]).unwrap_err().contains("`days`"));
        assert!(selector(&["a"], Take::LastN(days()), &[]).validate(&["days".to_owned()]).is_ok());
    }
}
