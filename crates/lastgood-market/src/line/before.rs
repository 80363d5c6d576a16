//! Keeps a list of symbols from before, when one comes that lacks some of them.
//!
//! One list may lack a symbol by mistake, and it replaces the one that had it. The symbol is then asked for by itself; if
//! that fails too, the list from before still has its last good row. Where two lists in a row lack different symbols, it has
//! the rows of both.

use lastgood::{Answer, Composed, Loaded, Region, Timestamp, Value};

use crate::projection::{self, Index, Projection};
use crate::upstream_request::UpstreamRequest;
use crate::venue::Recipe;

/// What the key of such a list ends with. No query has it: there it is written `%23`.
const SUFFIX: &str = "#before";

/// Where the list from before is kept, for a question that is answered from a list of all symbols.
pub(super) fn request(list: &UpstreamRequest) -> Option<UpstreamRequest> {
    let is_part = is_list(list) && list.projection != Projection::Whole;
    is_part.then(|| UpstreamRequest { key: key(list), ..list.clone() })
}

/// What was loaded, with the list that it replaces where that has rows which it lacks, and with those that only a list from
/// longer ago has.
pub(super) fn keeping(region: &Region, request: &UpstreamRequest, loaded: Loaded) -> Composed {
    let kept = if is_list(request) { region.peek(&request.key) } else { None };
    let Some(kept) = kept.filter(|kept| lacks_any(kept, &loaded.value)) else { return loaded.into() };
    let key = key(request);
    let earlier = region.peek(&key);
    let (body, as_of) =
        match earlier.and_then(|earlier| Some((projection::united(kept.body(), earlier.body())?, earlier))) {
            // It is as old as its oldest row, and kept for as long as the newest.
            Some((body, earlier)) => (body, earlier.source_time().min(kept.source_time())),
            None => (kept.body().clone(), kept.source_time()),
        };
    let value = Value { body, meta: kept.meta().map(Into::into) };
    let no_longer_fresh = kept.source_time().since(as_of);
    let as_it_was = Loaded { as_of: Some(as_of), ..Loaded::from(value).fresh_for(no_longer_fresh) };
    Composed { siblings: vec![(key, as_it_was)], ..Composed::from(loaded) }
}

/// When the newest row of an answer was loaded: a list from before may have rows of several lists, and was fresh until then.
pub(super) fn newest_row(answer: &Answer, request: &UpstreamRequest) -> Timestamp {
    match request.key.ends_with(SUFFIX) {
        true => answer.source_time().plus(super::was_fresh_for(answer)),
        false => answer.source_time(),
    }
}

/// Whether a list lacks a symbol that the one before had.
fn lacks_any(kept: &Answer, next: &Value) -> bool {
    let (Some(before), Some(after)) = (Index::of(kept.body()), Index::of(&next.body)) else { return false };
    before.symbols().any(|symbol| after.row(symbol).is_none())
}

/// Whether a request is a list of all symbols.
fn is_list(request: &UpstreamRequest) -> bool {
    matches!(request.endpoint.recipe, Recipe::Ticker | Recipe::ExchangeInfo) && request.asked.symbols.is_empty()
}

fn key(list: &UpstreamRequest) -> String {
    [&list.key, SUFFIX].concat()
}
