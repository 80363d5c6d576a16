//! Part of a JSON document, in the document's own text: nothing is read into numbers and written again.

mod error;

use std::fmt;

use bytes::Bytes;
use jiff::civil::Date;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use self::error::SelectError;
use super::compute::{Expression, Field};
use crate::arguments::{Argument, Arguments};
use crate::suggest::nearest;

/// From this size on a document is read away from the tasks that answer requests.
const LARGE: usize = 256 << 10;

/// What of a document is wanted. What it names must be there: otherwise the document is malformed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The fields to go down through; none is the document itself.
    pub path: Vec<String>,
    /// Which part of a document to take.
    pub take: Take,
    /// Fields of the document to keep next to it. With any, the answer is an object of these and of the last field of
    /// the path; so there must be one.
    pub keep: Vec<String>,
    /// What each item that is taken, or the one object, is to become: an object of these fields, in this order. Without any,
    /// it stays as it is.
    pub fields: Vec<(String, Expression)>,
}

/// What to take of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Take {
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

impl Take {
    /// Whether how many depends on a parameter.
    pub(crate) fn uses(&self, name: &str) -> bool {
        match self {
            Take::LastN(count) | Take::LastDays { count, .. } => matches!(count, Count::Parameter(of) if of == name),
            Take::All | Take::Last => false,
        }
    }
}

/// How many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
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
    /// The problem with it, and a hint.
    pub fn validate(&self, parameters: &[String]) -> Result<(), SelectError> {
        if !self.keep.is_empty() && self.path.is_empty() {
            return Err(SelectError::KeepWithoutPath);
        }
        if let Some(name) = self.path.last().filter(|name| self.keep.contains(name)) {
            return Err(SelectError::KeepsTaken(name.clone()));
        }
        let count = match &self.take {
            Take::LastN(count) | Take::LastDays { count, .. } => count.parameter(),
            _ => None,
        };
        match count.filter(|name| !parameters.iter().any(|known| known == name)) {
            Some(name) => Err(SelectError::UndeclaredCount(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether the document is wanted as it is.
    pub(crate) fn is_whole(&self) -> bool {
        self.path.is_empty() && self.take == Take::All && self.fields.is_empty()
    }

    /// The wanted part.
    ///
    /// # Errors
    ///
    /// Why the document has no such part.
    pub(crate) async fn select(&self, document: Bytes, arguments: &Arguments) -> Result<Bytes, SelectError> {
        if document.len() < LARGE {
            return self.apply(&document, arguments).map(Bytes::from);
        }
        let (selector, arguments) = (self.clone(), arguments.clone());
        let selected = tokio::task::spawn_blocking(move || selector.apply(&document, &arguments)).await;
        selected.unwrap_or(Err(SelectError::Unread)).map(Bytes::from)
    }

    fn apply(&self, document: &[u8], arguments: &Arguments) -> Result<Vec<u8>, SelectError> {
        if self.is_whole() {
            serde_json::from_slice::<IgnoredAny>(document).map_err(|_| SelectError::NotJson)?;
            return Ok(document.to_vec());
        }
        let whole: &RawValue = serde_json::from_slice(document).map_err(|_| SelectError::NotJson)?;
        let taken = self.taken(self.part(whole)?, arguments)?;
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

    fn part<'a>(&self, whole: &'a RawValue) -> Result<&'a RawValue, SelectError> {
        self.path.iter().try_fold(whole, |value, name| Fields::of(value)?.get(name))
    }

    /// The first field that is computed with and that no item has, with the name of one that every reader would take it for.
    pub(crate) fn misspelt(&self, document: &[u8]) -> Option<(String, String)> {
        let value = self.part(serde_json::from_slice(document).ok()?).ok()?;
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value]);
        let items: Vec<Fields<'_>> = items.into_iter().map(Fields::of).collect::<Result<_, _>>().ok()?;
        let mut wanted = self.fields.iter().flat_map(|(_, expression)| expression.fields()).map(|field| &field.path[0]);
        wanted.find_map(|name| {
            let is_absent = !items.iter().any(|item| item.has(name));
            let there = items.first()?.0.iter().map(|(known, _)| known.as_str());
            nearest(name, there).filter(|_| is_absent).map(|meant| (name.clone(), meant.to_owned()))
        })
    }

    fn taken(&self, value: &RawValue, arguments: &Arguments) -> Result<Vec<u8>, SelectError> {
        if self.take == Take::All && (self.fields.is_empty() || !value.get().starts_with('[')) {
            return match self.fields.is_empty() {
                true => Ok(value.get().as_bytes().to_vec()),
                false => Rows::new(&self.fields, &[value]).row(0),
            };
        }
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| SelectError::NotArray)?;
        let mut rows = Rows::new(&self.fields, &items);
        match &self.take {
            Take::All => rows.array(0..items.len()),
            Take::Last => rows.row(items.len().checked_sub(1).ok_or(SelectError::EmptyArray)?),
            Take::LastN(count) => rows.array(items.len().saturating_sub(count.value(arguments))..items.len()),
            Take::LastDays { field, count } => {
                let days = items.iter().map(|item| day(item, field)).collect::<Result<Vec<Date>, SelectError>>()?;
                let latest = days.iter().max().copied();
                let count = i64::try_from(count.value(arguments)).unwrap_or(i64::MAX);
                let is_recent = |day: &Date| latest.is_some_and(|latest| between(*day, latest) < count);
                rows.array((0..items.len()).filter(|at| is_recent(&days[*at])))
            }
        }
    }
}

/// The items of an array on their way into the answer: as they are, or with computed fields.
struct Rows<'a> {
    fields: &'a [(String, Expression)],
    items: &'a [&'a RawValue],
    /// The item that was read last, so that each is read once where rows follow on each other.
    before: Option<(usize, Fields<'a>)>,
}

impl<'a> Rows<'a> {
    fn new(fields: &'a [(String, Expression)], items: &'a [&'a RawValue]) -> Rows<'a> {
        Rows { fields, items, before: None }
    }

    fn array(&mut self, wanted: impl Iterator<Item = usize>) -> Result<Vec<u8>, SelectError> {
        let mut out = vec![b'['];
        for at in wanted {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&self.row(at)?);
        }
        out.push(b']');
        Ok(out)
    }

    fn row(&mut self, at: usize) -> Result<Vec<u8>, SelectError> {
        if self.fields.is_empty() {
            return Ok(self.items[at].get().as_bytes().to_vec());
        }
        let needs_previous = self.fields.iter().flat_map(|(_, field)| field.fields()).any(|field| field.is_previous);
        let previous = match at.checked_sub(1).filter(|_| needs_previous) {
            Some(before) => match self.before.take().filter(|(read, _)| *read == before) {
                Some((_, fields)) => Some(fields),
                None => Some(Fields::of(self.items[before])?),
            },
            None => None,
        };
        let current = Fields::of(self.items[at])?;
        let mut is_known = false;
        let mut out = vec![b'{'];
        for (name, expression) in self.fields {
            let text = |field: &Field| match (field.is_previous, &previous) {
                (true, None) => Ok(None),
                (true, Some(previous)) => previous.find(&field.path),
                (false, _) => current.find(&field.path),
            };
            is_known |= expression.fields().any(|field| !field.is_previous && current.has(&field.path[0]));
            if out.len() > 1 {
                out.push(b',');
            }
            push_field(&mut out, name, expression.evaluate(text)?.as_bytes());
        }
        out.push(b'}');
        let asks_for_any = self.fields.iter().flat_map(|(_, field)| field.fields()).any(|field| !field.is_previous);
        self.before = Some((at, current));
        match is_known || !asks_for_any {
            true => Ok(out),
            false => Err(SelectError::NoFields),
        }
    }
}

fn between(day: Date, later: Date) -> i64 {
    day.until((jiff::Unit::Day, later)).map_or(i64::MAX, |span| i64::from(span.get_days()))
}

fn day(item: &RawValue, field: &str) -> Result<Date, SelectError> {
    let wrong = || SelectError::NoDay(field.to_owned());
    let text: String = serde_json::from_str(Fields::of(item)?.get(field)?.get()).map_err(|_| wrong())?;
    text.get(..10).and_then(|day| day.parse().ok()).ok_or_else(wrong)
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
    fn of(value: &'a RawValue) -> Result<Fields<'a>, SelectError> {
        serde_json::from_str(value.get()).map_err(|_| SelectError::NotObject)
    }

    fn get(&self, name: &str) -> Result<&'a RawValue, SelectError> {
        self.try_get(name)?.ok_or_else(|| SelectError::NoField(name.to_owned()))
    }

    fn try_get(&self, name: &str) -> Result<Option<&'a RawValue>, SelectError> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (found, None) => Ok(found.map(|(_, value)| *value)),
            (_, Some(_)) => Err(SelectError::FieldTwice(name.to_owned())),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The text of a field, or of a field of the object that it is.
    fn find(&self, path: &[String]) -> Result<Option<&'a str>, SelectError> {
        let Some((first, inner)) = path.split_first() else { return Ok(None) };
        let mut found = self.try_get(first)?;
        for name in inner {
            found = match found.filter(|value| value.get().starts_with('{')) {
                Some(value) => Fields::of(value)?.try_get(name)?,
                None => None,
            };
        }
        Ok(found.map(RawValue::get))
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
        Selector { path: owned(path), take, keep: owned(keep), fields: Vec::new() }
    }

    fn selected(selector: &Selector, document: &str, days: i64) -> Result<String, SelectError> {
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
    fn an_answer_of_another_shape_is_refused() {
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

    fn with_fields(path: &[&str], take: Take, keep: &[&str], fields: &[(&str, &str)]) -> Selector {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), Expression::parse(text).unwrap())).collect();
        Selector { fields, ..selector(path, take, keep) }
    }

    const PRICES: &str = r#"{"symbol": "AAPL", "metadata": {"currency": "USD"}, "data_points": [
        {"date": "2025-01-29", "close": 100.00, "volume": 7},
        {"date": "2025-01-30", "close": "99.50", "volume": 1.0e3},
        {"date": "2025-02-02", "close": 104.475, "volume": null}]}"#;
    const LATEST: [(&str, &str); 5] = [
        ("date", "date"),
        ("close", "close"),
        ("volume", "volume"),
        ("change", "close - previous.close"),
        ("change_percent", "round((close - previous.close) / previous.close * 100, 2)"),
    ];

    #[test]
    fn each_item_is_computed_with_the_one_before_it_in_the_document() {
        let first = r#"{"date":"2025-01-29","close":100.00,"volume":7,"change":null,"change_percent":null}"#;
        let second = r#"{"date":"2025-01-30","close":"99.50","volume":1.0e3,"change":-0.5,"change_percent":-0.5}"#;
        let third = r#"{"date":"2025-02-02","close":104.475,"volume":null,"change":4.975,"change_percent":5}"#;
        let by_day = Take::LastDays { field: "date".to_owned(), count: days() };
        for (take, count, wanted) in [
            (Take::Last, 0, third.to_owned()),
            (Take::All, 0, format!("[{first},{second},{third}]")),
            (Take::LastN(days()), 2, format!("[{second},{third}]")),
            (Take::LastN(days()), 9, format!("[{first},{second},{third}]")),
            (Take::LastN(days()), 0, "[]".to_owned()),
            (by_day.clone(), 1, format!("[{third}]")),
            (by_day, 4, format!("[{second},{third}]")),
        ] {
            let selector = with_fields(&["data_points"], take, &[], &LATEST);
            assert_eq!(selected(&selector, PRICES, count).as_deref(), Ok(wanted.as_str()), "{:?}", selector.take);
        }
        let kept = with_fields(&["data_points"], Take::Last, &["symbol"], &[("close", "close")]);
        let wanted = r#"{"symbol":"AAPL","data_points":{"close":104.475}}"#;
        assert_eq!(selected(&kept, PRICES, 0).as_deref(), Ok(wanted));
    }

    #[test]
    fn one_object_is_computed_too_and_has_none_before_it() {
        let info = [("currency", "metadata.currency"), ("symbol", "symbol"), ("before", "previous.symbol")];
        let wanted = r#"{"currency":"USD","symbol":"AAPL","before":null}"#;
        assert_eq!(selected(&with_fields(&[], Take::All, &[], &info), PRICES, 0).as_deref(), Ok(wanted));
        let inner = with_fields(&["metadata"], Take::All, &[], &[("c", "currency")]);
        assert_eq!(selected(&inner, PRICES, 0).as_deref(), Ok(r#"{"c":"USD"}"#));
    }

    #[test]
    fn a_misspelt_field_is_distinct_from_an_absent_one() {
        let misspelt = |fields: &[(&str, &str)]| {
            let found = with_fields(&["data_points"], Take::Last, &[], fields).misspelt(PRICES.as_bytes());
            found.map(|(name, meant)| format!("{name} {meant}"))
        };
        assert_eq!(misspelt(&LATEST), None);
        assert_eq!(misspelt(&[("close", "close"), ("x", "close - previous.clsoe")]).as_deref(), Some("clsoe close"));
        assert_eq!(misspelt(&[("close", "close"), ("dividend", "dividend")]), None);
    }

    #[test]
    fn a_field_that_an_item_lacks_is_null_but_an_item_that_lacks_all_is_none() {
        let latest = with_fields(&["p"], Take::Last, &[], &LATEST);
        let sparse = r#"{"date":null,"close":1,"volume":null,"change":null,"change_percent":null}"#;
        assert_eq!(selected(&latest, r#"{"p":[{"c":2},{"close":1}]}"#, 0).as_deref(), Ok(sparse));
        for document in [
            r#"{"p":[{"close":1},{}]}"#,
            r#"{"p":[{"close":1},{"Close":2}]}"#,
            r#"{"p":[{"close":1},7]}"#,
            r#"{"p":[[1],{"close":1}]}"#,
            r#"{"p":[{"close":1},{"close":1,"close":2}]}"#,
            r#"{"p":[{"close":1,"close":2},{"close":1}]}"#,
            r#"{"p":7}"#,
            r#"{"p":[]}"#,
        ] {
            assert!(selected(&latest, document, 0).is_err(), "{document}");
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
        assert!(selector(&["a"], Take::LastN(days()), &[]).validate(&[]).unwrap_err().to_string().contains("`days`"));
        assert!(selector(&["a"], Take::LastN(days()), &[]).validate(&["days".to_owned()]).is_ok());
    }
}
