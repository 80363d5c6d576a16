//! `GET /api/cache/keys`: which keys there are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use http::StatusCode;
use lastgood::Region;
use lastgood_routes::suggest::nearest;
use serde::Serialize;

use super::answer::json;
use super::caller::Caller;
use super::glob::Glob;
use super::name::{region, takes};
use super::symbol;
use crate::app::App;
use crate::fleet;
use crate::problem::{Answered, Refused};
use crate::query::Parameters;

const DEFAULT_LIMIT: usize = 100;
const MOST: u64 = 10_000;
/// How long the store is looked through altogether.
const WITHIN: Duration = Duration::from_secs(10);
/// Keys of memory that are compared with one that does not exist.
const COMPARED: usize = 5_000;

#[derive(Serialize)]
struct Keys {
    keys: Vec<ListedKey>,
    /// What to give as `after` for more; nothing after the last.
    next: Option<String>,
    /// Whether the store was looked through to its end.
    complete: bool,
}

#[derive(Serialize)]
struct ListedKey {
    key: String,
    region: String,
    /// `memory`, `store` or `both`.
    tier: &'static str,
}

struct Asked {
    pattern: Option<Glob>,
    region: Option<String>,
    tag: Option<String>,
    symbol: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Asked {
    fn read(query: Option<&str>) -> Result<Asked, Refused> {
        let parameters = Parameters::read(query, &["pattern", "region", "tag", "symbol", "limit", "after"])?;
        let pattern = parameters
            .get("pattern")
            .map(Glob::parse)
            .transpose()
            .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, &format!("The parameter pattern: {why}.")))?;
        let symbol = parameters
            .get("symbol")
            .map(symbol::normalised)
            .transpose()
            .map_err(|why| Refused::new(StatusCode::BAD_REQUEST, &format!("The parameter symbol: {why}.")))?;
        let limit = parameters.number("limit", 1..=MOST, &format!("1 to {MOST}"))?;
        let text = |name: &str| parameters.get(name).map(str::to_owned);
        Ok(Asked {
            pattern,
            region: text("region"),
            tag: text("tag"),
            symbol,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            after: text("after"),
        })
    }
}

pub(super) async fn keys(State(app): State<Arc<App>>, _: Caller, RawQuery(query): RawQuery) -> Answered {
    let Asked { pattern, region: only, tag, symbol, limit, after } = Asked::read(query.as_deref())?;
    let most = limit.unwrap_or(DEFAULT_LIMIT);
    let identities = app.plans.identities();
    let about = symbol.map(|symbol| About::of(&app, symbol));
    let is_wanted = |region: &str, name: &str| {
        pattern.as_ref().is_none_or(|glob| takes(glob, identities, region, name))
            && about.as_ref().is_none_or(|about| about.holds(region, name))
    };
    let after = after.as_deref().map(|after| after.split_once(':').unwrap_or((after, "")));
    if let Some(tag) = tag {
        let of = only.map(|name| region(&app, &name)).transpose()?;
        let is_of = |name: &str| of.as_ref().is_none_or(|region| region.name() == name);
        let is_meant =
            |of: &str, name: &str| is_of(of) && after.is_none_or(|after| (of, name) > after) && is_wanted(of, name);
        return Ok(json(StatusCode::OK, &tagged(&app, &tag, most, is_meant)));
    }
    let mut regions = match only {
        Some(name) => vec![region(&app, &name)?],
        None => app.cache.regions().into_iter().filter(|region| region.name() != fleet::REGION).collect(),
    };
    regions.sort_by(|one, other| one.name().cmp(other.name()));
    let mut listed = Keys { keys: Vec::new(), next: None, complete: true };
    let until = tokio::time::Instant::now() + WITHIN;
    for region in regions.into_iter().filter(|region| after.is_none_or(|(of, _)| region.name() >= of)) {
        let after = after.filter(|(of, _)| *of == region.name()).map(|(_, name)| name);
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let wanted = |name: &str| is_wanted(region.name(), name);
        let listing = region.names(after, most - listed.keys.len(), left, &wanted).await;
        listed.complete &= listing.is_complete;
        listed.keys.extend(listing.names.into_iter().map(|(name, tiers)| {
            let (key, region) = (format!("{}:{name}", region.name()), region.name().to_owned());
            ListedKey { key, region, tier: tiers.as_str() }
        }));
        if listing.has_more {
            // With no room left for this region's first, the last key of the one before is where to go on.
            listed.next = listed.keys.last().map(|last| last.key.clone());
            break;
        }
    }
    Ok(json(StatusCode::OK, &listed))
}

/// The keys about a symbol, which are those that a change by `symbol` matches.
struct About {
    symbol: String,
    /// Those of memory with the symbol's tag.
    tagged: HashSet<(String, String)>,
}

impl About {
    fn of(app: &App, symbol: String) -> About {
        let tagged = app.cache.tagged(&symbol::tag(&symbol)).into_iter().collect();
        About { symbol, tagged }
    }

    fn holds(&self, region: &str, name: &str) -> bool {
        symbol::is_named(&self.symbol, region, name)
            || symbol::may_hold_any(region, name)
            || (!self.tagged.is_empty() && self.tagged.contains(&(region.to_owned(), name.to_owned())))
    }
}

/// The keys in memory that have a tag: where there is a store, it may hold more.
fn tagged(app: &App, tag: &str, most: usize, is_meant: impl Fn(&str, &str) -> bool) -> Keys {
    let mut names = app.cache.tagged(tag).into_iter().filter(|(of, name)| is_meant(of, name));
    let key = |(region, name): (String, String)| ListedKey { key: format!("{region}:{name}"), region, tier: "memory" };
    let keys: Vec<ListedKey> = names.by_ref().take(most).map(key).collect();
    let next = names.next().and_then(|_| keys.last()).map(|last| last.key.clone());
    Keys { keys, next, complete: app.cache.status().store.is_none() }
}

/// There is no such key; says which may be meant.
pub(super) async fn unknown(region: &Region, name: &str) -> Refused {
    let listing = region.names(None, COMPARED, Duration::from_secs(1), &|_: &str| true).await;
    let names = || listing.names.iter().map(|(name, _)| name.as_str());
    let wanted = name.to_lowercase();
    let meant = nearest(name, names()).or_else(|| names().find(|known| known.to_lowercase().contains(&wanted)));
    let shown: String = format!("{}:{name}", region.name()).chars().take(200).collect();
    let hint = match meant {
        Some(meant) => format!("did you mean {:?}?", format!("{}:{meant}", region.name())),
        None => format!("GET /api/cache/keys?region={} lists those that are there.", region.name()),
    };
    Refused::new(StatusCode::NOT_FOUND, &format!("Neither memory nor the store holds {shown:?}; {hint}"))
}
