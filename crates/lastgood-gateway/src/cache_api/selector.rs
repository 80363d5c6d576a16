//! Which keys a change of many is about, as a text that gateways publish to each other: each of them finds what it alone holds.

use std::fmt;
use std::sync::Arc;

use lastgood::{Matches, Scope, Selectors};
use lastgood_market::{Identities, RegionName};

use super::glob::Glob;
use super::name::takes;
use super::symbol;

/// What a change of many keys is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Selector<'a> {
    /// Keys that a pattern takes, `*` and `?` in it.
    Pattern(&'a str),
    /// Keys that name a symbol.
    Named(&'a str),
    /// Answers about symbols that their keys do not name.
    OfAnySymbol,
    /// A series of candles, by what its keys begin with.
    Series(&'a str),
}

impl Selector<'_> {
    pub(super) fn scope(self) -> Scope {
        Scope::Selected(self.to_string())
    }

    /// The selector behind a text of another gateway's; `None` for what this version does not know.
    fn parse(text: &str) -> Option<Selector<'_>> {
        match text.split_once(' ')? {
            ("pattern", pattern) => Some(Selector::Pattern(pattern)),
            ("named", symbol) => Some(Selector::Named(symbol)),
            ("of-any-symbol", "") => Some(Selector::OfAnySymbol),
            ("series", prefix) => Some(Selector::Series(prefix)),
            _ => None,
        }
    }

    fn matches(self, identities: &Identities) -> Option<Matches> {
        Some(match self {
            Selector::Pattern(pattern) => {
                let (glob, identities) = (Glob::parse(pattern).ok()?, identities.clone());
                Arc::new(move |region: &str, name: &str| takes(&glob, &identities, region, name))
            }
            Selector::Named(symbol) => {
                let symbol = symbol.to_owned();
                Arc::new(move |region: &str, name: &str| symbol::is_named(&symbol, region, name))
            }
            Selector::OfAnySymbol => Arc::new(symbol::may_hold_any),
            Selector::Series(prefix) => {
                let prefix = prefix.to_owned();
                let klines = RegionName::Klines.as_str();
                Arc::new(move |region: &str, name: &str| region == klines && name.starts_with(&prefix))
            }
        })
    }
}

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Pattern(pattern) => write!(f, "pattern {pattern}"),
            Selector::Named(symbol) => write!(f, "named {symbol}"),
            Selector::OfAnySymbol => f.write_str("of-any-symbol "),
            Selector::Series(prefix) => write!(f, "series {prefix}"),
        }
    }
}

/// How this gateway understands such a text.
pub(crate) fn selectors(identities: Identities) -> Selectors {
    Arc::new(move |text: &str| Selector::parse(text)?.matches(&identities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_the_same_to_every_gateway() {
        let understood = selectors(Identities::public());
        for (selector, region, yes, no) in [
            (Selector::Pattern("kv:a b*"), "kv", "a bc", "ab"),
            (
                Selector::Named("BTCUSDT"),
                "klines",
                "spot/api/v3/klines:BTCUSDT:1h:tail",
                "spot/api/v3/klines:BTCUSDTX:1h:tail",
            ),
            (
                Selector::OfAnySymbol,
                "ticker_price",
                "spot/api/v3/ticker/price?",
                "spot/api/v3/ticker/price?symbol=BTCUSDT",
            ),
            (Selector::Series("spot/x:BTC:1h:"), "klines", "spot/x:BTC:1h:tail", "spot/x:ETH:1h:tail"),
        ] {
            let text = selector.to_string();
            assert_eq!(Selector::parse(&text).map(|parsed| parsed.to_string()), Some(text.clone()));
            let matches = understood(&text).unwrap_or_else(|| panic!("{text}"));
            assert!(matches(region, yes) && !matches(region, no), "{text}");
        }
        for strange in ["", "pattern", "of-every-moon ", "named", "@region kv"] {
            assert!(understood(strange).is_none(), "{strange:?}");
        }
    }
}
