//! Loads what is missing of a series, and nothing else.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lastgood::{Error, Filled, Persist, Reason};

use super::Candles;
use super::block::{Block, Tail};
use super::resolve::{Hole, Known, Resolution, resolve};
use super::rows::Rows;
use super::series::{Fetch, Question, Series};
use crate::budget::Priority;
use crate::venue::Venue;

/// What a load has found out so far, before memory knows of it.
pub(super) struct Draft<'a> {
    pub(super) candles: &'a Candles,
    series: &'a Series,
    /// That of what is asked of the exchange.
    priority: Priority,
    blocks: BTreeMap<u64, (Arc<Block>, Persist)>,
    voids: Option<(Arc<Block>, Persist)>,
    /// The end of the series, where an answer came to it.
    tail: Option<Tail>,
    /// Whether the last answer ended before its end, so that what comes after must be asked for from there.
    ends_in_gap: bool,
    /// Blocks that the store was asked for.
    recalled: HashSet<u64>,
}

impl Known for Draft<'_> {
    fn block(&self, index: u64) -> Option<Arc<Block>> {
        let drafted = self.blocks.get(&index).map(|(block, _)| Arc::clone(block));
        drafted.or_else(|| self.candles.held(&self.series.block_key(index)))
    }

    fn voids(&self) -> Option<Arc<Block>> {
        let drafted = self.voids.as_ref().map(|(voids, _)| Arc::clone(voids));
        drafted.or_else(|| self.candles.held(&self.series.key(VOIDS)))
    }
}

pub(super) const VOIDS: &str = "voids";
pub(super) const TAIL: &str = "tail";
/// More stretches without candles than a series has.
const MOST_VOIDS: usize = 64;
/// Blocks read from the store at once; more than an answer fills.
pub(super) const RECALL: u64 = 16;
/// Requests to the exchange in one load; a gap in the candles costs one more than there would be.
const MOST_FETCHES: usize = 8;
/// The newest candle, the one before, which may yet be corrected, and one that is settled.
const LEAST: usize = 3;

/// On COIN-M the candle after a gap is looked for so many intervals on.
const PAST_GAPS: u64 = 20;
/// No exchange is late by so many ms.
const AGED: u64 = 86_400_000;

impl<'a> Draft<'a> {
    pub(super) fn new(candles: &'a Candles, series: &'a Series, priority: Priority) -> Self {
        Draft {
            candles,
            series,
            priority,
            blocks: BTreeMap::new(),
            voids: None,
            tail: None,
            ends_in_gap: false,
            recalled: HashSet::new(),
        }
    }

    /// Loads what a question lacks before the end of its series. `tail` is what the asker knows of that. Whether what
    /// was learnt is enough, the asker sees. `asked` is set if the exchange was asked.
    pub(super) async fn fill(
        mut self,
        question: &Question,
        tail: Option<&Tail>,
        asked: &AtomicBool,
    ) -> Result<Filled, Error> {
        let (mut fetches, mut asked_for) = (0, None);
        while fetches < MOST_FETCHES {
            let Resolution::Missing(hole) = resolve(question, &self, tail, self.candles.now()) else { break };
            if self.recall_around(&hole).await {
                continue;
            }
            // What the exchange was asked for in vain it is not asked for again.
            let asking = (hole, self.ends_in_gap);
            if asked_for.replace(asking) == Some(asking) {
                break;
            }
            fetches += 1;
            asked.store(true, Ordering::Relaxed);
            if !self.fetch_hole(&hole, tail).await? || self.tail.is_some() {
                break;
            }
        }
        Ok(self.finish())
    }

    /// Loads the end of the series, with `wanted` candles of it if it is not known from where on it is missing.
    pub(super) async fn tail(mut self, wanted: usize, earlier: Option<&Tail>) -> Result<(Tail, Filled), Error> {
        let wanted = wanted.clamp(LEAST, self.series.most());
        if earlier.is_none() {
            self.recall(self.newest_blocks(wanted)).await;
        }
        let known_until = self.known_until(earlier).await.max(self.newest_known(wanted));
        if let Some(from) = known_until {
            let end = self.candles.now().saturating_add(self.series.length);
            let limit = self.series.candles_in(from, end).saturating_add(1);
            if limit <= (wanted + wanted / 4 + 2).min(self.series.most()) && self.series.allows(from, end) {
                // COIN-M has a meaning of its own for a start alone.
                let end = (self.series.endpoint.venue == Venue::Coin).then_some(end);
                let (rows, asked_at) = self.fetch(Fetch { start: Some(from), end, limit }).await?;
                // A full answer may not reach the newest: the exchange's clock may be ahead of ours.
                if rows.times().len() < limit {
                    let tail = self.settle(&rows, from, asked_at).await?;
                    return Ok((tail, self.finish()));
                }
            }
        }
        let (rows, asked_at) = self.fetch(Fetch { start: None, end: None, limit: wanted }).await?;
        let from = rows.times().first().map_or(0, |first| first.open);
        let tail = self.settle(&rows, from, asked_at).await?;
        Ok((tail, self.finish()))
    }

    /// Up to where the series is known without a break from where an earlier end began.
    async fn known_until(&mut self, earlier: Option<&Tail>) -> Option<u64> {
        let mut from = earlier?.from;
        let index = self.series.block_at(from);
        if self.block(index).is_none() {
            let newest = self.series.block_at(self.candles.now());
            self.recall(index..=newest.min(index + RECALL)).await;
        }
        while let Some((_, to)) = self.block(self.series.block_at(from)).and_then(|block| block.known_at(from)) {
            from = to.checked_add(1)?;
        }
        Some(from)
    }

    /// The end of what is known among the newest candles.
    fn newest_known(&self, wanted: usize) -> Option<u64> {
        let blocks = self.newest_blocks(wanted).rev().filter_map(|index| self.block(index));
        let mut ends = blocks.filter_map(|block| block.known.last_before(self.candles.now()));
        ends.next().and_then(|end| end.checked_add(1))
    }

    /// The blocks that the newest candles lie in.
    fn newest_blocks(&self, wanted: usize) -> std::ops::RangeInclusive<u64> {
        let now = self.candles.now();
        let oldest = now.saturating_sub(self.series.length.saturating_mul(wanted as u64));
        self.series.block_at(oldest)..=self.series.block_at(now)
    }

    /// Divides rows, which are all there are from `from` on, into settled ones and the series' end.
    pub(super) async fn settle(&mut self, rows: &Rows, from: u64, asked_at: u64) -> Result<Tail, Error> {
        let settled = settled(rows, asked_at, false, self.series.grace());
        let count = rows.times().len();
        let from = match settled.checked_sub(1).and_then(|last| rows.times().get(last)) {
            Some(last) => {
                self.learn(rows, from, last.open).await?;
                last.open + 1
            }
            None => from,
        };
        let rows = Rows::of_text(&Bytes::copy_from_slice(rows.text(settled, count))).ok_or_else(unreadable)?;
        Ok(Tail { rows, from, ends_closed: false })
    }

    /// Asks the exchange for a hole, or for as much of it as is wanted, and says whether anything was learnt.
    async fn fetch_hole(&mut self, hole: &Hole, tail: Option<&Tail>) -> Result<bool, Error> {
        let is_bounded = hole.is_bounded || self.is_aged(hole.to);
        let hole = Hole { is_bounded, ..*hole };
        let candles = self.series.candles_in(hole.from, hole.to).saturating_add(1);
        // Where it is known what comes before, all of a hole is asked for from there, and no candle twice.
        let all_of_it = candles <= hole.wanted.saturating_add(1).min(self.series.most());
        match (hole.backward, hole.is_based && self.series.allows(hole.from, hole.to)) {
            (false, _) => self.fetch_forward(&hole, candles, hole.wanted, tail).await,
            (true, true) if all_of_it => self.fetch_forward(&hole, candles, candles, tail).await,
            (true, _) if self.ends_in_gap && candles <= self.series.most() => {
                self.fetch_forward(&hole, candles, hole.wanted.max(2), tail).await
            }
            (true, _) => self.fetch_backward(&hole, candles, tail).await,
        }
    }

    async fn fetch_forward(
        &mut self,
        hole: &Hole,
        candles: usize,
        wanted: usize,
        tail: Option<&Tail>,
    ) -> Result<bool, Error> {
        let series = self.series;
        let reaches = hole.from.saturating_add(series.length.saturating_mul(wanted as u64));
        // One more, so that it is seen that another came after the last.
        let witness = usize::from(!hole.is_bounded && !self.is_aged(reaches));
        let limit = wanted.saturating_add(witness).min(candles).min(series.most());
        let fetch = match (series.endpoint.venue, hole.is_bounded) {
            // What is meant by a start alone, and which candles are left out of a range, differs on COIN-M. A range
            // that holds no more than the limit means the same everywhere.
            (Venue::Coin, is_bounded) => {
                let beyond = match (is_bounded, self.ends_in_gap) {
                    (true, _) => 0,
                    (false, false) => series.length,
                    (false, true) => PAST_GAPS * series.length,
                };
                let end = hole.to.saturating_add(beyond);
                Fetch { start: Some(hole.from), end: Some(end), limit: series.candles_in(hole.from, end) + 1 }
            }
            (_, true) => Fetch { start: Some(hole.from), end: Some(hole.to), limit },
            (_, false) => Fetch { start: Some(hole.from), end: None, limit },
        };
        if fetch.limit > series.most() || !series.allows(hole.from, fetch.end.unwrap_or(hole.from)) {
            return Ok(false);
        }
        let (rows, asked_at) = self.fetch(fetch).await?;
        let is_short = rows.times().len() < fetch.limit;
        let is_aged = !is_short && rows.last_close().is_some_and(|close| self.is_aged(close));
        let newer_known = hole.is_bounded || is_aged || is_newer_in(tail, &rows);
        let settled = settled(&rows, asked_at, newer_known, series.grace());
        let all_settled = settled == rows.times().len();
        if is_short && fetch.end.is_none() {
            // The answer ends where the series does.
            let tail = self.settle(&rows, hole.from, asked_at).await?;
            self.tail = Some(tail);
            return Ok(true);
        }
        let to = match self.known_to(&rows, settled, asked_at, hole.to) {
            _ if is_short && all_settled && hole.is_bounded => hole.to,
            Some(to) if hole.is_bounded => to.min(hole.to),
            Some(to) => to,
            // Once more, from where the gap begins.
            None => return Ok(!std::mem::replace(&mut self.ends_in_gap, true)),
        };
        self.ends_in_gap |= to < hole.to;
        self.learn(&rows, hole.from, to).await
    }

    async fn fetch_backward(&mut self, hole: &Hole, candles: usize, tail: Option<&Tail>) -> Result<bool, Error> {
        let series = self.series;
        let (witness, beyond) = if hole.is_bounded { (0, 0) } else { (1, series.length) };
        let limit = hole.wanted.saturating_add(witness).min(candles.saturating_add(1)).min(series.most());
        let end = Some(hole.to.saturating_add(beyond));
        let (rows, asked_at) = self.fetch(Fetch { start: None, end, limit }).await?;
        let newer_known = hole.is_bounded || is_newer_in(tail, &rows);
        let settled = settled(&rows, asked_at, newer_known, series.grace());
        let to = match self.known_to(&rows, settled, asked_at, hole.to) {
            _ if hole.is_bounded && settled == rows.times().len() => hole.to,
            Some(to) => to,
            // Once more, from where the gap begins.
            None => return Ok(!std::mem::replace(&mut self.ends_in_gap, true)),
        };
        self.ends_in_gap = to < hole.to;
        // That an answer is short is no proof that there is no more; that it is empty is.
        let from = rows.times().first().map_or(0, |first| first.open);
        self.learn(&rows, from, to).await
    }

    /// Up to when an answer tells all there is: to its last settled candle, and to the end of what was asked for if
    /// the next candle comes after it and whatever might come between would have settled too.
    fn known_to(&self, rows: &Rows, settled: usize, asked_at: u64, end: u64) -> Option<u64> {
        let last = settled.checked_sub(1).and_then(|last| rows.times().get(last)).map(|last| last.open);
        let has_settled = end <= asked_at.saturating_sub(self.series.length + self.series.grace());
        let next_is_after = rows.times().get(settled).is_some_and(|next| next.open > end);
        last.max((has_settled && next_is_after).then_some(end))
    }

    /// Whether a moment is so long ago that the exchange would have caught up with it since, however late it was.
    fn is_aged(&self, at: u64) -> bool {
        at.saturating_add(AGED.max(2 * self.series.length)) < self.candles.now()
    }

    async fn fetch(&self, fetch: Fetch) -> Result<(Rows, u64), Error> {
        let asked_at = self.candles.now();
        let value = self.candles.exchange.ask(self.series.source(fetch), self.priority).await?;
        let rows = Rows::of_answer(&value.body).filter(|rows| rows.times().len() <= fetch.limit);
        rows.map(|rows| (rows, asked_at)).ok_or_else(unreadable)
    }

    /// Notes that `rows` are all there are in `from..=to`, and says whether that is any time at all.
    pub(super) async fn learn(&mut self, rows: &Rows, from: u64, to: u64) -> Result<bool, Error> {
        if from > to {
            return Ok(false);
        }
        let mut touched = vec![self.series.block_at(from), self.series.block_at(to)];
        let within = &rows.times()[rows.before(from)..rows.before(to.saturating_add(1))];
        let mut rest = within;
        while let Some(row) = rest.first() {
            let index = self.series.block_at(row.open);
            touched.push(index);
            rest = &rest[rest.partition_point(|row| row.open <= self.series.block_span(index).1)..];
        }
        touched.sort_unstable();
        touched.dedup();
        // What the store has of them must not be lost to what is written now.
        let absent: Vec<u64> = touched.iter().copied().filter(|index| self.block(*index).is_none()).collect();
        self.recall(absent).await;
        let mut before = None;
        for index in touched {
            if let Some(before) = before.filter(|before| before + 1 < index) {
                self.learn_void(self.series.block_span(before + 1).0, self.series.block_span(index - 1).1)?;
            }
            before = Some(index);
            let (begin, end) = self.series.block_span(index);
            let block = self.block(index).unwrap_or_default();
            let block = block.with(rows, begin.max(from), end.min(to)).ok_or_else(unreadable)?;
            self.blocks.insert(index, (Arc::new(block), Persist::Always));
        }
        Ok(true)
    }

    fn learn_void(&mut self, from: u64, to: u64) -> Result<(), Error> {
        let voids = self.voids().unwrap_or_default();
        let mut voids = voids.with(&Rows::default(), from, to).ok_or_else(unreadable)?;
        voids.known.keep_newest(MOST_VOIDS);
        self.voids = Some((Arc::new(voids), Persist::Always));
        Ok(())
    }

    /// Asks the store for the blocks around a hole, once each; says whether that was new.
    async fn recall_around(&mut self, hole: &Hole) -> bool {
        let wanted = (hole.wanted as u64).saturating_mul(self.series.length);
        let (from, to) = match hole.backward {
            true => (hole.from.max(hole.to.saturating_sub(wanted)), hole.to),
            false => (hole.from, hole.to.min(hole.from.saturating_add(wanted))),
        };
        let (first, last) = (self.series.block_at(from), self.series.block_at(to));
        let range = if hole.backward {
            last.saturating_sub(RECALL).max(first)..=last
        } else {
            first..=last.min(first + RECALL)
        };
        self.recall(range).await
    }

    async fn recall(&mut self, blocks: impl IntoIterator<Item = u64>) -> bool {
        let fresh: Vec<u64> = blocks.into_iter().filter(|index| !self.recalled.contains(index)).collect();
        if fresh.is_empty() || !self.candles.has_store {
            return false;
        }
        let with_voids = self.recalled.is_empty();
        self.recalled.extend(&fresh);
        let mut keys: Vec<String> = fresh.iter().map(|index| self.series.block_key(*index)).collect();
        keys.extend(with_voids.then(|| self.series.key(VOIDS)));
        let stored = self.candles.region.stored(&keys).await;
        let mut found = stored.into_iter().map(|answer| answer.and_then(|answer| Block::of(&answer)));
        for index in fresh {
            if let Some(drafted) = found.next().flatten().and_then(|stored| merged(self.block(index), stored)) {
                self.blocks.insert(index, drafted);
            }
        }
        if let Some(drafted) = found.next().flatten().and_then(|stored| merged(self.voids(), stored)) {
            self.voids = Some(drafted);
        }
        true
    }

    pub(super) fn finish(self) -> Filled {
        let Draft { candles, series, blocks, voids, tail, .. } = self;
        let blocks = blocks.into_iter().map(|(index, drafted)| (series.block_key(index), drafted));
        let voids = voids.map(|drafted| (series.key(VOIDS), drafted));
        let known = blocks.chain(voids).map(|(key, (block, persist))| (key, block.write(persist)));
        let tail = tail.map(|tail| (series.key(TAIL), candles.loaded(series, &tail, Filled::default())));
        Filled { entries: known.chain(tail).collect(), hold: None }
    }
}

/// What memory and the store know together; `None` if memory knew it all.
fn merged(held: Option<Arc<Block>>, stored: Arc<Block>) -> Option<(Arc<Block>, Persist)> {
    match held {
        None => Some((stored, Persist::Never)),
        Some(held) if stored.adds_nothing_to(&held) => None,
        Some(held) if held.adds_nothing_to(&stored) => Some((stored, Persist::Never)),
        Some(held) => Some((Arc::new(held.and(&stored)?), Persist::Always)),
    }
}

/// How many rows of an answer will not change any more: closed, with a newer one known, and past their grace.
fn settled(rows: &Rows, asked_at: u64, newer_known: bool, grace: u64) -> usize {
    let count = rows.times().len();
    let followed = if newer_known { count } else { count.saturating_sub(1) };
    let has_settled = |row: &usize| rows.close(*row).is_some_and(|close| close.saturating_add(grace) < asked_at);
    (0..followed).take_while(has_settled).count()
}

/// Whether the end of the series is known to hold a candle newer than all of `rows`.
fn is_newer_in(tail: Option<&Tail>, rows: &Rows) -> bool {
    let newest = |rows: &Rows| rows.times().last().map(|row| row.open);
    tail.is_some_and(|tail| newest(&tail.rows) > newest(rows))
}

fn unreadable() -> Error {
    Error::new(Reason::Malformed, "the exchange's answer is no list of candles in order")
}
