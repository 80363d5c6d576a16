//! The warm set.

use super::bounds::SECOND;
use super::{Key, put};
use crate::{show, value, warm};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "warm.markets",
        kind: "list of spot, futures",
        env: &["LASTGOOD_WARM_MARKETS"],
        flag: None,
        doc: "the markets that are kept warm, ahead of their readers; with none, lists of symbols alone are, \
            and only with the dashboard preset",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.markets, warm::markets(raw)),
        show: |settings| warm::show_markets(&settings.warm.markets),
    },
    Key {
        name: "warm.symbols",
        kind: "list of symbols",
        env: &["LASTGOOD_WARM_SYMBOLS"],
        flag: None,
        doc: "the pairs whose candles are kept warm, in this order",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.symbols, value::symbols(raw)),
        show: |settings| show::words(&settings.warm.symbols),
    },
    Key {
        name: "warm.popular",
        kind: "count",
        env: &["LASTGOOD_WARM_POPULAR"],
        flag: None,
        doc: "after them this many from the head of each market's list, popular first",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.popular, value::count(raw, 0..=500)),
        show: |settings| show::plain(&settings.warm.popular),
    },
    Key {
        name: "warm.intervals",
        kind: "list of intervals",
        env: &["LASTGOOD_WARM_INTERVALS"],
        flag: None,
        doc: "the intervals of those candles, such as 1m,1h; with none no candles are kept warm",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.intervals, warm::intervals(raw)),
        show: |settings| show::words(&settings.warm.intervals),
    },
    Key {
        name: "warm.candles",
        kind: "count",
        env: &["LASTGOOD_WARM_CANDLES"],
        flag: None,
        doc: "how many of the newest candles",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.candles, value::count(raw, 1..=1_000)),
        show: |settings| show::plain(&settings.warm.candles),
    },
    Key {
        name: "warm.tickers",
        kind: "true or false",
        env: &["LASTGOOD_WARM_TICKERS"],
        flag: None,
        doc: "whether the 24 h tickers of all symbols are kept warm, too",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.tickers, value::boolean(raw)),
        show: |settings| show::plain(&settings.warm.tickers),
    },
    Key {
        name: "warm.every",
        kind: "duration",
        env: &["LASTGOOD_WARM_EVERY"],
        flag: None,
        doc: "how long from the beginning of a round to the next, at most",
        secret: false,
        set: |settings, raw| put(&mut settings.warm.every, value::span(raw, SECOND..=SECOND * 86_400)),
        show: |settings| show::span(&settings.warm.every),
    },
];
