//! Keys of objects, with places for parameters.

use std::fmt;

use super::error::KeyError;
use crate::arguments::{Argument, Arguments};
use crate::source::{neutral, stays_one_segment};

/// What stores allow.
const LONGEST: usize = 1024;

/// A key such as `stock-data/daily/{symbol}.json`, or a pattern such as `stock-data/daily/*.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Parameter(String),
}

impl KeyTemplate {
    /// # Errors
    ///
    /// The problem with it, and how to fix it.
    pub(super) fn parse(key: &str, parameters: &[String]) -> Result<KeyTemplate, KeyError> {
        let mut parts = Vec::new();
        let mut rest = key;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or(KeyError::NotClosed)?;
            if !parameters.iter().any(|known| known == name) {
                return Err(KeyError::Undeclared(name.to_owned()));
            }
            parts.extend((!text.is_empty()).then(|| Part::Text(text.to_owned())));
            parts.push(Part::Parameter(name.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(KeyError::NotOpened);
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        let key = KeyTemplate(parts);
        match key.to_string().split('/').any(|segment| segment.is_empty() || segment == "." || segment == "..") {
            true => Err(KeyError::Segment),
            false => Ok(key),
        }
    }

    /// The key with the parameters in their places, or `None` if a value has no place in a key: one that is empty, or
    /// could lead into another folder.
    pub(super) fn fill(&self, arguments: &Arguments) -> Option<String> {
        // The same without what declared text separates, and where the values end in that.
        let (mut key, mut inert, mut ends) = (String::new(), String::new(), Vec::new());
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    key.push_str(text);
                    inert.push_str(&neutral(text));
                }
                Part::Parameter(name) => {
                    let value = arguments.get(name).filter(|value| **value != Argument::Absent)?.to_string();
                    if value.contains('*') || !stays_one_segment(&value) {
                        return None;
                    }
                    key.push_str(&value);
                    inert.push_str(&value);
                    ends.push(inert.len());
                }
            }
        }
        // What values come to where two stand together.
        let segment = |end: &usize| {
            let from = inert[..*end].rfind('/').map_or(0, |slash| slash + 1);
            inert[from..].split('/').next().unwrap_or_default()
        };
        if !ends.iter().all(|end| stays_one_segment(segment(end))) {
            return None;
        }
        (key.len() <= LONGEST).then_some(key)
    }

    /// What all its keys begin with, up to a whole segment.
    pub(super) fn fixed_folder(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => {
                let fixed = text.split('*').next().unwrap_or_default();
                fixed.rsplit_once('/').map_or("", |(folder, _)| folder)
            }
            _ => "",
        }
    }

    pub(super) fn has_parameters(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Parameter(_)))
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Parameter(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: &str) -> Option<String> {
        let key = KeyTemplate::parse("daily/{symbol}.json", &["symbol".to_owned()]).unwrap();
        key.fill(&Arguments(vec![("symbol".to_owned(), Argument::Text(value.to_owned()))]))
    }

    #[test]
    fn a_value_stays_in_its_segment() {
        assert_eq!(filled("BRK.B").as_deref(), Some("daily/BRK.B.json"));
        for value in ["", "..", "../x", "a/b", "a\\b", "a..b", "a\0b", "a\nb", "*", &"x".repeat(2000)] {
            assert_eq!(filled(value), None, "{value:?}");
        }
    }

    #[test]
    fn values_that_stand_together_stay_in_their_segment() {
        let names = ["a", "b"].map(str::to_owned);
        let filled = |key: &str, a: &str, b: &str| {
            let argument = |name: &str, value: &str| (name.to_owned(), Argument::Text(value.to_owned()));
            KeyTemplate::parse(key, &names).unwrap().fill(&Arguments(vec![argument("a", a), argument("b", b)]))
        };
        assert_eq!(filled("x;v=1/{a}-{b}", "A", "B").as_deref(), Some("x;v=1/A-B"));
        assert_eq!(filled("x#{a}/{b}", "A", "B").as_deref(), Some("x#A/B"));
        assert_eq!(filled("x/{a}{b}", "%2", "f"), None);
        assert_eq!(filled("x/{a}{b}", "%25", "2f"), None);
        assert_eq!(filled("x/%{a}/{b}", "2f", "B"), None);
    }

    #[test]
    fn a_key_that_cannot_be_right_is_refused() {
        for key in ["", "/a", "a/", "a//b", "a/../b", "{unknown}", "{symbol", "symbol}"] {
            assert!(KeyTemplate::parse(key, &["symbol".to_owned()]).is_err(), "{key}");
        }
    }
}
