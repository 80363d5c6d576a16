//! Holds an answer to the content that its endpoint's line names, in one pass over its text and without keeping any
//! of it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::unfit::Unfit;
use crate::upstream_request::Asked;
use crate::venue::{Kind, Shape};

/// Whether `text` is an answer of this shape and content to what was asked.
pub(super) fn check(text: &str, shape: Shape, row: &'static Kind, asked: &Asked) -> Result<(), Unfit> {
    let answer = Answer { asked, last_id: Cell::new(None), seen: RefCell::default() };
    let rows = Kind::Rows(row);
    let all = Kind::Listing(row);
    let is_array = text.trim_start().starts_with('[');
    let kind = match shape {
        Shape::Any | Shape::ObjectForSymbol if !is_array => row,
        Shape::Object => row,
        _ if asked.lists_symbols => &all,
        _ => &rows,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    Check { kind, name: "the answer", answer: &answer }.deserialize(&mut json)?;
    Ok(json.end()?)
}

/// The findings about the answer as it is read.
struct Answer<'a> {
    asked: &'a Asked,
    last_id: Cell<Option<i64>>,
    seen: RefCell<HashSet<String>>,
}

impl Answer<'_> {
    fn names_what_was_asked(&self, symbol: &str) -> bool {
        let symbols = &self.asked.symbols;
        // The futures take a symbol in small letters and answer in capitals.
        symbols.is_empty() || symbols.iter().any(|asked| asked.eq_ignore_ascii_case(symbol))
    }

    fn is_next(&self, id: i64) -> bool {
        let is_first = self.last_id.get().is_none();
        let asked_from = self.asked.from_id.filter(|_| is_first).and_then(|from| i64::try_from(from).ok());
        self.last_id.replace(Some(id)).is_none_or(|before| before < id) && asked_from.is_none_or(|from| from <= id)
    }
}

/// Reads one value that must be of a kind.
#[derive(Clone, Copy)]
struct Check<'a, 'b> {
    kind: &'a Kind,
    /// The field it stands in.
    name: &'a str,
    answer: &'a Answer<'b>,
}

impl<'de> DeserializeSeed<'de> for Check<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        match self.kind {
            Kind::Any => value.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => value.deserialize_any(self),
        }
    }
}

impl Check<'_, '_> {
    fn wrong<T, E: Error>(self) -> Result<T, E> {
        Err(E::custom(format_args!("`{}` is not {}", self.name, word(self.kind))))
    }

    fn expect<E: Error>(self, is_so: bool) -> Result<(), E> {
        if is_so { Ok(()) } else { self.wrong() }
    }

    /// The same for values within a kind that allows more.
    fn within(self, kind: &'static Kind) -> Self {
        Check { kind, name: self.name, answer: self.answer }
    }

    fn whole<E: Error>(self, number: i64) -> Result<(), E> {
        match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => self.within(kind).whole(number),
            Kind::Integer | Kind::Stamp | Kind::Number => Ok(()),
            Kind::Ascending => self.expect(self.answer.is_next(number)),
            _ => self.wrong(),
        }
    }
}

impl<'de> Visitor<'de> for Check<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in `{}`", word(self.kind), self.name)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => self.within(kind).visit_bool(true),
            kind => self.expect(matches!(kind, Kind::Boolean)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.whole(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.whole(number),
            Err(_) => self.wrong(),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => self.within(kind).visit_f64(number),
            kind => self.expect(matches!(kind, Kind::Number)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let asked = &self.answer.asked;
        let is_so = match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => return self.within(kind).visit_str(text),
            Kind::Text => !text.is_empty(),
            Kind::Symbol => !text.is_empty() && self.answer.names_what_was_asked(text),
            Kind::OwnSymbol => {
                !text.is_empty()
                    && self.answer.names_what_was_asked(text)
                    && self.answer.seen.borrow_mut().insert(text.to_owned())
            }
            Kind::Pair => !text.is_empty() && asked.pair.as_ref().is_none_or(|pair| pair.eq_ignore_ascii_case(text)),
            Kind::Decimal | Kind::Number => is_decimal(text),
            Kind::DecimalOrEmpty => text.is_empty() || is_decimal(text),
            Kind::Stamp => text.len() <= 20 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        };
        self.expect(is_so)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.expect(matches!(self.kind, Kind::Nullable(_)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => self.within(kind).visit_seq(items),
            Kind::Tuple(kinds) => {
                for kind in *kinds {
                    if items.next_element_seed(self.within(kind))?.is_none() {
                        return self.wrong();
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(())
            }
            Kind::List(kind) | Kind::Rows(kind) | Kind::Listing(kind) => {
                let mut count = 0;
                while items.next_element_seed(self.within(kind))?.is_some() {
                    count += 1;
                }
                match self.kind {
                    Kind::Rows(_) if self.answer.asked.most_rows.is_some_and(|most| count > most) => {
                        Err(A::Error::custom("there are more rows than `limit` allows"))
                    }
                    Kind::Listing(_) if count == 0 && !self.answer.asked.is_narrowed => {
                        Err(A::Error::custom(format_args!("`{}` lists nothing", self.name)))
                    }
                    _ => Ok(()),
                }
            }
            _ => self.wrong(),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let wanted = match self.kind {
            Kind::Nullable(kind) | Kind::UnlessMini(kind) => return self.within(kind).visit_map(fields),
            Kind::Object(wanted) => *wanted,
            _ => return self.wrong(),
        };
        let mut found = 0u64;
        while let Some(Name(name)) = fields.next_key()? {
            match wanted.iter().position(|(known, _)| *known == name) {
                Some(index) => {
                    let (name, kind) = &wanted[index];
                    fields.next_value_seed(Check { kind, name, answer: self.answer })?;
                    found |= 1 << index;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let may_lack = |kind: &Kind| self.answer.asked.is_mini && matches!(kind, Kind::UnlessMini(_));
        let lacks = |(index, (_, kind)): &(usize, &(&str, Kind))| found & (1 << index) == 0 && !may_lack(kind);
        match wanted.iter().enumerate().find(lacks) {
            Some((_, (name, _))) => Err(A::Error::custom(format_args!("`{name}` is missing"))),
            None => Ok(()),
        }
    }
}

/// The name of a field: lent by the text, but where it holds escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        struct Lent;
        impl<'de> Visitor<'de> for Lent {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        name.deserialize_str(Lent)
    }
}

/// The kind in the words of a message.
fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Any => "a value",
        Kind::Text => "a text",
        Kind::Symbol => "the symbol that was asked for",
        Kind::OwnSymbol => "a symbol that was asked for, and that no other row has",
        Kind::Pair => "the pair that was asked for",
        Kind::Decimal => "a decimal number in a string",
        Kind::DecimalOrEmpty => "a decimal number in a string, or empty",
        Kind::Number => "a decimal number",
        Kind::Integer | Kind::Stamp => "a whole number",
        Kind::Ascending => "a whole number from `fromId` on, above that of the row before",
        Kind::Boolean => "true or false",
        Kind::Nullable(kind) | Kind::UnlessMini(kind) => word(kind),
        Kind::Object(_) => "an object",
        Kind::List(_) | Kind::Rows(_) | Kind::Listing(_) | Kind::Tuple(_) => "an array that is as long as it must be",
    }
}

/// No price and no sum of an exchange is written with more characters.
const LONGEST_NUMBER: usize = 64;

/// Whether a text is a decimal number, as `-12.50` or `0E-8`; `NaN` and `Infinity` are none.
pub(crate) fn is_decimal(text: &str) -> bool {
    if text.len() > LONGEST_NUMBER {
        return false;
    }
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.as_bytes();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    if whole == 0 {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        rest = &fraction[length..];
        if length == 0 {
            return false;
        }
    }
    let Some((b'e' | b'E', exponent)) = rest.split_first() else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
    (1..=3).contains(&exponent.len()) && digits(exponent) == exponent.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_decimal_numbers() {
        for good in ["0", "61000.10", "-94.99999800", "0.00000001", "0E-8", "1.5e+3", "100000000000000000000.1"] {
            assert!(is_decimal(good), "{good}");
        }
        for bad in [
            "", "-", ".", ".5", "5.", "1.2.3", "NaN", "Infinity", "-inf", "1e", "1e9999", "0x1", " 1", "1 ", "1,5",
            "+1", "١",
        ] {
            assert!(!is_decimal(bad), "{bad}");
        }
        assert!(is_decimal(&"9".repeat(LONGEST_NUMBER)) && !is_decimal(&"9".repeat(LONGEST_NUMBER + 1)));
    }
}
