//! Which candles are doubted where an answer contradicts a single earlier one.

use bytes::Bytes;

use super::super::keep::{Draft, RECALL, TAIL};
use super::super::resolve::Known;
use super::super::series::COIN_SPAN;
use super::super::statement::{Kind, Statement};
use crate::venue::Venue;

/// A row that another answer gave than the one that is contradicted.
pub(super) struct OtherRow {
    pub(super) open: u64,
    pub(super) text: Bytes,
    /// Whether one question can ask for it and for the contradicted row, and costs no more than a question for one.
    pub(super) is_near: bool,
}

/// How many candles back that is.
const NEAR: u64 = 80;

impl Draft<'_> {
    /// The last row before `open` that another answer gave, if one answer alone gave the row of `open`. It may be far
    /// back: what lies between two answers need not be known.
    pub(super) async fn other_answer_before(&mut self, open: u64) -> Option<OtherRow> {
        let at = self.series.block_at(open);
        let once = self.block(at)?.known.span_at(open)?.statement;
        if once.kind != Kind::Rows {
            return None;
        }
        let reach = self.series.length.saturating_mul(NEAR);
        let is_coin = self.series.endpoint.venue == Venue::CoinM;
        let near = open.saturating_sub(if is_coin { reach.min(COIN_SPAN / 2) } else { reach });
        let first = at.saturating_sub(RECALL);
        let found = match self.other_row(once, open, first) {
            None if self.recall(first..=at).await => self.other_row(once, open, first),
            found => found,
        };
        found.map(|(open, text)| OtherRow { open, text, is_near: open >= near })
    }

    /// The last row before `open`, of the blocks from `first` on, that another answer gave than the one of `once`.
    fn other_row(&self, once: Statement, open: u64, first: u64) -> Option<(u64, Bytes)> {
        let blocks = (first..=self.series.block_at(open)).rev().filter_map(|index| self.block(index));
        let rows = blocks.flat_map(|block| {
            let places = 0..block.rows.before(open);
            let other = |place: usize| {
                let row = block.rows.open(place)?;
                let statement = block.known.span_at(row)?.statement;
                let has_rows = matches!(statement.kind, Kind::Confirmed | Kind::Rows | Kind::Streamed);
                let is_other = has_rows && (statement.kind, statement.last) != (once.kind, once.last);
                is_other.then(|| (row, Bytes::copy_from_slice(block.rows.text(place, place + 1))))
            };
            places.rev().find_map(other)
        });
        rows.into_iter().next()
    }

    /// Believes nothing any longer from `open` on; says whether that was little enough to be looked through.
    pub(super) async fn doubt_from(&mut self, open: u64) -> bool {
        let blocks = self.series.block_at(open)..=self.series.block_at(self.candles.now().max(open));
        if blocks.end() - blocks.start() > RECALL {
            return false;
        }
        self.recall(blocks.clone()).await;
        for index in blocks {
            let Some(held) = self.block(index) else { continue };
            let mut block = (*held).clone();
            for span in held.known.within(open, u64::MAX) {
                block.known.set(span.from, span.to, Statement::DOUBTED);
            }
            self.replace(index, block);
        }
        // The end is later still, and is replaced if it is being loaded.
        if !self.is_of_the_end {
            self.candles.region.expire(&self.series.key(TAIL)).await;
        }
        true
    }
}
