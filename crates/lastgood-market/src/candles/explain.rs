//! The state of a series, for people.

use std::collections::HashSet;

use lastgood::Answer;
use lastgood::store::StoreError;
use serde::Serialize;

use super::Candles;
use super::block::{Block, Tail};
use super::keep::{TAIL, VOIDS, kept_block};

/// A stretch of a series and its state. Times are ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownSpan {
    /// Its first ms.
    pub from: u64,
    /// Its last ms; nothing for the end of the series, which goes on.
    pub to: Option<u64>,
    /// `candles`, `streamed candles`, `forming`, `gap`, `nothing found`, `before the first` or `doubted`.
    pub what: &'static str,
    /// How many candles open in it.
    pub candles: usize,
    /// Whether an independent later answer has confirmed it.
    pub confirmed: bool,
    /// When the exchange first said so, unless that no longer matters.
    pub said_at: Option<u64>,
    /// When it is asked for again if somebody needs it; nothing for never.
    pub believed_until: Option<u64>,
    /// Who said it: `stream`, or `exchange` for its answers to requests. Nothing where that is not kept.
    pub origin: Option<&'static str>,
    /// Where it lies: `memory`, `store` or `both`.
    pub tier: &'static str,
}

/// The state of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSpans {
    /// Its stretches, oldest first, at most 10,000 and its end.
    pub spans: Vec<KnownSpan>,
    /// Why the store did not say all that it keeps, if it did not.
    pub store_error: Option<StoreError>,
}

/// A summary of the kept series. Times are ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownSeries {
    /// What its keys begin with.
    pub series: String,
    /// The first ms that is known.
    pub from: u64,
    /// The last; later ones are known by the end of the series alone.
    pub to: u64,
    /// How many settled candles are kept.
    pub candles: usize,
}

/// More spans than people read.
const MOST: usize = 10_000;

/// Whether a part of a key, after the series' prefix, names settled candles or voids.
fn is_settled(part: &str) -> bool {
    part == VOIDS || (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The prefix of the series that a key in the region of candles belongs to: of one of its parts, or of the series as a
/// whole, with or without the colon at its end.
pub fn series_prefix(name: &str) -> String {
    match name.rsplit_once(':') {
        Some((_, "")) => name.to_owned(),
        Some((prefix, part)) if is_settled(part) || part == TAIL || part == super::FILL => format!("{prefix}:"),
        _ => format!("{name}:"),
    }
}

impl Candles {
    /// What memory and the store, as far as it says, keep of a series, in short; `None` for nothing.
    pub async fn known_series(&self, prefix: &str) -> Option<KnownSeries> {
        let spans = self.known_spans(prefix).await.spans;
        let settled = || spans.iter().filter(|span| span.to.is_some() && span.candles > 0);
        let from = settled().map(|span| span.from).min().or(spans.first().map(|span| span.from))?;
        let to = settled().filter_map(|span| span.to).max().unwrap_or(from);
        Some(KnownSeries { series: prefix.to_owned(), from, to, candles: settled().map(|span| span.candles).sum() })
    }

    /// What memory and the store know of the series whose keys begin with `prefix`.
    pub async fn known_spans(&self, prefix: &str) -> KnownSpans {
        let mut known = KnownSpans::default();
        let mut parts: Vec<String> = match self.region.stored_names(prefix, MOST).await {
            Ok(parts) => parts,
            Err(why) => {
                known.store_error = Some(why);
                Vec::new()
            }
        };
        let stored: HashSet<String> = parts.iter().cloned().collect();
        let listing = self.region.names(None, MOST, std::time::Duration::ZERO, &|name| name.starts_with(prefix)).await;
        parts.extend(listing.names.into_iter().map(|(name, _)| name));
        parts.retain(|name| name.strip_prefix(prefix).is_some_and(is_settled));
        parts.sort_unstable();
        parts.dedup();
        for name in &parts {
            if let Some(block) = self.known_part(name, &mut known.store_error).await.as_ref().and_then(kept_block) {
                known.spans.extend(of_block(&block, self.tier(name, &stored)));
            }
        }
        known.spans.sort_unstable_by_key(|span| span.from);
        known.spans.truncate(MOST);
        let name = [prefix, TAIL].concat();
        let end = self.known_part(&name, &mut known.store_error).await;
        known.spans.extend(end.as_ref().and_then(|end| known_end(end, self.tier(&name, &stored))));
        known
    }

    /// The word for where a part lies, of which the store has `stored`.
    fn tier(&self, name: &str, stored: &HashSet<String>) -> &'static str {
        match (self.region.peek(name).is_some(), stored.contains(name)) {
            (true, true) => "both",
            (true, false) => "memory",
            (false, _) => "store",
        }
    }

    /// What memory or else the store has under a key; notes why the store does not say.
    async fn known_part(&self, name: &str, store_error: &mut Option<StoreError>) -> Option<Answer> {
        if let Some(held) = self.region.peek(name) {
            return Some(held);
        }
        self.region.try_stored(name).await.unwrap_or_else(|why| {
            store_error.get_or_insert(why);
            None
        })
    }
}

fn known_end(answer: &Answer, tier: &'static str) -> Option<KnownSpan> {
    let tail = Tail::of(answer)?;
    let until = answer.given_at().plus(answer.fresh_for());
    Some(KnownSpan {
        from: tail.from,
        to: None,
        what: "forming",
        candles: tail.rows.count(),
        confirmed: false,
        said_at: Some(answer.source_time().as_millis()),
        believed_until: Some(until.as_millis()),
        // Who changed it last is not kept with it.
        origin: None,
        tier,
    })
}

fn of_block(block: &Block, tier: &'static str) -> Vec<KnownSpan> {
    let spans = block.known.iter().map(|span| KnownSpan {
        from: span.from,
        to: Some(span.to),
        what: span.statement.word(),
        candles: block.rows.before(span.to.saturating_add(1)) - block.rows.before(span.from),
        confirmed: span.statement.is_confirmed(),
        said_at: Some(span.statement.first).filter(|first| *first > 0),
        believed_until: Some(span.statement.believed_until()).filter(|until| *until != u64::MAX),
        origin: span.statement.origin(),
        tier,
    });
    spans.collect()
}
