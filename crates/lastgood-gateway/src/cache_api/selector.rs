//! Which keys a change of many is about, as a text that gateways publish to each other: each of them finds what it alone holds.

use std::fmt;
use std::sync::Arc;

use lastgood::{Matches, Selector, Selectors};
use lastgood_market::{Identities, RegionName};

use super::glob::Glob;
use super::name::takes;
use super::symbol;

/// What a change of many keys is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum SelectorText<'a> {
    /// Keys that a pattern takes, `*` and `?` in it.
    Pattern(&'a str),
    /// Keys that name a symbol.
    Named(&'a str),
    /// Answers about symbols that their keys do not name.
    OfAnySymbol,
    /// A series of candles, by what its keys begin with.
    Series(&'a str),
}

impl SelectorText<'_> {
    pub(super) fn selector(self) -> Selector {
        Selector::Text(self.to_string())
    }

    /// The selector behind a text of another gateway's; `None` for what this version does not know.
    fn parse(text: &str) -> Option<SelectorText<'_>> {
        match text.split_once(' ')? {
            ("pattern", pattern) => Some(SelectorText::Pattern(pattern)),
            ("named", symbol) => Some(SelectorText::Named(symbol)),
            ("of-any-symbol", "") => Some(SelectorText::OfAnySymbol),
            ("series", prefix) => Some(SelectorText::Series(prefix)),
            _ => None,
        }
    }

    fn matches(self, identities: &Identities) -> Option<Matches> {
        Some(match self {
            SelectorText::Pattern(pattern) => {
                let (glob, identities) = (Glob::parse(pattern).ok()?, identities.clone());
                Arc::new(move |region: &str, name: &str| takes(&glob, &identities, region, name))
            }
            SelectorText::Named(symbol) => {
                let symbol = symbol.to_owned();
                Arc::new(move |region: &str, name: &str| symbol::is_named(&symbol, region, name))
            }
            SelectorText::OfAnySymbol => Arc::new(symbol::may_hold_any),
            SelectorText::Series(prefix) => {
                let prefix = prefix.to_owned();
                let klines = RegionName::Klines.as_str();
                Arc::new(move |region: &str, name: &str| region == klines && name.starts_with(&prefix))
            }
        })
    }
}

impl fmt::Display for SelectorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectorText::Pattern(pattern) => write!(f, "pattern {pattern}"),
            SelectorText::Named(symbol) => write!(f, "named {symbol}"),
            SelectorText::OfAnySymbol => f.write_str("of-any-symbol "),
            SelectorText::Series(prefix) => write!(f, "series {prefix}"),
        }
    }
}

/// How this gateway understands such a text.
pub(crate) fn selectors(identities: Identities) -> Selectors {
    Arc::new(move |text: &str| SelectorText::parse(text)?.matches(&identities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_the_same_to_every_gateway() {
        let understood = selectors(Identities::public());
        for (selector, region, yes, no) in [
            (SelectorText::Pattern("kv:a b*"), "kv", "a bc", "ab"),
            (
                SelectorText::Named("BTCUSDT"),
                "klines",
                "spot/api/v3/klines:BTCUSDT:1h:tail",
                "spot/api/v3/klines:BTCUSDTX:1h:tail",
            ),
            (
                SelectorText::OfAnySymbol,
                "ticker_price",
                "spot/api/v3/ticker/price?",
                "spot/api/v3/ticker/price?symbol=BTCUSDT",
            ),
            (SelectorText::Series("spot/x:BTC:1h:"), "klines", "spot/x:BTC:1h:tail", "spot/x:ETH:1h:tail"),
        ] {
            let text = selector.to_string();
            assert_eq!(SelectorText::parse(&text).map(|parsed| parsed.to_string()), Some(text.clone()));
            let matches = understood(&text).unwrap_or_else(|| panic!("{text}"));
            assert!(matches(region, yes) && !matches(region, no), "{text}");
        }
        for strange in ["", "pattern", "of-every-moon ", "named", "@region kv"] {
            assert!(understood(strange).is_none(), "{strange:?}");
        }
    }
}
