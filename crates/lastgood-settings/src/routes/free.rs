//! Which paths are free for declared routes: those of the gateway's own and of the exchange are not.

use lastgood_routes::path::{RoutePath, Segment};

use crate::problem::Wrong;

/// First parts of paths that are the gateway's own, or that the exchange has.
const TAKEN: [&str; 15] = [
    "fng", "health", "livez", "readyz", "metrics", "page", "sapi", "fapi", "dapi", "futures", "ws", "stream", "eapi",
    "papi", "wapi",
];
/// The gateway's own below `/v1`.
const TAKEN_V1: [&str; 5] = ["symbols", "kv", "llm", "bars", "fear-greed"];

/// Refuses a path that is not free.
pub(super) fn check(path: RoutePath) -> Result<RoutePath, Wrong> {
    match taken(&path) {
        Some(hint) => Err(Wrong::new(format!("{:?} is not free for a route", path.to_string())).hint(hint)),
        None => Ok(path),
    }
}

/// Why the gateway's own paths, or the exchange's, would be shadowed.
fn taken(path: &RoutePath) -> Option<String> {
    let literal = |at: usize| match path.segments().get(at) {
        Some(Segment::Literal(text)) => Some(text.as_str()),
        _ => None,
    };
    let Some(first) = literal(0) else {
        return Some("the first part must be fixed text: it tells routes from the gateway's own paths".to_owned());
    };
    if TAKEN.contains(&first) {
        return Some(format!("/{first} belongs to the gateway or the exchange; write for example \"/v1/…\""));
    }
    if first == "cache" && path.segments().len() == 2 {
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

/// Whether this part of a path, which follows `/api`, is or looks like the exchange's: its paths have a version there, as in
/// `/api/v3`.
fn looks_like_a_version(part: &str) -> bool {
    part.strip_prefix(['v', 'V']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RoutePath, String> {
        let path = RoutePath::parse(text).map_err(|why| why.to_string())?;
        check(path).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn paths_of_the_gateway_or_the_exchange_cannot_be_declared() {
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
            assert_eq!(read(good).map(|path| path.to_string()), Ok(good.to_owned()));
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
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
