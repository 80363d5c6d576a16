//! Text with places for parameters: `stock-data/daily/{symbol}.json`.

use std::error::Error;
use std::fmt;

use crate::arguments::{Argument, Arguments};

/// Text with places for parameters, each written as `{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(String),
}

/// A template with a brace that belongs to no parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayBrace(String);

impl fmt::Display for StrayBrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} has a brace that is no {{parameter}}", self.0)
    }
}

impl Error for StrayBrace {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// When a brace belongs to no parameter.
    pub fn parse(text: &str) -> Result<Self, StrayBrace> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let inner = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inner.filter(|(name, _)| is_name(name)) else {
                return Err(StrayBrace(text.to_owned()));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Place(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    /// The parameters it has places for.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with every argument in its place, written by `write`.
    pub fn fill(&self, arguments: &Arguments, write: impl Fn(&str) -> String) -> String {
        let filled = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(name) => arguments.get(name).map(|value| write(&value.to_string())).unwrap_or_default(),
        });
        filled.collect()
    }

    /// What its segments, between slashes, are with every argument in its place, and the text by `write`; those without a place
    /// are left out.
    pub(crate) fn filled_segments(&self, arguments: &Arguments, write: impl Fn(&str) -> String) -> Vec<String> {
        let mut segments = vec![(String::new(), false)];
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    for (at, part) in write(text).split('/').enumerate() {
                        if at > 0 {
                            segments.push((String::new(), false));
                        }
                        if let Some((segment, _)) = segments.last_mut() {
                            segment.push_str(part);
                        }
                    }
                }
                Piece::Place(name) => {
                    let value = arguments.get(name).filter(|value| **value != Argument::Absent);
                    if let (Some((segment, has_place)), Some(value)) = (segments.last_mut(), value) {
                        segment.push_str(&value.to_string());
                        *has_place = true;
                    }
                }
            }
        }
        segments.into_iter().filter_map(|(segment, has_place)| has_place.then_some(segment)).collect()
    }

    /// Whether it is nothing but one parameter, and that one was not given.
    pub fn is_absent(&self, arguments: &Arguments) -> bool {
        matches!(self.0.as_slice(), [Piece::Place(name)] if arguments.get(name) == Some(&Argument::Absent))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Place(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Whether a parameter may be called this: a word of SQL, of URLs and of documents alike.
pub fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 40 && name.chars().all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_stray_braces_refused() {
        let template = Template::parse("a/{symbol}-{days}.json").unwrap();
        assert_eq!(template.places().collect::<Vec<_>>(), ["symbol", "days"]);
        assert_eq!(template.to_string(), "a/{symbol}-{days}.json");
        let arguments = Arguments(vec![
            ("symbol".to_owned(), Argument::Text("A".to_owned())),
            ("days".to_owned(), Argument::Integer(5)),
        ]);
        assert_eq!(template.fill(&arguments, str::to_owned), "a/A-5.json");
        for wrong in ["{", "}", "{}", "{a", "a}", "{A}", "{a b}", "{{a}}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
