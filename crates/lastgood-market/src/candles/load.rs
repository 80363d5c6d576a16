//! Loads the missing candles of a series, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lastgood::{Error, Siblings, Timestamp};

use super::block::Tail;
use super::keep::{Asked, Draft, RECALL};
use super::resolve::{Hole, Known, Resolution, resolve};
use super::rows::Rows;
use super::series::{Fetch, Question};
use super::statement::{Answered, Kind};
use crate::venue::Venue;

mod doubt;
mod fetch;

pub(super) use self::fetch::unreadable;
use self::fetch::{Reply, older};

/// Requests to the exchange in one load.
const MOST_FETCHES: usize = 8;
/// The newest candle, the one before, which may yet be corrected, and one that is settled.
pub(super) const LEAST: usize = 3;
/// On COIN-M the candle after a gap is looked for this many intervals on.
const PAST_GAPS: u64 = 20;
/// No exchange is late by this many ms.
const AGED: u64 = 86_400_000;

impl Draft<'_> {
    /// Loads what a question lacks before the end of its series. `tail` is what its reader knows of that. Whether what
    /// was learnt is enough, the reader sees. `asked` says
    /// whether the exchange was asked.
    pub(super) async fn fill(
        mut self,
        question: &Question,
        tail: Option<&Tail>,
        asked: &Asked,
    ) -> Result<Siblings, Error> {
        self.keeps_repeats = true;
        self.direct = Some(Arc::clone(&question.direct));
        let (mut fetches, mut asked_for) = (0, None);
        while fetches < MOST_FETCHES {
            let Resolution::Missing(hole) = resolve(question, &self, tail, self.candles.now()) else { break };
            if self.recall_around(&hole).await {
                continue;
            }
            // What the exchange was asked for in vain it is not asked for again.
            let asking = (hole, self.asks_much);
            if asked_for.replace(asking) == Some(asking) {
                break;
            }
            fetches += 1;
            asked.the_exchange.store(true, Ordering::Relaxed);
            if !self.fetch_hole(&hole, tail).await? || self.tail.is_some() {
                asked.in_vain.store(self.got_nothing, Ordering::Relaxed);
                break;
            }
        }
        Ok(self.finish())
    }

    /// Loads the end of the series, with `wanted` candles of it if it is not known from where on it is missing, and says when
    /// the exchange was asked for it.
    pub(super) async fn tail(
        mut self,
        wanted: usize,
        earlier: Option<&Tail>,
    ) -> Result<(Tail, Timestamp, Siblings), Error> {
        self.is_of_the_end = true;
        let wanted = wanted.clamp(LEAST, self.series.most());
        if earlier.is_none() {
            self.recall(self.newest_blocks(wanted)).await;
        }
        let known_until = self.known_until(earlier).await.max(self.newest_known(wanted));
        if let Some(from) = known_until {
            let newest = match self.was_halted {
                true => self.fetch_end_of_halted(from).await?,
                false => None,
            };
            let known = match newest {
                // Trading goes on, and since longer than the few newest candles take.
                None => self.fetch_end_from(from, wanted).await?,
                newest => newest,
            };
            if let Some((reply, from)) = known {
                return self.ended(&reply, from, earlier).await;
            }
        }
        let reply = self.fetch(Fetch { start: None, end: None, limit: wanted }, None).await?;
        let from = reply.rows.first_open().unwrap_or(0);
        self.ended(&reply, from, earlier).await
    }

    /// The end of the series that an answer brought, unless it is older than the one that is kept.
    async fn ended(
        mut self,
        reply: &Reply,
        from: u64,
        earlier: Option<&Tail>,
    ) -> Result<(Tail, Timestamp, Siblings), Error> {
        let tail = self.settle(&reply.rows, from, reply.asked_at, Kind::Rows).await?;
        let is_older = self.has_end && earlier.is_some_and(|earlier| tail.is_older_than(earlier));
        let newest = tail.rows.last_open();
        let is_passed =
            self.candles.passed_end(self.series).is_some_and(|open| newest.is_none_or(|newest| newest < open));
        if (is_older || is_passed) && self.candles.lagging.refuses(self.series.name(), self.candles.said_at()) {
            return Err(older());
        }
        self.candles.lagging.ended(self.series.name());
        Ok((tail, reply.as_of, self.finish()))
    }

    /// Whether an answer that ends before the kept end is refused: a host of the exchange lags. One that goes on to is
    /// believed.
    fn refuses_older(&self) -> bool {
        self.has_end && self.candles.lagging.refuses(self.series.name(), self.candles.said_at())
    }

    /// Asks for the end of the series from its last known row on. `None` where that would be too much, or the answer
    /// does not come to the end.
    async fn fetch_end_from(&mut self, from: u64, wanted: usize) -> Result<Option<(Reply, u64)>, Error> {
        let (from, witness) = self.with_witness(self.due_before(from, wanted));
        let now = self.candles.now();
        let end = now.saturating_add(self.series.length);
        let limit = self.series.candles_in(from, end).saturating_add(1);
        let is_little = limit <= (wanted + wanted / 4 + LEAST).min(self.series.most());
        if !is_little || !self.series.allows(from, end) {
            return Ok(None);
        }
        // COIN-M has a meaning of its own for a start alone.
        let end = (self.series.endpoint.venue == Venue::CoinM).then_some(end);
        let reply = self.fetch(Fetch { start: Some(from), end, limit }, witness).await?;
        // A full answer may not reach the newest: the exchange's clock may be ahead of ours.
        if reply.rows.count() == limit {
            return Ok(None);
        }
        // One that ends before now may have been cut short: the newest candles show it.
        if reply.rows.last_close().is_none_or(|close| self.series.is_halted(close, now)) {
            let newest = self.fetch(Fetch { start: None, end: None, limit: LEAST }, None).await?;
            let last = |reply: &Reply| reply.rows.last_open();
            if last(&newest) != last(&reply) {
                return Ok(None);
            }
        }
        Ok(Some((reply, from)))
    }

    /// Asks for the few newest candles of a series in which nothing is traded. `None` where they do not join the
    /// known ones.
    async fn fetch_end_of_halted(&mut self, known_until: u64) -> Result<Option<(Reply, u64)>, Error> {
        let reply = self.fetch(Fetch { start: None, end: None, limit: LEAST }, None).await?;
        let first = reply.rows.first_open();
        Ok(first.filter(|first| *first <= known_until).map(|first| (reply, first)))
    }

    /// Where to ask from, so that a row that is known is asked for once more, and which that is.
    fn with_witness(&self, from: u64) -> (u64, Option<u64>) {
        let witness = self.row_before(from);
        (witness.unwrap_or(from), witness)
    }

    /// Up to where the series is known without a break from where an earlier end began.
    async fn known_until(&mut self, earlier: Option<&Tail>) -> Option<u64> {
        let mut from = earlier?.from;
        let index = self.series.block_at(from);
        if self.block(index).is_none() {
            let newest = self.series.block_at(self.candles.now());
            self.recall(index..=newest.min(index + RECALL)).await;
        }
        let belief = self.belief();
        while let Some((_, to)) = self.block(self.series.block_at(from)).and_then(|block| block.known_at(from, belief))
        {
            from = to.checked_add(1)?;
        }
        Some(from)
    }

    /// Where to ask from, so that candles just before `from` that are due to be asked for again come too, unless
    /// that is all that `wanted` candles reach.
    fn due_before(&self, from: u64, wanted: usize) -> u64 {
        let (belief, mut begin, mut due) = (self.belief(), from, from);
        let oldest = from.saturating_sub(self.series.length.saturating_mul(wanted as u64));
        while let Some(before) = begin.checked_sub(1) {
            let span = self.block(self.series.block_at(before)).and_then(|block| block.known.span_at(before));
            match span {
                // All that is wanted is due: it is asked for as if nothing were known.
                Some(_) if before < oldest => return from,
                Some(span) if !span.statement.is_confirmed() => {
                    begin = span.from;
                    due = if belief.holds(span.statement) { due } else { span.from };
                }
                _ => break,
            }
        }
        due
    }

    /// The end of the known stretch among the newest candles.
    fn newest_known(&self, wanted: usize) -> Option<u64> {
        let (now, belief) = (self.candles.now(), self.belief());
        let blocks = self.newest_blocks(wanted).rev().filter_map(|index| self.block(index));
        let mut ends = blocks.filter_map(|block| block.known.last_before(now, belief));
        ends.next().and_then(|end| end.checked_add(1))
    }

    /// The blocks that the newest candles lie in.
    fn newest_blocks(&self, wanted: usize) -> std::ops::RangeInclusive<u64> {
        let now = self.candles.now();
        let oldest = now.saturating_sub(self.series.length.saturating_mul(wanted as u64));
        self.series.block_at(oldest)..=self.series.block_at(now)
    }

    /// Divides rows, which are all there are from `from` on, into settled ones and the series' end.
    pub(super) async fn settle(&mut self, rows: &Rows, from: u64, asked_at: u64, kind: Kind) -> Result<Tail, Error> {
        let settled = settled(rows, asked_at, false, self.series.grace());
        let count = rows.count();
        let from = match settled.checked_sub(1).and_then(|last| rows.close(last)) {
            Some(close) => {
                self.learn_rows(rows, settled, kind).await?;
                rows.open(settled).map_or(close + 1, |next| next.max(close + 1))
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
        let after = usize::from(!hole.is_bounded && !self.is_aged(reaches));
        let limit = wanted.saturating_add(after).min(candles).min(series.most());
        let (from, witness) = self.with_witness(hole.from);
        let limit = match self.asks_much {
            true => series.most_for_the_price_of(limit).min(candles),
            false => limit,
        };
        // And one before, if it costs nothing.
        let (from, witness, limit) = match witness {
            Some(_) if series.costs_no_more(limit, limit + 1) => (from, witness, limit + 1),
            _ => (hole.from, None, limit),
        };
        let fetch = match (series.endpoint.venue, hole.is_bounded) {
            // The meaning of a start alone, and which candles are left out of a range, differs on COIN-M. A range
            // that holds no more than the limit means the same everywhere.
            (Venue::CoinM, is_bounded) => {
                let most = series.length.saturating_mul(series.most() as u64 - 2);
                let beyond = if is_bounded { 0 } else { PAST_GAPS * series.length };
                let end = hole.to.saturating_add(beyond).min(from.saturating_add(most));
                Fetch { start: Some(from), end: Some(end), limit: series.candles_in(from, end) + 1 }
            }
            // And the one after, which shows that nothing comes before it.
            (_, true) => match self.row_after(hole.to, tail).filter(|_| series.costs_no_more(limit, limit + 1)) {
                Some(after) => Fetch { start: Some(from), end: Some(after), limit: limit + 1 },
                None => Fetch { start: Some(from), end: Some(hole.to), limit },
            },
            (_, false) => Fetch { start: Some(from), end: None, limit },
        };
        if !series.allows(from, fetch.end.unwrap_or(from)) {
            return Ok(false);
        }
        let reply = self.fetch(fetch, witness).await?;
        let ends_now = reply.rows.last_close().is_some_and(|close| close >= reply.asked_at);
        if fetch.end.is_none() && reply.rows.count() < fetch.limit && ends_now {
            // The answer ends where the series does.
            let tail = self.settle(&reply.rows, hole.from, reply.asked_at, Kind::Rows).await?;
            (self.tail, self.as_of) = (Some(tail), Some(reply.as_of));
            return self.take(reply, hole, false, witness, None).await;
        }
        self.take(reply, hole, false, witness, tail).await
    }

    async fn fetch_backward(&mut self, hole: &Hole, candles: usize, tail: Option<&Tail>) -> Result<bool, Error> {
        let series = self.series;
        let limit = hole.wanted.min(candles).min(series.most());
        let above = self.row_after(hole.to, tail).filter(|_| series.costs_no_more(limit, limit + 1));
        let (end, limit, witness) = match (above, hole.is_bounded) {
            (Some(above), _) => (above, limit + 1, Some(above)),
            (None, true) => (hole.to, limit, None),
            // One more, so that it is seen that another came after the last.
            (None, false) => (hole.to.saturating_add(series.length), (limit + 1).min(series.most()), None),
        };
        let reply = self.fetch(Fetch { start: None, end: Some(end), limit }, witness).await?;
        self.take(reply, hole, true, witness, tail).await
    }

    /// Notes what an answer says, and says whether that was anything.
    async fn take(
        &mut self,
        reply: Reply,
        hole: &Hole,
        is_backward: bool,
        witness: Option<u64>,
        tail: Option<&Tail>,
    ) -> Result<bool, Error> {
        let Reply { rows, asked_at, fetch, .. } = reply;
        let newest = rows.last_close();
        let is_aged = newest.is_some_and(|close| self.is_aged(close)) && rows.count() == fetch.limit;
        let newer_known = hole.is_bounded || is_aged || is_newer_in(tail, &rows);
        let settled = settled(&rows, asked_at, newer_known, self.series.grace());
        let horizon = asked_at.checked_sub(self.series.length + self.series.grace()).filter(|_| newer_known);
        let answered = Answered { series: self.series, rows: &rows, settled, fetch, is_backward, witness, horizon };
        let pieces = answered.pieces();
        self.learn(&rows, &pieces).await?;
        let is_new = |open: u64| open >= hole.from && open <= hole.to;
        let brought_none = !rows.opens().any(is_new);
        let is_begin = pieces.first().is_some_and(|piece| piece.kind == Kind::Begin);
        let covers = pieces.last().is_some_and(|piece| piece.to >= hole.to);
        Ok(match brought_none {
            false => !pieces.is_empty(),
            true if is_begin || covers => true,
            // It says little, and more is not made of it. Where nothing newer is known the end of the series tells;
            // else a larger question may say enough.
            true => {
                let asks_more = horizon.is_some() && !self.asks_much;
                self.got_nothing = horizon.is_some() && self.asks_much;
                self.asks_much = true;
                asks_more
            }
        })
    }

    /// Whether a moment is so long ago that the exchange would have caught up with it since, however late it was.
    fn is_aged(&self, at: u64) -> bool {
        at.saturating_add(AGED.max(2 * self.series.length)) < self.candles.now()
    }
}

/// How many rows of an answer will not change any more: closed, with a newer one known, and past their grace.
fn settled(rows: &Rows, asked_at: u64, newer_known: bool, grace: u64) -> usize {
    let count = rows.count();
    let followed = if newer_known { count } else { count.saturating_sub(1) };
    let has_settled = |row: &usize| rows.close(*row).is_some_and(|close| close.saturating_add(grace) < asked_at);
    (0..followed).take_while(has_settled).count()
}

/// Whether the end of the series is known to hold a candle newer than all of `rows`.
fn is_newer_in(tail: Option<&Tail>, rows: &Rows) -> bool {
    let newest = |rows: &Rows| rows.last_open();
    tail.is_some_and(|tail| newest(&tail.rows) > newest(rows))
}
