//! The warm set, and how often it is loaded.

use std::time::Duration;

use lastgood_market::{Venue, interval};
use lastgood_routes::suggest::did_you_mean;

use crate::problem::Wrong;
use crate::value::{self, Raw};

/// The markets that have a list of symbols.
pub(crate) const MARKETS: [Venue; 2] = [Venue::Spot, Venue::UsdM];

const DAY: Duration = Duration::from_secs(86_400);

/// How often something is loaded ahead of its readers.
pub(crate) fn schedule(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::from_secs(1)..=DAY * 7)
}

/// A list of markets, each once.
pub(crate) fn markets(raw: &Raw) -> Result<Vec<Venue>, Wrong> {
    let market = |word: &str| {
        MARKETS.into_iter().find(|market| market.as_str().eq_ignore_ascii_case(word)).ok_or_else(|| {
            Wrong::new(format!("{word:?} is no market that can be kept warm")).hint(
                did_you_mean(word, MARKETS.map(Venue::as_str)).unwrap_or_else(|| "write spot, futures".to_owned()),
            )
        })
    };
    each_once(words(raw, "markets", "spot,futures")?.into_iter().map(|word| Ok((word, market(word)?))))
}

/// A list of candle intervals, each once. Case counts: `1m` is a minute, `1M` a month.
pub(crate) fn intervals(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let interval = |word: &str| match interval::is_of_candles(Venue::Spot, word) {
        true => Ok(word.to_owned()),
        false => Err(Wrong::new(format!("{word:?} is no interval of candles"))
            .hint("choose among 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")),
    };
    each_once(words(raw, "intervals", "1m,1h")?.into_iter().map(|word| Ok((word, interval(word)?))))
}

pub(crate) fn show_markets(markets: &[Venue]) -> String {
    markets.iter().map(|market| market.as_str()).collect::<Vec<_>>().join(",")
}

fn words<'a>(raw: &'a Raw, what: &str, example: &str) -> Result<Vec<&'a str>, Wrong> {
    match raw {
        Raw::Bare { kind, text } => Err(Wrong::new(format!("expected a list of {what}, found the {kind} {text}"))
            .hint(format!("write \"{example}\""))),
        _ => raw.as_list(),
    }
}

fn each_once<'a, T: PartialEq>(items: impl Iterator<Item = Result<(&'a str, T), Wrong>>) -> Result<Vec<T>, Wrong> {
    let mut found = Vec::new();
    for item in items {
        let (word, item) = item?;
        if found.contains(&item) {
            return Err(Wrong::new(format!("{word} is listed twice")).hint("name each once"));
        }
        found.push(item);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_and_intervals_are_read_and_wrong_ones_refused_with_a_hint() {
        let text = |text: &str| Raw::text(text);
        assert_eq!(markets(&text("Futures, spot")).unwrap(), [Venue::UsdM, Venue::Spot]);
        assert_eq!(intervals(&text("1m,1M")).unwrap(), ["1m", "1M"]);
        assert!(markets(&text("")).unwrap().is_empty());
        let wrong = markets(&text("sopt")).unwrap_err();
        assert!(wrong.hint.unwrap().contains("spot"));
        assert!(markets(&text("coin")).unwrap_err().hint.unwrap().contains("futures"));
        assert!(intervals(&text("1h,90m")).unwrap_err().hint.unwrap().contains("15m"));
        assert_eq!(intervals(&text("1h,1h")).unwrap_err().what, "1h is listed twice");
        let number = Raw::Bare { kind: "integer", text: "5".to_owned() };
        assert!(intervals(&number).unwrap_err().what.contains("list of intervals"));
    }
}
