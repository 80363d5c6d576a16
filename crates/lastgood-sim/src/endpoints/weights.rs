//! What requests weigh.

use crate::Venue;
use crate::params::Params;

fn by_limit(params: &Params, default: u64, bounds: &[(u64, u32)]) -> u32 {
    let limit = params.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(default);
    bounds.iter().find(|(bound, _)| limit <= *bound).or(bounds.last()).map_or(1, |(_, weight)| *weight)
}

pub(super) fn depth_weight(venue: Venue, params: &Params) -> u32 {
    match venue {
        Venue::Spot => by_limit(params, 100, &[(100, 5), (500, 25), (1_000, 50), (5_000, 250)]),
        _ => by_limit(params, 500, &[(50, 2), (100, 5), (500, 10), (1_000, 20)]),
    }
}

pub(super) fn klines_weight(venue: Venue, params: &Params) -> u32 {
    match venue {
        Venue::Spot => 2,
        _ => by_limit(params, 500, &[(99, 1), (499, 2), (1_000, 5), (1_500, 10)]),
    }
}

fn named(params: &Params) -> (bool, usize) {
    (params.get("symbol").is_some(), params.get("symbols").map_or(0, |list| list.split(',').count()))
}

pub(super) fn day_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params)) {
        (Venue::Spot, (true, _) | (false, 1..=20)) => 2,
        (Venue::Spot, (false, 21..=100)) => 40,
        (Venue::Spot, _) => 80,
        (_, (one, _)) => {
            if one {
                1
            } else {
                40
            }
        }
    }
}

pub(super) fn price_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params).0) {
        (Venue::Spot, one) => {
            if one {
                2
            } else {
                4
            }
        }
        (_, one) => {
            if one {
                1
            } else {
                2
            }
        }
    }
}

pub(super) fn book_weight(venue: Venue, params: &Params) -> u32 {
    match (venue, named(params).0) {
        (Venue::Spot, one) => {
            if one {
                2
            } else {
                4
            }
        }
        (_, one) => {
            if one {
                2
            } else {
                5
            }
        }
    }
}

pub(super) fn window_weight(_: Venue, params: &Params) -> u32 {
    (named(params).1.max(1) as u32 * 4).min(200)
}

pub(super) fn rules_weight(_: Venue, params: &Params) -> u32 {
    match named(params) {
        (true, _) => 2,
        (false, 0) => 40,
        (false, count) => (count as u32 * 2).min(40),
    }
}
