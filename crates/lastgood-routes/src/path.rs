//! The paths of declared routes: which may be declared, what they match, and where two would match the same.

use std::error::Error;
use std::fmt;

use crate::template::is_name;

/// The path of a route, such as `/v1/stocks/{symbol}/recent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePath {
    segments: Vec<Segment>,
    /// Whether it was written as `/api/stocks/`: then it answers with and without that slash.
    ends_with_slash: bool,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Fixed text.
    Literal(String),
    /// The place of a parameter.
    Parameter(String),
}

const MOST_SEGMENTS: usize = 12;
const LONGEST: usize = 200;
const EXAMPLE: &str = "write for example \"/v1/stocks/{symbol}/recent\"";
const LITERAL: &str = "a part is either fixed text of letters, digits and - _ . ~, or one {parameter}";

/// Why a text is no path of a route, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// The problem with it.
    pub what: String,
    /// What to write instead.
    pub hint: &'static str,
}

impl PathError {
    fn new(what: String, hint: &'static str) -> Self {
        PathError { what, hint }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl Error for PathError {}

impl RoutePath {
    /// Reads a path that may be declared.
    ///
    /// # Errors
    ///
    /// Why it may not, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(rest) = text.strip_prefix('/').filter(|rest| !rest.is_empty() && text.len() <= LONGEST) else {
            return Err(PathError::new(format!("{text:?} is no path of a route"), EXAMPLE));
        };
        let (parts, ends_with_slash) = rest.strip_suffix('/').map_or((rest, false), |parts| (parts, true));
        let mut segments = Vec::new();
        for part in parts.split('/') {
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if is_name(name) => Segment::Parameter(name.to_owned()),
                None if is_literal(part) => Segment::Literal(part.to_owned()),
                _ => return Err(PathError::new(format!("{text:?} has the part {part:?}"), LITERAL)),
            };
            let twice = matches!(segment, Segment::Parameter(_)) && segments.contains(&segment);
            if twice {
                return Err(PathError::new(format!("{text:?} has {part} twice"), "give each parameter one place"));
            }
            segments.push(segment);
        }
        if segments.len() > MOST_SEGMENTS {
            return Err(PathError::new(format!("{text:?} has more than {MOST_SEGMENTS} parts"), EXAMPLE));
        }
        Ok(RoutePath { segments, ends_with_slash })
    }

    /// Its parts, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The parameters in it.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Whether there are paths that both match, without one of the routes being the special case of the other.
    pub fn is_ambiguous_with(&self, other: &RoutePath) -> bool {
        if self.segments.len() != other.segments.len() {
            return false;
        }
        let (mut left, mut right) = (false, false);
        for pair in self.segments.iter().zip(&other.segments) {
            match pair {
                (Segment::Literal(a), Segment::Literal(b)) if a != b => return false,
                (Segment::Literal(_), Segment::Parameter(_)) => left = true,
                (Segment::Parameter(_), Segment::Literal(_)) => right = true,
                _ => {}
            }
        }
        left == right
    }

    /// Whether a path is one of these: with the same fixed parts, and something in the place of each parameter.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let rest = if self.ends_with_slash { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
        let fits = |(segment, part): (&Segment, &str)| match segment {
            Segment::Literal(text) => text == part,
            Segment::Parameter(_) => !part.is_empty(),
        };
        rest.split('/').count() == self.segments.len() && self.segments.iter().zip(rest.split('/')).all(fits)
    }

    /// How many of its parts are fixed text.
    pub(crate) fn fixed_parts(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }

    /// Whether it was written with a slash at its end: then it answers with and without that slash.
    pub fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Parameter(name) => write!(f, "/{{{name}}}"),
        })?;
        if self.ends_with_slash { f.write_str("/") } else { Ok(()) }
    }
}

fn is_literal(part: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    !part.is_empty() && part.bytes().all(sound) && part != "." && part != ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_parsed_text_is_written_back(text in "[/{}a-z_.%]{0,40}|\\PC{0,40}") {
            if let Ok(path) = RoutePath::parse(&text) {
                prop_assert_eq!(path.to_string(), text.clone());
            }
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }

    #[test]
    fn a_path_is_made_of_fixed_parts_and_of_parameters() {
        for good in ["/v1/stocks/{symbol}/recent", "/stocks", "/{a}/b", "/api/stocks/{ticker}/", "/a/", "/a/.hidden"] {
            assert_eq!(RoutePath::parse(good).map(|path| path.to_string()), Ok(good.to_owned()));
        }
        for wrong in [
            "",
            "/",
            "stocks",
            "/a//b",
            "/a//",
            "//",
            "/a/../b",
            "/a%2fb",
            "/a b",
            "/a/{}",
            "/a/x{b}",
            "/a/{B}",
            "/a/{b}/{b}",
            "//h/x",
            "http://h/x",
            "/a?b=c",
            "/a#b",
        ] {
            assert!(RoutePath::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_matches_with_its_fixed_parts_and_any_parameters() {
        let matches = |path: &str, given: &str| RoutePath::parse(path).unwrap().matches(given);
        for given in ["/a/x/b", "/a/%2F/b"] {
            assert!(matches("/a/{x}/b", given), "{given}");
        }
        for given in ["/a/x/c", "/a//b", "/a/x/b/", "/a/x", "/a/x/b/c", "a/x/b", ""] {
            assert!(!matches("/a/{x}/b", given), "{given}");
        }
        assert!(matches("/a/{x}/", "/a/x/") && matches("/a/{x}/", "/a/x") && !matches("/a/{x}/", "/a/"));
    }

    #[test]
    fn only_a_special_case_may_overlap() {
        let ambiguous = |a: &str, b: &str| {
            let (a, b) = (RoutePath::parse(a).unwrap(), RoutePath::parse(b).unwrap());
            assert_eq!(a.is_ambiguous_with(&b), b.is_ambiguous_with(&a));
            a.is_ambiguous_with(&b)
        };
        assert!(ambiguous("/a/{x}", "/a/{y}"));
        assert!(ambiguous("/a/b", "/a/b"));
        assert!(ambiguous("/a/b/", "/a/b"));
        assert!(ambiguous("/a/{x}/", "/a/{y}"));
        assert!(!ambiguous("/a/", "/a/{x}"));
        assert!(!ambiguous("/a/b/", "/a/{x}"));
        assert!(ambiguous("/a/{x}/c", "/a/b/{y}"));
        assert!(!ambiguous("/a/{x}", "/a/top"));
        assert!(!ambiguous("/a/{x}", "/a/{x}/b"));
        assert!(!ambiguous("/a/{x}/b", "/a/{y}/c"));
    }
}
