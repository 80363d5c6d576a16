//! What a load has found out so far, before memory knows of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Error, Freshness, Loaded, Persist, Siblings, Timestamp};

use super::block::{Block, Tail};
use super::load::unreadable;
use super::resolve::{Hole, Known};
use super::rows::Rows;
use super::series::Series;
use super::spans::Belief;
use super::statement::{Kind, Piece, Statement};
use super::{Candles, statement};
use crate::budget::Priority;
use crate::upstream_request::UpstreamRequest;

pub(super) const VOIDS: &str = "voids";
pub(super) const TAIL: &str = "tail";
/// More stretches without candles than a series has.
const MOST_VOIDS: usize = 256;
/// Blocks read from the store at once; more than an answer fills.
pub(super) const RECALL: u64 = 16;

/// What became of a load of what was missing.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Whether the exchange was asked, and not the store alone.
    pub(super) the_exchange: AtomicBool,
    /// Whether its answer was empty, and says less than was to be known.
    pub(super) in_vain: AtomicBool,
}

/// Blocks and voids that a load changed or fetched from the store.
pub(super) struct Draft<'a> {
    pub(super) candles: &'a Candles,
    pub(super) series: &'a Series,
    /// That of the series that the exchange is asked for.
    pub(super) priority: Priority,
    blocks: BTreeMap<u64, (Arc<Block>, Persist)>,
    voids: Option<(Arc<Block>, Persist)>,
    /// The end of the series, where an answer came to it.
    pub(super) tail: Option<Tail>,
    /// When the exchange was asked for that: one load may ask for other things first, and for the store before that.
    pub(super) as_of: Option<Timestamp>,
    /// Whether nothing was traded any more when the end of the series was loaded last.
    pub(super) was_halted: bool,
    /// The question as it was asked, where candles before the end are loaded for it.
    pub(super) direct: Option<Arc<UpstreamRequest>>,
    /// Whether it is the end of the series that is loaded.
    pub(super) is_of_the_end: bool,
    /// Whether an end of the series is kept that must not be followed by an older one.
    pub(super) has_end: bool,
    /// Whether an answer brought nothing new, so that as much is asked for as costs the same.
    pub(super) asks_much: bool,
    /// Whether the last answer brought nothing, and says less than is to be known.
    pub(super) got_nothing: bool,
    /// Whether an answer that only repeats an earlier one goes to the store.
    pub(super) keeps_repeats: bool,
    /// Blocks that the store was asked for, and whether for the voids.
    recalled: HashSet<u64>,
    has_recalled_voids: bool,
    /// Keys that the store was found to hold nothing of when this load began.
    pub(super) absent: Vec<String>,
    /// The older answer, if it is believed and this one is not.
    belief: Option<Belief>,
    /// The age of the oldest of what came from the store.
    age: Duration,
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

    fn belief(&self) -> Belief {
        self.belief.unwrap_or(Belief::At(self.candles.said_at()))
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(candles: &'a Candles, series: &'a Series, priority: Priority) -> Self {
        Draft {
            candles,
            series,
            priority,
            blocks: BTreeMap::new(),
            voids: None,
            tail: None,
            as_of: None,
            was_halted: false,
            direct: None,
            is_of_the_end: false,
            has_end: false,
            asks_much: false,
            got_nothing: false,
            keeps_repeats: false,
            recalled: HashSet::new(),
            has_recalled_voids: false,
            absent: Vec::new(),
            belief: None,
            age: Duration::ZERO,
        }
    }

    /// The same, believing this.
    pub(super) fn believing(self, belief: Belief) -> Self {
        Draft { belief: Some(belief), ..self }
    }

    /// How long ago the oldest of what came from the store was written.
    pub(super) fn age(&self) -> Duration {
        self.age
    }

    /// Notes the first `settled` of `rows`, which are all there are from the first of them on.
    pub(super) async fn learn_rows(&mut self, rows: &Rows, settled: usize, kind: Kind) -> Result<(), Error> {
        let mut pieces = statement::between(self.series, rows, settled);
        for piece in pieces.iter_mut().filter(|piece| piece.kind == Kind::Rows) {
            piece.kind = kind;
        }
        self.learn(rows, &pieces).await
    }

    /// Notes what an answer says of some stretches: `rows` are all there are in them.
    pub(super) async fn learn(&mut self, rows: &Rows, pieces: &[Piece]) -> Result<(), Error> {
        let now = self.candles.said_at();
        for piece in pieces.iter().filter(|piece| piece.from <= piece.to) {
            let statement = Statement::once(piece.kind, now);
            let has_rows = !matches!(piece.kind, Kind::Gap | Kind::Edge | Kind::Begin);
            if !has_rows && (piece.kind == Kind::Begin || self.series.is_longer_than_a_block(piece.from, piece.to)) {
                self.learn_void(piece.from, piece.to, statement)?;
                continue;
            }
            if has_rows {
                self.cut_voids(piece.from, piece.to);
            }
            let touched: Vec<u64> = (self.series.block_at(piece.from)..=self.series.block_at(piece.to)).collect();
            // What the store has of them must not be lost to this write.
            let lacking: Vec<u64> = touched.iter().copied().filter(|index| self.block(*index).is_none()).collect();
            self.recall(lacking).await;
            for index in touched {
                let (begin, end) = self.series.block_span(index);
                let held = self.block(index);
                let block = held.as_deref().cloned().unwrap_or_default();
                let (from, to) = (begin.max(piece.from), end.min(piece.to));
                let changed = block.tell(rows, from, to, statement).ok_or_else(unreadable)?;
                self.draft(index, &block, changed, held.is_some());
            }
        }
        Ok(())
    }

    /// Takes a changed block into the draft, and says whether the store is to have it.
    fn draft(&mut self, index: u64, before: &Block, block: Block, was_held: bool) {
        if was_held && *before == block {
            return;
        }
        let pending = self.blocks.get(&index).is_some_and(|(_, persist)| *persist == Persist::Always);
        // A restart need not have confirmed once more what was.
        let is_confirmed = block.known.are_confirmed() && !before.known.are_confirmed();
        let has_more = before.rows != block.rows || !before.covers(&block);
        let is_news = pending || self.keeps_repeats || has_more || is_confirmed;
        let persist = if is_news { Persist::Always } else { Persist::Never };
        self.blocks.insert(index, (Arc::new(block), persist));
    }

    fn learn_void(&mut self, from: u64, to: u64, statement: Statement) -> Result<(), Error> {
        let voids = self.voids().unwrap_or_default();
        let mut voids = voids.tell(&Rows::default(), from, to, statement).ok_or_else(unreadable)?;
        voids.known.keep_newest(MOST_VOIDS);
        self.voids = Some((Arc::new(voids), Persist::Always));
        Ok(())
    }

    /// Rows beat gaps: nothing is void where candles are.
    fn cut_voids(&mut self, from: u64, to: u64) {
        let Some(voids) = self.voids() else { return };
        if voids.known.within(from, to).next().is_some() {
            let mut voids = (*voids).clone();
            voids.known.cut(from, to);
            self.voids = Some((Arc::new(voids), Persist::Always));
        }
    }

    /// Asks the store for the blocks around a hole, once each; says whether that was new.
    pub(super) async fn recall_around(&mut self, hole: &Hole) -> bool {
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

    pub(super) async fn recall(&mut self, blocks: impl IntoIterator<Item = u64>) -> bool {
        let mut fresh: Vec<u64> = blocks.into_iter().filter(|index| !self.recalled.contains(index)).collect();
        if fresh.is_empty() || !self.candles.has_store {
            return false;
        }
        self.recalled.extend(&fresh);
        let is_absent = |key: &String| self.absent.contains(key);
        fresh.retain(|index| !is_absent(&self.series.block_key(*index)));
        let voids = Some(self.series.key(VOIDS)).filter(|key| !self.has_recalled_voids && !is_absent(key));
        self.has_recalled_voids = true;
        let keys: Vec<String> = fresh.iter().map(|index| self.series.block_key(*index)).chain(voids).collect();
        if keys.is_empty() {
            return false;
        }
        // What the store does not say is missing, and asked of the exchange.
        let stored = self.candles.region.stored(&keys).await.into_iter().map(Result::unwrap_or_default);
        let stored: Vec<Option<Answer>> = stored.collect();
        self.age = stored.iter().flatten().map(Answer::age).max().unwrap_or_default().max(self.age);
        let mut found = stored.into_iter().map(|answer| answer.as_ref().and_then(kept_block));
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

    /// The last known row that opens before `at`, if it is known what lies between.
    pub(super) fn row_before(&self, at: u64) -> Option<u64> {
        let mut until = at.checked_sub(1)?;
        for _ in 0..2 {
            let index = self.series.block_at(until);
            let block = self.block(index)?;
            let (from, _) = block.known_at(until, Belief::All)?;
            let after = block.rows.before(until.saturating_add(1));
            let last = after.checked_sub(1).and_then(|last| block.rows.open(last));
            if let Some(last) = last.filter(|last| *last >= from) {
                return Some(last);
            }
            let begin = self.series.block_span(index).0;
            until = begin.checked_sub(1).filter(|_| from <= begin)?;
        }
        None
    }

    /// The first known row that opens after `at`, if it is known what lies between.
    pub(super) fn row_after(&self, at: u64, tail: Option<&Tail>) -> Option<u64> {
        let mut from = at.checked_add(1)?;
        if let Some(tail) = tail.filter(|tail| tail.from <= from) {
            return tail.rows.open(tail.rows.before(from));
        }
        for _ in 0..2 {
            let index = self.series.block_at(from);
            let block = self.block(index)?;
            let (_, to) = block.known_at(from, Belief::All)?;
            let next = block.rows.open(block.rows.before(from));
            if let Some(next) = next.filter(|next| *next <= to) {
                return Some(next);
            }
            let end = self.series.block_span(index).1;
            from = end.checked_add(1).filter(|_| to >= end)?;
        }
        None
    }

    /// The kept row of the span that an answer covers which it lacks or gives otherwise. A row that is doubted already
    /// contradicts nothing.
    pub(super) fn contradicted_by(&self, rows: &Rows, from: u64, to: u64) -> Option<u64> {
        let (first, last) = (self.series.block_at(from), self.series.block_at(to));
        // An answer covers no more blocks than its limit fills; gaps make the rest of them.
        let blocks = (first..=last.min(first + RECALL)).filter_map(|index| self.block(index));
        for block in blocks {
            for span in block.known.within(from, to).filter(|span| span.statement.kind != Kind::Doubted) {
                let range = block.rows.before(span.from)..block.rows.before(span.to.saturating_add(1));
                let differs = |row: &usize| {
                    let open = block.rows.open(*row).unwrap_or(0);
                    rows.at(open) != Some(block.rows.text(*row, row + 1))
                };
                if let Some(row) = range.into_iter().find(differs) {
                    return block.rows.open(row);
                }
            }
        }
        None
    }

    /// The candle of the kept end that an answer lacks, which gives candles of `from..=to`. One that has not settled may
    /// change, but not go.
    pub(super) fn lacks_of_the_end(&self, rows: &Rows, from: u64, to: u64) -> Option<u64> {
        let kept = self.candles.region.peek(&self.series.key(TAIL));
        let end = kept.as_ref().and_then(Tail::of)?;
        let mut opens = end.rows.opens();
        opens.find(|open| (from..=to).contains(open) && rows.at(*open).is_none())
    }

    /// The candle of `from..=to` that an answer lacks, that the last answer to the question as it was asked has, and of whose time
    /// nothing else is known: what was passed on is not among the kept candles.
    pub(super) fn lacks_of_what_was_passed_on(&self, rows: &Rows, from: u64, to: u64) -> Option<u64> {
        let passed = self.candles.region.peek(&self.direct.as_ref()?.key)?;
        let passed = Rows::of_answer(passed.body())?;
        let is_unknown = |open: u64| {
            let in_block = self.block(self.series.block_at(open)).and_then(|block| block.known.span_at(open));
            in_block.or_else(|| self.voids()?.known.span_at(open)).is_none()
        };
        let mut opens = passed.opens();
        opens.find(|open| (from..=to).contains(open) && rows.at(*open).is_none() && is_unknown(*open))
    }

    /// The text of a kept row.
    pub(super) fn row(&self, open: u64) -> Option<Bytes> {
        let block = self.block(self.series.block_at(open))?;
        block.rows.at(open).map(Bytes::copy_from_slice)
    }

    /// Replaces the kept version of a block.
    pub(super) fn replace(&mut self, index: u64, block: Block) {
        self.blocks.insert(index, (Arc::new(block), Persist::Always));
    }

    /// Forgets what was found out so far: the exchange has changed its history.
    pub(super) fn forget(&mut self) {
        self.blocks.clear();
        self.voids = None;
        self.recalled.clear();
        self.has_recalled_voids = false;
        self.has_end = false;
    }

    pub(super) fn finish(self) -> Siblings {
        let Draft { candles, series, blocks, voids, tail, as_of, .. } = self;
        let blocks = blocks.into_iter().map(|(index, drafted)| (series.block_key(index), drafted));
        let voids = voids.map(|drafted| (series.key(VOIDS), drafted));
        let policy = candles.region.policy();
        let known = blocks.chain(voids).map(|(key, (block, persist))| (key, block.write(persist, policy)));
        // Of two ends of a series, the one that was asked for later is the newer.
        let end = |tail| Loaded { as_of, ..candles.loaded(series, &tail) };
        let tail = tail.map(|tail| (series.key(TAIL), end(tail)));
        known.chain(tail).collect()
    }
}

/// The block of an entry; where the entry was expired, or may have been, nothing of it is believed.
pub(super) fn kept_block(answer: &Answer) -> Option<Arc<Block>> {
    let block = Block::of(answer)?;
    Some(if answer.freshness() == Freshness::Fresh { block } else { Arc::new(block.doubted()) })
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
