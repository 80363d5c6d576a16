//! Whether a document is what was asked for, without taking it apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde_json::value::RawValue;

use super::spec::{Expect, Is};

/// Why a document is not as declared. Displayed, it is the end of a sentence about the document.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is no JSON, or was cut short.
    NotJson(serde_json::Error),
    /// It is not of the type that is declared.
    NotA(Is),
    /// It matches `refuse`.
    Refused,
    /// It lacks a field, whose steps these are.
    Lacks(Vec<String>),
    /// It has a field that only errors have.
    Has(Vec<String>),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(_) => f.write_str("is no JSON"),
            Self::NotA(Is::Array) => f.write_str("is no array"),
            Self::NotA(Is::Object) => f.write_str("is no object"),
            Self::Refused => f.write_str("says what `refuse` is declared for"),
            Self::Lacks(steps) => write!(f, "lacks {}", steps.join(".")),
            Self::Has(steps) => write!(f, "has {}, which tells an error", steps.join(".")),
        }
    }
}

impl Error for Unfit {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotJson(why) => Some(why),
            Self::NotA(_) | Self::Refused | Self::Lacks(_) | Self::Has(_) => None,
        }
    }
}

/// The document, if it is JSON and of the shape that is expected.
pub(super) fn checked<'a>(body: &'a [u8], expect: &Expect) -> Result<&'a RawValue, Unfit> {
    let document: &RawValue = serde_json::from_slice(body).map_err(Unfit::NotJson)?;
    let is = match document.get().as_bytes().first() {
        Some(b'{') => Some(Is::Object),
        Some(b'[') => Some(Is::Array),
        _ => None,
    };
    if let Some(wanted) = expect.is.filter(|wanted| is != Some(*wanted)) {
        return Err(Unfit::NotA(wanted));
    }
    if expect.refuse.as_ref().is_some_and(|note| note.is_match(beginning(document.get()))) {
        return Err(Unfit::Refused);
    }
    if let Some(missing) = expect.fields.iter().find(|steps| at(document, steps).is_none()) {
        return Err(Unfit::Lacks(missing.clone()));
    }
    match expect.not_fields.iter().find(|steps| at(document, steps).is_some()) {
        Some(unwanted) => Err(Unfit::Has(unwanted.clone())),
        None => Ok(document),
    }
}

/// A note in the place of an answer is short; it is not looked for in megabytes.
const NOTED_WITHIN: usize = 64 << 10;

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(NOTED_WITHIN)]
}

/// Whether the end of a document shows where it ends: a number that was cut short is a number.
pub(super) fn shows_its_end(document: &RawValue) -> bool {
    !document.get().ends_with(|last: char| last.is_ascii_digit())
}

/// A number of seconds in the document, as a number or as text.
pub(super) fn seconds(document: &RawValue, steps: &[String]) -> Option<f64> {
    let found = at(document, steps)?.get();
    let seconds: f64 = found.trim_matches('"').trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// The value at the end of some steps; `null` is nothing.
fn at<'a>(document: &'a RawValue, steps: &[String]) -> Option<&'a RawValue> {
    let mut found = document;
    for step in steps {
        found = match found.get().as_bytes().first()? {
            b'{' => {
                let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(found.get()).ok()?;
                fields.remove(step)?
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(found.get()).ok()?;
                items.get(step.parse::<usize>().ok()?).copied()?
            }
            _ => return None,
        };
    }
    (found.get() != "null").then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn errors_in_the_guise_of_answers_are_recognised() {
        let expect = Expect {
            is: Some(Is::Object),
            fields: vec![steps("data.0.value")],
            not_fields: vec![steps("Note"), steps("error")],
            refuse: None,
        };
        let check = |body: &str| checked(body.as_bytes(), &expect).map(drop).map_err(|unfit| unfit.to_string());
        assert_eq!(check(r#" {"data":[{"value":"1"}],"error":null}"#), Ok(()));
        assert_eq!(check(r#"{"data":[{"value":null}]}"#), Err("lacks data.0.value".to_owned()));
        assert_eq!(check(r#"{"data":[]}"#), Err("lacks data.0.value".to_owned()));
        assert_eq!(check(r#"{"data":[{"value":1}],"Note":"wait"}"#), Err("has Note, which tells an error".to_owned()));
        assert_eq!(check("[]"), Err("is no object".to_owned()));
        for broken in ["", "<html>", r#"{"data":["#, r#"{"data":1} x"#] {
            assert_eq!(check(broken), Err("is no JSON".to_owned()), "{broken}");
        }
    }

    #[test]
    fn a_note_that_is_declared_is_refused_wherever_it_stands() {
        let expect = Expect { refuse: regex_lite::Regex::new("(?i)rate limit|^\\[\\]$").ok(), ..Expect::default() };
        let check = |body: &str| checked(body.as_bytes(), &expect).map(drop).map_err(|unfit| unfit.to_string());
        for note in [r#"{"a":{"b":"Our RATE LIMIT is 25"}}"#, r#""rate limit""#, r#"["rate limit"]"#, " []"] {
            assert!(check(note).is_err_and(|why| why.contains("`refuse`")), "{note}");
        }
        assert_eq!(check(r#"{"rate":"limit"}"#), Ok(()));
        let late = format!(r#"["{}","rate limit"]"#, "é".repeat(NOTED_WITHIN));
        assert_eq!(check(&late), Ok(()), "notes are short");
    }

    #[test]
    fn only_a_number_hides_that_it_was_cut_short() {
        let shows = |body: &str| shows_its_end(serde_json::from_str(body).unwrap());
        for whole in ["{}", "[1]", "\"1\"", "true", "null"] {
            assert!(shows(whole), "{whole}");
        }
        assert!(!shows("12") && !shows("1.5e3"));
    }

    #[test]
    fn seconds_are_read_as_numbers_and_as_texts() {
        let document: &RawValue = serde_json::from_str(r#"{"data":[{"a":"55","b":5.5,"c":"x","d":-1}]}"#).unwrap();
        let read = |field: &str| seconds(document, &steps(&format!("data.0.{field}")));
        assert_eq!((read("a"), read("b"), read("c"), read("d"), read("e")), (Some(55.0), Some(5.5), None, None, None));
    }
}
