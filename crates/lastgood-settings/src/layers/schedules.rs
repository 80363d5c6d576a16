//! The schedules by which things are kept warm: what follows from them, and what of them leads nowhere.

use lastgood_routes::spec::RouteSpec;

use crate::problem::{Origin, Origins, Problem, Wrong};
use crate::regions::REGION_NAMES;
use crate::settings::Settings;

/// Gives routes the schedule of their region: in place of their own only if it comes from a higher layer than theirs.
pub(crate) fn schedule_routes(settings: &mut Settings, origins: &Origins) {
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
pub(crate) fn nothing_warmed(settings: &Settings, origins: &Origins) -> Option<Problem> {
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
pub(crate) fn nothing_scheduled(settings: &Settings, origins: &Origins) -> Vec<Problem> {
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
