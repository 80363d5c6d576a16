//! Closed candles of one stretch of time, with what the exchange said of each part of it.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Keep, Loaded, Memoised, Persist, Policy, Value};

use super::rows::Rows;
use super::spans::{Belief, Spans};
use super::statement::Statement;

/// A block: rows, and the spans of time in which these are all there are, as far as the exchange said. Outside the
/// spans nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) rows: Rows,
    pub(super) known: Spans,
}

impl Block {
    /// The block that a tier holds; worked out once as long as memory holds it. `None` if it is not a block.
    pub(super) fn of(answer: &Answer) -> Option<Arc<Block>> {
        answer.memoised(|value| Block::read(value).map(Arc::new))
    }

    fn read(value: &Value) -> Option<Block> {
        let known = Spans::parse(value.meta.as_deref()?)?;
        Some(Block { rows: Rows::of_kept(&value.body)?, known })
    }

    /// The block as the tiers hold it. Its spans say how long each is believed; the entry as a whole is fresh until
    /// somebody expires it.
    pub(super) fn write(self: Arc<Block>, persist: Persist, policy: &Policy) -> Loaded {
        let body = self.rows.slice(0, self.rows.count());
        let value = Value::new(body).with_meta(self.known.to_string());
        let fresh_for = match policy.stale_if_error {
            Keep::For(keep) => keep,
            Keep::Forever => A_CENTURY,
        };
        Loaded { persist, memoised: Memoised::new(Some(self)), fresh_for: Some(fresh_for), ..Loaded::from(value) }
    }

    /// The span around `at` that is known and believed.
    pub(super) fn known_at(&self, at: u64, belief: Belief) -> Option<(u64, u64)> {
        self.known.at(at, belief)
    }

    /// This block with an answer for `from..=to`: `rows` are all there are. They replace the held rows; a part that an
    /// earlier answer gave alike counts as said again.
    pub(super) fn tell(&self, rows: &Rows, from: u64, to: u64, statement: Statement) -> Option<Block> {
        let mut known = self.known.clone();
        known.set(from, to, statement);
        for span in self.known.within(from, to) {
            if self.rows.are_same(rows, span.from, span.to) {
                known.set(span.from, span.to, span.statement.again(statement));
            }
        }
        let rows = match self.rows.are_same(rows, from, to) {
            true => self.rows.clone(),
            false => {
                let (first, after) = (self.rows.before(from), self.rows.before(to.saturating_add(1)));
                let (new_first, new_after) = (rows.before(from), rows.before(to.saturating_add(1)));
                let count = self.rows.count();
                Rows::of_parts([(&self.rows, 0..first), (rows, new_first..new_after), (&self.rows, after..count)])?
            }
        };
        Some(Block { rows, known })
    }

    /// The knowledge of both. Where they differ, the later answer is believed, or the confirmed one.
    pub(super) fn and(&self, other: &Block) -> Option<Block> {
        let mut both = self.clone();
        for span in other.known.iter() {
            let same = self.rows.are_same(&other.rows, span.from, span.to);
            let better = |held: Statement| {
                same || !held.is_confirmed() && (span.statement.is_confirmed() || span.statement.last > held.last)
            };
            let mut next = Some(span.from);
            for held in self.known.within(span.from, span.to) {
                if let Some(begin) = next.filter(|begin| *begin < held.from) {
                    both = both.tell(&other.rows, begin, held.from - 1, span.statement)?;
                }
                if better(held.statement) {
                    both = both.tell(&other.rows, held.from, held.to, span.statement)?;
                }
                next = held.to.checked_add(1);
            }
            if let Some(begin) = next.filter(|begin| *begin <= span.to) {
                both = both.tell(&other.rows, begin, span.to, span.statement)?;
            }
        }
        Some(both)
    }

    /// Whether it says nothing that `other` does not say.
    pub(super) fn adds_nothing_to(&self, other: &Block) -> bool {
        other.known.hold(&self.known)
    }

    /// Whether it knows of all that `other` knows of, however well.
    pub(super) fn covers(&self, other: &Block) -> bool {
        other.known.iter().all(|span| self.known.at(span.from, Belief::All).is_some_and(|(_, to)| to >= span.to))
    }

    /// The same block, nothing of it believed: it stands in where the exchange fails.
    pub(super) fn doubted(&self) -> Block {
        Block { rows: self.rows.clone(), known: self.known.doubted() }
    }
}

/// For as long as there is room.
const A_CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

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
        answer.memoised(|value| Tail::read(value).map(Arc::new))
    }

    fn read(value: &Value) -> Option<Tail> {
        let meta = value.meta.as_deref()?;
        let from = meta.strip_suffix(CLOSED);
        let (from, ends_closed) = (from.unwrap_or(meta).parse().ok()?, from.is_some());
        Some(Tail { rows: Rows::of_text(&value.body)?, from, ends_closed })
    }

    /// Whether it ends before `earlier` did: at an older candle, or at the same with fewer trades. A candle with another
    /// opening price is no older state of the same.
    pub(super) fn is_older_than(&self, earlier: &Tail) -> bool {
        let newest = |tail: &Tail| tail.rows.last_open().unwrap_or(tail.from.saturating_sub(1));
        match newest(self).cmp(&newest(earlier)) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => {
                let ((price, trades), (before, trades_before)) = (self.rows.last_state(), earlier.rows.last_state());
                price == before && trades < trades_before
            }
        }
    }

    pub(super) fn write(&self) -> Value {
        let body = Bytes::copy_from_slice(self.rows.text(0, self.rows.count()));
        let closed = if self.ends_closed { CLOSED } else { "" };
        Value::new(body).with_meta(format!("{}{closed}", self.from))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rows::tests::answer;
    use super::super::statement::Kind;
    use super::*;

    fn rows(opens: &[u64]) -> Rows {
        Rows::of_answer(&answer(opens.iter().copied())).unwrap()
    }

    fn opens(block: &Block) -> Vec<u64> {
        block.rows.opens().collect()
    }

    const AT: Belief = Belief::At(1_000);

    fn statement(at: u64) -> Statement {
        Statement::once(Kind::Rows, at)
    }

    #[test]
    fn an_answer_replaces_the_held_one() {
        let block = Block::default().tell(&rows(&[10, 20, 30]), 5, 30, statement(900)).unwrap();
        let block = block.tell(&rows(&[50]), 41, 60, statement(900)).unwrap();
        assert_eq!(
            (opens(&block), block.known.to_string()),
            (vec![10, 20, 30, 50], "k2;5-30r900:900,41-60r900:900".to_owned())
        );
        let block = block.tell(&rows(&[15, 40, 99]), 20, 45, statement(950)).unwrap();
        assert_eq!(opens(&block), vec![10, 40, 50]);
        assert_eq!(block.known_at(10, AT), Some((5, 60)));
    }

    #[test]
    fn rows_that_a_later_answer_repeats_are_confirmed_and_others_are_not() {
        let minutes = 120_000;
        let block = Block::default().tell(&rows(&[10, 20, 30]), 10, 39, statement(0)).unwrap();
        let later = Statement::once(Kind::Rows, minutes);
        let same = block.tell(&rows(&[10, 20, 30]), 10, 39, later).unwrap();
        assert_eq!(same.known.to_string(), "k2;10-39");
        let too_soon = block.tell(&rows(&[10, 20, 30]), 10, 39, statement(minutes - 1)).unwrap();
        assert_eq!(too_soon.known.to_string(), format!("k2;10-39r0:{}", minutes - 1));
        let part = block.tell(&rows(&[20]), 20, 29, later).unwrap();
        assert_eq!(part.known.to_string(), "k2;10-19r0:0,20-29,30-39r0:0");
        let other = block.tell(&rows(&[10, 30]), 10, 39, later).unwrap();
        assert_eq!((opens(&other), other.known.to_string()), (vec![10, 30], format!("k2;10-39r{minutes}:{minutes}")));
    }

    #[test]
    fn two_blocks_know_together_what_each_knows() {
        let one = Block::default().tell(&rows(&[10, 20]), 0, 25, Statement::CONFIRMED).unwrap();
        let two = Block::default().tell(&rows(&[20, 30]), 18, 35, statement(500)).unwrap();
        let both = one.and(&two).unwrap();
        assert_eq!((opens(&both), both.known.to_string()), (vec![10, 20, 30], "k2;0-25,26-35r500:500".to_owned()));
        assert_eq!(opens(&two.and(&one).unwrap()), vec![10, 20, 30]);
        assert!(one.adds_nothing_to(&both) && two.adds_nothing_to(&both) && !both.adds_nothing_to(&two));
        // Where they differ, the later word counts, and what was confirmed counts more.
        let later = Block::default().tell(&rows(&[12]), 0, 25, statement(900)).unwrap();
        assert_eq!(opens(&one.and(&later).unwrap()), vec![10, 20]);
        assert_eq!(opens(&two.and(&later).unwrap()), vec![12, 30]);
        assert_eq!(opens(&later.and(&two).unwrap()), vec![12, 30]);
    }

    proptest! {
        #[test]
        fn the_order_in_which_blocks_come_together_matters_not(
            tells in proptest::collection::vec((0u64..5, 0u64..9, proptest::collection::btree_set(0u64..14, 0..8), 0u64..4), 1..8),
        ) {
            // Each answer has a time of its own, so that there is a later one of any two.
            let blocks: Vec<Block> = tells.iter().enumerate().map(|(place, (from, length, opens, _))| {
                let opens: Vec<u64> = opens.iter().copied().collect();
                Block::default().tell(&rows(&opens), *from, from + length, statement(place as u64)).unwrap()
            }).collect();
            let forward = blocks.iter().fold(Block::default(), |all, block| all.and(block).unwrap());
            let backward = blocks.iter().rev().fold(Block::default(), |all, block| all.and(block).unwrap());
            prop_assert_eq!(opens(&forward), opens(&backward));
        }
    }

    #[test]
    fn a_tail_is_read_as_it_was_written() {
        for ends_closed in [true, false] {
            let tail = Tail { rows: rows(&[60_000, 120_000]), from: 59_000, ends_closed };
            assert_eq!(Tail::read(&tail.write()), Some(tail));
        }
        assert_eq!(Tail::read(&Value::new("[1]").with_meta("x")), None);
        assert_eq!(Block::read(&Value::new("").with_meta("5-30")), None, "what an older form believed is not believed");
    }
}
