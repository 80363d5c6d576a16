//! The paths of declared routes: which may be declared, what they match, and where two would match the same.

use std::fmt;

use super::template::is_name;

/// The path of a route, such as `/v1/stocks/{symbol}/recent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePath {
    segments: Vec<Segment>,
    /// Whether it was written as `/api/stocks/`: then it answers with and without that slash.
    ends_with_slash: bool,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Parameter(String),
}

/// First parts of paths that are the gateway's own, or that the exchange has.
const TAKEN: [&str; 15] = [
    "fng", "health", "livez", "readyz", "metrics", "page", "sapi", "fapi", "dapi", "futures", "ws", "stream", "eapi",
    "papi", "wapi",
];
/// The gateway's own below `/v1`.
const TAKEN_V1: [&str; 5] = ["symbols", "kv", "llm", "bars", "fear-greed"];
const MOST_SEGMENTS: usize = 12;
const LONGEST: usize = 200;

impl RoutePath {
    /// Reads a path that may be declared.
    ///
    /// # Errors
    ///
    /// Why it may not, and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, (String, String)> {
        let example = || "write for example \"/v1/stocks/{symbol}/recent\"".to_owned();
        let Some(rest) = text.strip_prefix('/').filter(|rest| !rest.is_empty() && text.len() <= LONGEST) else {
            return Err((format!("{text:?} is no path of a route"), example()));
        };
        let (parts, ends_with_slash) = rest.strip_suffix('/').map_or((rest, false), |parts| (parts, true));
        let mut segments = Vec::new();
        for part in parts.split('/') {
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if is_name(name) => Segment::Parameter(name.to_owned()),
                None if is_literal(part) => Segment::Literal(part.to_owned()),
                _ => return Err((format!("{text:?} has the part {part:?}"), literal_hint())),
            };
            let twice = matches!(segment, Segment::Parameter(_)) && segments.contains(&segment);
            if twice {
                return Err((format!("{text:?} has {part} twice"), "give each parameter one place".to_owned()));
            }
            segments.push(segment);
        }
        if segments.len() > MOST_SEGMENTS {
            return Err((format!("{text:?} has more than {MOST_SEGMENTS} parts"), example()));
        }
        let path = RoutePath { segments, ends_with_slash };
        match path.taken() {
            Some(hint) => Err((format!("{text:?} is not free for a route"), hint)),
            None => Ok(path),
        }
    }

    /// Why the gateway's own paths, or the exchange's, would be shadowed.
    fn taken(&self) -> Option<String> {
        let literal = |at: usize| match self.segments.get(at) {
            Some(Segment::Literal(text)) => Some(text.as_str()),
            _ => None,
        };
        let Some(first) = literal(0) else {
            return Some("the first part must be fixed text: it tells routes from the gateway's own paths".to_owned());
        };
        if TAKEN.contains(&first) {
            return Some(format!("/{first} belongs to the gateway or the exchange; write for example \"/v1/…\""));
        }
        if first == "cache" && self.segments.len() == 2 {
            let is_taken = literal(1).is_none_or(|second| second == "stats");
            return is_taken.then(|| "/cache/stats belongs to the gateway; choose another word".to_owned());
        }
        if !matches!(first, "v1" | "api") {
            return None;
        }
        let Some(second) = literal(1) else {
            return Some(format!("after /{first} fixed text must follow: the gateway has paths there itself"));
        };
        let own = match first {
            "v1" => TAKEN_V1.contains(&second),
            _ => matches!(second, "cache" | "openapi.json") || looks_like_a_version(second),
        };
        own.then(|| format!("/{first}/{second} belongs to the gateway or the exchange; choose another word"))
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The parameters in it.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Whether there are paths that both match, without one of the routes being the special case of the other.
    pub(crate) fn is_ambiguous_with(&self, other: &RoutePath) -> bool {
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

    /// The paths for a router that wants parameters of one place to have one name.
    pub(crate) fn for_router(&self) -> Vec<String> {
        let part = |(at, segment): (usize, &Segment)| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(_) => format!("/{{p{at}}}"),
        };
        let path: String = self.segments.iter().enumerate().map(part).collect();
        match self.ends_with_slash {
            true => vec![format!("{path}/"), path],
            false => vec![path],
        }
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

fn literal_hint() -> String {
    "a part is either fixed text of letters, digits and - _ . ~, or one {parameter}".to_owned()
}

/// Whether this part of a path, which follows `/api`, is or looks like the exchange's: its paths have a version there, as in
/// `/api/v3`.
fn looks_like_a_version(part: &str) -> bool {
    part.strip_prefix(['v', 'V']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::template::Template;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "[/{}a-z_.%]{0,40}|\\PC{0,40}") {
            if let Ok(path) = RoutePath::parse(&text) {
                prop_assert_eq!(path.to_string(), text.clone());
            }
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_the_gateways_or_the_exchanges_cannot_be_declared() {
        for good in [
            "/v1/stocks/{symbol}/recent",
            "/api/analytics/{id}",
            "/stocks",
            "/api/v",
            "/v2/kv/{key}",
            "/cache",
            "/cache/status",
            "/cache/stats/{region}",
            "/api/stocks/",
            "/api/stocks/{ticker}/",
            "/a/",
        ] {
            assert_eq!(RoutePath::parse(good).map(|path| path.to_string()), Ok(good.to_owned()));
        }
        for wrong in [
            "",
            "/",
            "stocks",
            "/a//b",
            "/a//",
            "//",
            "/{a}/",
            "/api/",
            "/api/{x}/",
            "/api/v3/",
            "/api/cache/",
            "/v1/",
            "/a/../b",
            "/a%2fb",
            "/a b",
            "/a/{}",
            "/a/x{b}",
            "/a/{B}",
            "/{a}/b",
            "/health",
            "/metrics/x",
            "/page/x",
            "/api/v3/time",
            "/api/v3",
            "/api/V1/x",
            "/api/{x}",
            "/api",
            "/api/cache/x",
            "/api/openapi.json",
            "/cache/stats",
            "/cache/{x}",
            "/fapi/v1/x",
            "/sapi/x",
            "/futures/data/x",
            "/v1/{x}",
            "/v1",
            "/v1/symbols/x",
            "/v1/kv/x",
            "/v1/llm/x",
            "/v1/fear-greed",
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
