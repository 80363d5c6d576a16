//! Whether a question can be answered from the known candles, and which ones are missing if not. No I/O, no clock.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Tail};
use super::series::{Question, Series};
use super::spans::Belief;

/// The known state of a series.
pub(super) trait Known {
    /// The closed candles of a block.
    fn block(&self, index: u64) -> Option<Arc<Block>>;

    /// The stretches, longer than a block, that hold no candle: before the first one, above all.
    fn voids(&self) -> Option<Arc<Block>>;

    /// What of it is believed.
    fn belief(&self) -> Belief;
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// The rows that answer it, in runs that follow each other.
    Whole {
        runs: Vec<Bytes>,
        /// Whether the end of the series is part of the answer, so that its freshness is the answer's.
        ends_in_tail: bool,
    },
    /// The end of the series must be known first.
    NeedsTail,
    /// Something before the end is missing.
    Missing(Hole),
}

/// A stretch of which nothing is known, as far as the question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) to: u64,
    /// How many candles of it are wanted: the oldest, or the newest where `backward`.
    pub(super) wanted: usize,
    pub(super) backward: bool,
    /// Whether it is known what comes after it.
    pub(super) is_bounded: bool,
    /// Whether it is known what comes before it.
    pub(super) is_based: bool,
}

pub(super) fn resolve(question: &Question, known: &impl Known, tail: Option<&Tail>, now: u64) -> Resolution {
    let series = &question.series;
    let (voids, belief) = (known.voids(), known.belief());
    let mut walk = Walk { series, known, belief, voids, runs: Vec::new(), wanted: question.limit };
    // What opened later may not have settled; only the end of the series can tell.
    let settled = now.saturating_sub(series.length + series.grace());
    match question.is_backward() {
        true => walk.backward(question, tail, settled),
        false => walk.forward(question, tail, settled),
    }
}

struct Walk<'a, K> {
    series: &'a Series,
    known: &'a K,
    belief: Belief,
    voids: Option<Arc<Block>>,
    runs: Vec<Bytes>,
    wanted: usize,
}

impl<K: Known> Walk<'_, K> {
    fn forward(&mut self, question: &Question, tail: Option<&Tail>, settled: u64) -> Resolution {
        let end = question.end.unwrap_or(u64::MAX);
        let mut at = question.start.unwrap_or(0);
        while self.wanted > 0 && at <= end {
            if let Some(tail) = tail.filter(|tail| at >= tail.from) {
                let (first, after) = (tail.rows.before(at), tail.rows.before(end.saturating_add(1)));
                self.take(&tail.rows.slice(first, after.min(first + self.wanted)), after - first);
                return self.whole(true);
            }
            let stop = tail.map_or(end, |tail| end.min(tail.from - 1));
            let Some((block, to)) = self.known_from(at) else {
                if tail.is_none() && at > settled {
                    return Resolution::NeedsTail;
                }
                let next = self.next_known(at, stop);
                let is_bounded = next.is_some() || tail.is_some_and(|tail| stop == tail.from - 1);
                let to = next.map_or(stop, |next| next - 1);
                let is_based = at > 0 && self.known_to(at - 1).is_some();
                let wanted = self.wanted;
                return Resolution::Missing(Hole { from: at, to, wanted, backward: false, is_bounded, is_based });
            };
            let to = to.min(stop);
            let (first, after) = (block.rows.before(at), block.rows.before(to.saturating_add(1)));
            self.take(&block.rows.slice(first, after.min(first + self.wanted)), after - first);
            match to.checked_add(1) {
                Some(next) => at = next,
                None => break,
            }
        }
        self.whole(false)
    }

    fn backward(&mut self, question: &Question, tail: Option<&Tail>, settled: u64) -> Resolution {
        let start = question.start.unwrap_or(0);
        let mut at = question.end.unwrap_or(u64::MAX);
        let mut ends_in_tail = false;
        if let Some(tail) = tail.filter(|tail| at >= tail.from) {
            ends_in_tail = true;
            let (first, after) = (tail.rows.before(start), tail.rows.before(at.saturating_add(1)));
            self.take(&tail.rows.slice(first.max(after.saturating_sub(self.wanted)), after), after - first);
            match tail.from.checked_sub(1) {
                Some(before) => at = before,
                None => return self.whole(true),
            }
        } else if tail.is_none() && at > settled {
            return Resolution::NeedsTail;
        }
        // Known are what comes after the end of the series' known part, and what comes after a known part.
        let mut is_bounded = ends_in_tail || tail.is_some_and(|tail| at + 1 == tail.from);
        while self.wanted > 0 && at >= start && !self.begins_above(at) {
            let Some((block, from)) = self.known_to(at) else {
                if self.begins_after(at) {
                    break;
                }
                let last = self.last_known(at, start);
                let from = last.map_or(start, |last| last + 1);
                let (wanted, is_based) = (self.wanted, last.is_some());
                let is_bounded = is_bounded || self.known_from(at.saturating_add(1)).is_some();
                return Resolution::Missing(Hole { from, to: at, wanted, backward: true, is_bounded, is_based });
            };
            let (first, after) = (block.rows.before(from.max(start)), block.rows.before(at.saturating_add(1)));
            self.take(&block.rows.slice(first.max(after.saturating_sub(self.wanted)), after), after - first);
            is_bounded = true;
            match from.checked_sub(1) {
                Some(before) => at = before,
                None => break,
            }
        }
        self.runs.reverse();
        self.whole(ends_in_tail)
    }

    /// Takes a run of rows, of which there are `count` at most as many as are wanted.
    fn take(&mut self, run: &Bytes, count: usize) {
        if !run.is_empty() {
            self.runs.push(run.clone());
        }
        self.wanted -= count.min(self.wanted);
    }

    fn whole(&mut self, ends_in_tail: bool) -> Resolution {
        Resolution::Whole { runs: std::mem::take(&mut self.runs), ends_in_tail }
    }

    /// The block that knows `at`, and up to when; within its own stretch.
    fn known_from(&self, at: u64) -> Option<(Arc<Block>, u64)> {
        self.knowing(at).map(|(block, (_, to))| (block, to))
    }

    /// The block that knows `at`, and from when.
    fn known_to(&self, at: u64) -> Option<(Arc<Block>, u64)> {
        self.knowing(at).map(|(block, (from, _))| (block, from))
    }

    fn knowing(&self, at: u64) -> Option<(Arc<Block>, (u64, u64))> {
        let of = |block: Arc<Block>| block.known_at(at, self.belief).map(|span| (block, span));
        self.known.block(self.series.block_at(at)).and_then(of).or_else(|| self.voids.clone().and_then(of))
    }

    /// Whether `at` is in a stretch before the series' begin that is as long as the candles that are wanted take.
    fn begins_above(&self, at: u64) -> bool {
        let said_for = self.voids.as_ref().map_or(0, |voids| voids.known.begin_until(at, self.belief));
        said_for >= self.series.length.saturating_mul(self.wanted as u64)
    }

    /// Whether the series is believed to begin after `at`, as the exchange said of at least as many candles as are
    /// wanted.
    fn begins_after(&self, at: u64) -> bool {
        let said_for = self.voids.as_ref().map_or(0, |voids| voids.known.begin_after(at, self.belief));
        said_for >= self.series.length.saturating_mul(self.wanted as u64)
    }

    /// The first known moment after `at`, not after `stop`.
    fn next_known(&self, at: u64, stop: u64) -> Option<u64> {
        let in_void =
            self.voids.as_ref().and_then(|voids| voids.known.next_after(at, self.belief)).filter(|next| *next <= stop);
        let stop = in_void.unwrap_or(stop);
        let mut index = self.series.block_at(at);
        let last = self.series.block_at(stop).min(index + LOOK);
        while index <= last {
            let next = self.known.block(index).and_then(|block| block.known.next_after(at, self.belief));
            if let Some(next) = next.filter(|next| *next <= stop) {
                return Some(next);
            }
            index += 1;
        }
        in_void
    }

    /// The last known moment before `at`, not before `start`.
    fn last_known(&self, at: u64, start: u64) -> Option<u64> {
        let in_void = self
            .voids
            .as_ref()
            .and_then(|voids| voids.known.last_before(at, self.belief))
            .filter(|last| *last >= start);
        let start = in_void.unwrap_or(start);
        let mut index = self.series.block_at(at);
        let first = self.series.block_at(start).max(index.saturating_sub(LOOK));
        loop {
            let last = self.known.block(index).and_then(|block| block.known.last_before(at, self.belief));
            if let Some(last) = last.filter(|last| *last >= start) {
                return Some(last);
            }
            if index == first {
                return in_void;
            }
            index -= 1;
        }
    }
}

/// How many blocks are looked at for the other side of a hole: more than any answer fills.
const LOOK: u64 = 8;
