//! The warm set.

use super::bounds::SECOND;
use super::{Key, field};
use crate::{show, value, warm};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "warm.markets",
        kind: "list of spot, futures",
        env: &["LASTGOOD_WARM_MARKETS"],
        flag: None,
        default: "",
        doc: "the markets that are kept warm, ahead of their readers; with none, lists of symbols alone are, \
            and only with the dashboard preset",
        secret: false,
        field: field!(warm.markets, warm::markets, warm::show_markets),
    },
    Key {
        name: "warm.symbols",
        kind: "list of symbols",
        env: &["LASTGOOD_WARM_SYMBOLS"],
        flag: None,
        default: "",
        doc: "the pairs whose candles are kept warm, in this order",
        secret: false,
        field: field!(warm.symbols, value::symbols, show::words),
    },
    Key {
        name: "warm.popular",
        kind: "count",
        env: &["LASTGOOD_WARM_POPULAR"],
        flag: None,
        default: "0",
        doc: "after them this many from the head of each market's list, popular first",
        secret: false,
        field: field!(warm.popular, |raw| value::count(raw, 0..=500), show::plain),
    },
    Key {
        name: "warm.intervals",
        kind: "list of intervals",
        env: &["LASTGOOD_WARM_INTERVALS"],
        flag: None,
        default: "",
        doc: "the intervals of those candles, such as 1m,1h; with none no candles are kept warm",
        secret: false,
        field: field!(warm.intervals, warm::intervals, show::words),
    },
    Key {
        name: "warm.candles",
        kind: "count",
        env: &["LASTGOOD_WARM_CANDLES"],
        flag: None,
        default: "500",
        doc: "how many of the newest candles",
        secret: false,
        field: field!(warm.candles, |raw| value::count(raw, 1..=1_000), show::plain),
    },
    Key {
        name: "warm.tickers",
        kind: "true or false",
        env: &["LASTGOOD_WARM_TICKERS"],
        flag: None,
        default: "true",
        doc: "whether the 24 h tickers of all symbols are kept warm, too",
        secret: false,
        field: field!(warm.tickers, value::boolean, show::plain),
    },
    Key {
        name: "warm.every",
        kind: "duration",
        env: &["LASTGOOD_WARM_EVERY"],
        flag: None,
        default: "5m",
        doc: "how long from the beginning of a round to the next, at most",
        secret: false,
        field: field!(warm.every, |raw| value::span(raw, SECOND..=SECOND * 86_400), show::span),
    },
];
