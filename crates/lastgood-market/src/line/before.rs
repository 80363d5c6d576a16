//! Keeps a list of symbols from before, when one comes that lacks some of them.
//!
//! One list may lack a symbol by mistake, and it replaces the one that had it. The symbol is then asked for by itself; if
//! that fails too, the list from before still has its last good row.

use std::time::Duration;

use lastgood::{Answer, Composed, Loaded, Region, Value};

use crate::projection::{Index, Projection};
use crate::upstream_request::UpstreamRequest;
use crate::venue::Recipe;

/// What the key of such a list ends with. No query has it: there it is written `%23`.
const SUFFIX: &str = "#before";

/// Where the list from before is kept, for a question that is answered from a list of all symbols.
pub(super) fn request(list: &UpstreamRequest) -> Option<UpstreamRequest> {
    let is_part = is_list(list) && list.projection != Projection::Whole;
    is_part.then(|| UpstreamRequest { key: key(list), ..list.clone() })
}

/// What was loaded, with the list that it replaces where that has rows which it lacks.
pub(super) fn keeping(region: &Region, request: &UpstreamRequest, loaded: Loaded) -> Composed {
    let kept = if is_list(request) { region.peek(&request.key) } else { None };
    let Some((kept, lost)) = kept.and_then(|kept| lost(&kept, &loaded.value).map(|lost| (kept, lost))) else {
        return loaded.into();
    };
    let key = key(request);
    // A list from longer ago stays while it has all that the last one had and this one lacks.
    let before = region.peek(&key).and_then(|before| Index::of(before.body()));
    if before.is_some_and(|before| lost.iter().all(|symbol| before.row(symbol).is_some())) {
        return loaded.into();
    }
    let value = Value { body: kept.body().clone(), meta: kept.meta().map(Into::into) };
    let as_it_was = Loaded { as_of: Some(kept.source_time()), ..Loaded::from(value).fresh_for(Duration::ZERO) };
    Composed { siblings: vec![(key, as_it_was)], ..Composed::from(loaded) }
}

/// The symbols that a list had and the next one lacks, if any.
fn lost(kept: &Answer, next: &Value) -> Option<Vec<String>> {
    let (before, after) = (Index::of(kept.body())?, Index::of(&next.body)?);
    let lost: Vec<String> = before.symbols().filter(|symbol| after.row(symbol).is_none()).map(str::to_owned).collect();
    (!lost.is_empty()).then_some(lost)
}

/// Whether a request is a list of all symbols.
fn is_list(request: &UpstreamRequest) -> bool {
    matches!(request.endpoint.recipe, Recipe::Ticker | Recipe::ExchangeInfo) && request.asked.symbols.is_empty()
}

fn key(list: &UpstreamRequest) -> String {
    [&list.key, SUFFIX].concat()
}
