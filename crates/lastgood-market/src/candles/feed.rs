//! The end of a series from a stream, so that no request has to ask for it, and which series that is worth it for.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Freshness, Loaded, Persist, Timestamp};

use super::block::Tail;
use super::keep::{Draft, TAIL};
use super::rows::Rows;
use super::series::Series;
use super::statement::Kind;
use super::{Candles, STORED_EVERY};
use crate::budget::Priority;
use crate::validate::is_row;

/// A candle as a stream sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedCandle {
    /// The row, as the exchange's REST answers write it.
    pub row: Bytes,
    /// Whether it has closed, and this is how it ended.
    pub is_closed: bool,
}

/// What became of a streamed candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// It is the end of the series now.
    Taken,
    /// It does not follow on the known candles: the end must be loaded first, as the next reader will.
    Behind,
    /// It is older than the kept version of the same candle.
    Outdated,
    /// It is no candle.
    Unreadable,
}

/// A streamed end is believed so long without another word: longer than the pause between two, shorter than a reader
/// would notice.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// More series than a bot, or a hundred, asks for.
const MOST_SERIES: usize = 10_000;
/// How precisely it is known when a series was last asked for.
const NOTED_EVERY: u64 = 5_000;

impl Candles {
    /// Takes a candle from a stream as the end of its series.
    ///
    /// It is taken only where it changes the newest candle or follows on it directly, and only onto an end that was
    /// whole: a candle that was not seen to close may lack its last trades, and is loaded again.
    pub async fn feed(&self, series: &Series, candle: &StreamedCandle) -> Fed {
        let is_row = is_row(&candle.row, series.endpoint);
        let Some(new) = Rows::of_text(&candle.row).filter(|rows| is_row && rows.count() == 1) else {
            return Fed::Unreadable;
        };
        let key = series.key(TAIL);
        let held = self.region.peek(&key).filter(|held| held.freshness() != Freshness::Gone);
        let Some(tail) = held.as_ref().and_then(Tail::of) else {
            return Fed::Behind;
        };
        let (Some(open), Some(last)) = (new.first_open(), tail.rows.last_open()) else {
            return Fed::Behind;
        };
        let is_same = open == last;
        let follows = tail.ends_closed && tail.rows.last_close().is_some_and(|close| open == close + 1);
        let ends = new.last_close().unwrap_or(open);
        let fits = if is_same { Some(ends) == tail.rows.last_close() } else { ends - open < series.length };
        if !(is_same || follows) || !fits {
            return Fed::Behind;
        }
        let ((price, trades), (price_before, trades_before)) = (new.last_state(), tail.rows.last_state());
        // One of two that open at different prices is wrong, and the exchange is asked which.
        if is_same && price != price_before {
            return Fed::Behind;
        }
        // Trades are only added to a candle, and one that has closed does not open again.
        if is_same && (trades < trades_before || (tail.ends_closed && !candle.is_closed)) {
            return Fed::Outdated;
        }
        let kept = tail.rows.count() - usize::from(is_same);
        let text = Rows::join([tail.rows.text(0, kept), new.text(0, 1)]);
        let Some(rows) = Rows::of_text(&text) else {
            return Fed::Unreadable;
        };
        let mut draft = Draft::new(self, series, Priority::Refresh);
        // What has settled meanwhile goes where settled candles are.
        let Ok(settled) = draft.settle(&rows, tail.from, self.now(), Kind::Streamed).await else {
            return Fed::Unreadable;
        };
        let tail = Tail { ends_closed: candle.is_closed, ..settled };
        self.region.composite().put(&key, self.streamed(series, &tail), draft.finish()).await;
        Fed::Taken
    }

    fn streamed(&self, series: &Series, tail: &Tail) -> Loaded {
        let forming = self.exchange.forming_fresh_for(&series.interval).max(BELIEVED_FOR);
        let fresh_for = Some(series.fresh_for(tail.rows.last_close(), self.now(), forming));
        Loaded { fresh_for, persist: Persist::Every(STORED_EVERY), ..Loaded::from(tail.write()) }
    }

    /// When the kept end of a series was loaded, or taken from a stream.
    pub fn end_loaded_at(&self, series: &Series) -> Option<Timestamp> {
        self.region.peek(&series.key(TAIL)).map(|kept| kept.source_time())
    }

    /// How far the exchange's clock is ahead of this machine's, in ms.
    pub fn clock_skew(&self) -> i64 {
        self.exchange.clock_skew()
    }

    /// The series that were asked for within `since`, the ones asked for last first.
    pub fn in_use(&self, since: Duration) -> Vec<Arc<Series>> {
        self.in_use.within(self.clock.now(), since)
    }
}

/// Which series were asked for, and when.
#[derive(Clone, Default)]
pub(super) struct InUse(Arc<Mutex<HashMap<Box<str>, Use>>>);

struct Use {
    series: Arc<Series>,
    at: Timestamp,
}

impl InUse {
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a series is asked for. Most calls find that it was noted a moment ago, and take no lock.
    pub(super) fn note(&self, series: &Arc<Series>, now: Timestamp) {
        let noted = series.noted_at.load(Ordering::Relaxed);
        if noted != 0 && now.as_millis().saturating_sub(noted) < NOTED_EVERY {
            return;
        }
        series.noted_at.store(now.as_millis(), Ordering::Relaxed);
        let mut table = self.table();
        if table.len() >= MOST_SERIES && !table.contains_key(&*series.prefix) {
            let oldest = table.iter().min_by_key(|(_, of)| of.at).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| table.remove(&oldest));
        }
        table.insert(series.prefix.as_str().into(), Use { series: Arc::clone(series), at: now });
    }

    fn within(&self, now: Timestamp, since: Duration) -> Vec<Arc<Series>> {
        let table = self.table();
        let mut recent: Vec<&Use> = table.values().filter(|of| now.since(of.at) <= since).collect();
        recent.sort_unstable_by_key(|of| std::cmp::Reverse(of.at));
        recent.into_iter().map(|of| Arc::clone(&of.series)).collect()
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InUse({})", self.table().len())
    }
}
