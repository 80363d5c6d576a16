//! What requests cost, as the exchange publishes it. Defaults: what it charges is read from its headers.

use super::Endpoint;
use crate::query::Params;

/// A weight rule. The numbers of each are upper bounds with their weights, or weights by parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Always the same.
    Fixed(u32),
    /// By `limit`: up to each bound its weight; beyond the last bound the last.
    Limit(&'static [(u32, u32)]),
    /// One symbol, 1–20, 21–100, or all.
    Symbols {
        /// With `symbol`.
        one: u32,
        /// With up to 20 `symbols`.
        few: u32,
        /// With up to 100 `symbols`.
        many: u32,
        /// With neither, or more.
        all: u32,
    },
    /// Per symbol, up to a cap.
    Each {
        /// A symbol.
        each: u32,
        /// The most.
        cap: u32,
    },
}

/// The weight of asking `endpoint` with `params`.
pub(crate) fn weight_of(endpoint: &Endpoint, params: &Params<'_>) -> u32 {
    let symbols = || params.get("symbols").map_or(0, |list| list.split(',').count());
    match endpoint.weight {
        Weight::Fixed(weight) => weight,
        Weight::Limit(bounds) => {
            let default = endpoint.limit.map_or(0, |(default, _)| default);
            let limit = params.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(default);
            let fitting = bounds.iter().find(|(bound, _)| limit <= *bound).or(bounds.last());
            fitting.map_or(1, |(_, weight)| *weight)
        }
        Weight::Symbols { one, few, many, all } => match (params.get("symbol"), symbols()) {
            (Some(_), _) => one,
            (None, 1..=20) => few,
            (None, 21..=100) => many,
            (None, _) => all,
        },
        Weight::Each { each, cap } => each.saturating_mul(u32::try_from(symbols().max(1)).unwrap_or(u32::MAX)).min(cap),
    }
}
