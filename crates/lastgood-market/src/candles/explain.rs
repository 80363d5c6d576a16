//! What is known of a series, for people.

use lastgood::Timestamp;
use serde::Serialize;

use super::Candles;
use super::block::{Block, Tail};
use super::keep::{TAIL, VOIDS, kept_block};

/// A stretch of a series and what is known of it. Times are ms since the epoch.
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
    /// When it was told first, unless that no longer matters.
    pub told_at: Option<u64>,
    /// When it is asked for again if somebody needs it; nothing for never.
    pub believed_until: Option<u64>,
}

/// More spans than people read.
const MOST: usize = 10_000;

impl Candles {
    /// What memory and the store know of the series whose keys begin with `prefix`, oldest first, at most 10,000 spans.
    pub async fn known_spans(&self, prefix: &str) -> Vec<KnownSpan> {
        let mut parts: Vec<String> = self.region.stored_names(prefix, MOST).await.unwrap_or_default();
        let listing = self.region.names(None, MOST, std::time::Duration::ZERO, &|name| name.starts_with(prefix)).await;
        parts.extend(listing.names.into_iter().map(|(name, _)| name));
        parts.sort_unstable();
        parts.dedup();
        let mut spans = Vec::new();
        for name in parts.iter().filter(|name| {
            name[prefix.len()..].bytes().all(|byte| byte.is_ascii_digit()) || name[prefix.len()..] == *VOIDS
        }) {
            let held = self.region.peek(name);
            let answer = match held {
                Some(held) => Some(held),
                None => self.region.stored(std::slice::from_ref(name)).await.into_iter().flatten().next(),
            };
            if let Some(block) = answer.as_ref().and_then(kept_block) {
                spans.extend(of_block(&block));
            }
        }
        spans.sort_unstable_by_key(|span| span.from);
        spans.truncate(MOST);
        spans.extend(self.known_end(prefix).await);
        spans
    }

    async fn known_end(&self, prefix: &str) -> Option<KnownSpan> {
        let key = [prefix, TAIL].concat();
        let answer = match self.region.peek(&key) {
            Some(held) => held,
            None => self.region.stored(&[key]).await.into_iter().flatten().next()?,
        };
        let tail = Tail::of(&answer)?;
        let until = Timestamp::from_millis(answer.given_at().as_millis()).plus(answer.fresh_for());
        Some(KnownSpan {
            from: tail.from,
            to: None,
            what: "forming",
            candles: tail.rows.times().len(),
            confirmed: false,
            told_at: Some(answer.given_at().as_millis().saturating_sub(millis(answer.age()))),
            believed_until: Some(until.as_millis()),
        })
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn of_block(block: &Block) -> Vec<KnownSpan> {
    let spans = block.known.iter().map(|span| KnownSpan {
        from: span.from,
        to: Some(span.to),
        what: span.told.word(),
        candles: block.rows.before(span.to.saturating_add(1)) - block.rows.before(span.from),
        confirmed: span.told.is_confirmed(),
        told_at: Some(span.told.first).filter(|first| *first > 0),
        believed_until: Some(span.told.believed_until()).filter(|until| *until != u64::MAX),
    });
    spans.collect()
}
