//! What is kept warm, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood_market::warm::{WARMED, WarmOptions};
use lastgood_market::{Preset, Venue, interval};
use lastgood_routes::spec::RouteSpec;
use lastgood_routes::suggest::did_you_mean;

use super::problem::{Origin, Problem, Wrong};
use super::value::{self, Raw};
use super::{REGION_NAMES, Settings};

/// Where each key that is set came from.
type Origins = BTreeMap<String, Origin>;

/// The markets that have a list of symbols.
const MARKETS: [Venue; 2] = [Venue::Spot, Venue::Futures];

const DAY: Duration = Duration::from_secs(86_400);

/// How often something is loaded ahead of its readers.
pub(super) fn schedule(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::from_secs(1)..=DAY * 7)
}

/// A list of markets, each once.
pub(super) fn markets(raw: &Raw) -> Result<Vec<Venue>, Wrong> {
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
pub(super) fn intervals(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let interval = |word: &str| match interval::is_of_candles(Venue::Spot, word) {
        true => Ok(word.to_owned()),
        false => Err(Wrong::new(format!("{word:?} is no interval of candles"))
            .hint("choose among 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")),
    };
    each_once(words(raw, "intervals", "1m,1h")?.into_iter().map(|word| Ok((word, interval(word)?))))
}

pub(super) fn show_markets(markets: &[Venue]) -> String {
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

impl Settings {
    /// What is kept warm. Screens have their lists of symbols warm without a word about it.
    pub(crate) fn warm_options(&self) -> WarmOptions {
        let every_of = WARMED.into_iter().filter_map(|name| Some((name, self.region(name.as_str()).warm_every?)));
        let warm = WarmOptions { every_of: every_of.collect(), ..self.warm.clone() };
        match (warm.markets.is_empty(), self.preset) {
            (true, Preset::Dashboard) if self.binance.enabled => {
                WarmOptions { markets: MARKETS.to_vec(), intervals: Vec::new(), tickers: false, ..warm }
            }
            _ => warm,
        }
    }
}

/// Gives routes the schedule of their region: in place of their own only if it comes from a higher layer than theirs.
pub(super) fn schedule_routes(settings: &mut Settings, origins: &Origins) {
    for route in &mut settings.declared.routes {
        let Some(every) = settings.regions.get(&route.region).and_then(|region| region.warm_every) else { continue };
        let is_higher = matches!(origins.get(&schedule_of(&route.region)), Some(Origin::Env(_) | Origin::Flag(_)));
        if is_higher || route.warm_every.is_none() {
            route.warm_every = Some(every);
        }
    }
}

/// The key of a region's schedule.
fn schedule_of(region: &str) -> String {
    format!("regions.{region}.warm_every")
}

/// Warns of candles that were declared in part: none of them are kept warm.
pub(super) fn nothing_warmed(settings: &Settings, origins: &Origins) -> Option<Problem> {
    let warm = &settings.warm;
    let set = |key: &'static str, is_set: bool| is_set.then_some(key);
    let symbols = set("warm.symbols", !warm.symbols.is_empty()).or(set("warm.popular", warm.popular > 0));
    let intervals = set("warm.intervals", !warm.intervals.is_empty());
    let (key, lacks, example) = match (symbols, intervals) {
        (None, None) => return None,
        (Some(key), _) | (None, Some(key)) if warm.markets.is_empty() => (key, "warm.markets", "\"spot\""),
        (Some(key), None) => (key, "warm.intervals", "\"1h\""),
        (None, Some(key)) => (key, "warm.symbols or warm.popular", "50"),
        (Some(_), Some(_)) => return None,
    };
    let wrong = Wrong::new(format!("it keeps no candles warm without {lacks}"))
        .hint(format!("set {lacks}, for example to {example}"));
    Some(Problem::new(origins.get(key).cloned(), Some(key), wrong))
}

/// Warns of schedules of regions in which nothing is kept warm.
pub(super) fn nothing_scheduled(settings: &Settings, origins: &Origins) -> Vec<Problem> {
    let markets = settings.warm_options().regions();
    let scheduled = settings.regions.iter().filter(|(_, set)| set.warm_every.is_some()).map(|(name, _)| name);
    let is_idle = |region: &&String| {
        let of_route = |route: &RouteSpec| route.region == **region && !route.warm.is_empty();
        markets.iter().all(|name| name.as_str() != **region) && !settings.declared.routes.iter().any(of_route)
    };
    let warning = |region: &String| {
        let hint = match REGION_NAMES.contains(&region.as_str()) {
            true => "set warm.markets, and for klines warm.intervals and warm.symbols or warm.popular, too",
            false => "write warm = [{ … }] in a route of the region",
        };
        let (name, wrong) = (schedule_of(region), Wrong::new("nothing in this region is kept warm").hint(hint));
        Problem::new(origins.get(&name).cloned(), Some(&name), wrong)
    };
    scheduled.filter(is_idle).map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_and_intervals_are_read_and_wrong_ones_told_with_a_hint() {
        let text = |text: &str| Raw::text(text);
        assert_eq!(markets(&text("Futures, spot")).unwrap(), [Venue::Futures, Venue::Spot]);
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
