//! Query strings, normalised into keys.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The decoded parameters of a query, each name once, in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// More parameters than any endpoint takes.
const MAX_PARAMS: usize = 32;

/// What stays as it is in a rebuilt query.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

impl<'a> Params<'a> {
    /// The parameters of `query`; `None` when it cannot be normalised without guessing: a name twice, bytes that are
    /// no UTF-8, a `+` that may or may not be a blank. Such a query is for the exchange to judge.
    pub fn parse(query: &'a str) -> Option<Params<'a>> {
        let mut params = Params::default();
        if query.contains('+') {
            return None;
        }
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let name = percent_decode_str(name).decode_utf8().ok()?;
            let value = percent_decode_str(value).decode_utf8().ok()?;
            if params.0.len() == MAX_PARAMS || params.get(&name).is_some() {
                return None;
            }
            params.0.push((name, value));
        }
        Some(params)
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The value of a parameter as a number; `None` where it is absent or written in any but the plainest way.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok().filter(|number: &u64| self.get(name) == Some(&*number.to_string()))
    }

    /// Whether there are no parameters but these.
    pub fn only(&self, names: &[&str]) -> bool {
        self.0.iter().all(|(name, _)| names.contains(&&**name))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a parameter, or takes it out.
    pub fn set(&mut self, name: &'static str, value: Option<String>) {
        self.0.retain(|(known, _)| known != name);
        if let Some(value) = value {
            self.0.push((Cow::Borrowed(name), Cow::Owned(value)));
        }
    }

    /// The query in its one normal form: by name, percent-encoded.
    pub fn to_query(&self) -> String {
        let mut fields: Vec<_> = self.0.iter().collect();
        fields.sort_unstable();
        let length = self.0.iter().map(|(name, value)| name.len() + value.len() + "&=".len()).sum();
        let mut query = String::with_capacity(length);
        for (name, value) in fields {
            query.push_str(if query.is_empty() { "" } else { "&" });
            query.extend(utf8_percent_encode(name, KEEP));
            query.push('=');
            query.extend(utf8_percent_encode(value, KEEP));
        }
        query
    }
}

/// The symbols of a `symbols=["A","B"]` list that is written as the exchange wants it: no blanks, no escapes, none
/// twice. Any other is for the exchange to judge.
pub(crate) fn symbol_list(list: &str) -> Option<Vec<String>> {
    let symbols: Vec<String> = serde_json::from_str(list).ok()?;
    let is_plain = !symbols.is_empty() && symbols.iter().all(|symbol| is_symbol(symbol));
    let distinct: HashSet<&String> = symbols.iter().collect();
    let is_written_so = || serde_json::to_string(&symbols).is_ok_and(|written| written == list);
    (is_plain && distinct.len() == symbols.len() && is_written_so()).then_some(symbols)
}

/// Whether a name is of the form that symbols have: letters of any script, but no small Latin ones.
pub(crate) fn is_symbol(name: &str) -> bool {
    let is_legal = |c: char| !c.is_ascii_lowercase() && (c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    (1..=LONGEST_SYMBOL).contains(&name.chars().count()) && name.chars().all(is_legal)
}

/// The exchange's own words: `^[A-Z0-9-_.]{1,20}$`.
const LONGEST_SYMBOL: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_and_encoding_do_not_matter() {
        let one = Params::parse("symbols=[%22A%22,%22B%22]&type=MINI").unwrap();
        let two = Params::parse("type=MINI&symbols=%5B\"A\",\"B\"%5D").unwrap();
        assert_eq!(one.to_query(), two.to_query());
        assert_eq!(symbol_list(one.get("symbols").unwrap()).unwrap(), ["A", "B"]);
    }

    #[test]
    fn a_list_of_symbols_is_one_only_as_the_exchange_wants_it() {
        assert_eq!(symbol_list(r#"["A","币安人生USDT"]"#).unwrap(), ["A", "币安人生USDT"]);
        for list in [
            "",
            "[]",
            "[1]",
            "A",
            r#"["A", "B"]"#,
            r#" ["A"]"#,
            r#"["A","A"]"#,
            r#"["a"]"#,
            r#"[""]"#,
            r#"["\u0041"]"#,
            r#"["A",]"#,
            r#"["ABCDEFGHIJKLMNOPQRSTU"]"#,
        ] {
            assert_eq!(symbol_list(list), None, "{list}");
        }
    }

    #[test]
    fn what_would_be_a_guess_is_not_normalised() {
        assert_eq!(Params::parse("a=1&a=2"), None);
        assert_eq!(Params::parse("timeZone=+5"), None);
        assert_eq!(Params::parse("symbol=%FF"), None);
    }

    #[test]
    fn numbers_are_plain() {
        let params = Params::parse("a=5&b=05&c=-1&d=5.0").unwrap();
        assert_eq!(params.number("a"), Some(5));
        assert_eq!([params.number("b"), params.number("c"), params.number("d")], [None; 3]);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(query in "[a-c=&%0-9A-Fé]{0,40}") {
            if let Some(params) = Params::parse(&query) {
                let once = params.to_query();
                let again = Params::parse(&once).unwrap().to_query();
                prop_assert_eq!(once, again);
            }
        }
    }
}
