//! What memory knows of a series, while an answer is put together.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::Candles;
use super::block::Block;
use super::keep::{VOIDS, kept_block};
use super::resolve::Known;
use super::series::Series;
use super::spans::Belief;

/// What memory knows of a series.
pub(super) struct View<'a> {
    pub(super) candles: &'a Candles,
    pub(super) series: &'a Series,
    pub(super) belief: Belief,
    /// The age of the oldest of what was looked at.
    pub(super) age: Cell<Duration>,
}

impl Known for View<'_> {
    fn block(&self, index: u64) -> Option<Arc<Block>> {
        let answer = self.candles.region.peek(&self.series.block_key(index))?;
        self.age.set(self.age.get().max(answer.age()));
        kept_block(&answer)
    }

    fn voids(&self) -> Option<Arc<Block>> {
        self.candles.held(&self.series.key(VOIDS))
    }

    fn belief(&self) -> Belief {
        self.belief
    }
}
