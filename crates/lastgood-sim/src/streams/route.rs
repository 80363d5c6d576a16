//! Which connection a path asks for.

use percent_encoding::percent_decode_str;

use crate::Venue;

/// What kind of streams a connection delivers; about all others it is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// All of spot.
    Spot,
    /// Books of the futures. So does a connection to the futures that names no area.
    Public,
    /// Candles, tickers and marks of the futures.
    Market,
    /// Accounts of the futures, of which there are no streams here.
    Private,
}

/// A path of the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) area: Area,
    /// Whether events come wrapped with their stream's name.
    pub(crate) combined: bool,
    /// The subscriptions from the beginning.
    pub(crate) streams: Vec<String>,
}

impl Area {
    pub(crate) fn venue(self) -> Venue {
        match self {
            Area::Spot => Venue::Spot,
            Area::Public | Area::Market | Area::Private => Venue::UsdM,
        }
    }
}

impl Route {
    /// The route of a request, unless its path is none of the streams'.
    pub(crate) fn parse(path: &str, query: &str) -> Option<Route> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (area, rest) = match segments.as_slice() {
            // The hosts of the exchange as paths, for both are under the same one here.
            ["fstream", rest @ ..] => area_of(rest).unwrap_or((Area::Public, rest)),
            ["stream", "ws" | "stream", ..] => (Area::Spot, &segments[1..]),
            rest => area_of(rest).unwrap_or((Area::Spot, rest)),
        };
        let (combined, written): (bool, Vec<&str>) = match rest {
            ["ws", streams @ ..] => (false, streams.to_vec()),
            ["stream"] | ["stream", ""] => {
                let fields = query.split('&').filter_map(|field| field.strip_prefix("streams="));
                (true, fields.collect())
            }
            _ => return None,
        };
        let decoded = written.into_iter().map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
        let mut streams: Vec<String> = Vec::new();
        for names in decoded {
            streams.extend(names.split('/').filter(|name| !name.is_empty()).map(ToOwned::to_owned));
        }
        Some(Route { path: path.to_owned(), area, combined, streams })
    }
}

/// The area that a path of the futures begins with.
fn area_of<'a, 'b>(segments: &'a [&'b str]) -> Option<(Area, &'a [&'b str])> {
    let (first, rest) = segments.split_first()?;
    let area = match *first {
        "public" => Area::Public,
        "market" => Area::Market,
        "private" => Area::Private,
        _ => return None,
    };
    Some((area, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str, query: &str) -> Option<(Area, bool, Vec<String>)> {
        Route::parse(path, query).map(|route| (route.area, route.combined, route.streams))
    }

    #[test]
    fn paths_name_area_form_and_streams() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (path, query, expected) in [
            ("/ws", "", Some((Area::Spot, false, names(&[])))),
            ("/ws/", "", Some((Area::Spot, false, names(&[])))),
            ("/ws/a@ticker/b@ticker", "", Some((Area::Spot, false, names(&["a@ticker", "b@ticker"])))),
            ("/stream", "streams=a%40ticker/b@ticker", Some((Area::Spot, true, names(&["a@ticker", "b@ticker"])))),
            ("/stream", "", Some((Area::Spot, true, names(&[])))),
            ("/market/stream", "x=1&streams=a@ticker", Some((Area::Market, true, names(&["a@ticker"])))),
            ("/public/ws/a@bookTicker", "", Some((Area::Public, false, names(&["a@bookTicker"])))),
            ("/private/ws", "", Some((Area::Private, false, names(&[])))),
            ("/fstream/ws/a@kline_1m", "", Some((Area::Public, false, names(&["a@kline_1m"])))),
            ("/stream/ws/0", "", Some((Area::Spot, false, names(&["0"])))),
            ("/stream/stream", "streams=a@ticker", Some((Area::Spot, true, names(&["a@ticker"])))),
            ("/fstream/market/ws", "", Some((Area::Market, false, names(&[])))),
            ("/ws/%E5%B8%81usdt@ticker", "", Some((Area::Spot, false, names(&["币usdt@ticker"])))),
            ("/market", "", None),
            ("/market/other", "", None),
            ("/stream/a@ticker", "", None),
            ("/wsx", "", None),
            ("/", "", None),
        ] {
            assert_eq!(route(path, query), expected, "{path}?{query}");
        }
    }
}
