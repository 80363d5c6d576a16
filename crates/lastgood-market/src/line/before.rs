//! Keeps a list of symbols from before, when one comes that lacks some of them.
//!
//! One list may lack a symbol by mistake, and it replaces the one that had it. The symbol is then asked for by itself; if
//! that fails too, the list from before still has its last good row.

use std::time::Duration;

use lastgood::{Answer, Composed, Loaded, Region, Value};

use crate::cut::{Cut, Index};
use crate::source::Source;
use crate::venue::Recipe;

/// What the key of such a list ends with. No query has it: there it is written `%23`.
const SUFFIX: &str = "#before";

/// Where the list from before is kept, for a question that is answered from a list of all symbols.
pub(super) fn source(list: &Source) -> Option<Source> {
    let is_part = is_list(list) && list.cut != Cut::Whole;
    is_part.then(|| Source { key: key(list), ..list.clone() })
}

/// What was loaded, with the list that it replaces where that has rows which it lacks.
pub(super) fn keeping(region: &Region, source: &Source, loaded: Loaded) -> Composed {
    let kept = if is_list(source) { region.peek(&source.key) } else { None };
    let Some((kept, lost)) = kept.and_then(|kept| lost(&kept, &loaded.value).map(|lost| (kept, lost))) else {
        return loaded.into();
    };
    let key = key(source);
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

/// Whether a source is a list of all symbols.
fn is_list(source: &Source) -> bool {
    matches!(source.endpoint.recipe, Recipe::Ticker | Recipe::ExchangeInfo) && source.asked.symbols.is_empty()
}

fn key(list: &Source) -> String {
    [&list.key, SUFFIX].concat()
}
