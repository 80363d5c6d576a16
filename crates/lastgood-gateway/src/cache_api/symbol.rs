//! Which keys are about a symbol.

use std::error::Error;
use std::fmt;

use lastgood_market::RegionName;
use lastgood_market::identity::after_name;
use percent_encoding::percent_decode_str;

use super::name::is_market;

/// The longest name of a symbol, in bytes.
const LONGEST: usize = 64;

/// The tag of what applications keep about a symbol.
pub(super) fn tag(symbol: &str) -> String {
    format!("symbol:{symbol}")
}

/// A text that is no name of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotSymbol;

impl fmt::Display for NotSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a symbol is a name such as BTCUSDT, BRK.B or my:BTC-PERP")
    }
}

impl Error for NotSymbol {}

/// A symbol as keys name it.
pub(super) fn normalised(text: &str) -> Result<String, NotSymbol> {
    // Copied from a key or an address, it may be percent-encoded.
    let decoded = percent_decode_str(text).decode_utf8().unwrap_or_default();
    let symbol = decoded.trim().to_uppercase();
    match !symbol.is_empty() && symbol.len() <= LONGEST && symbol.split(['.', ':']).all(is_word) {
        true => Ok(symbol),
        false => Err(NotSymbol),
    }
}

/// A dot is part of symbols such as `BRK.B`, and yet separates `btcusdt.json`; so is a colon of `my:BTC-PERP`.
fn is_word(part: &str) -> bool {
    !part.is_empty() && part.chars().all(is_of_symbol)
}

/// What separates `BTCUSDT` from `BTCUSDTX` does not separate it from `BTCUSDT_260327`: that is another symbol.
fn is_of_symbol(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether a key names the symbol, as a word of its own. What the exchange is called does not count.
pub(super) fn is_named(symbol: &str, region: &str, name: &str) -> bool {
    let name = if is_market(region) { after_name(name) } else { name };
    let decoded = percent_decode_str(name).decode_utf8_lossy().to_uppercase();
    decoded.match_indices(symbol).any(|(at, _)| {
        let (before, after) = (&decoded[..at], &decoded[at + symbol.len()..]);
        !before.ends_with(is_of_symbol) && !after.starts_with(is_of_symbol)
    })
}

/// Whether a key holds answers about symbols that it does not name, so that any may be among them.
pub(super) fn may_hold_any(region: &str, name: &str) -> bool {
    // A series names its symbol; an analysis and the index of moods are of no symbol, but for the tags that somebody gave.
    let others = [RegionName::Klines, RegionName::Llm, RegionName::FearGreed];
    if others.iter().any(|other| other.as_str() == region) || !is_market(region) {
        return false;
    }
    let query = name.split_once('?').map_or("", |(_, query)| query);
    query.split('&').all(|field| !matches!(field.split('=').next(), Some("symbol" | "symbols" | "pair")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_named_only_as_a_whole_word() {
        for yes in [
            "spot/api/v3/klines:BTCUSDT:1h:tail",
            "spot/api/v3/depth?symbol=BTCUSDT&limit=5",
            "spot/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D",
            "latest/btcusdt.json",
        ] {
            assert!(is_named("BTCUSDT", "klines", yes), "{yes}");
        }
        for no in [
            "s?symbol=BTCUSDTX",
            "s?symbol=1BTCUSDT",
            "s?symbol=BTCUSDT_260327",
            "s?",
            "s?symbols=%5B%22XBTCUSDT%22%5D",
        ] {
            assert!(!is_named("BTCUSDT", "klines", no), "{no}");
        }
        for (region, name, is) in [
            ("klines", "spot@bnb.example/api/v3/klines:BNB:1h:tail", true),
            ("klines", "spot@bnb.example/api/v3/klines:ETH:1h:tail", false),
            ("kv", "spot@bnb.example/report", true),
        ] {
            assert_eq!(is_named("BNB", region, name), is, "{region}:{name}");
        }
        assert!(is_named("BRK.B", "klines", "/v1/stocks/{symbol}/latest?symbol=BRK.B"));
        assert!(!is_named("BRK.B", "klines", "/v1/stocks/{symbol}/latest?symbol=BRK.BX"));
        assert!(!is_named("BRK.B", "klines", "/v1/stocks/{symbol}/latest?symbol=BRKXB"));
        for wrong in ["", ".", "BRK.", ".B", "A..B", "../B", "A/B", "A B", "A*"] {
            assert!(normalised(wrong).is_err(), "{wrong}");
        }
        assert_eq!(normalised("%e5%B8%81安人生usdt"), Ok("币安人生USDT".to_owned()));
        assert!(normalised("%FF").is_err() && normalised("BTC%20USDT").is_err());
        assert!(is_named("币安人生USDT", "klines", "s?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"));
    }

    #[test]
    fn snapshots_of_all_symbols_are_distinct_from_answers_about_some() {
        for (region, name) in [
            ("ticker_price", "spot/api/v3/ticker/price?"),
            ("ticker_24hr", "spot/api/v3/ticker/24hr?type=MINI"),
            ("ticker_price", "spot/api/v3/ticker/price?sha256=00ff"),
            ("symbols", "spot/public"),
        ] {
            assert!(may_hold_any(region, name), "{region}:{name}");
        }
        for (region, name) in [
            ("klines", "spot/api/v3/klines:ETHUSDT:1h:tail"),
            ("depth", "spot/api/v3/depth?limit=5&symbol=ETHUSDT"),
            ("kv", "anything"),
            ("llm", "sentiment:0123456789abcdef"),
            ("fear_greed", "limit=7"),
        ] {
            assert!(!may_hold_any(region, name), "{region}:{name}");
        }
    }
}
