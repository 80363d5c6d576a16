//! Closed candles of one stretch of time, with the spans that are wholly known.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::{Answer, Derived, Loaded, Persist, Value};

use super::rows::Rows;
use super::spans::Spans;

/// A block: rows, and the spans of time in which these are all there are. What is in no span is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) rows: Rows,
    pub(super) known: Spans,
}

impl Block {
    /// The block that a tier holds; worked out once as long as memory holds it. `None` for what is none.
    pub(super) fn of(answer: &Answer) -> Option<Arc<Block>> {
        answer.derived(|value| Block::read(value).map(Arc::new))
    }

    fn read(value: &Value) -> Option<Block> {
        let known = Spans::parse(value.meta.as_deref()?)?;
        Some(Block { rows: Rows::of_kept(&value.body)?, known })
    }

    /// The block as the tiers hold it.
    pub(super) fn write(self: Arc<Block>, persist: Persist) -> Loaded {
        let body = self.rows.slice(0, self.rows.times().len());
        let value = Value::new(body).with_meta(self.known.to_string());
        Loaded { persist, derived: Derived::new(Some(self)), ..Loaded::from(value) }
    }

    /// The span around `at` that is known.
    pub(super) fn known_at(&self, at: u64) -> Option<(u64, u64)> {
        self.known.at(at)
    }

    /// This block with what is newly known of `from..=to`: `rows` are all there are. They replace what was held.
    pub(super) fn with(&self, rows: &Rows, from: u64, to: u64) -> Option<Block> {
        let (first, after) = (self.rows.before(from), self.rows.before(to.saturating_add(1)));
        let (new_first, new_after) = (rows.before(from), rows.before(to.saturating_add(1)));
        let count = self.rows.times().len();
        let parts = [(&self.rows, 0..first), (rows, new_first..new_after), (&self.rows, after..count)];
        let mut known = self.known.clone();
        known.add(from, to);
        Some(Block { rows: Rows::of_parts(parts)?, known })
    }

    /// What both know together. Where both know, `other` is believed.
    pub(super) fn and(&self, other: &Block) -> Option<Block> {
        if self.known.hold(&other.known) {
            return Some(self.clone());
        }
        let mut both = self.clone();
        for (from, to) in other.known.iter() {
            both = both.with(&other.rows, from, to)?;
        }
        Some(both)
    }

    /// Whether it says nothing that `other` does not say.
    pub(super) fn adds_nothing_to(&self, other: &Block) -> bool {
        other.known.hold(&self.known)
    }
}

/// The end of a series: every row from a moment on, as of the time it was asked for. The last candle may still be
/// forming, and one that closed just before may still be corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) rows: Rows,
    pub(super) from: u64,
    /// Whether the last candle was seen to close, and has its last trades.
    pub(super) ends_closed: bool,
}

/// What stands behind the begin of a tail whose last candle was seen to close.
const CLOSED: &str = " closed";

impl Tail {
    pub(super) fn of(answer: &Answer) -> Option<Arc<Tail>> {
        answer.derived(|value| Tail::read(value).map(Arc::new))
    }

    fn read(value: &Value) -> Option<Tail> {
        let meta = value.meta.as_deref()?;
        let from = meta.strip_suffix(CLOSED);
        let (from, ends_closed) = (from.unwrap_or(meta).parse().ok()?, from.is_some());
        Some(Tail { rows: Rows::of_text(&value.body)?, from, ends_closed })
    }

    pub(super) fn write(&self) -> Value {
        let body = Bytes::copy_from_slice(self.rows.text(0, self.rows.times().len()));
        let closed = if self.ends_closed { CLOSED } else { "" };
        Value::new(body).with_meta(format!("{}{closed}", self.from))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::answer;
    use super::*;

    fn rows(opens: &[u64]) -> Rows {
        Rows::of_answer(&answer(opens.iter().copied())).unwrap()
    }

    fn opens(block: &Block) -> Vec<u64> {
        block.rows.times().iter().map(|row| row.open).collect()
    }

    #[test]
    fn what_is_newly_known_replaces_what_was_held() {
        let block = Block::default().with(&rows(&[10, 20, 30]), 5, 30).unwrap();
        let block = block.with(&rows(&[50]), 41, 60).unwrap();
        assert_eq!((opens(&block), block.known.to_string()), (vec![10, 20, 30, 50], "5-30,41-60".to_owned()));
        let block = block.with(&rows(&[15, 40, 99]), 20, 45).unwrap();
        assert_eq!((opens(&block), block.known.to_string()), (vec![10, 40, 50], "5-60".to_owned()));
    }

    #[test]
    fn two_blocks_know_together_what_each_knows() {
        let one = Block::default().with(&rows(&[10]), 0, 19).unwrap();
        let two = Block::default().with(&rows(&[20]), 20, 29).unwrap();
        let both = one.and(&two).unwrap();
        assert_eq!((opens(&both), both.known.to_string()), (vec![10, 20], "0-29".to_owned()));
        assert!(one.adds_nothing_to(&both) && !both.adds_nothing_to(&one));
    }

    #[test]
    fn a_block_and_a_tail_are_read_as_they_were_written() {
        let block = Block::default().with(&rows(&[10, 20]), 0, 25).unwrap();
        assert_eq!(Block::read(&Arc::new(block.clone()).write(Persist::Always).value), Some(block));
        for ends_closed in [false, true] {
            let tail = Tail { rows: rows(&[30]), from: 21, ends_closed };
            assert_eq!(Tail::read(&tail.write()), Some(tail));
        }
        assert_eq!(Block::read(&Value::new("[1]").with_meta("0-1")), None);
        assert_eq!(Tail::read(&Value::new("")), None);
    }
}
