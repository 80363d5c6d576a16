//! The endpoint table: every market-data path that is cached, with its recipe, region, limits, weight and what its
//! answers must contain. A path that is not here passes through untouched. All of it after the exchange's published
//! documentation.

use super::Weight::{Limit, Symbols};
use super::{Endpoint, Kind, Recipe, Shape, Venue, Weight};
use crate::region::RegionName as R;

mod coinm;
mod rows;
mod spot;
mod usdm;

use self::{coinm::LINES as COIN, spot::LINES as SPOT, usdm::LINES as FUTURES};

/// The content is that of a row where the answer is an array.
type Line = (&'static str, Recipe, R, Option<(u32, u32)>, Weight, Shape, &'static Kind);

const NONE: Option<(u32, u32)> = None;
const T: Option<(u32, u32)> = Some((500, 1_000));
const K: Option<(u32, u32)> = Some((500, 1_500));
const P: Option<(u32, u32)> = Some((30, 500));
const F: Option<(u32, u32)> = Some((100, 1_000));

// What both futures markets charge.
const DEPTH: Weight = Limit(&[(50, 2), (100, 5), (500, 10), (1_000, 20)]);
const KLINES: Weight = Limit(&[(99, 1), (499, 2), (1_000, 5), (1_500, 10)]);
const DAY: Weight = Symbols { one: 1, few: 40, many: 40, all: 40 };
const PRICES: Weight = Symbols { one: 1, few: 2, many: 2, all: 2 };
const BOOK_TICKER: Weight = Symbols { one: 2, few: 5, many: 5, all: 5 };

const COUNT: usize = SPOT.len() + FUTURES.len() + COIN.len();

/// Every line of the table.
pub static ENDPOINTS: [Endpoint; COUNT] = {
    const fn line(venue: Venue, line: &Line) -> Endpoint {
        let (path, recipe, region, limit, weight, shape, content) = *line;
        // bookTicker and v2 price are documented to state a wrong used weight on futures.
        let misstates = matches!(venue, Venue::UsdM | Venue::CoinM)
            && (matches!(region, R::BookTicker) || path.as_bytes()[7] == b'2');
        Endpoint { venue, path, region, recipe, limit, weight, shape, content, states_weight: !misstates }
    }
    let mut table = [const { line(Venue::Spot, &SPOT[0]) }; COUNT];
    let mut index = 0;
    while index < COUNT {
        table[index] = if index < SPOT.len() {
            line(Venue::Spot, &SPOT[index])
        } else if index < SPOT.len() + FUTURES.len() {
            line(Venue::UsdM, &FUTURES[index - SPOT.len()])
        } else {
            line(Venue::CoinM, &COIN[index - SPOT.len() - FUTURES.len()])
        };
        index += 1;
    }
    table
};

/// The line for a path of a venue.
pub(crate) fn endpoint(venue: Venue, path: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|endpoint| endpoint.path == path && endpoint.venue == venue)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::weight_of;
    use super::*;
    use crate::query::Params;

    #[test]
    fn every_path_belongs_to_its_venue_and_stands_once() {
        let mut seen = HashSet::new();
        for endpoint in &ENDPOINTS {
            let query = if endpoint.venue == Venue::CoinM { "pair=BTCUSD" } else { "" };
            assert_eq!(Venue::of(endpoint.path, query), Some(endpoint.venue), "{}", endpoint.path);
            assert!(seen.insert((endpoint.venue, endpoint.path)), "{} stands twice", endpoint.path);
        }
    }

    #[test]
    fn weights_follow_the_published_table() {
        fn weight(venue: Venue, path: &str, query: &str) -> u32 {
            weight_of(endpoint(venue, path).unwrap(), &Params::parse(query).unwrap())
        }
        let spot = |path: &str, query: &str| weight(Venue::Spot, path, query);
        assert_eq!(spot("/api/v3/depth", "symbol=X"), 5);
        assert_eq!(spot("/api/v3/depth", "symbol=X&limit=101"), 25);
        assert_eq!(spot("/api/v3/depth", "symbol=X&limit=9999"), 250);
        assert_eq!(spot("/api/v3/ticker/24hr", "symbol=X"), 2);
        assert_eq!(spot("/api/v3/ticker/24hr", &format!("symbols=[{}]", vec!["X"; 21].join(","))), 40);
        assert_eq!(spot("/api/v3/ticker/24hr", ""), 80);
        assert_eq!(spot("/api/v3/ticker", &format!("symbols=[{}]", vec!["X"; 90].join(","))), 200);
        let futures = |query: &str| weight(Venue::UsdM, "/fapi/v1/klines", query);
        assert_eq!(
            [futures("limit=99"), futures("limit=100"), futures("limit=500"), futures("limit=1500")],
            [1, 2, 5, 10]
        );
    }

    #[test]
    fn two_headers_are_not_believed() {
        let doubted: Vec<_> = ENDPOINTS.iter().filter(|endpoint| !endpoint.states_weight).map(|e| e.path).collect();
        assert_eq!(doubted, ["/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker", "/dapi/v1/ticker/bookTicker"]);
    }
}
